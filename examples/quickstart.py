"""The main job of qeff on the real all-MiniLM-L6-v2: quantize it six ways and measure each.

For torch in float32 and for every scheme: quality (STS Benchmark, cosine to float32), size and speed.
All run in turns, round after round, on all cores; figures are medians. Artifacts, a JSON and a Markdown
file go to quickstart-output/.

    python examples/quickstart.py [--quick] [--sts FILE] [--calibration FILE] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import qeff
import torch
import transformers
from qeff.calibration import builtin_texts
from qeff.resolve import resolve_model
from qeff.sts import cosines, read_sts, spearman
from qeff.tokenization import padded, read_tokenizer_files, text_tokenizer

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
ROOT = Path(__file__).resolve().parents[1]
STS = ROOT.parent / "shared" / "data" / "sts" / "stsb-en-test.csv"
BATCH, TOKENS, SHORT = 64, 112, 14

SCHEMES: dict[str, tuple[str, Any]] = {
    "int8": ("minilm-int8", "int8"),
    "fp8": ("minilm-fp8", "fp8"),
    "awq 4-bit g128": ("minilm-awq-g128", qeff.AWQConfig(group_size=128)),
    "gptq 4-bit g128": ("minilm-gptq-g128", qeff.GPTQConfig(group_size=128)),
    "gptq 4-bit g32": ("minilm-gptq-g32", qeff.GPTQConfig(group_size=32)),
    "nf4 g64": ("minilm-nf4", "nf4"),
}

# The sentences of examples/cpp_app/main.cpp: both programs print the same similarities.
THREE = (
    "A man is playing a guitar.",
    "Someone plays a musical instrument.",
    "The stock market fell sharply on Monday.",
)


@dataclass
class Row:
    """One line of the table."""

    name: str
    bytes: int
    compile_s: float
    spearman: float | None = None
    mean_cosine: float = 1.0
    min_cosine: float = 1.0
    batch_s: list[float] = field(default_factory=list)
    short_s: list[float] = field(default_factory=list)

    @property
    def sentences_per_second(self) -> float:
        """At 64 x 112 tokens."""
        return BATCH / statistics.median(self.batch_s)

    @property
    def milliseconds(self) -> float:
        """For one sentence of 14 tokens."""
        return 1e3 * statistics.median(self.short_s)


class Torch:
    """The float32 model as sentence-transformers runs it: mean of the states, length 1."""

    def __init__(self, directory: Path) -> None:
        self.model = transformers.AutoModel.from_pretrained(
            str(directory), dtype=torch.float32
        ).eval()
        self.tokenizer = text_tokenizer(read_tokenizer_files(directory), MODEL)

    def generate(self, inputs: dict[str, Any]) -> np.ndarray:
        """Embeddings (sentences, hidden), not normalized."""
        tensors = {name: torch.as_tensor(value) for name, value in inputs.items()}
        with torch.inference_mode():
            states = self.model(**tensors).last_hidden_state
            mask = tensors["attention_mask"][..., None].to(states.dtype)
            return ((states * mask).sum(1) / mask.sum(1)).numpy()

    def encode(self, texts: list[str]) -> np.ndarray:
        """Embeddings (texts, hidden), in batches of similar length."""
        ids = self.tokenizer.ids(texts, 256)
        order = np.argsort([len(row) for row in ids], kind="stable")
        result = np.empty((len(texts), self.model.config.hidden_size), np.float32)
        for begin in range(0, len(texts), 64):
            part = order[begin : begin + 64]
            rows = [ids[i] for i in part]
            result[part] = self.generate(padded(rows, max(map(len, rows))))
        return result / np.linalg.norm(result, axis=1, keepdims=True)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds of the timing")
    parser.add_argument("--sts", type=Path, default=STS, help="CSV of sentence1,sentence2,score")
    parser.add_argument("--calibration", type=Path, help="texts for AWQ and GPTQ, one a line")
    parser.add_argument("--out", type=Path, default=ROOT / "quickstart-output")
    return parser.parse_args()


def compile_all(out: Path, calibration: list[str] | None) -> tuple[list[Row], dict[str, Any]]:
    """Compiles every scheme; rows without measurements yet, and the sessions by name."""
    rows, sessions = [], {}
    model = qeff.QEFFAutoModel.from_pretrained(MODEL, pooling="mean")
    for name, (file, config) in SCHEMES.items():
        started = time.perf_counter()
        path = Path(
            model.compile(out / f"{file}.qeff", quantization=config, calibration=calibration)
        )
        seconds = time.perf_counter() - started
        print(
            f"  {name:<16} {path.stat().st_size / 1e6:6.1f} MB  {seconds:5.1f} s  {path.name}",
            flush=True,
        )
        (out / f"{file}.report.md").write_text(model.report.to_markdown(), encoding="utf-8")
        rows.append(Row(name, path.stat().st_size, seconds))
        sessions[name] = qeff.load(path)
    return rows, sessions


def measure_quality(rows: list[Row], runners: dict[str, Any], sts: Path) -> str:
    """Fills in Spearman and cosines; returns a sentence on what they were measured on."""
    if sts.is_file():
        first, second, scores = read_sts(sts)
        note = f"Spearman on all {len(scores):,} pairs of {sts.name}; cosine to fp32 of their first sentences."
    else:
        first, second, scores = builtin_texts(), [], []
        note = (
            f"No Spearman: {sts.name} is not there (give it with --sts); "
            f"cosine to fp32 of the {len(first)} built-in sentences."
        )
    reference = None
    for row in rows:
        embeddings = runners[row.name].encode(first)
        reference = embeddings if reference is None else reference
        similar = cosines(embeddings, reference)
        row.mean_cosine, row.min_cosine = float(similar.mean()), float(similar.min())
        if scores:
            row.spearman = 100 * spearman(
                cosines(embeddings, runners[row.name].encode(second)), scores
            )
    return note


def batches(tokenizer: Any) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """64 sentences of exactly 112 tokens (no padding for anybody), and one of 14."""
    texts = builtin_texts()
    long = [" ".join(texts[(i + j) % len(texts)] for j in range(0, 60, 3)) for i in range(BATCH)]
    short = "The museum has bought a letter that the composer wrote to his sister in 1788."
    wide = padded(tokenizer.ids(long, TOKENS), TOKENS)
    assert wide["attention_mask"].all()
    return wide, padded(tokenizer.ids([short], SHORT), SHORT)


def seconds_of(run: Callable[[], Any]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def measure_speed(
    rows: list[Row], runners: dict[str, Any], inputs: tuple[Any, Any], rounds: int
) -> None:
    """Runs everything in turns, so that a slow moment of the machine hits all alike."""
    wide, short = inputs
    for row in rows:  # once to warm up
        runners[row.name].generate(wide)
        runners[row.name].generate(short)
    for _ in range(rounds):
        for row in rows:
            row.batch_s.append(seconds_of(lambda: runners[row.name].generate(wide)))  # noqa: B023
    for _ in range(4 * rounds):
        for row in rows:
            row.short_s.append(seconds_of(lambda: runners[row.name].generate(short)))  # noqa: B023


def table(rows: list[Row]) -> str:
    """The rows as Markdown, columns aligned."""
    head = (
        "model",
        "STS-B test ρ×100",
        "mean cosine",
        "min cosine",
        "MB",
        "sentences/s",
        "× torch",
        "ms, 14 tokens",
        "× torch",
        "compile s",
    )
    base = rows[0]
    cells = [head]
    for row in rows:
        score = "" if row.spearman is None else f"{row.spearman:.2f}"
        cells.append(
            (
                row.name,
                score,
                f"{row.mean_cosine:.4f}",
                f"{row.min_cosine:.4f}",
                f"{row.bytes / 1e6:.1f}",
                f"{row.sentences_per_second:.1f}",
                f"{row.sentences_per_second / base.sentences_per_second:.2f}",
                f"{row.milliseconds:.2f}",
                f"{base.milliseconds / row.milliseconds:.2f}",
                f"{row.compile_s:.1f}",
            )
        )
    widths = [max(len(line[i]) for line in cells) for i in range(len(head))]
    lines = [
        "| "
        + " | ".join(
            c.ljust(w) if i == 0 else c.rjust(w)
            for i, (c, w) in enumerate(zip(line, widths, strict=True))
        )
        + " |"
        for line in cells
    ]
    rule = (
        "|" + "|".join("-" * (w + 1) + ("-" if i == 0 else ":") for i, w in enumerate(widths)) + "|"
    )
    return "\n".join([lines[0], rule, *lines[1:]])


def similarities(session: Any) -> list[str]:
    """Cosine of each pair of the three sentences, as examples/cpp_app prints it."""
    embeddings = session.encode(list(THREE))
    return [
        f'{cosines(embeddings[i : i + 1], embeddings[j : j + 1])[0]:.6f}  "{THREE[i]}" | "{THREE[j]}"'
        for i in range(len(THREE))
        for j in range(i + 1, len(THREE))
    ]


def main() -> None:
    """Compiles, measures, prints, writes."""
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    cpu = qeff.cpu_info()
    machine = (
        f"{cpu['model']}, {cpu['cores']} cores, kernels: {cpu['active']} (of {', '.join(cpu['isa'])}); "
        f"qeff {qeff.__version__}, torch {torch.__version__}, Python {platform.python_version()}"
    )
    print(machine)
    torch.set_num_threads(cpu["cores"])
    source = resolve_model(MODEL)
    texts = (
        options.calibration.read_text(encoding="utf-8").splitlines()
        if options.calibration
        else None
    )
    calibration = (
        f"{len(texts)} lines of {options.calibration}"
        if texts
        else f"built-in text, {len(builtin_texts())} sentences, qeff/data/calibration.txt, Apache-2.0"
    )
    print(f"Calibration of AWQ and GPTQ: {calibration}\nCompiling {MODEL}:")
    rows, runners = compile_all(options.out, texts)
    rows.insert(0, Row("fp32 (torch)", (source.path / "model.safetensors").stat().st_size, 0.0))
    runners[rows[0].name] = Torch(source.path)
    print("Measuring quality ...", flush=True)
    note = measure_quality(rows, runners, options.sts)
    print("Measuring speed ...", flush=True)
    measure_speed(
        rows, runners, batches(runners[rows[0].name].tokenizer), 3 if options.quick else 9
    )
    method = (
        f"{note} Sentences/s: batch {BATCH} x {TOKENS} tokens; everything in turns on {cpu['cores']} threads, "
        f"medians of {len(rows[0].batch_s)} and {len(rows[0].short_s)} rounds."
    )
    pairs = similarities(runners["int8"])
    text = "\n".join([machine, "", table(rows), "", method, "", "Similarities (int8):", *pairs])
    print("\n" + text)
    (options.out / "results.md").write_text(text + "\n", encoding="utf-8")
    document = {
        "machine": machine,
        "method": method,
        "calibration": calibration,
        "similarities": pairs,
        "rows": [
            asdict(r)
            | {"sentences_per_second": r.sentences_per_second, "milliseconds": r.milliseconds}
            for r in rows
        ],
    }
    (options.out / "results.json").write_text(json.dumps(document, indent=1), encoding="utf-8")
    print(
        f"\nIn {options.out}: results.md, results.json, artifacts, reports. {time.perf_counter() - started:.0f} s"
    )


if __name__ == "__main__":
    main()
