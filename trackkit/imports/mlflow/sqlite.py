"""An MLflow database in SQLite as a source: read as it is, whatever version of MLflow made its tables."""

from __future__ import annotations

import contextlib
import math
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trackkit.imports.mlflow.source import (
    Experiment,
    LocalFiles,
    LoggedModel,
    ModelVersion,
    Point,
    RegisteredModel,
    SourceFile,
    SourceRun,
)

_MAGIC = b"SQLite format 3\0"


class DatabaseSource:
    """A database, opened for reading alone.

    Parameters
    ----------
    path
        The file.
    local
        Where artifacts are.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no database of MLflow's.
    """

    def __init__(self, path: Path, local: LocalFiles) -> None:
        if not is_database(path):
            raise FileNotFoundError(f"{path} is no SQLite database")
        self.place = str(path)
        self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        self._db.row_factory = sqlite3.Row
        self._local = local
        if not {"experiments", "runs", "metrics", "params", "tags"} <= self._tables():
            raise ValueError(f"{path} is no database of MLflow: it has no tables of experiments and runs")

    def _tables(self) -> set[str]:
        return {row[0] for row in self._db.execute("select name from sqlite_master where type = 'table'")}

    def _rows(self, table: str, where: str = "", *values: Any, order: str = "") -> list[dict[str, Any]]:
        """The rows of a table; none where this version of MLflow has no such table."""
        if table not in self._tables():
            return []
        condition = f" where {where}" if where else ""
        ordered = f" order by {order}" if order else ""
        return [dict(row) for row in self._db.execute(f"select * from {table}{condition}{ordered}", values)]

    def _pairs(self, table: str, where: str, *values: Any, key: str = "key", value: str = "value") -> dict[str, str]:
        return {str(row[key]): row[value] or "" for row in self._rows(table, where, *values)}

    def experiments(self) -> list[Experiment]:
        return [
            Experiment(
                str(row["experiment_id"]), row["name"], row["lifecycle_stage"] == "deleted",
                self._pairs("experiment_tags", "experiment_id = ?", row["experiment_id"]),
            )
            for row in self._rows("experiments", order="experiment_id")
        ]  # fmt: skip

    def runs(self, experiment: Experiment) -> list[SourceRun]:
        found = self._rows("runs", "experiment_id = ?", int(experiment.id), order="start_time, run_uuid")
        return [self._run(row) for row in found]

    def _run(self, row: dict[str, Any]) -> SourceRun:
        id = row["run_uuid"]
        tags = self._pairs("tags", "run_uuid = ?", id)
        keys = self._db.execute("select distinct key from metrics where run_uuid = ? order by key", [id])
        return SourceRun(
            id, str(row["experiment_id"]), row["name"] or tags.get("mlflow.runName", ""), row["user_id"] or "",
            row["status"] or "RUNNING", row["start_time"] or 0, row["end_time"], row["lifecycle_stage"] == "deleted",
            row["artifact_uri"] or "", self._pairs("params", "run_uuid = ?", id), tags, [key for (key,) in keys],
            self._inputs(id),
        )  # fmt: skip

    def _inputs(self, run: str) -> list[dict[str, Any]]:
        found = []
        where = "destination_type = 'RUN' and destination_id = ? and source_type = 'DATASET'"
        for given in self._rows("inputs", where, run, order="input_uuid"):
            for row in self._rows("datasets", "dataset_uuid = ?", given["source_id"]):
                dataset = {
                    "name": row["name"], "digest": row["digest"], "source_type": row["dataset_source_type"],
                    "source": row["dataset_source"], "schema": row["dataset_schema"], "profile": row["dataset_profile"],
                }  # fmt: skip
                tags = self._pairs("input_tags", "input_uuid = ?", given["input_uuid"], key="name")
                found.append({**{key: value for key, value in dataset.items() if value is not None}, "tags": tags})
        return found

    def points(self, run: SourceRun) -> Iterator[Point]:
        sql = """select timestamp, step, key, value, is_nan from metrics where run_uuid = ?
                 order by timestamp, step, key, value"""
        for timestamp, step, key, value, is_nan in self._db.execute(sql, [run.id]):
            yield Point(timestamp, step, key, math.nan if is_nan else value)

    def models(self, experiment: Experiment) -> list[LoggedModel]:
        where = "experiment_id = ? and lifecycle_stage <> 'deleted'"
        statuses = {0: "UNSPECIFIED", 1: "PENDING", 2: "READY", 3: "UPLOAD_FAILED"}
        named = {"key": "param_key", "value": "param_value"}, {"key": "tag_key", "value": "tag_value"}
        return [
            LoggedModel(
                row["model_id"], row["name"], row["source_run_id"] or "",
                statuses.get(row["status"], str(row["status"])),
                row["creation_timestamp_ms"], row["artifact_location"], row["model_type"] or "",
                self._pairs("logged_model_params", "model_id = ?", row["model_id"], **named[0]),
                self._pairs("logged_model_tags", "model_id = ?", row["model_id"], **named[1]),
            )
            for row in self._rows("logged_models", where, int(experiment.id), order="creation_timestamp_ms, model_id")
        ]  # fmt: skip

    def registered(self) -> list[RegisteredModel]:
        versions: defaultdict[str, list[ModelVersion]] = defaultdict(list)
        for row in self._rows("model_versions", "current_stage <> 'Deleted_Internal'", order="name, version"):
            tags = self._pairs("model_version_tags", "name = ? and version = ?", row["name"], row["version"])
            versions[row["name"]].append(
                ModelVersion(
                    row["version"], row["creation_time"] or 0, row["source"] or "", row.get("storage_location") or "",
                    row["run_id"] or "", row["current_stage"] or "None", row["status"] or "READY",
                    row["description"] or "", row["user_id"] or "", tags,
                )
            )  # fmt: skip
        return [
            RegisteredModel(
                row["name"], row["description"] or "", self._pairs("registered_model_tags", "name = ?", row["name"]),
                {
                    one["alias"]: one["version"]
                    for one in self._rows("registered_model_aliases", "name = ?", row["name"])
                },
                versions[row["name"]],
            )
            for row in self._rows("registered_models", order="name")
        ]  # fmt: skip

    def files(self, uri: str) -> list[SourceFile]:
        return self._local.files(uri)

    def fetch(self, uri: str, path: str, target: Path) -> None:
        self._local.fetch(uri, path, target)


def is_database(path: Path) -> bool:
    """Whether a file is a SQLite database."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC
    return False
