"""The quantizers against oracles written in numpy, and what they promise to callers."""

import json

import ml_dtypes
import numpy as np
import pytest
from qeff import _core

RNG = np.random.default_rng(7)


def weights(rows=6, cols=70):
    return RNG.standard_normal((rows, cols)).astype(np.float32)


def groups_of(row, size):
    return [row[i : i + size] for i in range(0, len(row), size)]


def oracle_grid(values, bits, symmetric, signed):
    """Scale, zero point and code range of one group, in float32 as the library computes."""
    half = 1 << (bits - 1)
    qmin = (1 - half if symmetric else -half) if signed else 0
    qmax = half - 1 if signed else 2 * half - 1
    lo, hi = min(values.min(), np.float32(0)), max(values.max(), np.float32(0))
    if symmetric:
        scale = max(-lo, hi) / np.float32(half - 1)
        return scale, 0 if signed else half, qmin, qmax
    scale = (hi - lo) / np.float32(qmax - qmin)
    return scale, qmin - int(np.rint(lo / scale)), qmin, qmax


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("granularity", ["per_tensor", "per_channel", "per_group"])
def test_affine_equals_the_formula(bits, symmetric, signed, granularity):
    w = weights()
    size = 32 if granularity == "per_group" else w.shape[1]
    q = _core.quantize_affine(
        w, bits=bits, symmetric=symmetric, signed=signed, granularity=granularity, group_size=32
    )
    assert q.codes.dtype == (np.int8 if signed else np.uint8)
    assert q.scale.shape == q.zero_point.shape == (6, -(-70 // size))
    for r, row in enumerate(w):
        for g, values in enumerate(groups_of(row, size)):
            fitted = w if granularity == "per_tensor" else values
            scale, zero, qmin, qmax = oracle_grid(fitted, bits, symmetric, signed)
            codes = np.clip(np.rint(values / scale) + zero, qmin, qmax)
            assert q.scale[r, g] == scale
            assert q.zero_point[r, g] == zero
            np.testing.assert_array_equal(q.codes[r, g * size : (g + 1) * size], codes)
            np.testing.assert_array_equal(
                q.dequantize()[r, g * size : (g + 1) * size],
                scale * (codes - zero).astype(np.float32),
            )


@pytest.mark.parametrize(
    "make",
    [
        lambda w: np.asfortranarray(w),
        lambda w: np.repeat(w, 3, axis=1)[:, ::3],
        lambda w: w[::-1, ::-1].copy()[::-1, ::-1],
        lambda w: w.T.copy().T,
    ],
)
def test_strides_do_not_change_the_codes(make):
    w = weights()
    strided = make(w)
    np.testing.assert_array_equal(strided, w)
    np.testing.assert_array_equal(
        _core.quantize_affine(strided).codes, _core.quantize_affine(w).codes
    )
    np.testing.assert_array_equal(_core.quantize_fp8(strided).codes, _core.quantize_fp8(w).codes)


def test_half_precision_inputs_equal_their_float_values():
    half, brain = weights().astype(np.float16), weights().astype(ml_dtypes.bfloat16)
    expected = _core.quantize_affine(half.astype(np.float32), bits=4).codes
    np.testing.assert_array_equal(_core.quantize_affine(half, bits=4).codes, expected)
    np.testing.assert_array_equal(
        _core.quantize_affine(half.view(np.uint16), bits=4, dtype="float16").codes, expected
    )
    expected = _core.quantize_codebook(brain.astype(np.float32)).codes
    np.testing.assert_array_equal(
        _core.quantize_codebook(brain.view(np.uint16), dtype="bfloat16").codes, expected
    )


def test_percentile_range_equals_numpy():
    w = weights(3, 1001)
    q = _core.quantize_affine(
        w, bits=4, symmetric=False, signed=False, range="percentile", percentile=97.3
    )
    hi, lo = np.percentile(w.astype(np.float64), [97.3, 100 - 97.3], axis=1)
    np.testing.assert_allclose(q.scale[:, 0], (hi - lo) / 15, rtol=1e-6)


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("symmetric", [False, True])
def test_mse_range_is_better_than_minmax_and_the_best_of_its_grid(bits, symmetric):
    w = np.random.default_rng(3).standard_t(3, (4, 128)).astype(np.float32)

    def error(values):
        return ((values.astype(np.float64) - w) ** 2).sum(axis=1)

    options = {"bits": bits, "symmetric": symmetric, "signed": False}
    searched = error(_core.fake_quantize(w, range="mse", **options))
    minmax = error(_core.fake_quantize(w, **options))
    assert (searched <= minmax).all()
    assert searched.sum() < 0.95 * minmax.sum()
    best = np.full(4, np.inf)
    for step in range(41):
        factor = np.float32(1) - np.float32(0.02) * np.float32(step)
        for r, row in enumerate(w):
            lo, hi = row.min() * factor, row.max() * factor
            scale, zero, qmin, qmax = _core.fit_affine(lo, hi, bits, symmetric, False)
            values = _core.decode_affine(
                _core.encode_affine(row, scale, zero, qmin, qmax), scale, zero
            )
            best[r] = min(best[r], ((values.astype(np.float64) - row) ** 2).sum())
    np.testing.assert_allclose(searched, best, rtol=1e-12)


def codebook_values(name, shared):
    table = json.loads((shared / "data/vectors/codebooks.json").read_text())
    if name == "nf4":
        return np.array(table["nf4"], np.float32)
    return np.sort((np.array(table["bnb_fp4_bit_order_unnormalised"]) / 12).astype(np.float32))


@pytest.mark.parametrize("name", ["nf4", "fp4"])
def test_codebooks_take_the_nearest_entry_of_the_published_values(name, shared):
    book = codebook_values(name, shared)
    w = weights(5, 100)
    q = _core.quantize_codebook(w, codebook=name, group_size=64)
    np.testing.assert_array_equal(q.codebook, book)
    assert q.scale.shape == (5, 2)
    for r, row in enumerate(w):
        for g, values in enumerate(groups_of(row, 64)):
            scale = np.abs(values).max()
            distance = np.abs(
                (values / scale)[:, None].astype(np.float64) - book[None].astype(np.float64)
            )
            codes = q.codes[r, g * 64 : g * 64 + len(values)]
            assert q.scale[r, g] == scale
            np.testing.assert_array_equal(
                distance[np.arange(len(values)), codes], distance.min(axis=1)
            )


def test_double_quantization_equals_bitsandbytes_formula():
    scales = RNG.uniform(0.01, 0.2, 700).astype(np.float32)
    codes, absmax, offset = _core.double_quantize(scales)
    edges = [(np.linspace(0.1, 1, 2**i + 1), 10.0 ** (i - 6)) for i in range(7)]
    means = np.concatenate([(e[1:] + e[:-1]) / 2 * f for e, f in edges])
    table = np.sort(np.concatenate([means, -means, [0.0, 1.0]]))
    assert offset == pytest.approx(scales.astype(np.float64).mean(), rel=1e-6)
    assert absmax.shape == (3,)
    for b, block in enumerate(groups_of(scales, 256)):
        assert absmax[b] == np.abs(block - np.float32(offset)).max()
        wanted = (block - np.float32(offset)) / absmax[b]
        nearest = np.abs(wanted[:, None] - table[None]).min(axis=1)
        np.testing.assert_allclose(
            np.abs(wanted - table[codes[b * 256 : b * 256 + len(block)]]), nearest, atol=1e-6
        )


def test_double_quantized_scales_are_close_and_codes_stay():
    w = weights(64, 512)
    exact, double = _core.quantize_codebook(w), _core.quantize_codebook(w, double_quant=True)
    np.testing.assert_array_equal(exact.codes, double.codes)
    assert (exact.scale != double.scale).any()
    np.testing.assert_allclose(double.scale, exact.scale, rtol=0.03)


@pytest.mark.parametrize("name", ["e4m3", "e5m2"])
@pytest.mark.parametrize("granularity", ["per_tensor", "per_channel", "per_group", "per_block"])
def test_fp8_equals_ml_dtypes_on_scaled_values(name, granularity):
    w = weights(7, 70)
    dtype = ml_dtypes.float8_e4m3fn if name == "e4m3" else ml_dtypes.float8_e5m2
    q = _core.quantize_fp8(w, format=name, granularity=granularity, group_size=32)
    cols = 70 if granularity in ("per_tensor", "per_channel") else 32
    rows = {"per_tensor": 7, "per_block": 32}.get(granularity, 1)
    scale = np.empty((7, -(-70 // cols)), np.float32)
    for r in range(0, 7, rows):
        for g in range(scale.shape[1]):
            block = w[r : r + rows, g * cols : (g + 1) * cols]
            scale[r : r + rows, g] = np.abs(block).max() / np.float32(ml_dtypes.finfo(dtype).max)
    spread = np.repeat(scale, cols, axis=1)[:, :70]
    np.testing.assert_array_equal(q.scale, scale)
    np.testing.assert_array_equal(q.codes, (w / spread).astype(dtype).view(np.uint8))
    np.testing.assert_array_equal(q.dequantize(), spread * q.codes.view(dtype).astype(np.float32))


def test_properties_describe_the_matrix():
    w = weights(6, 70)
    q = _core.quantize_affine(
        w, bits=4, symmetric=False, signed=False, granularity="per_group", group_size=32
    )
    assert (q.kind, q.bits, q.group_size, q.shape) == ("affine", 4, 32, (6, 70))
    assert q.nbytes == 6 * 70 // 2 + 18 * 4 + 18
    assert not q.codes.flags.writeable
    assert q.codebook is None
    assert q.input_scale is None
    assert q.float_format is None
    codes = q.codes
    expected = codes.copy()
    del q
    np.testing.assert_array_equal(codes, expected)  # the array keeps the matrix alive
    assert _core.quantize_fp8(w, format="e5m2").float_format == "e5m2"
    assert _core.quantize_codebook(w).zero_point is None


def test_error_metrics_equal_numpy():
    a, b = weights(4, 33), weights(4, 33)
    x, y = a.astype(np.float64), b.astype(np.float64)
    metrics = _core.error_metrics(a, b)
    assert metrics["mse"] == pytest.approx(((x - y) ** 2).mean(), rel=1e-12)
    assert metrics["sqnr_db"] == pytest.approx(
        10 * np.log10((x**2).sum() / ((x - y) ** 2).sum()), rel=1e-12
    )
    assert metrics["cosine"] == pytest.approx(
        (x * y).sum() / np.linalg.norm(x) / np.linalg.norm(y), rel=1e-12
    )
    assert metrics["max_abs"] == np.abs(x - y).max()
    assert _core.error_metrics(a, a) == {
        "mse": 0,
        "sqnr_db": np.inf,
        "cosine": pytest.approx(1),
        "max_abs": 0,
    }


@pytest.mark.parametrize("bits", range(1, 9))
def test_bits_are_packed_little_endian_without_gaps(bits):
    codes = RNG.integers(0, 1 << bits, 1003).astype(np.uint8)
    packed = _core.pack_bits(codes, bits)
    stream = ((codes[:, None] >> np.arange(bits)) & 1).ravel()
    np.testing.assert_array_equal(packed, np.packbits(stream, bitorder="little"))
    np.testing.assert_array_equal(_core.unpack_bits(packed, bits, codes.size), codes)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "quantize", [_core.quantize_affine, _core.quantize_codebook, _core.quantize_fp8]
)
def test_a_value_that_is_not_finite_is_named(value, quantize):
    w = weights(4, 5)
    w[2, 3] = value
    with pytest.raises(ValueError, match=r"w\[2, 3\] is -?(nan|inf)"):
        quantize(w)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bits": 1}, "bits must be 2..8, not 1"),
        ({"bits": 9}, "bits must be 2..8, not 9"),
        ({"granularity": "per_group", "group_size": 0}, "group_size"),
        ({"granularity": "per_row"}, 'granularity "per_row"'),
        ({"granularity": "per_block"}, "per_tensor, per_channel or per_group"),
        ({"range": "max"}, 'range "max"'),
        ({"range": "percentile", "percentile": 20.0}, "percentile must be in"),
        ({"range": "percentile", "percentile": float("nan")}, "percentile must be in"),
    ],
)
def test_a_wrong_option_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        _core.quantize_affine(weights(), **options)


@pytest.mark.parametrize(
    "w",
    [
        np.zeros((0, 4), np.float32),
        np.zeros((4, 0), np.float32),
        np.zeros(4, np.float32),
        np.zeros((2, 2, 2), np.float32),
        np.zeros((4, 4), np.float64),
        np.zeros((4, 4), ">f4"),
        np.zeros((4, 4), np.complex64),
        np.zeros((4, 4), object),
        np.zeros((4, 4), np.uint16),
        np.zeros(65, np.uint8)[1:].view(np.float32).reshape(4, 4),
    ],
    ids=lambda w: f"{w.dtype}-{w.shape}",
)
def test_arrays_that_are_no_matrix_of_floats_are_refused(w):
    with pytest.raises(ValueError, match=r"w |empty"):
        _core.quantize_affine(w)
