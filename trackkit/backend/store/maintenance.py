"""Looking after a store: `doctor` checks it and repairs what can be repaired, `gc` frees what nobody needs."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from trackkit.backend.store import (
    artifacts,
    codec,
    collection,
    experiments,
    logged_models,
    recovery,
    runs,
    salvage,
    submissions,
    writers,
)
from trackkit.backend.store.blobstore import BlobStore, open_blobs, read_all
from trackkit.backend.store.database import Busy, Database, SchemaTooNew
from trackkit.backend.store.sqlite import DATABASE_NAME, SQLiteDatabase
from trackkit.core import journal
from trackkit.core.manifest import Manifest, ManifestDamaged
from trackkit.core.media import staging

GRACE_SECONDS = collection.GRACE_SECONDS


class Finding(msgspec.Struct):
    """Something `doctor` found wrong.

    Attributes
    ----------
    kind
        `database`, `journal`, `media`, `blob`, `artifact`, `series` or `run`.
    text
        A sentence: what is wrong, and what can be done where it is not done yet.
    repaired
        Whether it was put right.
    """

    kind: str
    text: str
    repaired: bool = False


class Report(msgspec.Struct):
    """What `doctor` found.

    Attributes
    ----------
    checked
        How many of each thing were looked at.
    """

    findings: list[Finding] = []
    checked: dict[str, int] = {}

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong, or no longer."""
        return all(finding.repaired for finding in self.findings)


class Freed(msgspec.Struct):
    """What `gc` deleted, or would delete.

    Attributes
    ----------
    runs, versions, blobs, journals, bytes
        How many, and the bytes on disk they took, with those the database gave back.
    """

    runs: int = 0
    versions: int = 0
    blobs: int = 0
    journals: int = 0
    bytes: int = 0


def doctor(root: Path, repair: bool = False, *, progress: recovery.Progress | None = None) -> Report:
    """Check a store.

    Parameters
    ----------
    root
        The store's folder.
    repair
        Put right what can be: save what can be read of a damaged database into a new one, bring orphaned journals into
        the store, mark the runs of dead writers crashed, count series anew, delete blobs that nothing refers to.
        Without it nothing is changed.
    progress
        Called now and then with the steps done and to do.

    Raises
    ------
    FileNotFoundError
        If there is no store.
    """
    path = root / DATABASE_NAME
    if not path.exists() and not (root / "journals").is_dir():
        raise FileNotFoundError(f"there is no trackkit store in {root}: expected {DATABASE_NAME} or journals/ in it")
    report = Report()
    if path.exists():
        _check_file(path, root, repair, report)
    if not report.healthy:
        return report  # nothing else can be trusted
    _check_staged(root, report)
    _check_journals(root, repair, report)
    if not path.exists():
        return report
    try:
        with contextlib.closing(SQLiteDatabase(path, read_only=not repair)) as db:
            db.migrate()
            checks: list[Callable[[SQLiteDatabase, Path, bool, Report], None]]
            checks = [_check_runs, _check_series, _check_blobs]
            for number, check in enumerate(checks):
                check(db, root, repair, report)
                if progress is not None:
                    progress(number + 1, len(checks))
    except SchemaTooNew as error:
        report.findings.append(Finding("database", str(error)))
    except (sqlite3.DatabaseError, Busy) as error:
        report.findings.append(Finding("database", f"{path} can't be read: {error}; restore it from a copy"))
    return report


def gc(root: Path, dry_run: bool = False, *, store: str = "", progress: recovery.Progress | None = None) -> Freed:
    """Free space: runs long in the trash, blobs of no run, journals synced everywhere, the database's free pages.

    It can run at any time, beside servers that take uploads, too.

    Parameters
    ----------
    root
        The store's folder; where the database is elsewhere, the folder of its servers' files.
    dry_run
        Only tell what would go.
    store
        The URL of a PostgreSQL database, which gives back the space of deleted rows by itself.
    progress
        Called now and then with the steps done and to do.

    Raises
    ------
    FileNotFoundError
        If there is no store.
    Busy
        If other processes write to the database without a pause.
    Unavailable
        If PostgreSQL can't be reached.
    """
    path = root / DATABASE_NAME
    freed = Freed()
    if store:
        from trackkit.backend.store.postgres import PostgresDatabase

        with contextlib.closing(PostgresDatabase(store)) as server:
            server.migrate()
            _run(_steps(server, root, dry_run, freed), progress)
        return freed
    if not path.exists():
        if not (root / "journals").is_dir() and not (root / "blobs").is_dir():
            raise FileNotFoundError(f"there is no trackkit store in {root}: expected {DATABASE_NAME} in it")
        _delete_journals(root, dry_run, freed)
        _add(freed, collection.collect(None, root, dry_run))
        return freed
    with contextlib.closing(SQLiteDatabase(path, read_only=dry_run)) as db:
        db.migrate()
        _run([*_steps(db, root, dry_run, freed), lambda: _shrink(db, dry_run, freed)], progress)
    return freed


