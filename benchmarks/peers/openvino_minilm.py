"""The model in OpenVINO, and quantized by NNCF."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import block_telemetry  # noqa: F401 - has to be the first
import numpy as np
import openvino
from common import Built, Facts, mean_pooled, tensor
from exported import NAMES, float_onnx, kept


def _inputs(case: Facts, prefix: str = "") -> list[np.ndarray]:
    ids = tensor(case, f"{prefix}input_ids")
    return [ids, tensor(case, f"{prefix}attention_mask"), np.zeros_like(ids)]


def _quantize(case: Facts, path: Path) -> None:
    import nncf

    batch = _inputs(case, "calibration_")
    samples = []
    for row, length in enumerate(batch[1].sum(1)):
        samples.append(
            {name: a[row : row + 1, :length] for name, a in zip(NAMES, batch, strict=True)}
        )
    model = nncf.quantize(
        openvino.Core().read_model(str(float_onnx(case["model"]))),
        nncf.Dataset(samples),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(samples),
    )
    path.mkdir()
    openvino.save_model(model, str(path / "model.xml"), compress_to_fp16=False)


@functools.cache
def _compiled(path: str, precision: str, threads: int) -> Any:
    settings: dict[str, Any] = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision,
    }
    return openvino.Core().compile_model(path, "CPU", settings)


def run(case: Facts, weights: str, precision: str = "f32") -> Built:
    """The padded batch.

    Args:
        weights: ``"float"`` or ``"int8"``: static quantization by NNCF, calibrated on real sentences.
        precision: what float operations run in.
    """
    path = float_onnx(case["model"])
    if weights == "int8":
        path = kept(case["model"], "nncf", lambda out: _quantize(case, out)) / "model.xml"
    compiled = _compiled(str(path), precision, case["threads"])
    request = compiled.create_infer_request()
    inputs = dict(zip(NAMES, _inputs(case), strict=True))
    mask = inputs["attention_mask"]

    def once() -> np.ndarray:
        states = request.infer(inputs, share_inputs=True, share_outputs=True)[0]
        return mean_pooled(states, mask)

    return once, {"version": openvino.__version__.split("-")[0]}
