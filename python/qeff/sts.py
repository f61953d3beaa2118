"""Semantic textual similarity: how well cosines of embeddings follow human scores."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ._core import FormatError, InvalidArgument
from .arrays import FloatArray

__all__ = ["read_sts", "spearman", "sts_score"]

Floats = NDArray[np.float64]
Encode = Callable[[Sequence[str]], FloatArray]


def read_sts(path: str | os.PathLike[str]) -> tuple[list[str], list[str], list[float]]:
    """First sentences, second sentences and scores of a CSV without a header.

    Raises:
        ValueError: a line without two sentences and a number. OSError: it cannot be read.
    """
    first, second, scores = [], [], []
    with open(path, encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.reader(file), 1):
            try:
                a, b, score = row
                scores.append(float(score))
            except ValueError as error:
                raise FormatError(
                    f"{path}: line {number} is not sentence1,sentence2,score"
                ) from error
            first.append(a)
            second.append(b)
    if not scores:
        raise FormatError(f"{path}: has no line")
    return first, second, scores


def ranks(values: Floats) -> Floats:
    """Ranks from 0; equal values share the mean of theirs."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count) - 1
    mean: Floats = (last - (count - 1) / 2)[place]
    return mean


def spearman(a: Sequence[float] | Floats, b: Sequence[float] | Floats) -> float:
    """Spearman's rank correlation. Raises ValueError: fewer than two values, or one of them constant."""
    x, y = ranks(np.asarray(a, np.float64)), ranks(np.asarray(b, np.float64))
    if len(x) < 2 or x.std() == 0 or y.std() == 0:
        raise InvalidArgument("spearman: needs at least two different values on both sides")
    return float(np.corrcoef(x, y)[0, 1])


def cosines(a: FloatArray, b: FloatArray) -> Floats:
    """Cosine of each row of ``a`` with the same row of ``b``."""
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(wide_a, axis=1) * np.linalg.norm(wide_b, axis=1)
    result: Floats = (wide_a * wide_b).sum(axis=1) / np.maximum(lengths, 1e-300)
    return result


def sts_score(encode: Encode, path: str | os.PathLike[str]) -> tuple[float, int]:
    """Spearman correlation × 100 on the pairs of a CSV, and their number."""
    first, second, scores = read_sts(path)
    return 100 * spearman(cosines(encode(first), encode(second)), scores), len(scores)
