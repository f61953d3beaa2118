"""What the commands of the command line do, and how they show it."""

from __future__ import annotations

import dataclasses
import json
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from . import _core
from ._core import InvalidArgument
from .auto import QEFFAutoModel
from .causal import QEFFAutoModelForCausalLM
from .causal_native import is_language_model, names_language_model, resolve_language_model
from .config import AffineConfig, Config
from .cpu import cpu_info, roof, tune, tuning
from .resolve import resolve_model
from .schemes import resolve_config, resolve_language_model_config
from .sts import sts_score

Document = dict[str, Any]

_MODEL_FILES = {".qeff": "artifact", ".gguf": "gguf", ".bin": "llama2.c", "": "llama2.c"}

_PLACES = {
    "registers": "from registers",
    "fed_l1": "fed from L1",
    "fed_l2": "fed from L2",
    "l1": "L1",
    "l2": "L2",
    "l3": "L3",
    "memory": "memory",
}


def emit(document: Document, as_json: bool, show: Callable[[Document], None]) -> None:
    """Prints the document: as JSON, or as ``show`` does."""
    if as_json:
        print(json.dumps(document, ensure_ascii=False))
    else:
        show(document)


def make_config(
    scheme: str,
    bits: int | None = None,
    group_size: int | None = None,
    language_model: bool = False,
    target_bits: float | None = None,
) -> Config:
    """The recipe of a scheme with other bits or groups."""
    config = resolve_language_model_config(scheme) if language_model else resolve_config(scheme)
    changes: Document = {}
    wanted = {"bits": bits, "group_size": group_size, "target_bits": target_bits}
    for name, value in wanted.items():
        if value is not None:
            if not hasattr(config, name):
                raise InvalidArgument(
                    f'scheme "{scheme}" has no {name.replace("_", " ")} to choose'
                )
            changes[name] = value
    if group_size is not None and isinstance(config, AffineConfig):
        changes["granularity"] = "per_channel" if group_size == -1 else "per_group"
    return dataclasses.replace(config, **changes)


def read_lines(path: str) -> list[str]:
    """The non-empty lines of a text file; ``-`` is standard input."""
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"{path}: is not UTF-8 text (byte {error.start})") from error
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise InvalidArgument(f"{'standard input' if path == '-' else path}: has no text")
    return lines


def compile_model(
    model: str,
    out: Path | None,
    *,
    scheme: str,
    bits: int | None = None,
    group_size: int | None = None,
    target_bits: float | None = None,
    calibration: Path | None = None,
    num_cores: int | None = None,
    pooling: str | None = None,
    strict: bool = False,
    resume: bool = True,
) -> QEFFAutoModel | QEFFAutoModelForCausalLM:
    """Finds and compiles a model of either kind."""
    language_model = is_language_model(model)
    config = make_config(scheme, bits, group_size, language_model, target_bits)
    texts = read_lines(str(calibration)) if calibration else None
    if language_model and pooling is not None:
        raise InvalidArgument(f"{model}: is a causal language model; it has no pooling")
    options: Document = {
        "quantization": config,
        "calibration": texts,
        "num_cores": num_cores,
        "strict": strict,
    }
    if not language_model:
        encoder = QEFFAutoModel.from_pretrained(model, pooling=pooling)
        encoder.compile(out, **options)
        return encoder
    loaded = QEFFAutoModelForCausalLM.from_pretrained(model)
    loaded.compile(out, resume=resume, **options)
    return loaded


def open_model(
    model: str, scheme: str, num_cores: int | None, pooling: str | None
) -> QEFFAutoModel:
    """A model ready to run: an artifact as it is, anything else compiled by ``scheme`` into the cache."""
    if resolve_model(model).is_artifact:
        return QEFFAutoModel.from_pretrained(model, pooling=pooling, num_cores=num_cores)
    if is_language_model(model):
        raise InvalidArgument(f"{model}: is a causal language model; it has no embeddings")
    compiled = compile_model(model, None, scheme=scheme, num_cores=num_cores, pooling=pooling)
    return cast("QEFFAutoModel", compiled)


