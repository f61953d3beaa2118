"""Causal language models without a native form run through transformers with packed layers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import qeff
from qeff import _core

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("tokenizers")

from qeff.integrations.modules import PackedEmbedding, PackedLinear
from streamers import RecordingStreamer
from tiny_families import FAMILIES, compiled, make_family

PROMPT = [30, 40, 50, 60, 70, 80, 90]


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A directory of each family."""
    return {name: make_family(name, tmp_path_factory.mktemp(name)) for name in FAMILIES}


def reference(directory: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()


def reference_logits(directory: Path, ids: list[int]) -> np.ndarray:
    with torch.no_grad():
        return reference(directory)(torch.tensor([ids])).logits[0].numpy()


@pytest.fixture(scope="module")
def model(directories: dict[str, Path]) -> qeff.QEFFAutoModelForCausalLM:
    """The tiny Bloom in floats."""
    return compiled(directories["bloom"], None, ctx_len=64)


@pytest.fixture(scope="module")
def runner(model: qeff.QEFFAutoModelForCausalLM) -> Any:
    return model.session


def mean_cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.mean((a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)))


@pytest.mark.parametrize("name", FAMILIES)
def test_floats_give_the_logits_and_tokens_of_transformers(
    directories: dict[str, Path], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    plain = compiled(directories[name], None)
    assert f'model_type "{name}" has no native decoder' in caplog.text
    assert "running it through transformers and torch" in caplog.text
    expected = reference_logits(directories[name], PROMPT)
    np.testing.assert_allclose(plain.session.logits(PROMPT), expected, atol=5e-4)
    tokens = reference(directories[name]).generate(
        torch.tensor([PROMPT]),
        attention_mask=torch.ones(1, len(PROMPT), dtype=torch.long),
        max_new_tokens=12,
        do_sample=False,
    )[0, len(PROMPT) :]
    got = plain.generate(prompts=PROMPT, generation_len=12)
    assert got.dtype == np.int32
    assert got.tolist() == tokens.tolist()


@pytest.mark.parametrize("name", FAMILIES)
def test_int8_stays_close_is_stored_packed_and_loads_again(
    directories: dict[str, Path], name: str
) -> None:
    packed = compiled(directories[name], "int8")
    assert mean_cosine(
        packed.session.logits(PROMPT), reference_logits(directories[name], PROMPT)
    ) > (0.98 if name == "mamba" else 0.995)
    modules = list(packed.session.module.modules())
    assert any(isinstance(m, PackedEmbedding) for m in modules)
    assert isinstance(packed.session.module.get_output_embeddings(), PackedLinear)
    assert not [m for m in modules if isinstance(m, torch.nn.Linear | torch.nn.Embedding)]
    stored = [str(entry["name"]) for entry in _core.Artifact.open(str(packed.path), False).entries]
    rows = [row for row in packed.report if "bytes" in row]
    for row in rows:
        assert f"tensors/{row['name']}.weight" not in stored
        assert any(name.startswith(f"modules/{row['name']}/") for name in stored)
    assert sum(row["bytes"] for row in rows) < 0.45 * 4 * sum(r["rows"] * r["cols"] for r in rows)
    again = qeff.load(str(packed.path), 1)
    options = {"max_new_tokens": 8}
    assert again.generate(PROMPT, **options).tolist() == (
        packed.generate(prompts=PROMPT, **options).tolist()
    )
    assert again.explain() == packed.explain()
    assert {row["scheme"] for row in packed.report} >= {"int8-g64", "int8", "i8 rows"}


@pytest.mark.parametrize(
    ("scheme", "least"),
    [("int4", 0.9), ("gptq", 0.9), ("awq", 0.9), ("nf4", 0.9), ("fp4", 0.85), ("fp8", 0.98)],
)
def test_every_scheme_keeps_the_head_in_int8(
    directories: dict[str, Path], scheme: str, least: float
) -> None:
    options: dict[str, Any] = {}
    if scheme in ("gptq", "awq"):
        options["calibration"] = np.random.default_rng(0).integers(2, 258, (8, 24))
    packed = compiled(directories["bloom"], scheme, **options)
    got = packed.session.logits(PROMPT)
    assert least < mean_cosine(got, reference_logits(directories["bloom"], PROMPT)) < 0.99999
    rows = {row["name"]: row["scheme"] for row in packed.report}
    assert rows["lm_head"] == "int8"
    assert rows["transformer.word_embeddings"] == "i8 rows"
    assert len(set(rows.values())) == 3


def test_infinite_numbers_of_a_configuration_come_back(tmp_path: Path) -> None:
    make_family("bloom", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["horizon"] = {"__float__": "Infinity"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert compiled(tmp_path, None).session.module.config.horizon == float("inf")


def test_texts_calibrate(directories: dict[str, Path]) -> None:
    texts = ["some words to calibrate on, again and again"] * 4
    packed = compiled(directories["bloom"], "gptq", calibration=texts)
    assert packed.report.facts["calibration"] == "4 given texts"
    assert packed.report.facts["runtime"] == "transformers"
    assert not [row["note"] for row in packed.report if row.get("note")]


def test_stacked_experts_are_reported(directories: dict[str, Path]) -> None:
    notes = [row for row in compiled(directories["mixtral"], "int8").report if row.get("note")]
    assert any("Experts" in row["name"] and "float32" in row["note"] for row in notes)
    with pytest.raises(qeff.Unsupported, match=r"strict.*MixtralExperts"):
        compiled(directories["mixtral"], "int8", strict=True)


def test_texts_streams_and_stop_strings_agree(model: Any, runner: Any) -> None:
    options = {"max_new_tokens": 24, "temperature": 1.0, "seed": 4}
    whole = model.generate(prompts="stream", **options)
    assert isinstance(whole, str)
    assert len(whole) > 8
    assert "".join(model.stream("stream", **options)) == whole
    stop = whole[4:6]
    output = runner.generate(["stream"], stop=["never there", stop], details=True, **options)
    assert output.texts[0].text == whole[: whole.index(stop)]
    assert output.texts[0].finish_reason == "stop"
    assert output.stats["generated_tokens"] == len(output.texts[0].ids)
    assert output.stats["prompt_tokens"] == 6
    assert "".join(runner.chat("hello", stream=True, **options)) == runner.chat("hello", **options)


def test_a_consumer_that_stops_early_stops_the_generation(runner: Any) -> None:
    pieces = runner.stream("go", max_new_tokens=60, temperature=1.0)
    next(pieces)
    pieces.close()
    assert len(runner.generate([5], max_new_tokens=2)) == 2


def test_a_session_works_for_one_call_at_a_time(runner: Any) -> None:
    class Intruder:
        def put(self, value: Any) -> None:
            if len(value) == 1 and np.asarray(value).ndim == 1:  # a token, not the prompt
                runner.generate([5], max_new_tokens=1)

        def end(self) -> None: ...

    with pytest.raises(qeff.InvalidArgument, match="in use by another call"):
        runner.generate(PROMPT, streamer=Intruder())
    assert len(runner.generate([5], max_new_tokens=2)) == 2


def test_a_streamer_gets_the_prompt_and_every_token(runner: Any) -> None:
    streamer = RecordingStreamer()
    new = runner.generate(PROMPT, max_new_tokens=5, streamer=streamer)
    assert streamer.seen == [PROMPT, *([i] for i in new.tolist())]
    assert streamer.ended == 1


def test_a_tokenizer_of_transformers_is_used_if_given(
    model: Any, directories: dict[str, Path]
) -> None:
    file = str(directories["bloom"] / "tokenizer.json")
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=file)
    given = model.generate(tokenizer, prompts=["a b"], generation_len=6)
    assert given == [
        tokenizer.decode(
            model.generate(prompts=[runner_ids(model, "a b")], generation_len=6)[0].tolist(),
            skip_special_tokens=True,
        )
    ]


def runner_ids(model: Any, text: str) -> list[int]:
    return model.session.ids_of(text)


def test_sampling_can_be_repeated_and_leaves_torch_alone(runner: Any) -> None:
    options = {"max_new_tokens": 8, "temperature": 1.0, "top_k": 50, "top_p": 0.95, "min_p": 0.01}
    torch.manual_seed(11)
    before = torch.random.get_rng_state()
    texts = runner.generate([PROMPT], num_return_sequences=3, seed=5, **options)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert len({tuple(t.tolist()) for t in texts}) == 3
    again = runner.generate([PROMPT], num_return_sequences=3, seed=5, **options)
    assert [t.tolist() for t in again] == [t.tolist() for t in texts]
    both = runner.generate([[9], PROMPT], seeds=[1, 5], **options)
    assert both[1].tolist() == texts[0].tolist()


def test_log_probabilities_are_those_of_the_logits(runner: Any) -> None:
    text = runner.generate([PROMPT], max_new_tokens=4, top_logprobs=2, details=True).texts[0]
    logits = runner.logits([*PROMPT, *text.ids[:-1].tolist()])[len(PROMPT) - 1 :]
    wanted = torch.from_numpy(logits).log_softmax(-1).numpy()
    for row, id, logprob, top in zip(
        wanted, text.ids, text.logprobs, text.top_logprobs, strict=True
    ):
        assert logprob == pytest.approx(row[id], abs=1e-3)
        assert [t[0] for t in top] == np.argsort(-row)[:2].tolist()


def test_prompt_lookup_changes_no_token(runner: Any) -> None:
    prompt = PROMPT * 3
    plain = runner.generate([prompt], max_new_tokens=16, details=True)
    guessed = runner.generate([prompt], max_new_tokens=16, prompt_lookup_num_tokens=4, details=True)
    assert guessed.texts[0].ids.tolist() == plain.texts[0].ids.tolist()
    assert plain.stats["runs"] == 16


def test_a_text_ends_where_its_context_ends(model: Any) -> None:
    small = qeff.load(model.path, 1, ctx_len=16)
    output = small.generate([[5] * 14, [6]], max_new_tokens=4, details=True)
    assert [len(t.ids) for t in output.texts] == [3, 4]
    assert [t.finish_reason for t in output.texts] == ["context", "length"]
    with pytest.raises(qeff.InvalidArgument, match=r"prompt 0 has 17 tokens.*ctx_len = 16"):
        small.generate([[5] * 17])


def test_a_text_ends_at_its_eos(runner: Any) -> None:
    tokens = runner.generate(PROMPT, max_new_tokens=8).tolist()
    end = next(t for t in tokens[1:] if t != tokens[0])
    text = runner.generate([PROMPT], max_new_tokens=8, eos_token_id=end, details=True).texts[0]
    assert text.ids.tolist() == tokens[: tokens.index(end) + 1]
    assert text.finish_reason == "eos"


def test_perplexity_and_divergence_follow_from_the_logits(
    runner: Any, directories: dict[str, Path]
) -> None:
    ids = np.random.default_rng(0).integers(2, 258, 50).tolist()
    losses = []
    for begin in (0, 16, 32):
        rows = torch.from_numpy(reference_logits(directories["bloom"], ids[begin : begin + 16]))
        chosen = torch.tensor(ids[begin + 1 : begin + 16])
        losses += torch.nn.functional.cross_entropy(rows[:-1], chosen, reduction="none").tolist()
    result = runner.perplexity(ids, ctx=16)
    assert result["mean_loss"] == pytest.approx(np.mean(losses), abs=1e-4)
    assert (result["contexts"], result["predictions"]) == (3, 45)
    same = runner.kl_divergence(runner, ids, ctx=16)
    assert same["mean_kl"] == pytest.approx(0, abs=1e-7)
    assert same["same_top_share"] == 1
    other = compiled(directories["bloom"], "int4").session.kl_divergence(runner, ids, ctx=16)
    assert 0 < other["mean_kl"] <= other["max_kl"]
    assert other["reference"]["mean_loss"] == pytest.approx(result["mean_loss"])


def test_an_artifact_says_what_it_is(model: Any) -> None:
    assert model.session.metadata["kind"] == "transformers_causal_lm"
    again = qeff.QEFFAutoModelForCausalLM.from_pretrained(model.path)
    assert again.generate(prompts=PROMPT, max_new_tokens=3).tolist() == (
        model.generate(prompts=PROMPT, max_new_tokens=3).tolist()
    )
    with pytest.raises(qeff.Unsupported, match="compiled already"):
        again.compile()
    with pytest.raises(qeff.Unsupported, match="QEFFAutoModelForCausalLM"):
        qeff.QEFFAutoModel.from_pretrained(model.path)


def test_the_command_line(directories: dict[str, Path], tmp_path: Path) -> None:
    from qeff.cli import app
    from typer.testing import CliRunner

    def run(*arguments: Any, code: int = 0) -> Any:
        done = CliRunner().invoke(app, [*map(str, arguments)])
        assert done.exit_code == code, done.output
        return done

    reason = 'through transformers: model_type "bloom" has no native decoder'
    shown = json.loads(run("inspect", directories["bloom"], "--json").stdout)
    assert shown["metadata"]["runs"].startswith(reason)
    artifact = tmp_path / "m.qeff"
    report = json.loads(run("compile", directories["bloom"], artifact, "--json").stdout)
    assert report["runtime"] == "transformers"
    assert json.loads(run("inspect", artifact, "--json").stdout)["metadata"]["runs"].startswith(
        reason
    )
    made = json.loads(
        run("generate", artifact, "--prompt", "ab", "--max-new-tokens", 3, "--json").stdout
    )
    assert len(made["ids"]) == 3
    text = tmp_path / "t.txt"
    text.write_text("a text to measure")
    measured = run("eval", "perplexity", artifact, "--text", text, "--ctx", 8, "--json")
    assert json.loads(measured.stdout)["contexts"] == 2
    run("eval", "perplexity", artifact, "--text", text, "--kv-cache", "int8", code=3)
    refused = run("bench", "llm", artifact, code=3)
    assert "only native language models are timed" in refused.output
