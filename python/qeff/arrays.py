"""The array edge: what callers hand in, as float32 numpy, and results back in the caller's kind.

Torch is never imported here: a torch tensor can only arrive from a process that has it.
"""

from __future__ import annotations

import sys
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ._core import InvalidArgument

__all__ = ["as_float_array", "as_int_array", "from_numpy_like", "is_torch_tensor", "rows_of"]

FloatArray = NDArray[np.float32]


def is_torch_tensor(value: Any) -> bool:
    """Whether ``value`` is a torch tensor, without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def from_numpy_like(result: NDArray[Any], like: Any) -> Any:
    """``result`` as a torch tensor if ``like`` is one (zero copy), else as it is."""
    return sys.modules["torch"].from_numpy(result) if is_torch_tensor(like) else result


def widen_bf16(bits: NDArray[np.uint16]) -> FloatArray:
    """bfloat16 bit patterns as float32; exact."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _torch_to_numpy(tensor: Any, name: str) -> NDArray[Any]:
    torch = sys.modules["torch"]
    if tensor.device.type != "cpu":
        raise InvalidArgument(
            f"{name}: is on device {tensor.device}; qeff works on CPU tensors, use .cpu()"
        )
    if tensor.layout != torch.strided:
        raise InvalidArgument(
            f"{name}: is {tensor.layout}; qeff needs a dense tensor, use .to_dense()"
        )
    plain = tensor.detach()
    if plain.dtype == torch.bfloat16:
        return widen_bf16(plain.view(torch.int16).numpy().view(np.uint16))
    return cast("NDArray[Any]", plain.resolve_conj().resolve_neg().numpy())


def _to_numpy(value: Any, name: str) -> NDArray[Any]:
    if is_torch_tensor(value):
        return _torch_to_numpy(value, name)
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, list | tuple | float | int) or hasattr(value, "__array__"):
        return np.asarray(value)
    raise TypeError(
        f"{name}: expected a numpy array or a torch CPU tensor, not {type(value).__name__}"
    )


def as_float_array(value: Any, name: str) -> FloatArray:
    """``value`` as float32, any shape and strides; not copied if it is float32 already.

    Args:
        value: float32, float16, float64 (rounded to float32) or bfloat16; numpy (with ml_dtypes) or
            a torch CPU tensor.
        name: of the argument, for messages.

    Raises:
        TypeError: object, complex, boolean, integer or text arrays.
        ValueError: big-endian arrays; tensors of another device; float64 beyond float32.
    """
    array = _to_numpy(value, name)
    dtype = array.dtype
    if dtype.kind in "fiu" and not dtype.isnative:
        raise InvalidArgument(
            f"{name}: has byte order {dtype.str!r}; qeff needs the machine's own, "
            f"use {name}.astype({dtype.newbyteorder('=').name!r})"
        )
    if dtype == np.float32:
        return array
    if dtype.name == "bfloat16":
        return widen_bf16(array.view(np.uint16))
    if dtype in (np.float16, np.float64):
        with np.errstate(over="ignore"):
            narrow = array.astype(np.float32)
        if dtype == np.float64 and not np.array_equal(np.isinf(narrow), np.isinf(array)):
            raise InvalidArgument(f"{name}: has float64 values beyond the range of float32")
        return narrow
    raise TypeError(
        f"{name}: has dtype {dtype}; qeff takes float32, float16, bfloat16 and float64 "
        f"(convert with .astype('float32') if the numbers are meant)"
    )


def rows_of(array: FloatArray, name: str) -> FloatArray:
    """``array`` as a matrix whose rows run along its last axis; a vector is one row.

    Raises:
        ValueError: no axis, or no element.
    """
    if array.ndim == 0:
        raise InvalidArgument(f"{name}: is a single number; expected a matrix (rows, columns)")
    if array.size == 0:
        raise InvalidArgument(f"{name}: has shape {array.shape}, without any element")
    return array if array.ndim == 2 else array.reshape(-1, array.shape[-1])


def as_int_array(value: Any, name: str) -> NDArray[np.int64]:
    """``value`` as int64, any shape.

    Raises:
        TypeError: anything but whole numbers (or booleans).
        ValueError: big-endian arrays, or rows of different lengths.
    """
    if isinstance(value, list | tuple):
        try:
            array = np.asarray(value)
        except ValueError as error:
            raise InvalidArgument(
                f"{name}: rows have different lengths; pad them or pass packed ids"
            ) from error
        if array.size == 0:
            array = array.astype(np.int64)
    else:
        array = _to_numpy(value, name)
    if array.dtype.kind not in "iub":
        raise TypeError(f"{name}: has dtype {array.dtype}; expected whole numbers")
    if not array.dtype.isnative:
        raise InvalidArgument(
            f"{name}: has byte order {array.dtype.str!r}; qeff needs the machine's own"
        )
    return array.astype(np.int64, copy=False)
