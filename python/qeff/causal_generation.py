"""Generating text, whatever runs the model: prompts, streams, conversations. Needs numpy only."""

from __future__ import annotations

import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from ._core import InvalidArgument
from .arrays import FloatArray, as_int_array
from .causal_options import generation_options, stop_strings
from .causal_output import GeneratedText, GenerationOutput, Ids
from .causal_prompts import prompt_list
from .causal_text import LanguageTokenizer, Message, StopFilter, TextStream
from .progress import Callback, progress_bar

__all__ = ["OnToken", "TextGenerator"]

OnToken = Callable[[int, int, int], bool]
"""(prompt, sample, id of a new token) → whether the text goes on."""


class _Watcher:
    """Sees the tokens of one text as they come: stop strings, streamer, pieces for a consumer."""

    def __init__(
        self,
        stream: TextStream | None,
        stop: Sequence[str],
        eos_ids: Sequence[int],
        tell: Callable[[str], object] | None,
        streamer: Any,
    ) -> None:
        self._stream = stream
        self._filter = StopFilter(stop)
        self._eos = frozenset(eos_ids)
        self._tell = tell
        self._streamer = streamer
        self._pieces: list[str] = []

    @property
    def stopped(self) -> bool:
        return self._filter.stopped

    def _add(self, piece: str) -> None:
        if piece:
            self._pieces.append(piece)
            if self._tell:
                self._tell(piece)

    def see(self, id: int) -> bool:
        """Whether the text goes on after this token."""
        if self._streamer is not None:
            self._streamer.put(np.array([id], np.int64))
        if self._stream is not None and id not in self._eos:
            self._add(self._filter.push(self._stream.push(id)))
        return not self._filter.stopped

    def finish(self) -> str:
        """The whole text."""
        if self._stream is not None and not self._filter.stopped:
            self._add(self._filter.push(self._stream.finish()))
            self._add(self._filter.finish())
        if self._streamer is not None:
            self._streamer.end()
        return "".join(self._pieces)


