"""Times a language model with qeff, OpenVINO, torch and llama.cpp, in turns: medians and ratios.

    python benchmarks/peers/llm.py MODEL --schemes int4,int8 --threads 2 \\
        --openvino 4,8 --peers-python build/peers/bin/python \\
        --llama-bench PATH --gguf model-Q4_0.gguf --gguf model-Q8_0.gguf --json llm.json

MODEL is a Hugging Face directory or a GGUF file; OpenVINO needs the package optimum-intel in the environment of
``--peers-python``, torch needs transformers there, and both get a GGUF as a directory in bfloat16. ``--artifact``
seats artifacts of qeff compiled before. Every round goes around the table in another order (qeff.bench.rounds), and
every turn is one run to warm up and one that counts, as llama-bench does by itself; the ratio is qeff's median over
that of the best peer in the same test and run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from qeff import _core
from qeff.bench.llm import TESTS, LlmTest, Timer, artifacts_of, make_timer, parse_tests
from qeff.bench.machine import describe_machine
from qeff.bench.rounds import rotated
from qeff.cpu import thread_count
from qeff.hf_export import export_huggingface

Document = dict[str, Any]


class Failed(Exception):  # noqa: N818 - a contender that has failed
    """The reason."""


class Contender(Protocol):
    """Somebody who can be asked for one run of a test: tokens a second."""

    name: str
    library: str
    version: str

    def measure(self, test: LlmTest) -> float: ...
    def close(self) -> None: ...


class Qeff:
    """This library, in this process."""

    library = "qeff"

    def __init__(self, scheme: str, artifact: str, threads: int, kv_cache: str) -> None:
        self.name = f"qeff {scheme}"
        self.version = _core.__version__
        self._model = _core.CausalLm(artifact, threads)
        self._kv_cache = kv_cache
        self._timers: dict[str, Timer] = {}

    def measure(self, test: LlmTest) -> float:
        if test.name not in self._timers:
            self._timers[test.name] = make_timer(self._model, test, self._kv_cache)
        timer = self._timers[test.name]
        timer.tokens_per_second()
        return timer.tokens_per_second()

    def close(self) -> None:
        self._timers.clear()


class Worker:
    """A library in a process of its own (llm_worker.py), which sleeps when it is not its turn."""

    def __init__(self, library: str, kind: str, python: str, script: str, *arguments: str) -> None:
        self.library = library
        self.name = f"{library} {kind}"
        command = [python, str(Path(__file__).with_name(script)), *arguments]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.version = str(self._reply()["version"])

    def _reply(self) -> Document:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        reply: Document = json.loads(line) if line else {"failed": "its process has ended"}
        if "failed" in reply:
            raise Failed(reply["failed"])
        return reply

    def _ask(self, test: LlmTest) -> float:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{'tg' if test.writes else 'pp'} {test.tokens}\n")
        self._process.stdin.flush()
        return float(self._reply()["tokens_per_second"])

    def measure(self, test: LlmTest) -> float:
        if test.batch > 1:
            raise Failed("one sequence only")
        self._ask(test)
        return self._ask(test)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


class LlamaCpp:
    """A llama-bench program, started for each run; it warms up by itself."""

    library = "llama.cpp"

    def __init__(self, program: str, gguf: str, threads: int) -> None:
        self.name = f"llama.cpp {Path(gguf).stem}"
        self.version = ""
        self._command = [program, "-m", gguf, "-t", str(threads), "-r", "1", "-o", "json"]

    def measure(self, test: LlmTest) -> float:
        if test.batch > 1:
            raise Failed("one sequence only")
        sizes = ["-p", "0", "-n", str(test.tokens)]
        if not test.writes:
            sizes = ["-p", str(test.tokens), "-n", "0"]
        try:
            done = subprocess.run(
                [*self._command, *sizes], capture_output=True, text=True, check=False
            )
        except OSError as error:
            raise Failed(f"{self._command[0]}: {error.strerror}") from error
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines()
            raise Failed(f"llama-bench ended with {done.returncode}: {lines[-1] if lines else ''}")
        row = json.loads(done.stdout)[0]
        self.version = str(row.get("build_commit", self.version))
        return float(row["avg_ts"])

    def close(self) -> None:
        """Nothing runs between the turns."""


@dataclass
class Row:
    """A contender in a test: its figures, or why there are none."""

    test: str
    contender: str
    library: str
    samples: list[float] = field(default_factory=list)
    reason: str | None = None

    @property
    def median(self) -> float | None:
        return statistics.median(self.samples) if self.samples else None


def take_turns(
    contenders: Sequence[Contender],
    tests: Sequence[LlmTest],
    rounds: int,
    say: Callable[[str], None],
) -> list[Row]:
    """All contenders in all tests."""
    rows = []
    for test in tests:
        seats = [(one, Row(test.name, one.name, one.library)) for one in contenders]
        for number in range(rounds):
            for contender, row in rotated(seats, number):
                if row.reason:
                    continue
                try:
                    row.samples.append(contender.measure(test))
                except Failed as failed:
                    row.reason, row.samples = str(failed), []
        rows += [row for _, row in seats]
        say(f"{test.name}: " + ", ".join(f"{r.contender} {r.median or 0:.1f}" for _, r in seats))
    return rows


def to_document(rows: Sequence[Row], contenders: Sequence[Contender], facts: Document) -> Document:
    """Rows with medians, and for qeff's the ratio to the best peer."""
    best: dict[str, float] = {}
    for row in rows:
        if row.library != "qeff" and row.median:
            best[row.test] = max(best.get(row.test, 0.0), row.median)
    made = []
    for row in rows:
        ratio = row.median / best[row.test] if row.median and row.test in best else None
        made.append(
            {
                "test": row.test,
                "contender": row.contender,
                "library": row.library,
                "tokens_per_second": row.median,
                "samples": row.samples,
                "reason": row.reason,
                "ratio": ratio if row.library == "qeff" else None,
            }
        )
    libraries = {one.library: one.version for one in contenders if one.version}
    return {"kind": "llm-peers", **facts, "libraries": libraries, "rows": made}