def _steps(db: Database, root: Path, dry_run: bool, freed: Freed) -> list[Callable[[], None]]:
    """What `gc` does with every database, in this order: the files go once nothing names them any more."""
    return [
        lambda: _empty_trash(db, dry_run, freed),
        lambda: _delete_expired(db, dry_run, freed),
        lambda: _delete_journals(root, dry_run, freed),
        lambda: _add(freed, collection.collect(db, root, dry_run)),
    ]


def _run(steps: list[Callable[[], None]], progress: recovery.Progress | None) -> None:
    for number, step in enumerate(steps):
        step()
        if progress is not None:
            progress(number + 1, len(steps))


def _shrink(db: SQLiteDatabase, dry_run: bool, freed: Freed) -> None:
    """Give back the pages of deleted rows."""
    if dry_run:
        pages, size = (db.query(f"pragma {name}")[0][0] for name in ("freelist_count", "page_size"))
        freed.bytes += pages * size
        return
    before = _disk_size(db.path)
    db.execute("vacuum")
    db.query("pragma wal_checkpoint(truncate)")
    freed.bytes += max(0, before - _disk_size(db.path))


def _disk_size(path: Path) -> int:
    size = path.stat().st_size
    with contextlib.suppress(FileNotFoundError):
        size += path.with_name(f"{path.name}-wal").stat().st_size
    return size


# doctor


def _check_journals(root: Path, repair: bool, report: Report) -> None:
    """Journals of dead writers that are not in the store yet, and damage in them."""
    found: dict[Path, list[Finding]] = {}
    target = (root / DATABASE_NAME).absolute()
    report.checked["journals"] = 0
    for folder in journal.writer_folders(root):
        report.checked["journals"] += 1
        lock = recovery.lock_dead(folder)
        if lock is None:
            continue
        contents = collection.read_journal(folder)
        lock.release()
        name = f"the journal of run {folder.parent.name}, writer {folder.name}"
        found[folder] = [Finding("journal", f"{name} is damaged: {text}") for text in contents.damage]
        if recovery.own_sink(folder, root, target) is not None:
            text = f"{name} was left by a process that died; whoever opens the store next brings it in"
            found[folder].append(Finding("journal", text))
    if repair:
        recovered = recovery.recover(root)
        for finding in report.findings:
            if finding.kind == "media":
                finding.repaired = not any(staging.pending(folder) for folder in staging.folders(root))
        for one in recovered.journals:
            for finding in found.get(root / "journals" / one.run / one.writer, []):
                finding.repaired = not one.error
    report.findings += [finding for some in found.values() for finding in some]


def _check_staged(root: Path, report: Report) -> None:
    """Media that dead writers left staged."""
    for folder in staging.folders(root):
        waiting, lock = staging.pending(folder), staging.lock_dead(folder)
        if lock is None:
            continue
        lock.release()
        if waiting:
            text = (
                f"run {folder.parent.name} has {len(waiting):,} media values that its writer {folder.name} staged and "
                "did not live to encode; whoever opens the store next does, or `trackkit sync`"
            )
            report.findings.append(Finding("media", text))


def _check_file(path: Path, root: Path, repair: bool, report: Report) -> None:
    """SQLite's own check of the file."""
    wrong = _damage(path)
    if not wrong:
        return
    more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    finding = Finding("database", f"{path} is damaged: {wrong[0]}{more}")
    report.findings.append(finding)
    if not repair:
        finding.text += "; a repair saves what can be read"
        return
    living = [folder.parent.name for folder in journal.writer_folders(root) if journal.is_alive(folder)]
    if living:
        finding.text += f"; it can't be repaired while runs write to it: {', '.join(living)}"
        return
    try:
        saved = salvage.salvage(path)
    except salvage.Unsalvageable as error:
        finding.text += f"; {error}"
        return
    finding.repaired = True
    lost = f", parts of {', '.join(saved.torn)} are lost" if saved.torn else ", nothing is lost"
    finding.text += f"; {saved.rows:,} rows are in a new file{lost}; the damaged one is kept as {saved.kept.name}"


