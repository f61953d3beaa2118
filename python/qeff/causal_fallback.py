"""Causal language models without a native form: which of them run through transformers, and how."""

from __future__ import annotations

import importlib.util
import json
import logging

from . import _core
from ._core import InvalidArgument, Unsupported
from .causal_native import names_language_model
from .config import AutoRoundConfig, Config
from .resolve import ModelSource

__all__ = ["check_recipe", "check_session_options", "check_source", "note", "note_batch"]

_log = logging.getLogger("qeff")


def check_source(source: ModelSource, reason: str) -> None:
    """Checks that a model can run through transformers.

    Args:
        reason: why it has no native form.

    Raises:
        ValueError: it cannot, for the reason and another one.
    """

    def refuse(why: str) -> None:
        raise Unsupported(f"{source.name}: {reason}; {why}")

    if source.path.is_file():
        refuse("and only a Hugging Face directory can run through transformers")
    text = (source.path / "config.json").read_text(encoding="utf-8")
    config = json.loads(text)
    if config.get("quantization_config"):
        raise Unsupported(f"{source.name}: {reason}")
    if config.get("architectures") and not names_language_model(config):
        named = ", ".join(map(str, config["architectures"]))
        refuse(f"and {named} is no causal language model")
    if not _core.why_not_native(text):
        refuse("and it is an encoder: use QEFFAutoModel")
    missing = [name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None]
    if missing:
        refuse(f"running it through transformers needs {' and '.join(missing)}")


def note(name: str, reason: str) -> None:
    """Says in the log how a model runs, and why."""
    _log.warning("qeff: %s: %s; running it through transformers and torch", name, reason)


def check_recipe(config: Config) -> None:
    """Raises ValueError: a recipe that needs the native form of a model."""
    if isinstance(config, AutoRoundConfig):
        raise Unsupported(
            "autoround learns the blocks of models with a native form: use gptq or awq here"
        )
    if getattr(config, "target_bits", None) is not None:
        raise Unsupported("target_bits needs a model with a native form: choose bits here")


def check_session_options(kv_cache: str, prefill_seq_len: int | None) -> None:
    """Raises ValueError: options that only a native session has."""
    if kv_cache not in ("bf16", "f32"):
        kind = Unsupported if kv_cache in ("int8", "int4") else InvalidArgument
        raise kind(
            f"kv_cache={kv_cache!r}: a model that runs through transformers keeps keys and values "
            "in float32"
        )
    if prefill_seq_len is not None:
        raise Unsupported(
            "prefill_seq_len: a model that runs through transformers reads a prompt at once"
        )


def note_batch(batch_size: int | None) -> None:
    """Says in the log that texts are not generated together."""
    if batch_size is not None and batch_size > 1:
        _log.warning(
            "qeff: batch_size=%d has no effect: through transformers texts are generated one "
            "after the other",
            batch_size,
        )
