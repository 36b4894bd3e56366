"""Saved views: what people chose to see of a project, kept under a name."""

from __future__ import annotations

import time

import msgspec

from trackkit.backend.store.database import Database

_COLUMNS = "id, project, name, content, created, updated"


class ViewRow(msgspec.Struct):
    """A view; times in microseconds since the epoch, `content` a JSON object that only the dashboard understands."""

    id: str
    project: str
    name: str
    content: str
    created: int
    updated: int


def of_project(db: Database, project: str) -> list[ViewRow]:
    """The views of a project, by name."""
    sql = f"select {_COLUMNS} from views where project = ? order by name, created"
    return [ViewRow(*row) for row in db.query(sql, [project])]


def find(db: Database, id: str) -> ViewRow | None:
    """The view of an id, or None."""
    rows = db.query(f"select {_COLUMNS} from views where id = ?", [id])
    return ViewRow(*rows[0]) if rows else None


def save(db: Database, id: str, project: str, name: str, content: str) -> ViewRow:
    """Keep a view, in place of the one of this id if there is one."""
    now = time.time_ns() // 1000
    before = find(db, id)
    row = ViewRow(id, project, name, content, now if before is None else before.created, now)
    columns = ["project", "name", "content", "created", "updated"]
    db.upsert_many("views", ["id"], columns, [(id, project, name, content, row.created, row.updated)])
    return row


def delete(db: Database, id: str) -> None:
    """Take a view away."""
    db.execute("delete from views where id = ?", [id])
