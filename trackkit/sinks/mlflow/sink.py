"""The sink `mlflow+http://host`: runs sent to an MLflow server, over REST alone."""

from __future__ import annotations

import contextlib
import json
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from trackkit.backend.store import entries
from trackkit.core import records
from trackkit.core.blobs import Blobs
from trackkit.core.records import AnyRecord
from trackkit.core.sink import Batch, Known, SinkRefused
from trackkit.sinks.mlflow import system
from trackkit.sinks.mlflow.access import Access
from trackkit.sinks.mlflow.artifacts import ArtifactStore, NotProxied
from trackkit.sinks.mlflow.client import Client, Rejected
from trackkit.sinks.mlflow.content import Content
from trackkit.sinks.mlflow.files import Files, Freight, reached_of
from trackkit.sinks.mlflow.limits import Limits, Names, as_number, fitting_key, shortened
from trackkit.sinks.mlflow.outbox import Outbox
from trackkit.sinks.mlflow.params import Params
from trackkit.sinks.mlflow.state import Mark, status_of
from trackkit.sinks.mlflow.tracked import (
    CREATOR,
    GROUP,
    JOB_TYPE,
    LABELS,
    NOTE,
    Finder,
    Tracked,
    describing,
    labelling,
    labels_of,
    milliseconds,
    read,
)

KEY: Final = "trackkit.key."
"""Tags that tell a metric's own key where the server could not take it as it is."""
PARAM_KEY: Final = "trackkit.param."
SUMMARY: Final = "trackkit.summary."
_REST_EVERY: Final = 64
_FINISHED: Final = {"FINISHED": "finished", "FAILED": "failed", "KILLED": "killed"}


class MLflowSink:
    """Sends runs to an MLflow server; see `core.sink.Sink` for the contract, and `docs/mlflow-sink.md` for what becomes
    of what.

    Parameters
    ----------
    uri
        `mlflow+http(s)://host[:port][/path]`, or `mlflow` for what MLFLOW_TRACKING_URI names.
    root
        The store's folder: where the blobs are that records name.

    Raises
    ------
    ValueError
        If the URI is no address of an MLflow server.
    """

    local = False

    def __init__(self, uri: str, root: Path) -> None:
        self._access = Access.of(uri)
        self._root = root
        self._client = Client(self._access)
        self._finder = Finder(self._client, root)
        self._limits = Limits()
        self._run = self._writer = ""
        self._sending: _Sending | None = None
        self._is_unsure = False
        """Whether a batch came to an end that tells nothing of what the server has of it."""

    @classmethod
    def check(cls, uri: str) -> None:
        """Refuse a URI of which no sink can be made; see `core.sink.check_uri`."""
        Access.of(uri)

    def open(self, run: str, writer: str) -> int:
        self.close()
        self._client = Client(self._access)
        self._finder = Finder(self._client, self._root)
        self._limits = Limits.of(self._client.text("/version"))
        self._run, self._writer, self._is_unsure = run, writer, False
        found = self._finder.find(run)
        if found is None:
            return 0
        self._sending = self._prepare(found, is_new=False)
        return self._sending.position

    def write(self, batch: Batch) -> int:
        frames = list(zip(batch.payloads, batch.ends, strict=True))
        if self._is_unsure:
            self.open(self._run, self._writer)
        try:
            sending = self._sending or self._begin(batch)
            return sending.take(batch.start, frames, batch.rest)
        except BaseException:
            self.close()
            self._is_unsure = True
            raise

    def _begin(self, batch: Batch) -> _Sending:
        """Make the run, which the batch begins."""
        start = _start_in(batch) or records.Start(time.time(), self._run, "uncategorized", self._run)
        found = self._finder.make(start, self._writer, self._limits)
        is_new = found.tags.get(CREATOR) == self._writer and Mark.key(self._writer) not in found.tags
        self._sending = self._prepare(found, is_new=is_new)
        return self._sending

    def _prepare(self, found: Tracked, *, is_new: bool) -> _Sending:
        return _Sending(self._client, found, self._writer, self._limits, self._root, is_new=is_new)

    def sync(self) -> None:
        """MLflow has no word for it: what it acknowledged is as safe as its database."""

    @property
    def held(self) -> int | None:
        """The offset of the first record whose file is still on its way; None if all are there."""
        return None if self._sending is None else self._sending.held

    @property
    def files_waiting(self) -> int:
        """How many files are still on their way."""
        return 0 if self._sending is None else self._sending.files_waiting

    def close(self) -> None:
        if self._sending is not None:
            self._sending.close()
            self._sending = None
        self._client.close()

    def abandon(self, when: float | None = None) -> bool:
        """Mark the run failed, as its writer died without a Finish record; whether that was news."""
        return self._sending is not None and self._sending.abandon(time.time() if when is None else when)

    def lookup(self, run: str) -> Known | None:
        """What the server knows of a run, or None; see `core.sink.Resumable`."""
        found = self._finder.find(run)
        if found is None:
            return None
        experiment = self._client.get("experiments/get", experiment_id=found.experiment)["experiment"]
        stored = None
        with contextlib.suppress(NotProxied, SinkRefused, Rejected):
            stored = ArtifactStore(self._client, found.artifacts).get("trackkit/config.json")
        config = json.loads(stored) if stored else entries.unflatten(found.params)
        summary = {}
        for key, value in _noted(found, SUMMARY).items():
            with contextlib.suppress(ValueError):  # one that was cut
                summary[key] = json.loads(value)
        steps = [step for key, step in found.steps.items() if not key.startswith(("system/", "summary/"))]
        return Known(
            str(experiment["name"]),
            found.name,
            found.tags.get(GROUP, ""),
            found.tags.get(JOB_TYPE, ""),
            found.tags.get(NOTE, ""),
            labels_of(found.tags),
            _FINISHED.get(found.status, "running"),
            max(steps, default=None),
            config,
            summary,
        )


