"""Models without a native description: run by transformers, with packed layers.

The only place, with its neighbours in this folder, that imports torch and transformers.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import nn

from .. import _core, cache
from .._core import FormatError, InvalidArgument, Unsupported
from ..arrays import FloatArray, is_torch_tensor
from ..calibration import Calibration
from ..native import CompileRequest, model_defaults
from ..progress import progress_bar
from ..report import Report
from ..resolve import ModelSource
from ..schemes import scheme_label
from ..session import (
    Pooling,
    artifact_files,
    pooling_name,
    row_numbers,
    texts_of,
    unit_rows,
)
from ..tokenization import TextTokenizer, padded, read_tokenizer_files, text_tokenizer
from .module_artifact import load_module, save_module
from .modules import PackedEmbedding, PackedLinear
from .replace import collect_hessians, replace_modules

__all__ = ["ModuleRunner", "compile_module", "load_artifact", "load_float"]

_KIND = "transformers"
_MAX_TOKENS = 512
_CALIBRATION_TOKENS = 128


def load_float(directory: Path, **kwargs: Any) -> nn.Module:
    """The float32 model of a directory; of an encoder-decoder its encoder.

    Args:
        kwargs: for ``transformers.AutoModel.from_pretrained``.

    Raises:
        ValueError: transformers cannot load it.
    """
    try:
        config = transformers.AutoConfig.from_pretrained(str(directory))
        named = (getattr(config, "architectures", None) or [""])[0]
        # T5EncoderModel and its like say themselves that they have no decoder.
        kind = getattr(transformers, named, None) if named.endswith("EncoderModel") else None
        model = (kind or transformers.AutoModel).from_pretrained(str(directory), **kwargs)
    except (ValueError, KeyError, OSError) as error:
        raise Unsupported(f"{directory}: transformers cannot load it: {error}") from error
    if getattr(model.config, "is_encoder_decoder", False) and hasattr(model, "get_encoder"):
        model = model.get_encoder()
    return model.float().eval()


def explain_modules(
    model: nn.Module, rows: int | Sequence[int] | None, measure: bool
) -> list[dict[str, Any]]:
    """How each packed layer of a model runs; see :meth:`qeff.Session.explain`."""
    numbers = row_numbers(rows, measure)
    table: list[dict[str, Any]] = []
    for name, module in model.named_modules():
        if isinstance(module, PackedLinear):
            packed = module.packed
            row = {
                "name": name,
                "scheme": packed.format,
                "kernel": packed.explain(),
                "bytes": packed.nbytes,
            }
            plans = (
                [{}]
                if numbers is None
                else [packed.plan(m, measure, module.threads) for m in numbers]
            )
            table += [row | plan for plan in plans]
        elif isinstance(module, PackedEmbedding):
            table.append(
                {
                    "name": name,
                    "scheme": "i8 rows",
                    "kernel": "torch gather",
                    "bytes": module.nbytes,
                }
            )
    return table


class ModuleRunner:
    """A torch model with packed layers.

    Attributes:
        module: the torch model.
        path: its artifact.
    """

    def __init__(
        self,
        module: nn.Module,
        path: Path | None,
        files: Mapping[str, str],
        defaults: tuple[str, bool],
    ):
        self.module = module.eval()
        self.path = path
        self.pooling, self.normalize = defaults
        self._files = dict(files)
        self._tokenizer: TextTokenizer | None = None

    @property
    def metadata(self) -> dict[str, Any]:
        """What the artifact says of itself."""
        result: dict[str, Any] = json.loads(_core.Artifact.open(str(self.path), False).metadata)
        return result

    def explain(
        self, rows: int | Sequence[int] | None = None, measure: bool = False
    ) -> list[dict[str, Any]]:
        """How each packed layer runs; see :meth:`qeff.Session.explain`."""
        return explain_modules(self.module, rows, measure)

    def _states(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        with torch.no_grad():
            output = self.module(**inputs)
        for name in ("last_hidden_state", "logits"):
            if getattr(output, name, None) is not None:
                result: torch.Tensor = getattr(output, name)
                return result
        raise Unsupported(
            f"{type(self.module).__name__}: returns neither last_hidden_state nor logits"
        )

    def _pool(
        self, states: torch.Tensor, inputs: Mapping[str, torch.Tensor], pooling: Pooling
    ) -> Any:
        how = (
            self.pooling
            if pooling is None
            else pooling
            if callable(pooling)
            else pooling_name(pooling)
        )
        if how == "none":
            return states
        mask = inputs.get("attention_mask")
        if mask is None or mask.shape != states.shape[:2]:
            mask = torch.ones(states.shape[:2], dtype=torch.int64)
        if callable(how):
            return how(states, mask)
        if how == "cls":
            return states[torch.arange(len(states)), mask.argmax(dim=1)]
        weights = mask[..., None].to(states.dtype)
        if how == "max":
            return states.masked_fill(weights == 0, -torch.inf).amax(dim=1)
        return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-9)

    def generate(self, inputs: Any, pooling: Pooling = None) -> Any:
        """The model's states, or their pooling, in the kind of the inputs; see :class:`qeff.Session`."""
        if not hasattr(inputs, "keys"):
            raise TypeError(
                f"inputs must be a dict of the model's inputs, not {type(inputs).__name__}"
            )
        kinds = [is_torch_tensor(value) for value in inputs.values()]
        tensors = {
            name: value if is_torch_tensor(value) else torch.from_numpy(np.array(value))
            for name, value in inputs.items()
        }
        result = self._pool(self._states(tensors), tensors, pooling)
        return result if all(kinds) else result.numpy()

    def encode(
        self,
        sentences: str | Sequence[str],
        normalize: bool | None = None,
        pooling: Pooling = None,
        batch_size: int | None = None,
    ) -> FloatArray:
        """Embeddings of texts; see :meth:`qeff.Session.encode`."""
        texts = texts_of(sentences)
        how = self.pooling if pooling is None else pooling
        if how == "none":
            raise InvalidArgument(
                'encode: the model has no pooling; give pooling="mean", "cls" or "max"'
            )
        if self._tokenizer is None:
            self._tokenizer = text_tokenizer(self._files, str(self.path))
        parts = []
        size = batch_size or 32
        for begin in range(0, len(texts), size):
            ids = self._tokenizer.ids(texts[begin : begin + size], _MAX_TOKENS)
            parts.append(self.generate(padded(ids, max(map(len, ids))), how))
        result = np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)
        return unit_rows(result) if (self.normalize if normalize is None else normalize) else result


