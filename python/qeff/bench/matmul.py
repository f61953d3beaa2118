"""Matrix products to time: cases, their tensors, and how qeff does them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import _core
from .._core import InvalidArgument
from ..config import Config
from ..cpu import roof
from ..matrix import matmul, pack, quantize
from .contenders import Contender, Facts
from .machine import rotation_bytes
from .shapes import parse_sizes

__all__ = ["CASES", "CONTENDERS", "FORMATS", "TOLERANCES", "MatmulCase", "parse_shapes", "prepared"]

FORMATS = ("int8", "int4-g128", "int4-g32", "nf4", "fp8", "bf16")

TOLERANCES = {"f32": 1e-4, "bf16": 0.01, "int8": 0.05, "fp8": 0.06, "int4": 0.2}
"""Greatest relative error of a product of normally distributed numbers, by the coarsest step of the way."""

_CONFIGS: dict[str, dict[str, Any]] = {
    "int8": {"method": "affine", "bits": 8},
    "int4-g128": {"method": "affine", "bits": 4, "granularity": "per_group", "symmetric": False},
    "int4-g32": {
        "method": "affine",
        "bits": 4,
        "granularity": "per_group",
        "symmetric": False,
        "group_size": 32,
    },
    "nf4": {"method": "codebook", "codebook": "nf4", "group_size": 64},
    "fp8": {"method": "fp8", "format": "e4m3", "granularity": "per_channel"},
}
_PRECISIONS = {"int8": "int8", "fp8": "fp8", "bf16": "bf16"}


@dataclass(frozen=True)
class MatmulCase:
    """x (m, k) times the transpose of w (n, k), both float32, the result float32.

    Attributes:
        out_of_cache: each product reads other weights than those before, from memory.
    """

    format: str
    m: int
    n: int
    k: int
    out_of_cache: bool = False

    @property
    def name(self) -> str:
        """As tables show it."""
        place = ", out of cache" if self.out_of_cache else ""
        return f"{self.format} {self.m}x{self.n}x{self.k}{place}"

    @property
    def operations(self) -> int:
        """Multiplications and additions."""
        return 2 * self.m * self.n * self.k

    def to_dict(self) -> Facts:
        """What providers are told."""
        return {
            "name": self.name,
            "format": self.format,
            "m": self.m,
            "n": self.n,
            "k": self.k,
            "rotate_bytes": rotation_bytes() if self.out_of_cache else 0,
        }


def _both(weight_format: str, n: int, k: int) -> list[MatmulCase]:
    return [MatmulCase(weight_format, 1, n, k, away) for away in (False, True)]


CASES: tuple[MatmulCase, ...] = (
    *_both("int8", 4096, 4096),
    MatmulCase("int8", 256, 4096, 4096),
    MatmulCase("int8", 1024, 4096, 4096),
    MatmulCase("int8", 2048, 1536, 384),
    MatmulCase("int8", 2048, 384, 1536),
    MatmulCase("int8", 2048, 384, 384),
    *_both("int4-g128", 4096, 4096),
    *_both("int4-g128", 11008, 4096),
    *(MatmulCase("int4-g128", m, 4096, 4096) for m in (16, 64, 256, 1024)),
    *_both("int4-g32", 4096, 4096),
    MatmulCase("int4-g32", 256, 4096, 4096),
    *_both("nf4", 4096, 4096),
    MatmulCase("nf4", 256, 4096, 4096),
    *_both("fp8", 4096, 4096),
    MatmulCase("fp8", 256, 4096, 4096),
    MatmulCase("fp8", 1024, 4096, 4096),
    MatmulCase("bf16", 1024, 4096, 4096),
)


def parse_shapes(shapes: str | None, formats: str | None) -> list[MatmulCase]:
    """Cases of a list like ``1x4096x4096,256x4096x4096`` (M x N x K); None: the built-in ones.

    Raises:
        ValueError: not such a list, or an unknown format.
    """
    chosen = FORMATS if formats is None else tuple(part.strip() for part in formats.split(","))
    for one in chosen:
        if one not in FORMATS:
            raise InvalidArgument(f"--formats: {one} is not one of {', '.join(FORMATS)}")
    if shapes is None:
        return [case for case in CASES if case.format in chosen]
    sizes = parse_sizes(shapes, 3, "MxNxK, as in 1x4096x4096")
    return [MatmulCase(one, m, n, k) for one in chosen for m, n, k in sizes]


def _write_tensors(case: MatmulCase, folder: Path) -> None:
    """The tensors all contenders get, the same in every run, and the right result."""
    generator = np.random.default_rng([case.m, case.n, case.k])
    x = generator.standard_normal((case.m, case.k), dtype=np.float32)
    w = generator.standard_normal((case.n, case.k), dtype=np.float32) * np.float32(0.02)
    for name, tensor in (("x", x), ("w", w), ("reference", x @ w.T)):
        np.save(folder / f"{name}.npy", tensor)


def prepared(
    cases: Sequence[MatmulCase], threads: int, with_roof: bool = False
) -> Iterator[tuple[str, Facts]]:
    """Each case with its tensors in a folder, which goes when the next one comes."""
    for case in cases:
        with tempfile.TemporaryDirectory(prefix="qeff-bench-") as folder:
            _write_tensors(case, Path(folder))
            facts = {"folder": folder, "threads": threads, "roof": with_roof}
            yield case.format, case.to_dict() | facts


def rotation_copies(rotate_bytes: int, weight_bytes: int) -> int:
    """How many weights are as large as the memory to go through."""
    return max(1, -(-rotate_bytes // weight_bytes))


def roof_seconds(case: Facts, packed: _core.PackedMatrix) -> float:
    """The least time of a product by the roof, which is measured on first use."""
    least = float(packed.plan(case["m"], False, case["threads"])["least_seconds"])
    if not case["rotate_bytes"]:
        return least
    memory = roof(case["threads"])["gb_per_s"]["memory"]
    rate = memory["one" if case["threads"] == 1 else "all"]
    return max(least, packed.nbytes / rate / 1e9)


def build_qeff(case: Facts, activations: str | None = None, weights: str | None = None) -> Any:
    """The provider of qeff; see ``worker.py``.

    Args:
        activations: as :func:`qeff.pack` takes them.
        weights: format of the weights if not that of the case.
    """
    folder = Path(case["folder"])
    x, w = np.load(folder / "x.npy"), np.load(folder / "w.npy")
    weight_format = weights or case["format"]

    if weight_format in _CONFIGS:
        quantized = quantize(w, Config.from_dict(_CONFIGS[weight_format]))

        def make() -> _core.PackedMatrix:
            return pack(quantized, activations)
    else:

        def make() -> _core.PackedMatrix:
            return _core.pack_float(w, weight_format)

    packed = [make()]
    copies = rotation_copies(case["rotate_bytes"], packed[0].nbytes)
    packed += [make() for _ in range(copies - 1)]
    turn = 0

    def run() -> Any:
        nonlocal turn
        turn = (turn + 1) % copies
        return matmul(x, packed[turn], num_cores=case["threads"])

    facts: Facts = {
        "weight_bytes": packed[0].nbytes,
        "kernel": packed[0].explain(),
        "copies": copies,
        "version": _core.__version__,
    }
    if case["roof"]:
        facts["roof_seconds"] = roof_seconds(case, packed[0])
    return run, facts


def _own(name: str, formats: tuple[str, ...], precision: str, **arguments: Any) -> Contender:
    return Contender(name, "qeff", __name__, "build_qeff", precision, arguments, formats)


_FOUR_BITS = ("int4-g128", "int4-g32", "nf4")
CONTENDERS: tuple[Contender, ...] = (
    *(_own("qeff", (one,), _PRECISIONS.get(one, "int4")) for one in FORMATS),
    _own("qeff, int8 activations", _FOUR_BITS, "int4", activations="int8"),
    _own("qeff int8", ("fp8",), "int8", weights="int8"),
)
