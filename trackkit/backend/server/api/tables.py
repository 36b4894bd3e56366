"""`/tables`: tables that runs logged or artifacts hold, a page at a time."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator
from typing import Any, Final, Literal
from urllib.parse import quote

import msgspec
from starlette.background import BackgroundTask
from starlette.responses import FileResponse, Response, StreamingResponse

from trackkit.backend.server.api.content import SANDBOX
from trackkit.backend.server.api.media import MOST_RUNS, SpecQuery, decode_spec
from trackkit.backend.server.api.selection import RunSelection, check_selection, chosen_runs
from trackkit.backend.server.api.table_places import TableReference, files_of, place_of
from trackkit.backend.server.errors import ApiError, not_found
from trackkit.backend.server.routing import Answer, Call, Endpoint
from trackkit.backend.store import media, runs
from trackkit.backend.store.filters import FilterError
from trackkit.backend.tables import comparison, grouping, pages
from trackkit.backend.tables.comparison import ComparedRow
from trackkit.backend.tables.grouping import Aggregate, Group
from trackkit.backend.tables.pages import ColumnInfo, Distribution, Row
from trackkit.backend.tables.relation import Relation
from trackkit.backend.tables.sandbox import CannotAnswer, CannotRead, TooLarge, TooSlow

MOST_DISTRIBUTIONS: Final = 50
"""Columns of one answer."""


class FilteredTable(TableReference, kw_only=True):
    """A table's rows that match a filter over its columns and a text to search for; use a subclass."""

    filter: str = ""
    search: str = ""


class RowsSpec(FilteredTable, kw_only=True):
    """A page of rows: which columns, sorted by which (`-` before a name for falling order), from where and how many."""

    columns: list[str] | None = None
    sort: list[str] = msgspec.field(default_factory=list)
    offset: int = 0
    limit: int = 100


class GroupsSpec(FilteredTable, kw_only=True):
    """Rows gathered by columns: what to compute, sorted by `count`, a column, or the number of an aggregate."""

    by: list[str]
    aggregates: list[Aggregate] = msgspec.field(default_factory=list)
    sort: str = "-count"
    offset: int = 0
    limit: int = 100


class DistributionsSpec(FilteredTable, kw_only=True):
    """Distributions of some columns, or of the first ones."""

    columns: list[str] | None = None
    bins: int = 30


class RowSpec(TableReference, kw_only=True):
    """One row, by its number."""

    number: int


class ExportSpec(FilteredTable, kw_only=True):
    """Rows to take along, in a file of a format; with `by`, groups in the order of the first of `sort`."""

    columns: list[str] | None = None
    sort: list[str] = msgspec.field(default_factory=list)
    by: list[str] = msgspec.field(default_factory=list)
    aggregates: list[Aggregate] = msgspec.field(default_factory=list)
    format: Literal["csv", "parquet"] = "csv"


