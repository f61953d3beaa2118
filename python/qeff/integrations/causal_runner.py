"""A causal language model that transformers runs, with packed layers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from .._core import InvalidArgument, QeffError, Unsupported
from ..arrays import FloatArray
from ..causal_generation import OnToken, TextGenerator
from ..causal_native import positions_of
from ..causal_output import Ids
from ..causal_text import LanguageTokenizer
from ..progress import Callback
from .causal_measure import compare, measure
from .causal_options import check_generation, generation_config
from .transformers import explain_modules

__all__ = ["TransformersRunner"]

_DEFAULT_CONTEXT = 4096


class _Watch(transformers.StoppingCriteria):
    """Hands on each new token of a text, up to the one that ends it."""

    def __init__(self, prompt: int, eos: Sequence[int], tell: Callable[[int], bool]) -> None:
        self.ids: list[int] = []
        self.stopped = False
        self.runs = 0
        self.first_at: float | None = None
        self._prompt = prompt
        self._eos = frozenset(eos)
        self._tell = tell

    @property
    def ended(self) -> bool:
        """Whether the last token is one that ends texts."""
        return bool(self.ids) and self.ids[-1] in self._eos

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        del scores
        self.runs += 1
        self.first_at = self.first_at or time.perf_counter()
        for id in input_ids[0, self._prompt + len(self.ids) :].tolist():
            if not (self.stopped or self.ended):
                self.ids.append(id)
                self.stopped = not self._tell(id)
        return torch.tensor([self.stopped or self.ended])


class _Finite(transformers.LogitsProcessor):
    """Logits without a number are an error, not a token."""

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        if bool(torch.isnan(scores).any()):
            raise InvalidArgument(f"the logits after {input_ids.shape[1]} tokens are not a number")
        return scores


class TransformersRunner(TextGenerator):
    """A causal language model without a native form; make it with :func:`qeff.load`.

    Texts are generated one after the other by transformers' ``generate``.

    Attributes:
        module: the torch model.
    """

    def __init__(
        self,
        module: Any,
        path: Path,
        metadata: dict[str, Any],
        tokenizer: LanguageTokenizer,
        ctx_len: int | None = None,
    ) -> None:
        self.module: Any = module.eval()
        self.path: Path | None = path
        self.tokenizer = tokenizer
        self._metadata = metadata
        self._busy = threading.Lock()
        positions = positions_of(metadata["config"])
        if ctx_len is not None and positions is not None and ctx_len > positions:
            raise InvalidArgument(
                f"ctx_len {ctx_len} is more than the {positions} positions of the model"
            )
        self._ctx_len = ctx_len or min(positions or _DEFAULT_CONTEXT, _DEFAULT_CONTEXT)
        # Options come from the caller alone, as they do natively.
        self.module.generation_config = transformers.GenerationConfig()

    @property
    def metadata(self) -> dict[str, Any]:
        """What the artifact says of itself: model, quantization, packed layers."""
        return self._metadata

    @property
    def vocab_size(self) -> int:
        """Number of tokens."""
        return int(self.module.get_input_embeddings().weight.shape[0])

    @property
    def ctx_len(self) -> int:
        """Tokens a prompt and its text can have together."""
        return self._ctx_len

    def explain(
        self, rows: int | Sequence[int] | None = None, measure: bool = False
    ) -> list[dict[str, Any]]:
        """How each packed layer runs; see :meth:`qeff.Session.explain`."""
        return explain_modules(self.module, rows, measure)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._busy.acquire(blocking=False):
            raise InvalidArgument("the session is in use by another call")
        try:
            yield
        finally:
            self._busy.release()

    def _check_prompts(self, prompts: Sequence[Sequence[int]]) -> None:
        for index, ids in enumerate(prompts):
            if not ids:
                raise InvalidArgument(f"prompt {index} is empty; give it at least one token")
            if len(ids) > self._ctx_len:
                raise InvalidArgument(
                    f"prompt {index} has {len(ids)} tokens, but the session has room for "
                    f"ctx_len = {self._ctx_len}"
                )

    def _generate_ids(
        self,
        prompts: list[list[int]],
        options: dict[str, Any],
        on_token: OnToken | None,
        assistant: Any,
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        if assistant is not None:
            raise Unsupported(
                "generate: assistant_model is not possible for a model that runs through "
                "transformers: use prompt_lookup_num_tokens"
            )
        check_generation(options, len(prompts), self.vocab_size)
        self._check_prompts(prompts)
        seeds = options.get("seeds") or [options.get("seed", 0)] * len(prompts)
        rows: list[dict[str, Any]] = []
        stats = dict.fromkeys(
            ("prompt_tokens", "reused_tokens", "generated_tokens", "runs"), 0
        ) | dict.fromkeys(("prefill_seconds", "decode_seconds"), 0.0)
        with self._alone(), torch.random.fork_rng(devices=[]):
            for p, ids in enumerate(prompts):
                torch.manual_seed(seeds[p] % 2**63)
                for s in range(options.get("num_return_sequences", 1)):

                    def tell(id: int, p: int = p, s: int = s) -> bool:
                        return on_token is None or on_token(p, s, id)

                    row, took = self._one(ids, options, tell)
                    rows.append({"prompt": p, "sample": s, **row})
                    for name, value in took.items():
                        stats[name] += value
        return rows, stats

    def _one(
        self, ids: list[int], options: Mapping[str, Any], tell: Callable[[int], bool]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """One text, and what it took."""
        room = self._ctx_len - len(ids) + 1  # the last token needs no place
        config = generation_config(options, room)
        watch = _Watch(len(ids), options["eos_ids"], tell)
        prompt = torch.tensor([ids])
        started = time.perf_counter()
        try:
            output = self.module.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                generation_config=config,
                stopping_criteria=transformers.StoppingCriteriaList([watch]),
                logits_processor=transformers.LogitsProcessorList([_Finite()]),
            )
        except QeffError:
            raise
        except (ValueError, NotImplementedError) as error:
            raise Unsupported(f"generate: transformers refuses: {error}") from error
        first, ended = watch.first_at or started, time.perf_counter()
        row: dict[str, Any] = {"ids": np.array(watch.ids, np.int32)}
        if watch.ended:
            row["finish_reason"] = "eos"
        elif watch.stopped:
            row["finish_reason"] = "callback"
        else:
            wanted = options.get("max_new_tokens", config.max_new_tokens)
            row["finish_reason"] = "context" if wanted > room else "length"
        if config.output_logits:
            row |= _log_probabilities(output.logits, watch.ids, options.get("top_logprobs", 0))
        return row, {
            "prompt_tokens": len(ids),
            "generated_tokens": len(watch.ids),
            "runs": watch.runs,
            "prefill_seconds": first - started,
            "decode_seconds": ended - first,
        }

    def _logits(self, ids: Ids) -> FloatArray:
        self._check_prompts([ids.tolist()])
        with self._alone(), torch.no_grad():
            rows = self.module(input_ids=torch.from_numpy(ids.astype(np.int64))[None]).logits[0]
        result: FloatArray = rows.float().numpy()
        return result

    def _measure(self, ids: Ids, ctx: int, show: Callback) -> dict[str, Any]:
        return measure(self._logits, ids, ctx, show)

    def _compare(self, reference: Any, ids: Ids, ctx: int, show: Callback) -> dict[str, Any]:
        other = getattr(reference, "session", reference)
        if not isinstance(other, TextGenerator):
            raise TypeError(
                f"reference must be a compiled language model, not {type(reference).__name__}"
            )
        if other.vocab_size != self.vocab_size:
            raise InvalidArgument(
                f"the reference has a vocabulary of {other.vocab_size}, the model one of "
                f"{self.vocab_size}"
            )
        return compare(self._logits, other.logits, ids, ctx, show)

    def __repr__(self) -> str:
        kind = type(self.module).__name__
        return f"<qeff.TransformersRunner {self.path} {kind} ctx_len={self.ctx_len}>"


def _log_probabilities(logits: Sequence[Any], ids: Sequence[int], top: int) -> dict[str, Any]:
    """Of the chosen tokens, and of the ``top`` most likely ones."""
    rows = torch.cat(list(logits)[: len(ids)]).float().log_softmax(-1)
    chosen = rows.gather(1, torch.tensor(ids)[:, None])[:, 0]
    found: dict[str, Any] = {"logprobs": chosen.numpy()}
    if top:
        values, places = rows.topk(top)
        found["top_logprobs"] = [
            list(zip(place, value, strict=True))
            for place, value in zip(places.tolist(), values.tolist(), strict=True)
        ]
    return found
