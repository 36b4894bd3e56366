"""Batches that are whole and sound as messages, with whatever their sender likes in them: no server fails at one."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.servers import Serving
from trackkit.core import records, wire
from trackkit.core.sink import Batch

NUMBERS = itertools.count()

texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.sampled_from(["", "\0", "a\0b", "x" * 2000, "é" * 300, "../..", "/", "loss", "running", "\u2028", "NaN"]),
)
integers = st.one_of(
    st.integers(-5, 5), st.integers(-(2**63), 2**64 - 1), st.sampled_from([2**63, 2**64 - 1, -(2**63), 2**63 - 1])
)
floats = st.one_of(st.floats(), st.sampled_from([1e308, -1e308, 1e300, 9e15, 253402300800.0]))
jsons = st.recursive(
    st.one_of(st.none(), st.booleans(), integers, floats, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)
objects = st.dictionaries(texts, jsons, max_size=3)
OF_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    str: texts, int: integers, float: st.one_of(floats, integers), bytes: st.binary(max_size=40), bool: st.booleans(),
}  # fmt: skip


def of_type(kind: Any) -> st.SearchStrategy[Any]:
    """Values that msgspec takes for a field, and now and then any other."""
    if kind in OF_TYPE:
        return OF_TYPE[kind]
    arguments = getattr(kind, "__args__", ())
    if getattr(kind, "__origin__", None) is list:
        return st.lists(of_type(arguments[0]), max_size=4)
    if getattr(kind, "__origin__", None) is dict:
        return st.dictionaries(of_type(arguments[0]), of_type(arguments[1]), max_size=4)
    if arguments:
        return st.one_of(*(st.none() if one is type(None) else of_type(one) for one in arguments))
    return jsons


def record(kind: type[records.Record]) -> st.SearchStrategy[bytes]:
    fields = [of_type(field.type) for field in msgspec.structs.fields(kind)]
    return st.tuples(st.just(kind.__struct_config__.tag), *fields).map(msgspec.msgpack.encode)


def points() -> st.SearchStrategy[bytes]:
    """Points whose values are as many as their keys, which random bytes hardly ever are."""
    return st.lists(texts, max_size=3).flatmap(
        lambda keys: st.tuples(
            st.just("p"), integers, floats, st.just(keys), st.binary(min_size=8 * len(keys), max_size=8 * len(keys)),
            st.dictionaries(texts, texts, max_size=2),
        ).map(msgspec.msgpack.encode)
    )  # fmt: skip


KINDS = list(records.Record.__subclasses__())
payloads = st.lists(
    st.one_of(
        points(), *map(record, KINDS), st.binary(max_size=30), jsons.map(msgspec.msgpack.encode),
        st.just(b"\x91" * 5000), st.just(msgspec.msgpack.encode(["config", 1.0, {"a": 1}]) ),
    ),
    min_size=1, max_size=6,
)  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(payloads=payloads)
def test_any_records_are_taken_or_refused(server: Serving, payloads: list[bytes]) -> None:
    run = f"r{next(NUMBERS)}"
    ends = list(itertools.accumulate(8 + len(payload) for payload in payloads))
    message = wire.encode(run, "w", 0, Batch(0, ends[-1], payloads, ends))

    answer = server.ask("POST", f"/runs/{run}/journals/w", data=message, headers={"content-type": wire.CONTENT_TYPE})

    assert answer.status_code == 200, answer.text
    assert answer.json()["position"] == ends[-1]
    assert server.ask("GET", f"/runs/{run}").status_code == 200
    for path in ("console", "alerts", "files", "missing", "known", "journals/w"):
        assert server.ask("GET", f"/runs/{run}/{path}").status_code == 200, path


@pytest.mark.parametrize("path", ["/runs?columns=*", "/projects", "/groups?by=project", "/search?q=a"])
def test_lists_of_such_runs_are_shown(server: Serving, path: str) -> None:
    nasty = [
        records.Start(float("inf"), "r", "p", "\0", tags=["\0", "x"], notes="a\0"),
        records.Config(float("nan"), {"a": float("nan"), "b": {"": [float("inf"), 2**64 - 1]}, "": 2**64 - 1}),
        records.Summary(1e300, {"s": float("-inf")}),
        records.Finish(-1e300, "nonsense", 2**63, "e\0", {"calls": float("nan")}),
    ]
    encoded = [records.encode(each) for each in nasty]
    ends = list(itertools.accumulate(8 + len(payload) for payload in encoded))
    message = wire.encode("r", "w", 0, Batch(0, ends[-1], encoded, ends))

    taken = server.ask("POST", "/runs/r/journals/w", data=message, headers={"content-type": wire.CONTENT_TYPE})

    assert taken.status_code == 200, taken.text
    assert server.ask("GET", path).status_code == 200
    assert server.ask("GET", "/columns?project=p").status_code == 200
