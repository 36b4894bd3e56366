"""What there is to watch in a model: its parameters by the names people gave them, and its tree of modules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from trackkit.core.gradients.tensors import is_sharded, local

_WRAPPERS: Final = {"DistributedDataParallel", "DataParallel", "FullyShardedDataParallel", "OptimizedModule"}
_INNER: Final = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""Names that wrappers add on the way to a module."""


@dataclass
class Parameter:
    """A parameter, once however often it is shared."""

    name: str
    tensor: Any
    kind: str
    """The type of the module it belongs to."""


class Model:
    """One or several modules as one model.

    Parameters
    ----------
    modules
        By the prefix of their parameters' names.

    Raises
    ------
    ValueError
        If a parameter of a lazy module has no shape yet.
    """

    def __init__(self, torch: Any, modules: Mapping[str, Any]) -> None:
        self._torch = torch
        self.modules = {prefix: unwrapped(module) for prefix, module in modules.items()}
        self.parameters = list(self._parameters())
        self.sharded = any(is_sharded(parameter.tensor) for parameter in self.parameters) or any(
            type(inner).__name__ == "FullyShardedDataParallel"
            for module in modules.values()
            for inner in module.modules()
        )

    def _parameters(self) -> Iterator[Parameter]:
        seen: set[int] = set()
        for prefix, module in self.modules.items():
            for path, inner in module.named_modules():
                for name, tensor in inner.named_parameters(recurse=False):
                    if self._torch.nn.parameter.is_lazy(tensor):
                        raise ValueError(
                            f"the parameter {clean(prefix, path, name)!r} has no shape yet; call the model once "
                            "before watch()"
                        )
                    if id(tensor) not in seen and (tensor.is_floating_point() or tensor.is_complex()):
                        seen.add(id(tensor))
                        yield Parameter(clean(prefix, path, name), tensor, type(inner).__name__)

    def leaves(self) -> Iterator[tuple[str, Any]]:
        """The modules without modules of their own, by name."""
        for prefix, module in self.modules.items():
            for path, inner in module.named_modules():
                if next(inner.children(), None) is None:
                    yield clean(prefix, path), inner

    def tree(self) -> dict[str, Any]:
        """The modules as JSON: name, type, own parameters and buffers, what its `repr` says, and its modules."""
        roots = [self._branch(prefix, module, set()) for prefix, module in self.modules.items()]
        return {"version": 1, "modules": roots}

    def _branch(self, name: str, module: Any, above: set[int]) -> dict[str, Any]:
        module = unwrapped(module)
        described = {
            "name": name,
            "type": type(module).__name__,
            "repr": str(module.extra_repr()),
            "parameters": [
                {"name": each, **_described(tensor), "trainable": bool(tensor.requires_grad)}
                for each, tensor in module.named_parameters(recurse=False)
            ],
            "buffers": [{"name": each, **_described(tensor)} for each, tensor in module.named_buffers(recurse=False)],
        }
        inside = above | {id(module)}
        children = [(each, child) for each, child in module.named_children() if id(child) not in inside]
        described["modules"] = [self._branch(each, child, inside) for each, child in children]
        return described


def as_modules(torch: Any, models: Any, criterion: Any = None, first: int = 0) -> dict[str, Any]:
    """What was passed to `watch` as modules by the prefix of their parameters' names.

    Raises
    ------
    TypeError
        If something is no module.
    """
    listed = list(models) if isinstance(models, Sequence) and not _is_module(torch, models) else [models]
    for model in listed:
        if not _is_module(torch, model):
            raise TypeError(f"watch() takes a torch.nn.Module or a list of them, not {type(model).__name__}")
    if not listed:
        raise TypeError("watch() takes a torch.nn.Module or a list of them; the list is empty")
    single = len(listed) == 1
    found = {"" if single else str(first + number): model for number, model in enumerate(listed)}
    if _is_module(torch, criterion):
        found["criterion"] = criterion
    return found


def unwrapped(module: Any) -> Any:
    """The module inside wrappers for several processes, or around a compiled one."""
    while type(module).__name__ in _WRAPPERS:
        inner = getattr(module, "_orig_mod", None)
        inner = getattr(module, "module", None) if inner is None else inner
        if inner is None:
            break
        module = inner
    return module


def clean(*parts: str) -> str:
    """A name without what wrappers added to it."""
    return ".".join(part for name in parts if name for part in name.split(".") if part not in _INNER)


def _is_module(torch: Any, value: Any) -> bool:
    return torch is not None and isinstance(value, torch.nn.Module)


def _described(tensor: Any) -> dict[str, Any]:
    dtype = str(tensor.dtype).removeprefix("torch.")
    return {"shape": list(tensor.shape), "dtype": dtype, "elements": int(local(tensor).numel())}
