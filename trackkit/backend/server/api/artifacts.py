"""`/artifacts`: versions of artifacts: found, listed, changed, deleted.

A version's id is its number in the store, as text, because it is too large for JavaScript's numbers.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from trackkit.backend.server.api.values import maybe_seconds, plain, seconds
from trackkit.backend.server.errors import ApiError, not_found
from trackkit.backend.server.routing import Answer, Body, Call, Endpoint, Query
from trackkit.backend.store import artifacts, lineage
from trackkit.backend.store.artifacts import CollectionRow, Protected, Refusal, VersionRow
from trackkit.backend.store.blobstore import BlobStore, read_all
from trackkit.backend.store.collection import freed
from trackkit.backend.store.database import Database
from trackkit.core.manifest import Manifest, ManifestDamaged, Reference, check_alias, is_artifact_name
from trackkit.core.names import is_project
from trackkit.core.sink import Edit, RunName

MOST_VERSIONS: Final = 500


class CollectionSummary(msgspec.Struct):
    """A name and its versions: how many, their bytes, and the number of the newest.

    `aliases`, `tags`, `run` and `run_name` are the newest version's: what it is called, and the run that logged it.
    """

    project: str
    name: str
    type: str
    description: str
    created: float
    updated: float
    versions: int
    size: int
    latest: int | None
    aliases: list[str]
    tags: list[str]
    run: str
    run_name: str


class Collections(Answer):
    collections: list[CollectionSummary]


class CollectionsQuery(Query):
    project: str = ""
    type: str = ""


class VersionSummary(msgspec.Struct):
    """A version; `run` is the id of the run that logged it, `source` the version it was linked from.

    `protected` are those of its aliases that administrators alone may move.
    """

    id: str
    project: str
    name: str
    type: str
    number: int
    digest: str
    size: int
    count: int
    created: float
    description: str
    metadata: dict[str, Any]
    aliases: list[str]
    tags: list[str]
    expires: float | None
    run: str
    run_name: str
    source: str
    protected: list[str]


class VersionAnswer(Answer):
    version: VersionSummary


class Versions(Answer):
    """Versions, the newest first; `done` tells that there are no older ones."""

    versions: list[VersionSummary]
    protected: list[str]
    done: bool


class VersionsQuery(Query):
    """`before` is the number of the last version of the answer before.

    `search` is the name of a version, or a part of an alias, a tag, the description or the name of the run.
    """

    project: str
    name: str
    before: int | None = None
    limit: int = 100
    search: str = ""


class FindQuery(Query):
    """`reference` is `name:alias`, `project/name:v3` or a digest; `project` counts where it names none."""

    reference: str
    project: str = ""
    type: str = ""


class Runs(Answer):
    """The run that logged a version, and those that used it."""

    logged_by: RunName | None
    used_by: list[RunName]


class VersionChanges(Body):
    """What to change; what is left out stays. `keep` takes an end away."""

    description: str | None = None
    metadata: dict[str, Any] | None = None
    tags: list[str] | None = None
    expires: float | None = None
    keep: bool = False
    aliases_added: Sequence[str] = ()
    aliases_removed: Sequence[str] = ()


class DeleteQuery(Query):
    """`aliases` deletes a version though it has aliases besides `latest`."""

    aliases: bool = False


class FreedAnswer(Answer):
    """What `gc` will free once something is deleted: blobs that nothing else refers to, and their bytes.

    `exact` is false if there are too many versions to look at all; then it may be less.
    """

    blobs: int
    bytes: int
    exact: bool


class AliasBody(Body):
    """`protected`: only administrators may move it from now on, or again everybody."""

    protected: bool | None = None


class LinkBody(Body):
    """Where to: a collection of a project; the registry is the project `registry`."""

    project: str
    name: str
    aliases: Sequence[str] = ()


def list_collections(call: Call) -> Collections:
    query: CollectionsQuery = call.query
    with call.services.storage.reading() as db:
        rows = artifacts.collections(db, query.project or None, query.type or None)
        seen = [row for row in rows if call.identity.may_see(row.project)]
        return Collections(collections=collection_summaries(db, seen))


def list_versions(call: Call) -> Versions:
    query: VersionsQuery = call.query
    limit = max(1, min(query.limit, MOST_VERSIONS))
    if query.before is not None and abs(query.before) >= 2**62:
        raise ApiError(400, "before is the number of a version")
    with call.services.storage.reading() as db:
        collection = collection_number(call, db, query.project, query.name)
        rows = artifacts.versions(db, collection, limit + 1, query.before, query.search.strip())
        shown = summaries(db, rows[:limit])
        guarded = artifacts.protected(db, collection)
    return Versions(versions=shown, protected=guarded, done=len(rows) <= limit)


def find(call: Call) -> VersionAnswer:
    query: FindQuery = call.query
    try:
        reference = Reference.parse(query.reference)
    except ValueError as error:
        raise ApiError(400, str(error)) from None
    if reference.number is not None and reference.number >= 2**62:
        raise not_found(f"artifact {query.reference!r}")
    with call.services.storage.reading() as db:
        row = artifacts.find(db, reference, query.project, query.type or None)
        if row is None or not call.identity.may_see(row.project):
            raise not_found(f"artifact {query.reference!r}")
        return VersionAnswer(version=summary(db, row))


def show(call: Call) -> VersionAnswer:
    with call.services.storage.reading() as db:
        return VersionAnswer(version=summary(db, version_of(call, db)))


def list_runs(call: Call) -> Runs:
    with call.services.storage.reading() as db:
        row = version_of(call, db)
        made, using = lineage.producer(db, row.version), lineage.consumers(db, row.version)
    seen = made if made is not None and call.identity.may_see(made.project) else None
    return Runs(logged_by=seen, used_by=[run for run in using if call.identity.may_see(run.project)])


def change(call: Call) -> VersionAnswer:
    given: VersionChanges = call.body
    if given.expires is not None and not 0 <= given.expires < 9e12:
        raise ApiError(400, "expires is a time in seconds since the epoch")
    edit = Edit(**msgspec.structs.asdict(given))
    with call.services.storage.reading() as db:
        number = version_of(call, db).version
    with call.services.storage.changing() as db, refusals():
        return VersionAnswer(
            version=summary(db, artifacts.edit(db, number, edit, actor_of(call), force=_may_force(call)))
        )


def delete(call: Call) -> None:
    with call.services.storage.reading() as db:
        number = version_of(call, db).version
    with call.services.storage.changing() as db, refusals():
        artifacts.delete(db, number, actor_of(call), aliases=call.query.aliases, force=_may_force(call))


def tell_freed(call: Call) -> FreedAnswer:
    with call.services.storage.reading() as db:
        found = freed(db, call.services.storage.blobs, {version_of(call, db).version})
    return FreedAnswer(blobs=found.blobs, bytes=found.bytes, exact=found.exact)


def set_alias(call: Call) -> VersionAnswer:
    protect: bool | None = call.body.protected
    if protect is not None and not _may_force(call):
        raise ApiError(403, "protecting an alias needs a token with the scope 'admin'")
    with call.services.storage.reading() as db:
        number = version_of(call, db).version
    with call.services.storage.changing() as db, refusals():
        alias = check_alias(call.path["alias"])
        artifacts.set_alias(db, number, alias, actor_of(call), force=_may_force(call), protect=protect)
        return VersionAnswer(version=summary(db, _get(db, number)))


def drop_alias(call: Call) -> VersionAnswer:
    with call.services.storage.reading() as db:
        row = version_of(call, db)
    with call.services.storage.changing() as db, refusals():
        if not artifacts.drop_alias(db, row.version, call.path["alias"], actor_of(call), force=_may_force(call)):
            raise not_found(f"alias {call.path['alias']!r} of {row.path}")
        return VersionAnswer(version=summary(db, _get(db, row.version)))


def link(call: Call) -> VersionAnswer:
    body: LinkBody = call.body
    if not is_project(body.project) or not is_artifact_name(body.name):
        raise ApiError(400, f"{body.project}/{body.name} can't be a collection")
    if not call.identity.may_see(body.project):
        raise not_found(f"project {body.project!r}")
    with call.services.storage.reading() as db:
        number = version_of(call, db).version
    with call.services.storage.changing() as db, refusals():
        for alias in body.aliases:
            check_alias(alias)
        row = artifacts.link(db, number, body.project, body.name, body.aliases, actor_of(call))
        return VersionAnswer(version=summary(db, row))


# What the endpoints share.


def version_of(call: Call, db: Database, parameter: str = "version") -> VersionRow:
    """The version in the path.

    Raises
    ------
    ApiError
        404 if there is none, or it is of a project that the asker may not see.
    """
    text = call.path[parameter]
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else -1
    row = artifacts.get(db, number)
    if row is None or not call.identity.may_see(row.project):
        raise not_found(f"version {text!r}; ids come from /artifacts/versions or /artifacts/find")
    return row


def manifest_of(call: Call, row: VersionRow) -> Manifest:
    """A version's manifest.

    Raises
    ------
    ApiError
        404 if it is missing or damaged.
    """
    try:
        return _manifest(call.services.storage.blobs, row.digest)  # type: ignore[arg-type]  # hashable, like any object
    except FileNotFoundError:
        raise not_found(f"manifest of {row.path}: its blob {row.digest} is missing from the store") from None
    except ManifestDamaged as error:
        raise ApiError(404, f"the manifest of {row.path} can't be read: {error}") from None


@functools.lru_cache(maxsize=4)
def _manifest(blobs: BlobStore, digest: str) -> Manifest:
    return Manifest.decode(read_all(blobs, digest))


def collection_number(call: Call, db: Database, project: str, name: str) -> int:
    """The number of a collection that the asker may see; 404 otherwise."""
    found = artifacts.find_collection(db, project, name) if call.identity.may_see(project) else None
    if found is None:
        raise not_found(f"collection {project}/{name}")
    return found


def summary(db: Database, row: VersionRow) -> VersionSummary:
    """A version as it is answered."""
    return summaries(db, [row])[0]


def summaries(db: Database, rows: Sequence[VersionRow]) -> list[VersionSummary]:
    """Versions as they are answered."""
    made = lineage.producers(db, [row.version for row in rows])
    sources = {row.version: row.path for row in artifacts.load(db, {row.source for row in rows if row.source})}
    named = {row.collection for row in rows if row.aliases}
    guarded = {collection: set(artifacts.protected(db, collection)) for collection in named}
    return [
        VersionSummary(
            str(row.version), row.project, row.name, row.type, row.number, row.digest, row.size, row.count,
            seconds(row.created), row.description, plain(msgspec.json.decode(row.metadata)), row.aliases, row.tags,
            maybe_seconds(row.expires), made[row.version].id if row.version in made else "",
            made[row.version].name if row.version in made else "", sources.get(row.source or 0, ""),
            [alias for alias in row.aliases if alias in guarded[row.collection]],
        )
        for row in rows
    ]  # fmt: skip


def collection_summaries(db: Database, rows: Sequence[CollectionRow]) -> list[CollectionSummary]:
    """Collections as they are answered."""
    newest = artifacts.newest(db, rows)
    made = lineage.producers(db, [row.version for row in newest.values()])
    found = []
    for row in rows:
        last = newest.get(row.collection)
        run = made.get(last.version) if last else None
        found.append(
            CollectionSummary(
                row.project, row.name, row.type, row.description, seconds(row.created), seconds(row.updated),
                row.versions, row.size, row.latest, last.aliases if last else [], last.tags if last else [],
                run.id if run else "", run.name if run else "",
            )
        )  # fmt: skip
    return found


def actor_of(call: Call) -> str:
    """Who changes something, for the history of aliases."""
    return call.identity.name or "somebody on the server's machine"


class refusals:  # noqa: N801  used as a context, like contextlib's own
    """Tells what the store refuses as a bad request; what is protected, as forbidden."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, Protected):
            raise ApiError(403, str(error)) from None
        if isinstance(error, (Refusal, ValueError)):
            raise ApiError(400, str(error)) from None


