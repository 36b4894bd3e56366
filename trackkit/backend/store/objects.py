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


def files(db: Database, run: int) -> list[ObjectRow]:
    """The newest file of each path, by path."""
    sql = """select writer, seq, key, kind, path, size, digest, step, time, metadata from objects
             where run = ? order by path, time, writer, seq"""
    newest = {row[4]: row for row in db.query(sql, [run])}
    return [ObjectRow(*row) for row in newest.values()]


def digests(db: Database, run: int) -> list[str]:
    """The digests of all blobs the run's records name."""
    sql = "select distinct digest from objects where run = ? and digest <> '' order by digest"
    return [digest for (digest,) in db.query(sql, [run])]


def inline(db: Database, run: int, writer: str, seq: int) -> bytes | None:
    """The content that lies in a file's row; None if the row is gone."""
    found = db.query("select inline from objects where run = ? and writer = ? and seq = ?", [run, writer, seq])
    return None if not found else found[0][0] or b""
