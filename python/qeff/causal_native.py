"""Compiling causal language models: from a directory, a GGUF or a llama2.c file, without torch."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import _core, cache
from ._core import FormatError, InvalidArgument
from .batch import PackedTokens, pack_rows
from .calibration import Calibration
from .causal_text import LanguageTokenizer
from .config import Config
from .progress import Callback, progress_bar
from .report import Report
from .resolve import ModelSource, resolve_model
from .schemes import scheme_label
from .session import LANGUAGE_MODEL_KINDS, artifact_kind

__all__ = [
    "CausalRequest",
    "Compiler",
    "compile_causal",
    "is_language_model",
    "model_files",
    "names_language_model",
    "positions_of",
    "resolve_language_model",
    "why_no_native_form",
]

_log = logging.getLogger("qeff")

_CALIBRATION_TOKENS = 512
_CALIBRATION_ROWS = 128
_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)


@dataclass(frozen=True)
class CausalRequest:
    """What ``compile`` was asked for.

    Attributes:
        out: the artifact to write, or None for the cache.
        config: the recipe.
        calibration: the argument of that name.
        threads: to use.
        strict: a layer not quantized as asked is an error.
        progress: True: a bar where somebody watches; or a function (done, total, what).
        resume: keep what is finished beside the output, and go on from there.
    """

    out: Path | None
    config: Config
    calibration: Any
    threads: int
    strict: bool
    progress: bool | Callback
    resume: bool = True


Compiler = Callable[[ModelSource, CausalRequest, Path, Any], list[Any]]
"""(model, request, artifact to write, ids and offsets to calibrate with) → rows of the report."""


def resolve_language_model(name: Any) -> ModelSource:
    """Finds a model: as :func:`resolve_model` does, or a file of another format (GGUF, llama2.c)."""
    path = Path(name).expanduser()
    if path.is_file():
        with path.open("rb") as file:
            if file.read(4) != b"QEFF":
                return ModelSource(str(name), path)
    return resolve_model(name)


def names_language_model(config: Any) -> bool:
    """Whether the ``architectures`` of a config.json are those of a causal language model."""
    names = (config.get("architectures") or []) if isinstance(config, Mapping) else []
    return any(str(name).endswith(("ForCausalLM", "LMHeadModel")) for name in names)


def is_language_model(name: Any) -> bool:
    """Whether a model is one to generate text with: an artifact of that kind, a GGUF or llama2.c file, or
    a directory whose ``architectures`` say so and that is no native encoder."""
    source = resolve_language_model(name)
    if source.is_artifact:
        return artifact_kind(source.path) in LANGUAGE_MODEL_KINDS
    if source.path.is_file():
        return True
    path = source.path / "config.json"
    text = path.read_text(encoding="utf-8") if path.is_file() else "{}"
    try:
        config = json.loads(text)
    except ValueError:
        return False  # whoever reads it next says what is wrong
    return names_language_model(config) and bool(_core.why_not_native(text))


def model_files(source: ModelSource) -> dict[str, str]:
    """The texts of the model's small files: configuration, tokenizer, chat template."""
    if source.path.is_dir():
        found = (name for name in _FILES if (source.path / name).is_file())
        return {name: (source.path / name).read_text(encoding="utf-8") for name in found}
    checkpoint = _core.Checkpoint.open(str(source.path))
    texts = {name: checkpoint.read_text(name) for name in _FILES}
    return {name: text for name, text in texts.items() if text}


def _in_blocks(rows: list[list[int]], length: int) -> PackedTokens:
    """Tokens of all texts one after the other, cut into blocks; the rest only if it is all."""
    ids = np.concatenate(
        [np.asarray(row, np.int64) for row in rows if row] or [np.zeros(0, np.int64)]
    )
    if not len(ids):
        raise InvalidArgument("calibration: the texts have no tokens")
    blocks = [ids[i : i + length] for i in range(0, len(ids) - length + 1, length)] or [ids]
    return pack_rows(blocks[:_CALIBRATION_ROWS])


def _packed(
    calibration: Calibration | None,
    files: Mapping[str, str],
    source: ModelSource,
    positions: int | None,
) -> Any:
    if calibration is None:
        return None
    tokens = calibration.tokens
    if tokens is None:
        tokenizer = LanguageTokenizer(files, str(source.path))
        rows = [tokenizer.encode(text) for text in calibration.texts or []]
        tokens = _in_blocks(rows, min(_CALIBRATION_TOKENS, positions or _CALIBRATION_TOKENS))
    return tokens.ids, tokens.offsets


