"""What a metric's points come to in the run's summary: the rules, without a store.

Without a rule the summary of `loss` is its last value, under `loss`. With rules, `last` stays under the
metric's own key and every other one is an entry of its own, `loss.min` say, as W&B names them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from fnmatch import fnmatchcase

import msgspec

from trackkit.core.records import Define

RULES = ("last", "min", "max", "mean", "first", "best", "none")
GOALS = ("minimize", "maximize")


class Definition(msgspec.Struct, frozen=True):
    """How the metrics whose key matches the glob `name` are read and summarised; see `Run.define_metric`."""

    name: str
    step_metric: str | None = None
    summary: Sequence[str] | None = None
    goal: str | None = None
    hidden: bool = False

    @property
    def needs_all(self) -> bool:
        """Whether a rule asks for more than the last value."""
        return any(rule not in ("last", "none") for rule in self.summary or ())

    def updated(self, define: Define) -> Definition:
        """The definition after another one of the same name: rules add up, the rest is replaced where given."""
        rules = self.summary
        if define.summary is not None:
            rules = list(dict.fromkeys([*(self.summary or ()), *define.summary]))
        return Definition(
            self.name,
            define.step_metric if define.step_metric is not None else self.step_metric,
            rules,
            define.goal if define.goal is not None else self.goal,
            define.hidden or self.hidden,
        )


def define(definitions: Sequence[Definition], record: Define) -> tuple[Definition, ...]:
    """The definitions with one more; where the name is known, it is updated and becomes the latest."""
    known = [definition for definition in definitions if definition.name == record.name]
    latest = (known[-1] if known else Definition(record.name)).updated(record)
    return (*[definition for definition in definitions if definition.name != record.name], latest)


def match(definitions: Sequence[Definition], key: str) -> Definition | None:
    """The definition a metric falls under: the latest of exactly its name, else the latest whose glob matches."""
    if not definitions:
        return None
    position = _match(tuple([definition.name for definition in definitions]), key)
    return None if position is None else definitions[position]


@functools.lru_cache(maxsize=16384)
def _match(names: tuple[str, ...], key: str) -> int | None:
    matching = None
    for position in reversed(range(len(names))):
        if names[position] == key:
            return position
        if matching is None and fnmatchcase(key, names[position]):
            matching = position
    return matching


class Statistics:
    """Running statistics of the values of one metric.

    Attributes
    ----------
    count
        Values in all.
    finite
        Values that are not NaN; only these count in `total`, `min` and `max`. Infinity does count.
    total, min, max
        Sum and extremes; `min` and `max` are NaN while there is no value that is not.
    first, last
        The first and the last value, NaN or not; NaN while there is none.

    Examples
    --------
    >>> loss = Statistics()
    >>> for value in [0.5, float("nan"), 0.25]:
    ...     loss.add(value)
    >>> loss.count, loss.finite, loss.min, loss.mean
    (3, 2, 0.25, 0.375)
    """

    __slots__ = ("count", "finite", "first", "last", "max", "min", "total")

    def __init__(
        self,
        count: int = 0,
        finite: int = 0,
        total: float = 0.0,
        min: float = math.nan,
        max: float = math.nan,
        first: float = math.nan,
        last: float = math.nan,
    ) -> None:
        self.count = count
        self.finite = finite
        self.total = total
        self.min = min
        self.max = max
        self.first = first
        self.last = last

    @property
    def mean(self) -> float:
        """The mean of the values that are not NaN; NaN if there are none."""
        return self.total / self.finite if self.finite else math.nan

    def add(self, value: float) -> None:
        """Take one more value into account."""
        if not self.count:
            self.first = value
        self.count += 1
        self.last = value
        if value == value:  # not NaN
            self.finite += 1
            self.total += value
            if not value >= self.min:
                self.min = value
            if not value <= self.max:
                self.max = value

    def merge(self, later: Statistics) -> None:
        """Take the values of other statistics into account, which come after these."""
        if not later.count:
            return
        if not self.count:
            self.first = later.first
        self.count += later.count
        self.last = later.last
        self.finite += later.finite
        self.total += later.total
        if not later.min >= self.min and later.finite:
            self.min = later.min
        if not later.max <= self.max and later.finite:
            self.max = later.max

    def copy(self) -> Statistics:
        """The same statistics, to go on from without changing these."""
        return Statistics(self.count, self.finite, self.total, self.min, self.max, self.first, self.last)


def summarise(key: str, statistics: Statistics, definition: Definition | None = None) -> dict[str, float]:
    """The summary entries of a metric.

    Examples
    --------
    >>> summarise("loss", Statistics(2, 2, 3.0, 1.0, 2.0, 2.0, 1.0), Definition("loss", summary=("last", "min")))
    {'loss': 1.0, 'loss.min': 1.0}
    """
    if definition is None or definition.summary is None:
        return {key: statistics.last}
    entries: dict[str, float] = {}
    for rule in definition.summary:
        if rule == "last":
            entries[key] = statistics.last
        elif rule == "best":
            entries[f"{key}.best"] = statistics.max if definition.goal == "maximize" else statistics.min
        elif rule in ("min", "max", "mean", "first"):
            entries[f"{key}.{rule}"] = getattr(statistics, rule)
    return entries


def entry_keys(key: str) -> list[str]:
    """Every key under which rules may put an entry of this metric."""
    return [key, *(f"{key}.{rule}" for rule in ("min", "max", "mean", "first", "best"))]
