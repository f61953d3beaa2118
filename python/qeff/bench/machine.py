"""Where it was measured, and how other libraries are held to an instruction set."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from .. import _core
from .._core import InvalidArgument
from ..cpu import cpu_info

__all__ = [
    "NOT_HELD",
    "describe_machine",
    "is_held",
    "last_level_cache",
    "rotation_bytes",
    "worker_environment",
]

_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_DEFAULT_CACHE = 32 << 20
_MOST_ROTATED = 1 << 30

# qeff's instruction set -> what oneDNN (torch, OpenVINO, CTranslate2), ATen and CTranslate2 call it.
_HELD = {
    "avx2": ("AVX2", "avx2", "AVX2"),
    "avx_vnni": ("AVX2_VNNI", "avx2", "AVX2"),
    "avx512_vnni": ("AVX512_CORE_VNNI", "avx512", "AVX512"),
    "avx512_bf16": ("AVX512_CORE_BF16", "avx512", "AVX512"),
    "amx": ("AVX512_CORE_AMX", "avx512", "AVX512"),
}
# Contenders, by how their names begin, that no switch holds to an instruction set.
NOT_HELD = {
    "ONNX Runtime": "has no switch: it uses all that the CPU has",
    "OpenVINO float32": "is a product of its own (MLAS), which uses all that the CPU has",
    "OpenVINO FP8 weights": "is that product, of decoded weights",
}


def _bytes_of(text: str) -> int:
    text = text.strip()
    return int(text.rstrip("KMG")) * _UNITS.get(text[-1:], 1)


def last_level_cache() -> int:
    """Bytes of the largest cache of the first core; 32 MiB if the system does not say."""
    sizes = []
    for path in _CACHES.glob("index*/size"):
        try:
            sizes.append(_bytes_of(path.read_text(encoding="ascii")))
        except (OSError, ValueError):  # a system that hides or words it otherwise
            continue
    return max(sizes, default=_DEFAULT_CACHE)


def rotation_bytes() -> int:
    """Weights to go through so that none is still cached: four last-level caches, 1 GiB at most."""
    return min(4 * last_level_cache(), _MOST_ROTATED)


def worker_environment(threads: int, isa: str | None) -> dict[str, str]:
    """Variables for the processes of contenders.

    Raises:
        ValueError: an instruction set that this CPU has not, or that nobody can be held to.
    """
    variables = {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if isa is None:
        return variables
    if isa not in _core.supported_isas():
        raise InvalidArgument(f"--isa {isa}: this CPU has {', '.join(_core.supported_isas())}")
    if isa not in _HELD:
        raise InvalidArgument(f"--isa {isa}: other libraries can be held to {', '.join(_HELD)}")
    onednn, aten, ctranslate2 = _HELD[isa]
    return variables | {
        "QEFF_MAX_ISA": isa,
        "ONEDNN_MAX_CPU_ISA": onednn,
        "ATEN_CPU_CAPABILITY": aten,
        "FBGEMM_ENABLE_INSTRUCTIONS": ctranslate2,
        "MKL_ENABLE_INSTRUCTIONS": ctranslate2,
        "CT2_FORCE_CPU_ISA": ctranslate2,
    }


def is_held(contender: str, isa: str | None) -> bool:
    """Whether a contender uses no more than ``isa``; anybody does if there is none."""
    return isa is None or not contender.startswith(tuple(NOT_HELD))


def describe_machine(threads: int, isa: str | None) -> dict[str, Any]:
    """The machine as the document shows it; nothing that says whose it is."""
    cpu = cpu_info()
    return {
        "cpu": cpu["model"],
        "isas": cpu["isa"],
        "isa": isa or cpu["active"],
        "cores": os.cpu_count(),
        "threads": threads,
        "last_level_cache": last_level_cache(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "held_to": isa,
        "not_held": NOT_HELD if isa else {},
    }
