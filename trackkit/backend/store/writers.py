"""Runs and their writers as ingest keeps them: who joined, who finished, and what state that makes of a run."""

from __future__ import annotations

import secrets
import time

import msgspec

from trackkit.backend.store import changes
from trackkit.backend.store.database import Database
from trackkit.core import records

_EPOCH_2020 = 1_577_836_800_000
_SEVERITY = {"finished": 0, "killed": 1, "crashed": 2, "failed": 3}
DEFAULT_PROJECT = "uncategorized"
"""Where a run goes whose first record is lost."""


class WriterRow(msgspec.Struct):
    """A process that wrote to a run; times in microseconds since the epoch, `accounting` a JSON object."""

    id: str
    role: str
    label: str
    host: str
    pid: int
    state: str
    started: int
    ended: int | None
    accounting: str


def all_writers(db: Database, run: int) -> list[WriterRow]:
    """The run's writers in the order they began."""
    sql = """select writer, role, label, host, pid, state, started, ended, accounting from writers
             where run = ? order by started, writer"""
    return [WriterRow(*row) for row in db.query(sql, [run])]


def microseconds(seconds: float) -> int:
    """A record's time as the store keeps it; 0 for what is no time."""
    if not -9.2e12 < seconds < 9.2e12:
        return 0
    return round(seconds * 1e6)


