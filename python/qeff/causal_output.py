"""What generating text returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import FloatArray

__all__ = ["GeneratedText", "GenerationOutput", "Ids"]

Ids = NDArray[np.int32]


@dataclass(frozen=True)
class GeneratedText:
    """One generated text.

    Attributes:
        prompt: index of its prompt.
        sample: which of the texts of that prompt.
        ids: the generated tokens.
        text: the same as text, up to a stop string; None without a tokenizer.
        finish_reason: ``"length"``, ``"eos"``, ``"stop"``, ``"context"`` or ``"callback"``.
        logprobs: of the tokens, if asked for.
        top_logprobs: for each token the most likely ones (id, log-probability), if asked for.
    """

    prompt: int
    sample: int
    ids: Ids
    text: str | None
    finish_reason: str
    logprobs: FloatArray | None = None
    top_logprobs: list[list[tuple[int, float]]] | None = None


@dataclass(frozen=True)
class GenerationOutput:
    """Texts in the order of the prompts, and what it took.

    Attributes:
        texts: ``num_return_sequences`` for each prompt.
        stats: ``prompt_tokens``, ``reused_tokens``, ``generated_tokens``, ``runs``,
            ``proposed_tokens``, ``accepted_tokens``, ``prefill_seconds``, ``decode_seconds``.
    """

    texts: list[GeneratedText]
    stats: dict[str, Any]
