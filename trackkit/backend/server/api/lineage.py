"""`/runs/{run}/artifacts` and lineage: what runs logged and used, and the graph that makes."""

from __future__ import annotations

from typing import Any

import msgspec

from trackkit.backend.server.api.access import project_of, run_number
from trackkit.backend.server.api.artifacts import VersionSummary, summaries, summary, version_of
from trackkit.backend.server.api.values import seconds
from trackkit.backend.server.errors import ApiError, not_found
from trackkit.backend.server.routing import Answer, Body, Call, Endpoint, Query
from trackkit.backend.store import artifacts, lineage, runs, submissions
from trackkit.backend.store.database import Database


class RunArtifacts(Answer):
    """The versions a run logged, and those it used, in the order it did."""

    logged: list[VersionSummary]
    used: list[VersionSummary]


class LineageQuery(Query):
    """`depth` is how many edges from the start, `limit` how many nodes at most."""

    depth: int = 10
    limit: int = 500


class RunNode(msgspec.Struct):
    id: str
    project: str
    name: str
    state: str
    job_type: str
    created: float


class EdgeSummary(msgspec.Struct):
    """`source` and `target` are `run:` or `artifact:` and an id; `kind` is logged, used or linked."""

    source: str
    target: str
    kind: str


class Graph(Answer):
    """Runs and artifacts, and how they hang together; `complete` tells that none was left out."""

    start: str
    runs: list[RunNode]
    artifacts: list[VersionSummary]
    edges: list[EdgeSummary]
    complete: bool


class SubmittedArtifact(Answer):
    """What became of an artifact that a run logged: pending, complete, committed or refused."""

    state: str
    reason: str
    version: VersionSummary | None


class CommitBody(Body):
    pass


class Committed(Answer):
    """The state then, and the blobs that are lacking; `check` repeats token and state."""

    state: str
    reason: str
    digests: list[str]
    check: str


def run_artifacts(call: Call) -> RunArtifacts:
    with call.services.storage.reading() as db:
        number = run_number(call, db)
        made, using = lineage.logged(db, number), lineage.used(db, number)
        return RunArtifacts(
            logged=summaries(db, [row for row in made if call.identity.may_see(row.project)]),
            used=summaries(db, [row for row in using if call.identity.may_see(row.project)]),
        )


def around_run(call: Call) -> Graph:
    with call.services.storage.reading() as db:
        number = run_number(call, db)
        return _graph(call, db, ("run", number), f"run:{call.path['run']}")


def around_version(call: Call) -> Graph:
    with call.services.storage.reading() as db:
        number = version_of(call, db).version
        return _graph(call, db, ("artifact", number), f"artifact:{number}")


def _graph(call: Call, db: Database, start: lineage.Node, name: str) -> Graph:
    """The graph, without what the asker may not see."""
    depth, most = max(0, min(call.query.depth, 100)), max(1, min(call.query.limit, 5000))
    found = lineage.around(db, start, depth, most)
    named: dict[lineage.Node, str] = {}
    shown_runs = []
    for run in found.runs:
        if call.identity.may_see(run.project):
            named["run", run.run] = f"run:{run.id}"
            shown_runs.append(RunNode(run.id, run.project, run.name, run.state, run.job_type, seconds(run.created)))
    seen = [row for row in found.versions if call.identity.may_see(row.project)]
    named.update({("artifact", row.version): f"artifact:{row.version}" for row in seen})
    edges = [
        EdgeSummary(named[edge.source], named[edge.target], edge.kind)
        for edge in found.edges
        if edge.source in named and edge.target in named
    ]
    return Graph(start=name, runs=shown_runs, artifacts=summaries(db, seen), edges=edges, complete=found.complete)


def submitted(call: Call) -> SubmittedArtifact:
    with call.services.storage.reading() as db:
        found = _submission(call, db)
        row = None if found.version is None else artifacts.get(db, found.version)
        shown = None if row is None else summary(db, row)
    return SubmittedArtifact(state=found.state, reason=found.reason, version=shown)


def commit(call: Call) -> Committed:
    storage = call.services.storage
    with storage.reading() as db:
        found = _submission(call, db)
    digests: list[str] = []
    with storage.working() as db:
        try:
            found = submissions.commit(db, storage.blobs, found)
        except submissions.Lacking as error:
            digests = error.digests
    check = f"{call.path['token']}/{found.state}"
    return Committed(state=found.state, reason=found.reason, digests=digests[:50_000], check=check)


def _submission(call: Call, db: Database) -> submissions.Submission:
    id, token = call.path["run"], call.path["token"]
    number = runs.find(db, id)
    if number is None or not call.identity.may_see(project_of(db, number)):
        raise not_found(f"run {id!r}")
    found = submissions.find(db, number, token)
    if found is None:
        raise not_found(f"artifact with the token {token!r} in this run")
    if not call.identity.may_see(found.project):
        raise ApiError(403, f"your token is not good for the project {found.project!r}")
    return found


_ERRORS: list[int] = [403, 404]
_GRAPH: dict[str, Any] = {"query": LineageQuery, "answer": Graph, "errors": [404]}

ENDPOINTS = [
    Endpoint(
        "GET",
        "/runs/{run}/artifacts",
        run_artifacts,
        "The artifacts a run logged and used.",
        answer=RunArtifacts,
        errors=[404],
    ),
    Endpoint("GET", "/runs/{run}/lineage", around_run, "The runs and artifacts around a run.", **_GRAPH),
    Endpoint(
        "GET", "/artifacts/{version}/lineage", around_version, "The runs and artifacts around a version.", **_GRAPH
    ),
    Endpoint(
        "GET",
        "/runs/{run}/artifacts/{token}",
        submitted,
        "What became of an artifact that a run logged.",
        answer=SubmittedArtifact,
        errors=_ERRORS,
    ),
    Endpoint(
        "POST",
        "/runs/{run}/artifacts/{token}/commit",
        commit,
        "Make a version of what was logged, if all of its files are here.",
        scope="write",
        body=CommitBody,
        answer=Committed,
        errors=_ERRORS,
    ),
]
