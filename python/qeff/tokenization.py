"""Text to token ids and back: BPE natively, WordPiece natively where nothing else is installed."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from . import _core
from ._core import InvalidArgument, Unsupported
from .resolve import resolve_model

__all__ = ["AutoTokenizer", "TextTokenizer", "Tokenizer"]

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentence_bert_config.json",
)


class TextTokenizer(Protocol):
    """What qeff needs of a tokenizer."""

    def ids(self, texts: Sequence[str], max_length: int) -> list[list[int]]:
        """Token ids of each text with the model's special tokens, cut to ``max_length``."""


class TextStream(Protocol):
    """Ids one by one to text."""

    def push(self, id: int) -> str:
        """The text that is certain after ``id``, often empty."""

    def finish(self) -> str:
        """What was held back."""


class GenerativeTokenizer(TextTokenizer, Protocol):
    """What a language model needs of a tokenizer."""

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """Token ids of one text."""

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """The text of ids."""

    def stream(self, skip_special_tokens: bool = True) -> TextStream:
        """Decodes ids one by one; the pieces together are what :meth:`decode` gives."""


class _RustTokenizer:
    """The package tokenizers, from the text of a tokenizer.json."""

    def __init__(self, description: str, reason: str | None = None) -> None:
        import tokenizers

        self.reason = reason
        """Why the tokenizer is not a native one."""
        self._tokenizer = tokenizers.Tokenizer.from_str(description)
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids
        return ids

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=skip_special_tokens))

    def stream(self, skip_special_tokens: bool = True) -> TextStream:
        return _RustStream(self, skip_special_tokens)

    def ids(self, texts: Sequence[str], max_length: int) -> list[list[int]]:
        self._tokenizer.enable_truncation(max_length)
        try:
            return [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        finally:
            self._tokenizer.no_truncation()


class _RustStream:
    """Decodes everything so far again; a text that ends in U+FFFD may not be complete."""

    def __init__(self, tokenizer: _RustTokenizer, skip_special_tokens: bool) -> None:
        self._tokenizer = tokenizer
        self._skip = skip_special_tokens
        self._ids: list[int] = []
        self._given = ""

    def push(self, id: int) -> str:
        self._ids.append(id)
        text = self._tokenizer.decode(self._ids, self._skip)
        return "" if text.endswith("\ufffd") else self._rest(text)

    def finish(self) -> str:
        rest = self._rest(self._tokenizer.decode(self._ids, self._skip))
        self._ids, self._given = [], ""
        return rest

    def _rest(self, text: str) -> str:
        rest = text[len(self._given) :]
        self._given = text
        return rest


class _BpeTokenizer:
    """The C++ BPE."""

    def __init__(self, files: Mapping[str, str]) -> None:
        settings = json.loads(files.get("tokenizer_config.json", "{}"))
        self._tokenizer = _core.BpeTokenizer.from_tokenizer_json(
            files["tokenizer.json"],
            add_bos=settings.get("add_bos_token"),
            add_eos=settings.get("add_eos_token"),
            bos_token=_content(settings.get("bos_token")),
            eos_token=_content(settings.get("eos_token")),
        )

    def ids(self, texts: Sequence[str], max_length: int) -> list[list[int]]:
        return [row.tolist() for row in self._tokenizer.encode_batch(list(texts), True, max_length)]

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens).tolist()
        return ids

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        return self._tokenizer.decode(list(ids), skip_special_tokens)

    def stream(self, skip_special_tokens: bool = True) -> TextStream:
        return self._tokenizer.stream(skip_special_tokens)


def _content(token: Any) -> str:
    """A special token of tokenizer_config.json: its text, or an object with it."""
    content = token.get("content") if isinstance(token, dict) else token
    return content if isinstance(content, str) else ""


class _WordPieceTokenizer:
    """The C++ WordPiece."""

    def __init__(self, files: Mapping[str, str]) -> None:
        if "tokenizer.json" in files:
            self._tokenizer = _core.WordPiece.from_tokenizer_json(files["tokenizer.json"])
            return
        settings = json.loads(files.get("tokenizer_config.json", "{}"))
        self._tokenizer = _core.WordPiece.from_vocab(
            files["vocab.txt"],
            do_lower_case=bool(settings.get("do_lower_case", True)),
            strip_accents=settings.get("strip_accents"),
            tokenize_chinese_chars=bool(settings.get("tokenize_chinese_chars", True)),
        )

    def ids(self, texts: Sequence[str], max_length: int) -> list[list[int]]:
        return [row.tolist() for row in self._tokenizer.encode(list(texts), max_length)]