class ComparisonSpec(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Tables side by side, joined on columns, or by the number of the row; see `ComparedRow`."""

    sides: list[TableReference]
    on: list[str] = []
    columns: list[str] | None = None
    filter: str = ""
    changed: bool = False
    offset: int = 0
    limit: int = 100


class TableRunsSpec(RunSelection, kw_only=True):
    """Runs, and the key of a table."""

    key: str


class TableRun(msgspec.Struct):
    """A run that logged a table: its last step, and how many there are."""

    id: str
    name: str
    state: str
    project: str
    last_step: int
    steps: int


class TableRuns(Answer):
    runs: list[TableRun]


class TableAnswer(Answer):
    """A table: its columns, how many rows, which step's it is, and the steps there are; in an artifact, none."""

    run: str
    key: str
    version: str
    path: str
    step: int | None
    log_mode: str
    increments: int
    rows: int
    columns: list[ColumnInfo]
    steps: list[int]


class TableRows(Answer):
    """A page of rows, and how many match in all; cells are in the order of `columns`."""

    columns: list[str]
    matching: int
    rows: list[Row]


class TableGroups(Answer):
    groups: list[Group]
    total: int


class TableDistributions(Answer):
    columns: list[Distribution]


class TableRow(Answer):
    """A row in full."""

    columns: list[str]
    row: Row


class TableComparison(Answer):
    """Tables compared: `total` keys, of which `same` are alike on all sides and `missing` lack a side."""

    columns: list[str]
    total: int
    same: int
    missing: int
    rows: list[ComparedRow]


def list_runs(call: Call) -> TableRuns:
    spec = decode_spec(call, TableRunsSpec)
    check_selection(spec)
    with call.services.storage.reading() as db:
        numbers = chosen_runs(call, db, spec, MOST_RUNS)
        found = media.spans(db, numbers, spec.key, "table")
        rows = {row.run: row for row in runs.load(db, list(found), keys=())}
    return TableRuns(
        runs=[
            TableRun(rows[run].id, rows[run].name, rows[run].state, rows[run].project, *found[run])
            for run in numbers
            if run in found and run in rows
        ]
    )


def show_table(call: Call) -> TableAnswer:
    spec = decode_spec(call, TableReference)
    place = place_of(call, spec)
    with asking():
        relation = call.services.tables.table(place.files)
        return TableAnswer(
            run=spec.run,
            key=spec.key,
            version=spec.version,
            path=spec.path,
            step=place.step,
            log_mode=place.log_mode,
            increments=len(place.files),
            rows=relation.rows,
            columns=pages.columns(relation),
            steps=place.steps,
        )


def list_rows(call: Call) -> TableRows:
    spec = decode_spec(call, RowsSpec)
    with asking():
        relation = _relation(call, spec)
        found = pages.rows(relation, spec.columns, spec.sort, spec.filter, spec.search, spec.offset, spec.limit)
    names = list(relation.columns) if spec.columns is None else list(dict.fromkeys(spec.columns))
    return TableRows(columns=names[: pages.MOST_COLUMNS], matching=found.matching, rows=found.rows)


def list_groups(call: Call) -> TableGroups:
    spec = decode_spec(call, GroupsSpec)
    if not spec.by:
        raise ApiError(400, "the spec names no column to gather rows by")
    with asking():
        relation = _relation(call, spec)
        found = grouping.groups(
            relation, spec.by, spec.aggregates, spec.sort, spec.filter, spec.search, spec.offset, spec.limit
        )
    return TableGroups(groups=found.groups, total=found.total)


def list_distributions(call: Call) -> TableDistributions:
    spec = decode_spec(call, DistributionsSpec)
    with asking():
        relation = _relation(call, spec)
        names = (list(relation.columns) if spec.columns is None else spec.columns)[:MOST_DISTRIBUTIONS]
        found = [pages.distribution(relation, name, spec.bins, spec.filter, spec.search) for name in names]
    return TableDistributions(columns=found)


def show_row(call: Call) -> TableRow:
    spec = decode_spec(call, RowSpec)
    with asking():
        relation = _relation(call, spec)
        found = pages.row(relation, max(-1, min(spec.number, relation.rows)))
    if found is None:
        raise not_found(f"row {spec.number} in this table, which has {relation.rows:,}")
    return TableRow(columns=list(relation.columns), row=found)


def compare(call: Call) -> TableComparison:
    spec = decode_spec(call, ComparisonSpec)
    if not 2 <= len(spec.sides) <= comparison.MOST_SIDES:
        raise ApiError(400, f"a comparison is of 2 to {comparison.MOST_SIDES} tables, not of {len(spec.sides)}")
    with asking():
        sides = call.services.tables.tables(files_of(call, spec.sides))
        found = comparison.compare(sides, spec.on, spec.columns, spec.filter, spec.changed, spec.offset, spec.limit)
    return TableComparison(**msgspec.structs.asdict(found))


def export(call: Call) -> Response:
    spec = decode_spec(call, ExportSpec)
    name = f"{(spec.key or spec.path.removesuffix('.parquet')).rpartition('/')[2] or 'table'}.{spec.format}"
    headers = {
        "content-security-policy": SANDBOX,
        "content-disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
    }
    with asking():
        relation = _relation(call, spec)
        if spec.by:
            order = (spec.sort or ["-count"])[0]
            batches = grouping.export_groups(relation, spec.by, spec.aggregates, order, spec.filter, spec.search)
        else:
            batches = pages.export(relation, spec.columns, spec.sort, spec.filter, spec.search)
        first = next(batches, None)  # what is wrong is found before the answer begins
        if spec.format == "csv":
            return StreamingResponse(_csv(first, batches), media_type="text/csv", headers=headers)
        file = _parquet(first, batches)
    kind = "application/vnd.apache.parquet"
    return FileResponse(file, media_type=kind, headers=headers, background=BackgroundTask(os.unlink, file))


def _csv(first: Any, batches: Iterator[Any]) -> Iterator[bytes]:
    from pyarrow import csv

    header = True
    while first is not None:
        target = io.BytesIO()
        csv.write_csv(_flat(first), target, csv.WriteOptions(include_header=header))
        header = False
        yield target.getvalue()
        first = next(batches, None)


def _flat(batch: Any) -> Any:
    """A batch whose cells CSV has words for."""
    import pyarrow as arrow

    for position, field in enumerate(batch.schema):
        if arrow.types.is_binary(field.type) or arrow.types.is_large_binary(field.type):
            column = arrow.array([None if cell is None else cell.hex() for cell in batch.column(position).to_pylist()])
            batch = batch.set_column(position, field.name, column)
    return batch


def _parquet(first: Any, batches: Iterator[Any]) -> str:
    from pyarrow import parquet

    handle, path = tempfile.mkstemp(prefix="trackkit-", suffix=".parquet")
    os.close(handle)
    try:
        if first is None:
            return path
        with parquet.ParquetWriter(path, first.schema, compression="zstd") as writer:
            while first is not None:
                writer.write_batch(first)
                first = next(batches, None)
    except BaseException:
        os.unlink(path)
        raise
    return path


def _relation(call: Call, spec: TableReference) -> Relation:
    return call.services.tables.table(files_of(call, [spec])[0])


@contextlib.contextmanager
def asking() -> Iterator[None]:
    """What goes wrong with a query, as the client is told."""
    try:
        yield
    except (FilterError, CannotAnswer) as error:
        raise ApiError(400, f"the table can't be asked this: {error}") from None
    except (TooSlow, TooLarge) as error:
        raise ApiError(503, f"{error}; ask for less, or narrow the filter", {"retry-after": "60"}) from None
    except CannotRead as error:
        raise ApiError(409, str(error)) from None


ENDPOINTS = [
    Endpoint(
        "GET", "/tables/runs", list_runs, "The runs that logged a table under a key.", query=SpecQuery, answer=TableRuns
    ),
    Endpoint(
        "GET",
        "/tables",
        show_table,
        "A table: columns, rows, steps.",
        query=SpecQuery,
        answer=TableAnswer,
        errors=[404, 409],
    ),
    Endpoint(
        "GET",
        "/tables/rows",
        list_rows,
        "A page of a table's rows, sorted and filtered.",
        query=SpecQuery,
        answer=TableRows,
        errors=[404, 409],
    ),
    Endpoint(
        "GET",
        "/tables/groups",
        list_groups,
        "A table's rows gathered by columns.",
        query=SpecQuery,
        answer=TableGroups,
        errors=[404, 409],
    ),
    Endpoint(
        "GET",
        "/tables/distributions",
        list_distributions,
        "What the cells of a table's columns are like.",
        query=SpecQuery,
        answer=TableDistributions,
        errors=[404, 409],
    ),
    Endpoint(
        "GET", "/tables/row", show_row, "A row of a table in full.", query=SpecQuery, answer=TableRow, errors=[404, 409]
    ),
    Endpoint(
        "GET",
        "/tables/export",
        export,
        "A table's rows as CSV or Parquet.",
        query=SpecQuery,
        gives="*/*",
        errors=[404, 409],
    ),
    Endpoint(
        "GET",
        "/tables/comparison",
        compare,
        "The same table of several runs, steps or versions of an artifact, joined.",
        query=SpecQuery,
        answer=TableComparison,
        errors=[404, 409],
    ),
]
