"""Artifacts as the store has them: collections, their versions, aliases, who moved them, and links."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from trackkit.backend.store import changes, writers
from trackkit.backend.store.database import Database
from trackkit.core.manifest import Reference, check_alias, is_artifact_name
from trackkit.core.sink import Edit

LATEST: Final = "latest"
_COLUMNS: Final = (
    "v.version, v.collection, c.project, c.name, c.type, v.number, v.digest, v.run, v.source, v.size, v.count, "
    "v.description, v.metadata, v.created, v.expires"
)
_FROM: Final = "from versions v join collections c on c.collection = v.collection"
_MANY: Final = 500


class CollectionRow(msgspec.Struct):
    """A name and its versions; times in microseconds since the epoch."""

    collection: int
    project: str
    name: str
    type: str
    description: str
    created: int
    updated: int
    versions: int
    size: int
    """Bytes of all versions, what they share counted as often as it is there."""
    latest: int | None
    """The highest number."""


class VersionRow(msgspec.Struct):
    """A version; times in microseconds since the epoch, `metadata` a JSON object."""

    version: int
    collection: int
    project: str
    name: str
    type: str
    number: int
    digest: str
    run: int | None
    source: int | None
    size: int
    count: int
    description: str
    metadata: str
    created: int
    expires: int | None
    aliases: list[str] = []
    tags: list[str] = []

    @property
    def path(self) -> str:
        """`project/name:v3`."""
        return f"{self.project}/{self.name}:v{self.number}"


class MoveRow(msgspec.Struct):
    """An alias was set, moved or taken away; `before` and `after` are numbers of versions."""

    alias: str
    before: int | None
    after: int | None
    actor: str
    time: int


class Refusal(ValueError):
    """The store will not do this; the message says why."""


class Protected(Refusal):
    """An alias is protected, and who would move it may not."""


def collections(
    db: Database, project: str | None = None, type: str | None = None, name: str | None = None
) -> list[CollectionRow]:
    """The collections with versions, the one that changed last first."""
    conditions, parameters = ["v.deleted is null"], []
    for column, value in (("project", project), ("type", type), ("name", name)):
        if value is not None:
            conditions.append(f"c.{column} = ?")
            parameters.append(value)
    sql = f"""select c.collection, c.project, c.name, c.type, c.description, c.created, c.updated, count(*),
                     cast(sum(v.size) as bigint), max(v.number) {_FROM} where {" and ".join(conditions)}
              group by c.collection, c.project, c.name, c.type, c.description, c.created, c.updated
              order by c.updated desc, c.name"""
    return [CollectionRow(*row) for row in db.query(sql, parameters)]


def called(db: Database, text: str) -> list[CollectionRow]:
    """The collections with versions whose name contains a text, in upper or lower case."""
    return [row for row in collections(db) if text.lower() in row.name.lower()]


def newest(db: Database, rows: Sequence[CollectionRow]) -> dict[int, VersionRow]:
    """The newest version of each of some collections, by the collection's number."""
    found: list[int] = []
    for start in range(0, len(rows), _MANY):
        some = [row.collection for row in rows[start : start + _MANY]]
        sql = f"""select v.version from versions v join (
                      select collection, max(number) as number from versions
                      where deleted is null and collection in ({", ".join("?" * len(some))}) group by collection
                  ) n on n.collection = v.collection and n.number = v.number"""
        found += [version for (version,) in db.query(sql, some)]
    return {row.collection: row for row in load(db, found)}


def find_collection(db: Database, project: str, name: str) -> int | None:
    """The number of a collection, or None."""
    found = db.query("select collection from collections where project = ? and name = ?", [project, name])
    return int(found[0][0]) if found else None


def versions(
    db: Database, collection: int, limit: int | None = None, before: int | None = None, search: str = ""
) -> list[VersionRow]:
    """The versions of a collection, the newest first.

    Parameters
    ----------
    before
        Only those before this number.
    search
        Only those called so (`v12`), or with this in an alias, a tag, the description or the name of the run.
    """
    conditions, parameters = ["v.collection = ?", "v.deleted is null"], [collection]
    if before is not None:
        conditions.append("v.number < ?")
        parameters.append(before)
    if search:
        pattern = "%" + "".join(f"\\{char}" if char in "\\%_" else char for char in search.lower()) + "%"
        places = [
            "lower(v.description) like ? escape '\\'",
            "exists (select 1 from aliases a where a.version = v.version and lower(a.alias) like ? escape '\\')",
            "exists (select 1 from version_tags t where t.version = v.version and lower(t.tag) like ? escape '\\')",
            "exists (select 1 from runs r where r.run = v.run and lower(r.name) like ? escape '\\')",
        ]
        parameters += [pattern] * len(places)  # type: ignore[list-item]
        number = Reference(alias=search).number
        if number is not None:
            places.append("v.number = ?")
            parameters.append(number)
        conditions.append(f"({' or '.join(places)})")
    limited = "" if limit is None else f" limit {int(limit)}"
    sql = f"select {_COLUMNS} {_FROM} where {' and '.join(conditions)} order by v.number desc{limited}"
    return _with_names(db, [VersionRow(*row) for row in db.query(sql, parameters)])


