"""MLflow's filters and orders as SQL, for whatever is searched."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from trackkit.backend.store import params, run_tags
from trackkit.backend.store.filters import FilterError
from trackkit.backend.store.mlflow_filters import Condition, Ordering

Sql = tuple[str, list[Any]]

STATES: Final = {
    "running": "RUNNING", "scheduled": "SCHEDULED", "finished": "FINISHED", "failed": "FAILED", "killed": "KILLED",
    "crashed": "FAILED",
}  # fmt: skip
"""What runs' states are called by MLflow, which has no word for a run whose process vanished."""

_STATUS: Final = "(case runs.state {} end)".format(
    " ".join(f"when '{state}' then '{status}'" for state, status in STATES.items())
)
_MS: Final = 1000
_RUN_ATTRIBUTES: Final = {
    "run_id": "runs.id", "run_name": "runs.name", "status": _STATUS, "user_id": "runs.user_id",
    "start_time": "runs.created", "end_time": "runs.ended",
    "artifact_uri": """(select coalesce(nullif(x.location, ''), 'mlflow-artifacts:/' || cast(x.experiment as text))
        || '/' || runs.id || '/artifacts' from experiments x where x.project = runs.project)""",
}  # fmt: skip

METRIC: Final = """series e left join latest_points l on l.run = e.run and l.key = e.key
    where e.run = runs.run and e.kind = 'metric' and e.key = ? and not exists (
        select 1 from series n where n.run = e.run and n.kind = 'metric' and n.key = e.key and n.series <> e.series
        and (n.last_step, n.last_time, n.series) > (e.last_step, e.last_time, e.series))"""
"""The series, at most one, that has the latest value of a metric: where a run was resumed, each process has its own."""
_LATEST: Final = "(case when l.run is null then e.last else l.value end)"


def of_run(condition: Condition) -> Sql:
    """A comparison as a condition on the table `runs`."""
    key, comparator, value = condition.key, condition.comparator, condition.value
    match condition.entity:
        case "attribute":
            if key in ("start_time", "end_time"):
                return _number(_RUN_ATTRIBUTES[key], comparator, _times(value, _MS))
            return _text(_RUN_ATTRIBUTES[key], comparator, value)
        case "metric":
            sql, parameters = _number(_LATEST, comparator, value)
            if comparator == "!=":
                sql = f"({sql} or {_LATEST} is null)"
            return f"exists (select 1 from {METRIC} and {sql})", [key, *parameters]
        case "parameter":
            return _param(key, comparator, value)
        case "tag":
            return _tag(key, comparator, value)
        case _:
            return _dataset(key, comparator, value)


def _param(key: str, comparator: str, value: Any) -> Sql:
    if comparator in ("IS NULL", "IS NOT NULL"):
        word = "not exists" if comparator == "IS NULL" else "exists"
        return f"{word} (select 1 from config c where c.run = runs.run and c.key = ?)", [key]
    sql, parameters = param("c", comparator, value)
    return f"exists (select 1 from config c where c.run = runs.run and c.key = ? and {sql})", [key, *parameters]


def param(column: str, comparator: str, value: str) -> Sql:
    """A comparison of a config entry's text, as a condition on the row that `column` names."""
    if comparator in ("=", "!="):
        sql, parameters = params.equals(column, value)
        return (f"not {sql}" if comparator == "!=" else sql), parameters
    kept, some = _text(f"{column}.text", comparator, value)
    bare = f"lower({params.SHOWN.format(c=column)}) like lower(?) escape '\\'"
    return f"({kept} or ({column}.text is null and {bare}))", [*some, _escaped(value)]


def _tag(key: str, comparator: str, value: Any) -> Sql:
    if key in run_tags.COLUMNS:
        column = f"runs.{run_tags.COLUMNS[key]}"
        if comparator == "IS NULL":
            return f"{column} = ''", []
        if comparator == "IS NOT NULL":
            return f"{column} <> ''", []
        sql, parameters = _text(column, comparator, value)
        return f"({column} <> '' and {sql})", parameters
    valued = "select 1 from run_tags t where t.run = runs.run and t.key = ?"
    plain = "select 1 from tags p where p.run = runs.run and p.tag = ?"
    if comparator == "IS NULL":
        return f"(not exists ({valued}) and not exists ({plain}))", [key, key]
    if comparator == "IS NOT NULL":
        return f"(exists ({valued}) or exists ({plain}))", [key, key]
    sql, parameters = _text("t.value", comparator, value)
    if _matches(run_tags.PLAIN, comparator, value):
        return f"(exists ({valued} and {sql}) or exists ({plain}))", [key, *parameters, key]
    return f"exists ({valued} and {sql})", [key, *parameters]


def _matches(text: str, comparator: str, value: str) -> bool:
    match comparator:
        case "=":
            return text == value
        case "!=":
            return text != value
        case "LIKE":
            return re.search(like(value), text) is not None
        case _:
            return re.search(like(value.lower()), text.lower()) is not None


def _dataset(key: str, comparator: str, value: Any) -> Sql:
    column = "r.context" if key == "context" else f"d.{key}"
    sql, parameters = _text(column, comparator, value)
    return (
        f"""exists (select 1 from run_datasets r join datasets d on d.dataset = r.dataset
            where r.run = runs.run and {column} is not null and {sql})""",
        parameters,
    )


