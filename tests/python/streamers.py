"""A streamer as transformers has them, that remembers what it is given."""

from __future__ import annotations

from typing import Any

import numpy as np


class RecordingStreamer:
    """Token ids of each call of ``put``; how often ``end`` was called."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []
        self.ended = 0

    def put(self, value: Any) -> None:
        self.seen.append(np.asarray(value).ravel().tolist())

    def end(self) -> None:
        self.ended += 1
