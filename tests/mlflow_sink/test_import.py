"""Stores that mlflow made itself, taken over and compared field by field with what MLflow's client tells of them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import trackkit
from tests.mlflow_sink import mlflow_server
from tests.mlflow_sink.mlflow_server import Reader, Server, environment
from tests.servers import serving
from trackkit.imports.mlflow import Moved, import_mlflow
from trackkit.imports.mlflow.exporting import export_mlflow
from trackkit.imports.mlflow.translation import typed

Take = Callable[..., list[Moved]]


class Store:
    """A store that mlflow made, and how to name it to `trackkit import`."""

    def __init__(self, uri: str, tracking: str, artifacts: Path | None = None) -> None:
        self.uri = uri
        self.tracking = tracking
        self.artifacts = artifacts
        self.told = self.run("dump")

    def run(self, what: str) -> Any:
        """What a function of `mlflow_stores.py` gives."""
        return stores(what, self.tracking)


def stores(what: str, tracking: str) -> Any:
    script = Path(__file__).with_name("mlflow_stores.py")
    done = subprocess.run(
        [mlflow_server.python(), str(script), what, tracking],
        env=environment(MLFLOW_ALLOW_FILE_STORE="true"), capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _file_store_is_made(folder: Path) -> bool:
    """Whether this MLflow still makes file stores."""
    stores("make", str(folder))
    return folder.is_dir()


@pytest.fixture(scope="module")
def made_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with mlflow_server.server(tmp_path_factory.mktemp("made")) as started:
        stores("make", started.address)
        yield started


@pytest.fixture(scope="module")
def made_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files") / "mlruns"
    if not _file_store_is_made(folder):
        pytest.skip("this MLflow makes no file stores any more; the oldest one's session has this test")
    return folder


@pytest.fixture(params=["server", "database", "folder"])
def store(request: pytest.FixtureRequest, made_server: Server, tmp_path: Path) -> Store:
    match request.param:
        case "server":
            return Store(made_server.address, made_server.address)
        case "database":
            return Store(
                f"sqlite:///{made_server.folder / 'mlflow.db'}", made_server.address, made_server.folder / "artifacts"
            )
        case _:
            folder = request.getfixturevalue("made_folder")
            return Store(str(folder), str(folder))


def take(store: Store, here: Path, **more: Any) -> list[Moved]:
    return import_mlflow(store.uri, root=here, artifacts=store.artifacts, **more)


def check(store: Store, api: trackkit.Api) -> None:
    """Compare all that MLflow tells with what is here."""
    for id, told in store.told["runs"].items():
        run = api.run(id)
        experiment = store.told["experiments"][told["experiment"]]
        assert run.project == experiment["name"].replace("/", "-")
        assert run.name == (told["name"] or told["tags"].get("mlflow.runName", id))
        states = {"FINISHED": "finished", "FAILED": "failed", "KILLED": "killed", "RUNNING": "running"}
        assert run.state == states[told["status"]]
        assert round(run.created.timestamp() * 1000) == told["start"]
        assert (None if run.ended is None else round(run.ended.timestamp() * 1000)) == told["end"]
        assert ("deleted" in run.tags) == told["deleted"]
        assert run.notes == told["tags"].get("mlflow.note.content", "")
        assert run.group == told["tags"].get("mlflow.parentRunId", "")
        config = trackkit.backend.store.entries.flatten(run.config)
        assert {key: config[key] for key in told["params"]} == {
            key: typed(value) for key, value in told["params"].items()
        }
        noted = run.metadata["mlflow"]
        assert noted["tags"] == told["tags"]
        assert noted["experiment_tags"].items() >= experiment["tags"].items()
        assert noted["experiment_deleted"] == experiment["deleted"]
        assert [{key: one[key] for key in ("name", "digest", "source")} for one in noted["inputs"]] == told["inputs"]
        assert sorted(run.keys()) == sorted(told["history"])
        for key, history in told["history"].items():
            series = run.series(key)
            mine = sorted(
                [round(when * 1000), step, str(value)]
                for step, when, value in zip(*(part.tolist() for part in series), strict=True)
            )
            assert mine == history
        for path, content in told["files"].items():
            kept = run.file(path).read()
            assert kept.hex()[:400] + f" {len(kept)}" == content
    for name, told in store.told["models"].items():
        versions = {
            each.metadata["mlflow"]["version"]: each
            for each in api.artifacts("model", "registry")
            if each.collection == name
        }
        assert sorted(versions) == sorted(told["versions"])
        for number, one in told["versions"].items():
            mine = versions[number]
            noted = mine.metadata["mlflow"]
            assert (noted["run_id"], noted["stage"], noted["tags"]) == (one["run"], one["stage"], one["tags"])
            assert mine.description == one["description"]
            assert noted["model"] == {"description": told["description"], "tags": told["tags"]}
            assert f"version-{number}" in mine.aliases
            assert set(mine.aliases) >= {alias for alias, of in told["aliases"].items() if int(of) == number}
            assert ("production" in mine.aliases) == (one["stage"] == "Production")
            assert mine.logged_by().id == one["run"]
            assert "weights.bin" in {entry.path for entry in mine.files()}


@pytest.fixture(autouse=True)
def _numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON has no numbers for keys."""
    plain = Store.run

    def run(self: Store, what: str) -> Any:
        told = plain(self, what)
        for model in (told or {}).get("models", {}).values():
            model["versions"] = {int(number): one for number, one in model["versions"].items()}
        return told

    monkeypatch.setattr(Store, "run", run)


