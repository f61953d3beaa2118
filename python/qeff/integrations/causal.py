"""Causal language models without a native form: loaded by transformers, compiled, loaded again."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import nn

from .._core import FormatError, InvalidArgument, Unsupported
from ..causal_fallback import check_session_options, note_batch
from ..causal_native import CausalRequest, model_files, why_no_native_form
from ..causal_options import check_sizes
from ..causal_text import LanguageTokenizer
from ..config import AffineConfig, Config, NoQuantization
from ..progress import Callback, progress_bar
from ..resolve import ModelSource
from ..session import artifact_files
from .causal_runner import TransformersRunner
from .module_artifact import load_module, save_module
from .replace import collect_hessians, replace_modules

__all__ = ["check_loadable", "compile_through_transformers", "load_causal"]

_KIND = "transformers_causal_lm"


def check_loadable(directory: Path) -> None:
    """Raises ValueError: this transformers has no causal language model for the config.json."""
    try:
        config = transformers.AutoConfig.from_pretrained(str(directory))
    except (ValueError, KeyError, OSError) as error:
        raise Unsupported(f"{directory}: transformers cannot load it: {error}") from error
    if type(config) not in transformers.MODEL_FOR_CAUSAL_LM_MAPPING:
        raise Unsupported(
            f"{directory}: transformers {transformers.__version__} has no causal language model of "
            f'type "{config.model_type}"'
        )


def _load_float(directory: Path) -> nn.Module:
    """The float32 model of a directory, whole."""
    try:
        loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
            str(directory), output_loading_info=True
        )
    except (ValueError, KeyError, OSError, RuntimeError) as error:
        raise Unsupported(f"{directory}: transformers cannot load it: {error}") from error
    model, found = loaded
    missing = sorted(map(str, found["missing_keys"]))
    if missing:
        more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
        raise FormatError(f"{directory}: has no tensor {', '.join(missing[:10])}{more}")
    whole: nn.Module = model.float().eval()
    return whole


def _batches(tokens: Any, vocabulary: int) -> Iterator[dict[str, torch.Tensor]]:
    """Calibration sequences as inputs of the model, one at a time."""
    if tokens is None:
        return
    ids, offsets = tokens
    bad = np.flatnonzero((ids < 0) | (ids >= vocabulary))
    if bad.size:
        raise InvalidArgument(
            f"calibration: token id {int(ids[bad[0]])} is outside the vocabulary of {vocabulary}"
        )
    for begin, end in itertools.pairwise(offsets.tolist()):
        row = ids[begin:end].astype(np.int64)
        yield {"input_ids": torch.from_numpy(row)[None]}


def _head(model: Any, config: Config) -> dict[str, Config]:
    """The recipe of lm_head by its name: int8 rows like the embedding, as native models have it."""
    head = model.get_output_embeddings()
    names = [name for name, module in model.named_modules() if head is not None and module is head]
    if isinstance(config, NoQuantization):
        return {}
    plain = config.embedding_bits == 32
    return {name: NoQuantization() if plain else AffineConfig() for name in names}


def _shown(name: str, wanted: bool | Callback) -> AbstractContextManager[Callback]:
    """The progress callback a request asks for."""
    if not isinstance(wanted, bool):
        return nullcontext(wanted)
    return progress_bar(f"compile {name}", wanted)


def compile_through_transformers(
    source: ModelSource, request: CausalRequest, path: Path, tokens: Any
) -> list[Any]:
    """A :data:`~qeff.causal_native.Compiler` for models that transformers runs.

    Raises:
        ValueError: transformers cannot load it, tensors are missing or not finite.
    """
    model: Any = _load_float(source.path)
    batches = _batches(tokens, model.get_input_embeddings().weight.shape[0])
    hessians = collect_hessians(model, batches, request.threads) if tokens is not None else {}
    with _shown(source.name, request.progress) as show:
        rows = replace_modules(
            model,
            request.config,
            hessians,
            request.threads,
            request.strict,
            show,
            _head(model, request.config),
        )
    facts = {
        "kind": _KIND,
        "runs": f"through transformers: {why_no_native_form(source)}",
        "quantization": request.config.to_dict(),
    }
    save_module(model, path, model_files(source), facts)
    return rows


def load_causal(
    path: Path,
    threads: int,
    *,
    ctx_len: int | None = None,
    batch_size: int | None = None,
    kv_cache: str = "bf16",
    prefill_seq_len: int | None = None,
) -> TransformersRunner:
    """A compiled model from its artifact.

    Raises:
        ValueError: see :func:`load_module`; an option that only a native session has.
    """
    check_sizes({"ctx_len": ctx_len, "batch_size": batch_size, "prefill_seq_len": prefill_seq_len})
    check_session_options(kv_cache, prefill_seq_len)
    note_batch(batch_size)
    model, metadata = load_module(path, threads)
    tokenizer = LanguageTokenizer(artifact_files(path), str(path))
    return TransformersRunner(model, path, metadata, tokenizer, ctx_len)
