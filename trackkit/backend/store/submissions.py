"""What runs log becomes versions: first a submission, then, once all of its files are there, a version.

A submission is a row that the record makes. It is no version: nothing that is half there has a number, an alias or a
place in a listing. `commit` looks whether the blobs are there, and makes the version in one transaction. It can be
repeated by anybody who finds a submission waiting: the sink that sent it, whoever opens the store next, `doctor`.

Blobs are looked for before the transaction, because there may be a hundred thousand. So that none is collected in
between, whoever collects counts up a number (`upkeep`) in the transaction in which it deletes, and `commit` looks
again if the number is not what it was.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from trackkit.backend.store import artifacts, budgets, changes, writers
from trackkit.backend.store.artifacts import LATEST, Protected, Refusal
from trackkit.backend.store.blobstore import BlobStore, read_all
from trackkit.backend.store.database import Busy, Database
from trackkit.core import records
from trackkit.core.manifest import Manifest, ManifestDamaged, Reference, check_alias, merged
from trackkit.core.names import is_project

_TRIES: Final = 5


class Submission(msgspec.Struct):
    """What a run logged, and what became of it; see `core.sink.Submitted` for the states.

    A part of a draft whose files are there is `complete`.
    """

    run: int
    writer: str
    seq: int
    token: str
    project: str
    name: str
    digest: str
    content: str
    draft: str
    part: int
    parts: int
    state: str
    reason: str
    version: int | None
    time: int

    @property
    def said(self) -> records.Artifact:
        """The record."""
        return msgspec.json.decode(self.content, type=records.Artifact)


class Lacking(Exception):
    """Blobs are missing, so that nothing can be committed yet.

    Attributes
    ----------
    digests
        Which; the manifest alone, as long as it is missing itself.
    """

    def __init__(self, digests: Sequence[str]) -> None:
        super().__init__(f"{len(digests):,} files are not there yet")
        self.digests = list(digests)


_COLUMNS: Final = ", ".join(Submission.__struct_fields__)


def receive(db: Database, run: int, writer: str, seq: int, record: records.Artifact) -> None:
    """Take an Artifact record."""
    project = record.project or db.query("select project from runs where run = ?", [run])[0][0]
    row = Submission(
        run, writer, seq, record.token, project, record.name, record.digest, msgspec.json.encode(record).decode(),
        record.draft, int(record.is_part), record.parts, "pending", "", None, writers.microseconds(record.time),
    )  # fmt: skip
    db.insert_many("submissions", Submission.__struct_fields__, [msgspec.structs.astuple(row)])


def note_use(db: Database, run: int, writer: str, seq: int, record: records.Use) -> None:
    """Take a Use record."""
    number = record.number if record.number >= 0 else None
    reference = Reference(record.project, record.name, "" if number is None else f"v{number}")
    if number is None:
        reference = Reference(record.project, record.name, digest=record.digest)
    found = artifacts.find(db, reference, record.project)
    row = {
        "run": run, "writer": writer, "seq": seq, "version": None if found is None else found.version,
        "project": record.project, "name": record.name, "number": record.number, "digest": record.digest,
        "reference": record.reference, "time": writers.microseconds(record.time),
    }  # fmt: skip
    db.insert_many("uses", list(row), [list(row.values())])


def find(db: Database, run: int, token: str) -> Submission | None:
    """A submission of a run by the token in its record."""
    sql = f"select {_COLUMNS} from submissions where token = ? and run = ?"
    found = db.query(sql, [token, run])
    return Submission(*found[0]) if found else None


def waiting(db: Database, run: int | None = None, writer: str | None = None) -> list[Submission]:
    """The submissions that are not committed yet, in the order they were logged."""
    conditions, parameters = ["state = 'pending'"], []
    if run is not None:
        conditions.append("run = ?")
        parameters.append(run)
    if writer is not None:
        conditions.append("writer = ?")
        parameters.append(writer)  # type: ignore[arg-type]
    sql = f"select {_COLUMNS} from submissions where {' and '.join(conditions)} order by time, run, writer, seq"
    return [Submission(*row) for row in db.query(sql, parameters)]


def commit_waiting(db: Database, blobs: BlobStore, run: int | None = None, writer: str | None = None) -> int:
    """Commit what can be; how many submissions still wait."""
    left = 0
    for each in waiting(db, run, writer):
        try:
            left += commit(db, blobs, each).state == "pending"
        except Lacking:
            left += 1
    return left


def lacking(db: Database, blobs: BlobStore, run: int) -> list[str]:
    """The blobs that the run's waiting submissions still need, as far as is known."""
    found: dict[str, None] = {}
    for each in waiting(db, run):
        try:
            _check(blobs, each.digest)
        except Lacking as error:
            found.update(dict.fromkeys(error.digests))
        except ManifestDamaged:
            continue
    return list(found)


