"""Runs and projects of a store, listed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, overload

from trackkit.backend.store.filters import And, Compare, Field, Node, parse
from trackkit.backend.store.runs import check_order
from trackkit.query import pages
from trackkit.query.run import Run
from trackkit.query.source import Handle, RunNotFound, Source

PAGE = 100
"""Runs loaded at a time."""

SHOWN = 20
"""Runs a notebook shows."""


class Runs(Sequence[Run]):
    """Runs that match a filter, in order.

    Which runs they are is settled when they are first looked at, so that a listing neither repeats nor skips
    a run while others begin; the runs themselves are loaded a page at a time as they are reached.

    Examples
    --------
    >>> runs = trackkit.Api().runs("digits", "summary.accuracy > 0.9", order="-summary.accuracy")
    >>> len(runs), runs[0].name
    (12, 'wide net')
    >>> [run.config["lr"] for run in runs[:3]]
    [0.001, 0.003, 0.001]
    """

    def __init__(self, source: Source, filters: Node | None, order: str | Sequence[str], limit: int | None) -> None:
        self._source = source
        self._filters = filters
        self._order = order
        self._limit = limit
        self._page_start = 0
        self._page: dict[Handle, Run] = {}

    @cached_property
    def _handles(self) -> list[Handle]:
        return self._source.handles(self._filters, self._order, self._limit)

    def __len__(self) -> int:
        return len(self._handles)

    def __iter__(self) -> Iterator[Run]:
        for start in range(0, len(self._handles), PAGE):
            yield from self._load(self._handles[start : start + PAGE]).values()

    @overload
    def __getitem__(self, position: int) -> Run: ...

    @overload
    def __getitem__(self, position: slice) -> Runs: ...

    def __getitem__(self, position: int | slice) -> Run | Runs:
        if isinstance(position, slice):
            part = Runs(self._source, self._filters, self._order, self._limit)
            part.__dict__["_handles"] = self._handles[position]
            return part
        handle = self._handles[position]
        if handle not in self._page:
            start = position % len(self._handles) // PAGE * PAGE
            self._page = self._load(self._handles[start : start + PAGE])
        if handle not in self._page:
            raise RunNotFound(f"the run at position {position} was deleted since it was listed")
        return self._page[handle]

    def _load(self, handles: Sequence[Handle]) -> dict[Handle, Run]:
        return {self._source.handle(row): Run(self._source, row) for row in self._source.load(handles)}

    def __repr__(self) -> str:
        matching = f" matching {self._filters}" if self._filters is not None else ""
        return f"Runs({len(self)} runs{matching})"

    def _repr_html_(self) -> str:
        rows = (
            (f"{run.project}/{run.id}", run.name, run.state, f"{run.created:%Y-%m-%d %H:%M}") for run in self[:SHOWN]
        )
        more = f"and {len(self) - SHOWN} more" if len(self) > SHOWN else ""
        return pages.table(("run", "name", "state", "created"), rows, more)


@dataclass(frozen=True, slots=True)
class Project:
    """A project: its name, how many runs it has, how many of them are running, and when one last changed."""

    name: str
    count: int
    running: int
    updated: datetime
    _source: Source

    def runs(
        self,
        filters: str | Mapping[str, Any] | None = None,
        order: str | Sequence[str] = "-created",
        limit: int | None = None,
    ) -> Runs:
        """The project's runs; see `Api.runs`."""
        return list_runs(self._source, self.name, filters, order, limit)

    def __repr__(self) -> str:
        return f"Project({self.name!r}, {self.count} runs)"


def list_runs(
    source: Source,
    project: str | None,
    filters: str | Mapping[str, Any] | None,
    order: str | Sequence[str],
    limit: int | None,
) -> Runs:
    """The runs of a store that match; see `Api.runs`."""
    if limit is not None and limit < 0:
        raise ValueError(f"limit is {limit}, but must be 0 or more, or None for every run")
    matching = parse(filters)
    if project is not None:
        of_project: Node = Compare(Field("project"), "=", project)
        matching = of_project if matching is None else And((of_project, matching))
    check_order(order)
    return Runs(source, matching, order, limit)
