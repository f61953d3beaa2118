"""Matrix products of torch (oneDNN, FBGEMM and its own kernels)."""

from __future__ import annotations

import torch
from common import Built, Facts, copies_of, in_turn, tensor
from quantizers import affine_groups, symmetric_rows

_GROUPS = {"int4-g128": 128, "int4-g32": 32}


def _inputs(case: Facts) -> tuple[torch.Tensor, torch.Tensor]:
    torch.set_num_threads(case["threads"])
    torch.set_grad_enabled(False)
    return torch.from_numpy(tensor(case, "x")), torch.from_numpy(tensor(case, "w"))


def _facts(weight_bytes: int) -> Facts:
    return {"weight_bytes": weight_bytes, "version": torch.__version__}


def linear(case: Facts, dtype: str) -> Built:
    """The float product in a type; inputs and results are converted."""
    x, w = _inputs(case)
    kind = getattr(torch, dtype)
    weights = [w.to(kind, copy=True)]
    size = weights[0].nbytes
    weights += [weights[0].clone() for _ in range(copies_of(case, size) - 1)]
    run = in_turn(lambda one: torch.nn.functional.linear(x.to(kind), one).float(), weights)
    return run, _facts(size)


def int8(case: Facts, quantize_inputs: bool) -> Built:
    """oneDNN's u8 x s8, a scale for each row of the weights and one for all inputs.

    Args:
        quantize_inputs: turn the float32 inputs into u8 in each call; otherwise that was done before.
    """
    x, w = _inputs(case)
    codes, scales = symmetric_rows(w.numpy())
    ops = torch.ops.onednn
    codes, scales = torch.from_numpy(codes), torch.from_numpy(scales)
    zeros = torch.zeros(case["n"], dtype=torch.int64)
    copies = copies_of(case, codes.nbytes)
    weights = [ops.qlinear_prepack(codes.clone(), list(x.shape)) for _ in range(copies)]

    def quantized() -> tuple[torch.Tensor, float, int]:
        low, high = (float(value) for value in torch.aminmax(x))
        scale = (max(high, 0.0) - min(low, 0.0)) / 255 or 1.0
        zero = round(-min(low, 0.0) / scale)
        return torch.clamp(torch.round(x / scale) + zero, 0, 255).to(torch.uint8), scale, zero

    before = quantized()

    def product(weight: torch.Tensor) -> torch.Tensor:
        xq, scale, zero = quantized() if quantize_inputs else before
        return ops.qlinear_pointwise(
            xq, scale, zero, weight, scales, zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )

    return in_turn(product, weights), _facts(codes.nbytes)


def dynamic_int8(case: Facts) -> Built:
    """``torch.ao.nn.quantized.dynamic.Linear``: inputs quantized in each call."""
    x, w = _inputs(case)
    module = torch.nn.Linear(case["k"], case["n"], bias=False)
    module.weight = torch.nn.Parameter(w)
    quantize = torch.ao.quantization.quantize_dynamic
    recipe = {torch.nn.Linear: torch.ao.quantization.per_channel_dynamic_qconfig}
    size = case["n"] * case["k"]
    weights = [
        quantize(torch.nn.Sequential(module), recipe, dtype=torch.qint8)
        for _ in range(copies_of(case, size))
    ]
    return in_turn(lambda one: one(x), weights), _facts(size)


def int8_weights(case: Facts) -> Built:
    """int8 weights, bfloat16 inputs."""
    x, w = _inputs(case)
    codes, scales = symmetric_rows(w.numpy())
    codes, scales = torch.from_numpy(codes), torch.from_numpy(scales).bfloat16()
    weights = [codes.clone() for _ in range(copies_of(case, codes.nbytes))]
    multiply = torch.ops.aten._weight_int8pack_mm
    return in_turn(lambda one: multiply(x.bfloat16(), one, scales).float(), weights), _facts(
        codes.nbytes
    )


def int4_weights(case: Facts) -> Built:
    """4-bit weights in groups, bfloat16 inputs."""
    x, w = _inputs(case)
    group = _GROUPS[case["format"]]
    codes, scales, zeros = affine_groups(w.numpy(), group)
    flat = torch.from_numpy(codes.reshape(w.shape).astype("int32"))
    # torch has w = scale (code - 8) + offset
    offsets = scales * (8.0 - zeros)
    table = torch.stack([torch.from_numpy(scales.T), torch.from_numpy(offsets.T)], -1)
    table = table.bfloat16().contiguous()
    packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(flat, 2)
    size = packed.nbytes + table.nbytes
    weights = [(packed.clone(), table.clone()) for _ in range(copies_of(case, size))]
    multiply = torch.ops.aten._weight_int4pack_mm_for_cpu
    run = in_turn(lambda one: multiply(x.bfloat16(), one[0], group, one[1]).float(), weights)
    return run, _facts(size)
