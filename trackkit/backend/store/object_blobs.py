"""Blobs in an object store: S3 and what speaks like it, Google Cloud Storage, Azure; by obstore.

An object is named `ab/abcdef…` below the URI's path, and is there whole or not at all. Requests that fail for the
network's or the store's fault are repeated by obstore, with growing pauses, before anybody hears of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from trackkit.backend.store.blobstore import BlobState
from trackkit.backend.store.database import Unavailable
from trackkit.core.blobs import is_digest

RETRY_SECONDS: Final = 20.0
_AT_ONCE: Final = 32
_PIECE: Final = 4 << 20
_WHOLE_BYTES: Final = 8 << 20
"""Larger files are sent in parts."""
_KNOWN_SECONDS: Final = 300.0
_KNOWN: Final = 200_000


class BlobsUnavailable(Unavailable):
    """The object store can't be reached, or doesn't do what it is asked; try again."""


class ObjectBlobs:
    """Blobs in an object store; see `BlobStore`.

    Parameters
    ----------
    uri
        `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX`, `az://ACCOUNT/CONTAINER/PREFIX`. Credentials, region and endpoint
        come from the environment, as `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT_URL`.
    spool
        A folder of this machine for what is not whole yet.

    Raises
    ------
    ImportError
        If obstore is missing.
    ValueError
        If the URI is none of an object store.
    """

    def __init__(self, uri: str, spool: Path) -> None:
        try:
            import obstore
            import obstore.store as stores
        except ImportError:
            raise ImportError(f"files at {uri} need obstore: pip install 'trackkit[objects]'") from None
        self.name = uri
        self.spool = spool
        self._obstore: Any = obstore
        self._known: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()
        endpoint = os.environ.get("AWS_ENDPOINT_URL", os.environ.get("AWS_ENDPOINT", ""))
        options: dict[str, Any] = {"timeout": timedelta(seconds=60), "connect_timeout": timedelta(seconds=5)}
        if endpoint.startswith("http://"):
            options["allow_http"] = True
        retries = {
            "max_retries": 10,
            "retry_timeout": timedelta(seconds=RETRY_SECONDS),
            "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=3), "base": 2},
        }
        try:
            make: Any = stores.from_url  # its types want the kind of the store known
            self._store: Any = make(uri, client_options=options, retry_config=retries)
        except Exception as error:
            raise ValueError(f"files can't be kept at {uri!r}: {error}; expected s3://BUCKET/PREFIX") from None

    def size(self, digest: str) -> int | None:
        with self._reached():
            try:
                return int(self._obstore.head(self._store, _key(digest))["size"])
            except FileNotFoundError:
                return None

    def lacking(self, digests: Iterable[str]) -> list[str]:
        wanted = list(digests)
        unknown = [digest for digest in wanted if not self._is_known(digest)]
        if not unknown:
            return []
        with self._reached():
            found = asyncio.run(self._heads(unknown))
        return [digest for digest in unknown if digest not in found]

    async def _heads(self, digests: list[str]) -> set[str]:
        """Those of some blobs that are there, asked for several at a time."""
        gate = asyncio.Semaphore(_AT_ONCE)
        there: set[str] = set()

        async def ask(digest: str) -> None:
            async with gate:
                try:
                    await self._obstore.head_async(self._store, _key(digest))
                except FileNotFoundError:
                    return
                there.add(digest)

        await asyncio.gather(*map(ask, digests))
        return there

    def read(self, digest: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        with self._reached():
            size = self.size(digest)
            if size is None:
                raise FileNotFoundError(f"the blob {digest} is missing from {self.name}")
            end = size if stop is None else min(stop, size)
            while start < end:
                piece = self._obstore.get_range(self._store, _key(digest), start=start, end=min(start + _PIECE, end))
                start += len(piece)
                yield bytes(piece)

    def local(self, digest: str) -> Path | None:
        return None

    def put_bytes(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        if self.lacking([digest]):
            with self._reached():
                self._obstore.put(self._store, _key(digest), content)
            self._remember(digest)
        return digest

    def keep(self, file: Path, digest: str) -> None:
        with self._reached(), contextlib.suppress(FileNotFoundError):
            size = file.stat().st_size
            self._obstore.put(
                self._store, _key(digest), file, chunk_size=_WHOLE_BYTES, use_multipart=size > _WHOLE_BYTES
            )
            self._remember(digest)
            file.unlink(missing_ok=True)

    def verify(self, digest: str) -> bool:
        checksum = hashlib.sha256()
        try:
            for piece in self.read(digest):
                checksum.update(piece)
        except FileNotFoundError:
            return False
        return checksum.hexdigest() == digest

    def states(self) -> Iterator[BlobState]:
        with self._reached():
            for page in self._obstore.list(self._store):
                for found in page:
                    digest = found["path"].rpartition("/")[2]
                    if is_digest(digest):
                        yield BlobState(digest, found["size"], found["last_modified"].timestamp())

    def delete(self, digests: Iterable[str], unused_since: float = math.inf) -> list[int]:
        freed = []
        with self._reached():
            for digest in digests:
                try:
                    found = self._obstore.head(self._store, _key(digest))
                except FileNotFoundError:
                    continue
                if found["last_modified"].timestamp() >= unused_since:
                    continue
                self._obstore.delete(self._store, _key(digest))
                freed.append(int(found["size"]))
                with self._lock:
                    self._known.pop(digest, None)
        return freed

    def _remember(self, digest: str) -> None:
        """Note that a blob was put just now. What was found there is not noted: another process may collect it."""
        with self._lock:
            self._known[digest] = time.monotonic()
            if len(self._known) > _KNOWN:
                self._known.popitem(last=False)

    def _is_known(self, digest: str) -> bool:
        with self._lock:
            known = self._known.get(digest)
        return known is not None and time.monotonic() - known < _KNOWN_SECONDS

    @contextlib.contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, BlobsUnavailable):
            raise
        except self._obstore.exceptions.BaseError as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise BlobsUnavailable(f"{self.name} can't be reached: {first}; try again") from error


def _key(digest: str) -> str:
    return f"{digest[:2]}/{digest}"
