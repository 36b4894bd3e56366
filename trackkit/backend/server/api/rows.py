"""`/ids` and `/rows`: runs as programs read them back, whole and exact."""

from __future__ import annotations

from typing import Final

from trackkit.backend.server.api.access import run_number, visible
from trackkit.backend.server.api.values import check_depth
from trackkit.backend.server.errors import ApiError, not_found
from trackkit.backend.server.routing import Answer, Body, Call, Endpoint, Query
from trackkit.backend.store import runs, transfer
from trackkit.backend.store.database import Database
from trackkit.backend.store.filters import FilterError
from trackkit.backend.store.filters.nodes import Among, And, Field, Node
from trackkit.backend.store.runs import RunRow
from trackkit.backend.store.transfer import Edit, RunRecord

MOST_ROWS: Final = 100
"""Runs of one answer."""


class IdsQuery(Query):
    """`order` is keys separated by commas; without `limit`, all runs that match."""

    project: str | None = None
    filter: str = ""
    order: str = "-created"
    limit: int | None = None


class Ids(Answer):
    """The ids of runs, in order."""

    ids: list[str]


class RowsQuery(Query):
    """`run` is the id of a run, and may be given up to a hundred times."""

    run: list[str]


class Rows(Answer):
    """The runs that are there, in the order they were asked for."""

    rows: list[RunRecord]


class RowChanges(Edit, Body):
    """What to change: what is left out stays. Keys of nested dicts are joined by ".", values are exact."""


class Accounting(Answer):
    """What tracking cost each writer of the run."""

    writers: dict[str, dict[str, float]]


def list_ids(call: Call) -> Ids:
    query: IdsQuery = call.query
    condition = visible(call, query.project, query.filter)
    limit = None if query.limit is None else max(0, min(query.limit, 2**62))
    with call.services.storage.reading() as db:
        try:
            numbers = runs.numbers(db, condition, query.order, limit)
        except FilterError as error:
            raise ApiError(400, f"the order can't be used: {error}") from None
        return Ids(ids=runs.ids(db, numbers))


def list_rows(call: Call) -> Rows:
    ids = list(dict.fromkeys(call.query.run))
    if len(ids) > MOST_ROWS:
        raise ApiError(400, f"{len(ids)} runs are more than the {MOST_ROWS} of an answer; ask for fewer at a time")
    with call.services.storage.reading() as db:
        found = {row.id: row for row in _listed(call, db, ids)}
    return Rows(rows=[transfer.record_of(found[id]) for id in ids if id in found])


def _listed(call: Call, db: Database, ids: list[str]) -> list[RunRow]:
    """The runs of these ids that the asker may see and that are not in the trash."""
    parts: list[Node] = [Among(Field("id"), tuple(ids) or ("",))]
    seen = visible(call)
    return runs.load(db, runs.numbers(db, And((*parts, *([] if seen is None else [seen])))))


def change(call: Call) -> None:
    edit: RowChanges = call.body
    try:
        config, summary = transfer.decode(edit.config), transfer.decode(edit.summary)
    except ValueError as error:
        raise ApiError(400, f"the changes are wrong: {error}") from None
    for values in (config, summary):
        check_depth(values)
    if edit.tags is not None and not all(edit.tags):
        raise ApiError(400, "tags are texts of at least one character")
    id = call.path["run"]
    with call.services.storage.changing() as db:
        rows = _listed(call, db, [id])
        if not rows:
            raise not_found(f"run {id!r}")
        runs.edit(
            db, rows[0].run, edit.described, edit.tags, (config, edit.config_removed), (summary, edit.summary_removed)
        )


def show_accounting(call: Call) -> Accounting:
    with call.services.storage.reading() as db:
        return Accounting(writers=runs.accounting(db, run_number(call, db)))


ENDPOINTS = [
    Endpoint("GET", "/ids", list_ids, "The ids of the runs that match a filter, in order.", query=IdsQuery, answer=Ids),
    Endpoint("GET", "/rows", list_rows, "Runs, exact to the last bit.", query=RowsQuery, answer=Rows),
    Endpoint(
        "PATCH",
        "/rows/{run}",
        change,
        "Change a run: set exact values, and take entries away.",
        scope="write",
        body=RowChanges,
        status=204,
        errors=[404],
    ),
    Endpoint(
        "GET",
        "/rows/{run}/accounting",
        show_accounting,
        "What tracking cost the run's writers.",
        answer=Accounting,
        errors=[404],
    ),
]
