"""Filters mean the same as text, as nodes, as SQL and as W&B's dicts."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trackkit.backend.store.filters import (
    Among,
    And,
    Compare,
    Entry,
    Field,
    FilterError,
    Missing,
    Not,
    NotANumber,
    Or,
    Span,
    parse,
    where,
)
from trackkit.backend.store.filters.nodes import time_of
from trackkit.backend.store.sqlite import SQLiteDatabase

NOW = 1_700_100_000.0

words = st.sampled_from(
    ["adam", "sgd", "Adam", "a%", "a_a", "", "it's", 'say "x"', "ünïcode", "Über", "back\\slash", "a\nb"]
)
numbers = st.one_of(
    st.sampled_from([0, 1, -1, 2**53 + 1, -(2**70), 0.5, math.inf, -math.inf, 1e300]), st.integers(), st.floats()
)
plain_numbers = numbers.filter(lambda number: not (isinstance(number, float) and math.isnan(number)))
keys = st.sampled_from(["lr", "val/loss", "model.depth", "a b", "x`y", 'q"q', "loss.min", "ä", "%", "in"])
config_entries = st.builds(Entry, st.sampled_from(["config", "summary"]), keys)
text_fields = st.sampled_from(["id", "name", "project", "group", "job_type", "notes", "state", "host"]).map(Field)
time_fields = st.sampled_from(["created", "updated", "ended"]).map(Field)
orders = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
patterns = st.sampled_from(["a%", "Ü%", "ü%", "%a", "_d%", "SGD", "%\\%%", "%", "x"])
expressions = st.sampled_from(["^a", "d.m", "[sg]+", "x$", ""])
spans = st.builds(Span, st.sampled_from([-7, 0, 2.5, -0.5]), st.sampled_from(["s", "m", "h", "d", "w", "ms"]))
moments = st.one_of(st.sampled_from(["2023-11-14", "2023-11-15T22:13:20+02:00", "2023-11-16 00:00:00.5"]), spans)
tags = Field("tags")

conditions = st.one_of(
    st.builds(Compare, config_entries, orders, st.one_of(plain_numbers, words)),
    st.builds(Compare, config_entries, st.sampled_from(["=", "!="]), st.booleans()),
    st.builds(Compare, config_entries | text_fields, st.just("like"), patterns),
    st.builds(Compare, config_entries | text_fields, st.just("matches"), expressions),
    st.builds(Compare, text_fields, orders, words),
    st.builds(Compare, time_fields, orders, moments),
    st.builds(Compare, st.just(Field("exit_code")), orders, plain_numbers),
    st.builds(Compare, st.just(Field("duration")), orders, plain_numbers | spans),
    st.builds(Compare, st.just(tags), st.just("has"), words),
    st.builds(Among, config_entries, st.lists(plain_numbers | words | st.booleans(), min_size=1).map(tuple)),
    st.builds(Among, text_fields | st.just(tags), st.lists(words, min_size=1).map(tuple)),
    st.builds(Missing, config_entries | text_fields | time_fields | st.just(tags)),
    st.builds(NotANumber, config_entries),
)
nodes = st.recursive(
    conditions,
    lambda parts: st.one_of(
        st.builds(Not, parts),
        st.builds(And, st.lists(parts, min_size=2, max_size=3).map(tuple)),
        st.builds(Or, st.lists(parts, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=8,
)

values = st.one_of(st.none(), st.booleans(), numbers, words, st.just([1, 2]))
times = st.integers(1_699_900_000_000_000, 1_700_200_000_000_000)
runs = st.fixed_dictionaries(
    {
        "name": words,
        "run_group": words,
        "state": st.sampled_from(["finished", "running"]),
        "created": times,
        "updated": times,
        "ended": st.none() | times,
        "exit_code": st.none() | st.integers(-1, 1),
        "host": words,
        "tags": st.lists(words, unique=True),
        "config": st.dictionaries(keys, values),
        "summary": st.dictionaries(keys, values),
    }
)


@given(nodes)
def test_a_filter_prints_as_text_that_means_the_same(node):
    assert parse(str(node)) == node


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(runs, min_size=1, max_size=4), st.lists(nodes, min_size=1, max_size=10))
def test_the_database_and_python_agree_which_runs_match(db, fill, drawn, filters):
    with undone(db):
        stored = {fill.run(**run): run for run in drawn}
        for number, run in stored.items():
            run.update(id=f"run{number}", project="p", job_type="", notes="")

        for node in filters:
            sql, parameters = where(node, NOW)
            found = {row[0] for row in db.query(f"select run from runs where {sql}", parameters)}

            assert found == {number for number, run in stored.items() if holds(node, run)}, str(node)


class undone:  # noqa: N801
    """Takes back what is written inside, so that every example begins with an empty store."""

    def __init__(self, db: SQLiteDatabase) -> None:
        self.db = db

    def __enter__(self) -> None:
        self.db.connection.execute("begin")

    def __exit__(self, *error: object) -> None:
        self.db.connection.execute("rollback")


MAY_BE_EMPTY = [Field("group"), Field("host"), Field("job_type"), Field("notes")]


def holds(node: Any, run: Mapping[str, Any]) -> bool:
    """What a filter means, in plain Python."""
    match node:
        case And(parts):
            return all(holds(part, run) for part in parts)
        case Or(parts):
            return any(holds(part, run) for part in parts)
        case Not(part):
            return not holds(part, run)
        case Compare(target, "!=", value):
            return not holds(Compare(target, "=", value), run)
        case Compare(target, order, value):
            return any(ordered(found, order, meant(target, value)) for found in found_in(run, target))
        case Among(target, values):
            return any(holds(Compare(target, "=", value), run) for value in values)
        case Missing(target):
            found = found_in(run, target)
            return not any(found) if target in MAY_BE_EMPTY else not found
        case NotANumber(target):
            return any(isinstance(value, float) and math.isnan(value) for value in found_in(run, target))
    raise AssertionError(node)


def found_in(run: Mapping[str, Any], target: Entry | Field) -> list[Any]:
    if isinstance(target, Entry):
        found = [run[target.table].get(target.key)]
    elif target.name == "tags":
        found = list(run["tags"])
    elif target.name == "duration":
        found = [((run["ended"] if run["ended"] is not None else run["updated"]) - run["created"]) / 1e6]
    else:
        found = [run["run_group" if target.name == "group" else target.name]]
    return [value for value in found if value is not None]


def meant(target: Entry | Field, value: Any) -> Any:
    if target.kind == "time":
        return round((NOW + value.seconds if isinstance(value, Span) else time_of(value)) * 1e6)
    return value.seconds if isinstance(value, Span) else value


def ordered(found: Any, order: str, value: Any) -> bool:
    if isinstance(value, str) != isinstance(found, str) or isinstance(found, list):
        return False
    if isinstance(value, bool) and not isinstance(found, bool):
        return False
    match order:
        case "=" | "has":
            if isinstance(found, str):
                return found == value
            if isinstance(found, int) and isinstance(value, int):
                return found == value
            return float(found) == float(value)
        case "like":
            return like(value, found)
        case "matches":
            return re.search(value, found) is not None
    if not isinstance(found, str):
        found, value = float(found), float(value)
    return {"<": found < value, "<=": found <= value, ">": found > value, ">=": found >= value}[order]


def like(pattern: str, text: str) -> bool:
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    regex = "".join({"%": ".*", "_": "."}.get(part, re.escape(part[-1])) for part in parts)
    return re.fullmatch(regex, text, re.DOTALL | re.IGNORECASE | re.ASCII) is not None


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("config.lr < 0.01", Compare(Entry("config", "lr"), "<", 0.01)),
        ("summary.val/loss<=1e-3", Compare(Entry("summary", "val/loss"), "<=", 1e-3)),
        ('config."model dim" == 3', Compare(Entry("config", "model dim"), "=", 3)),
        ("config.model.`a.b` <> 'x'", Compare(Entry("config", "model.a.b"), "!=", "x")),
        ("STATE = 'finished'", Compare(Field("state"), "=", "finished")),
        ("created > -7d", Compare(Field("created"), ">", Span(-7, "d"))),
        ("duration >= 1.5h", Compare(Field("duration"), ">=", Span(1.5, "h"))),
        ("tags has 'baseline'", Compare(Field("tags"), "has", "baseline")),
        ("not tags has 'a'", Not(Compare(Field("tags"), "has", "a"))),
        ("config.a not in (1, -inf)", Not(Among(Entry("config", "a"), (1, -math.inf)))),
        ("config.a != nan", Not(NotANumber(Entry("config", "a")))),
        ("config.in is not null", Not(Missing(Entry("config", "in")))),
        ("name not like 'base%'", Not(Compare(Field("name"), "like", "base%"))),
        (r"name = 'it\'s\n'", Compare(Field("name"), "=", "it's\n")),
        ("summary_metrics.acc > .5", Compare(Entry("summary", "acc"), ">", 0.5)),
        (
            "config.a = 1 or config.b = 2 and config.c = true",
            Or(
                (
                    Compare(Entry("config", "a"), "=", 1),
                    And((Compare(Entry("config", "b"), "=", 2), Compare(Entry("config", "c"), "=", True))),
                )
            ),
        ),
    ],
)
def test_an_expression_reads_as_it_looks(text, node):
    assert parse(text) == node


@pytest.mark.parametrize(
    ("text", "message", "column"),
    [
        ("config.lr <", "a value after '<' is expected, but the filter ends", 12),
        ("config.lr < and x", "a value after '<' is expected, but there is 'and'", 13),
        ("state = finished", "text stands in quotes; write 'finished'", 9),
        ("stat = 'x'", "there is no field 'stat'; there are id, name,", 1),
        ("config. = 1", "a key is expected after 'config.'", 8),
        ("config.a = 'x", "this text is not closed", 12),
        ("(config.a = 1", "')' is expected, but the filter ends", 14),
        ("config.a = 1 config.b = 2", "'and', 'or' or the end is expected", 14),
        ("tags = 'a'", "write 'tags has \"name\"'", 6),
        ("state < 3", "state is compared with text in quotes, not with 3", 7),
        ("created > 'soon'", "created is compared with a time like", 9),
        ("config.a = null", "write 'is null'", 12),
        ("config.a = config.b", "config.b is another entry", 12),
        ("config.a < nan", "write 'config.a is nan'", 10),
        ("name matches '('", "is no regular expression", 6),
        ("config.a in ()", "a value is expected", 14),
        ("config.a ; 1", "';' means nothing here", 10),
        ("(" * 30 + "config.a = 1" + ")" * 30, "nested more than 20 deep", 21),
    ],
)
def test_an_error_says_what_is_wrong_and_where(text, message, column):
    with pytest.raises(FilterError, match=re.escape(message)) as caught:
        parse(text)

    assert caught.value.column == column
    assert str(caught.value).splitlines()[-1].index("^") == column + 1


@pytest.mark.parametrize(
    ("filters", "text"),
    [
        ({"config.lr": {"$lt": 0.01, "$gte": 0}}, "config.lr < 0.01 and config.lr >= 0"),
        ({"config.lr.value": 1, "state": "finished"}, 'config.lr = 1 and state = "finished"'),
        ({"$or": [{"tags": "a"}, {"tags": {"$in": ["b", "c"]}}]}, 'tags has "a" or tags in ("b", "c")'),
        ({"display_name": {"$regex": "^base", "$options": "i"}}, 'name matches "(?i)^base"'),
        ({"name": "abc", "jobType": {"$ne": "eval"}}, 'id = "abc" and job_type != "eval"'),
        ({"summary_metrics.acc": {"$exists": True}}, "summary.acc is not null"),
        ({"summary.acc": None}, "summary.acc is null"),
        ({"config.a": {"$in": [1, None]}}, "config.a in (1) or config.a is null"),
        ({"config.a": {"$nin": ["x"]}}, 'config.a not in ("x")'),
        ({"config.a": {"$not": {"$gt": 1}}}, "not config.a > 1"),
        ({"$nor": [{"state": "failed"}, {"group": "g"}]}, 'not (state = "failed" or group = "g")'),
        ({"tags": {"$all": ["a", "b"], "$ne": "c"}}, '(tags has "a" and tags has "b") and not tags has "c"'),
        ({"created_at": {"$gt": datetime(2026, 1, 1, tzinfo=UTC)}}, 'created > "2026-01-01T00:00:00+00:00"'),
        ({"$and": [{"config.a": True}]}, "config.a = true"),
    ],
)
def test_a_dict_in_the_manner_of_wandb_means_an_expression(filters, text):
    assert parse(filters) == parse(text)


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"loss": 1}, "there is no key 'loss'"),
        ({"$xor": []}, "$xor is not known here"),
        ({"$or": []}, "$or takes a list of one or more filters"),
        ({"config.a": {"$near": 1}}, "$near is not known here"),
        ({"config.a": [1]}, "not with [1]"),
        ({"config.a": {"$in": "abc"}}, "take a list of values"),
        ({"$and": [{}]}, "at least one key"),
    ],
)
def test_a_dict_that_means_nothing_is_refused(filters, message):
    with pytest.raises(FilterError, match=re.escape(message)):
        parse(filters)


def test_no_filter_matches_every_run(db, fill):
    fill.run()

    for empty in (None, "", "  ", {}):
        sql, parameters = where(parse(empty))
        assert db.query(f"select count(*) from runs where {sql}", parameters) == [(1,)]


def test_the_largest_filter_is_one_the_database_takes(db, fill):
    fill.run(config={"a": 1})
    wide = " or ".join(f"config.a = {number}" for number in range(500))
    deep = "not (config.a = 2 and " * 9 + "config.a = 1" + ")" * 9
    long = f"config.a in ({', '.join(map(str, range(5000)))})"

    for text in (wide, deep, long):
        sql, parameters = where(parse(text))
        db.query(f"select run from runs where {sql}", parameters)

    with pytest.raises(FilterError, match="more than 500 conditions"):
        where(parse(f"{wide} or state = 'failed'"))
