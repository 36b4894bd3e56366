"""Where a run's records go: the contract of a sink, and how one is found from a URI."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable
from urllib.parse import quote

import msgspec

from trackkit.core import records
from trackkit.core.credentials import origins_of
from trackkit.core.records import AnyRecord


class SinkError(Exception):
    """The sink can't take the batch now; the pump tries again later."""


class SinkBusy(SinkError):
    """Others are writing to the target; the pump tries again, and finds nothing wrong with that."""


class SinkRefused(Exception):
    """The target refuses this run for good (no permission, unknown project); trying again is no use."""


class OffsetConflict(SinkError):
    """Somebody else has moved the target's offset; the pump asks for it anew and goes on from there."""


class Batch:
    """Consecutive frames of one writer's journal.

    Parameters
    ----------
    start, end
        Logical offsets in bytes of the first frame and of the end of the last.
    payloads
        The payload of each frame.
    ends
        The logical offset of the end of each frame, in the same order.
    rest
        Called now and then by a sink that works for long in Python, so that the pump can let the
        training thread have the interpreter. Free to call often.
    """

    def __init__(
        self,
        start: int,
        end: int,
        payloads: list[bytes],
        ends: list[int],
        rest: Callable[[], None] = lambda: None,
    ) -> None:
        self.start = start
        self.end = end
        self.payloads = payloads
        self.ends = ends
        self.rest = rest

    @cached_property
    def records(self) -> list[AnyRecord]:
        """The records, decoded once; those of a kind this version does not know are left out."""
        decoded: list[AnyRecord] = []
        for number, payload in enumerate(self.payloads):
            if not number % 64:
                self.rest()
            try:
                decoded.append(records.decode(payload))
            except msgspec.MsgspecError:
                continue
        return decoded

    def __len__(self) -> int:
        return len(self.payloads)


class Sink(Protocol):
    """One place a run's records go to.

    A sink is made by a factory `(uri, root) -> Sink` registered under the entry point group
    `trackkit.sinks` with the URI's scheme as its name. The pump owns threads, retries, offsets and
    errors, so a sink holds none of them:

    - All methods of one sink object are called from one thread at a time, `open` first, `close` last.
      Several sinks, and several writers of the same run in other processes, work at once.
    - `open` returns the offset up to which the target has this writer's journal: 0 if it has nothing.
    - `write` gets frames in order and without gaps, beginning at the offset last acknowledged. It returns
      the offset up to which the target now has everything; at least one frame further. The target
      moves that offset in the same transaction as the data: **a batch sent twice changes nothing**.
    - `sync` makes everything acknowledged survive a power cut; the pump calls it before it deletes journal
      segments.
    - Any exception means that nothing of the batch is acknowledged. The pump calls `close`, waits with
      growing pauses, and starts again with `open`. `SinkRefused` ends the sink for this run: its
      records stay in the journal.
    - A call should give up after some seconds rather than hang: it holds up `finish` only so long.

    `local` tells that the sink needs no network: it may share the pump's own thread.
    """

    local: bool

    def open(self, run: str, writer: str) -> int: ...

    def write(self, batch: Batch) -> int: ...

    def sync(self) -> None: ...

    def close(self) -> None: ...


class Resumable(Protocol):
    """A sink whose target can tell what it knows of a run, so that it can be resumed."""

    def lookup(self, run: str) -> Known | None:
        """What the target knows of the run, or None; called before `open`, on the caller's thread."""
        ...


class Tidy(Protocol):
    """A sink that can finish what dead writers in its store's folder left behind."""

    def tidy(self, rest: Callable[[], None]) -> None:
        """Do so, calling `rest` every 100 µs or so; it may raise to stop the work, which is taken up another time."""
        ...


@runtime_checkable
class Attentive(Protocol):
    """A sink whose target may ask the run to stop.

    `idle` is called where there is nothing to write; it may ask the target now and then.
    """

    stop_requested: bool

    def idle(self) -> None: ...


