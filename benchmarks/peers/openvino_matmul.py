"""Matrix products of OpenVINO: weights as constants of a type, decompressed in the graph."""

from __future__ import annotations

from typing import Any

import block_telemetry  # noqa: F401 - has to be the first
import numpy as np
import openvino
from common import Built, Facts, copies_of, rolled, tensor
from openvino import opset15 as ops
from quantizers import NF4, affine_groups, nf4_blocks, symmetric_rows

_GROUPS = {"int4-g128": 128, "int4-g32": 32}
_NF4_BLOCK = 64
_E4M3_MAX = 448.0


def _compiled(model: Any, threads: int, hints: dict[str, Any]) -> Any:
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", **hints}
    return openvino.Core().compile_model(model, "CPU", settings)


def _built(case: Facts, make: Any, weight_bytes: int, hints: dict[str, Any]) -> Built:
    """x times the weights of ``make(copy)``, one product for each copy."""
    x = tensor(case, "x")
    parameter = ops.parameter(list(x.shape), np.float32, name="x")
    source = parameter
    if hints.pop("fake_quantize", False):
        low, high = np.float32(min(x.min(), 0)), np.float32(max(x.max(), 0))
        source = ops.fake_quantize(parameter, low, high, low, high, 256)
    copies = copies_of(case, weight_bytes)
    products = [ops.matmul(source, make(i), False, True) for i in range(copies)]
    model = openvino.Model(products, [parameter], "matmul")
    request = _compiled(model, case["threads"], hints).create_infer_request()
    facts = {
        "calls": copies,
        "weight_bytes": weight_bytes,
        "version": openvino.__version__.split("-")[0],
    }
    return lambda: request.infer([x], share_inputs=True, share_outputs=True)[0], facts


def _scaled(codes: Any, scale: np.ndarray, shape: tuple[int, ...]) -> Any:
    """codes times scale as float32 (N, K); decompression is written in float16, as NNCF does."""
    wide = ops.multiply(codes, ops.constant(scale.astype(np.float16)))
    if len(scale.shape) == 3:
        wide = ops.reshape(wide, np.array(shape, np.int64), special_zero=False)
    return ops.convert(wide, np.float32)


def floating(case: Facts, kind: str) -> Built:
    """Float weights, multiplied in ``"f32"`` or ``"bf16"``."""
    w = tensor(case, "w")
    hints = {"INFERENCE_PRECISION_HINT": kind}
    size = w.nbytes if kind == "f32" else w.nbytes // 2
    return _built(case, lambda i: ops.constant(rolled(w, i)), size, hints)


def int8(case: Facts, inputs: str) -> Built:
    """int8 weights, a scale for each row.

    Args:
        inputs: ``"static"``: FakeQuantize with the range of these inputs; ``"dynamic"``: groups of 32
            quantized in each call; ``"float"``: not quantized.
    """
    codes, scales = symmetric_rows(tensor(case, "w"))

    def make(copy: int) -> Any:
        if inputs == "static":
            wide = ops.convert(ops.constant(rolled(codes, copy)), np.float32)
            return ops.multiply(wide, ops.constant(rolled(scales, copy)[:, None]))
        wide = ops.convert(ops.constant(rolled(codes, copy)), np.float16)
        return _scaled(wide, rolled(scales, copy)[:, None], codes.shape)

    hints: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
    if inputs == "static":
        hints["fake_quantize"] = True
    else:
        hints["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = 32 if inputs == "dynamic" else 0
    return _built(case, make, codes.nbytes, hints)


def int4(case: Facts, quantize_inputs: bool) -> Built:
    """4-bit affine weights in groups.

    Args:
        quantize_inputs: let it quantize groups of 32 inputs to int8 in each call.
    """
    w = tensor(case, "w")
    codes, scales, zeros = affine_groups(w, _GROUPS[case["format"]])

    def make(copy: int) -> Any:
        kind = openvino.Type.u4
        wide = ops.convert(ops.constant(rolled(codes, copy), dtype=kind), np.float16)
        zero = ops.convert(ops.constant(rolled(zeros, copy)[..., None], dtype=kind), np.float16)
        return _scaled(ops.subtract(wide, zero), rolled(scales, copy)[..., None], w.shape)

    hints = {
        "INFERENCE_PRECISION_HINT": "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 32 if quantize_inputs else 0,
    }
    return _built(case, make, w.size // 2 + 2 * scales.size + zeros.size // 2, hints)


def nf4(case: Facts) -> Built:
    """NF4 weights in blocks of 64."""
    w = tensor(case, "w")
    codes, largest = nf4_blocks(w, _NF4_BLOCK)
    values = NF4[codes]

    def make(copy: int) -> Any:
        constant = ops.constant(rolled(values, copy), dtype=openvino.Type.nf4)
        return _scaled(ops.convert(constant, np.float16), rolled(largest, copy)[..., None], w.shape)

    size = w.size // 2 + 2 * largest.size
    return _built(case, make, size, {"INFERENCE_PRECISION_HINT": "f32"})


def fp8(case: Facts) -> Built:
    """FP8 E4M3 weights, a scale for each row."""
    w = tensor(case, "w")
    scales = np.abs(w).max(1, keepdims=True) / np.float32(_E4M3_MAX)

    def make(copy: int) -> Any:
        kind = openvino.Type.f8e4m3
        constant = ops.constant(rolled(w / scales, copy), dtype=kind)
        return _scaled(ops.convert(constant, np.float16), rolled(scales, copy), w.shape)

    return _built(case, make, w.size, {"INFERENCE_PRECISION_HINT": "f32"})
