"""What goes into an artifact: files as they are then, references, media, and what is taken out again."""

from __future__ import annotations

import os
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

import trackkit
from tests.artifacts.conftest import Make, Place
from trackkit.core.artifact import ArtifactFinal
from trackkit.core.artifact_facts import ArtifactNotLogged
from trackkit.core.blobs import Blobs
from trackkit.core.manifest import Reference
from trackkit.core.references import ReferenceChanged


def test_a_file_is_hard_linked_where_it_never_changes(local: Place, folder: Path) -> None:
    file = folder / "large"
    file.write_bytes(os.urandom(3 << 20))
    changed = file.stat().st_mtime_ns
    run = local.run()

    artifact = trackkit.Artifact("data", "dataset")
    entry = artifact.add_file(file, policy="immutable")
    run.log_artifact(artifact).wait(20)

    assert os.path.samefile(Blobs(local.root).path(entry.digest), file)
    assert file.stat().st_mtime_ns == changed
    again = trackkit.Artifact("data", "dataset")
    again.add_file(file, policy="immutable")
    assert again.digest == artifact.digest


def test_unchanged_files_are_not_read_again(local: Place, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local.run()
    long_ago = 1_600_000_000
    for path in tree.rglob("*"):
        os.utime(path, (long_ago, long_ago))
    import time

    time.sleep(0.2)  # the inodes were changed just now
    first = trackkit.Artifact("data", "dataset")
    first.add_dir(tree)
    opened: list[str] = []
    real = os.open

    def counting(path: str, *arguments: int) -> int:
        if str(path).startswith(str(tree)):
            opened.append(str(path))
        return real(path, *arguments)

    monkeypatch.setattr("trackkit.core.staging.os.open", counting)
    second = trackkit.Artifact("data", "dataset")
    second.add_dir(tree)
    (tree / "a.txt").write_text("other")
    third = trackkit.Artifact("data", "dataset")
    third.add_dir(tree)

    assert second.digest == first.digest
    assert third.digest != first.digest
    assert opened == [str(tree / "a.txt")]


def test_a_name_that_is_taken_needs_overwrite(make: Make) -> None:
    artifact = make({"f": "1"})

    with pytest.raises(ValueError, match="has 'f' already"), artifact.new_file("f") as file:
        file.write("2")
    with artifact.new_file("f", overwrite=True) as file:
        file.write("3")

    assert artifact.get_entry("f").size == 1


def test_a_file_that_fails_while_it_is_written_is_not_added(folder: Path) -> None:
    artifact = trackkit.Artifact("data", "dataset")

    with pytest.raises(ZeroDivisionError), artifact.new_file("f") as file:
        file.write("half" * (1 // len(artifact.files())))

    assert artifact.files() == []


def test_folders_and_files_are_removed_from_a_draft(make: Make) -> None:
    artifact = make({"a": "1", "d/b": "2", "d/c": "3", "da": "4"})

    artifact.remove("d")
    artifact.remove(artifact.get_entry("a"))

    assert [entry.path for entry in artifact.files()] == ["da"]
    with pytest.raises(FileNotFoundError, match="no entry 'nothing'"):
        artifact.remove("nothing")


def test_a_logged_artifact_is_final(local: Place, make: Make) -> None:
    run = local.run()
    artifact = run.log_artifact(make({"f": "1"}))

    with pytest.raises(ArtifactFinal, match="new_draft"), artifact.new_file("g"):
        pass


def test_a_draft_has_no_version(make: Make) -> None:
    artifact = make({"f": "1"})

    with pytest.raises(ArtifactNotLogged, match="it is a draft"):
        artifact.version  # noqa: B018
    with pytest.raises(ArtifactNotLogged):
        artifact.wait()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"name": "a/b"}, "can't be an artifact's name"),
        ({"name": ""}, "can't be an artifact's name"),
        ({"name": "a:b"}, "can't be an artifact's name"),
        ({"type": "a/b"}, "can't be an artifact's type"),
    ],
)
def test_names_that_cannot_be_are_refused(arguments: dict[str, str], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        trackkit.Artifact(**{"name": "n", "type": "t", **arguments})


def test_metadata_is_what_json_can_hold() -> None:
    artifact = trackkit.Artifact("n", "t", metadata={"a": np.float32(0.5), "b": np.arange(3), "c": Path("x"), "d": {1}})

    assert artifact.metadata == {"a": 0.5, "b": [0, 1, 2], "c": "x", "d": [1]}
    with pytest.raises(TypeError, match="what JSON can hold"):
        trackkit.Artifact("n", "t", metadata={"a": object()})


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("m", ("", "m", "latest", "")),
        ("m:best", ("", "m", "best", "")),
        ("p/m:v3", ("p", "m", "v3", "")),
        ("team/p/m:v3", ("p", "m", "v3", "")),
        ("ab" * 32, ("", "", "", "ab" * 32)),
        ("p/m:" + "ab" * 32, ("p", "m", "", "ab" * 32)),
    ],
)
def test_references_name_versions(text: str, parts: tuple[str, ...]) -> None:
    found = Reference.parse(text)

    assert (found.project, found.name, found.alias, found.digest) == parts


@pytest.mark.parametrize("text", ["", "m:", ":best", "a/b/c/d:e", "m\\x:y"])
def test_texts_that_name_no_version_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="artifact"):
        Reference.parse(text)


