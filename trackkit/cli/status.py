"""`trackkit status`: what is running, what is unsent, and how large things are."""

from __future__ import annotations

import contextlib
import datetime
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from trackkit.backend.store.recovery import own_sink, read_synced
from trackkit.backend.store.sqlite import DATABASE_NAME
from trackkit.cli import output
from trackkit.cli.options import store_folder, store_options
from trackkit.core.journal import JournalReader, is_alive, read_sinks, writer_folders
from trackkit.core.media import staging
from trackkit.query.moments import moment


class JournalStatus(msgspec.Struct):
    """One writer's journal, as it lies there."""

    run: str
    writer: str
    alive: bool
    size: int
    """Bytes of its files."""
    unsent: int
    """Records that not every sink has; all of them if it has no sink."""
    sinks: list[str]


class RunningRun(msgspec.Struct):
    """A run whose process lives."""

    id: str
    project: str
    name: str
    created: datetime.datetime
    host: str


class StagedMedia(msgspec.Struct):
    """Media values of one writer that are not encoded yet; `size` in bytes."""

    run: str
    writer: str
    alive: bool
    values: int
    size: int


class WaitingArtifact(msgspec.Struct):
    """An artifact that was logged and is no version yet: files of it, or parts, are still to come."""

    run: str
    project: str
    name: str


class StoreStatus(msgspec.Struct):
    """A store at a glance; sizes in bytes."""

    folder: str
    runs: int
    running: list[RunningRun]
    journals: list[JournalStatus]
    database_size: int
    blobs: int
    blobs_size: int
    staged: list[StagedMedia]
    waiting: list[WaitingArtifact]


@click.command()
@store_options
def status(location: str | None, as_json: bool) -> None:
    """Tell what is running, which journals are not sent yet, and how large the store is."""
    found = look(store_folder(location))
    if as_json:
        output.print_json(msgspec.to_builtins(found))
    else:
        print_status(found)


def look(folder: Path) -> StoreStatus:
    """Look at a store without changing anything."""
    database = folder / DATABASE_NAME
    runs, running, positions = 0, list[RunningRun](), dict[tuple[str, str], int]()
    waiting: list[WaitingArtifact] = []
    if database.is_file():
        with contextlib.closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            runs = connection.execute("select count(*) from runs").fetchone()[0]
            running = list(running_runs(connection))
            sql = "select runs.id, writer, position from writers join runs using (run)"
            waiting = list(waiting_artifacts(connection))
            positions = {(run, writer): position for run, writer, position in connection.execute(sql)}
    blobs = [path.stat().st_size for path in (folder / "blobs").glob("*/*")]
    return StoreStatus(
        folder=str(folder),
        runs=runs,
        running=running,
        journals=[journal_status(path, database.absolute(), positions) for path in writer_folders(folder)],
        database_size=sum(path.stat().st_size for path in folder.glob(f"{DATABASE_NAME}*")),
        blobs=len(blobs),
        blobs_size=sum(blobs),
        staged=[found for path in staging.folders(folder) if (found := staged_media(path)).values],
        waiting=waiting,
    )


def staged_media(folder: Path) -> StagedMedia:
    """The media that a writer has staged."""
    lock = staging.lock_dead(folder)
    if lock is not None:
        lock.release()
    values = staging.pending(folder)
    size = 0
    for path in values:
        with contextlib.suppress(FileNotFoundError):  # encoded meanwhile
            size += path.stat().st_size
    return StagedMedia(folder.parent.name, folder.name, lock is None, len(values), size)


def waiting_artifacts(connection: sqlite3.Connection) -> Iterator[WaitingArtifact]:
    """The artifacts that are no versions yet, in the order they were logged."""
    with contextlib.suppress(sqlite3.OperationalError):  # a store that has not been migrated since there are artifacts
        sql = """select runs.id, s.project, s.name from submissions s join runs using (run)
                 where s.state = 'pending' order by s.time"""
        for row in connection.execute(sql):
            yield WaitingArtifact(*row)


