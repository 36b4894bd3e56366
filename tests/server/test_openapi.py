"""The API's description tells the truth."""

from __future__ import annotations

import re

import msgspec

from tests.servers import Serving
from trackkit.backend.server.api.table import ENDPOINTS, PREFIX


def test_the_document_has_every_endpoint_and_no_loose_reference(server: Serving) -> None:
    document = server.get("/openapi.json")

    assert document["openapi"].startswith("3.1")
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == {(each.method, PREFIX + re.sub(r":\w+}", "}", each.path)) for each in ENDPOINTS}
    schemas = document["components"]["schemas"]
    references = set(re.findall(r'"#/components/schemas/(\w+)"', msgspec.json.encode(document).decode()))
    assert references <= set(schemas)
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)


def test_the_page_needs_nothing_from_elsewhere(server: Serving) -> None:
    page = server.session.get(f"{server.address}/docs", timeout=10).text

    assert not re.search(r'(src|href)="(https?:)?//', page)
    assert "<script" not in page
    for endpoint in ENDPOINTS:
        assert PREFIX + re.sub(r":\w+}", "}", endpoint.path) in page


def test_the_metrics_count_requests_by_endpoint(server: Serving) -> None:
    server.get("/projects")
    server.ask("GET", "/runs/nobody")

    text = server.session.get(f"{server.address}/metrics", timeout=10).text

    assert 'trackkit_requests_total{method="GET",path="/projects",status="200"} 1.0' in text
    assert 'trackkit_requests_total{method="GET",path="/runs/{run}",status="404"} 1.0' in text
    assert "nobody" not in text
