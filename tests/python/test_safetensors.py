"""safetensors files and checkpoints, against the reference package."""

import json
import struct

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qeff import _core
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

DTYPES = [
    "float64",
    "float32",
    "float16",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint64",
    "uint32",
    "uint16",
    "uint8",
]


def raw(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def directory(path, **files):
    (path / "config.json").write_text("{}")
    for name, content in files.items():
        (path / name.replace("__", ".")).write_bytes(content)
    return str(path)


def test_the_header_of_a_file_of_the_reference_is_read(tmp_path):
    path = tmp_path / "m.safetensors"
    tensors = {name: np.arange(6, dtype=name).reshape(2, 3) for name in DTYPES}
    tensors |= {"scalar": np.array(1, np.float32), "empty": np.zeros((0, 4), np.int8)}
    save_file(tensors, path, {"format": "np"})
    header = _core.read_safetensors_header(str(path))
    assert header["metadata"] == {"format": "np"}
    assert set(header["tensors"]) == set(tensors)
    content = path.read_bytes()
    for name, array in tensors.items():
        row = header["tensors"][name]
        assert (row["dtype"], row["shape"], row["nbytes"]) == (
            array.dtype.name,
            array.shape,
            array.nbytes,
        )
        assert content[row["offset"] : row["offset"] + row["nbytes"]] == array.tobytes()


def test_checkpoint_tensors_are_read_only_views_that_outlive_the_checkpoint(tmp_path):
    w = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    save_file({"w": w, "i": np.arange(3)}, tmp_path / "model.safetensors")
    checkpoint = _core.Checkpoint.open(directory(tmp_path))
    array, dtype = checkpoint.tensor("w")
    assert checkpoint.names() == ["i", "w"]
    assert "w" in checkpoint
    assert "x" not in checkpoint
    del checkpoint
    assert dtype == "float32"
    assert not array.flags.writeable
    assert not array.flags.owndata
    np.testing.assert_array_equal(array, w)
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0] = 1


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_types_numpy_does_not_have_come_as_bits_and_as_floats(dtype, tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file as save_torch

    w = np.linspace(-3, 3, 24, dtype=np.float32).reshape(4, 6)
    save_torch({"w": torch.from_numpy(w).to(getattr(torch, dtype))}, tmp_path / "model.safetensors")
    checkpoint = _core.Checkpoint.open(directory(tmp_path))
    bits, name = checkpoint.tensor("w")
    assert name == dtype
    expected = w.astype(getattr(ml_dtypes, dtype))
    np.testing.assert_array_equal(bits.view(expected.dtype), expected)
    np.testing.assert_array_equal(checkpoint.floats("w"), expected.astype(np.float32))


def test_every_float16_becomes_the_float32_numpy_says(tmp_path):
    every = np.arange(65536, dtype=np.uint16).view(np.float16)
    save_file({"w": every[np.isfinite(every)]}, tmp_path / "model.safetensors")
    got = _core.Checkpoint.open(directory(tmp_path)).floats("w")
    np.testing.assert_array_equal(got, every[np.isfinite(every)].astype(np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_named_by_tensor_and_index(value, tmp_path):
    w = np.zeros((4, 5), np.float32)
    w[2, 3] = value
    save_file({"layer.weight": w}, tmp_path / "model.safetensors")
    checkpoint = _core.Checkpoint.open(directory(tmp_path))
    kind = "NaN" if np.isnan(value) else "Inf"
    with pytest.raises(
        ValueError, match=rf"tensor 'layer\.weight' of shape \(4, 5\) has {kind} at flat index 13"
    ):
        checkpoint.floats("layer.weight")


def test_a_missing_tensor_is_named_with_close_names(tmp_path):
    save_file({"encoder.layer.0.weight": np.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(
        ValueError, match=r"'encoder\.layer\.1\.weight' \(close: 'encoder\.layer\.0\.weight'\)"
    ):
        _core.Checkpoint.open(directory(tmp_path)).tensor("encoder.layer.1.weight")


def test_a_directory_with_only_pickles_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(ValueError, match=r"pickle \(pytorch_model\.bin\).*save_pretrained"):
        _core.Checkpoint.open(directory(tmp_path, pytorch_model__bin=b"PK"))


def test_missing_files_are_os_errors(tmp_path):
    with pytest.raises(OSError, match=r"config\.json is missing"):
        _core.Checkpoint.open(str(tmp_path))
    with pytest.raises(OSError, match="No such file"):
        _core.read_safetensors_header(str(tmp_path / "none"))


def test_the_real_model_is_read_as_the_reference_reads_it(minilm):
    checkpoint = _core.Checkpoint.open(str(minilm))
    with safe_open(minilm / "model.safetensors", "numpy") as reference:
        assert sorted(reference.keys()) == checkpoint.names()
        for name in list(reference.keys())[::10]:
            np.testing.assert_array_equal(checkpoint.tensor(name)[0], reference.get_tensor(name))


def reference_accepts(path):
    try:
        with safe_open(path, "numpy"):
            return True
    except (SafetensorError, OSError):
        return False


NUMBERS = st.sampled_from([0, 1, 2, 4, 8, -1, 2**32, 2**63, 2**64 - 1, 2**64])
TENSOR = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "U8", "I64", "BF16", "U9"]),
        "shape": st.lists(NUMBERS, max_size=3),
        "data_offsets": st.lists(NUMBERS, min_size=2, max_size=2),
    }
)


@settings(max_examples=300, deadline=None)
@given(
    header=st.dictionaries(st.sampled_from(["a", "b", "c"]), TENSOR, max_size=3),
    size=st.integers(0, 16),
)
def test_nothing_is_accepted_that_the_reference_refuses(header, size, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "hostile.safetensors"
    path.write_bytes(raw(header, bytes(size)))
    try:
        _core.read_safetensors_header(str(path))
    except ValueError:
        return
    assert reference_accepts(path)
