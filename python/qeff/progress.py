"""A progress bar on stderr where somebody watches, nothing elsewhere."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Callback", "progress_bar"]

Callback = Callable[[int, int, str], None]


def _silent(done: int, total: int, what: str) -> None:
    """The callback when nobody watches."""


@contextmanager
def progress_bar(title: str, enabled: bool = True) -> Iterator[Callback]:
    """A callback ``(done, total, what)`` that draws a bar while the block runs.

    Nothing is drawn if stderr is no terminal or rich is not installed.
    """
    if not enabled or not sys.stderr.isatty() or importlib.util.find_spec("rich") is None:
        yield _silent
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn(title),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} {task.description}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)

        def show(done: int, total: int, what: str) -> None:
            bar.update(task, completed=done, total=total, description=what)

        yield show
