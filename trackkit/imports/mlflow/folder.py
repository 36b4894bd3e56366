"""MLflow's file store, the folder `mlruns`, as a source: see `mlflow/store/tracking/file_store.py`."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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

_META = "meta.yaml"
_STATUSES = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}


class FolderSource:
    """A folder with experiments, which may have been moved since MLflow wrote it.

    Parameters
    ----------
    folder
        The folder.
    local
        Where artifacts are that are not in it.

    Raises
    ------
    FileNotFoundError
        If there are no experiments.
    ImportError
        If PyYAML, which reads them, is not installed.
    """

    def __init__(self, folder: Path, local: LocalFiles) -> None:
        try:
            import yaml
        except ImportError:
            raise ImportError("reading MLflow's file store needs PyYAML: pip install 'trackkit[mlflow]'") from None
        self._yaml = yaml
        self._loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        self.place = str(folder)
        self._folder = folder
        self._local = local
        self._moved: dict[str, Path] = {}
        """Where what the file store keeps itself lies, by the URI written there."""
        if not self._experiment_folders():
            raise FileNotFoundError(f"{folder} holds no experiments of MLflow: expected folders with a {_META}")

    def _experiment_folders(self) -> list[Path]:
        found = [*self._folder.glob(f"*/{_META}"), *self._folder.glob(f".trash/*/{_META}")]
        return sorted((path.parent for path in found), key=lambda path: (len(path.name), path.name))

    def _meta(self, folder: Path) -> dict[str, Any]:
        try:
            found = self._yaml.load((folder / _META).read_text(encoding="utf-8"), Loader=self._loader)
        except (OSError, self._yaml.YAMLError):
            return {}
        return found if isinstance(found, dict) else {}

    def experiments(self) -> list[Experiment]:
        found = []
        for folder in self._experiment_folders():
            meta = self._meta(folder)
            if "experiment_id" in meta or "artifact_location" in meta:
                deleted = meta.get("lifecycle_stage") == "deleted" or folder.parent.name == ".trash"
                found.append(
                    Experiment(folder.name, str(meta.get("name", folder.name)), deleted, _texts(folder / "tags"))
                )
        return found

    def _of(self, experiment: Experiment) -> Path:
        kept = self._folder / experiment.id
        return kept if kept.is_dir() else self._folder / ".trash" / experiment.id

    def runs(self, experiment: Experiment) -> list[SourceRun]:
        folder = self._of(experiment)
        found = [self._run(folder, path.parent) for path in folder.glob(f"*/{_META}")]
        return sorted((run for run in found if run is not None), key=lambda run: (run.started, run.id))

    def _run(self, experiment: Path, folder: Path) -> SourceRun | None:
        meta = self._meta(folder)
        id = meta.get("run_id") or meta.get("run_uuid")
        if not id:
            return None
        tags = _texts(folder / "tags")
        uri = str(meta.get("artifact_uri", ""))
        if (folder / "artifacts").is_dir():
            self._moved[uri] = folder / "artifacts"
        metrics = folder / "metrics"
        keys = sorted(path.relative_to(metrics).as_posix() for path in metrics.rglob("*") if path.is_file())
        status = meta.get("status", 1)
        ended = meta.get("end_time")
        return SourceRun(
            str(id), experiment.name, str(meta.get("run_name") or tags.get("mlflow.runName", "")),
            str(meta.get("user_id") or ""), _STATUSES.get(status, str(status)), int(meta.get("start_time") or 0),
            None if ended is None else int(ended), meta.get("lifecycle_stage") == "deleted", uri,
            _texts(folder / "params"), tags, keys, self._inputs(experiment, folder),
        )  # fmt: skip

    def _inputs(self, experiment: Path, folder: Path) -> list[dict[str, Any]]:
        found = []
        for path in sorted(folder.glob(f"inputs/*/{_META}")):
            meta = self._meta(path.parent)
            if meta.get("source_type") == "DATASET":
                dataset = self._meta(experiment / "datasets" / str(meta["source_id"]))
                tags = meta.get("tags") or {}
                known = {key: value for key, value in dataset.items() if value is not None}
                found.append({**known, "tags": {str(key): str(value) for key, value in tags.items()}})
        return found

    def points(self, run: SourceRun) -> Iterator[Point]:
        folder = self._run_folder(run) / "metrics"
        return heapq.merge(*(_history(folder / key, key) for key in run.metrics))

    def _run_folder(self, run: SourceRun) -> Path:
        kept = self._folder / run.experiment / run.id
        return kept if kept.is_dir() else self._folder / ".trash" / run.experiment / run.id

    def models(self, experiment: Experiment) -> list[LoggedModel]:
        statuses = {0: "UNSPECIFIED", 1: "PENDING", 2: "READY", 3: "UPLOAD_FAILED"}
        found = []
        for path in self._of(experiment).glob(f"models/*/{_META}"):
            meta, folder = self._meta(path.parent), path.parent
            if meta.get("lifecycle_stage") == "deleted" or "model_id" not in meta:
                continue
            uri = str(meta.get("artifact_location", ""))
            if (folder / "artifacts").is_dir():
                self._moved[uri] = folder / "artifacts"
            status = meta.get("status", 0)
            found.append(
                LoggedModel(
                    str(meta["model_id"]), str(meta.get("name", "")), str(meta.get("source_run_id") or ""),
                    statuses.get(status, str(status)), int(meta.get("creation_timestamp", 0)), uri,
                    str(meta.get("model_type") or ""), _texts(folder / "params"), _texts(folder / "tags"),
                )
            )  # fmt: skip
        return sorted(found, key=lambda each: (each.created, each.id))

    def registered(self) -> list[RegisteredModel]:
        found = []
        for path in sorted(self._folder.glob(f"models/*/{_META}")):
            folder, meta = path.parent, self._meta(path.parent)
            if "name" not in meta:
                continue
            aliases = {
                alias: int(version) for alias, version in _texts(folder / "aliases").items() if version.isdigit()
            }
            versions = [self._version(one.parent) for one in folder.glob(f"version-*/{_META}")]
            found.append(
                RegisteredModel(
                    str(meta["name"]), str(meta.get("description") or ""), _texts(folder / "tags"), aliases,
                    sorted((one for one in versions if one.stage != "Deleted_Internal"), key=lambda one: one.version),
                )
            )  # fmt: skip
        return found

    def _version(self, folder: Path) -> ModelVersion:
        meta = self._meta(folder)
        return ModelVersion(
            int(meta["version"]), int(meta.get("creation_timestamp") or 0), str(meta.get("source") or ""),
            str(meta.get("storage_location") or ""), str(meta.get("run_id") or ""),
            str(meta.get("current_stage") or "None"), str(meta.get("status") or "READY"),
            str(meta.get("description") or ""), str(meta.get("user_id") or ""), _texts(folder / "tags"),
        )  # fmt: skip

    def files(self, uri: str) -> list[SourceFile]:
        return self._local.files(self._here(uri))

    def fetch(self, uri: str, path: str, target: Path) -> None:
        self._local.fetch(self._here(uri), path, target)

    def _here(self, uri: str) -> str:
        """Where a URI's files lie now, as the folder may have been moved."""
        for known, folder in self._moved.items():
            if known and (uri == known or uri.startswith(f"{known}/")):
                return str((folder / uri.removeprefix(known).lstrip("/")).absolute())
        if not uri:
            raise NotHere("it is not written down where the files are")
        return uri


def _texts(folder: Path) -> dict[str, str]:
    """Files as keys, folders in them included, and their contents."""
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _history(path: Path, key: str) -> list[Point]:
    """The points in a file of lines `timestamp value step`."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        parts = line.split()
        if len(parts) < 2:
            continue
        value = float(parts[1])
        step = int(parts[2]) if len(parts) > 2 else 0
        found.append(Point(int(parts[0]), step, key, value))
    return sorted(found, key=lambda point: (*point[:3], math.isnan(point.value), point.value))