def _is_model_input(item: Any) -> bool:
    return hasattr(item, "keys")


def _batches(
    source: ModelSource | None, request: CompileRequest, model: nn.Module
) -> Iterator[dict[str, Any]]:
    """Calibration data as inputs of the model."""
    given = request.calibration
    if _is_model_input(given):
        given = [given]
    if isinstance(given, Sequence) and given and all(map(_is_model_input, given)):
        for item in given:
            yield {
                k: v if is_torch_tensor(v) else torch.from_numpy(np.array(v))
                for k, v in item.items()
            }
        return
    if "input_ids" not in inspect.signature(model.forward).parameters:
        raise InvalidArgument(
            f"{type(model).__name__} does not read text: give calibration= as a list of dicts of its inputs"
        )
    name = source.name if source else type(model).__name__
    calibration = Calibration.make(given, name)
    tokenizer = None
    if source is not None and calibration.texts is not None:
        tokenizer = text_tokenizer(read_tokenizer_files(source.path), name)
    tokens = calibration.packed(tokenizer, _CALIBRATION_TOKENS)
    for begin, end in zip(tokens.offsets[:-1], tokens.offsets[1:], strict=True):
        yield {
            "input_ids": torch.from_numpy(tokens.ids[int(begin) : int(end)].astype(np.int64))[None]
        }


def _digest(model: nn.Module) -> str:
    """A fingerprint of the weights in memory."""
    hasher = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        plain = tensor.detach().contiguous()
        hasher.update(f"{name}{tuple(plain.shape)}{plain.dtype}".encode())
        hasher.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    return hasher.hexdigest()


def _target(model: nn.Module, source: ModelSource | None, request: CompileRequest) -> Path:
    if request.out is not None:
        return request.out
    recipe = {"config": request.config.native(), "class": type(model).__qualname__}
    label = scheme_label(request.config)
    if source is not None:
        return cache.artifact_path(source.name, label, cache.fingerprint(source.path, recipe))
    text = json.dumps([_digest(model), recipe], sort_keys=True)
    return cache.artifact_path(
        type(model).__name__, label, hashlib.sha256(text.encode()).hexdigest()[:16]
    )


def compile_module(
    model: nn.Module, source: ModelSource | None, request: CompileRequest
) -> tuple[ModuleRunner, Report]:
    """Replaces the layers of ``model`` in place and writes the artifact.

    Raises:
        ValueError: see :func:`replace_modules`; calibration that does not fit the model.
    """
    path = _target(model, source, request)
    hessians: dict[str, _core.Hessian] = {}
    if request.config.needs_calibration:
        hessians = collect_hessians(model, _batches(source, request, model), request.threads)
    with progress_bar(f"compile {type(model).__name__}", request.progress) as show:
        rows = replace_modules(
            model, request.config, hessians, request.threads, request.strict, show
        )
    pooling, normalize = model_defaults(source.path) if source else ("none", request.normalize)
    files = read_tokenizer_files(source.path) if source else {}
    facts = {
        "kind": _KIND,
        "pooling": pooling,
        "normalize": normalize,
        "quantization": request.config.to_dict(),
    }
    save_module(model, path, files, facts)
    report = Report(
        rows,
        model=source.name if source else type(model).__name__,
        scheme=scheme_label(request.config),
        runtime="transformers",
        bytes=path.stat().st_size,
    )
    return ModuleRunner(model, path, files, (pooling, normalize)), report


def load_artifact(path: Path, threads: int) -> ModuleRunner:
    """A compiled model from its artifact. Raises ValueError: see :func:`load_module`."""
    model, metadata = load_module(path, threads)
    try:
        defaults = (pooling_name(metadata["pooling"]), bool(metadata["normalize"]))
    except (KeyError, TypeError) as error:
        raise FormatError(f"{path}: does not describe a model: {error}") from error
    return ModuleRunner(model, path, artifact_files(path), defaults)
