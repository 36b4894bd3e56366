"""What MLflow's facts are here."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Any

import msgspec

from trackkit.core import records
from trackkit.core.records import AnyRecord, Json
from trackkit.imports.mlflow.source import Experiment, Point, SourceRun

_WHOLE = re.compile(r"-?[1-9]\d{0,17}|0")
_WORDS: dict[str, Json] = {"True": True, "False": False, "None": None}


def time_of(milliseconds: int) -> float:
    """Seconds since the epoch."""
    return milliseconds / 1000


def project_names(experiments: Sequence[Experiment]) -> dict[str, str]:
    """The project that each experiment becomes, by its id.

    Examples
    --------
    >>> project_names([Experiment("1", "/Users/jo/digits"), Experiment("2", "Users-jo-digits")])
    {'1': 'Users-jo-digits', '2': 'Users-jo-digits-2'}
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    for each in experiments:
        name = each.name.strip("/").replace("/", "-").replace("\0", "")[:128] or f"experiment-{each.id}"
        if name in taken:
            name = f"{name[: 127 - len(each.id)]}-{each.id}"
        taken.add(name)
        found[each.id] = name
    return found


def start_of(run: SourceRun, project: str, role: str = "main") -> records.Start:
    """The record that begins a run, or one of its further writers."""
    name = name_of(run) if role == "main" else ""
    group = run.tags.get("mlflow.parentRunId", "") if role == "main" else ""
    return records.Start(time_of(run.started), run.id, project, name, group, role=role)


def name_of(run: SourceRun) -> str:
    """What people call a run."""
    return run.name or run.id


def typed(text: str) -> Json:
    """A param's value with its type, where its text is exactly what that value is written as.

    Examples
    --------
    >>> typed("3"), typed("0.10"), typed("1e-05"), typed("True"), typed("adam")
    (3, '0.10', 1e-05, True, 'adam')
    """
    if text in _WORDS:
        return _WORDS[text]
    if _WHOLE.fullmatch(text):
        return int(text)
    try:
        number = float(text)
    except ValueError:
        return text
    return number if repr(number) == text else text


def facts_of(experiment: Experiment, run: SourceRun) -> list[AnyRecord]:
    """All that is known of a run besides its points and files."""
    when = time_of(run.started)
    tags = run.tags
    own = {key: value for key, value in tags.items() if not key.startswith(("mlflow.", "trackkit."))}
    config: dict[str, Json] = {key: typed(value) for key, value in run.params.items()}
    if own:
        config["mlflow_tags"] = own
    labels = _labels(tags)
    if run.deleted:
        labels.append("deleted")
    git = {
        name: tags[f"mlflow.source.git.{key}"]
        for name, key in (("commit", "commit"), ("branch", "branch"), ("remote", "repoURL"))
        if f"mlflow.source.git.{key}" in tags
    }
    found: dict[str, Json] = {
        "mlflow": {
            "experiment_id": experiment.id, "experiment": experiment.name, "experiment_tags": experiment.tags,
            "experiment_deleted": experiment.deleted, "run_id": run.id, "status": run.status, "user_id": run.user,
            "start_time": run.started, "end_time": run.ended, "artifact_uri": run.artifacts,
            "lifecycle_stage": "deleted" if run.deleted else "active", "tags": tags, "inputs": run.inputs,
        }
    }  # fmt: skip
    if user := tags.get("mlflow.user") or run.user:
        found["user"] = user
    if program := tags.get("mlflow.source.name"):
        found["program"] = program
    if git:
        found["git"] = git
    return [
        records.Describe(when, name_of(run), tags.get("mlflow.note.content", ""), labels),
        *([records.Config(when, config)] if config else []),
        records.Provenance(when, found),
    ]


def _labels(tags: dict[str, str]) -> list[str]:
    """The labels of a run that trackkit sent to MLflow."""
    try:
        found = json.loads(tags.get("trackkit.tags", "[]"))
    except ValueError:
        return []
    return [str(each) for each in found] if isinstance(found, list) else []


def points_of(points: Iterable[Point], before: int | None) -> Iterator[records.Points]:
    """Points as records, those of one time and step in one.

    Parameters
    ----------
    before
        Milliseconds since the epoch, from which on points are left out.
    """
    when = (0, 0)
    values: dict[str, float] = {}
    for point in points:
        if before is not None and point.timestamp >= before:
            break
        if values and ((point.timestamp, point.step) != when or point.key in values):
            yield _record(when, values)
            values = {}
        when = (point.timestamp, point.step)
        values[point.key] = point.value
    if values:
        yield _record(when, values)


def _record(when: tuple[int, int], values: dict[str, float]) -> records.Points:
    packed = struct.pack(f">{len(values)}d", *values.values())
    return records.Points(when[1], time_of(when[0]), list(values), packed)


def artifact_name(text: str) -> str:
    """What an artifact may be called that is called so at MLflow."""
    name = re.sub(r"[^A-Za-z0-9_. -]", "_", text)[:128].strip(" .-") or "model"
    return name if re.match(r"[A-Za-z0-9_]", name) else f"_{name}"[:128]


def signature(values: Any) -> str:
    """What tells whether anything in a value has changed: 16 digits."""
    return sha256(msgspec.msgpack.encode(values)).hexdigest()[:16]
