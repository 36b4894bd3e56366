"""Which runs a request is about: by their ids, or the first of a project that match a filter."""

from __future__ import annotations

from typing import Protocol

import msgspec

from trackkit.backend.server.api.access import visible
from trackkit.backend.server.errors import ApiError
from trackkit.backend.server.routing import Call
from trackkit.backend.store import runs
from trackkit.backend.store.database import Database
from trackkit.backend.store.filters import FilterError


class Selection(Protocol):
    """What a specification says of runs."""

    runs: list[str] | None
    project: str | None
    filter: str
    order: str
    limit: int


class RunSelection(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Runs by their ids, or the first `limit` of a project that match a filter; use a subclass."""

    runs: list[str] | None = None
    project: str | None = None
    filter: str = ""
    order: str = "-created"
    limit: int = 20


def check_selection(selection: Selection) -> None:
    """Refuse what names neither runs nor a project, or both.

    Raises
    ------
    ApiError
        400.
    """
    if (selection.runs is None) == (selection.project is None):
        raise ApiError(400, "the spec names either runs or a project")


def chosen_runs(call: Call, db: Database, selection: Selection, most: int) -> list[int]:
    """The numbers of the runs that are meant and that the asker may see.

    Raises
    ------
    ApiError
        400 if there are more than `most`, or the filter or the order can't be used.
    """
    if selection.runs is not None:
        if len(selection.runs) > most:
            raise ApiError(400, f"{len(selection.runs)} runs are more than the {most} that can be shown: choose fewer")
        found = [runs.find(db, id) for id in dict.fromkeys(selection.runs)]
        rows = runs.load(db, [number for number in found if number is not None], keys=())
        return [row.run for row in rows if call.identity.may_see(row.project)]
    try:
        limit = max(0, min(selection.limit, most))
        return runs.numbers(db, visible(call, selection.project, selection.filter), selection.order, limit)
    except FilterError as error:
        raise ApiError(400, f"the order can't be used: {error}") from None
