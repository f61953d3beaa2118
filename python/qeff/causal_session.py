"""A compiled causal language model, running. Needs numpy only."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from . import _core
from ._core import InvalidArgument, Unsupported
from .arrays import FloatArray
from .causal_generation import OnToken, TextGenerator
from .causal_options import check_sizes
from .causal_output import GeneratedText, GenerationOutput, Ids
from .causal_text import LanguageTokenizer
from .cpu import thread_count
from .progress import Callback

__all__ = ["CausalRunner", "GeneratedText", "GenerationOutput"]

_MOST_SEQUENCES = 8
"""Texts generated together unless ``batch_size`` says otherwise."""

_MOST_CACHE_BYTES = 2**31
"""Memory of their keys and values, likewise."""


def _runner_of(assistant: Any) -> CausalRunner | None:
    """The argument ``assistant_model``: what ``qeff.load`` returns, or a compiled model."""
    runner = getattr(assistant, "session", assistant)
    if runner is not None and not isinstance(runner, CausalRunner):
        raise TypeError(
            f"assistant_model must be a compiled language model, not {type(assistant).__name__}"
        )
    return runner


class CausalRunner(TextGenerator):
    """A causal language model from a ``.qeff`` artifact; make it with :func:`qeff.load`."""

    def __init__(
        self,
        path: os.PathLike[str] | str,
        num_cores: int | None = 0,
        *,
        ctx_len: int | None = None,
        batch_size: int | None = None,
        kv_cache: str = "bf16",
        prefill_seq_len: int | None = None,
    ) -> None:
        from .session import artifact_files

        check_sizes(
            {"ctx_len": ctx_len, "batch_size": batch_size, "prefill_seq_len": prefill_seq_len}
        )
        self.path: Path | None = Path(path)
        self._model = _core.CausalLm(os.fspath(path), thread_count(num_cores))
        self.tokenizer = LanguageTokenizer(artifact_files(path), str(path))
        self._ctx_len = ctx_len or 0
        self._batch_size = batch_size
        self._kv_cache = kv_cache
        self._prefill = prefill_seq_len
        self._session = self._new_session(batch_size or 1)

    def _new_session(self, sequences: int, ctx_len: int | None = None) -> _core.CausalSession:
        length = self._ctx_len if ctx_len is None else ctx_len
        return _core.CausalSession(self._model, sequences, length, self._kv_cache)

    @property
    def metadata(self) -> dict[str, Any]:
        """What the artifact says of itself: model, quantization, linears."""
        return cast("dict[str, Any]", json.loads(self._model.metadata))

    @property
    def vocab_size(self) -> int:
        """Number of tokens."""
        return self._model.vocab_size

    @property
    def ctx_len(self) -> int:
        """Tokens a prompt and its text can have together."""
        return self._session.ctx_len

    @property
    def cache_bytes(self) -> int:
        """Memory of the keys and values."""
        return self._session.cache_bytes

    def explain(
        self, rows: int | Sequence[int] | None = None, measure: bool = False
    ) -> list[dict[str, Any]]:
        """Name, scheme, kernel and bytes of each linear layer."""
        if rows is not None or measure:
            raise InvalidArgument(
                "explain: a causal language model is not set against the roof yet"
            )
        return self._model.explain()

    def _session_for(self, texts: int) -> _core.CausalSession:
        """The session, with room for that many texts together as far as that is wanted."""
        fitting = _MOST_CACHE_BYTES * self._session.sequences // max(self._session.cache_bytes, 1)
        wanted = self._batch_size or min(texts, _MOST_SEQUENCES, fitting)
        if wanted > self._session.sequences:
            self._session = self._new_session(wanted)
        return self._session

    def _generate_ids(
        self,
        prompts: list[list[int]],
        options: dict[str, Any],
        on_token: OnToken | None,
        assistant: Any,
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        if self._prefill is not None:
            options.setdefault("prefill_chunk", self._prefill)
        texts = len(prompts) * options.get("num_return_sequences", 1)
        other = _runner_of(assistant)
        session = self._session_for(texts)
        draft = other._session_for(texts) if other else None
        return session.generate(prompts, options, on_token, draft)

    def _logits(self, ids: Ids) -> FloatArray:
        return self._new_session(1, len(ids)).run([(0, ids, True)])

    def _measuring_session(self, ids: Ids, ctx: int) -> _core.CausalSession:
        contexts = max(1, len(ids) // max(ctx, 1))
        return self._new_session(min(contexts, _MOST_SEQUENCES), max(1, min(ctx, len(ids))))

    def _measure(self, ids: Ids, ctx: int, show: Callback) -> dict[str, Any]:
        return self._measuring_session(ids, ctx).perplexity(ids, ctx, show)

    def _compare(self, reference: Any, ids: Ids, ctx: int, show: Callback) -> dict[str, Any]:
        if not isinstance(reference, CausalRunner):
            raise Unsupported(
                "kl_divergence: the reference of a native model must be a native model too"
            )
        other = reference._measuring_session(ids, ctx)
        return self._measuring_session(ids, ctx).kl_divergence(other, ids, ctx, show)

    def reset(self) -> None:
        """Forgets the tokens that sequences hold for prompts that begin alike."""
        self._session.reset()

    def __repr__(self) -> str:
        return (
            f"<qeff.CausalRunner {self.path} ctx_len={self.ctx_len} threads={self._model.threads}>"
        )