def _get(db: Database, number: int) -> VersionRow:
    row = artifacts.get(db, number)
    if row is None:
        raise not_found("such version")
    return row


def _may_force(call: Call) -> bool:
    return call.identity.scope == "admin"


_VERSION: Final = "/artifacts/{version}"

ENDPOINTS = [
    Endpoint(
        "GET",
        "/artifacts",
        list_collections,
        "The collections of artifacts, the one that changed last first.",
        query=CollectionsQuery,
        answer=Collections,
    ),
    Endpoint(
        "GET",
        "/artifacts/versions",
        list_versions,
        "The versions of a collection.",
        query=VersionsQuery,
        answer=Versions,
        errors=[404],
    ),
    Endpoint(
        "GET",
        "/artifacts/find",
        find,
        "The version a reference means.",
        query=FindQuery,
        answer=VersionAnswer,
        errors=[404],
    ),
    Endpoint("GET", _VERSION, show, "A version.", answer=VersionAnswer, errors=[404]),
    Endpoint(
        "PATCH",
        _VERSION,
        change,
        "Change a version's description, metadata, tags, aliases or end.",
        scope="write",
        body=VersionChanges,
        answer=VersionAnswer,
        errors=[404],
    ),
    Endpoint(
        "DELETE",
        _VERSION,
        delete,
        "Delete a version.",
        scope="write",
        query=DeleteQuery,
        status=204,
        errors=[404],
    ),
    Endpoint(
        "GET", f"{_VERSION}/freed", tell_freed, "What deleting a version would free.", answer=FreedAnswer, errors=[404]
    ),
    Endpoint(
        "GET", f"{_VERSION}/runs", list_runs, "The runs that logged and used a version.", answer=Runs, errors=[404]
    ),
    Endpoint(
        "PUT",
        f"{_VERSION}/aliases/{{alias}}",
        set_alias,
        "Have an alias mean a version.",
        scope="write",
        body=AliasBody,
        answer=VersionAnswer,
        errors=[404],
    ),
    Endpoint(
        "DELETE",
        f"{_VERSION}/aliases/{{alias}}",
        drop_alias,
        "Take an alias away from a version.",
        scope="write",
        answer=VersionAnswer,
        errors=[404],
    ),
    Endpoint(
        "POST",
        f"{_VERSION}/link",
        link,
        "Make a version of another collection from a version, such as one of the registry.",
        scope="write",
        body=LinkBody,
        answer=VersionAnswer,
        errors=[404],
    ),
]