def _damage(path: Path) -> list[str]:
    """What SQLite finds wrong with a file, a line each."""
    try:
        with contextlib.closing(SQLiteDatabase(path, read_only=True)) as db:
            found = "\n".join(text for (text,) in db.query("pragma integrity_check(100)"))
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        return [str(error)] if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) else []
    return [line for line in found.splitlines() if line != "ok" and not line.startswith("***")]


def _check_runs(db: SQLiteDatabase, root: Path, repair: bool, report: Report) -> None:
    """Writers that count as running without a living journal: what recovery does not find, as it is gone."""
    report.checked["runs"] = db.query("select count(*) from runs")[0][0]
    sql = """select runs.run, runs.id, writers.writer, runs.updated from writers join runs using (run)
             where writers.state = 'running'"""
    for run, id, writer, updated in db.query(sql):
        if (root / "journals" / id / writer).exists():
            continue
        text = (
            f"run {id} counts as running, but its writer {writer} has no journal here: it is dead or writes elsewhere"
        )
        finding = Finding("run", text)
        if repair:
            with db.atomic():
                finding.repaired = writers.abandon(db, run, writer, updated)
        report.findings.append(finding)


def _check_series(db: SQLiteDatabase, root: Path, repair: bool, report: Report) -> None:
    """Whether each series has the points it says, and whether its chunks can be read."""
    report.checked["series"] = db.query("select count(*) from series")[0][0]
    report.checked["chunks"] = db.query("select count(*) from chunks")[0][0]
    sql = """select series.run, series.series, runs.id, series.key, series.count, series.sealed,
                    (select coalesce(sum(count), 0) from chunks
                     where chunks.run = series.run and chunks.series = series.series),
                    (select count(*) from points where points.run = series.run and points.series = series.series)
             from series join runs using (run)"""
    for run, number, id, key, count, sealed, in_chunks, in_rows in db.query(sql):
        if (sealed, count) == (in_chunks, in_chunks + in_rows):
            continue
        text = f"{key} of run {id} should have {count} points, {sealed} of them sealed, and has {in_chunks + in_rows}"
        finding = Finding("series", f"{text}, {in_chunks} of them sealed")
        if repair:
            with db.atomic():
                if in_chunks + in_rows:
                    update = "update series set count = ?, sealed = ? where run = ? and series = ?"
                    db.execute(update, [in_chunks + in_rows, in_chunks, run, number])
                else:
                    db.execute("delete from series where run = ? and series = ?", [run, number])
            finding.repaired = True
        report.findings.append(finding)
    for id, key, seq in _unreadable_chunks(db):
        text = f"the chunk of {key} of run {id} that begins with point {seq} can't be read; its points are lost"
        report.findings.append(Finding("series", text))


def _unreadable_chunks(db: SQLiteDatabase) -> Iterator[tuple[str, str, int]]:
    sql = """select runs.id, series.key, chunks.seq, chunks.count, steps, times, vals
             from chunks join series using (run, series) join runs using (run)
             where chunks.rowid > ? and chunks.rowid <= ?"""
    highest = db.query("select coalesce(max(rowid), 0) from chunks")[0][0]
    for start in range(0, highest, 256):
        for id, key, seq, count, steps, times, values in db.query(sql, [start, start + 256]):
            try:
                columns = codec.decompress_ints(steps), codec.decompress_ints(times), codec.decompress_floats(values)
                readable = all(len(column) == count for column in columns)
            except Exception:  # pcodec panics and raises in its own ways
                readable = False
            if not readable:
                yield id, key, seq


