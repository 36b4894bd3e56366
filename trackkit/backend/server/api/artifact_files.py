"""`/artifacts/{version}/…`: the files of a version: listed, read, archived, compared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

import msgspec
from starlette.responses import Response, StreamingResponse

from trackkit.backend.server.api.artifacts import manifest_of, version_of
from trackkit.backend.server.api.content import SANDBOX, respond_with_blob
from trackkit.backend.server.api.tables import asking
from trackkit.backend.server.api.values import plain
from trackkit.backend.server.errors import ApiError, not_found
from trackkit.backend.server.routing import Answer, Call, Endpoint, Query
from trackkit.backend.store.archive import archive
from trackkit.backend.store.blobstore import local_file
from trackkit.backend.tables import pages
from trackkit.backend.tables.pages import ColumnInfo, Row
from trackkit.core.manifest import Entry, Manifest, differences

MOST_FILES: Final = 5000


class EntrySummary(msgspec.Struct):
    """A file of an artifact, or a reference."""

    path: str
    size: int
    digest: str
    ref: str
    checksum: str


class Entries(Answer):
    """Entries by path; `done` tells that there are no more."""

    entries: list[EntrySummary]
    count: int
    size: int
    done: bool


class EntriesQuery(Query):
    """`prefix` is what paths begin with, `suffix` what they end with, `after` the last path of the answer before."""

    prefix: str = ""
    suffix: str = ""
    after: str = ""
    limit: int = 1000


class ContentQuery(Query):
    """`inline` asks to show the file in the browser, where that is harmless."""

    inline: bool = False


class FolderQuery(Query):
    """`path` is the folder, empty for the whole; `after` the last name of the answer before."""

    path: str = ""
    after: str = ""
    limit: int = 1000


class FolderItem(msgspec.Struct):
    """What lies in a folder: a file or a reference (`entry`), or a folder, with all that is below it."""

    name: str
    count: int
    size: int
    entry: EntrySummary | None


class Folder(Answer):
    """A folder's contents, folders first; `count` and `size` are of all that is below it."""

    path: str
    items: list[FolderItem]
    count: int
    size: int
    done: bool


class FileRowsQuery(Query):
    """A page of a Parquet file's rows: sorted by a column (`-` before its name for falling order), with a text."""

    sort: str = ""
    search: str = ""
    offset: int = 0
    limit: int = 100


class FileRows(Answer):
    """Rows of a Parquet file; cells are in the order of `columns`, `matching` counts the rows with the text."""

    columns: list[ColumnInfo]
    rows: list[Row]
    matching: int
    total: int


class ChangeSummary(msgspec.Struct):
    """How one path differs: `added`, `removed` or `changed`."""

    path: str
    change: str
    before: EntrySummary | None
    after: EntrySummary | None


class Difference(Answer):
    """What has to change for one version to become another; `changes` are the first of `count`."""

    changes: list[ChangeSummary]
    added: int
    removed: int
    changed: int
    unchanged: int
    metadata: dict[str, list[Any]]
    """Keys whose values differ, with both."""


class DifferenceQuery(Query):
    limit: int = 1000


def list_entries(call: Call) -> Entries:
    query: EntriesQuery = call.query
    limit = max(1, min(query.limit, MOST_FILES))
    with call.services.storage.reading() as db:
        row = version_of(call, db)
    contents = manifest_of(call, row)
    chosen = [path for path in contents if path.startswith(query.prefix) and path.endswith(query.suffix)]
    size = sum(contents[path].size for path in chosen)
    left = [path for path in chosen if path > query.after] if query.after else chosen
    shown = [entry_summary(path, contents[path]) for path in left[:limit]]
    return Entries(entries=shown, count=len(chosen), size=size, done=len(left) <= limit)


def list_folder(call: Call) -> Folder:
    query: FolderQuery = call.query
    limit = max(1, min(query.limit, MOST_FILES))
    with call.services.storage.reading() as db:
        row = version_of(call, db)
    contents = manifest_of(call, row)
    items = folder_items(contents, query.path)
    if not items and query.path:
        raise not_found(f"folder {query.path!r} in {row.path}")
    names = [item.name for item in items]
    start = names.index(query.after) + 1 if query.after in names else 0
    shown = items[start : start + limit]
    return Folder(
        path=query.path,
        items=shown,
        count=sum(item.count for item in items),
        size=sum(item.size for item in items),
        done=start + limit >= len(items),
    )


def folder_items(contents: Manifest, folder: str) -> list[FolderItem]:
    """What lies in a folder of a manifest: folders first, each by name."""
    prefix = f"{folder}/" if folder else ""
    folders: dict[str, FolderItem] = {}
    files: list[FolderItem] = []
    for path, entry in contents.items():
        if not path.startswith(prefix):
            continue
        name, slash, _ = path[len(prefix) :].partition("/")
        if not slash:
            files.append(FolderItem(name, 1, entry.size, entry_summary(path, entry)))
            continue
        item = folders.setdefault(name, FolderItem(name, 0, 0, None))
        item.count += 1
        item.size += entry.size
    return [*(folders[name] for name in sorted(folders)), *files]


