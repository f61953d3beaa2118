"""AWQ: the scales and the clipping lower the error of a layer's output, and odd channels do no harm."""

import numpy as np
import pytest
from qeff import _core


def problem(n=48, k=128, rows=800, seed=0):
    """Weights and inputs of which a few channels are thirty times as large as the others."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, k)).astype(np.float32)
    x[:, [3, 50, 101]] *= 30
    return rng.standard_normal((n, k)).astype(np.float32) * 0.1, x


def statistics(x):
    h = _core.Hessian(x.shape[1])
    h.add(x)
    return h.matrix, h.mean_abs


def output_error(w, x, scales, h, config):
    q = _core.awq_quantize(w, scales, h, config)
    return np.square((x / scales) @ q.dequantize().T - x @ w.T).sum() / np.square(x @ w.T).sum()


@pytest.mark.parametrize("bits", [3, 4])
@pytest.mark.parametrize("zero_point", [True, False])
def test_scales_lower_the_output_error_as_reported(bits, zero_point):
    w, x = problem()
    h, mean_abs = statistics(x)
    config = _core.AwqConfig(bits=bits, group_size=64, zero_point=zero_point)
    scales, info = _core.awq_scales([w], h, mean_abs, config)
    ones = np.ones_like(scales)
    assert output_error(w, x, scales, h, config) == pytest.approx(info["loss"], rel=1e-2)
    assert output_error(w, x, ones, h, config) == pytest.approx(info["loss_unscaled"], rel=1e-2)
    assert info["loss"] < 0.85 * info["loss_unscaled"]


def test_clip_search_lowers_the_output_error():
    w, x = problem(seed=2)
    w[:, 7] *= 6  # an outlier channel of the weights that the inputs do not care for
    x[:, 7] *= 0.1
    h, _ = statistics(x)
    ones = np.ones(128, np.float32)
    clip, plain = (_core.AwqConfig(bits=3, group_size=64, clip=c) for c in (True, False))
    assert output_error(w, x, ones, h, clip) < 0.9 * output_error(w, x, ones, h, plain)


def test_dead_nan_and_zero_channels_keep_scale_one():
    w, x = problem(seed=3)
    x[:, 10] = 0
    w[:, 11] = 0
    h, mean_abs = statistics(x)
    mean_abs[12] = np.nan
    scales, info = _core.awq_scales([w], h, mean_abs)
    assert info["dead_channels"] == 3
    assert scales[[10, 11, 12]].tolist() == [1, 1, 1]
    assert np.isfinite(scales).all()
    assert (scales > 0).all()


def test_linears_of_one_input_share_their_scales():
    w, x = problem(seed=4)
    h, mean_abs = statistics(x)
    shared, info = _core.awq_scales([w[:16], w[16:]], h, mean_abs)
    whole, _ = _core.awq_scales([w], h, mean_abs)
    np.testing.assert_allclose(shared, whole, rtol=1e-6)
    assert info["loss"] <= info["loss_unscaled"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scales": np.zeros(128, np.float32)}, "scale 0 is 0"),
        ({"scales": np.ones(5, np.float32)}, "5 scales, expected 128"),
        ({"config": _core.AwqConfig(bits=9)}, "bits is 9"),
        ({"config": _core.AwqConfig(max_shrink=1.0)}, "max_shrink is 1"),
        ({"hessian": np.eye(3, dtype=np.float32)}, r"shape \(3, 3\)"),
    ],
)
def test_bad_arguments_are_named(change, message):
    w, _ = problem()
    arguments = {
        "w": w,
        "scales": np.ones(128, np.float32),
        "hessian": np.eye(128, dtype=np.float32),
        "config": _core.AwqConfig(),
    } | change
    with pytest.raises(_core.InvalidArgument, match=message):
        _core.awq_quantize(**arguments)
