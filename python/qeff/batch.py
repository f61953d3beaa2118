"""Batches of token ids: padded as transformers writes them, packed as the runtime reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._core import InvalidArgument
from .arrays import FloatArray, as_int_array

__all__ = ["Batch", "PackedTokens", "pack_batch", "pack_rows"]

_KNOWN = ("input_ids", "attention_mask", "token_type_ids", "position_ids")


@dataclass(frozen=True)
class PackedTokens:
    """Sequences one after the other, without padding.

    Attributes:
        ids: int32 (tokens,).
        offsets: uint64 (sequences + 1,), the first is 0.
        type_ids: int32 (tokens,), or None: all zero.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.uint64]
    type_ids: NDArray[np.int32] | None = None


@dataclass(frozen=True)
class Batch:
    """A padded batch and its packed form.

    Attributes:
        tokens: without padding.
        mask: bool (sequences, width): which places hold a token.
        like: the caller's ``input_ids``: results come back in its kind.
    """

    tokens: PackedTokens
    mask: NDArray[np.bool_]
    like: Any

    def unpack(self, states: FloatArray) -> FloatArray:
        """States (tokens, hidden) at their places in (sequences, width, hidden), zero elsewhere."""
        padded = np.zeros((*self.mask.shape, states.shape[-1]), np.float32)
        padded[self.mask] = states
        return padded


def _ids32(ids: NDArray[np.int64], name: str) -> NDArray[np.int32]:
    """int32 ids; the range of the vocabulary itself is checked by the model."""
    if ids.size and (ids.min() < -(2**31) or ids.max() >= 2**31):
        raise InvalidArgument(f"{name}: {int(ids.flat[np.abs(ids).argmax()])} is no token id")
    return ids.astype(np.int32)


def _offsets(lengths: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint64]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.uint64)


def pack_rows(rows: Sequence[NDArray[np.int64]]) -> PackedTokens:
    """Sequences of ids, each a vector of its own length, packed.

    Raises:
        ValueError: no sequence, an empty one, or one that is no vector.
    """
    if not len(rows):
        raise InvalidArgument("no sequence of token ids: the list is empty")
    for index, row in enumerate(rows):
        if row.ndim != 1:
            raise InvalidArgument(
                f"sequence {index}: has shape {row.shape}, expected a vector of token ids"
            )
        if row.size == 0:
            raise InvalidArgument(f"sequence {index}: has no token")
    return PackedTokens(
        _ids32(np.concatenate(rows), "token ids"), _offsets([len(row) for row in rows])
    )


def _matching(
    inputs: Mapping[str, Any], name: str, shape: tuple[int, ...]
) -> NDArray[np.int64] | None:
    value = inputs.get(name)
    if value is None:
        return None
    array = as_int_array(value, name)
    array = array[None, :] if array.ndim == 1 and len(shape) == 2 and shape[0] == 1 else array
    if array.shape != shape:
        raise InvalidArgument(f"{name}: has shape {array.shape}, input_ids has {shape}")
    return array


def pack_batch(inputs: Mapping[str, Any]) -> Batch:
    """Removes the padding of a batch.

    Args:
        inputs: ``input_ids`` (sequences, width), optionally ``attention_mask`` (1: token, 0: padding)
            and ``token_type_ids`` of the same shape; numpy, torch or nested lists.

    Raises:
        ValueError: shapes that do not fit, other keys, a mask that is neither 0 nor 1, an empty row.
        TypeError: arrays of anything but whole numbers.
    """
    if not isinstance(inputs, Mapping) and not hasattr(inputs, "keys"):
        raise TypeError(
            f"inputs must be a dict with input_ids and attention_mask, not {type(inputs).__name__}"
        )
    unknown = [name for name in inputs if name not in _KNOWN]
    if unknown or "input_ids" not in inputs:
        have = ", ".join(map(str, inputs)) or "nothing"
        raise InvalidArgument(
            f"inputs: has {have}; expected input_ids, attention_mask and token_type_ids"
        )
    if inputs.get("position_ids") is not None:
        raise InvalidArgument("inputs: position_ids are the model's own, leave them out")
    ids = as_int_array(inputs["input_ids"], "input_ids")
    ids = ids[None, :] if ids.ndim == 1 else ids
    if ids.ndim != 2 or ids.size == 0:
        raise InvalidArgument(f"input_ids: has shape {ids.shape}, expected (sequences, tokens)")
    mask_values = _matching(inputs, "attention_mask", ids.shape)
    types = _matching(inputs, "token_type_ids", ids.shape)
    if mask_values is not None and not np.isin(mask_values, (0, 1)).all():
        raise InvalidArgument("attention_mask: has other values than 0 (padding) and 1 (token)")
    mask = np.ones(ids.shape, bool) if mask_values is None else mask_values.astype(bool)
    lengths = mask.sum(axis=1)
    if not lengths.all():
        raise InvalidArgument(f"attention_mask: row {int(lengths.argmin())} is all padding")
    tokens = PackedTokens(
        _ids32(ids[mask], "input_ids"),
        _offsets(lengths),
        None if types is None or not types.any() else _ids32(types[mask], "token_type_ids"),
    )
    return Batch(tokens, mask, inputs["input_ids"])
