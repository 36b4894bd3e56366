"""The mark in the state of a torch module: which run it belongs to; without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

KEY = "trackkit"


class ModuleMark:
    """Puts a run and its step into every state a module gives, and finds them in a state it is given.

    The mark is part of the state's metadata, where torch keeps the versions of modules: it goes wherever the state is
    saved to, by `torch.save` and back by `torch.load`, also with `weights_only=True`, and whoever does not know it does
    not see it.

    Examples
    --------
    >>> mark = ModuleMark()
    >>> mark.attach(model)  # doctest: +SKIP
    >>> mark.current = {"run": run.id, "step": 10}  # doctest: +SKIP
    >>> torch.save(model.state_dict(), "model.pth")  # doctest: +SKIP
    """

    def __init__(self) -> None:
        self.current: dict[str, Any] = {}
        """What is put into states: names and plain values; nothing while it is empty."""
        self.loaded: dict[str, Any] | None = None
        """What the last state that was loaded had."""

    def attach(self, module: Any) -> None:
        """Mark the states of a module, from now on; once is enough."""
        register = getattr(module, "register_state_dict_post_hook", None) or module._register_state_dict_hook
        if not any(isinstance(one, _Put) and one.mark is self for one in module._state_dict_hooks.values()):
            register(_Put(self))
            module.register_load_state_dict_pre_hook(_Take(self))


class _Put:
    """A hook that can be pickled and copied with its module."""

    def __init__(self, mark: ModuleMark) -> None:
        self.mark = mark

    def __call__(self, module: Any, state: Any, prefix: str, metadata: dict[str, Any]) -> None:
        if self.mark.current:
            metadata[KEY] = dict(self.mark.current)


class _Take:
    def __init__(self, mark: ModuleMark) -> None:
        self.mark = mark

    def __call__(self, module: Any, state: Any, prefix: str, metadata: Mapping[str, Any], *further: Any) -> None:
        found = metadata.get(KEY)
        if isinstance(found, Mapping):
            self.mark.loaded = dict(found)
