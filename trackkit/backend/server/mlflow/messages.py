"""What goes over the wire, as MLflow's protobuf messages have it in JSON."""

from __future__ import annotations

import base64
import binascii
import math
import re
import sys
from typing import Any, Final

import msgspec

from trackkit.backend.server.mlflow.errors import invalid
from trackkit.backend.server.mlflow.routing import Reply
from trackkit.backend.store.experiments import ExperimentRow
from trackkit.backend.store.mlflow_runs import Latest, MlflowRun
from trackkit.backend.store.mlflow_search import STATES
from trackkit.backend.store.run_tags import NAME, NOTE

WORKSPACE: Final = "default"
_VIEWS: Final = {"ACTIVE_ONLY": "active", "DELETED_ONLY": "deleted", "ALL": "all",
                 "1": "active", "2": "deleted", "3": "all"}  # fmt: skip


class Pair(msgspec.Struct):
    """A tag or a parameter."""

    key: str
    value: str


class GivenPair(msgspec.Struct):
    """A tag or a parameter as clients send it."""

    key: str | None = None
    value: str | None = None


class Experiment(Reply):
    experiment_id: str
    name: str
    artifact_location: str
    lifecycle_stage: str
    last_update_time: int
    creation_time: int
    tags: list[Pair] | None = None
    workspace: str | None = None


class RunInfo(Reply):
    run_uuid: str
    experiment_id: str
    run_name: str
    user_id: str
    status: str
    start_time: int
    artifact_uri: str
    lifecycle_stage: str
    run_id: str
    end_time: int | None = None


class Metric(Reply):
    """`value` is "NaN" where it is none."""

    key: str
    value: float | str
    timestamp: int
    step: int
    dataset_name: str | None = None
    dataset_digest: str | None = None
    model_id: str | None = None
    run_id: str | None = None


class RunData(Reply):
    metrics: list[Metric] | None = None
    params: list[Pair] | None = None
    tags: list[Pair] | None = None


class Dataset(Reply):
    name: str
    digest: str
    source_type: str
    source: str
    schema: str | None = None
    profile: str | None = None


class DatasetInput(Reply):
    dataset: Dataset
    tags: list[Pair] | None = None


class ModelInput(Reply):
    model_id: str


class ModelOutput(Reply):
    model_id: str
    step: int


class RunInputs(Reply):
    dataset_inputs: list[DatasetInput] | None = None
    model_inputs: list[ModelInput] | None = None


class RunOutputs(Reply):
    model_outputs: list[ModelOutput] | None = None


class Run(Reply):
    info: RunInfo
    data: RunData
    inputs: RunInputs | None = None
    outputs: RunOutputs | None = None


class FileInfo(Reply):
    path: str
    is_dir: bool | None = None
    file_size: int | None = None


def milliseconds(microseconds: int) -> int:
    """A time as clients have it."""
    return microseconds // 1000


def number(value: float) -> float | str:
    """A metric's value in JSON: infinity is the largest double, as in MLflow's database."""
    if value != value:
        return "NaN"
    if math.isinf(value):
        return math.copysign(sys.float_info.max, value)
    return value


def pairs(values: dict[str, str]) -> list[Pair] | None:
    """Tags, or nothing if there are none."""
    return [Pair(key, value) for key, value in values.items()] or None


def experiment(row: ExperimentRow) -> Experiment:
    """An experiment as clients see it."""
    return Experiment(
        experiment_id=str(row.experiment),
        name=row.project,
        artifact_location=row.uri,
        lifecycle_stage="active" if row.deleted is None else "deleted",
        last_update_time=milliseconds(row.updated),
        creation_time=milliseconds(row.created),
        tags=pairs(row.tags),
        workspace=WORKSPACE,
    )


def artifact_uri(row: MlflowRun, of: ExperimentRow) -> str:
    """Where a run's files are as clients are told."""
    return f"{of.uri.rstrip('/')}/{row.id}/artifacts"


def model_uri(id: str, of: ExperimentRow) -> str:
    """Where a logged model's files are as clients are told."""
    return f"{of.uri.rstrip('/')}/models/{id}/artifacts"


def proxied_path(uri: str) -> str:
    """The path of the proxy that a client makes of where files are."""
    return re.sub(r"^mlflow-artifacts:/+(?:[^/]+:\d+/)?", "", uri)


def run_info(row: MlflowRun, of: ExperimentRow) -> RunInfo:
    """What a run is."""
    return RunInfo(
        run_uuid=row.id,
        experiment_id=str(of.experiment),
        run_name=row.name,
        user_id=row.user_id,
        status=STATES.get(row.state, "RUNNING"),
        start_time=milliseconds(row.created),
        end_time=None if row.ended is None else milliseconds(row.ended),
        artifact_uri=artifact_uri(row, of),
        lifecycle_stage="active" if row.deleted is None else "deleted",
        run_id=row.id,
    )


def metric(row: Latest) -> Metric:
    """The latest value of a metric."""
    return Metric(key=row.key, value=number(row.value), timestamp=milliseconds(row.time), step=row.step)


def tags_of(row: MlflowRun) -> dict[str, str]:
    """All tags of a run, those among them that are columns of it."""
    named = {NAME: row.name, **({NOTE: row.notes} if row.notes else {})}
    return {**row.tags, **named}


def run(row: MlflowRun, of: ExperimentRow, *, outputs: bool = True) -> Run:
    """A run with what it has logged; `outputs` of a run that was just made are left out."""
    datasets = [
        DatasetInput(
            tags=[Pair(key, value) for key, value in one.tags] or None,
            dataset=Dataset(
                name=one.name,
                digest=one.digest,
                source_type=one.source_type,
                source=one.source,
                schema=one.schema,
                profile=one.profile,
            ),
        )
        for one in row.datasets
    ]
    made = [ModelOutput(model_id=model, step=step) for model, step in row.outputs] or None
    return Run(
        info=run_info(row, of),
        data=RunData(
            metrics=[metric(one) for one in row.metrics] or None,
            params=[Pair(key, value) for key, value in row.params] or None,
            tags=pairs(tags_of(row)),
        ),
        inputs=RunInputs(
            dataset_inputs=datasets or None,
            model_inputs=[ModelInput(model_id=model) for model in row.inputs] or None,
        ),
        outputs=RunOutputs(model_outputs=made) if outputs else None,
    )


def view(given: Any) -> str:
    """`active`, `deleted` or `all`, as a request names it: by a word or a number."""
    found = _VIEWS.get(str(given))
    if found is None:
        raise invalid(f"Invalid value {given!r} for a view type: expected ACTIVE_ONLY, DELETED_ONLY or ALL")
    return found


def offset_of(token: str | None) -> int:
    """Where a page begins.

    Raises
    ------
    MlflowError
        If that is no token that an answer had.
    """
    if not token:
        return 0
    try:
        decoded = base64.b64decode(token, validate=True)
    except (binascii.Error, ValueError):
        raise invalid("Invalid page token, could not base64-decode") from None
    try:
        offset = msgspec.json.decode(decoded, type=dict[str, Any])["offset"]
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError):
        raise invalid(f"Invalid page token, decoded value={decoded!r}") from None
    if not isinstance(offset, int) or not 0 < offset < 2**62:
        raise invalid(f"Invalid page token, not stringable {offset}")
    return offset


def token_of(offset: int) -> str:
    """The token of the page that begins there."""
    return base64.b64encode(b'{"offset": %d}' % offset).decode()
