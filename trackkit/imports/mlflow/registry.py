"""MLflow's registry as collections of the project `registry`: a version each, in their order, with aliases."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

from trackkit.core import records
from trackkit.core.artifact import REGISTRY
from trackkit.core.blobs import Blobs
from trackkit.core.manifest import Entry, Manifest, check_alias
from trackkit.core.records import AnyRecord
from trackkit.imports.delivery import Delivery
from trackkit.imports.mlflow.source import (
    LoggedModel,
    ModelVersion,
    NotHere,
    RegisteredModel,
    Source,
    SourceFile,
    SourceRun,
    joined,
)
from trackkit.imports.mlflow.translation import artifact_name, signature, start_of, time_of

if TYPE_CHECKING:
    from trackkit.imports.mlflow.moving import Moved

FACTS: Final = "mlflow-version.json"
"""A file of each version, which tells versions apart that hold the same model."""
_TakeFiles = Callable[[str, Sequence[SourceFile], list[str]], Iterator[tuple[SourceFile, str]]]


class Registry:
    """Takes over a registry.

    Parameters
    ----------
    source
        Where it is.
    to, root
        The sink, and the store's folder.
    take_files
        Brings files into the store's blobs.
    """

    def __init__(self, source: Source, to: str, root: Path, take_files: _TakeFiles) -> None:
        self._source = source
        self._to = to
        self._root = root
        self._blobs = Blobs(root)
        self._take_files = take_files

    def move(
        self,
        registered: Sequence[RegisteredModel],
        runs: Mapping[str, SourceRun],
        models: Sequence[LoggedModel],
        moved: list[Moved],
    ) -> None:
        """Take over names and versions; a version is logged by the run that made it, if that came along."""
        by_run = {each.run: each for each in moved}
        places = {model.id: model.artifacts for model in models}
        for model in registered:
            for version in model.versions:
                place = self._place(version, runs, places)
                told = by_run.get(version.run)
                if told is None:
                    told = by_run[version.run] = self._host(moved)
                self._send(model, version, place, told, runs.get(told.run))

    def _host(self, moved: list[Moved]) -> Moved:
        """The run that stands for those that made versions and are not there."""
        from trackkit.imports.mlflow.moving import Moved

        id = f"mlflow-registry-{sha256(self._source.place.encode()).hexdigest()[:12]}"
        found = next((each for each in moved if each.run == id), None)
        if found is None:
            found = Moved(id, REGISTRY, "MLflow's registry")
            moved.append(found)
        return found

    def _place(self, version: ModelVersion, runs: Mapping[str, SourceRun], places: Mapping[str, str]) -> str:
        """The URI of a version's files."""
        uri = version.location or version.source
        scheme, _, rest = uri.partition(":/")
        if scheme == "models":
            return places.get(rest.strip("/"), uri)
        if scheme == "runs":
            id, _, path = rest.strip("/").partition("/")
            return joined(runs[id].artifacts, path) if id in runs else uri
        return uri

    def _send(
        self, model: RegisteredModel, version: ModelVersion, place: str, told: Moved, run: SourceRun | None
    ) -> None:
        try:
            listed = self._source.files(place)
            entries = {
                file.path or "model": Entry(file.size, digest)
                for file, digest in self._take_files(place, listed, told.problems)
            }
        except NotHere as error:
            told.problems.append(f"the files of {model.name} version {version.version} are not brought: {error}")
            entries = {"model": Entry(0, ref=place)} if place else {}
        facts = json.dumps({"name": model.name, "version": version.version, "created": version.created}).encode()
        entries[FACTS] = Entry(len(facts), self._blobs.put_bytes(facts))
        manifest = Manifest(entries)
        metadata = {
            "mlflow": {
                "name": model.name, "version": version.version, "stage": version.stage, "status": version.status,
                "source": version.source, "run_id": version.run, "user_id": version.user, "created": version.created,
                "tags": version.tags, "model": {"description": model.description, "tags": model.tags},
            }
        }  # fmt: skip
        record = records.Artifact(
            time_of(version.created), "", artifact_name(model.name), "model", self._blobs.put_bytes(manifest.encode()),
            manifest.size, len(manifest), REGISTRY, version.description, metadata, _aliases(model, version),
            [f"{key}={value}" if value else key for key, value in version.tags.items()],
        )  # fmt: skip
        record.token = f"mlflow-{signature([told.run, record])}"
        self._deliver(record, told, run)

    def _deliver(self, record: records.Artifact, told: Moved, run: SourceRun | None) -> None:
        writer = f"mlflow-version-{signature([record.project, record])}"
        with Delivery(self._to, self._root, told.run) as delivery:
            sent: list[AnyRecord] = [record]
            if run is not None:
                sent.insert(0, start_of(run, "", "child"))
            else:
                began = records.Start(record.time, told.run, REGISTRY, told.name)
                sent = [began, record, records.Finish(record.time, "finished")]
            delivered = delivery.send(writer, sent)
        told.records += delivered.records
        told.new += delivered.new


def _aliases(model: RegisteredModel, version: ModelVersion) -> list[str]:
    """What a version is called: MLflow's number and aliases, and its stage, if it is the newest one of it."""
    found = [f"version-{version.version}"]
    found += [alias for alias, number in model.aliases.items() if number == version.version]
    of_stage = [each.version for each in model.versions if each.stage == version.stage]
    if version.stage not in ("", "None") and version.version == max(of_stage):
        found.append(version.stage.lower())
    kept = []
    for alias in found:
        try:
            kept.append(check_alias(artifact_name(alias)))
        except ValueError:
            continue
    return list(dict.fromkeys(kept))
