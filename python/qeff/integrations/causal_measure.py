"""Perplexity and KL divergence from logits, by the rules of ``qeff/nn/perplexity.hpp``."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from .._core import InvalidArgument
from ..arrays import FloatArray
from ..causal_output import Ids
from ..progress import Callback

__all__ = ["compare", "measure"]

LogitsOf = Callable[[Ids], FloatArray]


def _contexts(ids: Ids, ctx: int, show: Callback) -> Iterator[Ids]:
    """The text in contexts that do not overlap; the rest is left out."""
    if len(ids) < 2:
        raise InvalidArgument(f"perplexity needs a text of at least 2 tokens, not {len(ids)}")
    if ctx < 2:
        raise InvalidArgument(f"ctx must be at least 2, not {ctx}")
    length = min(ctx, len(ids))
    count = len(ids) // length
    for index in range(count):
        yield ids[index * length : (index + 1) * length]
        show((index + 1) * length, count * length, "")


def _predictions(logits_of: LogitsOf, context: Ids) -> torch.Tensor:
    """Log-probabilities of tokens 2 and on of a context."""
    logits = torch.from_numpy(np.ascontiguousarray(logits_of(context)[:-1]))
    if bool(torch.isnan(logits).any()):
        raise InvalidArgument("the model's logits are not a number")
    return logits.log_softmax(-1)


def _losses(rows: torch.Tensor, context: Ids) -> list[float]:
    chosen = torch.from_numpy(context[1:].astype(np.int64))[:, None]
    return [-value for value in rows.gather(1, chosen)[:, 0].tolist()]


def _summary(losses: list[float], contexts: int) -> dict[str, Any]:
    values = np.asarray(losses, np.float64)
    error = float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else 0.0
    mean = float(values.mean())
    return {
        "perplexity": math.exp(mean) if mean < 700 else math.inf,
        "mean_loss": mean,
        "standard_error": error,
        "contexts": contexts,
        "predictions": len(losses),
    }


def measure(logits_of: LogitsOf, ids: Ids, ctx: int, show: Callback) -> dict[str, Any]:
    """How well a model foretells a text; see :meth:`qeff.causal_generation.TextGenerator.perplexity`."""
    losses: list[float] = []
    contexts = 0
    for context in _contexts(ids, ctx, show):
        losses += _losses(_predictions(logits_of, context), context)
        contexts += 1
    return _summary(losses, contexts)


def compare(
    model: LogitsOf, reference: LogitsOf, ids: Ids, ctx: int, show: Callback
) -> dict[str, Any]:
    """How far one model is from another; see
    :meth:`qeff.causal_generation.TextGenerator.kl_divergence`."""
    kl: list[float] = []
    losses: tuple[list[float], list[float]] = ([], [])
    agree = contexts = 0
    for context in _contexts(ids, ctx, show):
        ours, theirs = _predictions(model, context), _predictions(reference, context)
        terms = torch.where(theirs > -700, theirs.exp() * (theirs - ours), 0)
        kl += terms.sum(-1, dtype=torch.float64).tolist()
        agree += int((ours.argmax(-1) == theirs.argmax(-1)).sum())
        for rows, found in zip((ours, theirs), losses, strict=True):
            found += _losses(rows, context)
        contexts += 1
    return {
        "mean_kl": sum(kl) / len(kl),
        "max_kl": max(kl),
        "same_top_share": agree / len(kl),
        "model": _summary(losses[0], contexts),
        "reference": _summary(losses[1], contexts),
    }
