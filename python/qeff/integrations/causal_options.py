"""Options of text generation in the words of transformers' ``generate``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import transformers

from .._core import InvalidArgument, Unsupported

__all__ = ["check_generation", "generation_config"]

_MOST_TOKENS = 128

# Options of the native generator that transformers has no word for: the value that asks for nothing.
_NATIVE_ONLY = {"presence_penalty": 0.0, "frequency_penalty": 0.0, "prefill_chunk": None}


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise InvalidArgument(message)


def check_generation(options: Mapping[str, Any], prompts: int, vocabulary: int) -> None:
    """Raises ValueError: options that make no sense, or that only native models have."""
    for name, nothing in _NATIVE_ONLY.items():
        if options.get(name, nothing) != nothing:
            raise Unsupported(
                f"generate: {name} is not possible for a model that runs through transformers"
            )
    temperature, top_p = options.get("temperature", 0.0), options.get("top_p", 1.0)
    min_p, penalty = options.get("min_p", 0.0), options.get("repetition_penalty", 1.0)
    samples, top = options.get("num_return_sequences", 1), options.get("top_logprobs", 0)
    seeds = options.get("seeds") or []
    _require(temperature >= 0, f"temperature must be a number from 0 on, not {temperature}")
    _require(0 < top_p <= 1, f"top_p must be above 0 and at most 1, not {top_p}")
    _require(0 <= min_p <= 1, f"min_p must be between 0 and 1, not {min_p}")
    _require(penalty > 0, f"repetition_penalty must be a number above 0, not {penalty}")
    _require(
        samples == 1 or temperature > 0,
        f"num_return_sequences = {samples} needs a temperature above 0: greedy texts would be equal",
    )
    _require(len(seeds) in (0, prompts), f"seeds: {len(seeds)} for {prompts} prompts")
    _require(top <= vocabulary, f"top_logprobs = {top} is more than the vocabulary of {vocabulary}")


def generation_config(options: Mapping[str, Any], room: int) -> transformers.GenerationConfig:
    """The configuration of ``generate`` for one text.

    Args:
        options: what :func:`qeff.causal_options.generation_options` returns, checked.
        room: most new tokens that fit the context.
    """
    eos = list(options["eos_ids"])
    words: dict[str, Any] = {
        "max_new_tokens": min(options.get("max_new_tokens", _MOST_TOKENS), room),
        "do_sample": False,
        "eos_token_id": eos or None,
        "pad_token_id": eos[0] if eos else 0,
        "return_dict_in_generate": True,
        "output_logits": bool(options.get("logprobs") or options.get("top_logprobs")),
    }
    if options.get("repetition_penalty", 1.0) != 1:
        words["repetition_penalty"] = options["repetition_penalty"]
    if options.get("temperature", 0.0) > 0:
        words |= {
            "do_sample": True,
            "temperature": options["temperature"],
            "top_k": options.get("top_k", 0),
            "top_p": options.get("top_p", 1.0),
            "min_p": options.get("min_p") or None,
        }
    if options.get("prompt_lookup_num_tokens"):
        words["prompt_lookup_num_tokens"] = options["prompt_lookup_num_tokens"]
        words["max_matching_ngram_size"] = options.get("prompt_lookup_ngram", 3)
    return transformers.GenerationConfig(**words)
