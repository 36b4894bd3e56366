"""`run.config`: the run's settings, as attributes and items, recorded as they change."""

from __future__ import annotations

import dataclasses
import importlib
import math
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from pathlib import Path
from types import FunctionType, MethodType, ModuleType
from typing import Any

from trackkit.core.records import Json
from trackkit.core.values import check_key

_MAX_DEPTH = 32


class Config(MutableMapping[str, Any]):
    """The configuration of a run.

    Entries are read and set as items or as attributes; nested dicts read as attributes too. Every change is
    recorded. Values are kept as they are given and recorded as JSON; what JSON can't hold, by its `repr`.

    Parameters
    ----------
    changed
        Called with the entries that were set and the keys that were removed.

    Examples
    --------
    >>> config = Config()
    >>> config.update({"lr": 0.1, "model": {"depth": 3}})
    >>> config.lr, config.model.depth
    (0.1, 3)
    """

    def __init__(self, changed: Callable[[dict[str, Json], list[str]], None] = lambda values, removed: None) -> None:
        object.__setattr__(self, "_values", {})
        object.__setattr__(self, "_changed", changed)

    def update(self, *sources: Any, allow_val_change: bool | None = None, **entries: Any) -> None:
        """Set many entries.

        Parameters
        ----------
        *sources
            Any of: a mapping, an `argparse.Namespace`, a dataclass, an omegaconf config, absl flags, a path to a
            YAML, JSON or TOML file.
        allow_val_change
            Accepted for scripts written for W&B; changing a value is always allowed.

        Raises
        ------
        TypeError
            If a source is none of these.
        ValueError
            If it is more than 32 MiB.
        """
        found: dict[str, Any] = {}
        for source in sources:
            found.update(as_mapping(source))
        found.update(entries)
        for key in found:
            check_key(key)
        if found:
            plain = {key: to_json(value) for key, value in found.items()}
            try:
                self._changed(plain, [])
            except ValueError as error:  # what is larger than a journal takes
                largest = max(plain, key=lambda key: len(str(plain[key])))
                raise ValueError(f"config can't be kept, and {largest!r} is the largest of it: {error}") from None
        self._values.update(found)

    def setdefaults(self, source: Any) -> None:
        """Set the entries of `source` that are not set yet."""
        self.update({key: value for key, value in as_mapping(source).items() if key not in self._values})

    def as_dict(self) -> dict[str, Any]:
        """A copy as a plain dict."""
        return dict(self._values)

    def restore(self, values: Mapping[str, Any]) -> None:
        """Take over what the store knows of a resumed run, recording nothing."""
        self._values.update(values)

    def __getitem__(self, key: str) -> Any:
        return _readable(self._values[key])

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def __delitem__(self, key: str) -> None:
        if key not in self._values:
            raise KeyError(key)
        self._changed({}, [key])
        del self._values[key]

    def __getattr__(self, key: str) -> Any:
        try:
            return self[key]
        except KeyError:
            raise AttributeError(f"config has no entry {key!r}; it has: {', '.join(self._values) or 'none'}") from None

    def __setattr__(self, key: str, value: Any) -> None:
        self[key] = value

    def __delattr__(self, key: str) -> None:
        del self[key]

    def __iter__(self) -> Iterator[str]:
        return iter(dict(self._values))

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Config({self._values!r})"


class Entries(dict[str, Any]):
    """A copy of a nested dict of a config, whose entries read as attributes too."""

    def __getattr__(self, key: str) -> Any:
        try:
            return _readable(self[key])
        except KeyError:
            raise AttributeError(key) from None

    def __setattr__(self, key: str, value: Any) -> None:
        raise TypeError(f"the nested entry {key!r} can't be set on its own; set the whole with config.update({{…}})")


def _readable(value: Any) -> Any:
    return Entries(value) if type(value) is dict else value