class _Sending:
    """One writer's records on their way into an MLflow run."""

    def __init__(
        self, client: Client, found: Tracked, writer: str, limits: Limits, root: Path, *, is_new: bool
    ) -> None:
        self._client = client
        self._run = found
        self._writer = writer
        self._limits = limits
        self._mark = Mark.of(found.tags, writer)
        self._names = Names(limits, _noted(found, KEY), set(found.steps))
        self._params_names = Names(limits, _noted(found, PARAM_KEY), set(found.params))
        self._outbox = Outbox(client, found.id, drops_twins=is_new or _drops_twins(client, found))
        self._is_creator = found.tags.get(CREATOR, writer) == writer
        self._labels = labels_of(found.tags)
        self._params: Params | None = None
        self._provenance: dict[str, records.Json] | None = None
        self._freight = Freight()
        self._files: Files | None = None
        self._store: ArtifactStore | None = None
        self._last = False
        reached = reached_of(found.tags, f"trackkit.files.{writer}")
        try:
            self._store = ArtifactStore(client, found.artifacts)
            own = Client(client.access)
            store = ArtifactStore(own, found.artifacts)
            self._files = Files(own, store, found.id, f"trackkit.files.{writer}", reached)
        except NotProxied as error:
            self._outbox.add_tags({"trackkit.files": shortened(f"not sent: {error}", limits.tag)})
        held = self._mark.held
        self._files_from = self._mark.position if held is None else max(held, reached.offset)
        self._content = Content(self._freight, Blobs(root), self._files_prefix())

    @property
    def position(self) -> int:
        """The offset to begin at: where the journal is there, and its files."""
        return min(self._mark.position, self._files_from)

    @property
    def held(self) -> int | None:
        return None if self._files is None else self._files.first

    @property
    def files_waiting(self) -> int:
        return 0 if self._files is None else self._files.count

    def close(self) -> None:
        if self._files is not None:
            self._files.close()

    def _files_prefix(self) -> str:
        """Before the paths of what every process of a run has."""
        return "" if self._is_creator else f"{(self._mark.label or self._writer).replace('/', '_')}/"

    def take(self, start: int, frames: list[tuple[bytes, int]], rest: Callable[[], None]) -> int:
        """Send frames; the offset of the end of the last."""
        end = start
        for number, (payload, after) in enumerate(frames):
            if not number % _REST_EVERY:
                rest()
            start, end = end, after
            if end <= self._mark.position and end <= self._files_from:
                continue
            try:
                record = records.decode(payload)
            except msgspec.MsgspecError:
                continue  # of a kind this version does not know
            if end > self._mark.position:
                self._take(record)
            if end > self._files_from and self._files is not None:
                self._take_files(record, start)
            if self._outbox.is_full:
                self._send(end)
        self._send(end)
        return end

    def _send(self, end: int) -> None:
        if end > self._mark.position:
            self._send_outbox(end)
        if self._files is not None:
            self._files.give(self._freight, end, last=self._last)
        self._freight = Freight()
        self._content.freight = self._freight
        if self._last:
            self._last = False
            self._settle()

    def _send_outbox(self, end: int) -> None:
        mark = self._mark
        held = [each for each in (self.held, self._freight.first) if each is not None]
        mark.held = min(held, default=None)
        mark.position = max(mark.position, end)
        for kind, names in ((KEY, self._names), (PARAM_KEY, self._params_names)):
            fresh, names.fresh = names.fresh, {}
            self._outbox.add_tags({fitting_key(f"{kind}{name}", self._limits): key for name, key in fresh.items()})
        self._outbox.send({Mark.key(self._writer): mark.encode()})

    def _take(self, record: AnyRecord) -> None:
        """Take a record but for its files."""
        match record:
            case records.Points():
                self._add_points(record)
            case records.System():
                self._add_system(record)
            case records.Start():
                self._begin(record)
            case records.Config():
                self._outbox.add_tags(self._config().change(record))
            case records.Summary():
                self._add_summary(record)
            case records.Describe():
                self._describe(record)
            case records.Provenance():
                self._outbox.add_tags(self._sources(record))
            case records.Define():
                text = msgspec.json.encode(msgspec.to_builtins(_Definition.of(record))).decode()
                key = fitting_key(f"trackkit.define.{record.name.replace('*', '_')}", self._limits)
                self._outbox.add_tags({key: shortened(text, self._limits.tag)})
            case records.Rewind():
                self._outbox.add_tags({"trackkit.rewound_to": str(record.step)})
            case records.Use():
                self._add_input(record)
            case records.Finish():
                self._mark.state, self._mark.time, self._last = record.state, record.time, True
                if record.error:
                    self._outbox.add_tags({"trackkit.error": shortened(record.error, self._limits.tag)})

    def _add_points(self, record: records.Points) -> None:
        when = milliseconds(record.time)
        self._mark.time = record.time
        values = struct.unpack(f">{len(record.keys)}d", record.values)
        for key, value in zip(record.keys, values, strict=True):
            self._outbox.add_metric(self._names.name(key), as_number(value), when, record.step)

    def _add_system(self, record: records.System) -> None:
        when = milliseconds(record.time)
        self._mark.time = record.time
        step = max(0, when - self._run.started) // 1000
        label = "" if self._is_creator else (self._mark.label or self._writer)
        for key, value in record.values.items():
            name, converted = system.named(key, value, label)
            self._outbox.add_metric(self._names.name(name), as_number(converted), when, step)

    def _begin(self, record: records.Start) -> None:
        mark = self._mark
        mark.label, mark.role, mark.started, mark.time = record.label, record.role, record.time, record.time
        mark.state = "running"
        self._content.prefix = self._files_prefix()
        self._labels = list(dict.fromkeys([*self._labels, *record.tags]))
        self._outbox.add_tags(describing(record, self._limits))
        if record.role == "main" and self._run.status != "RUNNING":
            self._update({"status": "RUNNING"})
            self._run.status = "RUNNING"

    def _config(self) -> Params:
        if self._params is None:
            stored = self._document("config.json")
            self._params = Params(self._client, self._run, self._limits, self._params_names, stored)
        return self._params

    def _document(self, name: str) -> dict[str, records.Json]:
        """What an artifact that we keep holds so far."""
        stored = None
        if self._store is not None and self._mark.position:
            with contextlib.suppress(Rejected):
                stored = self._store.get(f"{self._files_prefix()}trackkit/{name}")
        try:
            found = json.loads(stored or b"{}")
        except ValueError:
            found = {}
        return found if isinstance(found, dict) else {}

    def _add_summary(self, record: records.Summary) -> None:
        when = milliseconds(record.time)
        for key, value in entries.flatten(record.values).items():
            tag = fitting_key(f"{SUMMARY}{key}", self._limits)
            text = json.dumps(value, ensure_ascii=False)
            self._outbox.add_tags({tag: shortened(text, self._limits.tag)})
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                self._outbox.add_metric(self._names.name(f"summary/{key}"), as_number(float(value)), when, 0)
        for key in record.removed:
            self._delete_tag(fitting_key(f"{SUMMARY}{key}", self._limits))

    def _describe(self, record: records.Describe) -> None:
        tags = {NOTE: record.notes, GROUP: record.group, JOB_TYPE: record.job_type}
        self._outbox.add_tags(
            {key: shortened(value, self._limits.tag) for key, value in tags.items() if value is not None}
        )
        if record.name is not None:
            self._update({"run_name": record.name})
            self._outbox.add_tags({"mlflow.runName": shortened(record.name, self._limits.tag)})
        if record.tags is not None:
            gone = [each for each in self._labels if each not in record.tags]
            for key in labelling(gone, self._limits).keys() - {LABELS}:
                self._delete_tag(key)
            self._labels = list(record.tags)
            self._outbox.add_tags(labelling(record.tags, self._limits))

    def _sources(self, record: records.Provenance) -> dict[str, str]:
        """What MLflow's page shows of where a run came from."""
        values = record.values
        git = values.get("git") if isinstance(values.get("git"), dict) else {}
        assert isinstance(git, dict)
        told = {
            "mlflow.user": values.get("user"),
            "mlflow.source.name": values.get("program"),
            "mlflow.source.git.commit": git.get("commit"),
            "mlflow.source.git.branch": git.get("branch"),
            "mlflow.source.git.repoURL": git.get("remote"),
        }
        if not self._is_creator:
            return {}
        return {key: shortened(str(value), self._limits.tag) for key, value in told.items() if value}

    def _add_input(self, record: records.Use) -> None:
        source = {"uri": f"{record.project}/{record.name}:v{record.number}", "digest": record.digest}
        dataset = {
            "name": shortened(f"{record.project}/{record.name}", 500),
            "digest": record.digest[:36],
            "source_type": "trackkit",
            "source": json.dumps(source),
        }
        tags = [{"key": "mlflow.data.context", "value": record.kind or "artifact"}]
        body = {"run_id": self._run.id, "datasets": [{"tags": tags, "dataset": dataset}]}
        with contextlib.suppress(Rejected):  # servers before 2.4 have no inputs
            self._client.post("runs/log-inputs", body)

    def _take_files(self, record: AnyRecord, start: int) -> None:
        match record:
            case records.Config():
                self._config().merge(record)
                self._content.document("config.json", self._config().config, start)
            case records.Provenance():
                if self._provenance is None:
                    self._provenance = self._document("provenance.json")
                self._provenance.update(record.values)
                self._content.document("provenance.json", self._provenance, start)
            case _:
                self._last = self._last or isinstance(record, records.Finish)
                self._content.take(record, start)

    def _update(self, change: dict[str, Any]) -> None:
        with contextlib.suppress(Rejected):
            self._client.post("runs/update", {"run_id": self._run.id, "run_uuid": self._run.id, **change})

    def _delete_tag(self, key: str) -> None:
        self._outbox.forget_tag(key)
        with contextlib.suppress(Rejected):
            self._client.post("runs/delete-tag", {"run_id": self._run.id, "key": key})

    def abandon(self, when: float) -> bool:
        if self._mark.state != "running":
            return False
        self._mark.state, self._mark.time = "crashed", when
        self._outbox.send({Mark.key(self._writer): self._mark.encode()})
        self._settle()
        return True

    def _settle(self) -> None:
        """Give the run the status that its writers come to, once none of them goes on."""
        found = read(self._client, self._run.id)
        status = None if found is None else status_of(Mark.all(found.tags), self._mark)
        if status is not None:
            self._run.status = status
            self._update({"status": status, "end_time": milliseconds(self._mark.time)})


class _Definition(msgspec.Struct, omit_defaults=True):
    """What a Define record says, as JSON."""

    name: str
    step_metric: str | None = None
    summary: list[str] | None = None
    goal: str | None = None
    hidden: bool = False

    @classmethod
    def of(cls, record: records.Define) -> _Definition:
        return cls(record.name, record.step_metric, record.summary, record.goal, record.hidden)


def _noted(found: Tracked, kind: str) -> dict[str, str]:
    return {key.removeprefix(kind): value for key, value in found.tags.items() if key.startswith(kind)}


def _drops_twins(client: Client, found: Tracked) -> bool:
    """Whether the server's store drops a metric it has already, as SQL stores do.

    Servers before 3.5 don't tell what they are; the ids that a file store makes up have 18 digits.
    """
    kind = client.information().get("store_type")
    return kind == "SqlStore" if kind else len(found.experiment) < 18 and found.experiment != "0"


def _start_in(batch: Batch) -> records.Start | None:
    return next((record for record in batch.records if isinstance(record, records.Start)), None)
