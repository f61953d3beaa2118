"""A compiled model, running. Needs numpy only."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from . import _core
from ._core import InvalidArgument
from .arrays import FloatArray, as_float_array, from_numpy_like
from .batch import Batch, PackedTokens, pack_batch, pack_rows
from .cpu import thread_count
from .tokenization import TextTokenizer, text_tokenizer

__all__ = ["LANGUAGE_MODEL_KINDS", "Pooling", "Runner", "Session", "load", "pooling_name"]

Pooling = str | Callable[[Any, Any], Any] | None
"""How token states become one embedding: ``"mean"`` (``"avg"``), ``"cls"``, ``"max"``, ``"none"``, a
function ``(last_hidden_state (sequences, tokens, hidden), attention_mask) -> embeddings``, or None for
the default of the model."""

_POOLINGS = {"mean": "mean", "avg": "mean", "cls": "cls", "max": "max", "none": "none"}
_FILE_PREFIX = "file/"

LANGUAGE_MODEL_KINDS = ("causal_lm", "transformers_causal_lm")
"""What artifacts of causal language models call themselves: natively, through transformers."""


class Runner(Protocol):
    """What a compiled model can do, natively or through transformers."""

    path: Path | None

    def generate(self, inputs: Any, pooling: Pooling = None) -> Any: ...
    def encode(
        self,
        sentences: str | Sequence[str],
        normalize: bool | None = None,
        pooling: Pooling = None,
        batch_size: int | None = None,
    ) -> FloatArray: ...
    def explain(
        self, rows: int | Sequence[int] | None = None, measure: bool = False
    ) -> list[dict[str, Any]]: ...
    @property
    def metadata(self) -> dict[str, Any]: ...


def pooling_name(pooling: str) -> str:
    """The one spelling of a pooling. Raises ValueError: unknown."""
    if pooling not in _POOLINGS:
        raise InvalidArgument(
            f"unknown pooling {pooling!r}; known: {', '.join(_POOLINGS)}, or a function"
        )
    return _POOLINGS[pooling]


def apply_pooling(pooling: Callable[[Any, Any], Any], states: FloatArray, batch: Batch) -> Any:
    """Calls the user's pooling with padded states and mask in the kind of the inputs."""
    mask = from_numpy_like(batch.mask.astype(np.int64), batch.like)
    return pooling(from_numpy_like(batch.unpack(states), batch.like), mask)


def texts_of(sentences: str | Sequence[str]) -> list[str]:
    """One text or several as a list. Raises TypeError: something else."""
    texts = [sentences] if isinstance(sentences, str) else list(sentences)
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"sentences[{index}] is {type(text).__name__}, not a text")
    return texts


def artifact_files(path: os.PathLike[str] | str) -> dict[str, str]:
    """The text files a ``.qeff`` artifact carries, by name."""
    artifact = _core.Artifact.open(os.fspath(path), False)
    names = [str(entry["name"]) for entry in artifact.entries]
    return {
        name.removeprefix(_FILE_PREFIX): bytes(artifact.tensor(name)).decode()
        for name in names
        if name.startswith(_FILE_PREFIX)
    }


