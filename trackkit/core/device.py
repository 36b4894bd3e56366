"""Copies from a device to the host that nobody waits for.

Only torch's tensors on devices with streams and events (CUDA, ROCm, XPU) are treated so. torch is never imported
here: whoever has a tensor has imported it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Protocol

_WITHOUT_STREAMS = ("cpu", "meta", "mps")


class Copy(Protocol):
    """A copy on its way to the host."""

    def ready(self) -> bool:
        """Whether it is complete. Does not wait."""
        ...

    def array(self) -> Any:
        """The copy as a NumPy array, once it is ready."""
        ...


class Copier(Protocol):
    """Tells which values lie on a device, and copies them."""

    def is_remote(self, value: Any) -> bool:
        """Whether reading the value would wait for a device: a real tensor of one element that lies on one."""
        ...

    def scalars(self, values: Sequence[Any]) -> list[Copy]:
        """Begin to copy the values as they are now; a copy each, of one element."""
        ...

    def block(self, tensor: Any) -> Copy:
        """Begin to copy a tensor that nobody will change any more."""
        ...


class _Finished:
    """A copy that needed no waiting."""

    def __init__(self, tensor: Any) -> None:
        self._tensor = tensor

    def ready(self) -> bool:
        return True

    def array(self) -> Any:
        return self._tensor.numpy()


class _Enqueued:
    """A copy into pinned memory, and the event behind it on its stream."""

    def __init__(self, tensor: Any, event: Any) -> None:
        self._tensor = tensor
        self._event = event

    def ready(self) -> bool:
        return bool(self._event.query())

    def array(self) -> Any:
        return self._tensor.numpy()


class _Element:
    """One element of a copy that holds several."""

    def __init__(self, whole: Copy, position: int) -> None:
        self._whole = whole
        self._position = position

    def ready(self) -> bool:
        return self._whole.ready()

    def array(self) -> Any:
        return self._whole.array()[self._position]


class TorchCopier:
    """Copies torch's tensors.

    A scalar is copied on the stream its producer works on: what changes the tensor later, in place, comes later on that
    stream, so the copy has the value as it was. Larger blocks go by a stream of their own, beside the next step's work.
    """

    def __init__(self) -> None:
        self._streams: dict[Any, Any] = {}

    def is_remote(self, value: Any) -> bool:
        torch: Any = sys.modules.get("torch")
        return (
            torch is not None
            and isinstance(value, torch.Tensor)
            and value.device.type not in _WITHOUT_STREAMS
            and value.numel() == 1
            and not value.is_complex()
        )

    def scalars(self, values: Sequence[Any]) -> list[Copy]:
        torch: Any = sys.modules["torch"]
        groups: dict[Any, list[int]] = {}
        for position, value in enumerate(values):
            groups.setdefault((value.device, value.dtype), []).append(position)
        found: dict[int, Copy] = {}
        with torch.no_grad():
            for (device, _), positions in groups.items():
                elements = [values[position].detach().reshape(1) for position in positions]
                together = elements[0] if len(elements) == 1 else torch.cat(elements)
                if together.is_floating_point() and together.dtype not in (torch.float64, torch.float16):
                    together = together.float()  # NumPy has no bfloat16, nor anything smaller
                module = torch.get_device_module(device)
                with module.device(device):
                    whole = _enqueue(torch, module, together)
                found.update((position, _Element(whole, place)) for place, position in enumerate(positions))
        return [found[position] for position in range(len(values))]

    def block(self, tensor: Any) -> Copy:
        torch: Any = sys.modules["torch"]
        if tensor.device.type in _WITHOUT_STREAMS:
            return _Finished(tensor.cpu())
        module = torch.get_device_module(tensor.device)
        with module.device(tensor.device):
            stream = self._streams.get(tensor.device)
            if stream is None:
                stream = self._streams[tensor.device] = module.Stream()
            stream.wait_stream(module.current_stream())
            with module.stream(stream):
                copy = _enqueue(torch, module, tensor)
            tensor.record_stream(stream)  # or its memory would be given away before it is copied
        return copy


def _enqueue(torch: Any, module: Any, tensor: Any) -> Copy:
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    event = module.Event()
    event.record()
    return _Enqueued(host, event)
