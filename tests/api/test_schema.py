"""Requests made up from the API's own description, sound and hostile: none breaks the server or goes undescribed."""

from __future__ import annotations

from collections.abc import Iterator

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
