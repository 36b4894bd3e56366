"""A run's summary: a dict of flat keys that can be edited and saved."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

from trackkit.backend.store import entries


class Summary(MutableMapping[str, Any]):
    """What stays of a run: by default the last value of each metric.

    Keys are flat: what was logged as `{"val": {"loss": 0.1}}` is `summary["val.loss"]`, and
    `summary["val"]` is a dict of what lies below. Changes are saved by `run.update()`, or at once by `update`.
    """

    def __init__(self, flat: Mapping[str, Any], save: Callable[[], None]) -> None:
        self._flat = dict(flat)
        self._save = save

    def __getitem__(self, key: str) -> Any:
        if key in self._flat:
            return self._flat[key]
        below = self._below(key)
        if not below:
            raise KeyError(key)
        return entries.unflatten({name.removeprefix(f"{key}."): self._flat[name] for name in below})

    def __setitem__(self, key: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for old in [*self._below(key), *([key] if key in self._flat else [])]:
                del self._flat[old]
        self._flat.update(entries.flatten({key: value}))

    def __delitem__(self, key: str) -> None:
        gone = [key] if key in self._flat else self._below(key)
        if not gone:
            raise KeyError(key)
        for name in gone:
            del self._flat[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._flat)

    def __len__(self) -> int:
        return len(self._flat)

    def update(self, *values: Any, **more: Any) -> None:
        """Set entries, as a dict's `update` does, and save the run's changes at once."""
        super().update(*values, **more)
        self._save()

    def __repr__(self) -> str:
        return repr(self._flat)

    def _below(self, key: str) -> list[str]:
        return [name for name in self._flat if name.startswith(f"{key}.")]
