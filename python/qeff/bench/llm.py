"""Tokens a second of language models: prompts (pp) and texts (tg), named as llama-bench names them.

``pp512`` runs prompts of 512 random tokens. ``tg64`` writes 64 tokens after a prompt of one, always the most
likely token. With a batch, that many sequences at once; the figure is of all together.
"""

from __future__ import annotations

import re
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .. import _core
from .._core import InvalidArgument, Unsupported
from ..causal import QEFFAutoModelForCausalLM
from ..causal_native import resolve_language_model, why_no_native_form
from ..cpu import thread_count
from ..resolve import ModelSource
from ..session import artifact_kind
from .machine import describe_machine

__all__ = [
    "TESTS",
    "LlmOptions",
    "LlmTest",
    "bench_llm",
    "llm_markdown",
    "make_timer",
    "parse_tests",
]

Document = dict[str, Any]
TESTS = "pp128,pp512,tg64"
_SEED = 1234
_PREFILL = 512


@dataclass(frozen=True)
class LlmTest:
    """Prompts of ``tokens`` tokens, or texts of that many (``writes``), ``batch`` of them at once."""

    tokens: int
    writes: bool
    batch: int = 1

    @property
    def name(self) -> str:
        """``pp512``, ``tg64``; with a batch ``tg64 x 8``."""
        return f"{'tg' if self.writes else 'pp'}{self.tokens}" + (
            f" x {self.batch}" if self.batch > 1 else ""
        )


@dataclass(frozen=True)
class LlmOptions:
    """What is measured.

    Attributes:
        tests: in this order.
        schemes: to compile by; an artifact is timed as it is.
        kv_caches: how keys and values are kept.
        rounds: runs of each, in turns, after one to warm up.
        threads: None: all.
    """

    tests: tuple[LlmTest, ...]
    schemes: tuple[str, ...] = ("int8",)
    kv_caches: tuple[str, ...] = ("bf16",)
    rounds: int = 5
    threads: int | None = None


def parse_tests(text: str, batches: str = "1") -> tuple[LlmTest, ...]:
    """Tests of a list like ``pp128,tg64`` for each batch of a list like ``1,8``.

    Raises:
        ValueError: not such lists.
    """
    tests = []
    for batch in batches.split(","):
        for part in text.split(","):
            found = re.fullmatch(r"(pp|tg)([1-9][0-9]{0,6})", part.strip())
            if not found or not re.fullmatch(r"[1-9][0-9]{0,3}", batch.strip()):
                raise InvalidArgument(
                    f"tests are like pp512,tg64 and batches like 1,8: not {text!r}, {batches!r}"
                )
            tests.append(LlmTest(int(found[2]), found[1] == "tg", int(batch)))
    return tuple(tests)


class Timer:
    """One test of one model, to be run again and again."""

    def __init__(self, model: _core.CausalLm, test: LlmTest, kv_cache: str) -> None:
        self._test = test
        self._vocabulary = model.vocab_size
        self._session = _core.CausalSession(model, test.batch, test.tokens + 2, kv_cache)
        self._random = np.random.default_rng(_SEED)

    def tokens_per_second(self) -> float:
        """Runs the test once. Other tokens each time, so that nothing is reused."""
        test = self._test
        length = 1 if test.writes else test.tokens
        prompts = self._random.integers(0, self._vocabulary, (test.batch, length)).tolist()
        self._session.reset()
        options = {
            "max_new_tokens": test.tokens + 1 if test.writes else 1,
            "eos_ids": [],
            "prefill_chunk": max(_PREFILL, test.batch),
        }
        _, stats = self._session.generate(prompts, options)
        seconds = stats["decode_seconds"] if test.writes else stats["prefill_seconds"]
        return float(test.tokens * test.batch / seconds)


def make_timer(model: _core.CausalLm, test: LlmTest, kv_cache: str = "bf16") -> Timer:
    """A timer that has run once."""
    timer = Timer(model, test, kv_cache)
    timer.tokens_per_second()
    return timer


def _check_native(source: ModelSource) -> None:
    if source.is_artifact:
        through = artifact_kind(source.path) == "transformers_causal_lm"
        reason = "runs through transformers" if through else ""
    else:
        reason = why_no_native_form(source)
    if reason:
        raise Unsupported(f"{source.name}: {reason}; only native language models are timed")


def artifacts_of(name: str, schemes: Sequence[str], threads: int) -> dict[str, str]:
    """Artifacts by scheme; an artifact by its own name."""
    source = resolve_language_model(name)
    _check_native(source)
    if source.is_artifact:
        return {source.path.stem: str(source.path)}
    artifacts = {}
    for scheme in schemes:
        print(f"qeff: {name}: {scheme}", file=sys.stderr, flush=True)
        loaded = QEFFAutoModelForCausalLM.from_pretrained(name)
        artifacts[scheme] = loaded.compile(quantization=scheme, num_cores=threads)
    return artifacts


def _rows(artifacts: dict[str, str], options: LlmOptions, threads: int) -> Iterator[Document]:
    models = {name: _core.CausalLm(path, threads) for name, path in artifacts.items()}
    for test in options.tests:
        timers = {
            (name, kv_cache): make_timer(model, test, kv_cache)
            for name, model in models.items()
            for kv_cache in options.kv_caches
        }
        samples: dict[tuple[str, str], list[float]] = {key: [] for key in timers}
        for _ in range(options.rounds):
            for key, timer in timers.items():
                samples[key].append(timer.tokens_per_second())
        for (name, kv_cache), values in samples.items():
            yield {
                "scheme": name,
                "kv_cache": kv_cache,
                "test": test.name,
                "batch": test.batch,
                "tokens_per_second": statistics.median(values),
                "least": min(values),
                "most": max(values),
                "samples": values,
            }


def bench_llm(name: str, options: LlmOptions) -> Document:
    """Times a language model: machine, settings and a row for each scheme, cache and test.

    Raises:
        ValueError: a scheme or cache that does not exist, a test beyond the model's context.
        OSError: no such model.
    """
    threads = thread_count(options.threads)
    artifacts = artifacts_of(name, options.schemes, threads)
    return {
        "kind": "llm",
        "model": name,
        "artifacts": artifacts,
        "machine": describe_machine(threads, None),
        "settings": asdict(options) | {"tests": [test.name for test in options.tests]},
        "rows": list(_rows(artifacts, options, threads)),
    }


def llm_markdown(document: Document) -> str:
    """The machine in a line, and a table."""
    machine, rounds = document["machine"], document["settings"]["rounds"]
    facts = (
        f"{document['model']} on {machine['cpu']}, {machine['threads']} threads, kernels: "
        f"{machine['isa']}. Tokens a second, medians of {rounds} rounds."
    )
    lines = [
        facts,
        "",
        "| scheme | KV cache | test | tokens/s | least | most |",
        "| --- | --- | --- | --: | --: | --: |",
    ]
    for row in document["rows"]:
        figures = " | ".join(f"{row[name]:.1f}" for name in ("tokens_per_second", "least", "most"))
        lines.append(f"| {row['scheme']} | {row['kv_cache']} | {row['test']} | {figures} |")
    return "\n".join(lines) + "\n"
