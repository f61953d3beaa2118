"""Quantize, pack and multiply matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _core
from ._core import InvalidArgument, PackedMatrix, QuantizedMatrix
from .arrays import FloatArray, as_float_array, from_numpy_like, rows_of
from .config import (
    AffineConfig,
    AutoRoundConfig,
    AWQConfig,
    CodebookConfig,
    Config,
    FP8Config,
    GPTQConfig,
)
from .cpu import thread_count
from .schemes import Quantization, resolve_config

__all__ = ["hessian_of", "matmul", "pack", "quantize", "quantize_rows"]


def hessian_of(inputs: Any, columns: int) -> _core.Hessian:
    """What calibration remembers of the inputs (..., columns) of a linear layer."""
    hessian = _core.Hessian(columns)
    hessian.add(rows_of(as_float_array(inputs, "inputs"), "inputs"))
    return hessian


def _affine(w: FloatArray, config: AffineConfig) -> QuantizedMatrix:
    return _core.quantize_affine(
        w,
        bits=config.bits,
        symmetric=config.symmetric,
        signed=config.symmetric if config.signed is None else config.signed,
        granularity=config.granularity,
        group_size=config.columns_per_scale or w.shape[1],
        range=config.range,
        percentile=config.percentile,
    )


def _awq(w: FloatArray, config: AWQConfig, hessian: _core.Hessian, threads: int) -> QuantizedMatrix:
    solver = _core.AwqConfig(
        bits=config.bits,
        group_size=max(config.group_size, 0),
        zero_point=config.zero_point,
        **config.solver(),
    )
    matrix = hessian.matrix
    scales, _ = _core.awq_scales([w], matrix, hessian.mean_abs, solver, threads)
    q = _core.awq_quantize(w, scales, matrix, solver, threads)
    return _core.with_input_scale(q, np.float32(1.0) / scales)


def _gptq(
    w: FloatArray, config: GPTQConfig, hessian: _core.Hessian, threads: int
) -> QuantizedMatrix:
    q, _ = _core.gptq(
        w,
        hessian.matrix,
        bits=config.bits,
        group_size=max(config.group_size, 0),
        symmetric=config.sym,
        **config.solver(),
        threads=threads,
    )
    return q


def quantize_rows(
    w: FloatArray, config: Config, hessian: _core.Hessian | None, threads: int = 0
) -> QuantizedMatrix:
    """Quantizes a float32 matrix (rows, columns) by any recipe.

    Args:
        hessian: of the layer's inputs; needed by GPTQ and AWQ.
        threads: 0: all.
    """
    if isinstance(config, AffineConfig):
        return _affine(w, config)
    if isinstance(config, CodebookConfig):
        group = config.group_size if config.group_size > 0 else w.shape[1]
        return _core.quantize_codebook(
            w, codebook=config.codebook, group_size=group, double_quant=config.double_quant
        )
    if isinstance(config, FP8Config):
        return _core.quantize_fp8(w, format=config.format, granularity=config.granularity)
    if isinstance(config, AutoRoundConfig):
        raise InvalidArgument(
            "quantize: AutoRoundConfig learns whole blocks of a language model; for one matrix there is GPTQConfig"
        )
    if isinstance(config, GPTQConfig | AWQConfig):
        if hessian is None:
            raise InvalidArgument(
                f"quantize: {type(config).__name__} looks at activations: give inputs=, an array (..., {w.shape[1]})"
            )
        solve = _gptq if isinstance(config, GPTQConfig) else _awq
        return solve(w, config, hessian, threads)  # type: ignore[arg-type]
    raise InvalidArgument("quantize: None is no scheme; pack_float keeps float weights")


def quantize(
    w: Any, config: Quantization, *, inputs: Any = None, num_cores: int | None = None
) -> QuantizedMatrix:
    """Quantizes a weight matrix.

    Args:
        w: (N, K), float32, float16, bfloat16 or float64, any strides; numpy (with ml_dtypes) or a torch
            CPU tensor. Of N-dimensional arrays the last axis is K, the others are rows.
        config: a config object or a scheme name.
        inputs: activations (..., K) that GPTQ and AWQ look at.
        num_cores: threads for GPTQ and AWQ; None: all.

    Returns:
        codes (N, K), scale, zero_point, ``dequantize()``, ``nbytes``.

    Raises:
        TypeError: an array of something else than floats. ValueError: NaN, infinity, big-endian, a
        config that does not fit.
    """
    recipe = resolve_config(config)
    rows = rows_of(as_float_array(w, "w"), "w")
    hessian = None if inputs is None else hessian_of(inputs, rows.shape[1])
    return quantize_rows(rows, recipe, hessian, thread_count(num_cores))


def pack(q: QuantizedMatrix, activations: str | None = None) -> PackedMatrix:
    """Weights in the order of the kernels.

    Args:
        q: from :func:`quantize`.
        activations: what inputs are turned into: ``"int8"``, ``"bf16"``, or None for the best of the
            format.

    Raises:
        ValueError: no kernel for that pair.
    """
    if not isinstance(q, QuantizedMatrix):
        raise TypeError(f"pack: expected what qeff.quantize returns, not {type(q).__name__}")
    return _core.pack(q, activations)


def _row_contiguous(x: FloatArray) -> FloatArray:
    item = x.itemsize
    plain = x.shape[1] <= 1 or (x.strides[1] == item and x.strides[0] % item == 0)
    return x if plain else np.ascontiguousarray(x)


def matmul(
    x: Any,
    weights: PackedMatrix,
    bias: Any = None,
    *,
    activation: str = "none",
    residual: Any = None,
    num_cores: int | None = None,
) -> Any:
    """``activation(x Wᵀ + bias) + residual``.

    Args:
        x: (..., K), any float type; float32 with contiguous rows is read in place.
        weights: (N, K), from :func:`pack`.
        bias: (N,) or None.
        activation: ``"none"``, ``"relu"``, ``"gelu"``, ``"gelu_tanh"`` or ``"silu"``.
        residual: (..., N) or None.
        num_cores: threads; None: all. The result is the same for any number.

    Returns:
        float32 (..., N), numpy or torch as ``x``.

    Raises:
        ValueError: shapes that do not fit. TypeError: arrays of something else than floats.
    """
    if not isinstance(weights, PackedMatrix):
        raise TypeError(f"matmul: expected what qeff.pack returns, not {type(weights).__name__}")
    values = as_float_array(x, "x")
    if values.ndim == 0 or values.shape[-1] != weights.k:
        raise InvalidArgument(
            f"matmul: x has shape {values.shape}, the weights ({weights.n}, {weights.k}) need "
            f"(..., {weights.k})"
        )
    rows = _row_contiguous(values.reshape(-1, weights.k))
    addend = None
    if residual is not None:
        addend = as_float_array(residual, "residual")
        if addend.shape != (*values.shape[:-1], weights.n):
            raise InvalidArgument(
                f"matmul: residual has shape {addend.shape}, expected "
                f"{(*values.shape[:-1], weights.n)}"
            )
        addend = np.ascontiguousarray(addend.reshape(-1, weights.n))
    offset = None if bias is None else np.ascontiguousarray(as_float_array(bias, "bias"))
    y = _core.matmul(rows, weights, offset, activation, addend, None, thread_count(num_cores))
    return from_numpy_like(y.reshape(*values.shape[:-1], weights.n), x)
