"""What may be given as prompts: texts, token ids, what a tokenizer returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .arrays import as_int_array

__all__ = ["prompt_list"]


def _is_ids(value: Any) -> bool:
    return hasattr(value, "ndim") or (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and len(value) > 0
        and all(isinstance(v, int | np.integer) for v in value)
    )


def prompt_list(prompts: Any) -> tuple[list[Any], bool]:
    """Prompts as a list, and whether there was only one, not in a list."""
    if isinstance(prompts, str):
        return [prompts], True
    if isinstance(prompts, Mapping):  # what a tokenizer of transformers returns
        ids = as_int_array(prompts["input_ids"], "input_ids")
        rows = ids if ids.ndim == 2 else ids[None]
        mask = prompts.get("attention_mask")
        keep = (
            np.ones(rows.shape, bool) if mask is None else np.asarray(mask).reshape(rows.shape) > 0
        )
        return [row[kept] for row, kept in zip(rows, keep, strict=True)], ids.ndim == 1
    if _is_ids(prompts):
        ids = as_int_array(prompts, "prompts")
        return (list(ids), False) if ids.ndim == 2 else ([ids], True)
    if not isinstance(prompts, Sequence):
        raise TypeError(f"prompts must be texts or token ids, not {type(prompts).__name__}")
    return list(prompts), False