class TextGenerator(ABC):
    """What can generate text, natively or through transformers.

    Attributes:
        path: the artifact.
        tokenizer: turns text to ids and back.
    """

    path: Path | None
    tokenizer: LanguageTokenizer

    @property
    @abstractmethod
    def metadata(self) -> dict[str, Any]:
        """What the artifact says of itself: model, quantization, linears."""

    @property
    @abstractmethod
    def vocab_size(self) -> int:
        """Number of tokens."""

    @property
    @abstractmethod
    def ctx_len(self) -> int:
        """Tokens a prompt and its text can have together."""

    @abstractmethod
    def explain(
        self, rows: int | Sequence[int] | None = None, measure: bool = False
    ) -> list[dict[str, Any]]:
        """Name, scheme, kernel and bytes of each linear layer."""

    @abstractmethod
    def _generate_ids(
        self,
        prompts: list[list[int]],
        options: dict[str, Any],
        on_token: OnToken | None,
        assistant: Any,
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Generates.

        Args:
            prompts: token ids.
            options: what :func:`generation_options` returns.
            on_token: is told each new token.
            assistant: the argument ``assistant_model``.

        Returns:
            the fields of a :class:`GeneratedText` but its text, by prompt, then sample; statistics.
        """

    @abstractmethod
    def _logits(self, ids: Ids) -> FloatArray:
        """Logits after each of the ids, which are valid and at least one."""

    @abstractmethod
    def _measure(self, ids: Ids, ctx: int, show: Callback) -> dict[str, Any]:
        """What :meth:`perplexity` returns, but the seconds."""

    @abstractmethod
    def _compare(self, reference: Any, ids: Ids, ctx: int, show: Callback) -> dict[str, Any]:
        """What :meth:`kl_divergence` returns, but the seconds."""

    def ids_of(self, prompt: Any, name: str = "prompt") -> list[int]:
        """Token ids of a text, or ids as they are.

        Raises:
            ValueError: a text, and the artifact has no tokenizer. TypeError: neither.
        """
        if isinstance(prompt, str):
            return self.tokenizer.encode(prompt)
        if hasattr(prompt, "__len__") and len(prompt) == 0:
            return []
        ids = as_int_array(prompt, name)
        if ids.ndim != 1:
            raise InvalidArgument(f"{name} must have 1 dimension, not {ids.ndim}")
        if ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < self.vocab_size:
            bad = int(np.flatnonzero((ids < 0) | (ids >= self.vocab_size))[0])
            raise InvalidArgument(
                f"{name}: id {int(ids[bad])} at position {bad} is outside the vocabulary of "
                f"{self.vocab_size}"
            )
        return cast("list[int]", ids.tolist())

    def _run(
        self,
        ids: list[list[int]],
        given: Mapping[str, Any],
        as_text: bool,
        tell: Callable[[str], object] | None = None,
        streamer: Any = None,
        go_on: Callable[[], bool] | None = None,
    ) -> GenerationOutput:
        given = dict(given)
        assistant = given.pop("assistant_model", None)
        options = generation_options(given, self.tokenizer.eos_ids)
        stop = stop_strings(given.get("stop"))
        samples = options.get("num_return_sequences", 1)
        if streamer is not None and len(ids) * samples != 1:
            raise InvalidArgument("a streamer takes one text: give one prompt")
        watched = bool(stop) or tell is not None or streamer is not None
        decoded = as_text or bool(stop) or tell is not None

        def stream_of(prompt: int) -> TextStream | None:
            return self.tokenizer.stream(ids[prompt]) if decoded else None

        watchers = {
            (p, s): _Watcher(stream_of(p), stop, options["eos_ids"], tell, streamer)
            for p in range(len(ids) if watched else 0)
            for s in range(samples)
        }

        def on_token(prompt: int, sample: int, id: int) -> bool:
            return watchers[prompt, sample].see(id) and (go_on is None or go_on())

        if streamer is not None:
            streamer.put(np.array(ids, np.int64))
        rows, stats = self._generate_ids(ids, options, on_token if watched else None, assistant)
        return GenerationOutput([self._text(r, ids, watchers, as_text) for r in rows], stats)

    def _text(
        self,
        row: dict[str, Any],
        prompts: list[list[int]],
        watchers: Mapping[tuple[int, int], _Watcher],
        as_text: bool,
    ) -> GeneratedText:
        watcher = watchers.get((row["prompt"], row["sample"]))
        seen = watcher.finish() if watcher else None
        if as_text and seen is None:
            seen = self.tokenizer.continuation(prompts[row["prompt"]], row["ids"].tolist())
        if watcher and watcher.stopped:
            row["finish_reason"] = "stop"
        return GeneratedText(text=seen if as_text else None, **row)

    def generate(
        self, prompts: Any, *, streamer: Any = None, details: bool = False, **options: Any
    ) -> Any:
        """Texts that continue the prompts.

        Args:
            prompts: a text or several; token ids, a list, an array or several; or the dict of
                ``input_ids`` and ``attention_mask`` of a tokenizer.
            streamer: of transformers, for one prompt: ``put(ids)`` and ``end()`` are called.
            details: return :class:`GenerationOutput`.
            options: ``max_new_tokens`` (128), ``temperature`` (0: always the most likely token),
                ``top_k``, ``top_p``, ``min_p``, ``repetition_penalty``, ``presence_penalty``,
                ``frequency_penalty``, ``seed``, ``seeds`` (one a prompt), ``num_return_sequences``,
                ``stop`` (texts), ``eos_token_id``, ``prompt_lookup_num_tokens``,
                ``prompt_lookup_ngram``, ``assistant_model`` (a smaller language model of the
                same vocabulary that proposes tokens, ``num_assistant_tokens`` (5) at a time),
                ``logprobs``, ``top_logprobs``, ``do_sample``.

        Returns:
            The generated text of each prompt, without the prompt: for texts ``str``, for ids an
            int32 array; in a list unless one prompt was given outside of a list.

        Raises:
            ValueError: an empty prompt, one longer than ``ctx_len``, ids outside the vocabulary,
            options out of range, use by two threads. TypeError: wrong types.
        """
        items, single = prompt_list(prompts)
        as_text = bool(items) and all(isinstance(item, str) for item in items)
        ids = [self.ids_of(item, f"prompts[{i}]") for i, item in enumerate(items)]
        output = self._run(ids, options, as_text, streamer=streamer)
        if details:
            return output
        plain = [t.text if as_text else t.ids for t in output.texts]
        return plain[0] if single and len(plain) == 1 else plain

    def stream(self, prompt: Any, **options: Any) -> Iterator[str]:
        """The text that continues a prompt, piece by piece while it is generated.

        Whoever stops early, by ``break`` or ``close()``, stops the generation.

        Args:
            prompt: a text or token ids.
            options: those of :meth:`generate`.
        """
        generation_options(options, ())  # errors of the options at once, not at the first piece
        return self.stream_ids(self.ids_of(prompt), options)

    def stream_ids(
        self,
        ids: list[int],
        options: Mapping[str, Any],
        keep: Callable[[GenerationOutput], object] | None = None,
    ) -> Iterator[str]:
        """As :meth:`stream`, and hands ``keep`` the result at the end."""

        pieces: queue.SimpleQueue[str | BaseException | None] = queue.SimpleQueue()
        stopped = threading.Event()

        def work() -> None:
            try:
                output = self._run(
                    [ids], options, True, pieces.put, None, lambda: not stopped.is_set()
                )
                if keep:
                    keep(output)
                pieces.put(None)
            except BaseException as error:  # noqa: BLE001 - raised again by the consumer
                pieces.put(error)

        worker = threading.Thread(target=work, name="qeff-stream", daemon=True)
        worker.start()
        try:
            while (piece := pieces.get()) is not None:
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
        finally:
            stopped.set()
            worker.join()

    def chat(
        self, messages: str | Sequence[Message], *, stream: bool = False, **options: Any
    ) -> Any:
        """The answer to a conversation, by the model's chat template.

        Args:
            messages: ``[{"role": "user", "content": "..."}, …]``, or one text of the user.
            stream: return an iterator of pieces.
            options: those of :meth:`generate`.

        Raises:
            ValueError: the model has no chat template, or it refuses the messages.
        """
        ids = self.chat_ids(messages)
        if stream:
            return self.stream(ids, **options)
        return self._run([ids], options, True).texts[0].text

    def chat_ids(self, messages: str | Sequence[Message]) -> list[int]:
        """The prompt of a conversation as token ids."""
        turns = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
        return self.tokenizer.encode(self.tokenizer.render_chat(turns), add_special_tokens=False)

    def _measured_ids(self, text_or_ids: Any, tokens: int | None) -> Ids:
        row = self.ids_of(text_or_ids, "text_or_ids")
        if tokens is not None and tokens < 2:
            raise InvalidArgument(f"tokens must be at least 2, not {tokens}")
        return np.asarray(row if tokens is None else row[:tokens], np.int32)

    def logits(self, ids: Any) -> FloatArray:
        """Logits after each token of a text or of ids, float32 (tokens, vocabulary)."""
        row = self.ids_of(ids, "ids")
        if not row:
            raise InvalidArgument("ids is empty: give at least one token")
        return self._logits(np.asarray(row, np.int32))

    def perplexity(
        self, text_or_ids: Any, ctx: int = 512, tokens: int | None = None, progress: bool = False
    ) -> dict[str, Any]:
        """How well the model foretells a text.

        Args:
            text_or_ids: the text.
            ctx: tokens of a context; contexts do not overlap.
            tokens: use the first ones only.
            progress: show a bar.

        Returns:
            ``perplexity``, ``mean_loss`` (nats), ``standard_error`` of it, ``contexts``,
            ``predictions``, ``seconds``.
        """
        ids = self._measured_ids(text_or_ids, tokens)
        started = time.perf_counter()
        with progress_bar("perplexity", progress) as show:
            result = self._measure(ids, ctx, show)
        return result | {"seconds": round(time.perf_counter() - started, 3)}

    def kl_divergence(
        self,
        reference: Any,
        text_or_ids: Any,
        ctx: int = 512,
        tokens: int | None = None,
        progress: bool = False,
    ) -> dict[str, Any]:
        """How far this model is from another one: mean KL(reference || this) on a text.

        Returns:
            ``mean_kl`` and ``max_kl`` (nats), ``same_top_share``, ``model`` and ``reference``
            (each what :meth:`perplexity` returns), ``seconds``.
        """
        ids = self._measured_ids(text_or_ids, tokens)
        started = time.perf_counter()
        with progress_bar("KL divergence", progress) as show:
            result = self._compare(reference, ids, ctx, show)
        return result | {"seconds": round(time.perf_counter() - started, 3)}
