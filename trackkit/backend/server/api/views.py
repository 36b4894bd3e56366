"""`/views`: what people chose to see of a project, kept under a name."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from trackkit.backend.server.api.access import check_project
from trackkit.backend.server.api.projects import ProjectQuery
from trackkit.backend.server.api.values import check_depth, seconds
from trackkit.backend.server.errors import ApiError, not_found
from trackkit.backend.server.routing import Answer, Body, Call, Endpoint
from trackkit.backend.store import views
from trackkit.backend.store.database import Database

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class ViewSummary(msgspec.Struct):
    """A saved view; `content` is the dashboard's own."""

    id: str
    project: str
    name: str
    created: float
    updated: float
    content: dict[str, Any]


class Views(Answer):
    views: list[ViewSummary]


class ViewAnswer(Answer):
    view: ViewSummary


class SavedView(Body):
    project: str
    name: str
    content: dict[str, Any]


def list_views(call: Call) -> Views:
    check_project(call, call.query.project)
    with call.services.storage.reading() as db:
        return Views(views=[_summary(row) for row in views.of_project(db, call.query.project)])


def save_view(call: Call) -> ViewAnswer:
    id, saved = call.path["id"], call.body
    check_project(call, saved.project)
    if not _ID.fullmatch(id):
        raise ApiError(400, f"{id!r} can't be a view's id: use up to 64 letters, digits, '_' and '-'")
    check_depth(saved.content)
    with call.services.storage.changing() as db:
        if views.find(db, id) is not None:
            _visible(call, db)
        row = views.save(db, id, saved.project, saved.name, msgspec.json.encode(saved.content).decode())
    return ViewAnswer(view=_summary(row))


def delete_view(call: Call) -> None:
    with call.services.storage.changing() as db:
        _visible(call, db)
        views.delete(db, call.path["id"])


def _visible(call: Call, db: Database) -> None:
    row = views.find(db, call.path["id"])
    if row is None or not call.identity.may_see(row.project):
        raise not_found(f"view {call.path['id']!r}")


def _summary(row: views.ViewRow) -> ViewSummary:
    content = msgspec.json.decode(row.content)
    return ViewSummary(row.id, row.project, row.name, seconds(row.created), seconds(row.updated), content)


ENDPOINTS = [
    Endpoint(
        "GET", "/views", list_views, "The saved views of a project.", query=ProjectQuery, answer=Views, errors=[404]
    ),
    Endpoint(
        "PUT", "/views/{id}", save_view, "Save a view.", scope="write", body=SavedView, answer=ViewAnswer, errors=[404]
    ),
    Endpoint("DELETE", "/views/{id}", delete_view, "Delete a view.", scope="write", status=204, errors=[404]),
]
