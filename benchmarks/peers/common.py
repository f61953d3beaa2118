"""What the sides of the other libraries share. Needs numpy only."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Facts = dict[str, Any]
Built = tuple[Callable[[], Any], Facts]


def tensor(case: Facts, name: str) -> np.ndarray:
    """A tensor of the case: ``x``, ``w``, or ``input_ids``, ``attention_mask``."""
    return np.load(Path(case["folder"]) / f"{name}.npy")


def copies_of(case: Facts, weight_bytes: int) -> int:
    """How many weights to go through in turn: one if they may stay in the cache."""
    return max(1, -(-case["rotate_bytes"] // weight_bytes))


def in_turn(product: Callable[[Any], Any], weights: Sequence[Any]) -> Callable[[], Any]:
    """``product`` of the next weights with each call."""
    following = itertools.cycle(weights)
    return lambda: product(next(following))


def rolled(array: np.ndarray, copy: int) -> np.ndarray:
    """The rows in another order for each copy, so that no library finds copies to be equal."""
    return np.roll(array, copy, axis=0)


def mean_pooled(states: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mean of the states (sentences, tokens, hidden) of real tokens."""
    weights = mask[..., None].astype(np.float32)
    return (states * weights).sum(1) / weights.sum(1)
