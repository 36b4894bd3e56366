"""Facts about the data a model was trained on: enough to tell two data sets apart, and nothing of what is in them."""

from __future__ import annotations

import hashlib
from typing import Any

MAX_NAMES = 256
"""Names of columns that are kept."""
MAX_CLASSES = 64
"""Distinct targets up to which they are counted one by one."""
DIGEST_BYTES = 16 * 2**20
"""How much of the data goes into the digest: of larger data, as many rows at even distances."""


def facts(data: Any, target: Any = None) -> dict[str, Any]:
    """What there is to say about a data set.

    Parameters
    ----------
    data
        Samples in rows: an array of any library, a data frame, a sparse matrix, or anything with a shape.
    target
        What is to be predicted, a row a sample.

    Returns
    -------
    dict
        type; rows; columns; dtype, or the dtypes of all columns; names of the columns; digest: SHA-256 of at most
        16 MiB of it; target: the same, and how often each class is there, or the least, mean and greatest value.
        What can't be told is left out.

    Examples
    --------
    >>> import numpy as np
    >>> facts(np.zeros((3, 2)), np.array([0, 1, 1]))["target"]["classes"]
    {'0': 1, '1': 2}
    """
    found = _shape_of(data)
    return found if target is None else found | {"target": target_facts(target)}


def target_facts(target: Any) -> dict[str, Any]:
    """What there is to say about what is to be predicted: as `facts`, and how often there is each class.

    Numbers of more than 64 different values have their least, mean and greatest instead.
    """
    return {**_shape_of(target), **_spread(target)}


def _shape_of(data: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"type": f"{type(data).__module__.partition('.')[0]}.{type(data).__name__}"}
    shape = getattr(data, "shape", None)
    if shape is None and hasattr(data, "__len__"):
        found["rows"] = len(data)
    elif shape is not None and len(shape):
        found["rows"] = int(shape[0])
        found |= {"columns": int(shape[1])} if len(shape) == 2 else {"shape": list(shape)} if len(shape) > 2 else {}
    names = getattr(data, "columns", None)
    if names is not None:
        found["names"] = [str(name) for name in list(names)[:MAX_NAMES]]
    dtypes = getattr(data, "dtypes", None)
    if dtypes is not None and names is not None:
        found["dtypes"] = sorted({str(dtype) for dtype in dtypes})
    elif getattr(data, "dtype", None) is not None:
        found["dtype"] = str(data.dtype)
    digest = _digest(data)
    return found | ({"digest": digest} if digest else {})


def _digest(data: Any) -> str:
    """SHA-256 over evenly spaced rows, in hex; empty where the bytes can't be had."""
    try:
        hashed = hashlib.sha256(repr(getattr(data, "shape", None) or len(data)).encode())
        for part in _buffers(data):
            hashed.update(part)
        return hashed.hexdigest()
    except Exception:
        return ""


def _buffers(data: Any) -> list[Any]:
    import numpy as np

    if hasattr(data, "indptr") and hasattr(data, "indices"):  # a sparse matrix in rows or columns
        return [_evenly(np.asarray(part)) for part in (data.indptr, data.indices, data.data)]
    if hasattr(data, "columns"):
        return [_evenly(_as_numbers(data[name])) for name in data.columns]
    return [_evenly(_as_numbers(data))]


def _as_numbers(column: Any) -> Any:
    """An array with bytes of its own; text and mixed objects as what they read."""
    import numpy as np

    values = column.detach().cpu().numpy() if hasattr(column, "detach") else np.asarray(column)
    if values.dtype == object:
        values = _thinned(values).astype(str)
    return values


def _evenly(values: Any) -> Any:
    import numpy as np

    return np.ascontiguousarray(_thinned(values)).view(np.uint8).data if values.size else b""


def _thinned(values: Any) -> Any:
    step = -(-values.nbytes // DIGEST_BYTES) if values.nbytes > DIGEST_BYTES else 1
    return values[::step]


def _spread(target: Any) -> dict[str, Any]:
    """How often there is each class, or where the numbers lie."""
    import numpy as np

    try:
        values = np.asarray(target.detach().cpu() if hasattr(target, "detach") else target)
        classes, counts = np.unique(values if values.dtype.kind != "O" else values.astype(str), return_counts=True)
        is_number = values.dtype.kind in "fiu"
        if is_number and (len(classes) > MAX_CLASSES or (values.dtype.kind == "f" and (classes % 1).any())):
            return {"min": float(values.min()), "mean": float(values.mean()), "max": float(values.max())}
        if len(classes) > MAX_CLASSES:
            return {"distinct": len(classes)}
        named = [str(int(one)) if is_number else str(one) for one in classes.tolist()]
        return {"classes": {name: int(count) for name, count in zip(named, counts, strict=True)}}
    except Exception:
        return {}