def new_number() -> int:
    """A number for a run: 64 bits that sort by time, made without asking anybody."""
    return (time.time_ns() // 1_000_000 - _EPOCH_2020) << 20 | secrets.randbits(20)


def find(db: Database, id: str) -> int | None:
    """The number of the run of this id, or None."""
    found = db.query("select run from runs where id = ?", [id])
    return found[0][0] if found else None


def position(db: Database, run: int, writer: str) -> int:
    """The offset up to which the store has a writer's journal."""
    found = db.query("select position from writers where run = ? and writer = ?", [run, writer])
    return int(found[0][0]) if found else 0


def create(db: Database, number: int, id: str, writer: str, when: int) -> int:
    """Make the rows of a run and a writer where they do not exist; the run's number."""
    columns = (
        "run, id, project, name, run_group, job_type, notes, state, created, updated, ended, exit_code, error, metadata"
    )
    sql = f"""insert into runs ({columns}) values (?, ?, ?, ?, '', '', '', 'running', ?, ?, null, null, '', '{{}}')
              on conflict (id) do nothing"""
    db.execute(sql, [number, id, DEFAULT_PROJECT, id, when, when])
    found = find(db, id)
    assert found is not None
    sql = """insert into writers (run, writer, role, label, host, pid, state, started, position, accounting)
             values (?, ?, 'main', '', '', 0, 'running', ?, 0, '{}') on conflict (run, writer) do nothing"""
    db.execute(sql, [found, writer, when])
    return found


def join(db: Database, run: int, writer: str, start: records.Start) -> None:
    """Take a Start record: the writer's row, and the run's where this is its first writer."""
    when = microseconds(start.time)
    others = db.query("select count(*) from writers where run = ? and writer <> ?", [run, writer])[0][0]
    if not others:
        sql = """update runs set project = ?, name = ?, run_group = ?, job_type = ?, notes = ?, created = ?
                 where run = ?"""
        texts = [start.project or DEFAULT_PROJECT, start.name, start.group, start.job_type, start.notes]
        db.execute(sql, [*texts, when, run])
    else:
        for column, value in (("run_group", start.group), ("job_type", start.job_type), ("notes", start.notes)):
            db.execute(f"update runs set {column} = ? where run = ? and {column} = ''", [value, run])
    db.upsert_many("tags", ["run", "tag"], [], [(run, tag) for tag in dict.fromkeys(start.tags)])
    sql = """update writers set role = ?, label = ?, host = ?, pid = ?, started = ?, state = 'running', ended = null
             where run = ? and writer = ?"""
    db.execute(sql, [start.role, start.label, start.host, start.pid, when, run, writer])
    if start.role == "main":
        # A run that is taken up again is wanted again, and what stopped it was meant for its processes of then.
        sql = "update runs set error = '', stop = null, deleted = null where run = ? and state <> 'running'"
        db.execute(sql, [run])
    settle(db, run)


def describe(db: Database, run: int, change: records.Describe) -> None:
    """Take a Describe record."""
    fields = {"name": change.name, "notes": change.notes, "run_group": change.group, "job_type": change.job_type}
    for column, value in fields.items():
        if value is not None:
            db.execute(f"update runs set {column} = ? where run = ?", [value, run])
    if change.tags is not None:
        db.execute("delete from tags where run = ?", [run])
        db.insert_many("tags", ["run", "tag"], [(run, tag) for tag in dict.fromkeys(change.tags)])


def add_metadata(db: Database, run: int, values: dict[str, records.Json]) -> None:
    """Merge provenance into the run's metadata."""
    stored = msgspec.json.decode(db.query("select metadata from runs where run = ?", [run])[0][0])
    text = msgspec.json.encode({**stored, **values}).decode()
    db.execute("update runs set metadata = ? where run = ?", [text, run])


def account(db: Database, run: int, writer: str, told: records.Accounting) -> None:
    """Take an Accounting record, unless the writer has ended: that record has told more."""
    sql = "update writers set accounting = ? where run = ? and writer = ? and ended is null"
    db.execute(sql, [msgspec.json.encode(told.values).decode(), run, writer])


def finish(db: Database, run: int, writer: str, end: records.Finish) -> None:
    """Take a Finish record."""
    sql = """update writers set state = ?, ended = ?, exit_code = ?, accounting = ? where run = ? and writer = ?"""
    accounting = msgspec.json.encode(end.accounting).decode()
    state = end.state if end.state in _SEVERITY else "finished"
    db.execute(sql, [state, microseconds(end.time), end.exit_code, accounting, run, writer])
    if end.error:
        db.execute("update runs set error = ? where run = ? and error = ''", [end.error, run])
    settle(db, run)


def abandon(db: Database, run: int, writer: str, when: int) -> bool:
    """Mark a writer crashed that died without a Finish record; whether that was news."""
    sql = "update writers set state = 'crashed', ended = ? where run = ? and writer = ? and state = 'running'"
    changed = db.execute(sql, [when, run, writer]) > 0
    if changed:
        settle(db, run)
    return changed


def see(db: Database, run_id: str, writer: str, now: int) -> bool:
    """Note that a writer on another machine was heard of; whether the store knows it."""
    sql = "update writers set seen = ? where writer = ? and run = (select run from runs where id = ?)"
    return db.execute(sql, [now, writer, run_id]) > 0


def unseen(db: Database, since: int) -> list[tuple[str, str, int]]:
    """Writers on other machines that count as running and were last heard of before a time: run's id, writer, when."""
    sql = """select runs.id, writers.writer, writers.seen from writers join runs using (run)
             where writers.state = 'running' and writers.seen < ?"""
    return [(id, writer, seen) for id, writer, seen in db.query(sql, [since])]


def revive(db: Database, run: int, writer: str) -> None:
    """A writer that was thought dead writes on."""
    db.execute("update writers set state = 'running', ended = null where run = ? and writer = ?", [run, writer])
    settle(db, run)


def ask_to_stop(db: Database, run: int) -> None:
    """Ask the run's processes to stop; they learn of it with their next delivery. A run that ended is left alone."""
    now = time.time_ns() // 1000
    db.execute("update runs set stop = ? where run = ? and state = 'running'", [now, run])
    changes.touch(db, run)


def is_asked_to_stop(db: Database, run: int) -> bool:
    """Whether somebody asked the run's processes to stop, and they have not ended since."""
    found = db.query("select stop from runs where run = ? and state = 'running'", [run])
    return bool(found) and found[0][0] is not None


def settle(db: Database, run: int) -> None:
    """Set the run's state from those of its writers.

    Those count that called `init`, not forked children, and of these the ones that were alive when the
    newest began: a run that crashed and was resumed is not crashed. It is running while one of them is,
    and then as badly off as the worst of them.
    """
    changes.touch(db, run)
    sql = "select role, state, started, ended, exit_code from writers where run = ?"
    writers = db.query(sql, [run])
    mains = [row for row in writers if row[0] == "main"] or writers
    newest = max(row[2] for row in mains)
    # Where clocks disagree, a writer may have ended before it began, and then all of them count.
    counted = [row for row in mains if row[3] is None or row[3] >= newest] or mains
    if any(state == "running" for _, state, *_ in counted):
        sql = "update runs set state = 'running', ended = null, exit_code = null where run = ?"
        db.execute(sql, [run])
        return
    _, state, _, _, exit_code = max(counted, key=lambda row: _SEVERITY.get(row[1], 0))
    ended = max(row[3] or 0 for row in counted)
    sql = "update runs set state = ?, ended = ?, exit_code = ? where run = ?"
    db.execute(sql, [state, ended, exit_code, run])
