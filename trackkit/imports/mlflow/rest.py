"""An MLflow server as a source."""

from __future__ import annotations

import heapq
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from trackkit.imports.mlflow.source import (
    Experiment,
    LocalFiles,
    LoggedModel,
    ModelVersion,
    NotHere,
    Point,
    RegisteredModel,
    SourceFile,
    SourceRun,
)
from trackkit.sinks.mlflow.access import Access
from trackkit.sinks.mlflow.client import Client, Rejected

_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
_PAGE = 1000
_POINTS = 25_000


class ServerSource:
    """An MLflow server.

    Parameters
    ----------
    uri
        Its address.
    local
        Where files are that it says are on this machine.
    """

    def __init__(self, uri: str, local: LocalFiles) -> None:
        access = Access.of(uri)
        self.place = access.address
        self._client = Client(access)
        self._local = local

    def experiments(self) -> list[Experiment]:
        body = {"max_results": _PAGE, "view_type": "ALL"}
        return sorted(
            (
                Experiment(
                    str(each["experiment_id"]), each["name"], each.get("lifecycle_stage") == "deleted", _pairs(each)
                )
                for each in self._pages("experiments/search", "experiments", body)
            ),
            key=lambda each: (len(each.id), each.id),
        )

    def runs(self, experiment: Experiment) -> list[SourceRun]:
        body = {
            "experiment_ids": [experiment.id],
            "run_view_type": "ALL",
            "max_results": _PAGE,
            "order_by": ["attributes.start_time ASC"],
        }
        return [_run_of(each) for each in self._pages("runs/search", "runs", body)]

    def points(self, run: SourceRun) -> Iterator[Point]:
        return heapq.merge(*(self._history(run.id, key) for key in run.metrics))

    def _history(self, run: str, key: str) -> Iterator[Point]:
        params: dict[str, Any] = {"run_id": run, "run_uuid": run, "metric_key": key, "max_results": _POINTS}
        waiting: list[Point] = []
        while True:
            answer = self._client.get("metrics/get-history", **params)
            waiting += [
                Point(int(each["timestamp"]), int(each.get("step", 0)), key, float(each["value"]))
                for each in answer.get("metrics", ())
            ]
            waiting.sort(key=lambda point: point[:2])  # a file store's are in the order they were logged
            if not (token := answer.get("next_page_token")):
                yield from waiting
                return
            # What has the time of the last point may go on in the next page.
            last = waiting[-1].timestamp
            yield from (point for point in waiting if point.timestamp < last)
            waiting = [point for point in waiting if point.timestamp >= last]
            params["page_token"] = token

    def models(self, experiment: Experiment) -> list[LoggedModel]:
        body = {"experiment_ids": [experiment.id], "max_results": 50}
        try:
            found = list(self._pages("logged-models/search", "models", body))
        except Rejected:
            return []  # servers before 3.0 have none
        return sorted((_model_of(each) for each in found), key=lambda each: (each.created, each.id))

    def registered(self) -> list[RegisteredModel]:
        try:
            names = list(self._got("registered-models/search", "registered_models", {"max_results": 100}))
        except Rejected:
            return []  # a server without a registry
        return [self._registered(each) for each in names]

    def _registered(self, each: dict[str, Any]) -> RegisteredModel:
        search = {"filter": "name='{}'".format(each["name"].replace("'", "\\'")), "max_results": _PAGE}
        listed = [self._version(one) for one in self._got("model-versions/search", "model_versions", search)]
        try:
            whole = self._client.get("registered-models/get", name=each["name"])["registered_model"]
        except Rejected:
            whole = each
        aliases = {one["alias"]: int(one["version"]) for one in whole.get("aliases", ())}
        return RegisteredModel(
            each["name"],
            each.get("description", ""),
            _pairs(each),
            aliases,
            sorted(listed, key=lambda one: one.version),
        )

    def _version(self, each: dict[str, Any]) -> ModelVersion:
        try:
            asked = self._client.get("model-versions/get-download-uri", name=each["name"], version=each["version"])
            location = asked.get("artifact_uri", "")
        except Rejected:
            location = ""
        return ModelVersion(
            int(each["version"]), int(each.get("creation_timestamp", 0)), each.get("source", ""), location,
            each.get("run_id", ""), each.get("current_stage", "None"), each.get("status", "READY"),
            each.get("description", ""), each.get("user_id", ""), _pairs(each),
        )  # fmt: skip

    def files(self, uri: str) -> list[SourceFile]:
        if urlsplit(uri).scheme != "mlflow-artifacts":
            return self._local.files(uri)
        return sorted(self._listed(_root(uri), ""))

    def _listed(self, root: str, folder: str) -> Iterator[SourceFile]:
        try:
            answer = self._client.listing_of(_ARTIFACTS, posixpath.join(root, folder))
        except Rejected as error:
            raise NotHere(str(error)) from error
        for each in answer:
            path = posixpath.join(folder, str(each["path"]).rstrip("/").rpartition("/")[2])
            if each.get("is_dir"):
                yield from self._listed(root, path)
            else:
                yield SourceFile(path, int(each.get("file_size") or 0))

    def fetch(self, uri: str, path: str, target: Path) -> None:
        if urlsplit(uri).scheme != "mlflow-artifacts":
            self._local.fetch(uri, path, target)
            return
        try:
            self._client.save(f"{_ARTIFACTS}/{quote(posixpath.join(_root(uri), path))}", target)
        except Rejected as error:
            raise NotHere(str(error)) from error

    def _pages(self, endpoint: str, name: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        body = dict(body)
        while True:
            answer = self._client.post(endpoint, body)
            yield from answer.get(name, ())
            if not (token := answer.get("next_page_token")):
                return
            body["page_token"] = token

    def _got(self, endpoint: str, name: str, params: dict[str, Any]) -> Iterator[dict[str, Any]]:
        params = dict(params)
        while True:
            answer = self._client.get(endpoint, **params)
            yield from answer.get(name, ())
            if not (token := answer.get("next_page_token")):
                return
            params["page_token"] = token


def _root(uri: str) -> str:
    return unquote(urlsplit(uri).path).strip("/")


def _pairs(each: dict[str, Any], name: str = "tags") -> dict[str, str]:
    return {one["key"]: one.get("value", "") for one in each.get(name, ())}


def _run_of(run: dict[str, Any]) -> SourceRun:
    info, data = run["info"], run.get("data", {})
    tags = _pairs(data)
    return SourceRun(
        str(info.get("run_id") or info["run_uuid"]),
        str(info["experiment_id"]),
        info.get("run_name") or tags.get("mlflow.runName", ""),
        info.get("user_id", ""),
        info.get("status", "RUNNING"),
        int(info.get("start_time") or 0),
        int(info["end_time"]) if info.get("end_time") else None,
        info.get("lifecycle_stage") == "deleted",
        info.get("artifact_uri", ""),
        _pairs(data, "params"),
        tags,
        sorted(each["key"] for each in data.get("metrics", ())),
        [{**each.get("dataset", {}), "tags": _pairs(each)} for each in run.get("inputs", {}).get("dataset_inputs", ())],
    )


def _model_of(model: dict[str, Any]) -> LoggedModel:
    info, data = model["info"], model.get("data", {})
    return LoggedModel(
        info["model_id"], info.get("name", ""), info.get("source_run_id", ""),
        str(info.get("status", "")).removeprefix("LOGGED_MODEL_"), int(info.get("creation_timestamp_ms", 0)),
        info.get("artifact_uri", ""), info.get("model_type", ""), _pairs(data, "params"), _pairs(info),
    )  # fmt: skip