class Session:
    """A native encoder, loaded from a ``.qeff`` artifact; make it with :func:`qeff.load`.

    Attributes:
        path: the artifact.
    """

    def __init__(self, path: os.PathLike[str] | str, num_cores: int | None = 0) -> None:
        self.path: Path | None = Path(path)
        self._encoder = _core.Encoder(os.fspath(path), thread_count(num_cores))
        self._tokenizer: TextTokenizer | None = None

    @property
    def hidden_size(self) -> int:
        """Length of an embedding."""
        return self._encoder.hidden_size

    @property
    def max_tokens(self) -> int:
        """Texts are cut to this many tokens."""
        return self._encoder.max_tokens

    @property
    def metadata(self) -> dict[str, Any]:
        """What the artifact says of itself: model, pooling, quantization, linears."""
        return cast("dict[str, Any]", json.loads(self._encoder.metadata))

    def explain(
        self, rows: int | Sequence[int] | None = None, measure: bool = False
    ) -> list[dict[str, Any]]:
        """How each linear layer runs here.

        Args:
            rows: tokens multiplied together, one number or several. Measures the roof of this machine
                on first use (:func:`qeff.roof`), which takes one or two seconds.
            measure: time each matmul too.

        Returns:
            ``name``, ``scheme``, ``kernel`` (ISA, activations) and ``bytes`` of the weights of each layer.
            With ``rows`` a row for each layer and number: ``rows``, ``pass_bytes`` (weights and float32
            activations), ``operations``, ``least_seconds`` by the roof and ``bound``, what that time
            comes from: ``L1``, ``L2``, ``L3``, ``memory`` or ``products``. Measured also ``seconds`` and
            ``roof_share``.

        Raises:
            ValueError: a number of rows below 1; ``measure`` without ``rows``.
        """
        return [dict(row) for row in self._encoder.explain(row_numbers(rows, measure), measure)]

    def _pooling(self, pooling: Pooling) -> str | Callable[[Any, Any], Any]:
        if pooling is None:
            return self._encoder.pooling
        return pooling if callable(pooling) else pooling_name(pooling)

    def _embed(self, tokens: PackedTokens, pooling: str, normalize: bool) -> FloatArray:
        return self._encoder.embed(tokens.ids, tokens.offsets, tokens.type_ids, pooling, normalize)

    def _states(self, tokens: PackedTokens) -> FloatArray:
        return self._encoder.hidden_states(tokens.ids, tokens.offsets, tokens.type_ids)

    def generate(self, inputs: Any, pooling: Pooling = None) -> Any:
        """Embeddings of a batch of token ids, not normalized.

        Args:
            inputs: ``input_ids`` and ``attention_mask`` (and ``token_type_ids``), (sequences, tokens).
            pooling: see :data:`Pooling`.

        Returns:
            float32 (sequences, hidden) in the kind of ``input_ids``; with pooling ``"none"`` the last
            hidden state (sequences, tokens, hidden), zero at padding.

        Raises:
            ValueError: ids outside the vocabulary, shapes that do not fit. TypeError: wrong types.
        """
        batch = pack_batch(inputs)
        how = self._pooling(pooling)
        if callable(how):
            return apply_pooling(how, self._states(batch.tokens), batch)
        if how == "none":
            return from_numpy_like(batch.unpack(self._states(batch.tokens)), batch.like)
        return from_numpy_like(self._embed(batch.tokens, how, False), batch.like)

    def encode(
        self,
        sentences: str | Sequence[str],
        normalize: bool | None = None,
        pooling: Pooling = None,
        batch_size: int | None = None,
    ) -> FloatArray:
        """Embeddings of texts; longer texts are cut.

        Args:
            sentences: one text or several.
            normalize: to length 1; None: as the model was compiled.
            pooling: see :data:`Pooling`.
            batch_size: accepted for compatibility; a batch needs no size here.

        Returns:
            float32 (sentences, hidden), also for one text.

        Raises:
            ValueError: the artifact has no tokenizer that works with what is installed.
        """
        del batch_size
        texts = texts_of(sentences)
        how = self._pooling(pooling)
        unit = self._encoder.normalize if normalize is None else normalize
        if not texts:
            return np.zeros((0, self.hidden_size), np.float32)
        if how == self._encoder.pooling and how != "none" and self._encoder.has_native_tokenizer:
            return self._encoder.encode(texts, unit)
        return self._encode_ids(self._ids(texts), how, unit)

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        if self._tokenizer is None:
            self._tokenizer = text_tokenizer(artifact_files(str(self.path)), str(self.path))
        return self._tokenizer.ids(texts, self.max_tokens)

    def _encode_ids(
        self, ids: list[list[int]], how: str | Callable[[Any, Any], Any], normalize: bool
    ) -> FloatArray:
        tokens = pack_rows([np.asarray(row, np.int64) for row in ids])
        if how == "none":
            raise InvalidArgument(
                'encode: the model has no pooling; give pooling="mean", "cls" or "max"'
            )
        if not callable(how):
            return self._embed(tokens, how, normalize)
        width = max(map(len, ids))
        mask = np.arange(width) < np.array([len(row) for row in ids])[:, None]
        pooled = apply_pooling(how, self._states(tokens), Batch(tokens, mask, mask))
        result = np.ascontiguousarray(as_float_array(pooled, "pooling"))
        return unit_rows(result) if normalize else result

    def __repr__(self) -> str:
        return f"<qeff.Session {self.path} threads={self._encoder.threads}>"


def row_numbers(rows: int | Sequence[int] | None, measure: bool) -> list[int] | None:
    """The argument ``rows`` of explain as a list."""
    if rows is None:
        if measure:
            raise InvalidArgument("explain: measure needs rows, the numbers of tokens to time")
        return None
    numbers = [rows] if isinstance(rows, int) else list(rows)
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise InvalidArgument(f"explain: rows must be whole numbers from 1 on, not {number!r}")
    return numbers


def unit_rows(rows: FloatArray) -> FloatArray:
    """Rows divided by their length."""
    lengths = np.sqrt((rows * rows).sum(axis=-1, keepdims=True))
    return cast("FloatArray", rows / np.maximum(lengths, np.float32(1e-12)))


def artifact_kind(path: os.PathLike[str] | str) -> str:
    """What kind of model an artifact holds: ``"encoder"``, ``"transformers"``, or one of
    :data:`LANGUAGE_MODEL_KINDS`."""
    artifact = _core.Artifact.open(os.fspath(path), False)
    return str(json.loads(artifact.metadata).get("kind", ""))


def load(path: os.PathLike[str] | str, num_cores: int | None = 0, **options: Any) -> Any:
    """Loads a compiled model.

    Neither torch nor transformers is imported, except for an artifact of a model without a native
    form.

    Args:
        path: a ``.qeff`` file.
        num_cores: threads; 0: all.
        options: of a causal language model: ``ctx_len`` (tokens a prompt and its text can have
            together), ``batch_size`` (texts generated together), ``kv_cache`` (``"bf16"``, ``"int8"``,
            ``"f32"``), ``prefill_seq_len`` (prompt tokens run together).

    Returns:
        :class:`Session`, or for a causal language model a
        :class:`~qeff.causal_generation.TextGenerator` with ``generate``, ``stream`` and ``chat``.

    Raises:
        OSError: it cannot be read. ValueError: it is damaged, of a newer version, or no model.
    """
    kind = artifact_kind(path)
    if kind == "causal_lm":
        from .causal_session import CausalRunner

        return CausalRunner(path, num_cores, **options)
    if kind == "transformers_causal_lm":
        from .integrations.causal import load_causal

        return load_causal(Path(path), thread_count(num_cores), **options)
    if options:
        raise TypeError(f"load: {', '.join(options)}: only for causal language models")
    if kind == "transformers":
        from .integrations.transformers import load_artifact

        return load_artifact(Path(path), thread_count(num_cores))
    return Session(path, num_cores)