def commit(db: Database, blobs: BlobStore, submission: Submission) -> Submission:
    """Make a version of a submission, or of the draft it ends; the submission as it is then.

    Raises
    ------
    Lacking
        If files are not there yet.
    Busy
        If blobs are being collected all the time.
    """
    if submission.state not in ("pending",):
        return submission
    for _ in range(_TRIES):
        counted = _collections_of_blobs(db)
        try:
            manifest = _check(blobs, submission.digest)
            pieces = _pieces(db, submission) if submission.draft and not submission.part else []
            if pieces is None:
                return submission  # its parts are not there yet
            if pieces:
                manifest = merged([*(_check(blobs, piece.digest) for piece in pieces), manifest])
                blobs.put_bytes(manifest.encode())
        except ManifestDamaged as error:
            return _refuse(db, submission, str(error))
        try:
            with db.atomic():
                # The update has whoever collects wait until we are done, and us until they are.
                db.execute("update upkeep set count = count where name = 'blobs'")
                if _collections_of_blobs(db) != counted:
                    continue
                _settle(db, blobs, submission, manifest, pieces)
        except Refusal as error:
            return _refuse(db, submission, str(error))
        done = find(db, submission.run, submission.token) or submission
        if submission.part:
            _end_draft(db, blobs, submission)
            done = find(db, submission.run, submission.token) or submission
        return done
    raise Busy("files of the store are being collected; try again")


def _check(blobs: BlobStore, digest: str) -> Manifest:
    """A manifest all of whose blobs are there."""
    try:
        content = read_all(blobs, digest)
    except FileNotFoundError:
        raise Lacking([digest]) from None
    manifest = Manifest.decode(content)
    missing = blobs.lacking(manifest.blobs())
    if missing:
        raise Lacking(missing)
    return manifest


def _pieces(db: Database, submission: Submission) -> list[Submission] | None:
    """The parts of the draft that a submission ends; None if some are still to come."""
    sql = f"""select {_COLUMNS} from submissions where draft = ? and part = 1 and project = ? and name = ?
              and state in ('pending', 'complete') and version is null order by time, run, writer, seq"""
    found = [Submission(*row) for row in db.query(sql, [submission.draft, submission.project, submission.name])]
    complete = [each for each in found if each.state == "complete"]
    return None if len(complete) < max(submission.parts, len(found)) else complete


def _end_draft(db: Database, blobs: BlobStore, part: Submission) -> None:
    """Commit the draft, if this was the last part that its end waited for."""
    sql = f"""select {_COLUMNS} from submissions where draft = ? and part = 0 and project = ? and name = ?
              and state = 'pending'"""
    named = [part.draft, part.project, part.name]
    ends = [Submission(*row) for row in db.query(sql, named)]
    for end in ends:
        try:
            commit(db, blobs, end)
        except Lacking:
            continue
    if not ends and db.query(sql.replace("'pending'", "'committed'"), named):
        with db.atomic():
            text = f"a part of {part.name} (draft {part.draft!r}) came after its version was made, and is not in it"
            _alert(db, part, "a part came too late", text)


