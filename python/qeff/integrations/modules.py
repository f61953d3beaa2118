"""torch modules that hold packed weights instead of float ones, for inference on the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from .. import _core
from .._core import InvalidArgument, PackedMatrix, Unsupported

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["PackedEmbedding", "PackedLinear", "PackedWeight"]


class PackedWeight(torch.Tensor):
    """Looks like the float32 weight of a layer, and becomes it for the moment somebody computes with it.

    Models ask a weight for its dtype, shape and device; those answers cost nothing.
    """

    owner: PackedLinear | PackedEmbedding

    @staticmethod
    def __new__(
        cls: type[Self], owner: PackedLinear | PackedEmbedding, shape: tuple[int, int]
    ) -> Self:
        """A tensor without memory, of this shape."""
        weight = torch.Tensor._make_wrapper_subclass(cls, shape, dtype=torch.float32)
        weight.owner = owner
        return weight

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Runs any operation on the dequantized weight. One that would change it is an error."""
        if func._schema.is_mutable:
            raise Unsupported("a packed weight cannot be changed in place")

        def unwrap(x: Any) -> Any:
            return x.owner.dequantize() if isinstance(x, PackedWeight) else x

        args, kwargs = torch.utils._pytree.tree_map(unwrap, (args, kwargs or {}))
        return func(*args, **kwargs)

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"PackedWeight(shape={tuple(self.shape)})"


def _refuse_training(x: torch.Tensor, module: nn.Module) -> None:
    if torch.is_grad_enabled() and x.requires_grad:
        raise RuntimeError(
            f"{type(module).__name__}: packed weights are for inference; use torch.no_grad()"
        )


class PackedLinear(nn.Module):
    """``y = x Wᵀ + bias`` with W (out_features, in_features) in the packed order.

    Also stands for transformers' Conv1D, whose attributes ``nf`` and ``nx`` it has.
    """

    def __init__(self, packed: PackedMatrix, bias: torch.Tensor | None, threads: int) -> None:
        super().__init__()
        self.packed = packed
        self.threads = threads
        self.in_features = self.nx = packed.k
        self.out_features = self.nf = packed.n
        self.bias: torch.Tensor | None
        self.register_buffer(
            "bias", None if bias is None else bias.detach().float().contiguous().clone()
        )
        self.requires_grad_(False)

    @property
    def weight(self) -> torch.Tensor:
        """The weight (out_features, in_features), dequantized when something computes with it."""
        return PackedWeight(self, (self.out_features, self.in_features))

    def dequantize(self) -> torch.Tensor:
        """The float32 weight the codes stand for."""
        return torch.from_numpy(self.packed.unpack())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., in_features) → (..., out_features), in the dtype of ``x``."""
        _refuse_training(x, self)
        if x.shape[-1] != self.in_features:
            raise InvalidArgument(
                f"PackedLinear: x has shape {tuple(x.shape)}, expected (..., {self.in_features})"
            )
        rows = x.detach().reshape(-1, self.in_features).to(torch.float32)
        if rows.stride(-1) != 1:
            rows = rows.contiguous()
        y = torch.empty(rows.shape[0], self.out_features)
        if rows.shape[0]:
            bias = None if self.bias is None else self.bias.numpy()
            _core.matmul(rows.numpy(), self.packed, bias, "none", None, y.numpy(), self.threads)
        return y.reshape(*x.shape[:-1], self.out_features).to(x.dtype)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, format={self.packed.format}, bytes={self.packed.nbytes}"


class PackedEmbedding(nn.Module):
    """An embedding table of int8 rows, each with its scale."""

    def __init__(
        self, codes: np.ndarray[Any, Any], scales: np.ndarray[Any, Any], padding_idx: int | None
    ) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim = codes.shape
        self.padding_idx = padding_idx
        self.codes: torch.Tensor
        self.scales: torch.Tensor
        self.register_buffer("codes", torch.from_numpy(np.array(codes)), persistent=False)
        self.register_buffer("scales", torch.from_numpy(np.array(scales)), persistent=False)

    @property
    def weight(self) -> torch.Tensor:
        """The table (num_embeddings, embedding_dim), dequantized when something computes with it."""
        return PackedWeight(self, (self.num_embeddings, self.embedding_dim))

    def dequantize(self) -> torch.Tensor:
        """The float32 table the codes stand for."""
        return self.codes.to(torch.float32) * self.scales[:, None]

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """(...) ids → (..., embedding_dim) float32."""
        flat = ids.reshape(-1)
        if flat.numel() and (int(flat.min()) < 0 or int(flat.max()) >= self.num_embeddings):
            bad = int(flat[(flat < 0) | (flat >= self.num_embeddings)][0])
            raise InvalidArgument(
                f"PackedEmbedding: id {bad} is outside the vocabulary of {self.num_embeddings}"
            )
        rows = self.codes.index_select(0, flat).to(torch.float32)
        rows *= self.scales.index_select(0, flat)[:, None]
        return rows.reshape(*ids.shape, self.embedding_dim)

    @property
    def nbytes(self) -> int:
        """Bytes of codes and scales."""
        return self.codes.numel() + 4 * self.scales.numel()

    def extra_repr(self) -> str:
        return f"{self.num_embeddings}, {self.embedding_dim}, int8 rows"
