"""Arrays of any library as NumPy's, and as bytes that a snapshot can borrow."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from trackkit.core.media.libraries import is_a

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


def is_array(value: object) -> bool:
    """Whether a value is an array: NumPy's, torch's, JAX's, TensorFlow's."""
    return hasattr(value, "dtype") and hasattr(value, "shape") and not isinstance(value, type)


def is_torch(value: object) -> bool:
    """Whether a value is a torch tensor, whose images have their channels first."""
    return is_a(value, "torch", "Tensor")


def as_array(value: Any, what: str) -> Array:
    """A value as a NumPy array, without a copy where its memory can be shared.

    Parameters
    ----------
    what
        What the array is for, as an error should put it.

    Raises
    ------
    TypeError
        If it is no array of real numbers or bools.
    """
    if is_torch(value):
        value = value.detach()
        value = (value.float() if str(value.dtype) == "torch.bfloat16" else value).cpu().numpy()
    elif not isinstance(value, np.ndarray) and hasattr(value, "numpy"):
        value = value.numpy()
    try:
        array: Array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{what} can't be made of {type(value).__name__}: {error}") from None
    if array.dtype.kind not in "biuf" and array.dtype.name in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        array = array.astype(np.float32)  # as JAX names them
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{what} can't be made of an array of {array.dtype}; expected real numbers")
    return array


def described(value: Any) -> str:
    """An array as an error names it."""
    return f"{type(value).__name__} of shape {tuple(value.shape)} and type {value.dtype}"


def raw(array: Array) -> tuple[memoryview, dict[str, Any]]:
    """An array's bytes in C order, little-endian, and the parameters that `restored` needs."""
    plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return plain.reshape(-1).view(np.uint8).data, {"shape": list(array.shape), "dtype": plain.dtype.str}


def restored(data: bytes | memoryview, parameters: dict[str, Any]) -> Array:
    """The array of which these are the bytes; read-only."""
    return np.frombuffer(data, np.dtype(parameters["dtype"])).reshape(parameters["shape"])