def load(db: Database, numbers: Iterable[int]) -> list[VersionRow]:
    """Some versions; those deleted are left out."""
    wanted, found = list(dict.fromkeys(numbers)), []
    for start in range(0, len(wanted), _MANY):
        some = wanted[start : start + _MANY]
        marks = ", ".join("?" * len(some))
        sql = f"select {_COLUMNS} {_FROM} where v.version in ({marks}) and v.deleted is null order by v.version"
        found += [VersionRow(*row) for row in db.query(sql, some)]
    return _with_names(db, found)


def get(db: Database, version: int) -> VersionRow | None:
    """A version, or None if there is none or it is deleted."""
    found = load(db, [version])
    return found[0] if found else None


def find(db: Database, reference: Reference, project: str, type: str | None = None) -> VersionRow | None:
    """The version a reference means, in a project unless it names one; of several of one digest the newest."""
    place = reference.project or project
    conditions, parameters = ["v.deleted is null"], []
    if not reference.digest or reference.name or reference.project:
        conditions.append("c.project = ?")
        parameters.append(place)
    if reference.name:
        conditions.append("c.name = ?")
        parameters.append(reference.name)
    if type:
        conditions.append("c.type = ?")
        parameters.append(type)
    if reference.digest:
        conditions.append("v.digest = ?")
        parameters.append(reference.digest)
    elif reference.number is not None:
        conditions.append("v.number = ?")
        parameters.append(reference.number)  # type: ignore[arg-type]
    else:
        conditions.append("v.version = (select version from aliases a where a.collection = c.collection and alias = ?)")
        parameters.append(reference.alias)
    sql = f"select {_COLUMNS} {_FROM} where {' and '.join(conditions)} order by v.version desc limit 1"
    found = _with_names(db, [VersionRow(*row) for row in db.query(sql, parameters)])
    return found[0] if found else None


def moves(db: Database, collection: int, limit: int = 1000) -> list[MoveRow]:
    """Who moved the collection's aliases, the latest first."""
    sql = """select m.alias, b.number, a.number, m.actor, m.time from alias_moves m
             left join versions b on b.version = m.before left join versions a on a.version = m.after
             where m.collection = ? order by m.move desc limit ?"""
    return [MoveRow(*row) for row in db.query(sql, [collection, limit])]


def protected(db: Database, collection: int) -> list[str]:
    """The collection's protected aliases."""
    sql = "select alias from aliases where collection = ? and protected = 1 order by alias"
    return [alias for (alias,) in db.query(sql, [collection])]


def ensure(db: Database, project: str, name: str, type: str, now: int) -> int:
    """The number of a collection, made if there is none; it stays the caller's until the transaction ends.

    Raises
    ------
    Refusal
        If it has another type, or the name can't be one.
    """
    if not is_artifact_name(name) or not is_artifact_name(type):
        raise Refusal(f"{name!r} of the type {type!r} can't be an artifact")
    sql = """insert into collections (collection, project, name, type, description, created, updated)
             values (?, ?, ?, ?, '', ?, ?) on conflict (project, name) do nothing"""
    db.execute(sql, [writers.new_number(), project, name, type, now, now])
    # The update comes first: who changes the row has the collection until the end, on PostgreSQL, too.
    db.execute("update collections set updated = ? where project = ? and name = ?", [now, project, name])
    collection, known = db.query(
        "select collection, type from collections where project = ? and name = ?", [project, name]
    )[0]
    if known != type:
        if db.query("select 1 from versions where collection = ? limit 1", [collection]):
            raise Refusal(f"{project}/{name} holds artifacts of the type {known!r}, and this one is a {type!r}")
        db.execute("update collections set type = ? where collection = ?", [type, collection])
    return int(collection)


def add(
    db: Database,
    collection: int,
    *,
    digest: str,
    size: int,
    count: int,
    now: int,
    run: int | None = None,
    source: int | None = None,
    description: str = "",
    metadata: str = "{}",
    expires: int | None = None,
) -> tuple[int, bool]:
    """The number (as in `versions.version`) of a version with this digest, and whether it is new.

    The latest version is taken, if it has the digest.
    """
    latest = db.query(
        "select version, digest from versions where collection = ? and deleted is null order by number desc limit 1",
        [collection],
    )
    if latest and latest[0][1] == digest:
        return int(latest[0][0]), False
    made = append(
        db, collection, digest=digest, size=size, count=count, now=now, run=run, source=source,
        description=description, metadata=metadata, expires=expires,
    )  # fmt: skip
    return made, True


