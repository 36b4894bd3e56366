"""Requests made up from the API's own description, sound and hostile: none breaks the server or goes undescribed."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

import trackkit
from tests.servers import Serving, serving
from tests.store.conftest import Filler
from trackkit.backend.server import openapi
from trackkit.backend.server.api.table import ENDPOINTS, PREFIX
from trackkit.backend.store.sqlite import SQLiteDatabase
from trackkit.core import wire

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@schemathesis.serializer(wire.CONTENT_TYPE, "application/octet-stream")
def as_bytes(ctx: object, value: object) -> bytes:
    return value if isinstance(value, bytes) else repr(value).encode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    root = tmp_path_factory.mktemp("store")
    with serving(root) as found:
        db = SQLiteDatabase(root / "trackkit.db")
        fill = Filler(db)
        number = fill.run("r", config={"lr": 0.1}, summary={"loss": 1.0}, tags=["t"])
        fill.series(number, "loss", [2.0, 1.0])
        fill.lines(number, [("stdout", "hello\n")])
        db.close()
        settings = {"quiet": True, "system": False, "console": "off", "git": False, "packages": False, "code": False}
        with trackkit.init(project="p", id="m", dir=root, settings=settings) as run:
            table = trackkit.Table(columns=["a", "b"], data=[[1, "x"], [2, None]])
            run.log({"t": table, "h": np.arange(9), "i": trackkit.Image(np.zeros((4, 4)))})
        yield found


SCHEMA = schemathesis.openapi.from_dict(openapi.document(ENDPOINTS, PREFIX))
OPERATIONS = [found.ok() for found in SCHEMA.get_all_operations() if not found.ok().path.endswith("/events")]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_the_server_keeps_to_its_description(operation: APIOperation, server: Serving) -> None:
    @settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in GenerationMode)))
    def keeps(case: Case) -> None:
        kept = {name: value for name, value in (case.headers or {}).items() if name.lower() != "authorization"}
        case.headers = {**kept, "x-trackkit-csrf": "x"}
        case.call_and_validate(base_url=server.address, checks=CHECKS)

    keeps()


ASKED = {
    "/media/keys": [{"project": "p"}, {"runs": ["m"], "kinds": ["image"]}],
    "/media/steps": [{"runs": ["m"], "key": "i"}],
    "/media/items": [{"runs": ["m"], "key": "i", "step": 3}, {"project": "p", "key": "t", "most": -1}],
    "/media/history": [{"run": "m", "key": "i", "first": -(10**30), "offset": 10**30}],
    "/media/histograms": [{"run": "m", "key": "h", "bins": 10**9}, {"run": "m", "key": "h", "range": [1, 1e308]}],
    "/tables": [{"run": "m", "key": "t"}, {"run": "m", "key": "t", "step": 10**40}],
    "/tables/rows": [{"run": "m", "key": "t", "limit": -1, "offset": -1}, {"run": "m", "key": "t", "offset": 10**40}],
    "/tables/groups": [{"run": "m", "key": "t", "by": ["a", "a"]}, {"run": "m", "key": "t", "by": ["b"], "limit": 0}],
    "/tables/distributions": [{"run": "m", "key": "t", "bins": 0}, {"run": "m", "key": "t", "columns": []}],
    "/tables/row": [{"run": "m", "key": "t", "number": 10**40}, {"run": "m", "key": "t", "number": 1}],
    "/tables/comparison": [{"sides": [{"run": "m", "key": "t"}] * 8, "on": ["a", "b"]}],
    "/tables/export": [{"run": "m", "key": "t", "format": "parquet"}, {"run": "m", "key": "t", "columns": []}],
}


@pytest.mark.parametrize(("path", "spec"), [(path, spec) for path, specs in ASKED.items() for spec in specs])
def test_specifications_at_their_limits_are_answered_as_described(server: Serving, path: str, spec: object) -> None:
    (operation,) = [each for each in OPERATIONS if each.path == PREFIX + path]

    case = operation.Case(query={"spec": json.dumps(spec)}, headers={"x-trackkit-csrf": "x"})

    case.call_and_validate(base_url=server.address, checks=CHECKS)
