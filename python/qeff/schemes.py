"""Scheme names, and the recipe each stands for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ._core import InvalidArgument
from .config import (
    AffineConfig,
    AutoRoundConfig,
    AWQConfig,
    CodebookConfig,
    Config,
    FP8Config,
    GPTQConfig,
    NoQuantization,
    closest,
)

__all__ = ["Quantization", "resolve_config", "scheme_label", "scheme_names"]

Quantization = str | Config | Mapping[str, Any] | None
"""What may be given as ``quantization=``."""

_SCHEMES: dict[str, Callable[[], Config]] = {
    "int8": AffineConfig,
    "int4": lambda: AffineConfig(bits=4, granularity="per_group", symmetric=False),
    "awq": AWQConfig,
    "gptq": GPTQConfig,
    "autoround": AutoRoundConfig,
    "fp8": FP8Config,
    "fp8_e5m2": lambda: FP8Config(format="e5m2"),
    "nf4": CodebookConfig,
    "fp4": lambda: CodebookConfig(codebook="fp4"),
    "none": NoQuantization,
}


def scheme_names() -> list[str]:
    """The names :func:`resolve_config` knows."""
    return list(_SCHEMES)


def resolve_config(quantization: Quantization) -> Config:
    """The recipe a ``quantization`` argument means.

    Args:
        quantization: scheme name, recipe, ``to_dict()`` of one, or None for float32.

    Raises:
        ValueError: unknown scheme (with the closest name).
        TypeError: something else than these.
    """
    if quantization is None:
        return NoQuantization()
    if isinstance(quantization, Config):
        return quantization
    if isinstance(quantization, Mapping):
        return Config.from_dict(quantization)
    if isinstance(quantization, str):
        make = _SCHEMES.get(quantization.lower().replace("-", "_"))
        if make is None:
            names = scheme_names()
            raise InvalidArgument(
                f'unknown quantization scheme "{quantization}"{closest(quantization, names)}; '
                f"known: {', '.join(names)}"
            )
        return make()
    raise TypeError(
        f"quantization must be a scheme name, a config or None, not {type(quantization).__name__}"
    )


_LANGUAGE_MODEL_SCHEMES: dict[str, Callable[[], Config]] = {
    "int8": lambda: AffineConfig(bits=8, granularity="per_group", group_size=64),
    "int4": lambda: AffineConfig(
        bits=4, granularity="per_group", group_size=64, symmetric=False, activations="int8"
    ),
    "awq": lambda: AWQConfig(group_size=64, activations="int8"),
    "gptq": lambda: GPTQConfig(group_size=64, activations="int8"),
    "autoround": lambda: AutoRoundConfig(group_size=64, activations="int8"),
}


def resolve_language_model_config(quantization: Quantization) -> Config:
    """As :func:`resolve_config`, with what suits language models behind the names: groups of 64, whose
    int8 activations have a scale of their own. Decoding is then bound by reading the weights."""
    if isinstance(quantization, str):
        make = _LANGUAGE_MODEL_SCHEMES.get(quantization.lower().replace("-", "_"))
        if make is not None:
            return make()
    return resolve_config(quantization)


def scheme_label(config: Config) -> str:
    """A short name of a recipe for file names and tables, e.g. ``gptq4-g128``."""
    if isinstance(config, NoQuantization):
        return "float32"
    if isinstance(config, FP8Config):
        return f"fp8-{config.format}"
    if (target := getattr(config, "target_bits", None)) is not None:
        return f"{config.method}-{target:g}bits"
    if isinstance(config, CodebookConfig):
        return f"{config.codebook}-g{config.group_size}"
    if isinstance(config, AffineConfig):
        return f"int{config.bits}" + (
            f"-g{config.group_size}" if config.granularity == "per_group" else ""
        )
    if isinstance(config, GPTQConfig | AWQConfig):
        return f"{config.method}{config.bits}-g{config.group_size}"
    return config.method
