"""What ``qeff bench`` does, and how it shows it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from .bench import report
from .bench.rounds import Plan
from .bench.run import Options, bench_kernels, bench_model
from .cli_work import emit

__all__ = ["bench_kernels", "bench_model", "make_options", "show"]

Document = dict[str, Any]


def make_options(
    threads: int | None,
    peers: bool,
    peers_python: str | None,
    isa: str | None,
    only: str | None,
    rounds: int,
    seconds: float,
    roof: bool = False,
) -> Options:
    """Options of a measurement from those of the command line."""
    words = tuple(word.strip() for word in only.split(",")) if only else ()
    plan = Plan(rounds=rounds, seconds=seconds)
    return Options(threads, peers, peers_python, isa, words, roof, plan)


def _print_tables(document: Document) -> None:
    print(report.facts_line(document), end="\n\n")
    wanted = report.full_table if _has_peers(document) else report.summary_table
    print(wanted(document), end="")


def _has_peers(document: Document) -> bool:
    return any(row["library"] != "qeff" for row in document["rows"])


def show(document: Document, as_json: bool, markdown: Path | None, plot: Path | None) -> None:
    """Prints the document, and writes the files that were asked for."""
    emit(document, as_json, _print_tables)
    sys.stdout.flush()
    if markdown is not None:
        markdown.write_text(report.to_markdown(document), encoding="utf-8")
    if plot is not None:
        report.write_plot(document, plot)