def as_mapping(source: Any) -> Mapping[str, Any]:
    """The entries of whatever people keep settings in; see `Config.update`.

    Raises
    ------
    TypeError
        If it is nothing that holds settings.
    """
    if source is None:
        return {}
    if isinstance(source, Config):
        return source.as_dict()
    if isinstance(source, Mapping) and not _is_omegaconf(source):
        return source
    if _is_omegaconf(source):
        from omegaconf import OmegaConf

        container: Any = OmegaConf.to_container(source, resolve=True)
        if not isinstance(container, Mapping):
            raise TypeError(f"config can't be read from an omegaconf {type(source).__name__}, which has no keys")
        return container
    if dataclasses.is_dataclass(source) and not isinstance(source, type):
        settings: Mapping[str, Any] = _plain(source)
        return settings
    if isinstance(source, (str, Path)):
        return _from_file(Path(source))
    if callable(getattr(source, "flag_values_dict", None)):  # absl.flags.FLAGS
        flags: Mapping[str, Any] = source.flag_values_dict()
        return flags
    if isinstance(getattr(source, "as_dict", None), MethodType):  # `trackkit.config`
        entries: Mapping[str, Any] = source.as_dict()
        return entries
    if any(kind.__module__ == "argparse" for kind in type(source).__mro__):
        return dict(vars(source))
    if hasattr(source, "__dict__") and not isinstance(source, (type, ModuleType, FunctionType, MethodType)):
        return {key: value for key, value in vars(source).items() if not key.startswith("_")}
    raise TypeError(
        f"config can't be read from {type(source).__name__}; pass a dict, Namespace, dataclass, omegaconf config, "
        "absl flags or the path of a YAML, JSON or TOML file"
    )


def _plain(value: Any) -> Any:
    """The value with dicts for dataclasses. Unlike `dataclasses.asdict` it copies nothing that can't be copied."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if type(value) in (list, tuple):
        return type(value)(map(_plain, value))
    return {key: _plain(item) for key, item in value.items()} if type(value) is dict else value


def _is_omegaconf(source: object) -> bool:
    return type(source).__module__.partition(".")[0] == "omegaconf"


def _from_file(path: Path) -> Mapping[str, Any]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        import json

        loaded = json.loads(text)
    elif path.suffix == ".toml":
        import tomllib

        loaded = tomllib.loads(text)
    else:
        try:
            yaml = importlib.import_module("yaml")
        except ImportError:
            raise ImportError(f"reading {path.name} needs PyYAML: pip install pyyaml") from None
        loaded = yaml.safe_load(text)
    if not isinstance(loaded, Mapping):
        raise TypeError(f"{path} holds a {type(loaded).__name__}, not a table of settings")
    return loaded


def to_json(value: Any, depth: int = 0) -> Json:
    """The value as JSON holds it; what JSON can't hold becomes text. Never raises."""
    if value is None or isinstance(value, (bool, str)):
        return value if value is None or isinstance(value, bool) else _text(value)
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < 2**64 else str(int(value))
    if isinstance(value, float):
        return float(value)
    if depth < _MAX_DEPTH:
        if isinstance(value, Mapping):
            return {_text(key): to_json(item, depth + 1) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [to_json(item, depth + 1) for item in value]
        if isinstance(value, (set, frozenset)):
            return sorted((to_json(item, depth + 1) for item in value), key=str)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return to_json(_plain(value), depth + 1)
    return _scalar_or_text(value)


def _scalar_or_text(value: Any) -> Json:
    try:
        if getattr(value, "shape", None) == () and hasattr(value, "item"):
            return to_json(value.item(), _MAX_DEPTH)
        if getattr(value, "dtype", None) is not None and hasattr(value, "tolist") and math.prod(value.shape) <= 1000:
            return to_json(value.tolist())
        if hasattr(value, "__name__") and hasattr(value, "__module__"):  # a class or a function
            return f"{value.__module__}.{value.__name__}"
        if isinstance(value, Path):
            return str(value)
        return _text(repr(value))[:10_000]
    except Exception:
        return f"<{type(value).__name__}>"


def _text(value: Any) -> str:
    return str(value).encode("utf-8", "backslashreplace").decode()
