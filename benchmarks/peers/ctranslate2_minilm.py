"""The model in CTranslate2, which takes sentences of different lengths without padding from outside."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
from common import Built, Facts, mean_pooled, tensor
from exported import kept


def _convert(model: str, path: Path) -> None:
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(model).convert(str(path))


@functools.cache
def _encoder(model: str, compute_type: str, threads: int) -> Any:
    path = kept(model, "ctranslate2", lambda out: _convert(model, out))
    return ctranslate2.Encoder(
        str(path), device="cpu", compute_type=compute_type, intra_threads=threads
    )


def run(case: Facts, compute_type: str) -> Built:
    """The batch as lists of ids."""
    encoder = _encoder(case["model"], compute_type, case["threads"])
    mask = tensor(case, "attention_mask")
    pairs = zip(tensor(case, "input_ids"), mask, strict=True)
    rows = [row[kept_tokens.astype(bool)].tolist() for row, kept_tokens in pairs]

    def once() -> np.ndarray:
        states = np.array(encoder.forward_batch(rows).last_hidden_state)
        return mean_pooled(states, mask[:, : states.shape[1]])

    return once, {"version": ctranslate2.__version__}
