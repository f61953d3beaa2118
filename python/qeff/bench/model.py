"""Batches of sentences to time a model on, and how qeff runs them. All sides get token ids."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .._core import InvalidArgument
from ..calibration import builtin_texts
from ..resolve import ModelSource
from ..session import artifact_files, load
from ..tokenization import TextTokenizer, padded, read_tokenizer_files, text_tokenizer
from .contenders import Contender, Facts
from .shapes import parse_sizes

__all__ = ["CASES", "TOLERANCES", "ModelCase", "own_contenders", "parse_batches", "prepared"]

FORMAT = "model"

TOLERANCES = {"f32": 2e-3, "bf16": 0.05, "int8": 0.5, "fp8": 0.25, "int4": 0.5}
"""Greatest relative error of the embeddings to those of the float32 model."""

_SEED = 1234
_CALIBRATION_TEXTS = 64


@dataclass(frozen=True)
class ModelCase:
    """Sentences of given numbers of tokens, padded to the longest."""

    name: str
    lengths: tuple[int, ...]

    def within(self, most: int) -> ModelCase:
        """With no sentence longer than the model takes."""
        return ModelCase(self.name, tuple(min(length, most) for length in self.lengths))


CASES: tuple[ModelCase, ...] = (
    ModelCase("64 sentences x 112 tokens", (112,) * 64),
    ModelCase("64 sentences, 7 to 112 tokens", tuple(7 + i * 105 // 63 for i in range(64))),
    ModelCase("32 sentences x 52 tokens", (52,) * 32),
    ModelCase("one sentence of 14 tokens", (14,)),
)


def parse_batches(shapes: str | None) -> list[ModelCase]:
    """Cases of a list like ``64x112,1x14`` (sentences x tokens); None: the built-in ones.

    Raises:
        ValueError: not such a list.
    """
    if shapes is None:
        return list(CASES)
    return [
        ModelCase(f"{sentences} x {tokens} tokens", (tokens,) * sentences)
        for sentences, tokens in parse_sizes(shapes, 2, "SxT, as in 64x112")
    ]


def tokenizer_of(source: ModelSource) -> TextTokenizer:
    """The tokenizer of a model directory or artifact."""
    files = artifact_files(source.path) if source.is_artifact else read_tokenizer_files(source.path)
    return text_tokenizer(files, source.name)


def special_tokens(tokenizer: TextTokenizer) -> int:
    """How many tokens a text has beside its words."""
    return len(tokenizer.ids([""], 8)[0])


def single_token_words(tokenizer: TextTokenizer) -> list[str]:
    """Words that are one token each: texts of them have as many tokens as one likes."""
    words = sorted({word for text in builtin_texts() for word in text.lower().split()})
    ids = tokenizer.ids(words, 8)
    length = special_tokens(tokenizer) + 1
    single = [word for word, row in zip(words, ids, strict=True) if len(row) == length]
    if not single:
        raise InvalidArgument("the tokenizer of the model knows no whole English word")
    return single


def texts_of(case: ModelCase, tokenizer: TextTokenizer) -> list[str]:
    """Texts with the numbers of tokens of the case, in a shuffled order."""
    words = single_token_words(tokenizer)
    special = special_tokens(tokenizer)
    generator = np.random.default_rng(_SEED)
    lengths = generator.permutation(np.array(case.lengths))
    return [" ".join(generator.choice(words, max(int(n) - special, 1))) for n in lengths]


def _write_batch(folder: Path, prefix: str, rows: Sequence[Sequence[int]]) -> Facts:
    inputs = padded(rows, max(map(len, rows)))
    for name, array in inputs.items():
        np.save(folder / f"{prefix}{name}.npy", array)
    return inputs


def prepared(
    cases: Sequence[ModelCase], source: ModelSource, reference: str, threads: int
) -> Iterator[tuple[str, Facts]]:
    """Each case with its ids in a folder, which goes when the next one comes.

    Beside them are ids of real sentences, for libraries that calibrate.

    Args:
        reference: the artifact whose embeddings are held to be right.
    """
    tokenizer = tokenizer_of(source)
    session = load(reference, threads)
    most = int(getattr(session, "max_tokens", 512))
    calibration = tokenizer.ids(builtin_texts()[:_CALIBRATION_TEXTS], most)
    for case in cases:
        texts = texts_of(case.within(most), tokenizer)
        rows = tokenizer.ids(texts, most)
        with tempfile.TemporaryDirectory(prefix="qeff-bench-") as name:
            folder = Path(name)
            inputs = _write_batch(folder, "", rows)
            _write_batch(folder, "calibration_", calibration)
            np.save(folder / "reference.npy", session.generate(inputs, "mean"))
            (folder / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
            yield (
                FORMAT,
                {
                    "name": case.name,
                    "sentences": len(texts),
                    "tokens": sum(map(len, rows)),
                    "folder": name,
                    "threads": threads,
                    "model": str(source.path),
                },
            )


def build_qeff(case: Facts, artifact: str, from_texts: bool = False) -> Any:
    """The provider of qeff; see ``worker.py``.

    Args:
        artifact: the compiled model.
        from_texts: tokenize too.
    """
    from .. import _core

    folder = Path(case["folder"])
    session = load(artifact, case["threads"])
    texts = json.loads((folder / "texts.json").read_text(encoding="utf-8"))
    names = ("input_ids", "attention_mask")
    inputs = {name: np.load(folder / f"{name}.npy") for name in names}

    def run() -> Any:
        if from_texts:
            return session.encode(texts, normalize=False, pooling="mean")
        return session.generate(inputs, "mean")

    facts = {"weight_bytes": Path(artifact).stat().st_size, "version": _core.__version__}
    return run, facts


def _precision(scheme: str) -> str:
    if scheme == "none":
        return "f32"
    return scheme if scheme in ("int8", "fp8") else "int4"


def own_contenders(artifacts: dict[str, str]) -> list[Contender]:
    """qeff's contenders.

    Args:
        artifacts: path by scheme; the first also runs from texts.
    """
    result: list[Contender] = []
    for scheme, path in artifacts.items():
        for from_texts in (False, True)[: 1 if result else 2]:
            name = f"qeff {scheme}" + (", tokenization included" if from_texts else "")
            arguments = {"artifact": path, "from_texts": from_texts}
            precision = _precision(scheme)
            result.append(Contender(name, "qeff", __name__, "build_qeff", precision, arguments))
    return result
