"""Quantization recipes, with the parameter names of the field.

Each is a frozen dataclass that is checked when it is made. A scheme name (``"int8"``, ``"awq"``, …)
stands for a recipe with its defaults: ``schemes.py``.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ._core import InvalidArgument

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "AWQConfig",
    "AffineConfig",
    "AutoRoundConfig",
    "CodebookConfig",
    "Config",
    "FP8Config",
    "GPTQConfig",
    "NoQuantization",
]

_ACTIVATIONS = (None, "int8", "bf16")


def closest(name: str, names: list[str]) -> str:
    """`` (did you mean "x"?)`` for the name nearest to ``name``, or an empty string."""
    match = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    return f' (did you mean "{match[0]}"?)' if match else ""


@dataclass(frozen=True, kw_only=True)
class Config:
    """What all recipes share.

    Attributes:
        activations: ``"int8"``, ``"bf16"`` or None for the best of the weight format: what inputs
            are turned into before the products.
        embedding_bits: 8 (int8 rows; of language models in groups of 64, ``lm_head`` included) or 32
            (float32 rows) for embedding tables.
        propagate: calibration inputs of a layer come from the quantized layers before it.
    """

    activations: str | None = None
    embedding_bits: int = 8
    propagate: bool = True

    method: ClassVar[str] = ""
    calibrates: ClassVar[bool] = False

    @property
    def needs_calibration(self) -> bool:
        """Whether quantizing needs to see inputs."""
        return self.calibrates or getattr(self, "target_bits", None) is not None

    def __post_init__(self) -> None:
        self._one_of("activations", _ACTIVATIONS)
        self._one_of("embedding_bits", (8, 32))
        self._flags("propagate")
        self._check()

    def _check(self) -> None:
        """Checks the fields of the recipe itself."""

    def _fail(self, name: str, must: str) -> None:
        raise InvalidArgument(
            f"{type(self).__name__}: {name}={getattr(self, name)!r} must be {must}"
        )

    def _one_of(self, name: str, allowed: tuple[Any, ...]) -> None:
        if getattr(self, name) not in allowed:
            self._fail(name, "one of " + ", ".join(map(repr, allowed)))

    def _flags(self, *names: str) -> None:
        for name in names:
            if not isinstance(getattr(self, name), bool):
                self._fail(name, "True or False")

    def _integer(self, name: str, low: int, high: int) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self._fail(name, f"a whole number in {low}..{high}")

    def _number(self, name: str, low: float, high: float) -> None:
        value = getattr(self, name)
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not low <= value <= high
        ):
            self._fail(name, f"a number in {low}..{high}")

    def _target(self) -> None:
        if getattr(self, "target_bits", None) is not None:
            self._number("target_bits", 4, 9)

    def _group(self, name: str = "group_size") -> None:
        if getattr(self, name) != -1:
            try:
                self._integer(name, 1, 1 << 30)
            except InvalidArgument:
                self._fail(name, "a whole number of columns, or -1 for a whole row")

    def to_dict(self) -> dict[str, Any]:
        """The recipe as plain values; :meth:`from_dict` is the way back."""
        return {"method": self.method, **dataclasses.asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """A recipe from plain values.

        On :class:`Config` itself, ``method`` chooses the recipe.

        Raises:
            ValueError: unknown method or parameter (with the closest name), or a bad value.
        """
        fields = dict(values)
        method = fields.pop("method", cls.method)
        target: Any = cls if cls.method else _RECIPES.get(method)
        if target is None or method != target.method:
            raise InvalidArgument(f"unknown method {method!r}; known: {', '.join(_RECIPES)}")
        known = [f.name for f in dataclasses.fields(target)]
        for name in fields:
            if name not in known:
                raise InvalidArgument(
                    f"{target.__name__}: unknown parameter {name!r}{closest(name, known)}"
                )
        return target(**fields)

    def native(self) -> dict[str, Any]:
        """The recipe in the words of ``include/qeff/nn/quantization_config.hpp``."""
        target = getattr(self, "target_bits", None)
        return {
            "method": self.method,
            "activations": self.activations,
            "embedding_bits": self.embedding_bits,
            "propagate": self.propagate,
            **self._native(),
            **({} if target is None else {"target_bits": float(target)}),
        }

    def _native(self) -> dict[str, Any]:
        """What the recipe of one method adds, in the words of C++. Only those recipes are ever made."""
        raise NotImplementedError


def _rows(group_size: int) -> int:
    """Group size of C++, where 0 is a whole row."""
    return max(group_size, 0)


@dataclass(frozen=True, kw_only=True)
class NoQuantization(Config):
    """Weights stay float32: the compiled runtime, without quantization (scheme None)."""

    embedding_bits: int = 32
    method: ClassVar[str] = "none"

    def _native(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True, kw_only=True)
class AffineConfig(Config):
    """Round to nearest on a uniform grid: ``w ≈ scale * (code - zero_point)``.

    Attributes:
        bits: 2..8.
        granularity: ``"per_tensor"``, ``"per_channel"`` (a scale for each row) or ``"per_group"``.
        symmetric: no zero point.
        group_size: columns that share a scale; only with ``"per_group"``.
        range: how a range is chosen: ``"minmax"``, ``"percentile"`` or ``"mse"`` (search).
        percentile: share of the values inside the range, with ``"percentile"`` only.
        signed: codes in two's complement; None: if symmetric. Only for :func:`qeff.quantize`.
        target_bits: see :class:`GPTQConfig`.
    """

    bits: int = 8
    granularity: str = "per_channel"
    symmetric: bool = True
    group_size: int = 128
    range: str = "minmax"
    percentile: float = 99.9
    signed: bool | None = None
    target_bits: float | None = None
    method: ClassVar[str] = "affine"

    def _check(self) -> None:
        self._integer("bits", 2, 8)
        self._one_of("granularity", ("per_tensor", "per_channel", "per_group"))
        self._flags("symmetric")
        self._group()
        self._one_of("range", ("minmax", "percentile", "mse"))
        self._number("percentile", 50.1, 100.0)
        self._one_of("signed", (None, True, False))
        self._target()
        if self.target_bits is not None and self.granularity == "per_tensor":
            self._fail("granularity", "per_channel or per_group: target_bits chooses groups")

    @property
    def columns_per_scale(self) -> int:
        """Group size of C++: 0 is a whole row."""
        return _rows(self.group_size) if self.granularity == "per_group" else 0

    def _native(self) -> dict[str, Any]:
        return {
            "bits": self.bits,
            "group_size": self.columns_per_scale,
            "per_tensor": self.granularity == "per_tensor",
            "symmetric": self.symmetric,
            "range": self.range,
            "percentile": float(self.percentile),
        }


@dataclass(frozen=True, kw_only=True)
class GPTQConfig(Config):
    """GPTQ: columns not yet rounded make up for the error of those that are.

    Attributes:
        bits: 2..8.
        group_size: columns that share a scale, -1: whole row.
        sym: no zero point.
        desc_act: round columns in order of falling Hessian diagonal.
        act_group_aware: reorder within and between whole groups only (ignored with ``desc_act``).
        static_groups: scales from the original weights, before any rounding.
        damp_percent: share of the mean Hessian diagonal added to it; grows when needed.
        range_grid: candidates of the Hessian-weighted range search, 0: min-max.
        refine_sweeps: passes of descent on scales and codes after the rounding.
        error_feedback: of language models: the share of the errors of the layers before it that each linear
            takes back, 0..1; 0: none (plain GPTQ). Needs ``propagate``.
        feedback_tokens: of so many calibration tokens, which then run through the float model too, those
            errors are measured; 0: of all, which takes a fifth more time and is more accurate.
        target_bits: of language models: bits and group size of each linear are chosen by what they cost
            the model, so that a weight takes this many bits on average, with all that is stored for it
            (scales, zero points); ``bits`` and ``group_size`` then say nothing. None: no such choice.
    """

    bits: int = 4
    group_size: int = 128
    sym: bool = False
    desc_act: bool = False
    act_group_aware: bool = True
    static_groups: bool = False
    damp_percent: float = 0.01
    range_grid: int = 40
    refine_sweeps: int = 2
    error_feedback: float = 0.5
    feedback_tokens: int = 16384
    target_bits: float | None = None
    method: ClassVar[str] = "gptq"
    calibrates: ClassVar[bool] = True

    def _check(self) -> None:
        self._integer("bits", 2, 8)
        self._group()
        self._flags("sym", "desc_act", "act_group_aware", "static_groups")
        self._number("damp_percent", 0.0, 1.0)
        self._integer("range_grid", 0, 1000)
        self._integer("refine_sweeps", 0, 100)
        self._number("error_feedback", 0.0, 1.0)
        self._integer("feedback_tokens", 0, 1 << 20)
        self._target()

    def _native(self) -> dict[str, Any]:
        return {
            "bits": self.bits,
            "group_size": _rows(self.group_size),
            "symmetric": self.sym,
            "error_feedback": float(self.error_feedback),
            "feedback_tokens": self.feedback_tokens,
            **self.solver(),
        }

    def solver(self) -> dict[str, Any]:
        """The fields of ``include/qeff/calib/gptq.hpp`` that no other recipe has."""
        return {
            "desc_act": self.desc_act,
            "group_aware": self.act_group_aware,
            "static_groups": self.static_groups,
            "damp_percent": float(self.damp_percent),
            "range_grid": self.range_grid,
            "refine_sweeps": self.refine_sweeps,
        }


@dataclass(frozen=True, kw_only=True)
class AutoRoundConfig(GPTQConfig):
    """Learned rounding of the blocks of a causal language model: GPTQ first, then signed-gradient steps on what
    is rounded up or down and on the range of each group, until the block's output is nearest to the float block's.

    Slower than GPTQ and more accurate, most of all at 3 bits.

    Attributes:
        iters: steps a block.
        batch_size: calibration sequences a step.
        lr: change of the rounding offsets (in steps of the grid) in the first step, falling to 0;
            None: 0.4 / iters.
        minmax_lr: likewise of the ends of the ranges (shares of them); None: ``lr`` / 10.
        momentum: share of the gradients of all steps before in the direction of one.
    """

    group_size: int = 64
    iters: int = 40
    batch_size: int = 8
    lr: float | None = None
    minmax_lr: float | None = None
    momentum: float = 0.0
    method: ClassVar[str] = "autoround"

    def _check(self) -> None:
        super()._check()
        self._integer("iters", 1, 100_000)
        self._integer("batch_size", 1, 1 << 20)
        for name in ("lr", "minmax_lr"):
            if getattr(self, name) is not None:
                self._number(name, 1e-9, 1.0)
        self._number("momentum", 0.0, 0.999)

    def solver(self) -> dict[str, Any]:
        """The fields of GPTQ and those of ``AutoRoundConfig`` in ``quantization_config.hpp``."""
        return {
            **super().solver(),
            "iters": self.iters,
            "batch_size": self.batch_size,
            "lr": float(self.lr or 0),
            "minmax_lr": float(self.minmax_lr or 0),
            "momentum": float(self.momentum),
        }


@dataclass(frozen=True, kw_only=True)
class AWQConfig(Config):
    """AWQ: scales up the input channels that matter before rounding, then searches the clipping.

    Attributes:
        bits: 2..8.
        group_size: columns that share a scale, -1: whole row.
        zero_point: asymmetric grid.
        n_grid: exponents tried in the scale search, 0: no scales.
        duo_scaling: scales from activations and weights, not activations alone.
        apply_clip: search the clipping of each group.
        clip_grid: steps of that search, down to ``max_shrink`` of the range.
        error_feedback, feedback_tokens, target_bits: see :class:`GPTQConfig`.
    """

    bits: int = 4
    group_size: int = 128
    zero_point: bool = True
    n_grid: int = 20
    duo_scaling: bool = True
    apply_clip: bool = True
    clip_grid: int = 20
    max_shrink: float = 0.5
    error_feedback: float = 0.5
    feedback_tokens: int = 16384
    target_bits: float | None = None
    method: ClassVar[str] = "awq"
    calibrates: ClassVar[bool] = True

    def _check(self) -> None:
        self._integer("bits", 2, 8)
        self._group()
        self._flags("zero_point", "duo_scaling", "apply_clip")
        self._integer("n_grid", 0, 1000)
        self._integer("clip_grid", 0, 1000)
        self._number("max_shrink", 0.0, 1.0)
        self._number("error_feedback", 0.0, 1.0)
        self._integer("feedback_tokens", 0, 1 << 20)
        self._target()

    def _native(self) -> dict[str, Any]:
        return {
            "bits": self.bits,
            "group_size": _rows(self.group_size),
            "symmetric": not self.zero_point,
            "error_feedback": float(self.error_feedback),
            "feedback_tokens": self.feedback_tokens,
            **self.solver(),
        }

    def solver(self) -> dict[str, Any]:
        """The fields of ``include/qeff/calib/awq.hpp`` that no other recipe has."""
        return {
            "scale_grid": self.n_grid,
            "duo_scaling": self.duo_scaling,
            "clip": self.apply_clip,
            "clip_grid": self.clip_grid,
            "max_shrink": float(self.max_shrink),
        }


@dataclass(frozen=True, kw_only=True)
class FP8Config(Config):
    """8-bit floating point weights.

    Attributes:
        format: ``"e4m3"`` (more precise) or ``"e5m2"`` (wider range).
        granularity: ``"per_tensor"``, ``"per_channel"`` or ``"per_block"`` (128 x 128).
    """

    format: str = "e4m3"
    granularity: str = "per_channel"
    method: ClassVar[str] = "fp8"

    def _check(self) -> None:
        self._one_of("format", ("e4m3", "e5m2"))
        self._one_of("granularity", ("per_tensor", "per_channel", "per_block"))

    def _native(self) -> dict[str, Any]:
        return {
            "fp8_format": self.format,
            "per_tensor": self.granularity == "per_tensor",
            "group_size": 128 if self.granularity == "per_block" else 0,
        }


@dataclass(frozen=True, kw_only=True)
class CodebookConfig(Config):
    """4-bit indices into 16 fixed values, scaled by the largest magnitude of each group.

    Attributes:
        codebook: ``"nf4"`` or ``"fp4"``.
        group_size: columns that share a scale, -1: whole row.
        double_quant: scales are stored as 8-bit codes themselves.
    """

    codebook: str = "nf4"
    group_size: int = 64
    double_quant: bool = False
    method: ClassVar[str] = "codebook"

    def _check(self) -> None:
        self._one_of("codebook", ("nf4", "fp4"))
        self._group()
        self._flags("double_quant")

    def _native(self) -> dict[str, Any]:
        return {
            "codebook": self.codebook,
            "group_size": _rows(self.group_size),
            "double_quant": self.double_quant,
        }


_RECIPES: dict[str, type[Config]] = {
    recipe.method: recipe
    for recipe in (
        NoQuantization,
        AffineConfig,
        GPTQConfig,
        AutoRoundConfig,
        AWQConfig,
        FP8Config,
        CodebookConfig,
    )
}