def append(
    db: Database,
    collection: int,
    *,
    digest: str,
    size: int,
    count: int,
    now: int,
    run: int | None = None,
    source: int | None = None,
    description: str = "",
    metadata: str = "{}",
    expires: int | None = None,
    first: int = 0,
) -> int:
    """The number (as in `versions.version`) of a new version, whatever the latest one holds.

    Parameters
    ----------
    first
        What the collection's first version is called by people.
    """
    highest = db.query("select max(number) from versions where collection = ?", [collection])[0][0]
    number = first if highest is None else highest + 1
    row: dict[str, Any] = {
        "version": writers.new_number(), "collection": collection, "number": number, "digest": digest, "run": run,
        "source": source, "size": size, "count": count, "description": description, "metadata": metadata,
        "created": now, "expires": expires,
    }  # fmt: skip
    db.insert_many("versions", list(row), [list(row.values())])
    return int(row["version"])


def set_alias(
    db: Database, version: int, alias: str, actor: str, *, force: bool = False, protect: bool | None = None
) -> bool:
    """Have an alias mean a version; whether that changed anything.

    Parameters
    ----------
    actor
        Who does it, for the history.
    force
        Whether a protected alias may be moved.
    protect
        Whether the alias is to be protected from now on; None leaves it as it is.

    Raises
    ------
    Protected
        If it is protected, means another version, and `force` is false.
    Refusal
        If there is no such version.
    """
    check_alias(alias)
    found = db.query("select collection from versions where version = ? and deleted is null", [version])
    if not found:
        raise Refusal("there is no such version; it may have been deleted")
    collection = found[0][0]
    old = db.query("select version, protected from aliases where collection = ? and alias = ?", [collection, alias])
    before, is_protected = (int(old[0][0]), bool(old[0][1])) if old else (None, False)
    changes_protection = protect is not None and protect != is_protected
    if is_protected and not force and (before != version or changes_protection):
        raise Protected(f"the alias {alias!r} is protected; only an administrator may move it")
    if before == version and not changes_protection:
        return False
    guarded = is_protected if protect is None else protect
    rows = [(collection, alias, version, int(guarded))]
    db.upsert_many("aliases", ["collection", "alias"], ["version", "protected"], rows)
    if before != version:
        _note_move(db, collection, alias, before, version, actor)
    return True


def drop_alias(db: Database, version: int, alias: str, actor: str, *, force: bool = False) -> bool:
    """Take an alias away from a version; whether it had it.

    Raises
    ------
    Protected
        If it is protected and `force` is false.
    Refusal
        If it is `latest`, which is always the newest version.
    """
    if alias == LATEST:
        raise Refusal("'latest' means the newest version and can't be taken away")
    found = db.query("select collection, protected from aliases where version = ? and alias = ?", [version, alias])
    if not found:
        return False
    collection, is_protected = found[0]
    if is_protected and not force:
        raise Protected(f"the alias {alias!r} is protected; only an administrator may take it away")
    db.execute("delete from aliases where collection = ? and alias = ?", [collection, alias])
    _note_move(db, collection, alias, version, None, actor)
    return True


def edit(db: Database, version: int, change: Edit, actor: str, *, force: bool = False) -> VersionRow:
    """Change what may change of a version.

    Raises
    ------
    Refusal
        If there is no such version, or an alias can't be moved.
    """
    row = get(db, version)
    if row is None:
        raise Refusal("there is no such version; it may have been deleted")
    db.execute("update collections set updated = ? where collection = ?", [_now(), row.collection])
    columns: dict[str, Any] = {}
    if change.description is not None:
        columns["description"] = change.description
    if change.metadata is not None:
        columns["metadata"] = msgspec.json.encode(change.metadata).decode()
    if change.expires is not None or change.keep:
        columns["expires"] = None if change.keep or change.expires is None else writers.microseconds(change.expires)
    for column, value in columns.items():
        db.execute(f"update versions set {column} = ? where version = ?", [value, version])
    if change.tags is not None:
        db.execute("delete from version_tags where version = ?", [version])
        db.insert_many("version_tags", ["version", "tag"], [(version, tag) for tag in dict.fromkeys(change.tags)])
    for alias in change.aliases_added:
        set_alias(db, version, alias, actor, force=force)
    for alias in change.aliases_removed:
        drop_alias(db, version, alias, actor, force=force)
    found = get(db, version)
    assert found is not None
    return found


def add_tags(db: Database, version: int, tags: Iterable[str]) -> None:
    """Give a version further tags."""
    db.upsert_many("version_tags", ["version", "tag"], [], [(version, tag) for tag in dict.fromkeys(tags)])


