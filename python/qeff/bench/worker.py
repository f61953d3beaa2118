"""What runs on a contender's side of the pipe: prepares a case, checks its result, times slices.

Run as a program by any interpreter that has numpy; needs nothing else of qeff. Requests and replies are
lines of JSON on stdin and stdout:

    {"do": "open", "provider": FILE or MODULE, "function": NAME, "arguments": {...}}
    {"do": "prepare", "case": {...}}      -> {"error": ..., "calls": ..., ...}
    {"do": "slice", "seconds": 0.2}       -> {"median": ..., "least": ..., "runs": ...}

A provider's function takes the case and its arguments and returns ``(run, facts)``: ``run()`` does the work
once and returns the first result; ``facts`` may have ``calls`` (pieces of work in one run, 1 by default),
``weight_bytes`` and ``version``. The case names a ``folder`` with ``reference.npy``, the right result.
"""

from __future__ import annotations

import importlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

Facts = dict[str, Any]
Run = Callable[[], Any]
Provider = Callable[..., tuple[Run, Facts]]


def load_function(provider: str, function: str) -> Callable[..., Any]:
    """A function of a provider: a module name, or a Python file beside which its helpers are."""
    if not provider.endswith(".py"):
        return cast("Callable[..., Any]", getattr(importlib.import_module(provider), function))
    path = Path(provider)
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    return cast("Callable[..., Any]", getattr(importlib.import_module(path.stem), function))


def relative_error(result: Any, reference: Any) -> float:
    """Root mean square of the difference over that of the reference; infinite for another shape."""
    import numpy as np

    values = np.asarray(result, dtype=np.float64)
    if values.shape != reference.shape or not np.isfinite(values).all():
        return float("inf")
    expected = reference.astype(np.float64)
    return float(np.linalg.norm(values - expected) / max(float(np.linalg.norm(expected)), 1e-30))


def time_slice(run: Run, seconds: float, warm_up: bool) -> Facts:
    """Runs again and again until ``seconds`` have passed, once at least."""
    if warm_up:
        run()
    clock = time.perf_counter
    times = []
    end = clock() + seconds
    while True:
        started = clock()
        run()
        stopped = clock()
        times.append(stopped - started)
        if stopped >= end:
            return {"median": statistics.median(times), "least": min(times), "runs": len(times)}


class Bench:
    """A provider and the case it has prepared."""

    def __init__(self, provider: Provider, arguments: Facts) -> None:
        self._provider = provider
        self._arguments = arguments
        self._run: Run | None = None
        self._calls = 1
        self._last = 0.0

    def prepare(self, case: Facts) -> Facts:
        """Builds the case, runs it once, and says how far the result is from the reference."""
        import numpy as np

        self._run = None  # frees the case before
        run, facts = self._provider(case, **self._arguments)
        self._calls = int(facts.get("calls", 1))
        started = time.perf_counter()
        result = run()
        self._last = time.perf_counter() - started
        error = relative_error(result, np.load(Path(case["folder"]) / "reference.npy"))
        self._run = run
        return {**facts, "error": error}

    def slice(self, seconds: float) -> Facts:
        """Times one slice; seconds of one piece of work. Slow work needs no warming up."""
        if self._run is None:
            raise RuntimeError("nothing is prepared")
        times = time_slice(self._run, seconds, warm_up=self._last < seconds / 2)
        self._last = times["median"]
        times["median"] /= self._calls
        times["least"] /= self._calls
        return times


def reason_of(error: BaseException) -> str:
    """The first line of an error, after its type; never long."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:200].rstrip(": ")


def _answer(bench: Bench | None, request: Facts) -> tuple[Bench | None, Facts]:
    if request["do"] == "open":
        provider = load_function(request["provider"], request["function"])
        return Bench(provider, request["arguments"]), {}
    assert bench is not None
    if request["do"] == "prepare":
        return bench, bench.prepare(request["case"])
    return bench, bench.slice(request["seconds"])


def serve() -> None:
    """Answers requests until stdin ends. What libraries print goes to stderr."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    bench: Bench | None = None
    for line in sys.stdin:
        try:
            bench, reply = _answer(bench, json.loads(line))
        except Exception as error:  # noqa: BLE001 - whatever a library raises becomes a reason
            reply = {"failed": reason_of(error)}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


if __name__ == "__main__":
    own = str(Path(__file__).resolve().parent)
    sys.path[:] = [place for place in sys.path if place != own]  # helpers here are not its modules
    serve()
