"""llama2.c models with the tokenizers beside them: ids, and loss on TinyStories."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import qeff
from qeff import _core
from qeff.causal_native import model_files
from qeff.causal_text import LanguageTokenizer
from qeff.resolve import ModelSource
from test_gguf import llama2c_logits

HOSTILE = (
    "Once upon a time, there was a little girl named Lily.",
    'She said, "Hi!"\n\nThen\tthey left…',
    "日本 zebra-quiz 42 \U0001f600\u00a0x é",
    " leading and trailing ",
    "<s> is no token of a text",
    "",
)


@pytest.fixture(scope="module")
def stories(shared: Path) -> Path:
    return shared / "data" / "llm" / "stories260K" / "stories260K.bin"


@pytest.fixture(scope="module")
def babyllama(shared: Path) -> Path:
    return shared / "data" / "llm" / "babyllama_tok105" / "model5000.bin"


def tokenizer_of(path: Path) -> LanguageTokenizer:
    return LanguageTokenizer(model_files(ModelSource(path.name, path)), str(path))


def test_pieces_beside_a_model_are_those_inside_its_gguf(stories: Path) -> None:
    inside = stories.with_name("stories260Ktok512.gguf")
    beside = tokenizer_of(stories)
    reference = tokenizer_of(inside)
    for text in HOSTILE:
        ids = beside.encode(text)
        assert ids == reference.encode(text)
        assert beside.decode(ids) == reference.decode(ids)
    assert beside.decode(beside.encode(HOSTILE[2])) == HOSTILE[2]  # by bytes
    assert (beside.eos_ids, beside.special_tokens["bos_token"]) == ([2], "<s>")


def test_ids_of_characters_are_those_of_the_vocabulary_file(babyllama: Path) -> None:
    lines = babyllama.with_name("tok105.vocab").read_text(encoding="utf-8").split("\n")
    ids = {line.split("\t")[0]: i for i, line in enumerate(lines) if line}
    tokenizer = tokenizer_of(babyllama)

    def by_characters(text: str) -> list[int]:
        """SentencePiece with pieces of one character: a run of unknown ones is one <unk>."""
        found = [1]
        for character in ("▁" + text).replace(" ", "▁") if text else "":
            id = ids.get(character, 0)
            if id or found[-1]:
                found.append(id)
        return found

    for text in (*HOSTILE[:3], HOSTILE[5]):
        assert tokenizer.encode(text) == by_characters(text)
    assert tokenizer.decode(tokenizer.encode(HOSTILE[0])) == HOSTILE[0]


@pytest.mark.parametrize("name", ["stories", "babyllama"])
def test_the_loss_on_tinystories_is_that_of_a_float_reference(
    name: str, shared: Path, request: pytest.FixtureRequest
) -> None:
    path: Path = request.getfixturevalue(name)
    text = (shared / "data" / "text" / "tinystories.txt").read_text(encoding="utf-8")[:6000]
    model = qeff.QEFFAutoModelForCausalLM.from_pretrained(path)
    model.compile(quantization=None, kv_cache="f32", num_cores=1)
    ids = model.session.ids_of(text)[:1024]
    losses = []
    for begin in range(0, len(ids) // 128 * 128, 128):
        context = ids[begin : begin + 128]
        logits = llama2c_logits(path, context)[:-1]
        peak = logits.max(-1, keepdims=True)
        log_sums = np.log(np.exp(logits - peak).sum(-1)) + peak[:, 0]
        losses += (log_sums - logits[np.arange(len(context) - 1), context[1:]]).tolist()
    measured = model.session.perplexity(text, ctx=128, tokens=1024)
    assert measured["predictions"] == len(losses)
    assert measured["mean_loss"] == pytest.approx(float(np.mean(losses)), abs=1e-3)
    assert measured["mean_loss"] < 3  # it has learnt to tell stories


def test_a_tokenizer_of_another_model_is_refused(stories: Path, tmp_path: Path) -> None:
    shutil.copyfile(stories, tmp_path / "m.bin")
    assert _core.Checkpoint.open(str(tmp_path / "m.bin")).read_text("tokenizer.json") == ""
    good = stories.with_name("tok512.c64.bin").read_bytes()
    other = stories.parents[1] / "babyllama_tok105" / "tok105.model"
    for name, content, message in (
        ("tokenizer.model", other.read_bytes(), "has 105 pieces, the model 512 tokens"),
        ("tokenizer.model", b"\xff" * 40, "SentencePiece|more than 64 bits"),
        ("tokenizer.bin", good[:-1], "truncated"),
        ("tokenizer.bin", good + b"\0", "more than 512 pieces"),
        ("tokenizer.bin", good[:8] + b"\xff" * 4 + good[12:], "bytes"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(qeff.FormatError, match=message):
            _core.Checkpoint.open(str(tmp_path / "m.bin")).read_text("tokenizer.json")
        (tmp_path / name).unlink()
