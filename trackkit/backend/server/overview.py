"""What a project's runs have in common, found out once for everybody who asks."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import Final

import msgspec

from trackkit.backend.server.storage import Storage
from trackkit.backend.store import catalogue

MOST_PROJECTS: Final = 64
PATIENCE: Final = 10.0
"""For how many times as long as it took is an answer kept, even if runs changed: a tenth of a core at most."""


class Overview(msgspec.Struct, frozen=True):
    """The keys of a project's configs, summaries and metrics, its tags and its groups."""

    config: list[catalogue.Column]
    summary: list[catalogue.Column]
    metrics: list[catalogue.Metric]
    tags: list[catalogue.Count]
    groups: list[catalogue.Count]


class _Kept:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.mark: catalogue.Mark | None = None
        self.until = 0.0
        self.overview: Overview | None = None


class Overviews:
    """Overviews of projects, kept until a run of theirs changes.

    In a large project whose runs change all the time, where finding out takes a while, an overview is kept for ten
    times that while: what is new in it appears a little later, instead of keeping the server busy.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def of(self, project: str) -> Overview:
        """The overview of a project; one without runs has an empty one."""
        with self._lock:
            kept = self._kept.setdefault(project, _Kept())
            self._kept.move_to_end(project)
            while len(self._kept) > MOST_PROJECTS:
                self._kept.popitem(last=False)
        with kept.lock:  # whoever asks meanwhile waits for the same answer
            if kept.overview is not None and time.monotonic() < kept.until:
                return kept.overview
            with self._storage.reading() as db:
                mark = catalogue.mark(db, project)
                if kept.overview is not None and mark == kept.mark:
                    return kept.overview
                began = time.monotonic()
                found = Overview(
                    catalogue.columns(db, project, "config"),
                    catalogue.columns(db, project, "summary"),
                    catalogue.metrics(db, project),
                    catalogue.tags(db, project),
                    catalogue.groups(db, project),
                )
            now = time.monotonic()
            kept.mark, kept.until, kept.overview = mark, now + PATIENCE * (now - began), found
            return found