def test_all_of_a_store_comes_over_once(store: Store, tmp_path: Path) -> None:
    here = tmp_path / "here"

    first = take(store, here)
    again = take(store, here)

    assert [problem for each in first for problem in each.problems] == []
    assert len(first) == len(store.told["runs"])
    assert all(each.new == each.records > 0 for each in first)
    assert [(each.records, each.new) for each in again] == [(each.records, 0) for each in first]
    check(store, trackkit.Api(here))


def test_an_import_that_is_killed_goes_on_where_it_stopped(store: Store, tmp_path: Path) -> None:
    here = tmp_path / "here"
    script = tmp_path / "take.py"
    script.write_text(
        "import os, signal, sys\n"
        "from trackkit.imports.mlflow import import_mlflow\n"
        "from trackkit.imports import delivery\n"
        "delivery.BATCH_RECORDS = 20\n"
        "left, write = int(sys.argv[1]), None\n"
        "from trackkit.sinks.sqlite import SQLiteSink\n"
        "write = SQLiteSink.write\n"
        "def counted(self, batch):\n"
        "    global left\n"
        "    left -= 1\n"
        "    if left < 0:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return write(self, batch)\n"
        "SQLiteSink.write = counted\n"
        "import_mlflow(sys.argv[2], root=sys.argv[3], artifacts=sys.argv[4] or None)\n"
    )
    killed = 0
    for limit in (1, 3, 4, 5, 7, 9, 30, 1000):
        arguments = [str(limit), store.uri, str(here), str(store.artifacts or "")]
        done = subprocess.run([sys.executable, str(script), *arguments], capture_output=True, text=True, timeout=100)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        killed += done.returncode != 0
        if not done.returncode:
            break

    assert killed >= 3
    assert sum(each.new for each in take(store, here)) == 0
    check(store, trackkit.Api(here))


def test_a_store_comes_over_to_a_server(store: Store, tmp_path: Path) -> None:
    with serving(tmp_path / "server") as server:
        for new in (True, False):
            moved = take(store, tmp_path / "client", to=server.address)
            assert all(bool(each.new) == new for each in moved)
        check(store, trackkit.Api(server.address))


def test_a_run_that_has_grown_brings_what_is_new(tmp_path: Path) -> None:
    with mlflow_server.server(tmp_path / "grows") as server:
        stores("make", server.address)
        store = Store(server.address, server.address)
        take(store, tmp_path / "here")
        store.run("grow")
        store.told = store.run("dump")

        moved = take(store, tmp_path / "here")

        changed = [each for each in moved if each.new]
        assert len(changed) == 1
        assert changed[0].problems == []
        check(store, trackkit.Api(tmp_path / "here"))