def running_runs(connection: sqlite3.Connection) -> Iterator[RunningRun]:
    """The runs that are running as far as the database knows, newest first."""
    sql = """select runs.id, runs.project, runs.name, runs.created, coalesce(min(writers.host), '')
             from runs left join writers using (run) where runs.state = 'running'
             group by runs.run order by runs.created desc"""
    for id, project, name, created, host in connection.execute(sql):
        yield RunningRun(id, project, name, moment(created), host)


def journal_status(folder: Path, database: Path, positions: dict[tuple[str, str], int]) -> JournalStatus:
    """How a journal stands, given how far the database has each."""
    run, writer = folder.parent.name, folder.name
    alive = is_alive(folder)
    noted = read_sinks(folder)
    # An offline run's journal is sent once it is anywhere.
    offsets = noted or read_synced(folder)
    own = own_sink(folder, database.parent, database)
    if own is not None:  # the note beside a journal may be behind what the database says
        offsets[own] = max(offsets[own], positions.get((run, writer), 0))
    return JournalStatus(
        run=run,
        writer=writer,
        alive=alive,
        size=sum(path.stat().st_size for path in folder.glob("*.journal")),
        unsent=count_records(folder, min(offsets.values(), default=0), final=not alive),
        sinks=list(noted),
    )


def count_records(folder: Path, offset: int, *, final: bool) -> int:
    """The records of a journal from an offset on."""
    reader = JournalReader(folder, final=final)
    count = 0
    while True:
        frames = reader.read(offset)
        if not frames.payloads and frames.end <= offset:
            return count
        count += len(frames)
        offset = frames.end


def print_status(found: StoreStatus) -> None:
    """Print a store's status for people."""
    console = output.console()
    database = f"{output.count(found.runs, 'run')}, database {output.size(found.database_size)}"
    console.print(f"{found.folder}: {database}, blobs {output.size(found.blobs_size)}")
    if found.running:
        output.print_heading(console, "running")
        table = output.table("run", "name", "since", "host")
        for run in found.running:
            table.add_row(f"{run.project}/{run.id}", run.name, output.age(run.created), run.host)
        console.print(table)
    print_journals(found.journals)
    print_unfinished(found)


def print_unfinished(found: StoreStatus) -> None:
    """Print the media that are not encoded and the artifacts that are no versions yet."""
    console = output.console()
    if found.staged:
        output.print_heading(console, "media to be encoded")
        table = output.table("run", "writer", "process", "values", "size", right=("values", "size"))
        for each in found.staged:
            process = "alive" if each.alive else "gone"
            table.add_row(each.run, each.writer, process, f"{each.values:,}", output.size(each.size))
        console.print(table)
    if found.waiting:
        output.print_heading(console, "artifacts that are no versions yet")
        table = output.table("run", "artifact")
        for artifact in found.waiting:
            table.add_row(artifact.run, f"{artifact.project}/{artifact.name}")
        console.print(table)
    if found.waiting or any(not each.alive for each in found.staged):
        console.print("`trackkit sync` finishes what processes that are gone have left", style="dim")


def print_journals(journals: list[JournalStatus]) -> None:
    """Print the journals there are, and what to do about those nobody sends."""
    if not journals:
        return
    console = output.console()
    output.print_heading(console, "journals")
    table = output.table("run", "writer", "process", "size", "unsent", "for", right=("size", "unsent"))
    for journal in journals:
        process = "alive" if journal.alive else "gone"
        sinks = ", ".join(journal.sinks) or "offline"
        table.add_row(journal.run, journal.writer, process, output.size(journal.size), str(journal.unsent), sinks)
    console.print(table)
    if any(journal.unsent and not journal.alive for journal in journals):
        console.print("`trackkit sync` sends what processes that are gone have left", style="dim")