def explain_model(
    model: str, scheme: str, num_cores: int | None, rows: list[int] | None, measure: bool
) -> list[Document]:
    """The layers of ``qeff explain``."""
    if not is_language_model(model):
        return open_model(model, scheme, num_cores, None).explain(rows, measure)
    from .cli_causal_work import open_language_model

    return open_language_model(model, scheme, num_cores, None, "bf16").explain(rows, measure)


def evaluate_sts(
    model: str, text: Path, scheme: str, num_cores: int | None, pooling: str | None
) -> Document:
    """The document of ``qeff eval sts``."""
    compiled = open_model(model, scheme, num_cores, pooling)
    score, pairs = sts_score(compiled.encode, text)
    return {
        "model": model,
        "artifact": compiled.path,
        "text": str(text),
        "pairs": pairs,
        "spearman_x100": round(score, 4),
    }


def machine_info(with_roof: bool = False, num_cores: int | None = None) -> Document:
    """The document of ``qeff info``."""
    document = {
        "qeff": _core.__version__,
        **cpu_info(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "tuning": tuning(),
    }
    return document | {"roof": roof(num_cores)} if with_roof else document


def parse_numbers(text: str, option: str) -> list[int]:
    """Whole numbers from 1 on between commas."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise InvalidArgument(
            f"{option} takes whole numbers from 1 on, as in 1,16,2048: not {text}"
        )
    return [int(part) for part in parts]


def _tensor_rows(tensors: Mapping[str, Mapping[str, Any]]) -> list[Document]:
    return [
        {"name": name, "dtype": row["dtype"], "shape": list(row["shape"]), "nbytes": row["nbytes"]}
        for name, row in tensors.items()
    ]


def _inspect_checkpoint(path: Path, kind: str) -> Document:
    checkpoint = _core.Checkpoint.open(str(path))
    config = json.loads(checkpoint.config)
    reasons = (
        _core.why_not_native(checkpoint.config),
        _core.why_no_native_causal_lm(checkpoint.config),
    )
    reason = all(reasons) and reasons[names_language_model(config)]
    facts = {
        "model_type": config.get("model_type"),
        "architectures": config.get("architectures"),
        "runs": f"through transformers: {reason}" if reason else "natively",
    }
    tensors = {name: checkpoint.describe(name) for name in checkpoint.names()}
    return {
        "path": str(path),
        "kind": kind,
        "metadata": facts,
        "tensors": _tensor_rows(tensors),
    }


def inspect_path(name: str) -> Document:
    """The document of ``qeff inspect``.

    Raises:
        ValueError: the file is damaged or of another kind. OSError: it cannot be read.
    """
    path = Path(name)
    if path.is_file() and path.suffix == ".safetensors":
        header = _core.read_safetensors_header(name)
        return {
            "path": name,
            "kind": "safetensors",
            "metadata": header["metadata"],
            "tensors": _tensor_rows(header["tensors"]),
        }
    if path.is_file() and path.suffix not in _MODEL_FILES:
        raise InvalidArgument(
            f"{name}: is neither a .qeff nor a .safetensors file, nor a GGUF or llama2.c file, "
            "nor a model directory"
        )
    source = resolve_language_model(name)
    if not source.is_artifact:
        kind = _MODEL_FILES.get(source.path.suffix, "llama2.c")
        return _inspect_checkpoint(source.path, "directory" if source.path.is_dir() else kind)
    artifact = _core.Artifact.open(str(source.path), True)
    tensors = {str(row["name"]): row for row in artifact.entries}
    return {
        "path": name,
        "kind": "artifact",
        "metadata": json.loads(artifact.metadata),
        "bytes": artifact.file_bytes,
        "tensors": _tensor_rows(tensors),
    }


def _table(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], numbers: Sequence[str] = ()
) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    width = None if sys.stdout.isatty() else 200
    Console(width=width, highlight=False).print(table)


def show_facts(document: Document) -> None:
    """Name and value, one pair a line."""
    width = max(map(len, document))
    for name, value in document.items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else value
        print(f"{name:<{width}}  {text}")


def tune_machine(seconds: float, num_cores: int | None) -> Document:
    """The document of ``qeff tune``."""
    before = tuning()
    found, path = tune(num_cores, seconds)
    return {"file": str(path), "before": before, "tuning": found}


def show_tuning(document: Document) -> None:
    """Values before and now, then where they are kept."""
    found, before = document["tuning"], document["before"]
    rows = [(name, str(before[name]), str(value)) for name, value in found.items()]
    _table(("", "before", "measured"), rows, ("before", "measured"))
    print(f"kept in {document['file']}")


def show_machine(document: Document) -> None:
    """The facts of ``qeff info``, and the roof if it was measured."""
    measured = document.pop("roof", None)
    values = ", ".join(f"{name}={value}" for name, value in document.pop("tuning").items())
    show_facts({**document, "tuning": values})
    if measured is None:
        return
    rates = {
        f"{product} {_PLACES[place]}, G op/s": rate
        for product, places in measured["gops"].items()
        for place, rate in places.items()
    } | {f"read {_PLACES[level]}, GB/s": rate for level, rate in measured["gb_per_s"].items()}
    rows = [(name, f"{rate['one']:.1f}", f"{rate['all']:.1f}") for name, rate in rates.items()]
    numbers = ("one thread", f"{measured['threads']} threads")
    print()
    _table((f"roof of {measured['isa']}", *numbers), rows, numbers)


def show_report(document: Document) -> None:
    """The layers of a report, then its facts."""
    rows = document.pop("rows")
    columns = ("layer", "scheme", "bytes", "bits", "SQNR dB", "cosine", "note")
    cells = [
        (
            r["name"],
            r["scheme"],
            r.get("bytes", ""),
            f"{r['bits']:.2f}" if "bits" in r else "",
            f"{r.get('sqnr_db', 0):.1f}",
            f"{r.get('cosine', 0):.5f}",
            r.get("note", ""),
        )
        for r in rows
    ]
    _table(columns, cells, ("bytes", "bits", "SQNR dB", "cosine"))
    show_facts(document)


def show_layers(document: Document) -> None:
    """The layers of ``qeff explain``, and how they compare to the roof if that was asked for."""
    layers = document["layers"]
    columns = ["layer", "scheme", "bytes", "kernel"]
    cells = [[r["name"], r["scheme"], r["bytes"], r["kernel"]] for r in layers]
    extra: dict[str, Callable[[Document], str]] = {
        "rows": lambda r: str(r["rows"]),
        "MB a pass": lambda r: f"{r['pass_bytes'] / 1e6:.3f}",
        "Mop": lambda r: f"{r['operations'] / 1e6:.1f}",
        "bound": lambda r: str(r["bound"]),
        "least us": lambda r: f"{r['least_seconds'] * 1e6:.2f}",
        "us": lambda r: f"{r['seconds'] * 1e6:.2f}",
        "of roof": lambda r: f"{r['roof_share']:.0%}",
    }
    measured = any("seconds" in r for r in layers)
    planned = any("rows" in r for r in layers)
    for name in [*extra][: 7 if measured else 5] if planned else []:
        columns.append(name)
        for row, cell in zip(layers, cells, strict=True):
            cell.append(extra[name](row) if "rows" in row else "")
    _table(columns, cells, ("bytes", *(name for name in extra if name != "bound")))


def show_tensors(document: Document) -> None:
    """Facts, metadata and tensors of a file."""
    tensors = document.pop("tensors")
    metadata = document.pop("metadata")
    plain = {
        k: v for k, v in metadata.items() if not isinstance(v, dict | list) or len(str(v)) < 80
    }
    show_facts(document | plain)
    rows = [(t["name"], t["dtype"], "x".join(map(str, t["shape"])), t["nbytes"]) for t in tensors]
    _table(("tensor", "dtype", "shape", "bytes"), rows, ("bytes",))
    print(f"{len(tensors)} tensors, {sum(t['nbytes'] for t in tensors)} bytes")


def show_embeddings(document: Document) -> None:
    """One embedding a line, numbers between spaces."""
    for row in document["embeddings"]:
        print(" ".join(f"{value:.6g}" for value in row))