def to_markdown(document: Document) -> str:
    """Facts and a table."""
    machine = document["machine"]
    libraries = ", ".join(f"{name} {version}" for name, version in document["libraries"].items())
    facts = (
        f"{document['model']} on {machine['cpu']}, {machine['threads']} threads; {libraries}. "
        f"Medians of {document['rounds']} rounds in turns."
    )
    lines = [
        facts,
        "",
        "| test | contender | tokens/s | over the best peer |",
        "| --- | --- | --: | --: |",
    ]
    for row in document["rows"]:
        speed = row["tokens_per_second"]
        figure = f"{speed:.1f}" if speed else (row["reason"] or "").replace("|", "\\|")
        ratio = f"{row['ratio']:.2f}" if row["ratio"] else ""
        lines.append(f"| {row['test']} | {row['contender']} | {figure} | {ratio} |")
    return "\n".join(lines) + "\n"


def _say(text: str) -> None:
    print(f"llm: {text}", file=sys.stderr, flush=True)


def _directory_of(model: str, folder: str) -> Path:
    """The model as a Hugging Face directory."""
    return Path(model) if Path(model).is_dir() else export_huggingface(model, Path(folder) / "hf")


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="Hugging Face directory or GGUF file")
    parser.add_argument("--schemes", default="int4,int8", help="of qeff, between commas")
    parser.add_argument(
        "--artifact", action="append", default=[], help="of qeff, compiled before; repeatable"
    )
    parser.add_argument("--kv-cache", default="bf16", help="of qeff: bf16, int8, f32")
    parser.add_argument("--tests", default=TESTS, help=f"default: {TESTS}")
    parser.add_argument("--batch", default="1", help="sequences at once, between commas")
    parser.add_argument(
        "--openvino", default="", help="bits between commas: 4, 8, 16; 4f: float activations"
    )
    parser.add_argument("--openvino-group-size", type=int, default=64)
    parser.add_argument("--torch", default="", help="types between commas: bfloat16, float32")
    parser.add_argument(
        "--peers-python", default=sys.executable, help="has optimum-intel, transformers, torch"
    )
    parser.add_argument("--llama-bench", help="program of llama.cpp")
    parser.add_argument("--gguf", action="append", default=[], help="for llama-bench; repeatable")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the document to a file")
    parser.add_argument("--markdown", type=Path, help="write the table to a file")
    return parser.parse_args(arguments)


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _workers(options: argparse.Namespace, folder: str, threads: int) -> list[Contender]:
    """The libraries asked for that load."""
    wanted: list[tuple[str, ...]] = []  # library, kind, script, arguments behind the directory
    group = str(options.openvino_group_size)
    for bits in _parts(options.openvino):
        kind = "bf16" if bits == "16" else f"int{bits.rstrip('f')}"
        if bits.endswith("f"):
            kind += ", float activations"
        wanted.append(("OpenVINO", kind, "openvino_llm.py", bits, group, str(threads)))
    wanted += [
        ("torch", dtype, "torch_llm.py", dtype, str(threads)) for dtype in _parts(options.torch)
    ]
    seated: list[Contender] = []
    directory = str(_directory_of(options.model, folder)) if wanted else ""
    for library, kind, script, *rest in wanted:
        try:
            seated.append(Worker(library, kind, options.peers_python, script, directory, *rest))
        except Failed as failed:
            _say(f"{library} {kind} is not there: {failed}")
    return seated


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints the table, writes the files."""
    options = parse_arguments(arguments)
    threads = thread_count(options.threads)
    seated: list[Contender] = []
    with tempfile.TemporaryDirectory(prefix="qeff-llm-") as folder:
        own = artifacts_of(options.model, _parts(options.schemes), threads)
        own |= {Path(path).stem: path for path in options.artifact}
        for scheme, path in own.items():
            seated.append(Qeff(scheme, path, threads, options.kv_cache))
        seated += _workers(options, folder, threads)
        if options.llama_bench:
            seated += [LlamaCpp(options.llama_bench, gguf, threads) for gguf in options.gguf]
        tests = parse_tests(options.tests, options.batch)
        try:
            rows = take_turns(seated, tests, options.rounds, _say)
        finally:
            for contender in seated:
                contender.close()
    facts = {
        "model": Path(options.model).name,
        "machine": describe_machine(threads, None),
        "rounds": options.rounds,
    }
    document = to_document(rows, seated, facts)
    table = to_markdown(document)
    print(table, end="")
    if options.json:
        options.json.write_text(json.dumps(document) + "\n", encoding="utf-8")
    if options.markdown:
        options.markdown.write_text(table, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
