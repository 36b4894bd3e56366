"""The values of tensors as flat, dense, real views, whatever the tensors are."""

from __future__ import annotations

from typing import Any


def local(tensor: Any) -> Any:
    """The part of a tensor this process holds: all of it, unless it is sharded."""
    to_local = getattr(tensor, "to_local", None)
    return tensor if to_local is None else to_local()


def is_sharded(tensor: Any) -> bool:
    """Whether the tensor is one of `torch.distributed.tensor`, of which a process holds a part."""
    return hasattr(tensor, "to_local")


def flat(torch: Any, tensor: Any) -> Any:
    """The tensor's values in one dimension, without a copy where they lie next to each other in any order.

    Statistics don't depend on the order. Sparse tensors are made dense; complex numbers become pairs.
    """
    tensor = local(tensor.detach())
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    if tensor.is_contiguous():
        return tensor.view(-1)
    if _is_dense(tensor):
        return torch.as_strided(tensor, (tensor.numel(),), (1,))
    return tensor.reshape(-1)


def _is_dense(tensor: Any) -> bool:
    """Whether the elements fill a stretch of memory without gaps or overlaps, such as in `channels_last`."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1:
            if stride != expected:
                return False
            expected *= size
    return True
