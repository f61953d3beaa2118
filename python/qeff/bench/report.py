"""A document of ``run.py`` as Markdown and as a plot, and Markdown put into a page at marked places."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .._core import InvalidArgument, Unsupported

__all__ = [
    "facts_line",
    "full_table",
    "replace_marked",
    "summary_table",
    "to_markdown",
    "write_plot",
]

Document = dict[str, Any]
_OWN, _PEER, _WRONG = "#1a7f5a", "#9aa5b1", "#d9a0a0"


def _number(value: float | None) -> str:
    """Three significant digits, no exponent."""
    if value is None:
        return ""
    for limit, digits in ((100, 0), (10, 1), (1, 2)):
        if value >= limit:
            return f"{value:,.{digits}f}"
    return f"{value:.3g}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{_number(seconds * 1e6)} µs" if seconds < 1e-3 else f"{_number(seconds * 1e3)} ms"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    """A Markdown table whose first ``left`` columns are text."""
    rule = ["---" if i < left else "--:" for i in range(len(head))]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *rows)) + "\n"


def _figure_names(document: Document) -> list[str]:
    names: dict[str, None] = {}
    for row in document["rows"]:
        names |= dict.fromkeys(row["figures"])
    return [name for name in names if name != "ms"]  # the time is a column anyway


def best_peer(rows: Sequence[Document], case: str) -> Document | None:
    """The fastest other library of a case that is right and held as asked."""
    right = [
        row
        for row in rows
        if row["case"] == case and row["library"] != "qeff" and row["median_s"]
        if row["accurate"] and row.get("held", True)
    ]
    return min(right, key=lambda row: row["median_s"], default=None)


def facts_line(document: Document) -> str:
    """Machine, libraries and method in a sentence or two."""
    machine, settings = document["machine"], document["settings"]
    libraries = ", ".join(f"{name} {version}" for name, version in document["libraries"].items())
    text = (
        f"{machine['cpu']}, {machine['threads']} threads of {machine['cores']} cores, "
        f"last-level cache {machine['last_level_cache'] / (1 << 20):.0f} MiB, kernels of qeff: "
        f"{machine['isa']}. {libraries}. Medians of {settings['rounds']} rounds of "
        f"{settings['seconds']:g} s."
    )
    if machine["held_to"]:
        loose = "; ".join(f"{name} {why}" for name, why in machine["not_held"].items())
        text += f" All held to {machine['held_to']}, except those no ratio is to: {loose}."
    return text


def summary_table(document: Document) -> str:
    """A line for each way of qeff in each case, beside the best other library."""
    rows = document["rows"]
    names = _figure_names(document)
    with_peers = any(row["library"] != "qeff" for row in rows)
    head = ["work", "qeff", "time", *names]
    head += ["best peer", f"its {names[0]}" if names else "", "ratio"] if with_peers else []
    with_roof = with_peers and "of roof" in names
    head += ["at the roof"] if with_roof else []
    lines = []
    for row in rows:
        if row["library"] != "qeff":
            continue
        line = [row["case"], row["contender"], _time(row["median_s"]) or row["reason"] or ""]
        line += [_number(row["figures"].get(name)) for name in names]
        if with_peers:
            peer = best_peer(rows, row["case"])
            line += (
                [peer["contender"], _number(peer["figures"][names[0]]), _number(row["ratio"])]
                if peer
                else ["none", "", ""]
            )
        if with_roof:
            share = row["figures"].get("of roof")
            line.append(_number(row["ratio"] / share) if row["ratio"] and share else "")
        lines.append(line)
    return _table(head, lines, 2)


def full_table(document: Document) -> str:
    """A line for each contender in each case. Speeds of wrong results are in brackets."""
    names = _figure_names(document)
    head = ["work", "contender", "note", "median", "least", *names, "error", "ratio"]
    lines = []
    for row in document["rows"]:
        wrong = row["error"] is not None and not row["accurate"]
        loose = "" if row.get("held", True) else "not held"
        note = row["reason"] or ("result too far off" if wrong else loose)
        figures = [_number(row["figures"].get(name)) for name in names]
        lines.append(
            [
                row["case"],
                row["contender"],
                note.replace("|", "\\|"),
                _time(row["median_s"]),
                _time(row["least_s"]),
                *(f"({text})" if wrong and text else text for text in figures),
                _number(row["error"]),
                _number(row["ratio"]),
            ]
        )
    return _table(head, lines, 3)


def to_markdown(document: Document) -> str:
    """Facts, summary and the whole table."""
    return "\n".join([facts_line(document), "", summary_table(document), full_table(document)])


def replace_marked(page: str, name: str, text: str) -> str:
    """``page`` with ``text`` between ``<!-- begin NAME -->`` and ``<!-- end NAME -->``.

    Raises:
        ValueError: the page has no such place.
    """
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    pattern = re.compile(re.escape(begin) + r".*?" + re.escape(end), re.DOTALL)
    if not pattern.search(page):
        raise InvalidArgument(f"the page has no place marked {begin} ... {end}")
    return pattern.sub(lambda _: f"{begin}\n{text.strip()}\n{end}", page, count=1)


def _draw_case(axes: Any, rows: Sequence[Document], case: str, figure: str) -> None:
    shown = [row for row in rows if row["case"] == case and row["median_s"]]
    shown.sort(key=lambda row: row["figures"][figure])
    colors = [
        _OWN if row["library"] == "qeff" else _PEER if row["accurate"] else _WRONG for row in shown
    ]
    places = range(len(shown))
    axes.barh(places, [row["figures"][figure] for row in shown], color=colors)
    axes.set_yticks(places, [row["contender"] for row in shown], fontsize=6)
    axes.tick_params(axis="x", labelsize=6)
    axes.set_title(f"{case}, {figure}", fontsize=8)


def write_plot(document: Document, path: str | os.PathLike[str]) -> None:
    """A picture with a panel for each case: qeff green, peers grey, wrong results red.

    Raises:
        ValueError: matplotlib is not installed, or nothing was measured.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise Unsupported("--plot needs matplotlib: pip install matplotlib") from error
    rows = document["rows"]
    cases = list(dict.fromkeys(row["case"] for row in rows if row["median_s"]))
    if not cases:
        raise Unsupported("--plot: nothing was measured")
    name = "GOPS" if document["kind"] == "kernels" else "sentences/s"
    columns = min(3, len(cases))
    lines = -(-len(cases) // columns)
    most = max(sum(row["case"] == case for row in rows) for case in cases)
    size = (4.6 * columns, (0.6 + 0.17 * most) * lines)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False).flat
    for axes, case in zip(panels, cases, strict=False):
        _draw_case(axes, rows, case, name)
    for axes in list(figure.axes)[len(cases) :]:
        axes.remove()
    figure.savefig(Path(path), dpi=110)
