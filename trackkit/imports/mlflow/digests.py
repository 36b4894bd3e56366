"""Which blobs an import has brought already, so that one that is cut off or repeated brings none twice."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from trackkit.imports.mlflow.source import SourceFile


class Digests:
    """The digests of a source's files, noted in the store's folder a line each.

    Parameters
    ----------
    root
        The store's folder.
    place
        The source.
    """

    def __init__(self, root: Path, place: str) -> None:
        self._path = root / "imports" / f"mlflow-{sha256(place.encode()).hexdigest()[:12]}.jsonl"
        self._known: dict[str, str] = {}
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists():
            for line in self._path.read_text(encoding="utf-8").splitlines():
                try:
                    key, digest = json.loads(line)
                except ValueError:  # the last line of an import that was killed
                    continue
                self._known[key] = digest
        self._file = open(self._path, "a", encoding="utf-8", buffering=1)
        self._file.write("\n")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def find(self, uri: str, file: SourceFile) -> str | None:
        """The digest of a file, if it was brought as it is."""
        return self._known.get(_key(uri, file))

    def note(self, uri: str, file: SourceFile, digest: str) -> None:
        """Note that a file was brought."""
        assert self._file is not None
        self._known[_key(uri, file)] = digest
        self._file.write(json.dumps([_key(uri, file), digest]) + "\n")


def _key(uri: str, file: SourceFile) -> str:
    return f"{uri}\n{file.path}\n{file.size}\n{file.mark}"
