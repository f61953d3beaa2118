"""What became of each layer of a model."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ._core import Unsupported

__all__ = ["Report"]

_COLUMNS = (
    ("name", "layer", "{}"),
    ("scheme", "scheme", "{}"),
    ("rows", "rows", "{}"),
    ("cols", "cols", "{}"),
    ("bytes", "bytes", "{:,}"),
    ("bits", "bits", "{:.2f}"),
    ("sqnr_db", "SQNR dB", "{:.1f}"),
    ("cosine", "cosine", "{:.5f}"),
    ("max_error", "max error", "{:.2e}"),
    ("hessian_loss", "output loss", "{:.2e}"),
    ("seconds", "s", "{:.2f}"),
    ("note", "note", "{}"),
)


class Report(Sequence[Mapping[str, Any]]):
    """One row for each quantized layer.

    Keys of a row: ``name``, ``scheme``, ``rows``, ``cols``, ``bytes`` (packed), ``bits`` (of a weight as
    packed, scales and zero points counted), ``mse``, ``sqnr_db``,
    ``cosine``, ``max_error`` (weights against float), ``hessian_loss`` (relative output error on the
    calibration inputs, 0 without), ``seconds``, ``sensitivity`` (with ``target_bits``: what this layer
    alone would cost the model in 4 bits, nats a token), ``note`` (what was not done as asked).
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]], **facts: Any) -> None:
        self.rows = [dict(row) for row in rows]
        self.facts = facts

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        return self.rows[index]

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return iter(self.rows)

    def to_dict(self) -> dict[str, Any]:
        """``{"rows": [...], ...facts}``."""
        return {**self.facts, "rows": self.rows}

    def to_json(self) -> str:
        """The report as one JSON document."""
        return json.dumps(self.to_dict(), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """The way back from :meth:`to_json`."""
        facts = json.loads(text)
        return cls(facts.pop("rows"), **facts)

    def to_markdown(self) -> str:
        """A Markdown table, one line for each layer, after the facts."""
        lines = [f"- {name}: {value}" for name, value in self.facts.items()]
        lines += [""] if lines else []
        lines.append("| " + " | ".join(title for _, title, _ in _COLUMNS) + " |")
        lines.append("|" + "---|" * len(_COLUMNS))
        for row in self.rows:
            cells = [shape.format(row[key]) if key in row else "" for key, _, shape in _COLUMNS]
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines) + "\n"

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Writes a picture of SQNR by layer. Needs matplotlib.

        Raises:
            ValueError: matplotlib is not installed, or there is no row.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise Unsupported("Report.plot needs matplotlib: pip install matplotlib") from error
        if not self.rows:
            raise Unsupported("Report.plot: the report has no row")
        figure = Figure(figsize=(8, 1 + 0.22 * len(self.rows)), layout="constrained")
        axes = figure.subplots()
        places = range(len(self.rows))
        axes.barh(places, [row.get("sqnr_db", 0.0) for row in self.rows])
        axes.set_yticks(places, [str(row["name"]) for row in self.rows], fontsize=7)
        axes.invert_yaxis()
        axes.set_xlabel("signal to quantization noise of the weights, dB (higher is better)")
        figure.savefig(path, dpi=120)

    def __repr__(self) -> str:
        return f"<qeff.Report of {len(self.rows)} layers>"
