"""What models that run through transformers refuse, and what they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import qeff

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("tokenizers")

from tiny_families import compiled, make_family

PROMPT = [30, 40, 50, 60, 70, 80, 90]


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    names = ("bloom", "falcon", "mamba")
    return {name: make_family(name, tmp_path_factory.mktemp(name)) for name in names}


@pytest.fixture(scope="module")
def model(directories: dict[str, Path]) -> qeff.QEFFAutoModelForCausalLM:
    """The tiny Bloom in floats."""
    return compiled(directories["bloom"], None, ctx_len=64)


@pytest.fixture(scope="module")
def runner(model: qeff.QEFFAutoModelForCausalLM) -> Any:
    return model.session


@pytest.mark.parametrize(
    ("prompts", "options", "error", "reason"),
    [
        ([[]], {}, qeff.InvalidArgument, "prompt 0 is empty"),
        ([[5], [258]], {}, qeff.InvalidArgument, r"prompts\[1\].*258.*vocabulary of 258"),
        ([PROMPT], {"temperature": -1}, qeff.InvalidArgument, "temperature"),
        ([PROMPT], {"top_p": 0}, qeff.InvalidArgument, "top_p"),
        ([PROMPT], {"min_p": 2}, qeff.InvalidArgument, "min_p"),
        ([PROMPT], {"repetition_penalty": 0}, qeff.InvalidArgument, "repetition_penalty"),
        ([PROMPT], {"num_return_sequences": 2}, qeff.InvalidArgument, "temperature"),
        ([PROMPT], {"seeds": [1, 2]}, qeff.InvalidArgument, "seeds: 2 for 1"),
        ([PROMPT], {"top_logprobs": 300}, qeff.InvalidArgument, "top_logprobs"),
        ([PROMPT], {"presence_penalty": 1.0}, qeff.Unsupported, "presence_penalty"),
        ([PROMPT], {"frequency_penalty": 1.0}, qeff.Unsupported, "frequency_penalty"),
        ([PROMPT], {"prefill_chunk": 8}, qeff.Unsupported, "prefill_chunk"),
        ([PROMPT], {"assistant_model": object()}, qeff.Unsupported, "assistant_model"),
        ([PROMPT], {"max_tokens": 3}, TypeError, "max_tokens"),
    ],
)
def test_bad_values_are_named(
    runner: Any, prompts: Any, options: dict[str, Any], error: Any, reason: str
) -> None:
    with pytest.raises(error, match=reason):
        runner.generate(prompts, **options)


def test_logits_without_a_number_are_an_error(directories: dict[str, Path]) -> None:
    broken = compiled(directories["bloom"], None).session
    with torch.no_grad():
        broken.module.transformer.ln_f.weight.fill_(float("nan"))
    with pytest.raises(qeff.InvalidArgument, match="not a number"):
        broken.generate(PROMPT)
    with pytest.raises(qeff.InvalidArgument, match="not a number"):
        broken.perplexity(PROMPT, ctx=4)


@pytest.mark.parametrize(
    ("options", "error", "reason"),
    [
        ({"kv_cache": "int8"}, qeff.Unsupported, "kv_cache='int8'.*float32"),
        ({"kv_cache": "int3"}, qeff.InvalidArgument, "kv_cache"),
        ({"prefill_seq_len": 32}, qeff.Unsupported, "prefill_seq_len"),
        ({"quantization": "autoround"}, qeff.Unsupported, "autoround"),
        ({"quantization": {"method": "gptq", "target_bits": 4.5}}, qeff.Unsupported, "target_bits"),
        ({"ctx_length": 3}, TypeError, "ctx_len"),
    ],
)
def test_options_that_mean_nothing_here_are_refused(
    directories: dict[str, Path], options: dict[str, Any], error: Any, reason: str
) -> None:
    fresh = qeff.QEFFAutoModelForCausalLM.from_pretrained(directories["bloom"])
    with pytest.raises(error, match=reason):
        fresh.compile(**options)


def test_options_of_a_session_are_checked_and_noted(
    model: Any, directories: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(qeff.Unsupported, match="kv_cache"):
        qeff.load(model.path, kv_cache="int8")
    qeff.load(model.path, batch_size=4)
    assert "batch_size=4 has no effect" in caplog.text
    long = compiled(directories["falcon"], None)
    with pytest.raises(qeff.InvalidArgument, match="ctx_len 65 is more than the 64 positions"):
        qeff.load(str(long.path), ctx_len=65)


def test_models_that_transformers_cannot_run_are_refused(
    directories: dict[str, Path], tmp_path: Path
) -> None:
    config = json.loads((directories["bloom"] / "config.json").read_text())

    def refused(error: Any, reason: str, **changes: Any) -> None:
        (tmp_path / "config.json").write_text(json.dumps(config | changes))
        with pytest.raises(error, match=reason):
            qeff.QEFFAutoModelForCausalLM.from_pretrained(tmp_path)

    refused(qeff.Unsupported, "never-heard-of", model_type="never-heard-of")
    refused(qeff.Unsupported, "BloomModel is no causal", architectures=["BloomModel"])
    refused(qeff.Unsupported, "no native decoder$|bloom", quantization_config={"bits": 4})


def test_missing_tensors_are_named(directories: dict[str, Path], tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    tensors = load_file(directories["bloom"] / "model.safetensors")
    gone = next(name for name in tensors if name.endswith("mlp.dense_h_to_4h.weight"))
    del tensors[gone]
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    (tmp_path / "config.json").write_text((directories["bloom"] / "config.json").read_text())
    fresh = qeff.QEFFAutoModelForCausalLM.from_pretrained(tmp_path)
    with pytest.raises(qeff.FormatError, match=r"has no tensor .*dense_h_to_4h.weight"):
        fresh.compile(tmp_path / "m.qeff")
    assert not (tmp_path / "m.qeff").exists()


def test_what_transformers_refuses_is_an_error_of_ours(directories: dict[str, Path]) -> None:
    recurrent = compiled(directories["mamba"], None)
    with pytest.raises(qeff.Unsupported, match="generate: transformers refuses"):
        recurrent.generate(prompts=PROMPT, prompt_lookup_num_tokens=3)
