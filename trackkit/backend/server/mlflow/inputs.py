"""`runs/log-inputs`, `runs/outputs` and `runs/log-model`: what goes into runs, and what comes out of them."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from trackkit.backend.server.mlflow import limits
from trackkit.backend.server.mlflow.access import active_run
from trackkit.backend.server.mlflow.errors import invalid, missing
from trackkit.backend.server.mlflow.messages import GivenPair
from trackkit.backend.server.mlflow.routing import NOTHING, Call, Message, Nothing, Procedure
from trackkit.backend.store import mlflow_runs, run_tags
from trackkit.backend.store.mlflow_runs import DatasetInput

_LONGEST: Final = {"name": 500, "digest": 36, "schema": 1_048_575, "source": 65_535, "profile": 16_777_215}
_HISTORY: Final = "mlflow.log-model.history"


class GivenDataset(msgspec.Struct):
    name: str | None = None
    digest: str | None = None
    source_type: str | None = None
    source: str | None = None
    schema: str | None = None
    profile: str | None = None


class GivenInput(msgspec.Struct):
    tags: list[GivenPair] = []
    dataset: GivenDataset | None = None


class GivenModel(msgspec.Struct):
    model_id: str = ""
    step: int = 0


class InputsMessage(Message):
    run_id: str = ""
    datasets: list[GivenInput] = msgspec.field(default_factory=list)
    models: list[GivenModel] = msgspec.field(default_factory=list)


class OutputsMessage(Message):
    run_id: str = ""
    models: list[GivenModel] = msgspec.field(default_factory=list)


class ModelMessage(Message):
    run_id: str = ""
    model_json: str = ""


def log_inputs(call: Call) -> Nothing:
    message: InputsMessage = call.message
    limits.check_run_id(message.run_id)
    datasets = [_dataset(one, position) for position, one in enumerate(message.datasets)]
    with call.services.storage.changing() as db:
        row = active_run(call, db, message.run_id)
        mlflow_runs.change(db, row.run)
        mlflow_runs.add_datasets(db, row.run, row.project, datasets)
        mlflow_runs.add_models(db, row.run, "input", [(one.model_id, one.step) for one in message.models])
    return NOTHING


def _dataset(given: GivenInput, position: int) -> DatasetInput:
    dataset = given.dataset
    if dataset is None:
        raise missing(f"datasets[{position}].dataset")
    if not dataset.name:
        raise missing(f"datasets[{position}].dataset.name")
    for name, limit in _LONGEST.items():
        if len(getattr(dataset, name) or "") > limit:
            raise invalid(f"Dataset {name} exceeds the maximum length of {limit}")
    for tag in given.tags:
        if not tag.key or len(tag.key) > 255 or len(tag.value or "") > 500:
            raise invalid("InputTag keys have 1 to 255 characters, and values at most 500")
    return DatasetInput(
        dataset.name, dataset.digest or "", dataset.source_type or "", dataset.source or "", dataset.schema,
        dataset.profile, [(str(tag.key), tag.value or "") for tag in given.tags],
    )  # fmt: skip


def log_outputs(call: Call) -> Nothing:
    message: OutputsMessage = call.message
    if not message.models:
        raise missing("models")
    with call.services.storage.changing() as db:
        row = active_run(call, db, message.run_id)
        mlflow_runs.change(db, row.run)
        mlflow_runs.add_models(db, row.run, "output", [(one.model_id, one.step) for one in message.models])
    return NOTHING


def log_model(call: Call) -> Nothing:
    """What clients older than 3.0 tell of a model they have put among the run's files."""
    message: ModelMessage = call.message
    try:
        model = msgspec.json.decode(message.model_json, type=dict[str, Any])
    except msgspec.MsgspecError:
        raise invalid(f"Malformed model info. \n {message.model_json[:500]} \n is not a valid JSON.") from None
    lacking = {"artifact_path", "flavors", "utc_time_created", "run_id"} - model.keys()
    if lacking:
        raise invalid(f"Model json is missing mandatory fields: {sorted(lacking)}")
    with call.services.storage.changing() as db:
        row = active_run(call, db, message.run_id)
        mlflow_runs.change(db, row.run)
        before = run_tags.load(db, [row.run]).get(row.run, {}).get(_HISTORY, "[]")
        kept = {key: model[key] for key in ("run_id", "artifact_path", "utc_time_created", "flavors", "model_uuid")
                if key in model}  # fmt: skip
        history = msgspec.json.encode([*msgspec.json.decode(before), kept]).decode()
        run_tags.set_all(db, row.run, {_HISTORY: history[: limits.LONGEST_TAG]})
    return NOTHING


PROCEDURES = [
    Procedure("POST", "/runs/log-inputs", log_inputs, "write", InputsMessage, ["run_id"]),
    Procedure("POST", "/runs/outputs", log_outputs, "write", OutputsMessage, ["run_id"]),
    Procedure("POST", "/runs/log-model", log_model, "write", ModelMessage, ["run_id", "model_json"]),
]
