"""GPTQ against the algorithm written in torch, and what it promises to callers."""

import numpy as np
import pytest
import torch
from qeff import _core

PLAIN = {"group_aware": False, "range_grid": 0, "refine_sweeps": 0}


def problem(n=24, k=160, rows=600, seed=0):
    """Weights (n, k) and inputs (rows, k) with correlated channels of very different size."""
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((rows, 6)) @ rng.standard_normal((6, k))
    x = (shared + rng.standard_normal((rows, k))) * np.exp(rng.standard_normal(k))
    return (rng.standard_normal((n, k)) * 0.1).astype(np.float32), x.astype(np.float32)


def hessian_of(x):
    h = _core.Hessian(x.shape[1])
    h.add(x)
    return h.matrix


def minmax_grid(block, bits):
    lo, hi = block.amin(1).clamp(max=0), block.amax(1).clamp(min=0)
    scale = (hi - lo) / (2**bits - 1)
    return scale, torch.round(-lo / scale)


def torch_gptq(w, h, bits, group_size, damp):
    """Algorithm 1 of the paper, asymmetric, column by column."""
    w, h = torch.from_numpy(w).double(), torch.from_numpy(h).double()
    h = h + damp * h.diag().mean() * torch.eye(len(h), dtype=torch.float64)
    u = torch.linalg.cholesky(torch.linalg.inv(h), upper=True)
    out = torch.empty_like(w)
    for j in range(w.shape[1]):
        if j % group_size == 0:
            scale, zero = minmax_grid(w[:, j : j + group_size], bits)
        code = (torch.round(w[:, j] / scale) + zero).clamp(0, 2**bits - 1)
        out[:, j] = scale * (code - zero)
        w[:, j:] -= torch.outer((w[:, j] - out[:, j]) / u[j, j], u[j, j:])
    return out.float().numpy()


def output_error(values, w, x):
    return np.square(x @ (values - w).T).sum() / np.square(x @ w.T).sum()


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("group_size", [32, 64, 160])
def test_equals_torch_with_everything_else_off(bits, group_size):
    w, x = problem()
    h = hessian_of(x)
    q, _ = _core.gptq(w, h, bits=bits, group_size=group_size, damp_percent=0.01, **PLAIN)
    expected = torch_gptq(w, h, bits, group_size, 0.01)
    far = np.abs(q.dequantize() - expected).max(1) > 1e-5
    assert far.sum() <= 1, "at most one row may meet a tie that float and double break differently"


@pytest.mark.parametrize(
    "options", [{}, {"desc_act": True}, {"static_groups": True}, {"symmetric": True}]
)
def test_defaults_beat_the_plain_algorithm(options):
    w, x = problem(seed=1)
    h = hessian_of(x)
    ours, info = _core.gptq(w, h, bits=4, group_size=32, **options)
    plain, _ = _core.gptq(w, h, bits=4, group_size=32, **PLAIN, **options)
    error = output_error(ours.dequantize(), w, x)
    assert error < output_error(plain.dequantize(), w, x)
    assert info["loss"] == pytest.approx(error, rel=0.01)
    assert info["fallback"] == ""
    assert info["dead_columns"] == 0


def test_hessian_is_the_mean_outer_product():
    _, x = problem()
    h = _core.Hessian(x.shape[1])
    h.add(x[:100])
    h.add(x[100:])
    exact = x.astype(np.float64).T @ x / len(x)
    if _core.active_isa() in ("avx512_bf16", "amx"):  # inputs are rounded to bf16
        size = np.abs(x.astype(np.float64)).T @ np.abs(x) / len(x)
        assert (np.abs(h.matrix - exact) <= 2.0**-8 * size).all()
    else:
        np.testing.assert_allclose(h.matrix, exact, rtol=1e-4, atol=1e-5 * np.abs(exact).max())
    np.testing.assert_allclose(h.mean_abs, np.abs(x).mean(0), rtol=1e-5)
    assert h.rows == len(x)
    assert h.size == x.shape[1]


def test_one_and_two_threads_give_the_same_bytes():
    w, x = problem(n=70)
    h = hessian_of(x)
    one, two = (_core.gptq(w, h, group_size=64, threads=t)[0].dequantize() for t in (1, 2))
    assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize("filler", [0.0, np.nan, np.inf, -1.0])
def test_a_useless_hessian_falls_back_and_says_why(filler):
    w, _ = problem()
    h = np.full((160, 160), filler, np.float32)
    q, info = _core.gptq(w, h, group_size=32)
    assert info["fallback"].startswith("the Hessian")
    assert "rounded to nearest" in info["fallback"]
    assert np.abs(q.dequantize() - w).max() < 0.1


def test_transposed_and_strided_arrays_give_the_same_result():
    w, x = problem()
    h = hessian_of(x)
    expected = _core.gptq(w, h)[0].dequantize()
    wide = np.zeros((24, 320), np.float32)
    wide[:, ::2] = w
    for view in (np.asfortranarray(w), wide[:, ::2]):
        np.testing.assert_array_equal(_core.gptq(view, h)[0].dequantize(), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bits": 1}, "bits is 1, expected 2..8"),
        ({"damp_percent": 2.0}, "damp_percent is 2"),
        ({"hessian": np.eye(159, dtype=np.float32)}, r"shape \(159, 159\), expected \(160, 160\)"),
        ({"w": np.zeros((2, 160))}, "must be float32, not float64"),
        ({"w": np.zeros(160, np.float32)}, "must have 2 dimensions, not 1"),
        ({"w": np.full((1, 160), np.nan, np.float32)}, r"weight at \(0, 0\) is nan"),
    ],
)
def test_bad_arguments_are_named(change, message):
    w, x = problem()
    arguments = {"w": w, "hessian": hessian_of(x)} | change
    with pytest.raises(_core.InvalidArgument, match=message):
        _core.gptq(**arguments)
