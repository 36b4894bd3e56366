"""Which MLflow run is a trackkit run: found again by its tag `trackkit.id`, or made, once.

MLflow gives its runs ids of its own, and takes any number of runs with the same tag. So that a run of several
processes is not made twice, those of one machine ask one after the other, and other ranks wait for the first; where two
were made all the same, the one that began first is it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec

from trackkit.core import records
from trackkit.core.sink import SinkBusy, SinkRefused
from trackkit.sinks.mlflow.client import Client, Rejected
from trackkit.sinks.mlflow.limits import RESERVED, Limits, fitting_key, shortened

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

ID: Final = "trackkit.id"
GROUP: Final = "trackkit.group"
JOB_TYPE: Final = "trackkit.job_type"
LABELS: Final = "trackkit.tags"
CREATOR: Final = "trackkit.writer"
"""The writer that made the run: what it tells about files and the machine stands at the top."""
PARENT: Final = "mlflow.parentRunId"
NOTE: Final = "mlflow.note.content"
_GROUP_ID: Final = "group:"
"""How the tag `trackkit.id` begins of a run that was made to hold those of a group."""
_AT_ONCE: Final = 500
_RANK_SECONDS: Final = 30.0
"""How long a rank waits for the first one to make the run."""
_OTHER_RANK = re.compile(r"rank [1-9]\d*")
_OWN_ID = re.compile(r"[0-9a-f]{32}")
_asked: dict[tuple[str, str], float] = {}
"""When a rank first asked for a run, which it goes on waiting for when the sink is made anew."""


class Tracked(msgspec.Struct):
    """An MLflow run as the server has it; times in milliseconds since the epoch."""

    id: str
    experiment: str
    artifacts: str
    """The URI of its artifacts."""
    name: str = ""
    status: str = "RUNNING"
    started: int = 0
    deleted: bool = False
    tags: dict[str, str] = {}
    params: dict[str, str] = {}
    steps: dict[str, int] = {}
    """The last step of each metric."""


def tracked_of(run: dict[str, Any]) -> Tracked:
    """The run in an answer."""
    info, data = run["info"], run.get("data", {})
    return Tracked(
        str(info.get("run_id") or info["run_uuid"]),
        str(info["experiment_id"]),
        str(info.get("artifact_uri", "")),
        str(info.get("run_name", "")),
        str(info.get("status", "RUNNING")),
        int(info.get("start_time") or 0),
        info.get("lifecycle_stage") == "deleted",
        _pairs(data.get("tags")),
        _pairs(data.get("params")),
        {str(each["key"]): int(each.get("step", 0)) for each in data.get("metrics", ())},
    )


def _pairs(listed: list[dict[str, str]] | None) -> dict[str, str]:
    return {each["key"]: each.get("value", "") for each in listed or ()}


def read(client: Client, id: str) -> Tracked | None:
    """A run by MLflow's id; None if there is none."""
    try:
        return tracked_of(client.get("runs/get", run_id=id, run_uuid=id)["run"])
    except Rejected as error:
        if error.status in (400, 404):
            return None
        raise


