"""Puts measurements into docs/performance.md: tables at marked places, plots beside the figures.

Every ``docs/performance/<name>.json`` (what ``qeff bench ... --json`` printed) fills the place marked
``<!-- begin <name> -->``, if the page has it, and becomes ``docs/performance/<name>.png``. Parts of a long
measurement are ``<name>.<part>.json``, e.g. one for each of ``--formats``.

    python benchmarks/peers/report.py [--no-plots]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from llm import to_markdown
from qeff import InvalidArgument
from qeff.bench.report import facts_line, full_table, replace_marked, summary_table, write_plot

ROOT = Path(__file__).resolve().parents[2]


def section(name: str, document: dict[str, Any], with_plot: bool) -> str:
    """What goes between the marks of a measurement."""
    parts = [facts_line(document), summary_table(document)]
    if with_plot:
        parts.append(f"![{name}](performance/{name}.png)")
    if any(row["library"] != "qeff" for row in document["rows"]):
        parts += ["<details><summary>All contenders</summary>", full_table(document), "</details>"]
    return "\n\n".join(part.strip() for part in parts)


def profile_table(document: dict[str, Any]) -> str:
    """What profile_program.py found, a column for each program."""
    profiles = document["profiles"]
    kinds = dict.fromkeys(kind for shares in profiles.values() for kind in shares)
    lines = [
        f"{document['machine']['cpu']}, {document['machine']['threads']} threads; share of the samples.",
        "",
    ]
    lines.append("| | " + " | ".join(profiles) + " |")
    lines.append("| --- |" + " --: |" * len(profiles))
    for kind in kinds:
        cells = [f"{shares.get(kind, 0):.1f} %" for shares in profiles.values()]
        lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def read_measurements(folder: Path) -> dict[str, dict[str, Any]]:
    """Documents by name. A long measurement may be in parts: NAME.PART.json."""
    documents: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.json")):
        part = json.loads(path.read_text(encoding="utf-8"))
        whole = documents.setdefault(path.name.split(".")[0], part)
        if whole is part:
            continue
        for same in ("kind", "machine", "settings"):
            if whole[same] != part[same]:
                raise InvalidArgument(f"{path.name}: {same} differs from the part before")
        whole["rows"] += part["rows"]
        whole["libraries"] |= part["libraries"]
    return documents


def update(page: Path, folder: Path, with_plots: bool) -> list[str]:
    """Fills the page; names of the measurements that went in."""
    text = page.read_text(encoding="utf-8")
    used = []
    for name, document in read_measurements(folder).items():
        if f"<!-- begin {name} -->" not in text:
            continue
        used.append(name)
        if document["kind"] == "llm-peers":
            text = replace_marked(text, name, to_markdown(document).strip())
            continue
        if document["kind"] == "profile":
            text = replace_marked(text, name, profile_table(document))
            continue
        if with_plots:
            write_plot(document, folder / f"{name}.png")
        text = replace_marked(
            text, name, section(name, document, (folder / f"{name}.png").exists())
        )
    page.write_text(text, encoding="utf-8")
    return used


def main() -> int:
    """Updates the page of this checkout."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "performance.md")
    parser.add_argument("--figures", type=Path, default=ROOT / "docs" / "performance")
    parser.add_argument("--no-plots", action="store_true", help="tables only")
    options = parser.parse_args()
    used = update(options.page, options.figures, not options.no_plots)
    print(f"{options.page.name}: {', '.join(used) or 'no measurement found'}")
    return 0 if used else 1


if __name__ == "__main__":
    sys.exit(main())
