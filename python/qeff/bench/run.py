"""Whole measurements: what is behind ``qeff bench`` and the programs in ``benchmarks/peers``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

from .._core import InvalidArgument
from ..cpu import thread_count
from ..resolve import resolve_model
from . import matmul, model
from .contenders import Contender, open_handle
from .machine import describe_machine, is_held, worker_environment
from .peers import peers_of
from .rounds import Plan, Row, run_cases

__all__ = ["Options", "bench_kernels", "bench_model"]

Document = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """What both measurements can be told.

    Attributes:
        threads: None: all.
        peers: time the other libraries beside.
        peers_python: the interpreter they are installed for; None: this one.
        isa: hold everybody to this instruction set.
        only: take only contenders whose name has one of these words; empty: all.
        roof: measure the roof too, and the share of it that qeff's products reach.
        plan: how long to measure.
    """

    threads: int | None = None
    peers: bool = False
    peers_python: str | None = None
    isa: str | None = None
    only: tuple[str, ...] = ()
    roof: bool = False
    plan: Plan = field(default_factory=Plan)

    @property
    def apart(self) -> bool:
        """Whether contenders get processes of their own."""
        return self.peers or self.isa is not None

    def choose(self, contenders: Sequence[Contender]) -> list[Contender]:
        """Those that are asked for."""
        if not self.only:
            return list(contenders)
        return [one for one in contenders if any(w.lower() in one.name.lower() for w in self.only)]


def _say(text: str) -> None:
    print(f"qeff: {text}", file=sys.stderr, flush=True)


def _measure(
    kind: str,
    cases: Any,
    contenders: Sequence[Contender],
    tolerances: dict[str, float],
    figures: Callable[[Row], dict[str, float]],
    options: Options,
    threads: int,
) -> Document:
    open_one = partial(
        open_handle,
        own_process=options.apart,
        peers_python=options.peers_python,
        environment=worker_environment(threads, options.isa),
    )
    chosen = [
        replace(contender, held=is_held(contender.name, options.isa))
        for contender in options.choose(contenders)
    ]
    rows, versions = run_cases(cases, chosen, open_one, options.plan, tolerances, _say)
    for row in rows:
        if row.median_s:
            row.figures = figures(row)
    return {
        "kind": kind,
        "machine": describe_machine(threads, options.isa),
        "libraries": dict(sorted(versions.items())),
        "settings": asdict(options.plan),
        "tolerances": tolerances,
        "rows": [row.to_dict() for row in rows],
    }


def bench_kernels(
    options: Options, shapes: str | None = None, formats: str | None = None
) -> Document:
    """Times matrix products.

    Args:
        shapes: ``MxNxK`` between commas; None: those of ``matmul.CASES``.
        formats: of the weights, between commas; None: all.

    Returns:
        machine, libraries, settings and rows with ``GOPS`` and ``GB/s`` (of weights).

    Raises:
        ValueError: shapes, formats or instruction set that do not work. OSError: no checkout.
    """
    cases = matmul.parse_shapes(shapes, formats)
    threads = thread_count(options.threads)
    operations = {case.name: case.operations for case in cases}

    def figures(row: Row) -> dict[str, float]:
        assert row.median_s
        result = {"GOPS": operations[row.case] / row.median_s / 1e9}
        if row.weight_bytes:
            result["GB/s"] = row.weight_bytes / row.median_s / 1e9
        if "roof_seconds" in row.facts:
            result["of roof"] = row.facts["roof_seconds"] / row.median_s
        return result

    contenders = [*matmul.CONTENDERS, *(peers_of("matmul") if options.peers else ())]
    made = matmul.prepared(cases, threads, options.roof)
    return _measure("kernels", made, contenders, matmul.TOLERANCES, figures, options, threads)


def _compile(name: str, schemes: Sequence[str], threads: int) -> dict[str, str]:
    """Artifacts of a model in the cache, by scheme."""
    from ..auto import QEFFAutoModel

    artifacts = {}
    loaded = QEFFAutoModel.from_pretrained(name, pooling="mean")
    for scheme in schemes:
        _say(f"{name}: {scheme}")
        artifacts[scheme] = loaded.compile(quantization=scheme, num_cores=threads)
    return artifacts


def bench_model(
    name: str, options: Options, schemes: str = "int8", shapes: str | None = None
) -> Document:
    """Times a model that makes embeddings.

    Args:
        name: model directory or id, or an artifact, which is timed as it is.
        schemes: between commas.
        shapes: batches ``SxT`` (sentences x tokens) between commas; None: those of ``model.CASES``.

    Returns:
        machine, libraries, settings and rows with ``sentences/s`` and ``ms``.

    Raises:
        ValueError: schemes, shapes or instruction set that do not work, peers of an artifact. OSError: no such model, or no
        checkout.
    """
    cases = model.parse_batches(shapes)
    threads = thread_count(options.threads)
    source = resolve_model(name)
    if source.is_artifact and options.peers:
        raise InvalidArgument(f"--peers needs a model directory or id, not an artifact: {name}")
    peers = peers_of("minilm") if options.peers else []
    if source.is_artifact:
        artifacts = {source.path.stem: str(source.path)}
        reference = str(source.path)
    else:
        artifacts = _compile(name, [part.strip() for part in schemes.split(",")], threads)
        reference = _compile(name, ["none"], threads)["none"]
    sentences = {case.name: len(case.lengths) for case in cases}

    def figures(row: Row) -> dict[str, float]:
        assert row.median_s
        return {"sentences/s": sentences[row.case] / row.median_s, "ms": 1e3 * row.median_s}

    contenders = [*model.own_contenders(artifacts), *peers]
    made = model.prepared(cases, source, reference, threads)
    document = _measure("model", made, contenders, model.TOLERANCES, figures, options, threads)
    return {**document, "model": source.name}
