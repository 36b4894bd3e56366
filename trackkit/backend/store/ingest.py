"""From journal to store: a batch of frames becomes rows in one transaction, exactly once."""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any

import msgspec

from trackkit.backend.store import changes, recount, rewinds, seal, series, submissions, summaries, writers
from trackkit.backend.store.columns import Separated, separate
from trackkit.backend.store.database import Database
from trackkit.backend.store.seal import Plan, Series
from trackkit.core import records
from trackkit.core.records import AnyRecord
from trackkit.core.sink import Batch, OffsetConflict, SinkRefused

_TRIES = 4


class _Moved(Exception):
    """Another process wrote for the same writer since we looked."""


class Ingest:
    """Writes one writer's journal into a store.

    The offset up to which the store has the journal is a column of the writer's row and moves in the
    transaction that writes the data, so a batch sent twice changes nothing. Whatever has to be decoded,
    compressed or read back is done before the transaction begins: the write lock, which other processes
    wait for, is held for the writing alone.

    Parameters
    ----------
    db
        A migrated store.
    run_id, writer
        Whose journal.
    """

    def __init__(self, db: Database, run_id: str, writer: str) -> None:
        self.db = db
        self.run_id = run_id
        self.writer = writer
        self._run: int | None = None
        self._position: int | None = None
        self._series: dict[tuple[str, str], Series] = {}
        self._rewinds = rewinds.NONE

    def position(self) -> int:
        """The offset up to which the store has the journal; 0 if it knows nothing of it."""
        self._run = writers.find(self.db, self.run_id)
        self._position, self._series, self._rewinds = 0, {}, rewinds.NONE
        if self._run is not None:
            self._rewinds = rewinds.load(self.db, self._run)
            self._position = writers.position(self.db, self._run, self.writer)
            self._series = seal.load(self.db, self._run, self.writer)
        return self._position

    def write(self, batch: Batch) -> int:
        """Take a batch; the offset up to which the store now has the journal.

        What the store has already is skipped. On any exception nothing of the batch was taken.

        Raises
        ------
        Busy
            If another process held the write lock for too long.
        SinkRefused
            If the run was deleted while it was written.
        OffsetConflict
            If other processes write the same journal, and faster.
        """
        for _ in range(_TRIES):
            try:
                return self._write(batch)
            except _Moved:
                self._position = None
            except BaseException:
                self._position = None
                raise
        raise OffsetConflict(f"another process is sending the journal of the run {self.run_id}, writer {self.writer}")

    def abandon(self, when: float | None = None) -> bool:
        """Mark the writer crashed, as it is dead and left no Finish record; whether that was news.

        Parameters
        ----------
        when
            Time of its last record in seconds since the epoch; by default the last the store knows of.
        """
        run = writers.find(self.db, self.run_id)
        if run is None:
            return False
        with self.db.atomic():
            known = self.db.query("select updated from runs where run = ?", [run])
            ended = writers.microseconds(when) if when is not None else known[0][0] if known else 0
            return writers.abandon(self.db, run, self.writer, ended)

    def alert(self, title: str, text: str) -> None:
        """Add a warning about the writer to the run, once however often it is given."""
        run = writers.find(self.db, self.run_id)
        if run is None:
            return
        columns = ["time", "level", "title", "text"]
        with self.db.atomic():
            # Records' alerts are numbered by the offset of their end; no offset is negative.
            seq = -1 - writers.position(self.db, run, self.writer)
            row = (run, self.writer, seq, time.time_ns() // 1000, "warning", title, text)
            self.db.upsert_many("alerts", ["run", "writer", "seq"], columns, [row])
            changes.touch(self.db, run)

    def _write(self, batch: Batch) -> int:
        position = self.position() if self._position is None else self._position
        if batch.end <= position:
            position = self.position()  # rare enough to ask: a database that was restored has less than it had
            if batch.end <= position:
                return position
        first = bisect_right(batch.ends, position) if batch.start < position else 0
        found = separate(batch.payloads[first:], batch.ends[first:], batch.rest)
        run = self._run if self._run is not None else writers.new_number()
        ending = any(isinstance(record, records.Finish) for _, record in found.others)
        made = seal.plan(self.db, run, self.writer, self._series, found.columns, ending=ending, rest=batch.rest)
        with self.db.atomic():
            self._enter(run, position, found)
            redefined = self._apply(run, found)
            seal.write(self.db, run, self.writer, made)
            metrics = {one.key: one for one in made.series if one.kind == "metric"}
            back = self._rewinds
            if stale := self._stale(found, made):
                standing, gone = recount.recount(self.db, run, None if stale is True else stale)
                back = rewinds.load(self.db, run)
                made.series = list(seal.load(self.db, run, self.writer).values())
                metrics = {one.key: one for one in made.series if one.kind == "metric" and one.key not in gone}
                redefined |= standing
            summaries.write(self.db, run, self.writer, metrics, redefined, found.latest_texts())
            sql = "update writers set position = ? where run = ? and writer = ?"
            self.db.execute(sql, [batch.end, run, self.writer])
        self._run, self._position, self._rewinds = run, batch.end, back
        self._series.update({(one.kind, one.key): one for one in made.series})
        return batch.end

    def _stale(self, found: Separated, made: Plan) -> bool | set[str]:
        """Whether statistics have to be made anew, or of which metrics, as a rewind supersedes some of their points."""
        if any(isinstance(record, records.Rewind) for _, record in found.others):
            return True
        if not self._rewinds:
            return False
        late = {one.key for one in found.columns if one.kind == "metric" and one.times.min() < self._rewinds.last}
        # Of these there was nothing left, so that the first point is not known.
        begun = {one.key for one in made.series if one.kind == "metric" and math.isnan(one.statistics.first)}
        return late | begun

    def _enter(self, run: int, position: int, found: Separated) -> None:
        """Check, with others who write the run locked out, that the store is as it was when the batch was prepared."""
        times = list(_times(found))
        earliest = min(times, default=time.time_ns() // 1000)
        if position > 0:
            stored = writers.find(self.db, self.run_id)
        else:
            stored = writers.create(self.db, run, self.run_id, self.writer, earliest)
        if stored not in (run, None):
            raise _Moved
        changes.touch(self.db, run)  # comes first: who changes a run's row has the run until the end
        sql = """select position, state, (select count(*) from rewinds where run = writers.run) from writers
                 where run = ? and writer = ?"""
        rows = self.db.query(sql, [run, self.writer])
        if not rows:
            raise SinkRefused(f"the run {self.run_id} was deleted from the store while it was being written")
        found_position, state, count = rows[0]
        if found_position != position or count != len(self._rewinds.times):
            raise _Moved
        if state == "crashed":
            writers.revive(self.db, run, self.writer)
        latest = max(times, default=0)
        self.db.execute("update runs set updated = ? where run = ? and updated < ?", [latest, run, latest])

    def _apply(self, run: int, found: Separated) -> set[str]:
        """Take all records but points; the metrics whose definition changed."""
        redefined: set[str] = set()
        lines, texts = [], []
        for seq, record in found.others:
            match record:
                case records.Lines():
                    when = writers.microseconds(record.time)
                    lines.append((run, self.writer, seq, when, record.stream, record.text))
                case records.Define():
                    redefined.update(summaries.set_definition(self.db, run, record))
                case _:
                    self._apply_one(run, seq, record)
        for seq, points in found.texts:
            when = writers.microseconds(points.time)
            texts += [(run, self.writer, key, seq, points.step, when, text) for key, text in points.texts.items()]
        self.db.insert_many("lines", ["run", "writer", "seq", "time", "stream", "text"], lines)
        self.db.insert_many("texts", ["run", "writer", "key", "seq", "step", "time", "value"], texts)
        return redefined

    def _apply_one(self, run: int, seq: int, record: AnyRecord) -> None:
        match record:
            case records.Start():
                writers.join(self.db, run, self.writer, record)
            case records.Config():
                summaries.set_config(self.db, run, record)
            case records.Summary():
                summaries.set_summary(self.db, run, record)
            case records.Describe():
                writers.describe(self.db, run, record)
            case records.Provenance():
                writers.add_metadata(self.db, run, record.values)
            case records.Object():
                self._add_object(run, seq, record)
            case records.Artifact():
                submissions.receive(self.db, run, self.writer, seq, record)
            case records.Use():
                submissions.note_use(self.db, run, self.writer, seq, record)
            case records.Alert():
                columns = ["run", "writer", "seq", "time", "level", "title", "text"]
                when = writers.microseconds(record.time)
                row = (run, self.writer, seq, when, record.level, record.title, record.text)
                self.db.insert_many("alerts", columns, [row])
            case records.Rewind():
                step = min(max(record.step, series.LOWEST), series.HIGHEST)
                rewind = (run, self.writer, seq, writers.microseconds(record.time), step)
                self.db.insert_many("rewinds", ["run", "writer", "seq", "time", "step"], [rewind])
            case records.Accounting():
                writers.account(self.db, run, self.writer, record)
            case records.Finish():
                writers.finish(self.db, run, self.writer, record)

    def _add_object(self, run: int, seq: int, record: records.Object) -> None:
        recovered = record.metadata.pop("recovered", False)
        row = {
            "run": run, "writer": self.writer, "seq": seq, "key": _storable(record.key), "kind": record.kind,
            "path": _storable(record.path), "size": record.size, "digest": record.digest,
            "inline": record.inline if not record.digest else None, "step": record.step,
            "time": writers.microseconds(record.time), "metadata": msgspec.json.encode(record.metadata).decode(),
        }  # fmt: skip
        if recovered and self._is_known(row):
            return  # the writer that staged it got as far as to record it, and was killed before it could note that
        self.db.insert_many("objects", list(row), [list(row.values())])

    def _is_known(self, row: dict[str, Any]) -> bool:
        columns = ["run", "kind", "key", "step", "time", "path", "digest"]
        sql = f"select 1 from objects where {' and '.join(f'{column} = ?' for column in columns)}"
        return bool(self.db.query(sql, [row[column] for column in columns]))


def _storable(text: str) -> str:
    """Text as every database can hold it."""
    return text.replace("\0", "␀")


def _times(found: Separated) -> Iterator[int]:
    for column in found.columns:
        yield int(column.times.min())
        yield int(column.times.max())
    for _, record in [*found.others, *found.texts]:
        yield writers.microseconds(record.time)
