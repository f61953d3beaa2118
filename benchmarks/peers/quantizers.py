"""Weights rounded to nearest the way other libraries want them. numpy only."""

from __future__ import annotations

import numpy as np

# The sixteen values of NF4 (QLoRA, appendix E), quantiles of the normal distribution.
NF4 = np.array(
    [
        -1.0,
        -0.6961928009986877,
        -0.5250730514526367,
        -0.39491748809814453,
        -0.28444138169288635,
        -0.18477343022823334,
        -0.09105003625154495,
        0.0,
        0.07958029955625534,
        0.16093020141124725,
        0.24611230194568634,
        0.33791524171829224,
        0.44070982933044434,
        0.5626170039176941,
        0.7229568362236023,
        1.0,
    ],
    np.float32,
)


def symmetric_rows(w: np.ndarray, largest: int = 127) -> tuple[np.ndarray, np.ndarray]:
    """int8 codes (N, K) in ±largest, and a scale for each row."""
    scale = np.abs(w).max(1) / np.float32(largest)
    codes = np.clip(np.rint(w / scale[:, None]), -largest, largest)
    return codes.astype(np.int8), scale.astype(np.float32)


def affine_groups(w: np.ndarray, group: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """4-bit codes (N, groups, group), scales and zero points (N, groups): w = scale (code - zero)."""
    blocks = w.reshape(w.shape[0], -1, group)
    low = np.minimum(blocks.min(-1), 0)
    high = np.maximum(blocks.max(-1), 0)
    scale = ((high - low) / 15).astype(np.float32)
    zero = np.clip(np.rint(-low / scale), 0, 15)
    codes = np.clip(np.rint(blocks / scale[..., None]) + zero[..., None], 0, 15)
    return codes.astype(np.uint8), scale, zero.astype(np.uint8)


def nf4_blocks(w: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray]:
    """NF4 codes (N, blocks, block) and the largest absolute value of each block."""
    blocks = w.reshape(w.shape[0], -1, block)
    largest = np.abs(blocks).max(-1).astype(np.float32)
    middles = (NF4[1:] + NF4[:-1]) / 2
    return np.searchsorted(middles, blocks / largest[..., None]).astype(np.uint8), largest


def low_nibble_first(codes: np.ndarray) -> np.ndarray:
    """Two codes of the last axis in a byte; an odd number gets a zero at the end."""
    if codes.shape[-1] % 2:
        codes = np.concatenate([codes, np.zeros_like(codes[..., :1])], axis=-1)
    return codes[..., ::2] | (codes[..., 1::2] << 4)