class Finder:
    """Finds the MLflow run of a trackkit run, or makes it.

    Parameters
    ----------
    client
        A connection to the server.
    root
        The store's folder, where it is noted which run it was.
    """

    def __init__(self, client: Client, root: Path) -> None:
        self._client = client
        self._folder = root / "mlflow" / sha256(client.address.encode()).hexdigest()[:12]

    def find(self, run: str) -> Tracked | None:
        """The MLflow run of a run; None if there is none yet.

        A run that MLflow made itself is found by the id that MLflow gave it.

        Raises
        ------
        SinkRefused
            If it is deleted.
        """
        found = self._noted(run) or self._search(run, None)
        if found is None and _OWN_ID.fullmatch(run):
            found = read(self._client, run)
        if found is not None and found.deleted:
            raise SinkRefused(
                f"the MLflow run {found.id} of the run {run} is deleted at {self._client.address}; restore it there, "
                "or start a run with another id"
            )
        if found is not None:
            self._note(run, found.id)
        return found

    def make(self, start: records.Start, writer: str, limits: Limits) -> Tracked:
        """The MLflow run of a run that begins, made unless another process was faster.

        Raises
        ------
        SinkBusy
            If this is not the first rank, and the first has not come yet.
        SinkRefused
            If the experiment is deleted.
        """
        with self._alone(start.run):
            found = self.find(start.run)
            if found is None:
                self._wait_for_first_rank(start)
                found = self._make(start, writer, limits)
                self._note(start.run, found.id)
            return found

    def _make(self, start: records.Start, writer: str, limits: Limits) -> Tracked:
        experiment = self.experiment(start.project or "default")
        tags = {ID: start.run, CREATOR: writer, "mlflow.source.type": "LOCAL", **describing(start, limits)}
        if start.group and (parent := self._parent(start, experiment)) is not None:
            tags[PARENT] = parent
        made = self._create(experiment, start.name, start.time, tags)
        first = self._search(start.run, [experiment]) or made
        if first.id != made.id:
            self._client.post("runs/delete", {"run_id": made.id})
        return first

    def _create(self, experiment: str, name: str, when: float, tags: dict[str, str]) -> Tracked:
        body = {
            "experiment_id": experiment,
            "start_time": milliseconds(when),
            "run_name": name,
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
        }
        try:
            return tracked_of(self._client.post("runs/create", body)["run"])
        except Rejected as error:
            raise SinkRefused(f"{self._client.address} makes no run: {error}") from error

    def experiment(self, name: str) -> str:
        """The id of the experiment of this name, made if there is none."""
        for _ in range(3):
            try:
                found = self._client.get("experiments/get-by-name", experiment_name=name)["experiment"]
            except Rejected as error:
                if error.code != "RESOURCE_DOES_NOT_EXIST":
                    raise SinkRefused(str(error)) from error
            else:
                if found.get("lifecycle_stage") == "deleted":
                    raise SinkRefused(
                        f"the experiment {name!r} is deleted at {self._client.address}, which keeps its name; restore "
                        "it there, or use another project"
                    )
                return str(found["experiment_id"])
            try:
                return str(self._client.post("experiments/create", {"name": name})["experiment_id"])
            except Rejected as error:
                if error.code != "RESOURCE_ALREADY_EXISTS":  # else another process was faster
                    raise SinkRefused(f"the project {name!r} can't be an experiment: {error}") from error
        raise SinkBusy(f"the experiment {name!r} comes and goes at {self._client.address}")

    def _parent(self, start: records.Start, experiment: str) -> str | None:
        """The run that holds those of a group: the one of that id, or one made to hold them."""
        found = self._noted(start.group) or self._search(start.group, [experiment])
        if found is not None:
            return None if found.deleted else found.id
        id = f"{_GROUP_ID}{start.group}"
        with self._alone(id):
            found = self._search(id, [experiment])
            if found is None:
                tags = {ID: id, GROUP: start.group, "mlflow.source.type": "LOCAL"}
                made = self._create(experiment, start.group, start.time, tags)
                found = self._search(id, [experiment]) or made
                if found.id != made.id:
                    self._client.post("runs/delete", {"run_id": made.id})
            ended = {"run_id": found.id, "status": "FINISHED", "end_time": milliseconds(start.time)}
            self._client.post("runs/update", ended)
            return found.id

    def _search(self, run: str, experiments: list[str] | None) -> Tracked | None:
        """The run with the tag, the earliest of several; one that is deleted only if there is no other."""
        found: list[Tracked] = []
        listed = self._experiments() if experiments is None else experiments
        for start in range(0, len(listed), _AT_ONCE):
            body = {
                "experiment_ids": listed[start : start + _AT_ONCE],
                "filter": f"tags.`{ID}` = '{_quoted(run)}'",
                "run_view_type": "ALL",
                "max_results": 100,
            }
            found += [tracked_of(each) for each in self._client.post("runs/search", body).get("runs", ())]
        return min(found, key=lambda each: (each.deleted, each.started, each.id), default=None)

    def _experiments(self) -> list[str]:
        found: list[str] = []
        body: dict[str, Any] = {"max_results": 1000, "view_type": "ALL"}
        while True:
            answer = self._client.post("experiments/search", body)
            found += [str(each["experiment_id"]) for each in answer.get("experiments", ())]
            if not (token := answer.get("next_page_token")):
                return found
            body["page_token"] = token

    def _wait_for_first_rank(self, start: records.Start) -> None:
        if not _OTHER_RANK.fullmatch(start.label):
            return
        since = _asked.setdefault((self._client.address, start.run), time.monotonic())
        if time.monotonic() - since < _RANK_SECONDS:
            raise SinkBusy(f"{start.label} waits for the first rank to make the MLflow run")

    def _noted(self, run: str) -> Tracked | None:
        """The run that was noted here, if the server still has it."""
        try:
            id = json.loads(self._path(run, "json").read_text())["run"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        found = read(self._client, str(id))
        return found if found is not None and found.tags.get(ID, run) == run else None

    def _note(self, run: str, id: str) -> None:
        path = self._path(run, "json")
        with contextlib.suppress(OSError):  # a folder that can't be written costs a search
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = path.with_name(f"{path.name}.{os.getpid()}-{os.urandom(4).hex()}")
            fresh.write_text(json.dumps({"run": id}))
            os.replace(fresh, path)

    def _path(self, run: str, kind: str) -> Path:
        name = run if len(run) <= 128 and re.fullmatch(r"[\w.-]+", run) else sha256(run.encode()).hexdigest()
        return self._folder / f"{name}.{kind}"

    @contextlib.contextmanager
    def _alone(self, run: str) -> Iterator[None]:
        """Keep other processes with the same folder from making the same run."""
        path = self._path(run, "lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:
            yield
            return
        try:
            if fcntl is not None:
                with contextlib.suppress(OSError):
                    fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def describing(start: records.Start, limits: Limits) -> dict[str, str]:
    """What a run says of itself at its start, as tags."""
    tags = {GROUP: start.group, JOB_TYPE: start.job_type, NOTE: start.notes}
    tags = {key: shortened(value, limits.tag) for key, value in tags.items() if value}
    return {**tags, **(labelling(start.tags, limits) if start.tags else {})}


def labelling(labels: list[str], limits: Limits) -> dict[str, str]:
    """A run's labels as tags: all of them in one, and each as one of its own, by which MLflow can search."""
    own = {fitting_key(label, limits): "true" for label in labels if label and not label.startswith(RESERVED)}
    return {LABELS: shortened(json.dumps(labels, ensure_ascii=False), limits.tag), **own}


def labels_of(tags: dict[str, str]) -> list[str]:
    """The labels that tags tell, which may have been cut."""
    try:
        found = json.loads(tags.get(LABELS, "[]"))
    except ValueError:
        return []
    return [str(each) for each in found] if isinstance(found, list) else []


def milliseconds(seconds: float) -> int:
    """A time as MLflow has it; 0 for what is none."""
    return max(0, round(seconds * 1000)) if -1e15 < seconds < 1e15 else 0


def _quoted(text: str) -> str:
    return text.replace("'", "_").replace("%", "_")