@runtime_checkable
class Holding(Protocol):
    """A sink that sends files apart from records, so that they come later.

    `held` is the offset of the first record whose file is not there yet, `files_waiting` how many there are. The
    journal is kept from there on, and `finish` waits for them.
    """

    @property
    def held(self) -> int | None: ...

    @property
    def files_waiting(self) -> int: ...


class Shelved(msgspec.Struct):
    """A version of an artifact as a sink's target has it; times in seconds since the epoch."""

    id: str
    """Names the version at the target, whatever its aliases become."""
    project: str
    name: str
    type: str
    number: int
    digest: str
    size: int
    count: int
    created: float
    description: str = ""
    metadata: dict[str, records.Json] = {}
    aliases: list[str] = []
    tags: list[str] = []
    expires: float | None = None
    run: str = ""
    """The id of the run that logged it."""
    source: str = ""
    """The version it was linked from, `project/name:v3`."""


class Submitted(msgspec.Struct):
    """What became of an artifact that was logged.

    Attributes
    ----------
    state
        `unknown` (it has not arrived), `pending` (not all of its files have), `committed`, or `refused`.
    reason
        Why it was refused.
    version
        The version it is, once committed.
    """

    state: str
    reason: str = ""
    version: Shelved | None = None


class Edit(msgspec.Struct):
    """What to change of a version; None leaves a field as it is."""

    description: str | None = None
    metadata: dict[str, records.Json] | None = None
    tags: list[str] | None = None
    expires: float | None = None
    keep: bool = False
    """It never expires."""
    aliases_added: Sequence[str] = ()
    aliases_removed: Sequence[str] = ()


class RunName(msgspec.Struct, frozen=True):
    """A run that logged or used an artifact."""

    project: str
    id: str
    name: str
    state: str

    @property
    def path(self) -> str:
        """`project/id`, by which the run is found again."""
        return f"{self.project}/{self.id}"


class Shelf(Protocol):
    """The artifacts of a sink's target, as a training process reads them. May be used from several threads.

    Everything raises `SinkError` where the target can't be reached.
    """

    def find(self, reference: str, project: str, type: str | None = None) -> Shelved | None:
        """The version a reference means, in a project unless it names another; None if there is none."""
        ...

    def submitted(self, run: str, token: str) -> Submitted:
        """What became of an artifact that a run logged."""
        ...

    def fetch(self, id: str, digest: str, size: int, target: Path) -> None:
        """Write a blob of a version to a new file, verified; of its manifest, whose size is not known, 0.

        Raises
        ------
        FileNotFoundError
            If it is not there.
        BlobDamaged
            If it is not what its digest says.
        """
        ...

    def edit(self, id: str, edit: Edit) -> Shelved:
        """Change a version."""
        ...

    def delete(self, id: str, *, aliases: bool) -> None:
        """Delete a version; one that has aliases besides `latest` only if told so."""
        ...

    def link(self, id: str, project: str, name: str, aliases: list[str]) -> Shelved:
        """Make a version of another collection from a version."""
        ...

    def producer(self, id: str) -> RunName | None:
        """The run that logged a version."""
        ...

    def consumers(self, id: str) -> list[RunName]:
        """The runs that used a version."""
        ...

    def restore(self, run: str, path: str, target: Path) -> bool:
        """Write the newest file of a run that is listed under a path to a new file; False if there is none."""
        ...

    def close(self) -> None: ...


class CollectionState(msgspec.Struct):
    """The versions of a name: how many, their bytes, and the number of the newest; times in seconds."""

    project: str
    name: str
    type: str
    description: str
    created: float
    updated: float
    versions: int
    size: int
    latest: int | None


class Move(msgspec.Struct):
    """An alias was set, moved or taken away; `before` and `after` are numbers of versions, `actor` who did it."""

    alias: str
    before: int | None
    after: int | None
    actor: str
    time: float


class BudgetState(msgspec.Struct):
    """How many bytes a project's artifacts may take, how many they do, and what happens when there would be more."""

    project: str
    bytes: int
    rule: str
    used: int


