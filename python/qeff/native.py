"""Models with a native description: BERT-family encoders, from the checkpoint, without torch."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import _core, cache
from ._core import FormatError, InvalidArgument
from .calibration import Calibration
from .config import Config
from .progress import progress_bar
from .report import Report
from .resolve import ModelSource
from .schemes import scheme_label
from .tokenization import read_tokenizer_files, text_tokenizer

__all__ = ["CompileRequest", "compile_native", "model_defaults", "why_not_native"]

_CALIBRATION_TOKENS = 256


@dataclass(frozen=True)
class CompileRequest:
    """What ``compile`` was asked for.

    Attributes:
        out: the artifact to write, or None for the cache.
        config: the recipe.
        calibration: the argument of that name.
        pooling, normalize: defaults of the compiled model.
        threads: to use.
        strict: a layer not quantized as asked is an error.
        progress: show a bar where somebody watches.
    """

    out: Path | None
    config: Config
    calibration: Any
    pooling: str
    normalize: bool
    threads: int
    strict: bool
    progress: bool


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: is not JSON ({error})") from error


def why_not_native(directory: Path) -> str:
    """Empty if the model of ``directory`` has a native description, else the reason.

    Raises:
        ValueError: there is no config.json, or it is none.
    """
    path = directory / "config.json"
    if not path.is_file():
        raise FormatError(
            f"{directory}: has no config.json; expected a Hugging Face model directory"
        )
    if not isinstance(_read_json(path), dict):
        raise FormatError(f"{path}: is not a JSON object")
    return _core.why_not_native(path.read_text(encoding="utf-8"))


def model_defaults(directory: Path) -> tuple[str, bool]:
    """Pooling and normalization that the model's sentence-transformers files ask for.

    Returns:
        pooling, ``"none"`` without ``1_Pooling/config.json``; whether ``modules.json`` normalizes.
    """
    path = directory / "1_Pooling" / "config.json"
    pooling = "none"
    if path.is_file():
        config = _read_json(path)
        modes = {
            "pooling_mode_cls_token": "cls",
            "pooling_mode_mean_tokens": "mean",
            "pooling_mode_max_tokens": "max",
        }
        chosen = [name for key, name in modes.items() if config.get(key)] or [
            config.get("pooling_mode")
        ]
        pooling = chosen[0] if len(chosen) == 1 and chosen[0] in modes.values() else "none"
    modules = directory / "modules.json"
    normalize = modules.is_file() and any(
        str(module.get("type", "")).endswith("Normalize") for module in _read_json(modules)
    )
    return pooling, normalize


def _calibration(source: ModelSource, request: CompileRequest) -> Calibration | None:
    if request.config.needs_calibration:
        return Calibration.make(request.calibration, source.name)
    if request.calibration is not None and not hasattr(request.calibration, "ndim"):
        Calibration.make(request.calibration, source.name)  # an empty one is an error all the same
    return None


def _most_tokens(directory: Path) -> int:
    """Tokens of a calibration text: what the positions of the model allow, at most 256.

    Two are left out because RoBERTa starts counting after its padding id.
    """
    positions = _read_json(directory / "config.json").get("max_position_embeddings")
    return (
        min(_CALIBRATION_TOKENS, positions - 2)
        if isinstance(positions, int) and positions > 4
        else _CALIBRATION_TOKENS
    )


def _packed(calibration: Calibration | None, source: ModelSource) -> Any:
    if calibration is None:
        return None
    files = read_tokenizer_files(source.path)
    tokenizer = text_tokenizer(files, str(source.path)) if calibration.texts is not None else None
    tokens = calibration.packed(tokenizer, _most_tokens(source.path))
    return tokens.ids, tokens.offsets


def _check_output(out: Path, source: ModelSource) -> None:
    if out.is_dir():
        raise InvalidArgument(
            f"{out}: is a directory; the output is a file, e.g. {out / 'model.qeff'}"
        )
    if out.exists() and any(out.samefile(p) for p in source.path.rglob("*") if p.is_file()):
        raise InvalidArgument(f"{out}: is a file of the model itself; choose another output")


def compile_native(source: ModelSource, request: CompileRequest) -> tuple[Path, Report]:
    """Quantizes the model of a directory and writes its artifact, or finds it in the cache.

    Returns:
        the artifact, and the report of its layers.

    Raises:
        ValueError, OSError: as the messages say; then nothing half-written remains.
    """
    calibration = _calibration(source, request)
    recipe: dict[str, Any] = {
        "config": request.config.native() | {"strict": request.strict},
        "pooling": request.pooling,
        "normalize": request.normalize,
        "calibration": calibration.digest() if calibration else None,
    }
    if request.out is not None:
        _check_output(request.out, source)
    path = request.out or cache.artifact_path(
        source.name, scheme_label(request.config), cache.fingerprint(source.path, recipe)
    )
    if request.out is None and cache.reusable(path):
        report = cache.read_report(path)
        if report is not None:
            return path, report
    started = time.perf_counter()
    with progress_bar(f"compile {source.name}", request.progress) as show:
        rows = _core.compile_encoder(
            str(source.path),
            str(path),
            recipe["config"],
            _packed(calibration, source),
            request.pooling,
            request.normalize,
            request.threads,
            show,
        )
    report = Report(
        rows,
        model=source.name,
        scheme=scheme_label(request.config),
        calibration=calibration.source if calibration else "none",
        bytes=path.stat().st_size,
        seconds=round(time.perf_counter() - started, 2),
    )
    if request.out is None:
        cache.write_report(path, report)
    return path, report
