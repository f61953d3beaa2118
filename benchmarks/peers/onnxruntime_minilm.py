"""The model in ONNX Runtime: its transformer optimizer, then its dynamic quantization."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from common import Built, Facts, mean_pooled, tensor
from exported import NAMES, float_onnx, kept


def _optimize(model: str, path: Path) -> None:
    from onnxruntime.transformers import optimizer

    config = json.loads((Path(model) / "config.json").read_text(encoding="utf-8"))
    better = optimizer.optimize_model(
        str(float_onnx(model)),
        model_type="bert",
        num_heads=config["num_attention_heads"],
        hidden_size=config["hidden_size"],
    )
    better.save_model_to_file(str(path))


def _quantize(model: str, path: Path, seven_bits: bool) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        str(_optimized(model)),
        str(path),
        weight_type=QuantType.QInt8,
        per_channel=True,
        reduce_range=seven_bits,
        extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
    )


def _optimized(model: str) -> Path:
    return kept(model, "optimized.onnx", lambda path: _optimize(model, path))


@functools.cache
def _session(model: str, weights: str, threads: int) -> Any:
    path = _optimized(model)
    if weights != "float32":
        seven = weights == "s7"
        path = kept(model, f"{weights}.onnx", lambda out: _quantize(model, out, seven))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run(case: Facts, weights: str) -> Built:
    """The padded batch.

    Args:
        weights: ``"float32"``, ``"s8"``, or ``"s7"``: int8 in ±63, see ``onnxruntime_matmul.py``.
    """
    session = _session(case["model"], weights, case["threads"])
    mask = tensor(case, "attention_mask")
    ids = tensor(case, "input_ids")
    inputs = dict(zip(NAMES, (ids, mask, np.zeros_like(ids)), strict=True))
    return (
        lambda: mean_pooled(session.run(None, inputs)[0], mask),
        {"version": onnxruntime.__version__},
    )
