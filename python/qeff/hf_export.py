"""Any checkpoint qeff reads, written as a Hugging Face directory in a float type."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

from . import _core
from ._core import FormatError, InvalidArgument
from .atomic_text import write_text

__all__ = ["export_huggingface"]

_TEXTS = ("tokenizer.json", "tokenizer_config.json", "generation_config.json")
_DTYPES = ("bfloat16", "float16", "float32")


def _encode(values: _core.Floats, dtype: str, name: str, path: str) -> tuple[_core.Array, str]:
    """Values rounded to nearest, ties to even, and the name of their type."""
    if dtype == "float32":
        return values, dtype
    if dtype == "float16" and np.abs(values).max(initial=0.0) > np.finfo(np.float16).max:
        raise FormatError(f"{path}: tensor '{name}' has values beyond float16; use bfloat16")
    return _core.cast_to_minifloat(values, dtype), dtype


def export_huggingface(
    checkpoint_path: str | os.PathLike[str],
    out_dir: str | os.PathLike[str],
    dtype: str = "bfloat16",
) -> Path:
    """Writes config.json, model.safetensors and the tokenizer files of a checkpoint.

    config.json comes last: a directory an interrupted export left behind is not a model.

    Args:
        checkpoint_path: a Hugging Face directory, a GGUF or a llama2.c file.
        out_dir: made if it is not there; files of these names in it are replaced.
        dtype: bfloat16, float16 or float32, of every tensor.

    Returns:
        The directory.

    Raises:
        ValueError: the checkpoint is damaged, or a value does not fit the type.
        OSError: something cannot be read or written.
    """
    if dtype not in _DTYPES:
        raise InvalidArgument(f"dtype must be one of {', '.join(_DTYPES)}, not {dtype!r}")
    source = os.fspath(checkpoint_path)
    checkpoint = _core.Checkpoint.open(source)
    config = json.loads(checkpoint.config)
    config.pop("dtype", None)
    config["torch_dtype"] = dtype
    directory = Path(out_dir)
    directory.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: _encode(checkpoint.floats(name), dtype, name, source) for name in checkpoint.names()
    }
    _core.write_safetensors(
        str(directory / "model.safetensors"), tensors, [("format", "pt")], checkpoint.files()
    )
    for name in _TEXTS:
        if text := checkpoint.read_text(name):
            write_text(directory / name, text)
    write_text(directory / "config.json", json.dumps(config, indent=2) + "\n")
    return directory
