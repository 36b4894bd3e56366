"""The records of a journal: everything a run can say, one struct each.

A record is encoded with msgpack as an array whose first element is its tag. The vocabulary only
grows: fields are added at the end with defaults and are never changed or removed, so a reader of
any version understands the fields it knows of a record of any other version.

Times are seconds since the Unix epoch (UTC) as a 64-bit float, taken from a clock that never goes
backwards within a writer.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

Json: TypeAlias = Any
"""A value JSON can hold: None, bool, int, float, str, or a list or dict of them."""


class Record(msgspec.Struct, array_like=True, gc=False):
    """What all records share; use a subclass."""


class Start(Record, tag="start"):
    """A writer opens a run, or joins or resumes one that exists."""

    time: float
    run: str
    project: str
    name: str
    group: str = ""
    job_type: str = ""
    tags: list[str] = []
    notes: str = ""
    role: str = "main"
    """`main` for a process that called `init`, `child` for a forked process that only logs."""
    label: str = ""
    """Tells the writers of one run apart for people: `rank 3`, `fork of 4711`."""
    host: str = ""
    pid: int = 0
    version: str = ""
    """The trackkit version that wrote this."""


class Points(Record, tag="p"):
    """Metric values logged by one call, one step.

    `values` holds one big-endian IEEE 754 double per key, in the order of `keys`. A call that also
    logs text carries it in `texts`.
    """

    step: int
    time: float
    keys: list[str]
    values: bytes
    texts: dict[str, str] = {}


class Config(Record, tag="config"):
    """Config entries set or changed; nested dicts are kept nested. A key in `removed` is gone."""

    time: float
    values: dict[str, Json]
    removed: list[str] = []


class Summary(Record, tag="summary"):
    """Summary entries set by hand; they take precedence over what the points imply."""

    time: float
    values: dict[str, Json]
    removed: list[str] = []


class Define(Record, tag="define"):
    """How the metrics whose key matches the glob `name` are read and summarised."""

    time: float
    name: str
    step_metric: str | None = None
    summary: list[str] | None = None
    """Any of last, min, max, mean, first, best, none."""
    goal: str | None = None
    """`minimize` or `maximize`; what `best` means."""
    hidden: bool = False


class Describe(Record, tag="describe"):
    """The run's name, notes, tags or group changed; None leaves a field as it is."""

    time: float
    name: str | None = None
    notes: str | None = None
    tags: list[str] | None = None
    group: str | None = None
    job_type: str | None = None


class System(Record, tag="system"):
    """One sample of the machine and of the process tree."""

    time: float
    values: dict[str, float]


class Lines(Record, tag="lines"):
    """Console text of one stream, in the order it was written; entries need not end at line ends."""

    time: float
    stream: str
    """`stdout` or `stderr`."""
    text: str


class Object(Record, tag="object"):
    """A file or media value of the run: small content inline, large content as a blob."""

    time: float
    key: str
    kind: str
    """`code`, `diff`, `file`, …; says how to show it."""
    path: str
    """Relative path with `/` under which the file is listed."""
    size: int
    digest: str = ""
    """SHA-256 of the content in hex, the name of the blob; empty if the content is inline."""
    inline: bytes = b""
    step: int | None = None
    metadata: dict[str, Json] = {}


class Provenance(Record, tag="provenance"):
    """Where the run came from: command, host, hardware, packages, git. Merged key by key."""

    time: float
    values: dict[str, Json]


class Alert(Record, tag="alert"):
    """A message for people; `level` is `info`, `warning` or `error`."""

    time: float
    level: str
    title: str
    text: str = ""


class Rewind(Record, tag="rewind"):
    """The run goes back to a step, as one resumed from a checkpoint does.

    Points from that step on which are older than this record are superseded: kept, and left out by readers.
    """

    time: float
    step: int


class Finish(Record, tag="finish"):
    """The writer's last record."""

    time: float
    state: str
    """`finished`, `failed` or `killed`."""
    exit_code: int = 0
    error: str = ""
    """The traceback of the exception that ended the run."""
    accounting: dict[str, float] = {}
    """What tracking cost: see `docs/concepts.md`."""


class Accounting(Record, tag="accounting"):
    """What tracking has cost the writer so far, told while it works; a Finish record has the last word."""

    time: float
    values: dict[str, float]


class Artifact(Record, tag="artifact"):
    """The run logs a version of an artifact, or a part of one that several writers build."""

    time: float
    token: str
    """A random name of this act of logging, by which the writer asks what became of it."""
    name: str
    kind: str
    """The artifact's type: `dataset`, `model`, …"""
    digest: str
    """SHA-256 of the manifest, which is a blob of this name."""
    size: int
    """Bytes of all entries."""
    count: int
    """Entries."""
    project: str = ""
    """The project the artifact belongs to; empty for the run's own."""
    description: str = ""
    metadata: dict[str, Json] = {}
    aliases: list[str] = []
    """What the version is to be called besides `latest`."""
    tags: list[str] = []
    ttl: float | None = None
    """Seconds the version is kept; None for ever."""
    draft: str = ""
    """Names what several writers build together; empty if one writer logs alone."""
    is_part: bool = False
    """Whether this is one writer's part of the draft; otherwise it is the end of the draft, or no draft."""
    parts: int = 0
    """At the end of a draft, how many parts there have to be; 0 for those that are there."""


class Use(Record, tag="use"):
    """The run uses a version of an artifact."""

    time: float
    reference: str
    """As the script wrote it: `model:best`, `digits/model:v3`."""
    project: str
    name: str
    kind: str
    """The artifact's type."""
    number: int
    """Of the version."""
    digest: str


AnyRecord: TypeAlias = (
    Start
    | Points
    | Config
    | Summary
    | Define
    | Describe
    | System
    | Lines
    | Object
    | Provenance
    | Alert
    | Rewind
    | Finish
    | Accounting
    | Artifact
    | Use
)

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(AnyRecord)


def encode(record: AnyRecord) -> bytes:
    """The record as msgpack bytes: the payload of a journal frame."""
    return _encoder.encode(record)


def decode(payload: bytes | memoryview) -> AnyRecord:
    """The record held in a frame's payload.

    Raises
    ------
    msgspec.MsgspecError
        If the payload is no record this version knows.
    """
    try:
        record: AnyRecord = _decoder.decode(payload)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(f"the record can't be read: {error}") from error
    return record