def _check_blobs(db: SQLiteDatabase, root: Path, repair: bool, report: Report) -> None:
    """Blobs that are missing, that are not what their name says, or that nothing refers to; manifests, too."""
    blobs = open_blobs(root)
    present, named = {state.digest for state in blobs.states()}, collection.listed(db)
    report.checked["blobs"] = len(present)
    for digest, path in sorted(named.items()):
        if digest not in present:
            text = (
                f"the content of {path} is missing: there is no blob {digest}; sync the run again if its journal exists"
            )
            report.findings.append(Finding("blob", text))
    unreferenced = set(collection.unreferenced(db, root, blobs))
    for digest in sorted(present - unreferenced):
        if not blobs.verify(digest):
            text = f"the blob {digest} is damaged: its content has another digest; restore it from a copy"
            report.findings.append(Finding("blob", text))
    _check_manifests(db, blobs, present, report)
    _check_waiting(db, blobs, repair, report)
    for digest in sorted(unreferenced):
        finding = Finding("blob", f"nothing refers to the blob {digest}; `trackkit gc` deletes it")
        if repair:
            collection.delete(db, root, blobs, [digest])
            finding.repaired = True
        report.findings.append(finding)


def _check_manifests(db: SQLiteDatabase, blobs: BlobStore, present: set[str], report: Report) -> None:
    """Versions whose manifest can't be read, or names blobs that are missing."""
    sql = """select c.project, c.name, v.number, v.digest from versions v join collections c using (collection)
             where v.deleted is null order by c.project, c.name, v.number"""
    rows = db.query(sql)
    report.checked["versions"] = len(rows)
    for project, name, number, digest in rows:
        what = f"{project}/{name}:v{number}"
        try:
            manifest = Manifest.decode(read_all(blobs, digest))
        except FileNotFoundError:
            text = f"the manifest {digest} of {what} is missing; log the artifact again, or delete the version"
            report.findings.append(Finding("artifact", text))
            continue
        except ManifestDamaged as error:
            report.findings.append(Finding("artifact", f"the manifest of {what} can't be read: {error}"))
            continue
        lost = [path for path, entry in manifest.items() if entry.digest and entry.digest not in present]
        if lost:
            shown = ", ".join(map(repr, lost[:3])) + (" …" if len(lost) > 3 else "")
            text = f"{what} lacks the content of {len(lost):,} of its {len(manifest):,} files: {shown}"
            report.findings.append(Finding("artifact", f"{text}; log the same files again to bring them back"))


def _check_waiting(db: SQLiteDatabase, blobs: BlobStore, repair: bool, report: Report) -> None:
    """Artifacts that were logged and are no versions yet."""
    for each in submissions.waiting(db):
        finding = Finding("artifact", f"{each.project}/{each.name} was logged and is no version yet")
        try:
            if repair:
                finding.repaired = submissions.commit(db, blobs, each).state != "pending"
            if not finding.repaired and each.draft:
                finding.text += f": parts of the draft {each.draft!r} are missing"
        except submissions.Lacking as error:
            finding.text += f": {error}; sync its run again if the journal exists"
        report.findings.append(finding)


# gc


def _empty_trash(db: Database, dry_run: bool, freed: Freed) -> None:
    for run in runs.expired(db, time.time()):
        freed.runs += 1
        if not dry_run:
            with db.atomic():
                runs.delete(db, run)
    if dry_run:
        return
    before = round((time.time() - runs.TRASH_SECONDS) * 1e6)
    with db.atomic():  # after their runs, so that their names and files are free
        logged_models.forget(db, logged_models.expired(db, before))
        experiments.forget(db, experiments.expired(db, before))


def _delete_expired(db: Database, dry_run: bool, freed: Freed) -> None:
    """Versions of artifacts whose time is over."""
    for version in artifacts.expired(db, time.time()):
        freed.versions += 1
        if not dry_run:
            with db.atomic():
                artifacts.delete(db, version, "gc", aliases=True)


def _add(freed: Freed, collected: collection.Collected) -> None:
    freed.blobs += collected.blobs
    freed.bytes += collected.bytes


def _delete_journals(root: Path, dry_run: bool, freed: Freed) -> None:
    """Journals of dead writers that everybody has whom they were sent to."""
    for folder in list(journal.writer_folders(root)):
        offsets = journal.read_sinks(folder) or recovery.read_synced(folder)
        lock = recovery.lock_dead(folder) if offsets else None
        if lock is None:
            continue
        try:
            end = collection.read_journal(folder).end
            if all(offset >= end for offset in offsets.values()):
                freed.journals += 1
                freed.bytes += recovery.size_of(folder)
                if not dry_run:
                    recovery.delete_journal(folder)
        finally:
            lock.release()
