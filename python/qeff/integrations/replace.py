"""Replaces the linear layers and embeddings of a torch model by packed ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers.pytorch_utils import Conv1D

from .. import _core
from .._core import PackedMatrix, Unsupported
from ..config import AffineConfig, Config, NoQuantization
from ..matrix import quantize_rows
from ..progress import Callback
from ..schemes import scheme_label
from .modules import PackedEmbedding, PackedLinear

__all__ = ["collect_hessians", "put_module", "replace_modules"]

Array = NDArray[np.float32]

_TWINS = ("transformers.models.falcon.modeling_falcon:FalconLinear",)
"""Subclasses of nn.Linear that compute the same."""


def _is_linear(module: nn.Module) -> bool:
    kind = type(module)
    return kind in (nn.Linear, Conv1D) or f"{kind.__module__}:{kind.__qualname__}" in _TWINS


def targets(model: nn.Module) -> dict[str, nn.Module]:
    """The modules that become packed, by name; a module under two names comes once."""
    found = {
        name: module
        for name, module in model.named_modules()
        if _is_linear(module) or type(module) is nn.Embedding
    }
    return {name: module for name, module in found.items() if name}


def linear_weight(module: Any) -> Array:
    """The weight of a Linear or Conv1D as float32 (out_features, in_features)."""
    weight = module.weight.detach().to(torch.float32)
    array: Array = (weight.t() if type(module) is Conv1D else weight).numpy()
    return array


def collect_hessians(
    model: nn.Module, batches: Iterable[Mapping[str, Any]], threads: int
) -> dict[str, _core.Hessian]:
    """Runs the float model over calibration batches and watches the inputs of its linear layers.

    One pass: the inputs are those of the float model (``propagate=False`` of the recipes).
    """
    hessians: dict[str, _core.Hessian] = {}
    handles = []

    def watch(name: str, width: int) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def hook(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            rows = inputs[0].detach().reshape(-1, width).to(torch.float32)
            hessians.setdefault(name, _core.Hessian(width)).add(rows.numpy(), threads)

        return hook

    for name, module in targets(model).items():
        if _is_linear(module):
            handles.append(
                module.register_forward_pre_hook(watch(name, linear_weight(module).shape[1]))
            )
    try:
        with torch.no_grad():
            for batch in batches:
                model(**batch)
    finally:
        for handle in handles:
            handle.remove()
    return hessians


def put_module(model: nn.Module, name: str, module: nn.Module) -> None:
    """Puts ``module`` at the dotted ``name``."""
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)


def _row(
    name: str, scheme: str, weight: Array, back: Array, nbytes: int, seconds: float, note: str
) -> dict[str, Any]:
    metrics = _core.error_metrics(weight, back)
    return {
        "name": name,
        "scheme": scheme,
        "rows": weight.shape[0],
        "cols": weight.shape[1],
        "bytes": nbytes,
        **{key: metrics[key] for key in ("mse", "sqnr_db", "cosine")},
        "max_error": metrics["max_abs"],
        "hessian_loss": 0.0,
        "seconds": seconds,
        "note": note,
    }


def _pack_linear(
    name: str, weight: Array, config: Config, hessian: _core.Hessian | None, threads: int
) -> tuple[PackedMatrix, str]:
    """The packed weight, and a note if it was not done as asked."""
    if isinstance(config, NoQuantization):
        return _core.pack_float(np.ascontiguousarray(weight), "f32"), ""
    note = ""
    try:
        if config.needs_calibration and hessian is None:
            config = AffineConfig(
                bits=getattr(config, "bits", 4), granularity="per_group", symmetric=False
            )
            note = "calibration never reached it: rounded to nearest"
        return _core.pack(quantize_rows(weight, config, hessian, threads), config.activations), note
    except ValueError as error:
        raise type(error)(f"{name}: {error}") from error


def _pack_embedding(module: nn.Embedding, table: Array) -> PackedEmbedding:
    q = _core.quantize_affine(table, bits=8, symmetric=True, signed=True, granularity="per_channel")
    return PackedEmbedding(q.codes, q.scale.reshape(-1), module.padding_idx)


def _others(model: nn.Module) -> list[str]:
    """Names of layers with weight matrices that stay as they are: odd layers, stacked experts."""
    return [
        f"{name} ({type(module).__name__})"
        for name, module in model.named_modules()
        if not _is_linear(module)
        and type(module) is not nn.Embedding
        and (isinstance(module, nn.Linear | nn.Embedding) or _has_stack(module))
    ]


def _has_stack(module: nn.Module) -> bool:
    return type(module).__name__.endswith("Experts") and any(
        parameter.dim() == 3 for parameter in module.parameters(recurse=False)
    )


def replace_modules(
    model: nn.Module,
    config: Config,
    hessians: Mapping[str, _core.Hessian],
    threads: int,
    strict: bool,
    progress: Callback,
    own: Mapping[str, Config] | None = None,
) -> list[dict[str, Any]]:
    """Replaces in place; returns the rows of the report.

    Layers that share a weight share its packed form.

    Args:
        own: recipes of single linear layers, by name.

    Raises:
        ValueError: a weight is not finite; with ``strict``, a layer cannot be quantized as asked.
    """
    kept = _others(model)
    if strict and kept:
        raise Unsupported(f"strict: these layers stay float32: {', '.join(kept)}")
    rows: list[dict[str, Any]] = []
    shared: dict[tuple[int, str], PackedMatrix | PackedEmbedding] = {}
    todo = targets(model)
    # Before any weight is freed: an id may be given out again after that.
    keys = {name: (id(module.weight), type(module).__name__) for name, module in todo.items()}
    for index, name in enumerate(list(todo)):
        module: Any = todo.pop(name)
        progress(index, index + len(todo) + 1, name)
        key = keys[name]
        started = time.perf_counter()
        if type(module) is nn.Embedding:
            if config.embedding_bits != 8:
                continue
            table = module.weight.detach().to(torch.float32).numpy()
            if key not in shared:
                shared[key] = _pack_embedding(module, table)
            fresh: Any = shared[key]
            put_module(model, name, fresh)
            rows.append(
                _row(
                    name,
                    "i8 rows",
                    table,
                    fresh.dequantize().numpy(),
                    fresh.nbytes,
                    time.perf_counter() - started,
                    "",
                )
            )
            continue
        weight, note = linear_weight(module), ""
        recipe = (own or {}).get(name, config)
        if key not in shared:
            shared[key], note = _pack_linear(name, weight, recipe, hessians.get(name), threads)
            if strict and note:
                raise Unsupported(f"strict: {name}: {note}")
        packed: Any = shared[key]
        put_module(model, name, PackedLinear(packed, module.bias, threads))
        seconds = time.perf_counter() - started
        rows.append(
            _row(name, scheme_label(recipe), weight, packed.unpack(), packed.nbytes, seconds, note)
        )
    rows.extend(
        {"name": entry, "scheme": "float32", "note": "kept float32: not a plain layer"}
        for entry in kept
    )
    return rows