def test_models_of_mlflow_3_are_versions_of_artifacts(tmp_path: Path, read: Reader) -> None:
    if int(read("version").split(".")[0]) < 3:
        pytest.skip("MLflow 2 has no logged models")
    with mlflow_server.server(tmp_path / "models") as server:
        run, model = read("log_model", server.address)
        for name, uri in (("rest", server.address), ("db", f"sqlite:///{server.folder / 'mlflow.db'}")):
            here = tmp_path / name
            import_mlflow(uri, root=here, artifacts=server.folder / "artifacts")
            api = trackkit.Api(here)
            (found,) = [each for each in api.run(run).logged_artifacts() if each.project != "registry"]
            assert (found.collection, found.type) == ("mine", "model")
            assert model in found.aliases
            assert "MLmodel" in {entry.path for entry in found.files()}
            registered = api.artifact("registry/known:version-1")
            assert "MLmodel" in {entry.path for entry in registered.files()}


def test_the_command_takes_over_and_says_what_it_left(made_server: Server, folder: Path) -> None:
    command = [sys.executable, "-m", "trackkit", "import", "mlflow"]
    done = subprocess.run([*command, made_server.address], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert "digits-first/" in done.stdout
    assert "plain" in done.stdout

    alone = f"sqlite:///{made_server.folder / 'mlflow.db'}"
    done = subprocess.run([*command, alone, "-d", "other", "--json"], capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    assert "name its --artifacts-destination with --artifacts" in done.stdout

    for wrong, message in (
        ("postgresql://h/db", "start `mlflow server` on it"),
        ("nowhere", "there is no nowhere"),
        (f"{made_server.address}/elsewhere", "has nothing under"),
    ):
        done = subprocess.run([*command, wrong], capture_output=True, text=True, timeout=100)
        assert done.returncode == 1
        assert message in done.stderr
        assert "Traceback" not in done.stderr
    done = subprocess.run([*command, made_server.address, "-e", "none"], capture_output=True, text=True, timeout=100)
    assert "has no experiment 'none'" in done.stderr


def test_a_folder_that_was_moved_is_read_where_it_is(made_folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "mlruns"
    shutil.copytree(made_folder, moved)
    hidden = made_folder.with_name("hidden")
    told = Store(str(moved), str(made_folder)).told
    made_folder.rename(hidden)
    try:
        found = import_mlflow(moved, root=tmp_path / "here")
    finally:
        hidden.rename(made_folder)

    assert [problem for each in found for problem in each.problems] == []
    store = Store.__new__(Store)
    store.told = told
    check(store, trackkit.Api(tmp_path / "here"))


def test_runs_are_exported_as_if_they_had_been_sent_while_they_ran(
    mlflow: Server, read: Reader, folder: Path, project: str, settings: dict[str, Any]
) -> None:
    (folder / "model.bin").write_bytes(os.urandom(1000))
    run = trackkit.init(
        project=project, name="n", dir=folder / "store", config={"lr": 0.1}, tags=["t"],
        settings={**settings, "system": True, "console": "wrap"},
    )  # fmt: skip
    for step in range(100):
        run.log({"x": float(step), "note": f"n{step}"} if step % 2 else {"x": float(step)})
    print("hello")
    run.summary["best"] = 1.5
    run.save("model.bin")
    artifact = trackkit.Artifact("m", type="model")
    artifact.add_file("model.bin")
    run.log_artifact(artifact)
    run.finish()
    api = trackkit.Api(folder / "store")

    ((_, first),) = export_mlflow([api.run(run.id)], mlflow.sink)
    ((_, again),) = export_mlflow([api.run(run.id)], mlflow.sink)
    command = [sys.executable, "-m", "trackkit", "export", "mlflow", mlflow.sink, run.id, "-d", "store"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)

    assert (first.new, again.new) == (first.records, 0)
    assert done.returncode == 0, done.stderr
    assert "0 of them new" in done.stdout
    (found,) = read("runs", mlflow.address, project)
    assert [point[::2] for point in found["history"]["x"]] == [[step, float(step)] for step in range(100)]
    assert (found["name"], found["status"], found["params"]) == ("n", "FINISHED", {"lr": "0.1"})
    assert found["metrics"]["summary/best"] == 1.5
    assert found["files"]["model.bin"] == 1000
    assert any(path.endswith("files/model.bin") for path in found["files"])
    assert "hello" in read("text", mlflow.address, found["id"], "console/stdout.log")
    texts = read("text", mlflow.address, found["id"], "texts.jsonl").splitlines()
    assert [json.loads(line)["text"] for line in texts] == [f"n{step}" for step in range(1, 100, 2)]
    assert time.time() - found["end_time"] / 1000 < 300