def test_a_reference_to_files_is_followed_and_checked(local: Place, tree: Path, folder: Path) -> None:
    run = local.run()
    artifact = trackkit.Artifact("data", "dataset")
    artifact.add_reference(tree.as_uri(), name="in")
    run.log_artifact(artifact).wait(20)
    found = run.use_artifact("data")

    found.download(folder / "back")

    assert (folder / "back" / "in" / "deep" / "er" / "c.txt").read_text() == "c"
    assert found.get_entry("in/a.txt").ref_target() == (tree / "a.txt").as_uri()
    assert not any(Blobs(local.root).path(digest).read_bytes() == b"c" for digest in Blobs(local.root).iterate())
    (tree / "b.txt").write_text("B")
    with pytest.raises(ReferenceChanged, match=r"b\.txt has changed"):
        found.download(folder / "again")


def test_a_reference_to_the_web_is_followed_and_checked(local: Place, tree: Path, folder: Path) -> None:
    def handler(*arguments: object) -> SimpleHTTPRequestHandler:
        return _Quiet(*arguments, directory=str(tree))  # type: ignore[arg-type]

    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)  # type: ignore[arg-type]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        artifact = trackkit.Artifact("data", "dataset")
        (entry,) = artifact.add_reference(f"http://127.0.0.1:{server.server_port}/a.txt", name="web.txt")
        assert (entry.size, entry.digest.partition(":")[0]) == (1, "mtime")
        file = local.run().log_artifact(artifact).wait(20).get_entry("web.txt").download(folder / "back")
        assert Path(file).read_text() == "a"
        os.utime(tree / "a.txt", (1_700_000_000, 1_700_000_000))
        (tree / "a.txt").write_text("A")
        os.utime(tree / "a.txt", (1_700_000_100, 1_700_000_100))
        with pytest.raises(ReferenceChanged):
            artifact.get_entry("web.txt").download(folder / "again")
        with pytest.raises(FileNotFoundError):
            trackkit.Artifact("d", "t").add_reference(f"http://127.0.0.1:{server.server_port}/nothing")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None: ...


def test_a_place_without_its_package_is_named() -> None:
    artifact = trackkit.Artifact("data", "dataset")

    with pytest.raises(ImportError, match="gcsfs"):
        artifact.add_reference("gs://bucket/key")
    with pytest.raises(ValueError, match="can't be referred to"):
        artifact.add_reference("gopher://host/key")
    with pytest.raises(FileNotFoundError, match="nothing at"):
        artifact.add_reference("file:///nothing/here")


def test_an_entry_of_another_artifact_is_added_without_a_copy(local: Place, make: Make) -> None:
    run = local.run()
    first = run.log_artifact(make({"f": "content"})).wait(20)
    second = trackkit.Artifact("other", "dataset")

    second.add(first.get_entry("f"), "g")

    assert second.get_entry("g").digest == first.get_entry("f").digest


def test_media_and_tables_are_added(local: Place, folder: Path) -> None:
    run = local.run()
    artifact = trackkit.Artifact("data", "dataset")
    image = trackkit.Image(np.zeros((4, 4, 3), np.uint8))

    entries = [artifact.add(image, "pictures/black"), artifact.add(trackkit.Table(["i", "x"], [[image, 1]]), "rows")]
    target = Path(run.log_artifact(artifact).wait(20).download(folder / "back"))

    assert [entry.path for entry in entries] == ["pictures/black.png", "rows.parquet"]
    import pyarrow.parquet

    assert pyarrow.parquet.read_table(target / "rows.parquet").column_names == ["i", "x"]
    assert len(list((target / "media" / "image").iterdir())) == 1
    with pytest.raises(TypeError, match="can't hold a dict"):
        artifact.new_draft().add({}, "x")


def test_an_incremental_artifact_begins_with_the_latest(local: Place, make: Make) -> None:
    run = local.run()
    run.log_artifact(make({"a": "1", "b": "2"})).wait(20)

    found = run.log_artifact(make({"b": "3", "c": "4"}, incremental=True)).wait(20)

    assert [entry.path for entry in found.files()] == ["a", "b", "c"]
    assert found.get_entry("b").size == 1


def test_files_kept_live_follow_their_changes_and_those_of_the_end_come_then(local: Place, folder: Path) -> None:
    run = local.run("r")
    (folder / "live.txt").write_text("1")
    (folder / "end.txt").write_text("early")

    run.save("live.txt", policy="live")
    run.save(str(folder / "end.txt"), policy="end")
    (folder / "live.txt").write_text("22")
    (folder / "end.txt").write_text("late")
    files = {file.path: file.read() for file in local.api().run("p/r").files()}

    assert files == {"live.txt": b"22", "end.txt": b"late"}
    with pytest.raises(RuntimeError, match="takes nothing more"):
        run.save("live.txt")


def test_a_disabled_run_takes_artifacts_and_keeps_none(folder: Path, make: Make) -> None:
    run = trackkit.init(mode="disabled", dir=folder / "root")

    logged = run.log_artifact(make({"f": "1"}))
    assert run.save("*") == []
    run.finish()

    assert logged.collection == "data"


def test_gc_where_runs_are_only_sent_from_deletes_what_was_sent(folder: Path, make: Make) -> None:
    from tests.servers import serving
    from trackkit.backend.store.collection import GRACE_SECONDS
    from trackkit.backend.store.maintenance import gc

    with serving(folder / "server") as server:
        run = trackkit.init(project="p", dir=folder / "here", sink=server.address, settings={"quiet": True})
        staged = Blobs(folder / "here")
        digest = staged.put_bytes(b"sent")
        artifact = trackkit.Artifact("data", "dataset")
        artifact._draft.put({"f": trackkit.core.manifest.Entry(4, digest)}, True)  # type: ignore[union-attr]
        run.log_artifact(artifact).wait(20)
        run.finish()
    for each in staged.iterate():
        os.utime(staged.path(each), (1, os.stat(folder).st_mtime - 2 * GRACE_SECONDS))

    freed = gc(folder / "here")

    assert freed.blobs >= 2
    assert not staged.exists(digest)
