"""Finding what a request names, for whoever may see it."""

from __future__ import annotations

from trackkit.backend.server.errors import ApiError, not_found
from trackkit.backend.server.routing import Call
from trackkit.backend.store import filters, runs
from trackkit.backend.store.database import Database
from trackkit.backend.store.filters import FilterError, Node
from trackkit.backend.store.filters.nodes import Among, And, Field


def run_number(call: Call, db: Database) -> int:
    """The number of the run in the path.

    Raises
    ------
    ApiError
        404 if there is none, or it is of a project that the asker may not see.
    """
    id = call.path["run"]
    number = runs.find(db, id)
    if number is None or not call.identity.may_see(project_of(db, number)):
        raise not_found(f"run {id!r}")
    return number


def project_of(db: Database, run: int) -> str:
    """The project of a run."""
    found = db.query("select project from runs where run = ?", [run])
    return str(found[0][0]) if found else ""


def visible(call: Call, project: str | None = None, expression: str = "") -> Node | None:
    """A filter for the runs of a project, or of all, that match an expression and that the asker may see.

    Raises
    ------
    ApiError
        400 if the expression is no filter.
    """
    parts: list[Node] = []
    if project is not None:
        parts.append(Among(Field("project"), (project,)))
    if call.identity.projects is not None:
        parts.append(Among(Field("project"), tuple(call.identity.projects) or ("",)))
    if expression.strip():
        try:
            parsed = filters.parse(expression)
        except FilterError as error:
            raise ApiError(400, f"the filter can't be read: {error}") from None
        if parsed is not None:
            parts.append(parsed)
    return And(tuple(parts)) if parts else None


def check_project(call: Call, project: str) -> None:
    """Refuse to tell of a project, or to write to it.

    Raises
    ------
    ApiError
        404 if the asker may not see it.
    """
    if not call.identity.may_see(project):
        raise not_found(f"project {project!r}")
