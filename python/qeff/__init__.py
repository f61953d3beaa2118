"""Quantization and quantized inference on CPUs.

    >>> import qeff
    >>> model = qeff.QEFFAutoModel.from_pretrained("sentence-transformers/all-MiniLM-L6-v2")
    >>> path = model.compile(quantization="int8")            # doctest: +SKIP
    >>> model.encode(["a sentence"]).shape                   # doctest: +SKIP
    (1, 384)

Importing this package imports neither torch nor transformers; names are loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_MODULE_OF = {
    "AWQConfig": "config",
    "AffineConfig": "config",
    "CodebookConfig": "config",
    "FP8Config": "config",
    "AutoRoundConfig": "config",
    "GPTQConfig": "config",
    "AutoTokenizer": "tokenization",
    "QEFFAutoModel": "auto",
    "QEFFAutoModelForCausalLM": "causal",
    "Session": "session",
    "load": "session",
    "Report": "report",
    "cpu_info": "cpu",
    "roof": "cpu",
    "matmul": "matrix",
    "pack": "matrix",
    "quantize": "matrix",
    "PackedMatrix": "_core",
    "QuantizedMatrix": "_core",
    "FormatError": "_core",
    "InvalidArgument": "_core",
    "IoError": "_core",
    "QeffError": "_core",
    "Unsupported": "_core",
    "__version__": "_core",
}

__all__ = [  # noqa: RUF022 - in the order of the documentation
    "quantize",
    "pack",
    "matmul",
    "cpu_info",
    "roof",
    "load",
    "Session",
    "QEFFAutoModel",
    "QEFFAutoModelForCausalLM",
    "AutoTokenizer",
    "AffineConfig",
    "AutoRoundConfig",
    "GPTQConfig",
    "AWQConfig",
    "FP8Config",
    "CodebookConfig",
    "Report",
    "QuantizedMatrix",
    "PackedMatrix",
    "QeffError",
    "InvalidArgument",
    "Unsupported",
    "FormatError",
    "IoError",
    "__version__",
]


if TYPE_CHECKING:
    from ._core import (
        FormatError,
        InvalidArgument,
        IoError,
        PackedMatrix,
        QeffError,
        QuantizedMatrix,
        Unsupported,
        __version__,
    )
    from .auto import QEFFAutoModel
    from .causal import QEFFAutoModelForCausalLM
    from .config import (
        AffineConfig,
        AutoRoundConfig,
        AWQConfig,
        CodebookConfig,
        FP8Config,
        GPTQConfig,
    )
    from .cpu import cpu_info, roof
    from .matrix import matmul, pack, quantize
    from .report import Report
    from .session import Session, load
    from .tokenization import AutoTokenizer


def __getattr__(name: str) -> Any:
    """Loads the module of a public name on first use."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'qeff' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_MODULE_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
