"""Options of text generation, by the names of transformers and of qeff, checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ._core import InvalidArgument, Unsupported
from .config import closest

__all__ = ["check_compile_options", "check_sizes", "generation_options", "stop_strings"]

_WHOLE = {
    "max_new_tokens": 1,
    "num_return_sequences": 1,
    "prefill_chunk": 1,
    "prompt_lookup_num_tokens": 0,
    "prompt_lookup_ngram": 1,
    "num_assistant_tokens": 1,
    "top_k": 0,
    "top_logprobs": 0,
    "seed": 0,
}
_REAL = (
    "temperature",
    "top_p",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
)
_ALIASES = {"max_matching_ngram_size": "prompt_lookup_ngram", "generation_len": "max_new_tokens"}
_KNOWN = (*_WHOLE, *_REAL, *_ALIASES, "do_sample", "eos_token_id", "logprobs", "seeds", "stop")


def _whole(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be a whole number, not {value!r}")
    number = int(value)
    if not least <= number < 2**64:
        raise InvalidArgument(f"{name} must be a whole number from {least} on, not {number}")
    return number


def check_sizes(sizes: Mapping[str, Any]) -> None:
    """Raises ValueError or TypeError: one of these is neither None nor a whole number from 1 on."""
    for name, value in sizes.items():
        if value is not None:
            _whole(name, value, 1)


def _real(name: str, value: Any) -> float:
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        raise TypeError(f"{name} must be a number, not {value!r}")
    number = float(value)
    if not math.isfinite(number):
        raise InvalidArgument(f"{name} must be a finite number, not {number}")
    return number


def stop_strings(stop: Any) -> list[str]:
    """The argument ``stop`` as a list."""
    strings = [stop] if isinstance(stop, str) else list(stop or ())
    for string in strings:
        if not isinstance(string, str) or not string:
            raise InvalidArgument(f"stop must be texts of at least one character, not {string!r}")
    return strings


def _eos_ids(value: Any) -> list[int]:
    values = list(value) if isinstance(value, Sequence) else [value]
    return [_whole("eos_token_id", v, 0) for v in values]


def _temperature(options: dict[str, Any], do_sample: Any) -> None:
    """transformers says with do_sample what a temperature of 0 says here."""
    if do_sample is None:
        return
    if not do_sample:
        options["temperature"] = 0.0
    elif options.setdefault("temperature", 1.0) == 0:
        raise InvalidArgument("do_sample=True needs a temperature above 0, not 0")


def generation_options(given: Mapping[str, Any], eos_ids: Sequence[int]) -> dict[str, Any]:
    """What the C++ generator takes.

    Args:
        given: name → value; None: as if not given. ``stop`` is left out.
        eos_ids: of the model; ``eos_token_id`` replaces them.

    Raises:
        TypeError: an unknown name or a wrong type. ValueError: a value out of range.
    """
    for name in given:
        if name not in _KNOWN:
            raise TypeError(f"generate: unknown option {name!r}{closest(name, list(_KNOWN))}")
    wanted = {_ALIASES.get(name, name): v for name, v in given.items() if v is not None}
    options: dict[str, Any] = {"eos_ids": list(eos_ids)}
    for name, least in _WHOLE.items():
        if name in wanted:
            options[name] = _whole(name, wanted[name], least)
    for name in _REAL:
        if name in wanted:
            options[name] = _real(name, wanted[name])
    _temperature(options, wanted.get("do_sample"))
    if "eos_token_id" in wanted:
        options["eos_ids"] = _eos_ids(wanted["eos_token_id"])
    if "seeds" in wanted:
        options["seeds"] = [_whole("seeds", s, 0) for s in wanted["seeds"]]
    options["logprobs"] = bool(wanted.get("logprobs", False))
    return options


def _falsy(value: Any) -> bool:
    return value is None or value is False or value == 0


_KV_CACHES = ("bf16", "int8", "int4", "f32")
# Of QEfficient's compile, without any effect here, whatever the value.
_IGNORED = (
    "aic_enable_depth_first",
    "aic_hw_version",
    "aic_num_of_activations",
    "comp_ctx_lengths_decode",
    "comp_ctx_lengths_prefill",
    "kv_cache_batch_size",
    "mos",
    "offload_pt_weights",
    "onnx_path",
    "specializations",
)
# Refused unless they are off: what to do instead.
_REFUSED = {
    "mxfp6_matmul": 'MXFP6 is a format of another device: use quantization="fp8" or "awq"',
    "num_speculative_tokens": "speculate with generate(prompt_lookup_num_tokens=…) or "
    "generate(assistant_model=…)",
    "prefill_only": "prefill and decode are one model here",
    "enable_qnn": "QNN compiles for another device",
    "qnn_config": "QNN compiles for another device",
    "convert_to_fp16": "choose with quantization=; None keeps floats",
    "node_precision_info": "precision is chosen with quantization=",
    "device_group": "there is no device to choose: use num_cores",
}


def check_compile_options(options: Mapping[str, Any], own: list[str], kv_cache: str) -> str:
    """Checks what ``compile`` was given beyond its own parameters.

    Args:
        options: name → value.
        own: names of the parameters of ``compile``, for the closest match.
        kv_cache: the parameter of that name.

    Returns:
        the format of the cache: ``mxint8_kv_cache=True`` asks for int8.

    Raises:
        TypeError: an unknown name. ValueError: an option that cannot be honoured here.
    """
    known = [*own, *_IGNORED, *_REFUSED, "mxint8_kv_cache", "num_devices"]
    for name, value in options.items():
        if name not in known:
            raise TypeError(f"compile: unknown option {name!r}{closest(name, known)}")
        if name in _REFUSED and not _falsy(value):
            raise Unsupported(
                f"compile: {name}={value!r} is not possible on a CPU: {_REFUSED[name]}"
            )
    if options.get("num_devices") not in (None, 1):
        raise Unsupported("compile: num_devices: this is one machine's CPU: use num_cores")
    if kv_cache not in _KV_CACHES:
        raise InvalidArgument(f"kv_cache must be one of {', '.join(_KV_CACHES)}, not {kv_cache!r}")
    return "int8" if options.get("mxint8_kv_cache") else kv_cache