class Catalogue(Shelf, Protocol):
    """The artifacts of a store, as people look through them and look after them."""

    def collections(self, project: str | None = None, type: str | None = None) -> list[CollectionState]:
        """The names, the one that changed last first."""
        ...

    def versions(self, project: str, name: str) -> list[Shelved]:
        """The versions of a name, the newest first."""
        ...

    def moves(self, project: str, name: str) -> list[Move]:
        """Who moved the aliases of a name, the latest first."""
        ...

    def protect(self, id: str, alias: str, protected: bool) -> Shelved:
        """Have an alias mean a version, and say whether runs may move it."""
        ...

    def budgets(self) -> list[BudgetState]:
        """The budgets of projects."""
        ...

    def set_budget(self, project: str, limit: int, rule: str) -> None:
        """Give a project a budget; 0 bytes for none."""
        ...

    def of_run(self, run: str) -> tuple[list[Shelved], list[Shelved]]:
        """The versions a run logged, and those it used, in the order it did."""
        ...


@runtime_checkable
class Shelving(Protocol):
    """A sink whose target keeps artifacts that can be read back."""

    def shelf(self) -> Shelf:
        """The artifacts, without opening the sink; closed by the caller."""
        ...


class Known(msgspec.Struct):
    """A run as the sink's target knows it."""

    project: str
    name: str
    group: str
    job_type: str
    notes: str
    tags: list[str]
    state: str
    last_step: int | None
    config: dict[str, records.Json]
    summary: dict[str, records.Json]


SinkFactory = Callable[[str, Path], Sink]

ENTRY_POINTS = "trackkit.sinks"
_BUILT_IN = {
    "sqlite": "trackkit.sinks.sqlite:SQLiteSink",
    "http": "trackkit.sinks.http:HTTPSink",
    "https": "trackkit.sinks.http:HTTPSink",
    "mlflow": "trackkit.sinks.mlflow.sink:MLflowSink",
}


def scheme_of(uri: str) -> str:
    """The scheme of a sink's URI; a plain path to a database file is `sqlite`, and `mlflow` alone is no path."""
    if uri == "mlflow":
        return uri
    named = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):", uri)  # one letter would be a Windows drive
    return named[1].lower() if named else "sqlite"


def page_of(uri: str, run: str) -> str:
    """The address of a run's page in the dashboard of the server a URI means; empty if it means none."""
    return f"{origins_of(uri)[0]}/runs/{quote(run, safe='')}" if scheme_of(uri) in ("http", "https") else ""


def check_uri(uri: str) -> None:
    """Refuse a URI of which no sink can be made: what the factory's `check(uri)` raises, if it has one.

    Raises
    ------
    ValueError
        If no installed package registers its scheme, or it should be a server's address and is none.
    """
    check: Callable[[str], None] | None = getattr(find_factory(uri), "check", None)
    if check is not None:
        check(uri)
    page_of(uri, "")


def module_of(uri: str) -> str:
    """The module a built-in sink is in; empty for others."""
    return _built_in(scheme_of(uri)).partition(":")[0]


def _built_in(scheme: str) -> str:
    """Where the built-in sink of a scheme is; that of MLflow tells itself which servers it can speak to."""
    return _BUILT_IN.get("mlflow" if scheme.startswith("mlflow+") else scheme, "")


def find_factory(uri: str) -> SinkFactory:
    """The factory registered for a URI's scheme.

    Raises
    ------
    ValueError
        If no installed package registers the scheme.
    """
    scheme = scheme_of(uri)
    if built_in := _built_in(scheme):
        module, _, name = built_in.partition(":")
        factory: SinkFactory = getattr(importlib.import_module(module), name)
        return factory
    from importlib import metadata  # 20 ms; the built-in sinks don't need it

    for entry in metadata.entry_points(group=ENTRY_POINTS, name=scheme):
        loaded: SinkFactory = entry.load()
        return loaded
    known = {*_BUILT_IN, *metadata.entry_points(group=ENTRY_POINTS).names}
    raise ValueError(
        f"no sink is installed for {uri!r}: nothing registers the scheme {scheme!r} "
        f"(known: {', '.join(sorted(known))}, and 'journal:' for offline)"
    )
