"""The node tests of the ONNX standard that qeff has an operation for, run through the bindings."""

import ml_dtypes
import numpy as np
import pytest
from qeff import _core

onnx = pytest.importorskip("onnx")

CASTS = [
    f"{mode}{source}_to_{target}"
    for mode, sources, targets in [
        (
            "",
            ["FLOAT", "FLOAT16"],
            ["FLOAT4E2M1", "FLOAT8E4M3FN", "FLOAT8E5M2", "INT2", "INT4", "UINT2", "UINT4"],
        ),
        ("", ["FLOAT4E2M1", "FLOAT8E4M3FN", "FLOAT8E5M2"], ["FLOAT", "FLOAT16"]),
        ("", ["INT2", "INT4", "UINT2", "UINT4"], ["FLOAT", "FLOAT16"]),
        ("", ["INT2", "INT4"], ["INT8"]),
        ("", ["UINT2", "UINT4"], ["UINT8"]),
        ("e8m0_", ["FLOAT", "FLOAT16"], ["FLOAT8E8M0"]),
        ("e8m0_", ["FLOAT8E8M0"], ["FLOAT", "FLOAT16"]),
        ("no_saturate_", ["FLOAT", "FLOAT16"], ["FLOAT8E4M3FN", "FLOAT8E5M2"]),
    ]
    for source in sources
    for target in targets
]
QUANTIZE = [
    "", "_axis", "_blocked_symmetric", "_e4m3fn", "_e5m2", "_float4e2m1",
    "_int16", "_int2", "_int4", "_uint16", "_uint2", "_uint4",
]  # fmt: skip
DEQUANTIZE = [
    "", "_axis", "_e4m3fn", "_e4m3fn_zero_point", "_e5m2", "_float4e2m1",
    "_int16", "_int2", "_int4", "_uint16", "_uint2", "_uint4",
]  # fmt: skip


class Vector:
    """One node test: its attributes, inputs and outputs."""

    def __init__(self, folder):
        if not folder.is_dir():
            pytest.skip(f"{folder} is missing")
        self.node = onnx.load(folder / "model.onnx").graph.node[0]
        self.attributes = {a.name: onnx.helper.get_attribute_value(a) for a in self.node.attribute}
        self.inputs, self.outputs = self._tensors(folder, "input"), self._tensors(folder, "output")

    @staticmethod
    def _tensors(folder, kind):
        arrays = []
        for path in sorted((folder / "test_data_set_0").glob(f"{kind}_*.pb")):
            proto = onnx.TensorProto()
            proto.ParseFromString(path.read_bytes())
            arrays.append(onnx.numpy_helper.to_array(proto))
        return arrays


@pytest.fixture
def vector(shared):
    return lambda name: Vector(shared / "data/vectors/onnx_node" / name)


def is_minifloat(dtype):
    return dtype.name.startswith("float8") or dtype.name.startswith("float4")


def limits(dtype):
    """Smallest and largest code of an integer type, ml_dtypes' narrow ones included."""
    info = ml_dtypes.iinfo(dtype)
    return int(info.min), int(info.max)


def width(dtype):
    return int(dtype.name.removeprefix("u").removeprefix("int"))


def codes(array):
    return array.view(np.uint8)


def to_float32(array):
    """Any of the vectors' types as float32, by qeff where qeff knows the type."""
    dtype = array.dtype
    if dtype == np.float16:
        return _core.minifloat_to_float(array.view(np.uint16), "float16")
    if is_minifloat(dtype):
        return _core.minifloat_to_float(codes(array), dtype.name)
    if dtype.kind == "f":
        return array
    return _core.decode_affine(array.astype(np.int32), 1.0, 0)


def narrow_integers(x, dtype):
    """Cast to INT2/4, UINT2/4: the low bits of the integer, as the standard says, via packed bits."""
    bits = width(dtype)
    whole = _core.encode_affine(x, 1.0, 0, -32768, 32767).astype(np.int8).ravel()
    packed = _core.pack_bits(whole, bits)
    signed = not dtype.name.startswith("u")
    return _core.unpack_bits(packed, bits, whole.size, signed=signed).reshape(x.shape)


def same_floats(actual, expected):
    np.testing.assert_array_equal(actual, expected)
    numbers = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(actual[numbers]), np.signbit(expected[numbers]))


