"""References to objects in a bucket: described, brought here, and found out when they change."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from fsspec.registry import _registry
from fsspec.spec import AbstractFileSystem

import trackkit
from tests.artifacts.conftest import Place
from tests.objects import BUCKET, ObjectStore
from trackkit.core import references
from trackkit.core.references import ReferenceChanged


class Bucket:
    """A bucket of an S3 server, written to by another client than the one that references are read with."""

    def __init__(self) -> None:
        import boto3

        self._client = boto3.client("s3")

    def put(self, key: str, content: bytes) -> str:
        """Put an object; its ETag."""
        return str(self._client.put_object(Bucket=BUCKET, Key=key, Body=content)["ETag"]).strip('"')

    def delete(self, key: str) -> None:
        self._client.delete_object(Bucket=BUCKET, Key=key)


@pytest.fixture
def bucket(objects: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A bucket that clients find by the environment."""
    import s3fs

    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()  # which would go on with the server of the test before
    yield Bucket()
    s3fs.S3FileSystem.clear_instance_cache()


def test_objects_are_referred_to_with_their_etags(bucket: Bucket, local: Place, folder: Path) -> None:
    first, second = bucket.put("set/a.bin", b"1" * 1000), bucket.put("set/deep/b.bin", b"2" * 10)
    bucket.put("other.bin", b"3")
    artifact = trackkit.Artifact("data", "dataset")
    artifact.add_reference(f"s3://{BUCKET}/set", name="files")

    with local.run() as run:
        run.log_artifact(artifact).wait(20)
    found = local.api().artifact("p/data:latest")

    assert {one.path: (one.size, one.ref, one.digest) for one in found.manifest_entries()} == {
        "files/a.bin": (1000, f"s3://{BUCKET}/set/a.bin", f"etag:{first}"),
        "files/deep/b.bin": (10, f"s3://{BUCKET}/set/deep/b.bin", f"etag:{second}"),
    }
    place = found.download(folder / "there")
    assert (Path(place) / "files/deep/b.bin").read_bytes() == b"2" * 10


def test_one_object_is_referred_to_under_its_own_name(bucket: Bucket) -> None:
    etag = bucket.put("model.pt", b"weights")

    [(path, entry)] = references.describe(f"s3://{BUCKET}/model.pt", checksum=True)

    assert (path, entry.size, entry.checksum) == ("", 7, f"etag:{etag}")


def test_an_object_that_changed_is_found_out(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("data.bin", b"before")
    [(_, entry)] = references.describe(f"s3://{BUCKET}/data.bin", checksum=True)
    assert references.verify(entry)
    references.fetch(entry, tmp_path / "before")
    assert (tmp_path / "before").read_bytes() == b"before"

    bucket.put("data.bin", b"after!")

    assert not references.verify(entry)
    with pytest.raises(ReferenceChanged, match="has changed"):
        references.fetch(entry, tmp_path / "after")


def test_an_object_that_is_gone_is_no_reference(bucket: Bucket) -> None:
    bucket.put("data.bin", b"1")
    [(_, entry)] = references.describe(f"s3://{BUCKET}/data.bin", checksum=True)
    bucket.delete("data.bin")

    assert not references.verify(entry)
    with pytest.raises(FileNotFoundError, match="there is nothing"):
        list(references.describe(f"s3://{BUCKET}/data.bin", checksum=True))


def test_more_objects_than_allowed_are_refused(bucket: Bucket) -> None:
    for number in range(4):
        bucket.put(f"many/{number}", b"x")

    with pytest.raises(ValueError, match="more than 3 files"):
        list(references.describe(f"s3://{BUCKET}/many", checksum=True, most=3))
    assert len(list(references.describe(f"s3://{BUCKET}/many", checksum=False, most=4))) == 4


class Objects(AbstractFileSystem):  # type: ignore[misc]
    """Objects in memory, told of as gcsfs and adlfs tell of theirs: `MARK` is where the checksum stands."""

    cachable = False
    MARK: ClassVar[str]
    content: ClassVar[dict[str, bytes]]

    def ls(self, path: str, detail: bool = True, **options: Any) -> list[Any]:
        inside = f"{path.rstrip('/')}/"
        below = {inside + name.removeprefix(inside).split("/")[0] for name in self.content if name.startswith(inside)}
        return [self.info(name) if detail else name for name in sorted(below)]

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        if (data := self.content.get(path)) is not None:
            mark = hashlib.md5(data).hexdigest()
            return {"name": path, "size": len(data), "type": "file", self.MARK: mark, "metadata": {}}
        if any(name.startswith(f"{path}/") for name in self.content):
            return {"name": path, "size": 0, "type": "directory"}
        raise FileNotFoundError(path)

    def _open(self, path: str, mode: str = "rb", **options: Any) -> io.BytesIO:
        return io.BytesIO(self.content[path])


@pytest.fixture(
    params=[("gs", "md5Hash", "md5"), ("gs", "etag", "etag"), ("az", "etag", "etag"), ("abfs", "etag", "etag")]
)
def cloud(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str, dict[str, bytes]]:
    """A place of another provider: its scheme, the kind of its checksums, its objects."""
    scheme, mark, kind = request.param
    content: dict[str, bytes] = {}
    system = type("System", (Objects,), {"protocol": scheme, "MARK": mark, "content": content})
    monkeypatch.setitem(_registry, scheme, system)
    return scheme, kind, content


def test_the_objects_of_every_provider_are_referred_to_alike(
    cloud: tuple[str, str, dict[str, bytes]], local: Place, folder: Path
) -> None:
    scheme, kind, content = cloud
    content |= {"bucket/set/a.bin": b"1" * 1000, "bucket/set/deep/b.bin": b"2", "bucket/other.bin": b"3"}
    artifact = trackkit.Artifact("data", "dataset")
    artifact.add_reference(f"{scheme}://bucket/set", name="files")

    with local.run() as run:
        run.log_artifact(artifact).wait(20)
    found = local.api().artifact("p/data:latest")

    assert {one.path: (one.size, one.ref, one.digest) for one in found.manifest_entries()} == {
        "files/a.bin": (1000, f"{scheme}://bucket/set/a.bin", f"{kind}:{hashlib.md5(b'1' * 1000).hexdigest()}"),
        "files/deep/b.bin": (1, f"{scheme}://bucket/set/deep/b.bin", f"{kind}:{hashlib.md5(b'2').hexdigest()}"),
    }
    place = found.download(folder / "there")
    assert (Path(place) / "files/deep/b.bin").read_bytes() == b"2"

    content["bucket/set/a.bin"] = b"4" * 1000
    with pytest.raises(ReferenceChanged, match="has changed"):
        found.download(folder / "later")