def positions_of(config: Mapping[str, Any]) -> int | None:
    """Tokens that a model of this config.json has positions for; None: it does not say."""
    for name in ("max_position_embeddings", "n_positions", "max_seq_len"):
        value = config.get(name)
        if isinstance(value, int) and value > 0:
            return value
    return None


def _check_output(out: Path, source: ModelSource) -> None:
    if out.is_dir():
        raise InvalidArgument(
            f"{out}: is a directory; the output is a file, e.g. {out / 'model.qeff'}"
        )
    files = source.path.rglob("*") if source.path.is_dir() else [source.path]
    if out.exists() and any(out.samefile(p) for p in files if p.is_file()):
        raise InvalidArgument(f"{out}: is a file of the model itself; choose another output")


def _cached(source: ModelSource, request: CausalRequest, recipe: dict[str, Any]) -> Path:
    if source.path.is_file():
        stat = source.path.stat()
        recipe = recipe | {"file": [str(source.path.resolve()), stat.st_size, stat.st_mtime_ns]}
    digest = cache.fingerprint(source.path, recipe | {"kind": "causal_lm"})
    return cache.artifact_path(source.name, scheme_label(request.config), digest)


def compile_natively(
    source: ModelSource, request: CausalRequest, path: Path, tokens: Any
) -> list[Any]:
    """A :data:`Compiler` for models with a native form."""
    config = request.config.native() | {"strict": request.strict}
    arguments = (str(source.path), str(path), config, tokens, request.threads)

    def note(what: str) -> None:
        _log.warning("qeff: %s: %s", source.name, what)

    def run(show: Callback) -> list[Any]:
        return _core.compile_causal_lm(*arguments, show, request.resume, note)

    try:
        if callable(request.progress):
            return run(request.progress)
        with progress_bar(f"compile {source.name}", request.progress) as show:
            return run(show)
    except KeyboardInterrupt:
        partial = Path(f"{path}.partial")
        if request.resume and partial.is_dir():
            note(f"interrupted; the same call goes on from what is in {partial}")
        raise


def compile_causal(
    source: ModelSource,
    request: CausalRequest,
    work: Compiler = compile_natively,
    runtime: str = "native",
) -> tuple[Path, Report]:
    """Quantizes a language model and writes its artifact, or finds it in the cache.

    Args:
        work: what writes the artifact.
        runtime: what the artifact runs on.

    Returns:
        the artifact, and the report of its layers.

    Raises:
        ValueError, OSError: as the messages say; then nothing half-written remains.
    """
    calibration = None
    if request.config.needs_calibration:
        calibration = Calibration.make(request.calibration, source.name)
    recipe: dict[str, Any] = {
        "config": request.config.native() | {"strict": request.strict},
        "calibration": calibration.digest() if calibration else None,
        "runtime": runtime,
    }
    if request.out is not None:
        _check_output(request.out, source)
    path = request.out or _cached(source, request, recipe)
    if request.out is None and cache.reusable(path):
        report = cache.read_report(path)
        if report is not None:
            return path, report
    files = model_files(source)
    config = LanguageTokenizer(files, str(source.path)).model_config
    started = time.perf_counter()
    tokens = _packed(calibration, files, source, positions_of(config))
    rows = work(source, request, path, tokens)
    report = Report(
        rows,
        model=source.name,
        scheme=scheme_label(request.config),
        calibration=calibration.source if calibration else "none",
        runtime=runtime,
        bytes=path.stat().st_size,
        seconds=round(time.perf_counter() - started, 2),
    )
    if request.out is None:
        cache.write_report(path, report)
    return path, report


def why_no_native_form(source: ModelSource) -> str:
    """Empty if the model has a native form, else the reason.

    Raises:
        ValueError: there is no config.json, or it is none. OSError: it cannot be read.
    """
    config = source.path / "config.json"
    if source.path.is_dir() and not config.is_file():
        raise FormatError(
            f"{source.path}: has no config.json; expected a Hugging Face model directory"
        )
    text = (
        config.read_text(encoding="utf-8")
        if source.path.is_dir()
        else _core.Checkpoint.open(str(source.path)).config
    )
    return _core.why_no_native_causal_lm(text)
