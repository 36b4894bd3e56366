"""The mark in a torch module's state, put in and found by hooks; with a stand-in for torch, as core has none."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict
from typing import Any

from trackkit.core.module_mark import KEY, ModuleMark


class Module:
    """What of `torch.nn.Module` states and their hooks are."""

    def __init__(self) -> None:
        self._state_dict_hooks: OrderedDict[int, Any] = OrderedDict()
        self.before_loading: list[Any] = []

    def register_state_dict_post_hook(self, hook: Any) -> None:
        self._state_dict_hooks[len(self._state_dict_hooks)] = hook

    def register_load_state_dict_pre_hook(self, hook: Any) -> None:
        self.before_loading.append(hook)

    def metadata(self) -> dict[str, Any]:
        found: dict[str, Any] = {"version": 1}
        for hook in self._state_dict_hooks.values():
            hook(self, {}, "", found)
        return found

    def load(self, metadata: dict[str, Any]) -> None:
        for hook in self.before_loading:
            hook(self, {}, "", metadata, True, [], [], [])


def test_a_state_has_the_mark_as_it_is_then() -> None:
    module, mark = Module(), ModuleMark()
    mark.attach(module)
    assert module.metadata() == {"version": 1}
    mark.current = {"run": "a", "step": 3}
    first = module.metadata()
    mark.current["step"] = 4
    assert first[KEY] == {"run": "a", "step": 3}
    assert module.metadata()[KEY] == {"run": "a", "step": 4}


def test_the_mark_of_a_state_that_is_loaded_is_found() -> None:
    module, mark = Module(), ModuleMark()
    mark.attach(module)
    module.load({"version": 1})
    assert mark.loaded is None
    module.load({"version": 1, KEY: {"run": "a", "step": 3}})
    assert mark.loaded == {"run": "a", "step": 3}
    module.load({"version": 1, KEY: "of another's"})
    assert mark.loaded == {"run": "a", "step": 3}


def test_attaching_twice_is_attaching_once_and_marks_are_told_apart() -> None:
    module, one, other = Module(), ModuleMark(), ModuleMark()
    for _ in range(2):
        one.attach(module)
    other.attach(module)
    assert len(module._state_dict_hooks) == len(module.before_loading) == 2


def test_a_marked_module_can_be_copied_and_pickled() -> None:
    module, mark = Module(), ModuleMark()
    mark.attach(module)
    mark.current = {"run": "a"}
    for again in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert again.metadata()[KEY] == {"run": "a"}
