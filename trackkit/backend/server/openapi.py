"""The API's description: an OpenAPI 3.1 document made from the table of endpoints, and a page that shows it offline."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import Any, get_type_hints

import msgspec

from trackkit.backend.server.errors import CODES
from trackkit.backend.server.routing import Endpoint
from trackkit.version import __version__

_REFERENCE = "#/components/schemas/{name}"


def document(endpoints: Sequence[Endpoint], prefix: str) -> dict[str, Any]:
    """The OpenAPI document of a table of endpoints."""
    types = list(dict.fromkeys(t for e in endpoints for t in (e.body, e.answer, *e.parts.values()) if t is not None))
    (*_, components) = msgspec.json.schema_components(types, ref_template=_REFERENCE)
    components["Error"] = _ERROR
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        path = prefix + re.sub(r":\w+}", "}", endpoint.path)
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "trackkit",
            "version": __version__,
            "summary": "Experiment tracking: the server's native API.",
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}, {"session": [], "csrf": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "trackkit_session"},
                "csrf": {"type": "apiKey", "in": "header", "name": "X-Trackkit-CSRF"},
            },
        },
    }


_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {"code": {"enum": sorted(CODES.values())}, "message": {"type": "string"}},
        }
    },
}


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(endpoint),
        "summary": endpoint.summary,
        "tags": [endpoint.path.split("/")[1]],
        "parameters": [*_path_parameters(endpoint), *_query_parameters(endpoint)],
        "responses": _responses(endpoint),
    }
    if endpoint.scope is None:
        operation["security"] = [{}]
    else:
        operation["description"] = f"Needs a token with the scope `{endpoint.scope}`."
    if endpoint.body is not None:
        schema = {"$ref": _REFERENCE.format(name=endpoint.body.__name__)}
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    elif endpoint.takes:
        operation["requestBody"] = {"required": True, "content": {endpoint.takes: {}}}
    return operation


def _operation_id(endpoint: Endpoint) -> str:
    words = re.findall(r"\w+", re.sub(r":\w+}", "}", endpoint.path))
    return "_".join([endpoint.method.lower(), *words])


def _path_parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in endpoint.parameters
    ]


def _query_parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    if endpoint.query is None:
        return []
    (_, *_), schemas = msgspec.json.schema_components([endpoint.query], ref_template=_REFERENCE)
    schema = schemas[endpoint.query.__name__]
    required = schema.get("required", [])
    hints = get_type_hints(endpoint.query)
    found = []
    for name in hints:
        parameter: dict[str, Any] = {"name": name, "in": "query", "required": name in required}
        if name in endpoint.parts:
            reference = {"$ref": _REFERENCE.format(name=endpoint.parts[name].__name__)}
            parameter["content"] = {"application/json": {"schema": reference}}
        else:
            parameter["schema"] = schema["properties"][name]
        found.append(parameter)
    return found


def _responses(endpoint: Endpoint) -> dict[str, Any]:
    found: dict[str, Any] = {}
    success: dict[str, Any] = {"description": "Done."}
    if endpoint.answer is not None:
        schema = {"$ref": _REFERENCE.format(name=endpoint.answer.__name__)}
        success = {"description": "The answer.", "content": {"application/json": {"schema": schema}}}
    elif endpoint.gives:
        success = {"description": "The content.", "content": {endpoint.gives: {}}}
    found[str(endpoint.status)] = success
    statuses = {400, 401, 403, 421, 429, 500, 503, *endpoint.errors}
    if endpoint.body is not None or endpoint.takes:
        statuses |= {413, 415}
    if endpoint.method == "PUT" and endpoint.takes:
        found["204"] = {"description": "It was here already."}
    for status in sorted(statuses):
        if status == 304:
            found["304"] = {"description": "Nothing changed since."}
            continue
        content = {"application/json": {"schema": {"$ref": _REFERENCE.format(name="Error")}}}
        found[str(status)] = {"description": CODES[status].replace("_", " "), "content": content}
    return found


def page(endpoints: Sequence[Endpoint], prefix: str) -> str:
    """The API's documentation as a page that needs nothing but itself."""
    sections: dict[str, list[str]] = {}
    for endpoint in endpoints:
        sections.setdefault(endpoint.path.split("/")[1], []).append(_entry(endpoint, prefix))
    body = "\n".join(f"<h2>{name}</h2>\n{''.join(entries)}" for name, entries in sections.items())
    return _PAGE.format(version=html.escape(__version__), body=body)


def _entry(endpoint: Endpoint, prefix: str) -> str:
    path = prefix + re.sub(r":\w+}", "}", endpoint.path)
    facts = [("needs", f"a token with the scope {endpoint.scope}" if endpoint.scope else "no token")]
    for name, type in (("parameters", endpoint.query), ("body", endpoint.body), ("answer", endpoint.answer)):
        if type is not None:
            facts.append((name, _fields(type)))
    facts += [(name, _fields(type)) for name, type in endpoint.parts.items()]
    facts += [(name, media) for name, media in (("body", endpoint.takes), ("answer", endpoint.gives)) if media]
    rows = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>" for name, text in facts)
    head = f"<b>{endpoint.method}</b> <code>{html.escape(path)}</code> {html.escape(endpoint.summary)}"
    return f"<details><summary>{head}</summary><dl>{rows}</dl></details>\n"


def _fields(type: Any) -> str:
    doc = "" if type.__doc__ is None or type.__doc__.startswith(type.__name__ + "(") else f" {type.__doc__}"
    fields = []
    for each in msgspec.structs.fields(type):
        name = getattr(each.type, "__name__", "") if not hasattr(each.type, "__args__") else ""
        fields.append(f"{each.name}: {name or str(each.type).replace('typing.', '')}")
    return re.sub(r"trackkit\.[\w.]+\.(\w+)", r"\1", ", ".join(fields)) + (f".{doc}" if doc else "")


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>trackkit's API</title><style>
:root {{ color-scheme: light dark }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 56rem; margin: 2rem auto; padding: 0 1rem }}
summary {{ cursor: pointer; padding: .25rem 0 }} b {{ display: inline-block; width: 4.5rem }}
dl {{ margin: .25rem 0 1rem 4.5rem }} dt {{ font-weight: 600 }} dd {{ margin: 0 0 .5rem }}
</style></head><body><h1>trackkit's API</h1>
<p>Version {version}. For programs: <a href="/api/v1/openapi.json">openapi.json</a>. Times are seconds since the epoch,
UTC. Numbers that JSON can't hold are the words "NaN", "Infinity" and "-Infinity". Errors are
<code>{{"error": {{"code", "message"}}}}</code>.</p>
{body}</body></html>
"""
