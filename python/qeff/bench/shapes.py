"""Sizes as the command line writes them: ``1x4096x4096``."""

from __future__ import annotations

from .._core import InvalidArgument

__all__ = ["parse_sizes"]


def parse_sizes(text: str, count: int, form: str) -> list[tuple[int, ...]]:
    """Groups of ``count`` sizes, which are between ``x``; the groups are between commas.

    Args:
        form: what a group looks like, for the message.

    Raises:
        ValueError: something else, or a size of zero.
    """
    groups = []
    for group in text.split(","):
        sizes = group.strip().split("x")
        if len(sizes) != count or not all(s.isascii() and s.isdigit() and int(s) for s in sizes):
            raise InvalidArgument(f"--shapes: {group.strip()!r} is not {form}")
        groups.append(tuple(map(int, sizes)))
    return groups
