"""Artifacts from Python: arrays in, the same arrays out, mapped."""

import gc
import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from qeff import _core


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {
        "w": rng.integers(-127, 128, (3, 70), dtype=np.int8),
        "scale": rng.standard_normal((3, 1)).astype(np.float32),
        "bf16": rng.standard_normal(5).astype(ml_dtypes.bfloat16),
        "e4m3": rng.standard_normal((2, 2)).astype(ml_dtypes.float8_e4m3fn),
        "scalar": np.array(7, np.int64),
        "empty": np.zeros((0, 3), np.float16),
        "vocab": np.frombuffer("日本\n".encode(), np.uint8),
        "mask": np.array([True, False]),
    }


@pytest.fixture
def path(tmp_path, arrays):
    _core.write_artifact(str(tmp_path / "m.qeff"), json.dumps({"model": "x"}), arrays)
    return str(tmp_path / "m.qeff")


def test_arrays_come_back_as_they_went_in(path, arrays):
    artifact = _core.Artifact.open(path)
    assert json.loads(artifact.metadata) == {"model": "x"}
    assert [row["name"] for row in artifact.entries] == list(arrays)
    assert artifact.file_bytes == os.path.getsize(path)
    assert artifact.path == path
    for row, (name, array) in zip(artifact.entries, arrays.items(), strict=True):
        assert (row["dtype"], row["shape"], row["nbytes"]) == (
            array.dtype.name,
            array.shape,
            array.nbytes,
        )
        got = artifact.tensor(name)
        assert name in artifact
        assert got.shape == array.shape
        assert got.tobytes() == array.tobytes()
    assert artifact.tensor("bf16").dtype == np.uint16
    assert artifact.tensor("mask").dtype == np.bool_


def test_arrays_are_read_only_aligned_and_keep_the_artifact_open(path, arrays):
    artifact = _core.Artifact.open(path)
    views = [artifact.tensor("w") for _ in range(3)]
    del artifact
    gc.collect()
    for view in views:
        assert not view.flags.writeable
        assert not view.flags.owndata
        assert view.ctypes.data % 64 == 0
        np.testing.assert_array_equal(view, arrays["w"])


def test_a_flipped_byte_is_refused_and_the_entry_named(path, tmp_path):
    content = bytearray(Path(path).read_bytes())
    offset = content.index("日本".encode())
    content[offset] ^= 4
    broken = tmp_path / "broken.qeff"
    broken.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(str(broken)) + ".*'vocab' is damaged"):
        _core.Artifact.open(str(broken))
    assert _core.Artifact.open(str(broken), verify=False).tensor("w").shape == (3, 70)


def test_a_newer_version_says_both_versions(path, tmp_path):
    content = bytearray(Path(path).read_bytes())
    content[8] = 2
    (tmp_path / "new.qeff").write_bytes(content)
    with pytest.raises(ValueError, match="artifact version 2, this qeff reads up to version 1"):
        _core.Artifact.open(str(tmp_path / "new.qeff"))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(2, ">f4"), "'x' is big-endian"),
        (np.zeros((4, 4))[:, ::2], "'x' is not C-contiguous"),
        (np.zeros(2, object), "'x': dtype object"),
        (np.zeros(2, np.complex64), "'x': dtype complex64"),
        (np.zeros(2, ml_dtypes.int4), "'x': dtype int4"),
    ],
)
def test_arrays_that_cannot_be_stored_are_refused_and_nothing_is_written(array, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        _core.write_artifact(str(tmp_path / "m.qeff"), "{}", {"x": array})
    assert list(tmp_path.iterdir()) == []


def test_output_paths_that_cannot_be_written_are_os_errors(tmp_path):
    for out in (tmp_path, tmp_path / "none" / "m.qeff"):
        with pytest.raises(OSError, match="cannot be written"):
            _core.write_artifact(str(out), "{}", {})
    assert list(tmp_path.iterdir()) == []


def test_an_input_is_refused_as_output(path):
    before = Path(path).read_bytes()
    with pytest.raises(ValueError, match="same file as the input"):
        _core.write_artifact(path, "{}", {}, inputs=[path])
    assert Path(path).read_bytes() == before
    assert _core.same_file(path, os.path.join(os.path.dirname(path), ".", "m.qeff"))


PEAK = """
import pathlib, sys, numpy
from qeff import _core
def peak():
    return int(next(line for line in pathlib.Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")).split()[1])
before = peak()
artifact = _core.Artifact.open(sys.argv[1])
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_verification_does_not_make_the_file_resident(tmp_path):
    path = str(tmp_path / "large.qeff")
    _core.write_artifact(
        path, "{}", {"w": np.random.default_rng(0).integers(0, 256, 64 << 20, dtype=np.uint8)}
    )
    out = subprocess.run(
        [sys.executable, "-c", PEAK, path], capture_output=True, text=True, check=True
    )
    assert int(out.stdout) < 12 << 10, "KiB more than before, for a file of 64 MiB"


def test_opening_and_dropping_artifacts_leaks_no_descriptors(path):
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    before = len(os.listdir("/proc/self/fd"))
    artifacts = [_core.Artifact.open(path) for _ in range(min(soft, 256))]
    assert len(os.listdir("/proc/self/fd")) <= before + 1
    assert artifacts[-1].tensor("w").shape == (3, 70)
