"""Imported before OpenVINO and NNCF: they send no statistics then, nor leave a process behind that would."""

import sys

sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # both go on without it
