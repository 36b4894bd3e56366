"""Requests made up from the API's own description, sound and hostile: none breaks the server or goes undescribed."""

from __future__ import annotations

import json
from collections.abc import Iterator

import msgspec
import numpy as np
import openapi_spec_validator
import pytest
import requests
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
from trackkit.core import wire

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@schemathesis.serializer(wire.CONTENT_TYPE, "application/octet-stream")
def as_bytes(ctx: object, value: object) -> bytes:
    return value if isinstance(value, bytes) else repr(value).encode()


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    root, store = tmp_path_factory.mktemp("store"), ""
    if request.param == "postgres":
        cluster = request.getfixturevalue("postgres")
        store = cluster.url(cluster.create())
    with serving(root, store) as found:
        with found.services.storage.changing() as db:
            fill = Filler(db)
            number = fill.run("r", config={"lr": 0.1}, summary={"loss": 1.0}, tags=["t"])
            fill.series(number, "loss", [2.0, 1.0])
            fill.lines(number, [("stdout", "hello\n")])
            fill.object(number, "a/b.txt", inline=b"text", size=4)
        settings = {"quiet": True, "system": False, "console": "off", "git": False, "packages": False, "code": False}
        sent = {"project": "p", "id": "m", "dir": root / "client", "sink": found.address, "settings": settings}
        with trackkit.init(**sent) as run:
            table = trackkit.Table(columns=["a", "b"], data=[[1, "x"], [2, None]])
            run.log({"t": table, "h": np.arange(9), "i": trackkit.Image(np.zeros((4, 4)))})
        yield found


SCHEMA = schemathesis.openapi.from_dict(openapi.document(ENDPOINTS, PREFIX))
OPERATIONS = [found.ok() for found in SCHEMA.get_all_operations()]
KNOWN = {"run": "r", "path": "a/b.txt"}
"""Names of what there is, for which made-up ones are exchanged half of the time: most would find nothing."""


def hostile(operation: APIOperation) -> st.SearchStrategy[Case]:
    """Requests as the description allows and forbids, without a token, as from a page of ours."""

    def complete(case: Case, known: bool) -> Case:
        kept = {name: value for name, value in (case.headers or {}).items() if name.lower() != "authorization"}
        case.headers = {**kept, "x-trackkit-csrf": "x"}
        # The run must live on for the next request.
        if known and (case.method, case.path) != ("DELETE", f"{PREFIX}/runs/{{run}}"):
            case.path_parameters = {name: KNOWN.get(name, value) for name, value in case.path_parameters.items()}
        return case

    made = st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in GenerationMode))
    return st.builds(complete, made, st.booleans())


def is_stream(operation: APIOperation) -> bool:
    """Whether a good answer has no end, so that it can't be read before it is checked."""
    return bool(operation.path.endswith("/events"))


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_the_server_keeps_to_its_description(operation: APIOperation, server: Serving) -> None:
    @settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=hostile(operation))
    def keeps(case: Case) -> None:
        if not is_stream(operation):
            case.call_and_validate(base_url=server.address, checks=CHECKS)
            return
        request = case.as_transport_kwargs(base_url=server.address)
        with requests.request(**request, stream=True, timeout=10) as answer:
            described = operation.definition.raw["responses"][str(answer.status_code)]["content"]
            assert answer.headers["content-type"].partition(";")[0] in described
            if answer.status_code == 200:
                lines = answer.iter_lines(chunk_size=1)
                assert b"event: hello" in (next(lines), next(lines))

    keeps()
    assert server.get("/runs/r")["run"]["id"] == "r"


def test_the_description_is_a_valid_document() -> None:
    found = msgspec.json.decode(msgspec.json.encode(openapi.document(ENDPOINTS, PREFIX)))

    openapi_spec_validator.validate(found)

    assert found["openapi"] == "3.1.0"


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


ENTRIES = {"a": ["float", "Infinity", None], "b": ["int", 1e300, None], "c": ["json", None, "[NaN]"]}
AT_LIMITS: list[tuple[str, str, dict[str, object]]] = [
    ("GET", "/ids", {"query": {"limit": -1}}),
    ("GET", "/ids", {"query": {"limit": 10**30, "order": "config.lr"}}),
    ("GET", "/rows", {"query": {"run": ["r", "m", "r", ""]}}),
    ("GET", "/rows", {"query": {"run": [str(number) for number in range(200)]}}),
    ("PATCH", "/rows/{run}", {"body": {"config": ENTRIES, "summary": ENTRIES, "summary_removed": ["a", "zz"]}}),
    ("PATCH", "/rows/{run}", {"body": {"config": {"a": ["int", None, "9" * 10_000]}}}),
    ("PATCH", "/rows/{run}", {"body": {"config": {"a": ["int", "Infinity", None]}}}),
    ("PATCH", "/rows/{run}", {"body": {"config": {"a": ["json", None, "[" * 100_000]}}}),
    ("PATCH", "/rows/{run}", {"body": {"config": {"a": ["str", 1.0, None]}}}),
    ("GET", "/rows/{run}/accounting", {}),
    ("GET", "/runs/{run}/keys", {"query": {"kind": "text"}}),
    ("GET", "/runs/{run}/points", {"query": {"key": ["loss", "loss", "none"], "first": -(10**30), "last": 10**30}}),
    ("GET", "/runs/{run}/points", {"query": {"all": True, "kind": "text", "superseded": True}}),
    ("GET", "/runs/{run}/window", {"query": {"all": True, "rows": 10**30}}),
    ("GET", "/runs/{run}/window", {"query": {"key": ["loss"], "first": 10, "last": -10, "rows": -1}}),
]


@pytest.mark.parametrize(("method", "path", "asked"), AT_LIMITS)
def test_exact_runs_and_points_are_answered_as_described(
    server: Serving, method: str, path: str, asked: dict[str, object]
) -> None:
    (operation,) = [each for each in OPERATIONS if (each.method.upper(), each.path) == (method, PREFIX + path)]
    parameters = {"run": "r"} if "{run}" in path else {}

    case = operation.Case(path_parameters=parameters, headers={"x-trackkit-csrf": "x"}, **asked)

    case.call_and_validate(base_url=server.address, checks=CHECKS)


@pytest.mark.parametrize(("path", "spec"), [(path, spec) for path, specs in ASKED.items() for spec in specs])
def test_specifications_at_their_limits_are_answered_as_described(server: Serving, path: str, spec: object) -> None:
    (operation,) = [each for each in OPERATIONS if each.path == PREFIX + path]

    case = operation.Case(query={"spec": json.dumps(spec)}, headers={"x-trackkit-csrf": "x"})

    case.call_and_validate(base_url=server.address, checks=CHECKS)
