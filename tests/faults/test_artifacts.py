"""Artifacts when something breaks on purpose: a version is whole or not there, and a hostile one harms nobody."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import trackkit
from tests.faults.conftest import PRELUDE, Script
from tests.faults.proxies import proxy
from tests.objects import ObjectStore, object_store
from tests.servers import Process, process, serving, until
from trackkit import Api
from trackkit.backend.store import collection, submissions
from trackkit.backend.store.database import Busy
from trackkit.backend.store.maintenance import doctor, gc
from trackkit.backend.store.sqlite import SQLiteDatabase
from trackkit.core.blobs import BlobDamaged, Blobs
from trackkit.core.manifest import Entry, Manifest, ManifestDamaged, check_path
from trackkit.core.staging import FileChanged
from trackkit.sync import sync

QUIET: dict[str, Any] = {
    "system": False, "console": "off", "git": False, "code": False, "packages": False, "quiet": True, "interval": 0.05,
}  # fmt: skip
HOSTILE = [
    "/etc/passwd", "../up", "a/../../up", "a//b", "a/./b", "", ".", "..", "C:/x", "C:x", "a\\b", "..\\up", "nul\0", "/",
    "a/" + "x" * 300, "\ud800",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drafts that no run goes on for are staged in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)


def start(root: Path, id: str = "r", **more: Any) -> trackkit.Run:
    return trackkit.init(id=id, project="p", dir=root, settings=QUIET, reinit="create_new", **more)


def log(run: trackkit.Run, files: dict[str, bytes], name: str = "data", **more: Any) -> trackkit.Artifact:
    artifact = trackkit.Artifact(name, "dataset")
    for path, content in files.items():
        with artifact.new_file(path, "wb") as file:
            file.write(content)
    return run.log_artifact(artifact, **more)


# Kills.


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.15, 0.4])
def test_a_kill_in_the_middle_of_an_upload_is_resumed_and_shows_nothing_half_made(
    script: Script, tmp_path: Path, delay: float
) -> None:
    with process(tmp_path / "server") as server:
        child = script.start(
            f"""
            run = trackkit.init(project="p", dir=ROOT, id="killed", sink="{server.address}", settings=QUIET)
            artifact = trackkit.Artifact("data", "dataset")
            for number in range(6):
                with artifact.new_file(f"large{{number}}", "wb") as file:
                    file.write(os.urandom(24 << 20))
            for number in range(200):
                with artifact.new_file(f"small/{{number}}", "wb") as file:
                    file.write(b"%d" % number)
            run.log_artifact(artifact, aliases=["best"])
            print("logged", flush=True)
            time.sleep(60)
            """
        )
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(delay)
        script.signal_group(signal.SIGKILL)
        child.wait(20)
        before = server.ask("/artifacts")["collections"]
        assert sum(one["versions"] for one in before) <= 1
        if before:
            assert (before[0]["versions"], before[0]["latest"]) == (1, 0)

        (sent,) = sync([script.root], to=server.address)

        assert sent.error == ""
        found = server.ask("/artifacts/find?reference=p/data:best")["version"]
        assert (found["number"], found["count"]) == (0, 206)
        entries = server.ask(f"/artifacts/{found['id']}/entries")["entries"]
        blobs = Blobs(tmp_path / "server")
        assert all(blobs.verify(entry["digest"]) for entry in entries)
        (again,) = sync([script.root], to=server.address)
        assert again.error == ""
        assert server.ask("/artifacts/versions?project=p&name=data")["versions"][0]["number"] == 0


def test_a_kill_after_logging_loses_no_artifact_of_a_local_store(script: Script) -> None:
    child = script.start_until_it_prints(
        """
        run = trackkit.init(project="p", dir=ROOT, id="killed", settings={**QUIET, "interval": 30})
        artifact = trackkit.Artifact("data", "dataset")
        with artifact.new_file("f") as file:
            file.write("content")
        run.log_artifact(artifact)
        print("logged", flush=True)
        time.sleep(60)
        """
    )
    script.signal_group(signal.SIGKILL)
    child.wait(20)

    artifact = Api(script.root).artifact("p/data")

    assert artifact.version == "v0"
    assert artifact.logged_by().state == "crashed"


def test_a_server_killed_while_it_takes_and_commits_gets_everything_in_the_end(tmp_path: Path) -> None:
    server = Process(tmp_path / "server")
    port = server.port
    run = start(tmp_path / "here", sink=server.address)
    stop = threading.Event()

    def kill_now_and_then() -> None:
        nonlocal server
        for pause in (0.15, 0.3, 0.6, 1.0):
            time.sleep(pause)
            server.end(signal.SIGKILL)
            server = Process(tmp_path / "server", port)
        stop.set()

    killer = threading.Thread(target=kill_now_and_then)
    killer.start()
    count = 0
    try:
        while not stop.is_set():
            if count < 12:
                log(run, {"large": os.urandom(12 << 20), "n": b"%d" % count})
                count += 1
            time.sleep(0.2)
        killer.join()
        run.finish()
        found = server.ask("/artifacts/versions?project=p&name=data")["versions"]
        assert [one["number"] for one in found] == list(range(count - 1, -1, -1))
        assert all(one["count"] == 2 for one in found)
        assert doctor(tmp_path / "server").healthy
    finally:
        killer.join()
        server.end(signal.SIGKILL)


def test_a_bad_network_damages_no_artifact(tmp_path: Path) -> None:
    with process(tmp_path / "server") as server, proxy(server.port, cut=0.0002, damage=0.0002, delay=0.0005) as bad:
        run = start(tmp_path / "here", sink=bad.address)
        files = {"large": os.urandom(24 << 20), **{f"s{number}": os.urandom(9000) for number in range(50)}}
        log(run, files)
        until(lambda: server.ask("/artifacts")["collections"], 120)
        run.finish()

        assert sum(bad.done.values()) > 0
        found = server.ask("/artifacts/find?reference=p/data:latest")["version"]
        assert found["count"] == 51
        blobs = Blobs(tmp_path / "server")
        manifest = Manifest.decode(blobs.path(found["digest"]).read_bytes())
        assert all(blobs.path(manifest[path].digest).read_bytes() == content for path, content in files.items())


# Blobs that are not what they should be.


def test_a_corrupt_and_a_missing_blob_are_told_and_not_handed_out(tmp_path: Path) -> None:
    run = start(tmp_path / "root")
    log(run, {"bad": b"good content", "gone": b"there"}).wait(10)
    run.finish()
    blobs, artifact = Blobs(tmp_path / "root"), Api(tmp_path / "root").artifact("p/data")
    bad, gone = (blobs.path(artifact.get_entry(path).digest) for path in ("bad", "gone"))
    bad.write_bytes(b"evil content")
    gone.unlink()

    with pytest.raises(BlobDamaged, match="is damaged"):
        artifact.get_entry("bad").download(tmp_path / "x")
    with pytest.raises(FileNotFoundError, match="is missing"):
        artifact.get_entry("gone").download(tmp_path / "x")

    assert list((tmp_path / "x").iterdir()) == []
    texts = [finding.text for finding in doctor(tmp_path / "root").findings]
    assert any("p/data:v0 lacks the content of 1 of its 2 files: 'gone'" in text for text in texts)
    assert any("is damaged" in text for text in texts)


def test_a_damaged_download_is_refused(tmp_path: Path) -> None:
    with serving(tmp_path / "server") as server:
        run = start(tmp_path / "here", sink=server.address)
        log(run, {"f": b"good content"}).wait(10)
        (blob,) = [
            path
            for path in (tmp_path / "server" / "blobs").rglob("*")
            if path.is_file() and b"good" in path.read_bytes()
        ]
        blob.write_bytes(b"evil content")

        with pytest.raises(BlobDamaged):
            run.use_artifact("data").download(tmp_path / "x")
        run.finish()


def test_content_with_a_wrong_checksum_is_not_taken(tmp_path: Path) -> None:
    digest = "0" * 64
    with serving(tmp_path) as server:
        whole = server.ask("PUT", f"/blobs/{digest}", data=b"x", headers={"content-type": "application/octet-stream"})
        part = server.ask("PUT", f"/blobs/{digest}/parts?offset=0&size=1&check=1", data=b"x")
        import zlib

        good = f"/blobs/{digest}/parts?offset=0&size=1&check={zlib.crc32(b'x')}"
        wrong = server.ask("PUT", good, data=b"x")

        assert (whole.status_code, part.status_code, wrong.status_code) == (400, 400, 400)
        assert server.get(f"/blobs/{digest}/parts") == {"offset": 0, "complete": False}
        assert not Blobs(tmp_path).exists(digest)


def test_a_blob_lost_before_the_commit_is_asked_for_again(tmp_path: Path) -> None:
    with serving(tmp_path / "server") as server:
        run = start(tmp_path / "here", sink=server.address)
        first = log(run, {"f": b"same"}).wait(10)
        Blobs(tmp_path / "server").delete(first.get_entry("f").digest)

        log(run, {"f": b"same", "g": b"other"}).wait(10)

        found = server.get("/artifacts/find", reference="p/data:v1")["version"]
        answer = server.ask("GET", f"/artifacts/{found['id']}/content/f")
        assert answer.content == b"same"
        run.finish()


# Hostile names and manifests.


@pytest.mark.parametrize("path", HOSTILE)
def test_hostile_paths_are_refused_when_they_are_added(path: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    artifact = trackkit.Artifact("data", "dataset")

    with pytest.raises(ValueError, match="can't be a path in an artifact"):
        artifact.add_file(tmp_path / "f", name=path)
    with pytest.raises(ValueError, match="can't be a path in an artifact"), artifact.new_file(path):
        pass


@pytest.mark.parametrize("path", [path for path in HOSTILE if path != "\ud800"])
def test_a_hostile_manifest_writes_nothing(path: str, tmp_path: Path) -> None:
    import msgspec

    root = tmp_path / "root"
    run = start(root)
    log(run, {"f": b"x"}).wait(10)
    run.finish()
    digest = Blobs(root).put_bytes(b"evil")
    document = {"version": 1, "entries": {path: {"size": 4, "digest": digest}}}
    hostile = Blobs(root).put_bytes(msgspec.json.encode(document))
    db = SQLiteDatabase(root / "trackkit.db")
    db.execute("update versions set digest = ?", [hostile])
    db.close()

    with pytest.raises(ManifestDamaged):
        Api(root).artifact("p/data").download(tmp_path / "down" / "here")

    assert not any((tmp_path / "down").rglob("*")) if (tmp_path / "down").exists() else True
    assert any("can't be read" in finding.text for finding in doctor(root).findings)


def test_a_server_refuses_a_version_of_a_hostile_manifest(tmp_path: Path) -> None:
    from tests.store.journals import Writer
    from trackkit.core import records

    with serving(tmp_path / "server") as server:
        blobs = Blobs(tmp_path / "server")
        digest = blobs.put_bytes(b"x")
        hostile = blobs.put_bytes(b'{"version":1,"entries":{"../up":{"size":1,"digest":"%s"}}}' % digest.encode())
        writer = Writer(tmp_path / "here").start()
        writer.say(records.Artifact(1e9, "token", "data", "dataset", hostile, 1, 1)).finish().die()

        (sent,) = sync([tmp_path / "here"], to=server.address)

        assert sent.error == ""
        assert server.get("/runs/run/artifacts/token")["state"] == "refused"
        assert server.get("/artifacts")["collections"] == []


def test_a_link_that_waits_in_the_folder_leads_no_download_out_of_it(tmp_path: Path) -> None:
    root = tmp_path / "root"
    run = start(root)
    log(run, {"sub/f": b"x", "top": b"y"}).wait(10)
    run.finish()
    artifact = Api(root).artifact("p/data")
    outside, target = tmp_path / "outside", tmp_path / "target"
    outside.mkdir()
    target.mkdir()
    (outside / "victim").write_text("precious")
    (target / "sub").symlink_to(outside)
    (target / "top").symlink_to(outside / "victim")

    with pytest.raises(ValueError, match="outside of"):
        artifact.download(target)
    artifact.get_entry("top").download(target)

    assert (outside / "victim").read_text() == "precious"
    assert [path.name for path in outside.iterdir()] == ["victim"]
    assert (target / "top").read_text() == "y"
    assert not (target / "top").is_symlink()


@pytest.mark.parametrize(
    "entries",
    [
        {"a": Entry(1, "0" * 64), "a/b": Entry(1, "0" * 64)},
        {"a": Entry(1, "0" * 63)},
        {"a": Entry(1, "../../../etc/passwd")},
        {"a": Entry(1)},
        {"a": Entry(-1, "0" * 64)},
        {"a": Entry(1, "0" * 64, ref="s3://b/k")},
    ],
)
def test_manifests_that_contradict_themselves_are_none(entries: dict[str, Entry]) -> None:
    with pytest.raises(ManifestDamaged):
        Manifest(entries)


def test_every_good_path_survives_the_manifest() -> None:
    paths = ["a", "a b/ü.txt", "x/..y", "...", "~", "-rf", "ab:c", "con", "a\nb"]

    manifest = Manifest({check_path(path): Entry(1, "0" * 64) for path in paths})

    assert set(Manifest.decode(manifest.encode())) == set(paths)


# Files that are not as they seem.


def test_a_loop_of_links_ends_and_everything_is_in_once(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "f").write_text("x")
    (tree / "sub" / "up").symlink_to(tree)
    (tree / "self").symlink_to(tree / "self")
    artifact = trackkit.Artifact("data", "dataset")
    with pytest.raises(OSError, match="leads nowhere"):
        artifact.add_dir(tree)
    (tree / "self").unlink()

    with pytest.warns(RuntimeWarning, match="a link to a folder that it lies in"):
        artifact.add_dir(tree)

    assert [entry.path for entry in artifact.files()] == ["sub/f"]


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(OSError, match="neither a file nor a folder"):
        trackkit.Artifact("data", "dataset").add_dir(tmp_path)


@pytest.mark.parametrize("size", [1000, 30 << 20])
def test_a_file_that_changes_while_it_is_added_is_told(tmp_path: Path, size: int) -> None:
    file = tmp_path / "growing"
    file.write_bytes(b"x" * size)
    stop = threading.Event()

    def grow() -> None:
        with open(file, "ab", buffering=0) as out:
            while not stop.is_set():
                out.write(b"y" * 1000)

    writer = threading.Thread(target=grow)
    writer.start()
    told = 0
    try:
        for _ in range(8):
            try:
                trackkit.Artifact("data", "dataset").add_file(file)
            except FileChanged as error:
                told += "growing changed while" in str(error)
    finally:
        stop.set()
        writer.join()

    assert told > 0
    for digest in Blobs(Path(".trackkit").absolute()).iterate():
        assert Blobs(Path(".trackkit").absolute()).verify(digest)


def test_a_file_that_changes_later_changes_no_version(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("before")
    run = start(tmp_path / "root")
    artifact = trackkit.Artifact("data", "dataset")
    artifact.add_file(file)
    file.write_text("after!")
    run.log_artifact(artifact).wait(10)
    run.finish()

    entry = Api(tmp_path / "root").artifact("p/data").get_entry("f")

    assert Path(entry.download(tmp_path / "x")).read_text() == "before"


def test_a_full_disk_stops_no_training(script: Script) -> None:
    done = script.run(
        """
        import resource, warnings
        run = trackkit.init(project="p", dir=ROOT, id="full", settings=QUIET)
        big = os.path.join(os.path.dirname(ROOT), "big")
        with open(big, "wb") as file:
            file.write(os.urandom(3 << 20))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, resource.RLIM_INFINITY))
        logged = run.log_artifact(big, name="big", type="model")
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        run.log({"loss": 1.0})
        print("trained")
        """
    )

    assert "trained" in done.stdout
    assert "could not be added" in done.stderr
    run = Api(script.root).run("p/full")
    assert run.series("loss").value.tolist() == [1.0]
    assert any("not logged" in alert.title for alert in run.alerts())
    assert Api(script.root).artifacts() == []


# Many at once.


@pytest.mark.parametrize("over_http", [False, True])
def test_processes_that_log_one_name_at_once_make_whole_versions(tmp_path: Path, over_http: bool) -> None:
    body = """
    run = trackkit.init(project="p", dir=ROOT, settings=QUIET, id=sys.argv[1])
    for number in range(5):
        artifact = trackkit.Artifact("data", "dataset")
        with artifact.new_file("common") as file:
            file.write("the same")
        with artifact.new_file("own") as file:
            file.write(f"{sys.argv[1]} {number // 2}")
        run.log_artifact(artifact, aliases=[sys.argv[1]])
    run.finish()
    """
    import sys
    import textwrap

    file = tmp_path / "train.py"
    file.write_text(PRELUDE + textwrap.dedent(body))
    with process(tmp_path / "server") as server:
        extra = {"TRACKKIT_SINK": server.address} if over_http else {}
        store = tmp_path / ("server" if over_http else "root")
        children = [
            subprocess.Popen(
                [sys.executable, str(file), f"r{number}"],
                env={**os.environ, "ROOT": str(tmp_path / "root"), **extra},
                stderr=subprocess.PIPE,
                text=True,
            )
            for number in range(3)
        ]
        for child in children:
            assert child.wait(60) == 0, child.stderr.read() if child.stderr else ""
            assert child.stderr is not None
            child.stderr.close()

        api = Api(store)
        versions = api.artifacts(name="data")
        assert sorted(int(one.version[1:]) for one in versions) == list(range(len(versions)))
        assert 9 <= len(versions) <= 15
        for number in range(3):
            content = Path(api.artifact(f"p/data:r{number}").get_entry("own").download(tmp_path / f"x{number}"))
            assert content.read_text() == f"r{number} 2"
        assert sum("latest" in one.aliases for one in versions) == 1
        assert doctor(store).healthy


# Object stores, and what is collected.


@pytest.fixture
def objects() -> Iterator[ObjectStore]:
    with object_store() as found:
        yield found


def test_an_object_store_that_answers_503_for_a_while_is_asked_again(objects: ObjectStore, tmp_path: Path) -> None:
    with serving(tmp_path / "server", blobs=objects.uri) as server:
        run = start(tmp_path / "here", sink=server.address)
        objects.failing = 40
        logged = log(run, {"large": os.urandom(20 << 20), **{f"s{n}": b"%d" % n for n in range(20)}})
        logged.wait(60)
        objects.failing = 10
        entry = run.use_artifact("data").get_entry("s7")

        assert Path(entry.download(tmp_path / "x")).read_bytes() == b"7"
        assert objects.refused >= 40
        run.finish()


def test_an_object_store_that_is_away_holds_up_no_metric_and_loses_nothing(
    objects: ObjectStore, tmp_path: Path
) -> None:
    with serving(tmp_path / "server", blobs=objects.uri) as server:
        objects.failing = 10**9
        run = start(tmp_path / "here", sink=server.address)
        log(run, {"f": b"x"})
        run.log({"loss": 1.0})
        until(lambda: server.ask("GET", "/runs/r").status_code == 200)
        until(lambda: server.get("/runs/r")["run"]["keys"]["metric"])
        assert server.get("/artifacts")["collections"] == []
        objects.failing = 0
        run.finish()

        assert server.get("/artifacts/find", reference="p/data:latest")["version"]["number"] == 0


def age(root: Path) -> None:
    """Make all blobs old enough to be collected."""
    long_ago = time.time() - 2 * collection.GRACE_SECONDS
    for digest in Blobs(root).iterate():
        os.utime(Blobs(root).path(digest), (long_ago, long_ago))


def test_nothing_in_use_is_collected_and_the_rest_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trackkit.core.staging.pin", lambda root, digests: None)  # as if by a process that ended
    root = tmp_path / "root"
    run = start(root)
    log(run, {"kept": b"kept", "both": b"both"}).wait(10)
    log(run, {"gone": b"gone", "both": b"both"}).wait(10)
    run.finish()
    Api(root).artifact("p/data:v1").delete()
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    run = start(root, "later")
    gathered = trackkit.Artifact("later", "dataset")
    with gathered.new_file("staged") as file:
        file.write("for hours")
    age(root)

    told = gc(root, dry_run=True)
    freed = gc(root)

    assert (told.blobs, freed.blobs) == (2, 2)  # the file and the manifest
    run.log_artifact(gathered).wait(10)
    run.finish()
    for name in ("p/data:v0", "p/later:v0"):
        Api(root).artifact(name).download(tmp_path / name)
    assert doctor(root).healthy


def test_collecting_while_artifacts_are_committed_breaks_none(tmp_path: Path) -> None:
    """Blobs that a deleted version left are collected in the moment in which a new version wants them again."""
    with serving(tmp_path / "server") as server:
        store = tmp_path / "server"
        run = start(tmp_path / "here", sink=server.address)
        stop = threading.Event()
        errors: list[Exception] = []

        def collect() -> None:
            while not stop.is_set():
                try:
                    age(store)
                    gc(store)
                except Exception as error:
                    errors.append(error)

        log(run, {"f0": b"0"}).wait(10)
        collector = threading.Thread(target=collect)
        collector.start()
        try:
            for number in range(20):
                logged = log(run, {f"f{number % 3}": b"%d" % (number % 3), "n": b"%d" % (number % 2)}).wait(60)
                if number % 2:
                    server.ask("DELETE", f"/artifacts/{logged.id}")
        finally:
            stop.set()
            collector.join()
        run.finish()

        assert [error for error in errors if not isinstance(error, Busy)] == []
        assert [one.text for one in doctor(store).findings if "nothing refers to" not in one.text] == []


def test_an_upload_that_finds_its_blobs_collected_sends_them_again(tmp_path: Path) -> None:
    with serving(tmp_path / "server") as server:
        run = start(tmp_path / "here", sink=server.address)
        first = log(run, {"f": b"wanted again"}).wait(10)
        server.ask("DELETE", f"/artifacts/{first.id}")
        age(tmp_path / "server")
        assert gc(tmp_path / "server").blobs == 2

        log(run, {"f": b"wanted again"}, aliases=["back"]).wait(10)

        assert run.use_artifact("data:back").version == "v1"
        run.finish()
        assert doctor(tmp_path / "server").healthy


# Budgets.


@pytest.mark.parametrize(
    ("rule", "left"),
    [
        ("keep last 2", ["v1", "v3", "v4"]),  # v1 has an alias of its own
        ("keep best 1 by score", ["v1", "v2", "v4"]),
        ("keep best 1 by -score", ["v0", "v1", "v4"]),
        ("keep aliased", ["v1", "v3", "v4"]),
    ],
)
def test_a_budget_lets_go_what_its_rule_says_before_it_is_exceeded(tmp_path: Path, rule: str, left: list[str]) -> None:
    root = tmp_path / "root"
    run = start(root)
    run.log({"x": 1})
    log(run, {"f": b""}, name="other").wait(10)
    Api(root).set_budget("p", 3500, rule)
    for number, score in enumerate([1, 2, 9, 3, 4]):
        artifact = trackkit.Artifact("data", "dataset", metadata={"score": score})
        with artifact.new_file("f", "wb") as file:
            file.write(bytes([number]) * 1000)
        run.log_artifact(artifact, aliases=["mine"] if number == 1 else []).wait(10)
    run.finish()

    api = Api(root)
    versions = sorted(one.version for one in api.artifacts(name="data"))

    assert versions == left
    assert api.budgets()[0].used <= 3500


def test_a_version_over_the_budget_is_refused_and_the_run_goes_on(tmp_path: Path) -> None:
    from trackkit.core.artifact import ArtifactRefused

    root = tmp_path / "root"
    run = start(root)
    log(run, {"f": b"x" * 1000}, aliases=["kept"]).wait(10)
    Api(root).set_budget("p", 1500, "keep last 1")

    with pytest.raises(ArtifactRefused, match="budget of 1,500 bytes"):
        log(run, {"f": b"y" * 1000}).wait(10)
    run.log({"loss": 1.0})
    run.finish()

    assert [one.version for one in Api(root).artifacts()] == ["v0"]
    assert Api(root).run("p/r").series("loss").value.tolist() == [1.0]


def test_a_run_logs_no_more_than_its_setting_allows(tmp_path: Path) -> None:
    run = trackkit.init(id="r", project="p", dir=tmp_path / "root", settings={**QUIET, "max_bytes": 1500})
    log(run, {"f": b"x" * 1000}).wait(10)

    with pytest.warns(RuntimeWarning, match="over the run's budget"):
        log(run, {"f": b"y" * 1000})
    run.finish()

    assert [one.version for one in Api(tmp_path / "root").artifacts()] == ["v0"]


def test_a_protected_alias_is_moved_by_no_run(tmp_path: Path) -> None:
    root = tmp_path / "root"
    run = start(root)
    log(run, {"f": b"1"}, aliases=["production"]).wait(10)
    Api(root).protect_alias(Api(root).artifact("p/data:v0"), "production")
    log(run, {"f": b"2"}, aliases=["production"]).wait(10)
    run.finish()

    api = Api(root)

    assert api.artifact("p/data:production").version == "v0"
    assert api.artifact("p/data:latest").version == "v1"
    assert any("protected" in alert.text for alert in api.run("p/r").alerts())


def test_a_version_whose_time_is_over_is_collected(tmp_path: Path) -> None:
    import datetime

    root = tmp_path / "root"
    run = start(root)
    artifact = trackkit.Artifact("data", "dataset")
    with artifact.new_file("f") as file:
        file.write("x")
    artifact.ttl = datetime.timedelta(seconds=0.2)
    run.log_artifact(artifact).wait(10)
    log(run, {"f": b"stays"}).wait(10)
    run.finish()
    time.sleep(0.3)
    age(root)

    freed = gc(root)

    assert (freed.versions, freed.blobs) == (1, 1)  # the manifest; what this process staged is spared while it lives
    assert [one.version for one in Api(root).artifacts()] == ["v1"]


def test_submissions_that_wait_are_found_and_committed_by_doctor(tmp_path: Path) -> None:
    root = tmp_path / "root"
    run = start(root)
    logged = log(run, {"f": b"x"}).wait(10)
    run.finish()
    db = SQLiteDatabase(root / "trackkit.db")
    with db.atomic():
        db.execute("update submissions set state = 'pending', version = null")
        db.execute("delete from versions")
        db.execute("delete from aliases")
    assert len(submissions.waiting(db)) == 1
    db.close()

    report = doctor(root, repair=True)

    assert report.healthy
    assert any("is no version yet" in finding.text for finding in report.findings)
    assert Api(root).artifact("p/data").digest == logged.digest
