"""Conversions between float32 and small floats, against ml_dtypes and numpy for every code."""

import ml_dtypes
import numpy as np
import pytest
from qeff import _core

NAMES = [
    "float16",
    "bfloat16",
    "float8_e4m3fn",
    "float8_e5m2",
    "float6_e2m3fn",
    "float6_e3m2fn",
    "float4_e2m1fn",
    "float8_e8m0fnu",
]
WIDTHS = {"float16": 16, "bfloat16": 16, "float6_e2m3fn": 6, "float6_e3m2fn": 6, "float4_e2m1fn": 4}


def numpy_type(name):
    return np.dtype(np.float16) if name == "float16" else np.dtype(getattr(ml_dtypes, name))


def all_codes(name):
    width = WIDTHS.get(name, 8)
    return np.arange(1 << width).astype(np.uint16 if width == 16 else np.uint8)


def oracle_bits(x, name):
    """Codes of float32 ``x`` as numpy and ml_dtypes give them."""
    dtype = numpy_type(name)
    with np.errstate(all="ignore"):
        return x.astype(dtype).view(np.uint16 if dtype.itemsize == 2 else np.uint8)


def all_inputs():
    """Every float16 and bfloat16 value as float32; NaN only as the quiet one of either sign."""
    bits = np.arange(1 << 16, dtype=np.uint16)
    values = np.concatenate(
        [bits.view(np.float16).astype(np.float32), (bits.astype(np.uint32) << 16).view(np.float32)]
    )
    nan = np.array([np.nan, -np.nan], np.float32)
    return np.concatenate([values[~np.isnan(values)], nan])


def boundaries(name):
    """Each midpoint of neighbouring values, the overflow limit, and both float32 neighbours of each."""
    values = all_codes(name).view(numpy_type(name)).astype(np.float32)
    values = np.unique(values[np.isfinite(values)]).astype(np.float64)
    ulp = values[-1] - values[-2]
    ends = [values[-1] + ulp / 2, values[-1] + ulp]
    middles = np.concatenate([(values[1:] + values[:-1]) / 2, ends, np.negative(ends)])
    with np.errstate(over="ignore"):
        middles = middles.astype(np.float32)
    middles = middles[np.isfinite(middles)]
    infinity = np.float32(np.inf)
    return np.concatenate(
        [middles, np.nextafter(middles, infinity), np.nextafter(middles, -infinity)]
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_code_decodes_as_ml_dtypes(name):
    codes = all_codes(name)
    expected = codes.view(numpy_type(name)).astype(np.float32)
    actual = _core.minifloat_to_float(codes, name)
    np.testing.assert_array_equal(actual, expected)
    numbers = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(actual[numbers]), np.signbit(expected[numbers]))


@pytest.mark.parametrize("name", NAMES)
def test_every_16_bit_value_encodes_as_ml_dtypes(name):
    x = all_inputs()
    assert x.size > 2 * 63000
    np.testing.assert_array_equal(_core.cast_to_minifloat(x, name), oracle_bits(x, name))


@pytest.mark.parametrize("name", NAMES)
def test_both_neighbours_of_every_rounding_boundary_encode_as_ml_dtypes(name):
    x = boundaries(name)
    np.testing.assert_array_equal(_core.cast_to_minifloat(x, name), oracle_bits(x, name))


@pytest.mark.parametrize("name", NAMES)
def test_random_float32_bit_patterns_encode_as_ml_dtypes(name):
    x = (
        np.random.default_rng(0)
        .integers(0, 1 << 32, 1 << 19, dtype=np.uint64)
        .astype(np.uint32)
        .view(np.float32)
    )
    x = x[~np.isnan(x)]
    np.testing.assert_array_equal(_core.cast_to_minifloat(x, name), oracle_bits(x, name))


@pytest.mark.parametrize("name", NAMES)
def test_saturating_replaces_only_what_overflows(name):
    x = np.concatenate([all_inputs(), boundaries(name)])
    top = float(ml_dtypes.finfo(numpy_type(name)).max)
    saturated = _core.cast_to_minifloat(x, name, saturate=True)
    plain = _core.cast_to_minifloat(x, name)
    plain_values = _core.minifloat_to_float(plain, name)
    if name == "float8_e8m0fnu":
        overflow = (x > top) & np.isfinite(x) & np.isnan(plain_values)
        same = ~overflow & (x != 0)
        assert (saturated[x == 0] == 0).all()
    else:
        overflow = ~np.isfinite(plain_values) & ~np.isnan(x)
        same = ~overflow
    np.testing.assert_array_equal(saturated[same], plain[same])
    np.testing.assert_array_equal(
        _core.minifloat_to_float(saturated[overflow], name),
        np.copysign(np.float32(top), x[overflow]),
    )


@pytest.mark.parametrize("name", NAMES)
def test_codes_survive_the_way_to_float_and_back(name):
    codes = all_codes(name)
    values = _core.minifloat_to_float(codes, name)
    numbers = np.isfinite(values)
    np.testing.assert_array_equal(_core.cast_to_minifloat(values[numbers], name), codes[numbers])


def test_scales_round_up_and_down_to_powers_of_two():
    x = np.abs(all_inputs())
    x = x[np.isfinite(x) & (x > 0)]
    up = _core.minifloat_to_float(
        _core.cast_to_minifloat(x, "float8_e8m0fnu", True, "up"), "float8_e8m0fnu"
    )
    down = _core.minifloat_to_float(
        _core.cast_to_minifloat(x, "float8_e8m0fnu", True, "down"), "float8_e8m0fnu"
    )
    top, least = np.float64(2.0**127), np.float64(2.0**-127)
    exponent = np.log2(x.astype(np.float64))
    np.testing.assert_array_equal(up, np.clip(np.exp2(np.ceil(exponent)), least, top))
    np.testing.assert_array_equal(down, np.clip(np.exp2(np.floor(exponent)), least, top))


def test_shape_and_strides_of_the_input_are_kept():
    x = np.linspace(-3, 3, 24, dtype=np.float32).reshape(4, 6)[::-1, ::2]
    codes = _core.cast_to_minifloat(x, "float8_e4m3fn")
    assert codes.shape == x.shape
    np.testing.assert_array_equal(codes, oracle_bits(np.ascontiguousarray(x), "float8_e4m3fn"))


def test_an_unknown_format_and_wrong_codes_are_refused():
    with pytest.raises(ValueError, match="float7"):
        _core.cast_to_minifloat(np.zeros(1, np.float32), "float7")
    with pytest.raises(ValueError, match="uint16"):
        _core.minifloat_to_float(np.zeros(1, np.uint8), "bfloat16")
    with pytest.raises(ValueError, match="float8_e8m0fnu only"):
        _core.cast_to_minifloat(np.zeros(1, np.float32), "float16", False, "up")
