"""Causal language models from Python: compile, generate, stream, chat, measure."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import qeff
from qeff.causal_text import LanguageTokenizer, StopFilter, _RustCodec
from streamers import RecordingStreamer


@pytest.fixture(scope="module")
def reference(llama: Path) -> Any:
    transformers = pytest.importorskip("transformers")
    return transformers.LlamaForCausalLM.from_pretrained(llama, dtype="float32").eval()


def reference_logits(reference: Any, ids: list[int]) -> np.ndarray:
    torch = pytest.importorskip("torch")
    with torch.no_grad():
        return reference(torch.tensor([ids])).logits[0].numpy()


def test_greedy_tokens_equal_those_of_transformers(runner: Any, reference: Any) -> None:
    torch = pytest.importorskip("torch")
    for prompt in ("a", "Hello there", "0123456789" * 3):
        ids = runner.ids_of(prompt)
        wanted = reference.generate(torch.tensor([ids]), max_new_tokens=20, do_sample=False)
        assert runner.generate(ids, max_new_tokens=20).tolist() == wanted[0, len(ids) :].tolist()


def test_logits_and_perplexity_equal_those_of_transformers(runner: Any, reference: Any) -> None:
    ids = np.random.default_rng(0).integers(2, runner.vocab_size, 90).tolist()
    logits = runner.logits(ids)
    np.testing.assert_allclose(logits, reference_logits(reference, ids), atol=2e-4)
    losses = []
    for begin in range(0, 80, 16):
        rows = reference_logits(reference, ids[begin : begin + 16]).astype(np.float64)
        log_sums = np.log(np.exp(rows).sum(-1))
        losses += [log_sums[i] - rows[i, ids[begin + i + 1]] for i in range(15)]
    measured = runner.perplexity(ids, ctx=16, tokens=85)
    assert measured["perplexity"] == pytest.approx(np.exp(np.mean(losses)), rel=1e-4)
    assert (measured["contexts"], measured["predictions"]) == (5, 75)


def test_a_model_does_not_diverge_from_itself(runner: Any) -> None:
    result = runner.kl_divergence(runner, "some text to compare two models on", ctx=8)
    assert result["mean_kl"] == pytest.approx(0, abs=1e-9)
    assert result["same_top_share"] == 1


def test_texts_of_a_batch_are_those_of_each_alone(runner: Any) -> None:
    prompts = ["one", "a second prompt", "3", "and the fourth one of them"]
    options = {"max_new_tokens": 12, "temperature": 0.9, "top_p": 0.95, "seed": 7}
    together = runner.generate(prompts, **options)
    assert together == [runner.generate(p, **options) for p in prompts]
    assert len(set(together)) == 4


def test_several_texts_of_one_prompt_differ_and_can_be_repeated(runner: Any) -> None:
    options = {"max_new_tokens": 10, "temperature": 1.0, "num_return_sequences": 3, "seed": 5}
    texts = runner.generate(["x"], **options)
    assert len(set(texts)) == 3
    assert runner.generate(["x"], **options) == texts
    assert runner.generate(["x"], **(options | {"seed": 6})) != texts


def test_log_probabilities_are_those_of_the_logits(runner: Any) -> None:
    ids = runner.ids_of("log")
    text = runner.generate([ids], max_new_tokens=4, top_logprobs=2, details=True).texts[0]
    logits = runner.logits([*ids, *text.ids[:-1].tolist()])[len(ids) - 1 :].astype(np.float64)
    wanted = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    for row, id, logprob, top in zip(
        wanted, text.ids, text.logprobs, text.top_logprobs, strict=True
    ):
        assert logprob == pytest.approx(row[id], abs=1e-4)
        assert [t[0] for t in top] == np.argsort(-row)[:2].tolist()


def test_the_kinds_of_prompts_and_results(model: qeff.QEFFAutoModelForCausalLM) -> None:
    ids = model.session.ids_of("same")
    text = model.generate(prompts="same", generation_len=5)
    new = model.generate(prompts=ids, generation_len=5)
    assert isinstance(text, str)
    assert new.dtype == np.int32
    assert model.session.tokenizer.decode(new) == text
    for several in ([ids], np.array([ids]), {"input_ids": np.array([ids])}):
        assert [row.tolist() for row in model.generate(inputs=several, generation_len=5)] == [
            new.tolist()
        ]
    padded = {"input_ids": [[0, 0, *ids]], "attention_mask": [[0, 0] + [1] * len(ids)]}
    assert model.generate(inputs=padded, generation_len=5)[0].tolist() == new.tolist()
    assert model.generate(prompts=["same"], generation_len=5) == [text]


def test_a_tokenizer_of_transformers_is_used_if_given(
    model: qeff.QEFFAutoModelForCausalLM, llama: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(llama / "tokenizer.json"))
    given = model.generate(tokenizer, prompts=["a b"], generation_len=6)
    assert given == model.generate(prompts=["a b"], generation_len=6)


def test_pieces_of_a_stream_are_the_text(runner: Any) -> None:
    options = {"max_new_tokens": 30, "temperature": 1.0, "seed": 4}
    whole = runner.generate("stream", **options)
    pieces = list(runner.stream("stream", **options))
    assert "".join(pieces) == whole
    assert len(pieces) > 5


def test_a_stop_string_ends_the_text_before_it(runner: Any) -> None:
    options = {"max_new_tokens": 30, "temperature": 1.0, "seed": 4}
    whole = runner.generate("stream", **options)
    stop = whole[6:9]
    output = runner.generate(["stream"], stop=["never there", stop], details=True, **options)
    assert output.texts[0].text == whole[: whole.index(stop)]
    assert output.texts[0].finish_reason == "stop"
    assert "".join(runner.stream("stream", stop=stop, **options)) == whole[: whole.index(stop)]


def test_a_streamer_gets_the_prompt_and_every_token(runner: Any) -> None:
    streamer = RecordingStreamer()
    ids = runner.ids_of("put")
    new = runner.generate(ids, max_new_tokens=6, streamer=streamer)
    assert streamer.seen == [ids, *([i] for i in new.tolist())]
    assert streamer.ended == 1
    with pytest.raises(ValueError, match="streamer"):
        runner.generate(["a", "b"], streamer=streamer)


def test_the_streamer_of_transformers_prints_the_text(
    runner: Any, llama: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(llama / "tokenizer.json"))
    streamer = transformers.TextStreamer(tokenizer, skip_prompt=True)
    text = runner.generate("print", max_new_tokens=8, streamer=streamer)
    assert capsys.readouterr().out.strip() == text.strip()


def test_a_stopped_consumer_stops_the_generation(runner: Any) -> None:
    threads = threading.active_count()
    stream = runner.stream("stop", max_new_tokens=100, temperature=1.0)
    next(stream)
    stream.close()
    for piece in runner.stream("stop", max_new_tokens=100, temperature=1.0):
        assert piece
        break
    gc.collect()
    assert threading.active_count() == threads
    assert runner.generate("still works", max_new_tokens=3)


def test_what_a_callback_throws_arrives_and_the_session_goes_on(runner: Any) -> None:
    class Streamer:
        def put(self, value: Any) -> None:
            if np.asarray(value).size == 1:
                raise KeyError("enough")

        def end(self) -> None: ...

    wanted = runner.generate("throw", max_new_tokens=5)
    with pytest.raises(KeyError, match="enough"):
        runner.generate("throw", streamer=Streamer())
    assert runner.generate("throw", max_new_tokens=5) == wanted


def test_a_session_in_use_is_an_error_and_not_a_wait(runner: Any) -> None:
    session = runner._session
    ids = np.array([5], np.int32)

    def inside(*_: int) -> bool:
        with pytest.raises(qeff.InvalidArgument, match="in use"):
            session.run([(0, ids, False)])
        return False

    texts, _ = session.generate([[3]], {"max_new_tokens": 5}, inside)
    assert texts[0]["finish_reason"] == "callback"


def test_chat_renders_the_template_and_answers(runner: Any) -> None:
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]
    rendered = runner.tokenizer.render_chat(messages)
    assert rendered == "<system>S</s><user>U</s><assistant>"
    ids = runner.chat_ids(messages)
    assert ids.count(1) == 2  # the special token and not its letters
    answer = runner.chat(messages, max_new_tokens=5)
    assert answer == runner.tokenizer.continuation(ids, runner.generate(ids, max_new_tokens=5))
    assert "".join(runner.chat(messages, stream=True, max_new_tokens=5)) == answer
    assert runner.chat("U", max_new_tokens=3) == runner.chat(messages[1:], max_new_tokens=3)


@pytest.mark.parametrize(
    ("messages", "reason"),
    [([{"content": "no role"}], "role"), ([{"role": "user", "content": "x"}] * 7, "too long")],
)
def test_messages_the_template_refuses_are_errors(
    runner: Any, messages: list[dict[str, str]], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        runner.chat(messages)


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{% for i in range(10**9) %}{% endfor %}",
        "{{ undefined.x }}",
        "{% if %}",
    ],
)
def test_a_hostile_template_is_an_error(template: str) -> None:
    tokenizer = LanguageTokenizer({"chat_template.jinja": template}, "evil")
    with pytest.raises(qeff.FormatError, match="evil: the chat template does not work"):
        tokenizer.render_chat([{"role": "user", "content": "x"}])


def test_without_a_tokenizer_ids_still_work(llama: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).symlink_to(llama / name)
    model = qeff.QEFFAutoModelForCausalLM.from_pretrained(tmp_path)
    model.compile(tmp_path / "m.qeff", quantization="int8")
    assert len(model.generate(prompts=[5, 6, 7], generation_len=4)) == 4
    with pytest.raises(qeff.Unsupported, match=r"tokenizer\.json"):
        model.generate(prompts="text")
    with pytest.raises(qeff.Unsupported, match="chat template"):
        model.chat("text")


@pytest.mark.parametrize(
    ("prompts", "options", "reason"),
    [
        ([[]], {}, "prompt 0 is empty"),
        ([[5] * 129], {}, "prompt 0 has 129 tokens.*ctx_len"),
        ([[5], [258]], {}, r"prompts\[1\].*258.*position 0.*vocabulary of 258"),
        ([[5, -1]], {}, "-1.*position 1"),
        ("x", {"max_new_tokens": 0}, "max_new_tokens"),
        ("x", {"temperature": -1}, "temperature"),
        ("x", {"temperature": float("nan")}, "temperature"),
        ("x", {"top_p": 0}, "top_p"),
        ("x", {"top_p": 1.5}, "top_p.*1.5"),
        ("x", {"top_k": -1}, "top_k"),
        ("x", {"min_p": 2}, "min_p"),
        ("x", {"repetition_penalty": 0}, "repetition_penalty"),
        ("x", {"num_return_sequences": 2}, "temperature"),
        ("x", {"stop": [""]}, "stop"),
        ("x", {"seed": -1}, "seed"),
    ],
)
def test_bad_values_are_named(
    runner: Any, prompts: Any, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(qeff.InvalidArgument, match=reason):
        runner.generate(prompts, **options)


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"max_tokens": 3}, "max_tokens"), ({"top_k": 1.5}, "top_k"), ({"top_p": "x"}, "top_p")],
)
def test_wrong_types_are_named(runner: Any, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(TypeError, match=reason):
        runner.generate("x", **options)
    with pytest.raises(TypeError, match=reason):
        runner.stream("x", **options)


def test_do_sample_of_transformers_is_understood(runner: Any) -> None:
    greedy = runner.generate("s", max_new_tokens=6)
    assert runner.generate("s", max_new_tokens=6, do_sample=False, temperature=0.7) == greedy
    sampled = runner.generate("s", max_new_tokens=6, do_sample=True, seed=1)
    assert sampled == runner.generate("s", max_new_tokens=6, temperature=1.0, seed=1)


def test_load_takes_the_options_of_a_session(model: qeff.QEFFAutoModelForCausalLM) -> None:
    assert model.path is not None
    small = qeff.load(model.path, ctx_len=32, batch_size=2, kv_cache="int8", prefill_seq_len=8)
    assert small.ctx_len == 32
    output = small.generate([[5] * 30, [6]], max_new_tokens=40, details=True)
    assert output.texts[0].finish_reason == "context"
    assert len(output.texts[0].ids) == 3
    with pytest.raises(qeff.InvalidArgument, match="kv_cache"):
        qeff.load(model.path, kv_cache="f8")
    with pytest.raises(qeff.InvalidArgument, match="129"):
        qeff.load(model.path, ctx_len=129)


def test_options_of_compile_are_checked_before_any_work(
    llama: Path, model: qeff.QEFFAutoModelForCausalLM
) -> None:
    fresh = qeff.QEFFAutoModelForCausalLM.from_pretrained(llama)
    with pytest.raises(TypeError, match=r"ctx_length.*ctx_len"):
        fresh.compile(ctx_length=3)
    with pytest.raises(qeff.Unsupported, match="mxfp6_matmul"):
        fresh.compile(mxfp6_matmul=True)
    with pytest.raises(qeff.InvalidArgument, match="kv_cache"):
        fresh.compile(kv_cache="int3")
    with pytest.raises(qeff.InvalidArgument, match="batch_size"):
        fresh.compile(full_batch_size=0)
    with pytest.raises(qeff.InvalidArgument, match="compile"):
        fresh.generate(prompts="x")
    compiled = qeff.QEFFAutoModelForCausalLM.from_pretrained(str(model.path))
    with pytest.raises(qeff.Unsupported, match="compiled already"):
        compiled.compile()


@pytest.mark.parametrize("scheme", ["int8", "gptq", "autoround", "awq"])
def test_quantized_models_stay_close(llama: Path, runner: Any, scheme: str, tmp_path: Path) -> None:
    model = qeff.QEFFAutoModelForCausalLM.from_pretrained(llama)
    texts = ["some words to calibrate on, again and again"] * 8
    config = scheme if scheme == "int8" else {"method": scheme, "bits": 4, "group_size": 32}
    steps: list[tuple[int, int]] = []
    path = model.compile(
        tmp_path / "m.qeff",
        quantization=config,
        calibration=texts,
        progress=lambda done, total, _: steps.append((done, total)),
    )
    assert path == str(tmp_path / "m.qeff")
    assert len(model.report) > 0
    assert steps[-1][0] <= steps[-1][1]
    result = model.session.kl_divergence(runner, "a text to compare the models on" * 4, ctx=32)
    assert 0 < result["mean_kl"] < (0.05 if scheme == "int8" else 1.5)


def test_an_encoder_is_no_language_model(tiny_bert: Path) -> None:
    with pytest.raises(qeff.Unsupported):
        qeff.QEFFAutoModelForCausalLM.from_pretrained(tiny_bert)


@pytest.mark.parametrize("codec", ["native", "tokenizers"])
def test_pieces_are_whole_characters_and_together_the_text(llama: Path, codec: str) -> None:
    description = (llama / "tokenizer.json").read_text()
    tokenizer = LanguageTokenizer({"tokenizer.json": description}, "tiny")
    if codec == "tokenizers":
        tokenizer._codec = _RustCodec(description)
    text = "naïve 日本語 👩‍👩‍👧 e\u0301 done"
    ids = tokenizer.encode(text)
    stream = tokenizer.stream()
    pieces = [stream.push(i) for i in ids]
    assert "".join(pieces) + stream.finish() == text
    assert "\ufffd" not in "".join(pieces)
    assert tokenizer.continuation(ids[:5], ids[5:]) == text[len(tokenizer.decode(ids[:5])) :]
    cut = tokenizer.stream()
    assert [cut.push(i) for i in tokenizer.encode("日")[:2]] == ["", ""]
    assert cut.finish().startswith("\ufffd")


def test_stop_strings_are_cut_wherever_the_pieces_end() -> None:
    text = "one two STOP three"
    for size in range(1, len(text)):
        pieces = [text[i : i + size] for i in range(0, len(text), size)]
        cut = StopFilter(["STOP", "STAY"])
        assert "".join(cut.push(p) for p in pieces) + cut.finish() == "one two "
        assert cut.stopped
        kept = StopFilter(["threes"])
        assert "".join(kept.push(p) for p in pieces) + kept.finish() == text
        assert not kept.stopped


def test_nothing_of_torch_is_imported(model: qeff.QEFFAutoModelForCausalLM) -> None:
    code = (
        "import sys, qeff; m = qeff.load(sys.argv[1]); m.generate('a', max_new_tokens=3);"
        "m.chat('b', max_new_tokens=3); list(m.stream('c', max_new_tokens=3));"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(model.path)], check=True)


def run(*arguments: str | Path, text: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "qeff", *map(str, arguments)]
    # Decoded here: text=True would make every "\r" that a model writes a "\n".
    done = subprocess.run(command, input=text.encode(), capture_output=True, check=False)
    return subprocess.CompletedProcess(
        command, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def test_qeff_generate_prints_the_text(model: qeff.QEFFAutoModelForCausalLM) -> None:
    arguments = ("generate", model.path, "--prompt", "cli", "--max-new-tokens", "8")
    text = model.generate(prompts="cli", max_new_tokens=8)
    assert run(*arguments).stdout == text + "\n"
    document = json.loads(run(*arguments, "--json").stdout)
    assert document["text"] == text
    assert document["finish_reason"] == "length"
    assert document["stats"]["generated_tokens"] == 8
    bad = run(*arguments, "--top-p", "7")
    assert bad.returncode == 3
    assert "top_p" in bad.stderr


def test_qeff_compile_knows_a_language_model(llama: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.qeff"
    done = run("compile", llama, out, "--json")
    assert done.returncode == 0, done.stderr
    assert {row["scheme"] for row in qeff.load(out).explain()} == {"i8", "i8 g64"}
    assert qeff.load(out).generate([5, 6], max_new_tokens=2).shape == (2,)
    for arguments in (
        ("encode", out),
        ("compile", llama, tmp_path / "x.qeff", "--pooling", "mean"),
    ):
        refused = run(*arguments, text="a")
        assert refused.returncode == 3
        assert "causal language model" in refused.stderr


def test_qeff_eval_measures_perplexity_and_divergence(
    model: qeff.QEFFAutoModelForCausalLM, tmp_path: Path
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("a text to measure a model on, not a long one\n" * 3)
    measured = model.session.perplexity(text.read_text(), ctx=16, tokens=64)
    shared = ("--text", text, "--ctx", "16", "--tokens", "64", "--kv-cache", "f32", "--json")
    document = json.loads(run("eval", "perplexity", model.path, *shared).stdout)
    assert document["perplexity"] == pytest.approx(measured["perplexity"], rel=1e-6)
    document = json.loads(run("eval", "kl", model.path, model.path, *shared).stdout)
    assert document["mean_kl"] == pytest.approx(0, abs=1e-9)
    assert run("eval", "perplexity", model.path, "--text", tmp_path / "no").returncode == 4


def test_qeff_chat_answers_and_knows_its_commands(model: qeff.QEFFAutoModelForCausalLM) -> None:
    lines = "/help\nHello\n/stats\n/system Be kind\nHello\n/reset\nHello\n/what\n/exit\nno more\n"
    done = run("chat", model.path, "--temperature", "0", "--max-new-tokens", "6", text=lines)
    assert done.returncode == 0, done.stderr
    answer = model.chat("Hello", max_new_tokens=6)
    kind = [{"role": "system", "content": "Be kind"}, {"role": "user", "content": "Hello"}]
    assert answer in done.stdout
    assert model.chat(kind, max_new_tokens=6) in done.stdout
    for part in ("/reset", "generated_tokens", "no command /what"):
        assert part in done.stdout


def test_ctrl_c_stops_a_generation(model: qeff.QEFFAutoModelForCausalLM) -> None:
    code = (
        "import os, signal, sys, threading, qeff\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a background job ignores it
        "m = qeff.load(sys.argv[1])\n"
        "threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "try:\n"
        "    while True: m.generate([[5]] * 50, max_new_tokens=100, eos_token_id=[])\n"
        "except KeyboardInterrupt:\n"
        "    print(len(m.generate([5], max_new_tokens=3, eos_token_id=[])))\n"
    )
    command = [sys.executable, "-c", code, str(model.path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "3\n"
