"""What calibrating quantizers look at: texts, token ids or arrays, as packed token ids."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._core import InvalidArgument
from .arrays import as_int_array
from .batch import PackedTokens, pack_batch, pack_rows
from .tokenization import TextTokenizer

__all__ = ["MAX_TEXTS", "Calibration", "builtin_texts"]

_log = logging.getLogger("qeff")

MAX_TEXTS = 512
"""Texts beyond these are not used."""


def builtin_texts() -> list[str]:
    """The calibration text of the package: see ``qeff/data/README.md`` for source and licence."""
    text = (resources.files(__package__) / "data" / "calibration.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.strip()]


@dataclass(frozen=True)
class Calibration:
    """Calibration data as given: texts to tokenize, or token ids.

    Attributes:
        texts: sentences, or None.
        tokens: packed token ids, or None.
        source: where it came from, for reports.
    """

    texts: list[str] | None
    tokens: PackedTokens | None
    source: str

    @classmethod
    def make(cls, calibration: Any, model: str) -> Calibration:
        """From the ``calibration`` argument of ``compile``.

        Args:
            calibration: None (built-in text), texts, lists of token ids, an array of ids
                (rows, tokens), or a dict of ``input_ids`` and ``attention_mask``.
            model: for the log.

        Raises:
            ValueError: empty. TypeError: something else.
        """
        if calibration is None:
            texts = builtin_texts()
            _log.warning(
                "qeff: %s: no calibration given, using the built-in text (%d sentences, "
                "qeff/data/calibration.txt, Apache-2.0)",
                model,
                len(texts),
            )
            return cls(texts, None, f"built-in text ({len(texts)} sentences, Apache-2.0)")
        if isinstance(calibration, str):
            raise TypeError(
                "calibration must be a list of texts, not one text: [text], or open(file).readlines()"
            )
        if isinstance(calibration, Mapping):
            return cls(None, pack_batch(calibration).tokens, "given token ids")
        if hasattr(calibration, "ndim"):
            return cls(
                None, pack_rows(list(as_int_array(calibration, "calibration"))), "given token ids"
            )
        items = (
            list(calibration)
            if isinstance(calibration, Sequence) or hasattr(calibration, "__iter__")
            else None
        )
        if items is None:
            raise TypeError(
                f"calibration must be texts or token ids, not {type(calibration).__name__}"
            )
        if not items:
            raise InvalidArgument(
                "calibration is empty: give texts or token ids, or None for the built-in text"
            )
        if all(isinstance(item, str) for item in items):
            texts = [item for item in items if item.strip()]
            if not texts:
                raise InvalidArgument("calibration has only empty texts")
            return cls(texts[:MAX_TEXTS], None, f"{len(texts[:MAX_TEXTS])} given texts")
        return cls(
            None,
            pack_rows([as_int_array(item, "calibration") for item in items]),
            "given token ids",
        )

    def packed(self, tokenizer: TextTokenizer | None, max_tokens: int) -> PackedTokens:
        """The calibration as packed token ids, texts cut to ``max_tokens``."""
        if self.tokens is not None:
            return self.tokens
        if tokenizer is None:
            raise InvalidArgument(
                "calibration: the model has no tokenizer; give token ids instead of texts"
            )
        return pack_rows(
            [np.asarray(r, np.int64) for r in tokenizer.ids(self.texts or [], max_tokens)]
        )

    def digest(self) -> str:
        """A fingerprint of the content."""
        hasher = hashlib.sha256()
        for text in self.texts or []:
            hasher.update(text.encode() + b"\0")
        if self.tokens is not None:
            arrays: tuple[NDArray[Any] | None, ...] = (
                self.tokens.ids,
                self.tokens.offsets,
                self.tokens.type_ids,
            )
            for array in arrays:
                hasher.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
        return hasher.hexdigest()
