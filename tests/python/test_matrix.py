"""Arrays in and out: quantize, pack, matmul."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import qeff
from qeff.schemes import resolve_config

RNG = np.random.default_rng(11)


def weights(n: int = 40, k: int = 96) -> np.ndarray:
    return RNG.standard_normal((n, k)).astype(np.float32)


@pytest.mark.parametrize("scheme", ["int8", "int4", "fp8", "fp8_e5m2", "nf4", "fp4"])
def test_matmul_multiplies_with_the_dequantized_weights(scheme: str) -> None:
    w, x = weights(), weights(7, 96)
    q = qeff.quantize(w, scheme)
    packed = qeff.pack(q)
    np.testing.assert_allclose(packed.unpack(), q.dequantize(), rtol=1e-6, atol=0)
    y = qeff.matmul(x, packed)
    exact = x.astype(np.float64) @ q.dequantize().astype(np.float64).T
    # Rounding x: half a step of 1/127 of the row's maximum, or 2^-9 relative for bfloat16 (and W).
    row = (
        np.abs(x).max(axis=1, keepdims=True) / 254
        if packed.activations == "int8"
        else np.abs(x) / 256
    )
    bound = (
        (row + np.zeros_like(x))
        @ np.abs(q.dequantize()).T
        * (1 if packed.activations == "int8" else 2)
    )
    assert (np.abs(y - exact) <= bound + 1e-4).all()
    assert packed.nbytes < w.nbytes
    assert packed.shape == (40, 96)


def test_bias_activation_and_residual_come_in_this_order() -> None:
    w, x = weights(), weights(5, 96)
    packed = qeff.pack(qeff.quantize(w, "int8"))
    bias, residual = weights(1, 40)[0], weights(5, 40)
    plain = qeff.matmul(x, packed)
    y = qeff.matmul(x, packed, bias, activation="relu", residual=residual)
    np.testing.assert_allclose(y, np.maximum(plain + bias, 0) + residual, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16])
def test_every_float_type_gives_the_codes_of_its_float32_values(dtype: Any) -> None:
    w = weights().astype(dtype)
    expected = qeff.quantize(w.astype(np.float32), "int8")
    np.testing.assert_array_equal(qeff.quantize(w, "int8").codes, expected.codes)
    packed = qeff.pack(expected)
    x = weights(4, 96).astype(dtype)
    np.testing.assert_array_equal(qeff.matmul(x, packed), qeff.matmul(x.astype(np.float32), packed))


def test_strides_do_not_matter() -> None:
    big = RNG.standard_normal((96, 160)).astype(np.float32)
    views = [big[:, ::2], big.T[::3], big[::-1, 7:103], np.asfortranarray(big)]
    for view in views:
        plain = np.ascontiguousarray(view)
        assert (qeff.quantize(view, "int8").codes == qeff.quantize(plain, "int8").codes).all()
        packed = qeff.pack(qeff.quantize(weights(24, view.shape[1]), "int8"))
        np.testing.assert_array_equal(qeff.matmul(view, packed), qeff.matmul(plain, packed))


def test_a_vector_is_one_row_and_further_axes_are_rows() -> None:
    w = weights(30, 64)
    assert qeff.quantize(w[0], "int8").shape == (1, 64)
    cube = w.reshape(5, 6, 64)
    np.testing.assert_array_equal(qeff.quantize(cube, "int8").codes, qeff.quantize(w, "int8").codes)
    packed = qeff.pack(qeff.quantize(w, "int8"))
    assert qeff.matmul(w[0], packed).shape == (30,)
    assert qeff.matmul(cube, packed).shape == (5, 6, 30)
    assert qeff.matmul(np.zeros((0, 64), np.float32), packed).shape == (0, 30)


def test_torch_tensors_go_in_and_come_out() -> None:
    torch = pytest.importorskip("torch")
    w, x = torch.randn(20, 64, requires_grad=True), torch.randn(3, 64)
    packed = qeff.pack(qeff.quantize(w, "int8"))
    y = qeff.matmul(x, packed)
    assert isinstance(y, torch.Tensor)
    np.testing.assert_array_equal(y.numpy(), qeff.matmul(x.numpy(), packed))
    half = w.detach().to(torch.bfloat16)
    expected = qeff.quantize(half.float(), "int8")
    np.testing.assert_array_equal(qeff.quantize(half, "int8").codes, expected.codes)


@pytest.mark.parametrize("scales", ["scales", "bf16_scales"])
def test_packed_weights_survive_their_buffers(scales: str) -> None:
    w = weights(32, 256) if scales == "scales" else np.full((32, 256), 15, np.float32)
    packed = qeff.pack(qeff.quantize(w, "int4"))
    assert scales in packed.buffers()
    parts = {name: array.copy() for name, array in packed.buffers().items()}
    sizes = {
        name: getattr(packed, name) for name in ("format", "activations", "n", "k", "group_size")
    }
    again = qeff.PackedMatrix.from_buffers(**sizes, buffers=parts)
    del parts
    np.testing.assert_array_equal(again.unpack(), packed.unpack())
    assert again.nbytes == packed.nbytes


@pytest.mark.parametrize("scheme", ["gptq", "awq"])
def test_calibrated_schemes_beat_rounding_on_the_inputs_they_saw(scheme: str) -> None:
    w = weights(32, 128)
    x = (RNG.standard_normal((400, 16)) @ RNG.standard_normal((16, 128))).astype(np.float32)
    x[:, 5] *= 20
    config = resolve_config(scheme)
    calibrated = qeff.matmul(x, qeff.pack(qeff.quantize(w, config, inputs=x)))
    rounded = qeff.matmul(x, qeff.pack(qeff.quantize(w, "int4")))
    exact = x @ w.T
    assert np.square(calibrated - exact).sum() < 0.7 * np.square(rounded - exact).sum()
