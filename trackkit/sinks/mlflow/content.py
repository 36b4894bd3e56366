"""Which files of a run's records lie where among its artifacts at MLflow."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

import msgspec

from trackkit.core import records
from trackkit.core.blobs import Blobs
from trackkit.core.manifest import Manifest, ManifestDamaged
from trackkit.core.records import AnyRecord
from trackkit.sinks.mlflow.files import Freight

_LISTED: Final = frozenset({"code", "diff", "file"})
"""Kinds of objects that are files and nothing else; the others are media, whose facts are told apart."""


class Content:
    """Tells `Freight` what the records of one writer name.

    Parameters
    ----------
    freight
        What is to be sent.
    blobs
        Where files lie here.
    prefix
        Before the paths of what every process of a run has: its console, its code.
    """

    def __init__(self, freight: Freight, blobs: Blobs, prefix: str) -> None:
        self.freight = freight
        self.prefix = prefix
        self._blobs = blobs

    def document(self, name: str, values: dict[str, Any], start: int) -> None:
        """Send facts as JSON, in place of what they were."""
        text = json.dumps(values, ensure_ascii=False, indent=2)
        self.freight.put(f"{self.prefix}trackkit/{name}", text.encode("utf-8", "backslashreplace"), start)

    def take(self, record: AnyRecord, start: int) -> None:
        """Send what a record names.

        Parameters
        ----------
        start
            Where in the journal it begins.
        """
        match record:
            case records.Lines():
                name = re.sub(r"[^\w.-]", "_", record.stream) or "console"
                self.freight.append(f"{self.prefix}console/{name}.log", record.text.encode("utf-8", "replace"), start)
            case records.Points():
                for key, text in record.texts.items():
                    self._line("texts", {"key": key, "step": record.step, "time": record.time, "text": text}, start)
            case records.Alert():
                told = {"time": record.time, "level": record.level, "title": record.title, "text": record.text}
                self._line("alerts", told, start)
            case records.Object():
                self._object(record, start)
            case records.Artifact():
                self._artifact(record, start)

    def _line(self, name: str, values: dict[str, Any], start: int) -> None:
        text = json.dumps(values, ensure_ascii=False, default=str)
        self.freight.append(f"{self.prefix}{name}.jsonl", f"{text}\n".encode("utf-8", "backslashreplace"), start)

    def _object(self, record: records.Object, start: int) -> None:
        path = safe_path(record.path)
        if record.kind == "code":
            path = f"{self.prefix}code/{path}"
        elif record.kind == "diff":
            path = f"{self.prefix}{path}"
        self.freight.put(path, self._blobs.path(record.digest) if record.digest else record.inline, start)
        if record.kind not in _LISTED:
            told = {"key": record.key, "kind": record.kind, "step": record.step, "time": record.time, "path": path}
            self._line("media", {**told, "metadata": record.metadata}, start)

    def _artifact(self, record: records.Artifact, start: int) -> None:
        folder = f"artifacts/{safe_path(record.name)}/{record.digest[:12]}"
        facts: dict[str, Any] = {
            "name": record.name, "type": record.kind, "digest": record.digest, "description": record.description,
            "metadata": record.metadata, "aliases": record.aliases, "tags": record.tags, "size": record.size,
        }  # fmt: skip
        try:
            manifest = Manifest.decode(self._blobs.path(record.digest).read_bytes())
        except (OSError, ManifestDamaged):
            facts["missing"] = "its files are not here any more"
        else:
            facts["entries"] = {path: msgspec.to_builtins(entry) for path, entry in manifest.items()}
            for path, entry in manifest.items():
                if entry.digest:
                    self.freight.put(f"{folder}/files/{safe_path(path)}", self._blobs.path(entry.digest), start)
        text = json.dumps(facts, ensure_ascii=False, indent=2, default=str)
        self.freight.put(f"{folder}/artifact.json", text.encode("utf-8", "backslashreplace"), start)


def safe_path(path: str) -> str:
    """A path as servers take it: below where it is put, and without what an address would take for its end.

    Examples
    --------
    >>> safe_path("../a//b#1.txt")
    '_/a/b_1.txt'
    """
    parts = [re.sub(r'[\x00-\x1f\\:*?"<>|#%]', "_", part) for part in path.split("/")]
    safe = ["_" if part.strip(". ") == "" else part for part in parts if part]
    return "/".join(safe) or Path("_").name