def show_content(call: Call) -> Response:
    path = call.path["path"]
    with call.services.storage.reading() as db:
        row = version_of(call, db)
    entry = manifest_of(call, row).get(path)
    if entry is None:
        raise not_found(f"entry {path!r} in {row.path}")
    if entry.ref:
        raise ApiError(404, f"{path!r} of {row.path} is a reference to {entry.ref}, which is not kept here")
    return respond_with_blob(call, entry.digest, path, inline=call.query.inline)


def show_archive(call: Call) -> Response:
    with call.services.storage.reading() as db:
        row = version_of(call, db)
    contents = {path: entry for path, entry in manifest_of(call, row).items() if entry.digest}
    name = f"{row.name}-v{row.number}"
    headers = {
        "content-security-policy": SANDBOX,
        "content-disposition": f"attachment; filename*=UTF-8''{quote(f'{name}.zip', safe='')}",
    }
    pieces = archive(call.services.storage.blobs, contents)
    body: Iterator[bytes] = iter(()) if call.request.method == "HEAD" else pieces
    return StreamingResponse(body, media_type="application/zip", headers=headers)


def show_rows(call: Call) -> FileRows:
    query: FileRowsQuery = call.query
    path = call.path["path"]
    with call.services.storage.reading() as db:
        row = version_of(call, db)
    entry = manifest_of(call, row).get(path)
    if entry is None or not entry.digest:
        raise not_found(f"file {path!r} in {row.path}")
    with asking():
        try:
            file = local_file(call.services.storage.blobs, entry.digest)
        except FileNotFoundError:
            raise not_found(f"content of {path!r}: its blob {entry.digest} is missing from the store") from None
        relation = call.services.tables.table([file])
        sort = [query.sort] if query.sort else []
        found = pages.rows(relation, None, sort, "", query.search, query.offset, query.limit)
        columns = pages.columns(relation)[: pages.MOST_COLUMNS]
    return FileRows(columns=columns, rows=found.rows, matching=found.matching, total=relation.rows)


def show_blob(call: Call) -> Response:
    digest = call.path["digest"]
    with call.services.storage.reading() as db:
        row = version_of(call, db)
    if digest != row.digest and digest not in manifest_of(call, row).blobs():
        raise not_found(f"blob {digest} in {row.path}")
    return respond_with_blob(call, digest, digest, inline=False)


def compare(call: Call) -> Difference:
    with call.services.storage.reading() as db:
        row, other = version_of(call, db), version_of(call, db, "other")
    before, after = manifest_of(call, row), manifest_of(call, other)
    found = differences(before, after)
    counts = {word: sum(one.change == word for one in found) for word in ("added", "removed", "changed")}
    old, new = msgspec.json.decode(row.metadata), msgspec.json.decode(other.metadata)
    return Difference(
        changes=[
            ChangeSummary(
                one.path, one.change,
                None if one.before is None else entry_summary(one.path, one.before),
                None if one.after is None else entry_summary(one.path, one.after),
            )
            for one in found[: max(1, min(call.query.limit, MOST_FILES))]
        ],
        **counts,
        unchanged=len(before) - counts["removed"] - counts["changed"],
        metadata={
            key: [plain(old.get(key)), plain(new.get(key))]
            for key in sorted(old.keys() | new.keys())
            if old.get(key) != new.get(key)
        },
    )  # fmt: skip


# What the endpoints share.


def entry_summary(path: str, entry: Entry) -> EntrySummary:
    """An entry as it is answered."""
    return EntrySummary(path, entry.size, entry.digest, entry.ref, entry.checksum)


_VERSION: Final = "/artifacts/{version}"

ENDPOINTS = [
    Endpoint(
        "GET",
        f"{_VERSION}/entries",
        list_entries,
        "The files and references of a version.",
        query=EntriesQuery,
        answer=Entries,
        errors=[404],
    ),
    Endpoint(
        "GET",
        f"{_VERSION}/content/{{path:path}}",
        show_content,
        "The content of a file of a version, or a range of it.",
        query=ContentQuery,
        gives="*/*",
        errors=[404, 416],
    ),
    Endpoint(
        "GET",
        f"{_VERSION}/folder",
        list_folder,
        "What lies in a folder of a version.",
        query=FolderQuery,
        answer=Folder,
        errors=[404],
    ),
    Endpoint(
        "GET",
        f"{_VERSION}/rows/{{path:path}}",
        show_rows,
        "Rows of a Parquet file of a version.",
        query=FileRowsQuery,
        answer=FileRows,
        errors=[400, 404, 409, 503],
    ),
    Endpoint(
        "GET",
        f"{_VERSION}/archive",
        show_archive,
        "All files of a version, as one ZIP file.",
        gives="application/zip",
        errors=[404],
    ),
    Endpoint(
        "GET",
        f"{_VERSION}/blobs/{{digest}}",
        show_blob,
        "A blob of a version, or its manifest, or a range of it.",
        gives="*/*",
        errors=[404, 416],
    ),
    Endpoint(
        "GET",
        f"{_VERSION}/diff/{{other}}",
        compare,
        "What differs between two versions.",
        query=DifferenceQuery,
        answer=Difference,
        errors=[404],
    ),
]
