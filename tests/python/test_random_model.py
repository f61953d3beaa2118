"""Random models of real shapes: benchmarks/make_random_model.py."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import qeff
from conftest import ROOT
from qeff import _core


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    import sys

    path = ROOT / "benchmarks" / "make_random_model.py"
    spec = importlib.util.spec_from_file_location("make_random_model", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_random_model"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_the_model_compiles_and_runs(maker: ModuleType, tmp_path: Path) -> None:
    assert maker.main([str(tmp_path / "m"), "--shape", "tiny", "--layers", "1"]) == 0
    model = qeff.QEFFAutoModelForCausalLM.from_pretrained(tmp_path / "m")
    model.compile(quantization="int4")
    assert len(model.generate(prompts=[[5, 6, 7]], generation_len=4)[0]) > 0
    names = _core.Checkpoint.open(str(tmp_path / "m")).names()
    assert not any("layers.1." in name for name in names)


def test_the_same_seed_gives_the_same_bytes_however_they_are_cut(
    maker: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def weights(name: str, *options: str) -> bytes:
        maker.main([str(tmp_path / name), "--shape", "tiny", *options])
        return (tmp_path / name / "model.safetensors").read_bytes()

    first = weights("a")
    assert weights("b", "--seed", "1") != first
    monkeypatch.setattr(maker, "_ROWS", 7)
    assert weights("c") == first


def test_values_are_rounded_to_the_nearest_bfloat16(maker: ModuleType) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    values = np.random.default_rng(0).standard_normal(10000, dtype=np.float32)
    expected = values.astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(maker.to_bfloat16(values), expected.view(np.uint16))
    back = maker.from_bfloat16(maker.to_bfloat16(values))
    np.testing.assert_array_equal(back, expected.astype(np.float32))


def test_the_gguf_is_the_same_model(maker: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    out = tmp_path / "m.gguf"
    maker.main([str(tmp_path / "m"), "--shape", "tiny", "--gguf", str(out)])
    directory, file = (_core.Checkpoint.open(str(path)) for path in (tmp_path / "m", out))
    assert sorted(file.names()) == sorted(directory.names())
    for name in directory.names():
        np.testing.assert_allclose(file.floats(name), directory.floats(name), atol=1e-7)
    said, wanted = (json.loads(checkpoint.config) for checkpoint in (file, directory))
    for key in ("hidden_size", "num_key_value_heads", "vocab_size", "rope_theta"):
        assert said[key] == wanted[key]


def test_real_shapes_have_their_published_numbers_of_parameters(maker: ModuleType) -> None:
    def parameters(name: str) -> int:
        return sum(int(np.prod(t.size)) for t in maker.tensors_of(maker.SHAPES[name]))

    assert parameters("tinyllama-1.1b") == 1_100_048_384
    assert parameters("llama-7b") == 6_738_415_616
