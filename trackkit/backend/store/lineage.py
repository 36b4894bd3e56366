"""Lineage: which runs made which artifacts, and which used them, as a graph around one of them."""

from __future__ import annotations

from typing import Final

import msgspec

from trackkit.backend.store import artifacts, runs
from trackkit.backend.store.artifacts import VersionRow
from trackkit.backend.store.database import Database
from trackkit.core.sink import RunName

MOST: Final = 1000
"""Nodes of a graph, unless told otherwise."""
_MANY: Final = 500

Node = tuple[str, int]
"""`run` or `artifact`, and its number in the store."""


class Edge(msgspec.Struct, frozen=True):
    """From a run to what it logged, from an artifact to a run that used it, or from a version to one linked from it."""

    source: Node
    target: Node
    kind: str
    """`logged`, `used` or `linked`."""


class Graph(msgspec.Struct):
    """Runs and artifacts, and how they hang together.

    Attributes
    ----------
    complete
        Whether nothing was left out for being too far away or too much.
    """

    runs: list[runs.RunRow] = []
    versions: list[VersionRow] = []
    edges: list[Edge] = []
    complete: bool = True


def around(db: Database, start: Node, depth: int = 10, most: int = MOST) -> Graph:
    """The graph around a run or a version, in all directions, the nearest first.

    Parameters
    ----------
    depth
        Edges from the start, at most.
    most
        Nodes, at most.
    """
    seen: dict[Node, None] = {start: None}
    edges: dict[Edge, None] = {}
    level, far, complete = [start], 0, True
    while level:
        ahead: list[Node] = []
        found = _of_runs(db, [number for kind, number in level if kind == "run"])
        found |= _of_versions(db, [number for kind, number in level if kind == "artifact"])
        for node in level:
            for edge in found[node]:
                other = edge.target if edge.source == node else edge.source
                if other not in seen:
                    if far >= depth or len(seen) >= most:
                        complete = False
                        continue
                    seen[other] = None
                    ahead.append(other)
                edges[edge] = None
        level, far = ahead, far + 1
    return Graph(
        runs.load(db, [number for kind, number in seen if kind == "run"], keys=()),
        artifacts.load(db, [number for kind, number in seen if kind == "artifact"]),
        list(edges),
        complete,
    )


def logged(db: Database, run: int) -> list[VersionRow]:
    """The versions a run logged, in the order it did; of one that was there already, that."""
    sql = """select version from submissions where run = ? and version is not null and part = 0
             group by version order by min(time)"""
    return _in_order(db, [version for (version,) in db.query(sql, [run])])


def used(db: Database, run: int) -> list[VersionRow]:
    """The versions a run used, in the order it did."""
    sql = "select version from uses where run = ? and version is not null group by version order by min(time)"
    return _in_order(db, [version for (version,) in db.query(sql, [run])])


def producer(db: Database, version: int) -> RunName | None:
    """The run that logged a version first."""
    return producers(db, [version]).get(version)


def producers(db: Database, versions: list[int]) -> dict[int, RunName]:
    """The runs that logged some versions first, where it was a run."""
    found: dict[int, RunName] = {}
    for start in range(0, len(versions), _MANY):
        some = versions[start : start + _MANY]
        sql = f"""select v.version, r.project, r.id, r.name, r.state from versions v join runs r on r.run = v.run
                  where v.version in ({", ".join("?" * len(some))})"""
        found.update((version, RunName(*run)) for version, *run in db.query(sql, some))
    return found


def consumers(db: Database, version: int) -> list[RunName]:
    """The runs that used a version, in the order they did."""
    sql = """select r.project, r.id, r.name, r.state from uses u join runs r on r.run = u.run
             where u.version = ? and r.deleted is null
             group by r.project, r.id, r.name, r.state order by min(u.time)"""
    return [RunName(*row) for row in db.query(sql, [version])]


def _in_order(db: Database, numbers: list[int]) -> list[VersionRow]:
    found = {row.version: row for row in artifacts.load(db, numbers)}
    return [found[number] for number in numbers if number in found]


def _of_runs(db: Database, numbers: list[int]) -> dict[Node, list[Edge]]:
    """The edges of runs: what they logged and used, in the order they did."""
    edges: dict[Node, list[Edge]] = {("run", number): [] for number in numbers}
    made = """select s.run, s.version from submissions s join versions v on v.version = s.version
              where s.run in ({}) and s.part = 0 and v.deleted is null
              group by s.run, s.version order by min(s.time)"""
    for run, version in _among(db, made, numbers):
        edges["run", run].append(Edge(("run", run), ("artifact", version), "logged"))
    using = """select u.run, u.version from uses u join versions v on v.version = u.version
               where u.run in ({}) and v.deleted is null group by u.run, u.version order by min(u.time)"""
    for run, version in _among(db, using, numbers):
        edges["run", run].append(Edge(("artifact", version), ("run", run), "used"))
    return edges


def _of_versions(db: Database, numbers: list[int]) -> dict[Node, list[Edge]]:
    """The edges of versions: who logged and used them, what they are linked from and to."""
    edges: dict[Node, list[Edge]] = {("artifact", number): [] for number in numbers}
    listed = """select distinct s.version, s.run from {table} s join runs on runs.run = s.run
                where s.version in ({{}}) and runs.deleted is null order by s.run"""
    for version, run in _among(db, listed.format(table="submissions"), numbers):
        edges["artifact", version].append(Edge(("run", run), ("artifact", version), "logged"))
    for version, run in _among(db, listed.format(table="uses"), numbers):
        edges["artifact", version].append(Edge(("artifact", version), ("run", run), "used"))
    linked = "select source, version from versions where source in ({}) and deleted is null order by version"
    for version, other in _among(db, linked, numbers):
        edges["artifact", version].append(Edge(("artifact", version), ("artifact", other), "linked"))
    source = """select v.version, s.version from versions v join versions s on s.version = v.source
                where v.version in ({}) and s.deleted is null"""
    for version, other in _among(db, source, numbers):
        edges["artifact", version].append(Edge(("artifact", other), ("artifact", version), "linked"))
    return edges


def _among(db: Database, sql: str, numbers: list[int]) -> list[tuple[int, int]]:
    """The rows of a query that asks for some numbers, a few hundred at a time."""
    found: list[tuple[int, int]] = []
    for start in range(0, len(numbers), _MANY):
        some = numbers[start : start + _MANY]
        found += [(int(one), int(other)) for one, other in db.query(sql.format(", ".join("?" * len(some))), some)]
    return found