def text_tokenizer(files: Mapping[str, str], owner: str) -> TextTokenizer:
    """A tokenizer from the texts of a model's tokenizer files.

    Args:
        files: name → text, e.g. ``{"tokenizer.json": ...}``.
        owner: the model, for messages.

    Raises:
        ValueError: there is no tokenizer, or none that works with what is installed.
    """
    if "tokenizer.json" in files:
        try:
            return _BpeTokenizer(files)
        except Unsupported as error:
            if importlib.util.find_spec("tokenizers") is not None:
                return _RustTokenizer(files["tokenizer.json"], str(error))
            if ", not BPE" not in str(error):
                raise
    if "tokenizer.json" in files or "vocab.txt" in files:
        return _WordPieceTokenizer(files)
    raise Unsupported(
        f"{owner}: has no tokenizer.json or vocab.txt; pass token ids, or pip install transformers"
    )


def read_tokenizer_files(directory: Path) -> dict[str, str]:
    """The texts of the tokenizer files of a model directory."""
    return {
        name: (directory / name).read_text(encoding="utf-8")
        for name in TOKENIZER_FILES
        if (directory / name).is_file()
    }


class Tokenizer:
    """A small stand-in for a transformers tokenizer: texts to padded numpy arrays."""

    def __init__(self, files: Mapping[str, str], owner: str) -> None:
        settings = json.loads(files.get("tokenizer_config.json", "{}"))
        length = settings.get("model_max_length", 512)
        self.model_max_length = (
            int(length) if isinstance(length, int | float) and length < 1e9 else 512
        )
        self._tokenizer = text_tokenizer(files, owner)

    def __call__(
        self,
        text: str | Sequence[str],
        *,
        padding: bool | str = True,
        truncation: bool = True,
        max_length: int | None = None,
        return_tensors: str | None = "np",
    ) -> dict[str, Any]:
        """Tokenizes.

        Args:
            text: one text or several.
            padding: True pads to the longest text, ``"max_length"`` to ``max_length``.
            truncation: must stay True.
            max_length: the most tokens of a text; the model's own limit if None.
            return_tensors: ``"np"``, or ``"pt"`` for torch tensors.

        Returns:
            ``input_ids`` and ``attention_mask``, int64, shape (texts, tokens).
        """
        if not truncation:
            raise Unsupported(
                "Tokenizer: truncation=False is not available; give a larger max_length"
            )
        if return_tensors not in ("np", "pt", None):
            raise InvalidArgument(
                f'Tokenizer: return_tensors={return_tensors!r} must be "np" or "pt"'
            )
        limit = max_length or self.model_max_length
        ids = self._tokenizer.ids([text] if isinstance(text, str) else list(text), limit)
        width = limit if padding == "max_length" else max((len(row) for row in ids), default=0)
        if not padding and any(len(row) != width for row in ids):
            raise InvalidArgument("Tokenizer: texts of different lengths need padding=True")
        result = padded(ids, width)
        if return_tensors == "pt":
            import torch

            return {name: torch.from_numpy(array) for name, array in result.items()}
        return result


def padded(ids: Sequence[Sequence[int]], width: int) -> dict[str, NDArray[np.int64]]:
    """Rows of ids as ``input_ids`` (zeros at the end) and ``attention_mask``, shape (rows, width)."""
    input_ids = np.zeros((len(ids), width), np.int64)
    mask = np.zeros((len(ids), width), np.int64)
    for row, tokens in enumerate(ids):
        input_ids[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    return {"input_ids": input_ids, "attention_mask": mask}


class AutoTokenizer:
    """Finds the tokenizer of a model the way :class:`qeff.QEFFAutoModel` finds the model."""

    def __init__(self) -> None:
        raise TypeError("use AutoTokenizer.from_pretrained(name_or_directory)")

    @staticmethod
    def from_pretrained(name_or_dir: str | os.PathLike[str], **kwargs: Any) -> Any:
        """The model's tokenizer: that of transformers if installed, else a :class:`Tokenizer`.

        Args:
            name_or_dir: hub id, directory or ``.qeff`` artifact.
            kwargs: handed to ``transformers.AutoTokenizer.from_pretrained``.

        Raises:
            OSError: no such model. ValueError: it has no usable tokenizer.
        """
        source = resolve_model(name_or_dir)
        if source.is_artifact:
            from .session import artifact_files

            return Tokenizer(artifact_files(source.path), str(source.path))
        if importlib.util.find_spec("transformers") is not None:
            import transformers

            return transformers.AutoTokenizer.from_pretrained(str(source.path), **kwargs)
        return Tokenizer(read_tokenizer_files(source.path), str(source.path))
