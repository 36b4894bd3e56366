"""Files that MLflow's clients put under a path of their own choosing: those of logged models, and of custom places.

Files of runs are files of runs (see `objects`), whatever path leads there.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

import msgspec

from trackkit.backend.store import changes, direct, objects, writers
from trackkit.backend.store.database import Database

INLINE_BYTES: Final = 16 << 10
"""Files of runs up to this size lie in their row."""


class Listed(msgspec.Struct):
    """A file, or a folder, whose size is None."""

    name: str
    size: int | None


class File(msgspec.Struct):
    """A file; its content is a blob."""

    path: str
    size: int
    digest: str


def put(db: Database, path: str, size: int, digest: str) -> None:
    """Have a path be a blob, within a transaction."""
    row = (path, size, digest, time.time_ns() // 1000)
    db.upsert_many("proxied_files", ["path"], ["size", "digest", "time"], [row])


def get(db: Database, path: str) -> File | None:
    """The file of a path, or None."""
    found = db.query("select path, size, digest from proxied_files where path = ?", [path])
    return File(*found[0]) if found else None


def below(db: Database, folder: str) -> list[File]:
    """The files below a folder, by path; of all, if it is empty."""
    if not folder:
        return [File(*row) for row in db.query("select path, size, digest from proxied_files order by path")]
    sql = "select path, size, digest from proxied_files where path >= ? and path < ? order by path"
    return [File(*row) for row in db.query(sql, [f"{folder}/", f"{folder}0"])]  # "0" comes after "/"


def delete(db: Database, path: str) -> int:
    """Take away a file, or a folder with all in it, within a transaction; how many files there were."""
    sql = "delete from proxied_files where path = ? or (path >= ? and path < ?)"
    return db.execute(sql, [path, f"{path}/", f"{path}0"])


def digests(db: Database) -> dict[str, str]:
    """The blobs that are in use, and a path of each."""
    sql = "select digest, min(path) from proxied_files group by digest"
    return {str(digest): str(path) for digest, path in db.query(sql)}


def put_of_run(db: Database, run: int, path: str, size: int, digest: str, inline: bytes | None) -> None:
    """Have a path of a run be a file, within a transaction: a blob, or what is given."""
    db.execute("delete from objects where run = ? and writer = ? and path = ?", [run, direct.WRITER, path])
    row = {
        "run": run, "writer": direct.WRITER, "seq": writers.new_number(), "key": "", "kind": "file", "path": path,
        "size": size, "digest": digest, "inline": inline, "step": None, "time": time.time_ns() // 1000,
        "metadata": "{}",
    }  # fmt: skip
    db.insert_many("objects", list(row), [list(row.values())])
    changes.touch(db, run)


def delete_of_run(db: Database, run: int, path: str) -> int:
    """Take away a file of a run, or a folder with all in it, within a transaction; how many there were."""
    sql = "delete from objects where run = ? and (path = ? or (path >= ? and path < ?))"
    gone = db.execute(sql, [run, path, f"{path}/", f"{path}0"])
    changes.touch(db, run)
    return gone


def listing(files: Iterable[tuple[str, int]], folder: str) -> list[Listed]:
    """What lies in a folder itself, by name, of files with their paths and sizes."""
    start = f"{folder}/" if folder else ""
    found: dict[str, int | None] = {}
    for path, size in files:
        if path.startswith(start):
            name, slash, _ = path[len(start) :].partition("/")
            found[name] = None if slash else size
    return [Listed(name, found[name]) for name in sorted(found) if name]


def of_run(db: Database, run: int) -> list[tuple[str, int]]:
    """The paths and sizes of a run's files."""
    return [(row.path, row.size) for row in objects.files(db, run)]
