"""Files and media of a run: what there is, and the content of those small enough to lie in a row."""

from __future__ import annotations

import msgspec

from trackkit.backend.store.database import Database


class ObjectRow(msgspec.Struct):
    """A file of a run; its content is a blob named by `digest`, or lies in the row if that is empty."""

    writer: str
    seq: int
    key: str
    kind: str
    path: str
    size: int
    digest: str
    step: int | None
    time: int
    """Microseconds since the epoch."""
    metadata: str
    """A JSON object."""


COLUMNS = "writer, seq, key, kind, path, size, digest, step, time, metadata"
"""Those of an `ObjectRow`."""


def files(db: Database, run: int, *, media: bool = True) -> list[ObjectRow]:
    """The newest file of each path, by path; without media, if these are not wanted.

    What is read as a whole, such as a watched model's statistics, is not among them.
    """
    only = "" if media else " and path not like 'media/%'"
    sql = f"""select {COLUMNS} from objects where run = ? and kind not in ('watch', 'layers'){only}
              order by path, time, writer, seq"""
    newest = {row[4]: row for row in db.query(sql, [run])}
    return [ObjectRow(*row) for row in newest.values()]


def file(db: Database, run: int, path: str) -> ObjectRow | None:
    """The newest file of a path; None if there is none."""
    sql = f"select {COLUMNS} from objects where run = ? and path = ? order by time desc, writer desc, seq desc limit 1"
    found = db.query(sql, [run, path])
    return ObjectRow(*found[0]) if found else None


def one(db: Database, run: int, writer: str, seq: int) -> ObjectRow | None:
    """The object that a writer's record at an offset is; None if there is none."""
    sql = f"select {COLUMNS} from objects where run = ? and writer = ? and seq = ?"
    found = db.query(sql, [run, writer, seq])
    return ObjectRow(*found[0]) if found else None


def of_digest(db: Database, run: int, digest: str) -> ObjectRow | None:
    """An object of the run whose content is a blob; None if the run names no such blob."""
    found = db.query(f"select {COLUMNS} from objects where digest = ? and run = ? limit 1", [digest, run])
    return ObjectRow(*found[0]) if found and digest else None


def digests(db: Database, run: int) -> list[str]:
    """The digests of all blobs the run's records name."""
    sql = "select distinct digest from objects where run = ? and digest <> '' order by digest"
    return [digest for (digest,) in db.query(sql, [run])]


def inline(db: Database, run: int, writer: str, seq: int) -> bytes | None:
    """The content that lies in a file's row; None if the row is gone."""
    found = db.query("select inline from objects where run = ? and writer = ? and seq = ?", [run, writer, seq])
    return None if not found else found[0][0] or b""