def valued(table: str, owner: str, condition: Condition) -> Sql:
    """A comparison of tags or parameters in a table of `(owner, key, value)`, as a condition on the owner's row."""
    where = f"from {table} t where t.{owner.partition('.')[2]} = {owner} and t.key = ?"
    if condition.comparator in ("IS NULL", "IS NOT NULL"):
        word = "not exists" if condition.comparator == "IS NULL" else "exists"
        return f"{word} (select 1 {where})", [condition.key]
    sql, parameters = _text("t.value", condition.comparator, condition.value)
    return f"exists (select 1 {where} and {sql})", [condition.key, *parameters]


def attribute(column: str, condition: Condition, *, is_number: bool = False, is_time: bool = False) -> Sql:
    """A comparison of a column; times are in milliseconds for clients, and in microseconds here."""
    if is_number or is_time:
        return _number(column, condition.comparator, _times(condition.value, _MS) if is_time else condition.value)
    return _text(column, condition.comparator, condition.value)


def number(column: str, comparator: str, value: Any) -> Sql:
    """A comparison of a number."""
    return _number(column, comparator, value)


def order_of_runs(orderings: Sequence[Ordering]) -> tuple[str, str, list[Any]]:
    """The joins, the `order by` and the joins' parameters: numbers, then NaN, then what is missing, either way.

    Raises
    ------
    FilterError
        If a key is named twice, or runs can't be ordered by it.
    """
    joins, columns, parameters = "", [], []
    seen: set[tuple[str, str]] = set()
    for position, ordering in enumerate(orderings):
        if (ordering.entity, ordering.key) in seen:
            raise FilterError("`order_by` contains duplicate fields")
        seen.add((ordering.entity, ordering.key))
        way, alias = "asc" if ordering.ascending else "desc", f"o{position}"
        match ordering.entity:
            case "attribute":
                column = _RUN_ATTRIBUTES[ordering.key]
                columns += [f"case when {column} is null then 1 else 0 end", f"{column} {way}"]
                continue
            case "metric":
                # A row of its own, as a value may be NaN, which is NULL, and may be missing.
                joins += f""" left join (
                    select e.run as run, e.key as key, {_LATEST} as value from series e
                    left join latest_points l on l.run = e.run and l.key = e.key
                    where e.kind = 'metric' and not exists (
                        select 1 from series n where n.run = e.run and n.kind = 'metric' and n.key = e.key
                        and n.series <> e.series
                        and (n.last_step, n.last_time, n.series) > (e.last_step, e.last_time, e.series))
                    ) {alias} on {alias}.run = runs.run and {alias}.key = ?"""
                columns += [
                    f"case when {alias}.run is null then 2 when {alias}.value is null then 1 else 0 end",
                    f"{alias}.value {way}",
                ]
            case "parameter":
                joins += f" left join config {alias} on {alias}.run = runs.run and {alias}.key = ?"
                columns += [
                    f"case when {alias}.run is null then 1 else 0 end", f"{params.SHOWN.format(c=alias)} {way}",
                ]  # fmt: skip
            case "tag" if ordering.key in run_tags.COLUMNS:
                columns.append(f"runs.{run_tags.COLUMNS[ordering.key]} {way}")
                continue
            case "tag":
                joins += f" left join run_tags {alias} on {alias}.run = runs.run and {alias}.key = ?"
                columns += [f"case when {alias}.run is null then 1 else 0 end", f"{alias}.value {way}"]
            case _:
                raise FilterError(f"Invalid identifier type '{ordering.entity}'")
        parameters.append(ordering.key)
    if ("attribute", "start_time") not in seen:
        columns.append("runs.created desc")
    return joins, ", ".join([*columns, "runs.id"]), parameters


def like(pattern: str) -> str:
    """The regular expression of a pattern with `%` and `_`."""
    inner = "".join(".*" if char == "%" else "." if char == "_" else re.escape(char) for char in pattern)
    return f"(?s)^{inner}$"


def _escaped(pattern: str) -> str:
    return pattern.replace("\\", "\\\\")


def _times(value: Any, factor: int) -> Any:
    bounded = max(-9e18, min(9e18, value * factor))
    return int(bounded) if isinstance(value, int) else bounded


def _number(column: str, comparator: str, value: Any) -> Sql:
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        value = float(value)
    return f"{column} {comparator} ?", [value]


def _text(column: str, comparator: str, value: Any) -> Sql:
    match comparator:
        case "IN" | "NOT IN":
            word = "in" if comparator == "IN" else "not in"
            return f"{column} {word} ({', '.join('?' * len(value))})", list(value)
        case "LIKE" if re.fullmatch(r"[\w.]+", column):
            # `like` knows no case on one database, and does on the other; it leaves little to search.
            return f"({column} like ? escape '\\' and regexp(?, {column}))", [_escaped(value), like(value)]
        case "LIKE":
            return f"{column} like ? escape '\\'", [_escaped(value)]
        case "ILIKE":
            return f"lower({column}) like lower(?) escape '\\'", [_escaped(value)]
    return f"{column} {comparator} ?", [value]