def delete(db: Database, version: int, actor: str, *, aliases: bool = False, force: bool = False) -> VersionRow:
    """Delete a version; the row stays, so that no other gets its number. Its blobs are collected by `gc`.

    Raises
    ------
    Refusal
        If there is no such version, or it has aliases besides `latest` and `aliases` is false.
    """
    row = get(db, version)
    if row is None:
        raise Refusal("there is no such version; it may have been deleted")
    db.execute("update collections set updated = ? where collection = ?", [_now(), row.collection])
    named = [alias for alias in row.aliases if alias != LATEST]
    if named and not aliases:
        raise Refusal(f"{row.path} is still called {', '.join(map(repr, named))}; delete it with its aliases")
    for alias in named:
        drop_alias(db, version, alias, actor, force=force)
    db.execute("update versions set deleted = ? where version = ?", [_now(), version])
    if LATEST in row.aliases:
        left = db.query(
            "select version from versions where collection = ? and deleted is null order by number desc limit 1",
            [row.collection],
        )
        if left:
            set_alias(db, left[0][0], LATEST, actor)
        else:
            db.execute("delete from aliases where collection = ? and alias = ?", [row.collection, LATEST])
            _note_move(db, row.collection, LATEST, version, None, actor)
    if row.run is not None:
        changes.touch(db, row.run)
    return row


def delete_collection(db: Database, collection: int, actor: str, *, force: bool = False) -> int:
    """Delete all versions of a collection; how many there were."""
    rows = versions(db, collection)
    for row in rows:
        delete(db, row.version, actor, aliases=True, force=force)
    return len(rows)


def describe_collection(db: Database, collection: int, description: str) -> None:
    """Change what people read of a collection."""
    sql = "update collections set description = ?, updated = ? where collection = ?"
    db.execute(sql, [description, _now(), collection])


def link(db: Database, version: int, project: str, name: str, aliases: Sequence[str], actor: str) -> VersionRow:
    """Make a version of another collection from a version; it has the same files, and a number and aliases of its own.

    Raises
    ------
    Refusal
        If there is no such version, or the collection holds another type.
    """
    row = get(db, version)
    if row is None:
        raise Refusal("there is no such version; it may have been deleted")
    if (project, name) == (row.project, row.name):
        raise Refusal(f"{row.path} is in that collection already")
    now = _now()
    collection = ensure(db, project, name, row.type, now)
    linked, _ = add(
        db, collection, digest=row.digest, size=row.size, count=row.count, now=now, run=row.run,
        source=row.source or version, description=row.description, metadata=row.metadata,
    )  # fmt: skip
    for alias in dict.fromkeys([LATEST, *aliases]):
        set_alias(db, linked, alias, actor)
    found = get(db, linked)
    assert found is not None
    return found


def expired(db: Database, now: float) -> list[int]:
    """The versions whose time is over, but for those that a protected alias or a link keeps."""
    sql = """select version from versions v where deleted is null and expires is not null and expires < ?
             and not exists (select 1 from aliases a where a.version = v.version and a.protected = 1)
             and not exists (select 1 from versions l where l.source = v.version and l.deleted is null)"""
    return [version for (version,) in db.query(sql, [writers.microseconds(now)])]


def manifests(db: Database) -> set[str]:
    """The digests of all manifests in use: of versions, and of what waits to become one."""
    sql = """select digest from versions where deleted is null union
             select digest from submissions where state in ('pending', 'complete')"""
    return {digest for (digest,) in db.query(sql)}


def _with_names(db: Database, rows: list[VersionRow]) -> list[VersionRow]:
    for start in range(0, len(rows), _MANY):
        some = [row.version for row in rows[start : start + _MANY]]
        marks = ", ".join("?" * len(some))
        aliases: defaultdict[int, list[str]] = defaultdict(list)
        tags: defaultdict[int, list[str]] = defaultdict(list)
        for version, alias in db.query(
            f"select version, alias from aliases where version in ({marks}) order by alias", some
        ):
            aliases[version].append(alias)
        for version, tag in db.query(
            f"select version, tag from version_tags where version in ({marks}) order by tag", some
        ):
            tags[version].append(tag)
        for row in rows[start : start + _MANY]:
            row.aliases, row.tags = aliases[row.version], tags[row.version]
    return rows


def _note_move(db: Database, collection: int, alias: str, before: int | None, after: int | None, actor: str) -> None:
    highest = db.query("select coalesce(max(move), 0) from alias_moves where collection = ?", [collection])[0][0]
    columns = ["collection", "move", "alias", "before", "after", "actor", "time"]
    db.insert_many("alias_moves", columns, [(collection, highest + 1, alias, before, after, actor, _now())])


def _now() -> int:
    return time.time_ns() // 1000
