"""Lineage: which runs made which artifacts, and which used them, as a graph around one of them."""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

from trackkit.backend.store import artifacts, runs
from trackkit.backend.store.artifacts import VersionRow
from trackkit.backend.store.database import Database
from trackkit.core.sink import RunName

MOST: Final = 1000
"""Nodes of a graph, unless told otherwise."""

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
    seen: dict[Node, int] = {start: 0}
    edges: dict[Edge, None] = {}
    ahead, complete = deque([start]), True
    while ahead:
        node = ahead.popleft()
        found = _of_run(db, node[1]) if node[0] == "run" else _of_version(db, node[1])
        for edge in found:
            other = edge.target if edge.source == node else edge.source
            if other not in seen:
                if seen[node] >= depth or len(seen) >= most:
                    complete = False
                    continue
                seen[other] = seen[node] + 1
                ahead.append(other)
            edges[edge] = None
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
    sql = """select r.project, r.id, r.name, r.state from versions v join runs r on r.run = v.run
             where v.version = ?"""
    found = db.query(sql, [version])
    return RunName(*found[0]) if found else None


def consumers(db: Database, version: int) -> list[RunName]:
    """The runs that used a version, in the order they did."""
    sql = """select r.project, r.id, r.name, r.state from uses u join runs r on r.run = u.run
             where u.version = ? and r.deleted is null
             group by r.project, r.id, r.name, r.state order by min(u.time)"""
    return [RunName(*row) for row in db.query(sql, [version])]


def _in_order(db: Database, numbers: list[int]) -> list[VersionRow]:
    found = {row.version: row for row in artifacts.load(db, numbers)}
    return [found[number] for number in numbers if number in found]


def _of_run(db: Database, run: int) -> list[Edge]:
    here = ("run", run)
    made = [Edge(here, ("artifact", row.version), "logged") for row in logged(db, run)]
    return made + [Edge(("artifact", row.version), here, "used") for row in used(db, run)]


def _of_version(db: Database, version: int) -> list[Edge]:
    here = ("artifact", version)
    listed = (
        "select distinct s.run from {} s join runs on runs.run = s.run where s.version = ? and runs.deleted is null"
    )
    edges = [Edge(("run", run), here, "logged") for (run,) in db.query(listed.format("submissions"), [version])]
    edges += [Edge(here, ("run", run), "used") for (run,) in db.query(listed.format("uses"), [version])]
    linked = "select version from versions where source = ? and deleted is null"
    edges += [Edge(here, ("artifact", other), "linked") for (other,) in db.query(linked, [version])]
    source = """select s.version from versions v join versions s on s.version = v.source
                where v.version = ? and s.deleted is null"""
    edges += [Edge(("artifact", other), here, "linked") for (other,) in db.query(source, [version])]
    return edges
