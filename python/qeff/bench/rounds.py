"""Contenders take turns, round after round, in another order each round; the figure is the median.

A slow moment of the machine then hits all alike, and nobody always runs behind the same neighbour. One
contender at a time is asked; between two turns there is a pause in which spinning threads fall asleep.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Any

from .contenders import Contender, Facts, Failed, Handle

__all__ = ["Plan", "Row", "rotated", "run_case", "run_cases"]

Open = Callable[[Contender], Handle]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """How long to measure.

    Attributes:
        rounds: turns of each contender.
        seconds: of one turn; a turn has one run at least.
        pause: seconds between turns.
        slow: a contender whose run takes longer than this many seconds gets ``slow_rounds`` turns.
    """

    rounds: int = 7
    seconds: float = 0.2
    pause: float = 0.02
    slow: float = 2.0
    slow_rounds: int = 3


@dataclass
class Row:
    """One contender in one case: its figures, or the reason why there are none."""

    case: str
    contender: str
    library: str
    precision: str
    median_s: float | None = None
    least_s: float | None = None
    rounds_s: list[float] = field(default_factory=list)
    error: float | None = None
    accurate: bool = False
    held: bool = True
    weight_bytes: int | None = None
    ratio: float | None = None
    reason: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def rotated(items: Sequence[Any], turn: int) -> list[Any]:
    """The items, beginning with another one each turn; every second time around backwards."""
    if not items:
        return []
    first = turn % len(items)
    order = [*items[first:], *items[:first]]
    return order[::-1] if turn // len(items) % 2 else order


@dataclass
class _Seat:
    """A contender at the table."""

    row: Row
    handle: Handle

    def turn(self, plan: Plan, number: int) -> None:
        """One turn, unless it has failed or is too slow for more."""
        row = self.row
        if row.reason or ((row.least_s or 0.0) > plan.slow and number >= plan.slow_rounds):
            return
        try:
            times = self.handle.slice(plan.seconds)
        except Failed as failed:
            row.reason, row.rounds_s, row.least_s = str(failed), [], None
            return
        row.rounds_s.append(times["median"])
        row.least_s = min(times["least"], row.least_s or times["least"])
        time.sleep(plan.pause)


_OWN_FIELDS = ("error", "version", "weight_bytes")


def _prepare(row: Row, handle: Handle, case: Facts, tolerances: dict[str, float]) -> Facts:
    """Lets a contender prepare; its facts, none if it failed."""
    try:
        facts = handle.prepare(case)
    except Failed as failed:
        row.reason = str(failed)
        return {}
    row.error = facts["error"] if math.isfinite(facts["error"]) else None
    row.accurate = facts["error"] <= tolerances[row.precision]
    row.weight_bytes = facts.get("weight_bytes")
    row.facts = {name: value for name, value in facts.items() if name not in _OWN_FIELDS}
    return facts


def _finish(rows: list[Row]) -> None:
    """Medians, and speed over that of the best other library that is right and held as asked."""
    for row in rows:
        row.median_s = statistics.median(row.rounds_s) if row.rounds_s else None
    peers = [
        r.median_s for r in rows if r.library != "qeff" and r.accurate and r.held and r.median_s
    ]
    for row in rows:
        if peers and row.median_s:
            row.ratio = min(peers) / row.median_s


def run_case(
    case: Facts,
    contenders: Sequence[Contender],
    handles: dict[str, Handle | Failed],
    plan: Plan,
    tolerances: dict[str, float],
    versions: dict[str, str],
) -> list[Row]:
    """Times all contenders of a case in turns.

    Args:
        case: with ``name``, ``folder`` (of ``reference.npy``) and what providers want to know.
        handles: of the contenders by name; a Failed one could not be opened.
        tolerances: greatest relative error by precision.
        versions: of the libraries, filled in.
    """
    rows, seats = [], []
    for contender in contenders:
        row = Row(
            case["name"],
            contender.name,
            contender.library,
            contender.precision,
            held=contender.held,
        )
        rows.append(row)
        handle = handles[contender.name]
        if isinstance(handle, Failed):
            row.reason = str(handle)
            continue
        facts = _prepare(row, handle, case, tolerances)
        if "version" in facts:
            versions[contender.library] = facts["version"]
        seats.append(_Seat(row, handle))
    for number in range(plan.rounds):
        for seat in rotated(seats, number):
            seat.turn(plan, number)
    _finish(rows)
    return rows


def _open_all(
    contenders: Sequence[Contender], open_one: Open, stack: ExitStack
) -> dict[str, Handle | Failed]:
    handles: dict[str, Handle | Failed] = {}
    for contender in contenders:
        try:
            handle = open_one(contender)
        except Failed as failed:
            handles[contender.name] = failed
        else:
            stack.callback(handle.close)
            handles[contender.name] = handle
    return handles


def run_cases(
    cases: Iterator[tuple[str, Facts]],
    contenders: Sequence[Contender],
    open_one: Open,
    plan: Plan,
    tolerances: dict[str, float],
    say: Say,
) -> tuple[list[Row], dict[str, str]]:
    """Times every case, ``(format, case)``, with those contenders that take its format.

    Contenders are opened once for all cases of a format and closed after the last.

    Returns:
        the rows, and the versions of the libraries.
    """
    rows: list[Row] = []
    versions: dict[str, str] = {}
    handles: dict[str, Handle | Failed] = {}
    opened_for = ""
    with ExitStack() as stack:
        for case_format, case in cases:
            chosen = [one for one in contenders if one.takes(case_format)]
            if case_format != opened_for:
                stack.close()
                handles, opened_for = _open_all(chosen, open_one, stack), case_format
            say(f"{case['name']}: {len(chosen)} contenders")
            rows += run_case(case, chosen, handles, plan, tolerances, versions)
    return rows, versions
