"""One run, read back and edited."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import msgspec

from trackkit.backend.store import entries, history
from trackkit.backend.store.history import History
from trackkit.backend.store.runs import RunRow
from trackkit.backend.store.series import HIGHEST, LOWEST
from trackkit.query import pages
from trackkit.query.artifacts import Artifact, Artifacts
from trackkit.query.files import File
from trackkit.query.frames import Format, frame
from trackkit.query.media import MediaItem
from trackkit.query.moments import moment
from trackkit.query.series import Series, SystemMetrics, of
from trackkit.query.source import RunNotFound, Source
from trackkit.query.summary import Summary
from trackkit.query.tables import LoggedTable
from trackkit.query.watched import Watched

AXES = {"step": "_step", "time": "_timestamp", "timestamp": "_timestamp", "relative": "_runtime"}
RESERVED = ("_step", "_timestamp", "_runtime")


@dataclass(frozen=True, slots=True)
class Alert:
    """A message a run gave for people; `level` is `info`, `warning` or `error`."""

    time: datetime
    level: str
    title: str
    text: str


class Run:
    """A run as it was when it was read; series, console and files are read when asked for.

    Attributes
    ----------
    id, project, state, error
        Text; `state` is `running`, `finished`, `failed`, `crashed` or `killed`, and `error` the
        traceback of what ended a failed run.
    name, notes, group, job_type, tags, config, summary
        These can be changed; `update()` saves the changes.
    created, updated, ended
        Aware datetimes in UTC; `ended` is None while the run goes on.
    exit_code
        None while the run goes on, and if it never came to say.

    Examples
    --------
    >>> run = trackkit.Api().run("digits/k3x9q0aa7c")
    >>> run.summary["accuracy"], run.config["model"]["depth"]
    (0.97, 3)
    >>> run.series("loss").value
    array([2.31, 1.12, 0.54])
    >>> run.tags.append("baseline")
    >>> run.update()
    """

    def __init__(self, source: Source, row: RunRow) -> None:
        self._source = source
        self._show(row)

    def _show(self, row: RunRow) -> None:
        self._row = row
        self.id: str = row.id
        self.project: str = row.project
        self.state: str = row.state
        self.error: str = row.error
        self.exit_code: int | None = row.exit_code
        self.created: datetime = moment(row.created)
        self.updated: datetime = moment(row.updated)
        self.ended: datetime | None = None if row.ended is None else moment(row.ended)
        self.name: str = row.name
        self.notes: str = row.notes
        self.group: str = row.group
        self.job_type: str = row.job_type
        self.tags: list[str] = list(row.tags)
        self.config: dict[str, Any] = copy.deepcopy(entries.unflatten(row.config))
        self._summary = Summary(row.summary, self.update)

    @property
    def summary(self) -> Summary:
        """What stays of the run; see `Summary`."""
        return self._summary

    @summary.setter
    def summary(self, values: Mapping[str, Any]) -> None:
        self._summary = Summary(entries.flatten(values), self.update)

    @property
    def path(self) -> str:
        """`project/id`, by which the run is found again."""
        return f"{self.project}/{self.id}"

    @property
    def duration(self) -> float:
        """Seconds from the run's beginning to its end, or to its last sign of life."""
        last = self._row.updated if self._row.ended is None else self._row.ended
        return (last - self._row.created) / 1e6

    @property
    def metadata(self) -> dict[str, Any]:
        """Where the run came from: command, host, hardware, packages, git."""
        known: dict[str, Any] = msgspec.json.decode(self._row.metadata or "{}")
        return known

    @property
    def accounting(self) -> dict[str, float]:
        """What tracking cost, over all of the run's writers."""
        return _accounted(self._source.accounting(self._row))

    @property
    def system(self) -> SystemMetrics:
        """The machine's and the process tree's metrics: a mapping of key to `Series`, read lazily."""
        return SystemMetrics(self._source, self._row)

    def keys(self, kind: Literal["metric", "system", "text"] = "metric") -> list[str]:
        """The keys that were logged: of numbers, of the system's metrics, or of texts."""
        return self._source.keys(self._row, kind)

    def series(self, key: str, *, superseded: bool = False) -> Series:
        """Every point of a metric, of all writers, in time order.

        Parameters
        ----------
        superseded
            Whether points are among them that the run left behind when it went back to an earlier step; see
            `Run.rewind` of a run being recorded.

        Raises
        ------
        KeyError
            If the run has no such metric.

        Examples
        --------
        >>> step, time, value = run.series("loss")
        """
        points = self._source.points(self._row, key, "metric", superseded=superseded)
        if points is None:
            raise KeyError(self._no_such(key, "metric"))
        return of(points)

    def texts(self, key: str) -> Series:
        """Every text logged under a key, in time order; `value` holds `str` objects.

        Raises
        ------
        KeyError
            If the run has logged no text under the key.
        """
        found = self._source.points(self._row, key, "text")
        if found is None:
            raise KeyError(self._no_such(key, "text"))
        return of(found)

    def history(
        self,
        keys: Sequence[str] | None = None,
        samples: int | None = 500,
        x_axis: str = "step",
        format: Format = "pandas",
    ) -> Any:
        """One row per step, with the columns `_step`, `_timestamp`, `_runtime` (seconds) and the keys.

        If a key was logged several times in a step, the value latest in time stands.

        Parameters
        ----------
        keys
            Metrics and texts; all by default. One the run has not logged is left out.
        samples
            Rows at most, evenly spread with the first and the last among them; None for all.
        x_axis
            What the rows are in order of: `step`, `time`, `relative`, or a metric, in which case rows
            without it are left out.
        format
            `pandas`, `polars`, `numpy` (a dict of arrays) or `arrow`. Where a key was not logged, there is
            NaN in pandas and NumPy, null in polars and Arrow; None for texts.

        Raises
        ------
        KeyError
            If the metric for `x_axis` was not logged.
        ImportError
            If the library for the format is not installed.
        ValueError
            If the format is not known, or `samples` is less than 1.

        Examples
        --------
        >>> run.history(keys=["val/loss"], x_axis="epoch", format="numpy")["val/loss"]
        array([0.8, 0.5, 0.4])
        """
        if samples is not None and samples < 1:
            raise ValueError(f"samples is {samples}, but must be 1 or more, or None for every row")
        axis = AXES.get(x_axis, x_axis)
        is_metric = axis not in RESERVED
        wanted = _logged(keys) if not is_metric else _with(_logged(keys), axis)
        table = self._source.history(self._row, wanted)
        if is_metric and axis not in table.columns:
            raise KeyError(self._no_such(axis, "metric"))
        table = history.order_by(table, "_timestamp" if axis == "_runtime" else axis)
        if samples is not None:
            table = history.sample(table, samples)
        return frame(table, format, self._row.created)

    def scan_history(
        self,
        keys: Sequence[str] | None = None,
        page_size: int = 1000,
        min_step: int | None = None,
        max_step: int | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Every row of the history in step order, as dicts, in bounded memory.

        A row has `_step`, `_timestamp`, `_runtime` and those keys that were logged in the step. While the
        run goes on, each step that was there comes once; the scan ends with the last one.

        Parameters
        ----------
        keys
            Metrics and texts; all by default.
        page_size
            Rows to read at a time, at least; sealed chunks are read whole.
        min_step, max_step
            The first step, and the last, inclusive.

        Examples
        --------
        >>> for row in run.scan_history(keys=["loss"]):
        ...     print(row["_step"], row["loss"])
        """
        first = LOWEST if min_step is None else min_step
        last = HIGHEST if max_step is None else max_step
        for piece in self._source.scan(self._row, _logged(keys), first, last, max(1, page_size)):
            yield from self._rows(piece)

    def watched(self, key: str = "gradients") -> Watched:
        """Statistics of the gradients, parameters or activations of the model the run watched.

        Parameters
        ----------
        key
            `gradients`, `parameters`, `activations`, or one of these of a further model, such as `gradients.1`.

        Raises
        ------
        KeyError
            If the run watched none.

        Examples
        --------
        >>> gradients = run.watched("gradients")
        >>> gradients["norm"].shape  # steps × layers
        (120, 14)
        """
        there = self._source.watched_keys(self._row)
        if key not in there:
            named = ", ".join(map(repr, there)) if there else "nothing"
            raise KeyError(f"run {self.project}/{self.id} has not watched {key!r}; it has watched {named}")
        return Watched(self._source.watched(self._row, key))

    def console(self, raw: bool = False, stream: Literal["stdout", "stderr"] | None = None) -> str:
        """What the run wrote to stdout and stderr, or to one of them.

        Parameters
        ----------
        raw
            As it was written, with every state of a progress bar; otherwise as a terminal shows it in the end.
        """
        return self._source.console(self._row, stream, raw=raw)

    def files(self) -> list[File]:
        """The files the run kept, by path; of each path the newest."""
        return [File(self._source, self._row, row) for row in self._source.files(self._row)]

    def file(self, path: str) -> File:
        """The file of that path.

        Raises
        ------
        KeyError
            If the run kept none.
        """
        files = {file.path: file for file in self.files()}
        if path not in files:
            raise KeyError(f"run {self.id} has no file {path!r}; it has {', '.join(files) or 'none'}")
        return files[path]

    def media_keys(self) -> dict[str, str]:
        """The keys under which the run logged media, and their kind."""
        return {found.key: found.kind for found in self._source.media_keys(self._row)}

    def media(self, key: str) -> list[MediaItem]:
        """The media logged under a key, by step; those of a list one after another.

        Raises
        ------
        KeyError
            If the run has logged no media under the key.

        Examples
        --------
        >>> run.media("examples")[-1].image()
        """
        found = self._source.media(self._row, key)
        if not found:
            there = self.media_keys()
            close = difflib.get_close_matches(key, there, 3) or list(there)[:10]
            named = ", ".join(map(repr, close)) if close else "none"
            raise KeyError(f"run {self.project}/{self.id} has logged no media under {key!r}; there is {named}")
        return [MediaItem(self._source, self._row, row) for row in found]

    def table(self, key: str, step: int | None = None) -> LoggedTable:
        """The table logged under a key: the last one, or the one there was at a step.

        A table with the log mode `INCREMENTAL` is all of its increments up to there.

        Raises
        ------
        KeyError
            If the run has logged no table under the key, or none up to that step.

        Examples
        --------
        >>> run.table("predictions").pandas()
        """
        items = [item for item in self.media(key) if item.kind == "table"]
        before = [item for item in items if step is None or (item.step is not None and item.step <= step)]
        if not before:
            steps = ", ".join(str(item.step) for item in items[:10]) or "none"
            raise KeyError(f"run {self.project}/{self.id} has no table {key!r} up to step {step}; there are {steps}")
        if before[-1].metadata.get("log_mode") == "INCREMENTAL":
            return LoggedTable(self._source, self._row, [item for item in before if "increment" in item.metadata])
        return LoggedTable(self._source, self._row, before[-1:])

    def logged_artifacts(self) -> list[Artifact]:
        """The versions of artifacts the run logged, in the order it did."""
        return Artifacts(self._source).of_run(self.id)[0]

    def used_artifacts(self) -> list[Artifact]:
        """The versions of artifacts the run used, in the order it did."""
        return Artifacts(self._source).of_run(self.id)[1]

    def alerts(self) -> list[Alert]:
        """The run's alerts in the order they were given."""
        found = self._source.alerts(self._row)
        return [Alert(moment(alert.time), alert.level, alert.title, alert.text) for alert in found]

    def update(
        self,
        *,
        name: str | None = None,
        notes: str | None = None,
        group: str | None = None,
        job_type: str | None = None,
        tags: Iterable[str] | None = None,
        config: Mapping[str, Any] | None = None,
        summary: Mapping[str, Any] | None = None,
    ) -> None:
        """Save what was changed on this object, and the changes given here.

        `config` and `summary` set entries beside those that are there.

        Raises
        ------
        RunNotFound
            If the run was deleted.
        TypeError
            If a value is nothing JSON can hold.

        Examples
        --------
        >>> run.update(name="best so far", tags=["baseline"], summary={"note": "lr too high"})
        """
        texts = {"name": name, "notes": notes, "group": group, "job_type": job_type}
        for field, value in texts.items():
            if value is not None:
                setattr(self, field, value)
        if tags is not None:
            self.tags = list(tags)
        self.config = entries.unflatten(entries.flatten(self.config) | entries.flatten(config or {}))
        for key, value in (summary or {}).items():
            self._summary[key] = value
        self._save()

    def reload(self) -> None:
        """Read the run again; changes that were not saved are dropped.

        Raises
        ------
        RunNotFound
            If the run was deleted.
        """
        found = self._source.load([self._source.handle(self._row)])
        if not found:
            raise RunNotFound(f"run {self.project}/{self.id} is no longer in the store")
        self._show(found[0])

    def delete(self) -> None:
        """Delete the run: in a folder with everything it logged, and its journals.

        Blobs, which runs may share, stay until `trackkit gc` finds that nobody uses them. On a server it goes to the
        trash, from where the dashboard brings it back for a week.

        Raises
        ------
        RuntimeError
            If the run still goes on.
        """
        fresh = self._source.load([self._source.handle(self._row)])
        if fresh and fresh[0].state == "running":
            raise RuntimeError(f"run {self.project}/{self.id} is still running; stop it before you delete it")
        self._source.delete(self._row)

    def _save(self) -> None:
        old = self._row
        described = {
            field: str(getattr(self, field))
            for field in ("name", "notes", "group", "job_type")
            if getattr(self, field) != getattr(old, field)
        }
        config, config_gone = _difference(old.config, entries.flatten(self.config))
        summary, summary_gone = _difference(old.summary, dict(self._summary))
        tags = None if sorted(set(self.tags)) == sorted(old.tags) else self.tags
        self._source.change(old, described, tags, (config, config_gone), (summary, summary_gone))
        self.reload()

    def _rows(self, piece: History) -> Iterator[dict[str, Any]]:
        created = self._row.created
        columns = [(key, column.values.tolist(), column.present.tolist()) for key, column in piece.columns.items()]
        for position, (step, time) in enumerate(zip(piece.steps.tolist(), piece.times.tolist(), strict=True)):
            row = {"_step": step, "_timestamp": time / 1e6, "_runtime": (time - created) / 1e6}
            row.update([(key, values[position]) for key, values, present in columns if present[position]])
            yield row

    def _no_such(self, key: str, kind: Literal["metric", "text"]) -> str:
        there = self.keys(kind)
        close = difflib.get_close_matches(key, there, 3) or there[:10]
        named = ", ".join(map(repr, close)) if close else "none"
        return f"run {self.project}/{self.id} has logged no {kind} {key!r}; there is {named}"

    def __repr__(self) -> str:
        return f"Run({self.project}/{self.id}, {self.name!r}, {self.state})"

    def _repr_html_(self) -> str:
        facts = {"name": self.name, "state": self.state, "created": f"{self.created:%Y-%m-%d %H:%M:%S} UTC"}
        tags = {"tags": ", ".join(self.tags)} if self.tags else {}
        return pages.facts(
            f"{self.project}/{self.id}",
            facts | tags,
            {"config": entries.flatten(self.config), "summary": dict(self._summary)},
        )


def _accounted(costs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The cost of several writers as one: all is added up but the time of a call, which is their mean."""
    total = {key: sum(cost.get(key, 0.0) for cost in costs) for cost in costs for key in cost}
    spent = sum(cost.get("call_microseconds", 0.0) * cost.get("calls", 0.0) for cost in costs)
    if "call_microseconds" in total:
        total["call_microseconds"] = spent / max(1.0, total.get("calls", 0.0))
    return total


def _logged(keys: Sequence[str] | None) -> list[str] | None:
    """The keys without the columns every row has, which people name out of habit."""
    if isinstance(keys, str):
        raise TypeError(f"keys is a list of keys; write [{keys!r}]")
    return None if keys is None else [key for key in dict.fromkeys(keys) if key not in RESERVED]


def _with(keys: list[str] | None, key: str) -> list[str] | None:
    return None if keys is None else list(dict.fromkeys([key, *keys]))


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The entries set or changed, and the keys that are gone. Types count: 1, 1.0 and True are different."""
    plain = {key: _plain(value) for key, value in new.items()}
    changed = {
        key: value
        for key, value in plain.items()
        if key not in old or entries.encode(value) != entries.encode(old[key])
    }
    return changed, [key for key in old if key not in plain]


def _plain(value: Any) -> Any:
    """Arrays and scalars of NumPy and its like as what JSON can hold."""
    return value.tolist() if hasattr(value, "tolist") else value