def _settle(
    db: Database, blobs: BlobStore, submission: Submission, manifest: Manifest, pieces: list[Submission]
) -> None:
    """Within the transaction: a part is complete, anything else a version."""
    key = [submission.run, submission.writer, submission.seq]
    fresh = db.query("select state from submissions where run = ? and writer = ? and seq = ?", key)
    if not fresh or fresh[0][0] != "pending":
        return  # somebody else was faster, or the run is deleted
    if submission.part:
        db.execute("update submissions set state = 'complete' where run = ? and writer = ? and seq = ?", key)
        return
    said, now = submission.said, time.time_ns() // 1000
    if not is_project(submission.project):
        raise Refusal(f"{submission.project!r} can't be a project's name")
    collection = artifacts.ensure(db, submission.project, submission.name, said.kind, now)
    expires = None if said.ttl is None else now + max(0, writers.microseconds(said.ttl))
    digest = manifest.digest if pieces else submission.digest
    version, is_new = artifacts.add(
        db, collection, digest=digest, size=manifest.size, count=len(manifest), now=now, run=submission.run,
        description=said.description, metadata=msgspec.json.encode(said.metadata).decode(), expires=expires,
    )  # fmt: skip
    actor = f"run {db.query('select id from runs where run = ?', [submission.run])[0][0]}"
    if is_new:
        budgets.enforce(db, blobs, submission.project, version, manifest, actor)
    for alias in dict.fromkeys([LATEST, *said.aliases]):
        _set_alias(db, submission, version, alias, actor)
    artifacts.add_tags(db, version, said.tags)
    for each in [submission, *pieces]:
        sql = "update submissions set state = 'committed', version = ? where run = ? and writer = ? and seq = ?"
        db.execute(sql, [version, each.run, each.writer, each.seq])
    _resolve_uses(db, version, digest)
    changes.touch(db, submission.run)


def _set_alias(db: Database, submission: Submission, version: int, alias: str, actor: str) -> None:
    """Set an alias; one that is protected stays where it is, and the run is told."""
    try:
        check_alias(alias)
        artifacts.set_alias(db, version, alias, actor)
    except Protected as error:
        _alert(db, submission, "an alias was not moved", str(error))
    except ValueError:
        return  # not ours to refuse a whole version for


def _resolve_uses(db: Database, version: int, digest: str) -> None:
    """Uses that were noted before the version was there, as of an offline run that used what it had logged."""
    row = artifacts.get(db, version)
    assert row is not None
    sql = "update uses set version = ?, number = ? where version is null and digest = ? and project = ? and name = ?"
    db.execute(sql, [version, row.number, digest, row.project, row.name])


def _refuse(db: Database, submission: Submission, reason: str) -> Submission:
    key = [submission.run, submission.writer, submission.seq]
    with db.atomic():
        sql = """update submissions set state = 'refused', reason = ?
                 where run = ? and writer = ? and seq = ? and state = 'pending'"""
        if db.execute(sql, [reason, *key]):
            _alert(db, submission, "an artifact was refused", f"{submission.name}: {reason}")
    return find(db, submission.run, submission.token) or submission


def _alert(db: Database, submission: Submission, title: str, text: str) -> None:
    row: dict[str, Any] = {
        "run": submission.run, "writer": submission.writer, "seq": -submission.seq - (1 << 48),
        "time": time.time_ns() // 1000, "level": "warning", "title": title, "text": text,
    }  # fmt: skip
    db.upsert_many("alerts", list(row)[:3], list(row)[3:], [list(row.values())])
    changes.touch(db, submission.run)


def _collections_of_blobs(db: Database) -> int:
    return int(db.query("select count from upkeep where name = 'blobs'")[0][0])
