"""Artifacts of torch models with packed layers: written, and read back without the original."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import nn

from .. import _core
from .._core import FormatError, Unsupported
from .modules import PackedEmbedding, PackedLinear
from .replace import put_module

__all__ = ["load_module", "save_module"]


def _describe(name: str, module: nn.Module) -> dict[str, Any]:
    if isinstance(module, PackedLinear):
        p = module.packed
        return {
            "name": name,
            "type": "linear",
            "format": p.format,
            "activations": p.activations,
            "n": p.n,
            "k": p.k,
            "group_size": p.group_size,
        }
    assert isinstance(module, PackedEmbedding)
    return {"name": name, "type": "embedding", "padding_idx": module.padding_idx}


def _parts(module: nn.Module) -> dict[str, np.ndarray[Any, Any]]:
    if isinstance(module, PackedLinear):
        return module.packed.buffers()
    assert isinstance(module, PackedEmbedding)
    return {"codes": module.codes.numpy(), "scales": module.scales.numpy()}


def save_module(
    model: nn.Module, path: Path, files: Mapping[str, str], facts: Mapping[str, Any]
) -> None:
    """Writes a model with packed layers: config, packed weights, the other tensors, small files.

    Args:
        facts: what the artifact says of itself besides: ``kind`` and what that kind needs.
    """
    described: list[dict[str, Any]] = []
    entries: dict[str, np.ndarray[Any, Any]] = {}
    written: dict[int, str] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if not isinstance(module, PackedLinear | PackedEmbedding):
            continue
        owner = written.setdefault(id(getattr(module, "packed", module)), name)
        described.append({**_describe(name, module), "same_as": owner})
        if owner == name:
            entries |= {f"modules/{name}/{part}": array for part, array in _parts(module).items()}
    for name, tensor in model.state_dict().items():
        entries[f"tensors/{name}"] = np.ascontiguousarray(tensor.detach().numpy())
    for file, text in files.items():
        entries[f"file/{file}"] = np.frombuffer(text.encode(), np.uint8)
    kind = type(model)
    metadata = {
        **facts,
        "producer": f"qeff {_core.__version__}",
        "class": f"{kind.__module__}:{kind.__qualname__}",
        "config": json.loads(model.config.to_json_string(use_diff=False)),  # type: ignore[union-attr, operator]
        "modules": described,
    }
    _core.write_artifact(str(path), json.dumps(metadata), entries)


def _model_class(path: Path, spelled: str) -> Any:
    """The class an artifact names: only models of transformers itself."""
    module, _, name = spelled.partition(":")
    if not module.startswith("transformers.models.") or not name.isidentifier():
        raise FormatError(f"{path}: names the class {spelled!r}, which is none of transformers")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise Unsupported(
            f"{path}: this transformers {transformers.__version__} has no {spelled}"
        ) from error
    if not (isinstance(found, type) and issubclass(found, transformers.PreTrainedModel)):
        raise FormatError(f"{path}: names the class {spelled!r}, which is no model")
    return found


def _names(artifact: _core.Artifact) -> list[str]:
    return [str(entry["name"]) for entry in artifact.entries]


def _rebuild(
    artifact: _core.Artifact, entry: Mapping[str, Any], threads: int, old: Any, made: dict[str, Any]
) -> nn.Module:
    owner = entry["same_as"]
    prefix = f"modules/{owner}/"
    parts = {
        n.removeprefix(prefix): artifact.tensor(n) for n in _names(artifact) if n.startswith(prefix)
    }
    if entry["type"] == "embedding":
        if owner not in made:
            made[owner] = PackedEmbedding(parts["codes"], parts["scales"], entry["padding_idx"])
        embedding: nn.Module = made[owner]
        return embedding
    if owner not in made:
        flat = {name: array.reshape(-1) for name, array in parts.items()}
        sizes = {key: entry[key] for key in ("format", "activations", "n", "k", "group_size")}
        made[owner] = _core.PackedMatrix.from_buffers(**sizes, buffers=flat)
    return PackedLinear(made[owner], old.bias, threads)


def _infinite(value: dict[str, Any]) -> Any:
    """transformers writes numbers that JSON does not have as ``{"__float__": "Infinity"}``."""
    return float(value["__float__"]) if value.keys() == {"__float__"} else value


def load_module(path: Path, threads: int) -> tuple[Any, dict[str, Any]]:
    """A model with packed layers from its artifact, and what the artifact says of itself.

    Raises:
        ValueError: the artifact does not fit the class it names, or this transformers.
    """
    artifact = _core.Artifact.open(str(path), True)
    metadata: dict[str, Any] = json.loads(artifact.metadata, object_hook=_infinite)
    try:
        kind = _model_class(path, str(metadata["class"]))
        model = kind(kind.config_class.from_dict(metadata["config"])).float().eval()
        made: dict[str, Any] = {}
        for entry in metadata["modules"]:
            old = model.get_submodule(entry["name"])
            put_module(model, entry["name"], _rebuild(artifact, entry, threads, old, made))
        state = {
            name.removeprefix("tensors/"): torch.from_numpy(np.array(artifact.tensor(name)))
            for name in _names(artifact)
            if name.startswith("tensors/")
        }
        model.load_state_dict(state)
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise FormatError(f"{path}: does not describe a model: {error}") from error
    return model, metadata
