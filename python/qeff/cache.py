"""Where compiled models go when nobody says where: one file for each set of inputs."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from pathlib import Path
from typing import Any

from . import _core
from ._core import QeffError
from .atomic_text import write_text
from .report import Report

__all__ = ["artifact_path", "fingerprint", "read_report", "reusable", "write_report"]

_log = logging.getLogger("qeff")


def cache_directory() -> Path:
    """``QEFF_CACHE``, else ``qeff`` in the user's cache directory; made if missing."""
    chosen = os.environ.get("QEFF_CACHE")
    base = (
        Path(chosen)
        if chosen
        else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "qeff"
    )
    base.mkdir(parents=True, exist_ok=True)
    return base


def fingerprint(directory: Path, recipe: dict[str, Any]) -> str:
    """A name for the result of compiling the files of ``directory`` by ``recipe``.

    Files count by name, size and time of change; so does the library that compiles them.
    """
    files = sorted(p for p in directory.rglob("*") if p.is_file())
    facts = [(str(p.relative_to(directory)), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    library = Path(_core.__file__).stat()
    facts.append(("_core", library.st_size, library.st_mtime_ns))
    text = json.dumps([_core.__version__, facts, recipe], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def artifact_path(model: str, scheme: str, digest: str) -> Path:
    """The file of a fingerprint in the cache."""
    name = Path(model).name or "model"
    return cache_directory() / f"{name}-{scheme}-{digest}.qeff"


def reusable(path: Path) -> bool:
    """Whether a cached artifact is there and whole."""
    if not path.is_file():
        return False
    try:
        _core.Artifact.open(str(path), True)
    except QeffError as error:
        _log.warning("qeff: %s: cached artifact is damaged, compiling again (%s)", path, error)
        return False
    return True


def _report_path(artifact: Path) -> Path:
    return artifact.with_suffix(".report.json")


def write_report(artifact: Path, report: Report) -> None:
    """Keeps the report of a cached artifact beside it."""
    write_text(_report_path(artifact), report.to_json())


def read_report(artifact: Path) -> Report | None:
    """The report of a cached artifact, if it is there."""
    try:
        return Report.from_json(_report_path(artifact).read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError):
        return None
