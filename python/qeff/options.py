"""Options of QEfficient's ``compile`` that a CPU has no use for: accepted, or refused with a sentence."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from ._core import Unsupported
from .config import closest

__all__ = ["check_options"]

_log = logging.getLogger("qeff")

_DYNAMIC = "shapes are dynamic here"
_NO_HARDWARE = "there is no accelerator to set up"

# Without any effect here, whatever the value: why.
_IGNORED: dict[str, str] = {
    "batch_size": _DYNAMIC,
    "full_batch_size": _DYNAMIC,
    "seq_len": _DYNAMIC,
    "prefill_seq_len": _DYNAMIC,
    "ctx_len": _DYNAMIC,
    "specializations": _DYNAMIC,
    "onnx_path": "no ONNX graph is made or needed",
    "mos": _NO_HARDWARE,
    "aic_enable_depth_first": _NO_HARDWARE,
    "aic_hw_version": _NO_HARDWARE,
    "aic_num_of_activations": _NO_HARDWARE,
    "offload_pt_weights": "weights are read from the checkpoint, not from torch",
}


def _falsy(value: Any) -> bool:
    return value is None or value is False or value == 0


def _one(value: Any) -> bool:
    return value is None or value == 1


# Accepted with these values only: test, and what to do instead.
_LIMITED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "num_devices": (_one, "this is one machine's CPU: use num_cores"),
    "device_group": (_falsy, "there is no device to choose: use num_cores"),
    "mxfp6_matmul": (
        _falsy,
        'MXFP6 is a format of another device: use quantization="fp8" or "awq"',
    ),
    "mxint8_kv_cache": (_falsy, "an encoder has no KV cache"),
    "num_speculative_tokens": (_falsy, "an encoder generates no tokens"),
    "kv_cache_batch_size": (_falsy, "an encoder has no KV cache"),
    "prefill_only": (_falsy, "an encoder has no decode phase to leave out"),
    "enable_qnn": (_falsy, "QNN compiles for another device"),
    "qnn_config": (_falsy, "QNN compiles for another device"),
    "convert_to_fp16": (_falsy, 'choose with quantization="int8", "fp8", …; None keeps float32'),
    "node_precision_info": (_falsy, "precision is chosen with quantization="),
}


def check_options(options: Mapping[str, Any], own: list[str]) -> None:
    """Checks the options ``compile`` was given beyond its own parameters.

    Args:
        options: name → value.
        own: names of the parameters of ``compile``, for the closest match.

    Raises:
        TypeError: an unknown name. ValueError: an option that cannot be honoured here.
    """
    for name, value in options.items():
        if name in _IGNORED:
            _log.debug("compile: %s=%r has no effect: %s", name, value, _IGNORED[name])
        elif name in _LIMITED:
            accepts, instead = _LIMITED[name]
            if not accepts(value):
                raise Unsupported(f"compile: {name}={value!r} is not possible on a CPU: {instead}")
        else:
            hint = closest(name, [*own, *_IGNORED, *_LIMITED])
            raise TypeError(f"compile: unknown option {name!r}{hint}")