@pytest.mark.parametrize("name", CASTS)
def test_cast(name, vector):
    case = vector(f"test_cast_{name}")
    (x,), (y,) = case.inputs, case.outputs
    values = to_float32(x)
    if is_minifloat(y.dtype):
        saturate = bool(case.attributes.get("saturate", 1))
        rounding = case.attributes.get("round_mode", b"nearest").decode()
        actual = _core.cast_to_minifloat(values, y.dtype.name, saturate, rounding)
        np.testing.assert_array_equal(actual, codes(y))
    elif y.dtype == np.float16:
        actual = _core.cast_to_minifloat(values, "float16").view(np.float16)
        same_floats(actual.astype(np.float32), y.astype(np.float32))
    elif y.dtype == np.float32:
        same_floats(values, y)
    else:
        np.testing.assert_array_equal(narrow_integers(values, y.dtype), y.astype(np.int32))


def slices(case, x):
    """(index of a part of x, its scale, its zero point): the parts that share a scale."""
    scale = case.inputs[1]
    zero = case.inputs[2] if len(case.inputs) > 2 else None
    axis = case.attributes.get("axis", 1)
    block = case.attributes.get("block_size", 0)
    for place in np.ndindex(scale.shape):
        index = [slice(None)] * x.ndim
        if block:
            for i, p in enumerate(place):
                index[i] = slice(p * block, (p + 1) * block) if i == axis else p
        elif place:
            index[axis] = place[0]
        at = (
            place
            if zero is not None and zero.shape == scale.shape
            else (0,) * (zero.ndim if zero is not None else 0)
        )
        yield tuple(index), float(scale[place]), zero[at] if zero is not None else None


@pytest.mark.parametrize("name", QUANTIZE)
def test_quantize_linear(name, vector):
    case = vector(f"test_quantizelinear{name}")
    x, y = case.inputs[0], case.outputs[0]
    if is_minifloat(y.dtype):
        for index, scale, zero in slices(case, x):
            assert float(zero) == 0
            scaled = x[index] / np.float32(scale) + np.float32(
                0
            )  # the zero point: it turns -0 into 0
            actual = _core.cast_to_minifloat(scaled, y.dtype.name, True)
            np.testing.assert_array_equal(actual, codes(y)[index])
        return
    qmin, qmax = limits(y.dtype)
    for index, scale, zero in slices(case, x):
        actual = _core.encode_affine(
            x[index], scale, int(zero) if zero is not None else 0, qmin, qmax
        )
        np.testing.assert_array_equal(actual, y[index].astype(np.int32))


@pytest.mark.parametrize("name", DEQUANTIZE)
def test_dequantize_linear(name, vector):
    case = vector(f"test_dequantizelinear{name}")
    x, y = case.inputs[0], case.outputs[0]
    for index, scale, zero in slices(case, x):
        if is_minifloat(x.dtype):
            assert zero is None or float(zero) == 0
            actual = _core.minifloat_to_float(codes(x)[index], x.dtype.name) * np.float32(scale)
        else:
            actual = _core.decode_affine(x[index].astype(np.int32), scale, int(zero))
        np.testing.assert_array_equal(actual, y[index])


@pytest.mark.parametrize("name", ["", "_max_adjusted", "_min_adjusted"])
@pytest.mark.parametrize("form", ["", "_expanded"])
def test_dynamic_quantize_linear(name, form, vector):
    case = vector(f"test_dynamicquantizelinear{name}{form}")
    (x,), (y, scale, zero) = case.inputs, case.outputs
    q = _core.quantize_affine(
        x.reshape(1, -1), bits=8, symmetric=False, signed=False, granularity="per_tensor"
    )
    np.testing.assert_array_equal(q.codes.reshape(y.shape), y)
    assert q.scale[0, 0] == scale
    assert q.zero_point[0, 0] == zero


def test_matmul_integer(vector):
    case = vector("test_matmulinteger")
    a, b, a_zero, b_zero = case.inputs
    left = _core.decode_affine(a.astype(np.int32), 1.0, int(a_zero[0]))
    right = _core.decode_affine(b.astype(np.int32), 1.0, int(b_zero[0]))
    np.testing.assert_array_equal((left @ right).astype(np.int32), case.outputs[0])


def test_every_vector_is_used(shared):
    """A vector that is added to the folder must be added to a list above."""
    folder = shared / "data/vectors/onnx_node"
    if not folder.is_dir():
        pytest.skip(f"{folder} is missing")
    used = {f"test_cast_{n}" for n in CASTS} | {"test_matmulinteger"}
    used |= {f"test_quantizelinear{n}" for n in QUANTIZE} | {
        f"test_dequantizelinear{n}" for n in DEQUANTIZE
    }
    used |= {
        f"test_dynamicquantizelinear{n}{f}"
        for n in ("", "_max_adjusted", "_min_adjusted")
        for f in ("", "_expanded")
    }
    assert {path.name for path in folder.iterdir()} == used
