"""Disk budgets: how many bytes of artifacts a project may keep, and what goes when a new version would be too many.

Bytes are counted as they lie on the disk: what versions share is counted once.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from trackkit.backend.store import artifacts, entries
from trackkit.backend.store.artifacts import LATEST, Refusal, VersionRow
from trackkit.backend.store.blobstore import BlobStore, read_all
from trackkit.backend.store.database import Database
from trackkit.core.manifest import Manifest, ManifestDamaged

_LAST: Final = re.compile(r"keep last (\d+)")
_BEST: Final = re.compile(r"keep best (\d+) by ([+-]?)(\S.*)")
RULES: Final = "'refuse', 'keep aliased', 'keep last N', 'keep best N by METRIC' (-METRIC: the smallest are best)"


class Budget(msgspec.Struct):
    """A project's budget.

    Attributes
    ----------
    bytes
        How much its artifacts may take.
    rule
        What happens when a version would be too much: it is refused, or older ones are deleted.
    """

    project: str
    bytes: int
    rule: str


def all_budgets(db: Database) -> list[Budget]:
    """The budgets, by project."""
    return [Budget(*row) for row in db.query("select project, bytes, rule from budgets order by project")]


def find(db: Database, project: str) -> Budget | None:
    """A project's budget, or None."""
    found = db.query("select project, bytes, rule from budgets where project = ?", [project])
    return Budget(*found[0]) if found else None


def set_budget(db: Database, project: str, limit: int, rule: str = "refuse") -> None:
    """Give a project a budget; 0 bytes takes it away.

    Raises
    ------
    ValueError
        If the rule is none.
    """
    check_rule(rule)
    if limit <= 0:
        db.execute("delete from budgets where project = ?", [project])
        return
    db.upsert_many("budgets", ["project"], ["bytes", "rule"], [(project, limit, rule)])


def check_rule(rule: str) -> str:
    """A rule as written.

    Raises
    ------
    ValueError
        If it is none.
    """
    if rule not in ("refuse", "keep aliased") and not _LAST.fullmatch(rule) and not _BEST.fullmatch(rule):
        raise ValueError(f"{rule!r} is no rule of a budget; there are {RULES}")
    return rule


def usage(db: Database, blobs: BlobStore, project: str) -> int:
    """Bytes that the project's artifacts take."""
    found: dict[str, int] = {}
    for row in _versions(db, project):
        found.update(_contents(blobs, row.digest))
    return sum(found.values())


def enforce(db: Database, blobs: BlobStore, project: str, version: int, manifest: Manifest, actor: str) -> None:
    """Make room for a version that was just added, within its transaction.

    Raises
    ------
    Refusal
        If the budget has no room for it, even after deleting what the rule lets go.
    """
    budget = find(db, project)
    if budget is None:
        return
    rows = [row for row in _versions(db, project) if row.version != version]
    kept = {row.version: _contents(blobs, row.digest) for row in rows}
    kept[version] = manifest.blobs()
    if _bytes(kept) <= budget.bytes:
        return
    for row in _expendable(db, budget.rule, rows, version):
        artifacts.delete(db, row.version, f"budget ({actor})", aliases=True)
        del kept[row.version]
        if _bytes(kept) <= budget.bytes:
            return
    raise Refusal(
        f"the project {project!r} has a budget of {budget.bytes:,} bytes for artifacts ({budget.rule}), and with this "
        f"version they would take {_bytes(kept):,}"
    )


def _bytes(kept: dict[int, dict[str, int]]) -> int:
    found: dict[str, int] = {}
    for contents in kept.values():
        found.update(contents)
    return sum(found.values())


def _expendable(db: Database, rule: str, rows: list[VersionRow], version: int) -> list[VersionRow]:
    """The versions a rule lets go, in the order they go.

    What is linked elsewhere or has a protected alias never goes. Rules but `refuse` spare what has an alias of its own;
    the last and the best are counted in each collection, the new version among the last.
    """
    last, best = _LAST.fullmatch(rule), _BEST.fullmatch(rule)
    if rule == "refuse":
        return []
    linked = {
        source for (source,) in db.query("select source from versions where source is not null and deleted is null")
    }
    spared = {row.version for row in rows if row.version in linked or any(alias != LATEST for alias in row.aliases)}
    by_collection: dict[int, list[VersionRow]] = {}
    for row in rows:
        by_collection.setdefault(row.collection, []).append(row)
    new = db.query("select collection from versions where version = ?", [version])[0][0]
    for collection, some in by_collection.items():
        some.sort(key=lambda row: row.number, reverse=True)
        if last:
            spared.update(row.version for row in some[: max(0, int(last[1]) - (collection == new))])
        if best:
            sign = -1 if best[2] == "-" else 1
            rated = [(sign * value, row) for row in some if (value := _metric(db, row, best[3])) is not None]
            rated.sort(key=lambda one: one[0], reverse=True)
            spared.update(row.version for _, row in rated[: int(best[1])])
    return sorted((row for row in rows if row.version not in spared), key=lambda row: row.created)


def _metric(db: Database, row: VersionRow, name: str) -> float | None:
    """A version's number of this name: in its metadata, or else in the summary of the run that logged it."""
    value = msgspec.json.decode(row.metadata).get(name)
    if value is None and row.run is not None:
        found = db.query("select type, number, text from summary where run = ? and key = ?", [row.run, name])
        value = entries.decode(*found[0]) if found else None
    return float(value) if isinstance(value, (int, float)) and value == value else None


def _versions(db: Database, project: str) -> list[VersionRow]:
    sql = """select v.version from versions v join collections c on c.collection = v.collection
             where c.project = ? and v.deleted is null"""
    return artifacts.load(db, [version for (version,) in db.query(sql, [project])])


def _contents(blobs: BlobStore, digest: str) -> dict[str, int]:
    try:
        return Manifest.decode(read_all(blobs, digest)).blobs()
    except (FileNotFoundError, ManifestDamaged):
        return {}
