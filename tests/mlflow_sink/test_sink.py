"""What a run comes to at a real MLflow server, read back with MLflow's own client, field by field."""

from __future__ import annotations

import json
import math
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trackkit
from tests.conftest import RunScript
from tests.mlflow_sink.mlflow_server import Reader, Server
from tests.servers import until
from tests.store.journals import Writer
from trackkit.core import records
from trackkit.core.session import Run
from trackkit.core.sink import SinkRefused, find_factory
from trackkit.sync import sync

LARGEST = 1.7976931348623157e308


def start(mlflow: Server, folder: Path, project: str, settings: dict[str, Any], **more: Any) -> Run:
    return trackkit.init(project=project, sink=mlflow.sink, dir=folder / "store", settings=settings, **more)


def only(read: Reader, mlflow: Server, project: str) -> Any:
    """The only run of a project that is no group's."""
    found = [
        run for run in read("runs", mlflow.address, project) if not run["tags"]["trackkit.id"].startswith("group:")
    ]
    assert len(found) == 1
    return found[0]


def test_a_run_is_there_with_all_it_said(
    mlflow: Server, read: Reader, folder: Path, project: str, settings: dict[str, Any]
) -> None:
    config = {"lr": 0.1, "model": {"depth": 3, "sizes": [8, 4]}, "flag": True, "none": None}
    run = start(mlflow, folder, project, settings, name="first", config=config, tags=["base line"], notes="**bold**")
    for step in range(5):
        run.log({"loss": 1 / (step + 1), "val/acc": step}, step=10 * step)
    run.log({"prompt": "how are you?"})
    run.summary["best"] = 0.5
    run.alert("look", "here")
    run.finish()

    found = only(read, mlflow, project)

    assert (found["name"], found["status"]) == ("first", "FINISHED")
    assert found["params"] == {
        "lr": "0.1", "model.depth": "3", "model.sizes": "[8,4]", "flag": "True", "none": "None"
    }  # fmt: skip
    assert found["tags"]["trackkit.id"] == run.id
    assert found["tags"]["mlflow.note.content"] == "**bold**"
    assert found["tags"]["base line"] == "true"
    assert json.loads(found["tags"]["trackkit.tags"]) == ["base line"]
    assert [point[::2] for point in found["history"]["loss"]] == [[10 * step, 1 / (step + 1)] for step in range(5)]
    assert [point[::2] for point in found["history"]["val/acc"]] == [[10 * step, float(step)] for step in range(5)]
    assert found["metrics"]["summary/best"] == 0.5
    assert json.loads(found["tags"]["trackkit.summary.best"]) == 0.5
    assert found["start_time"] <= found["history"]["loss"][0][1] <= found["end_time"]
    text = json.loads(read("text", mlflow.address, found["id"], "texts.jsonl"))
    assert (text["key"], text["text"]) == ("prompt", "how are you?")
    assert json.loads(read("text", mlflow.address, found["id"], "alerts.jsonl"))["title"] == "look"
    assert json.loads(read("text", mlflow.address, found["id"], "trackkit/config.json")) == config
    assert not list((folder / "store").glob("journals/*/*"))


def test_every_number_arrives_as_mlflow_has_it(
    mlflow: Server, read: Reader, folder: Path, project: str, settings: dict[str, Any]
) -> None:
    values = [0.1 + 0.2, -0.0, 1e-320, 5e307, math.nan, math.inf, -math.inf, 2.0**53 + 2]
    run = start(mlflow, folder, project, settings)
    for step, value in enumerate(values):
        run.log({"x": value}, step=step)
    run.log({"far": 1.0}, step=2**62)
    run.log({"far": 2.0}, step=-(2**62))
    run.finish()

    found = only(read, mlflow, project)

    kept = [value for _, _, value in sorted(found["history"]["x"])]
    for sent, came in zip(values, kept, strict=True):
        expected = math.copysign(LARGEST, sent) if math.isinf(sent) else sent
        assert came == expected or (math.isnan(came) and math.isnan(sent)) or (sent == 1e-320 and came == 0)
    assert sorted(point[0] for point in found["history"]["far"]) == [-(2**62), 2**62]


def test_a_long_series_with_many_keys_keeps_its_order(
    mlflow: Server, read: Reader, folder: Path, project: str, settings: dict[str, Any]
) -> None:
    run = start(mlflow, folder, project, settings)
    for step in range(40):
        run.log({f"key {number}": float(step * 100 + number) for number in range(100)})
    run.log({f"wide {number}": float(number) for number in range(2500)})
    run.finish()

    found = only(read, mlflow, project)

    for number in range(100):
        points = found["history"][f"key {number}"]
        assert [point[2] for point in points] == [float(step * 100 + number) for step in range(40)]
    assert all(found["metrics"][f"wide {number}"] == number for number in range(2500))


def test_keys_that_the_server_would_not_have_get_names_that_tell_them_apart(
    mlflow: Server, read: Reader, folder: Path, project: str, settings: dict[str, Any]
) -> None:
    keys = ["acc@1", "acc_1", "größe", "損失", "a//b", "../up", "x" * 300, "lr [0]", "./a", "%", "a:b"]
    run = start(mlflow, folder, project, settings, config={key: key for key in keys})
    for number, key in enumerate(keys):
        run.log({key: float(number)})
    run.finish()

    found = only(read, mlflow, project)

    named = {key.removeprefix("trackkit.key."): value for key, value in found["tags"].items() if "trackkit.key." in key}
    assert {named.get(name, name): value for name, value in found["metrics"].items()} == {
        key: float(number) for number, key in enumerate(keys)
    }
    assert found["metrics"]["größe"] == 2.0
    assert sorted(found["params"].values()) == sorted(keys)


def test_a_config_beyond_the_limits_is_whole_in_a_file(
    mlflow: Server, read: Reader, folder: Path, project: str, settings: dict[str, Any]
) -> None:
    config = {f"p{number}": number for number in range(350)} | {"long": "ü" * 20_000, "empty": ""}
    run = start(mlflow, folder, project, settings, config=config)
    run.finish()

    found = only(read, mlflow, project)

    assert len(found["params"]) == 352
    assert all(found["params"][f"p{number}"] == str(number) for number in range(350))
    assert found["params"]["long"].startswith("üü")
    assert found["params"]["long"].endswith("…")
    assert json.loads(found["tags"]["trackkit.truncated_params"]) == ["long"]
    assert json.loads(read("text", mlflow.address, found["id"], "trackkit/config.json")) == config


def test_a_config_that_changes_keeps_its_params_and_tells_the_change(
    mlflow: Server, read: Reader, folder: Path, project: str, settings: dict[str, Any]
) -> None:
    run = start(mlflow, folder, project, settings, config={"lr": 0.1, "model": {"depth": 3, "width": 8}})
    run.log({"x": 1.0})
    until(lambda: read("runs", mlflow.address, project))
    run.config.lr = 0.2
    run.config["model"] = {"depth": 4}
    run.config.update({"new": 1})
    run.log({"x": 2.0})
    run.finish()

    found = only(read, mlflow, project)

    assert found["params"] == {"lr": "0.1", "model.depth": "3", "model.width": "8", "new": "1"}
    assert found["tags"]["trackkit.config.lr"] == "0.2"
    assert found["tags"]["trackkit.config.model.depth"] == "4"
    assert found["tags"]["trackkit.config.model.width"] == "(removed)"
    assert [point[2] for point in found["history"]["x"]] == [1.0, 2.0]
    stored = json.loads(read("text", mlflow.address, found["id"], "trackkit/config.json"))
    assert stored == {"lr": 0.2, "model": {"depth": 4}, "new": 1}


def test_files_media_and_artifacts_are_there_byte_for_byte(
    mlflow: Server, read: Reader, folder: Path, project: str, settings: dict[str, Any]
) -> None:
    (folder / "notes with ü.txt").write_text("grüße")
    (folder / "empty.bin").write_bytes(b"")
    (folder / "large.bin").write_bytes(os.urandom(3_000_000))
    run = start(mlflow, folder, project, settings)
    run.save("notes with ü.txt")
    run.save("empty.bin")
    run.log({"picture": trackkit.Image(np.zeros((20, 30, 3), np.uint8), caption="black")})
    artifact = trackkit.Artifact("digits", type="dataset", metadata={"rows": 3})
    artifact.add_file(str(folder / "large.bin"))
    run.log_artifact(artifact, aliases=["best"])
    run.finish()

    found = only(read, mlflow, project)

    files = found["files"]
    assert files["notes with ü.txt"] == 7
    assert files["empty.bin"] == 0
    place = next(path.removesuffix("/artifact.json") for path in files if path.endswith("/artifact.json"))
    assert files[f"{place}/files/large.bin"] == 3_000_000
    facts = json.loads(read("text", mlflow.address, found["id"], f"{place}/artifact.json"))
    assert (facts["name"], facts["type"], facts["aliases"]) == ("digits", "dataset", ["best"])
    media = json.loads(read("text", mlflow.address, found["id"], "media.jsonl"))
    assert (media["key"], media["kind"]) == ("picture", "image")
    assert files[media["path"]] > 0
    assert (folder / "notes with ü.txt").read_text() == read("text", mlflow.address, found["id"], "notes with ü.txt")


def test_what_a_run_captures_is_there_under_mlflow_s_names(
    mlflow: Server, read: Reader, folder: Path, project: str, run_script: RunScript
) -> None:
    done = run_script(
        f"""
        import subprocess, sys, time, trackkit
        subprocess.run("git init -q . && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m x && "
                       "git remote add origin https://example.org/x.git", shell=True, check=True)
        run = trackkit.init(project={project!r}, sink={mlflow.sink!r}, settings={{"system_interval": 0.2}})
        print("to stdout"); print("to stderr", file=sys.stderr)
        for step in range(10):
            run.log({{"x": step}}); time.sleep(0.1)
        run.finish(timeout=60)
        """
    )
    assert done.returncode == 0, done.stderr

    found = only(read, mlflow, project)

    assert found["tags"]["mlflow.source.name"].endswith("script.py")
    assert found["tags"]["mlflow.source.type"] == "LOCAL"
    assert found["tags"]["mlflow.source.git.repoURL"] == "https://example.org/x.git"
    assert len(found["tags"]["mlflow.source.git.commit"]) == 40
    assert found["tags"]["mlflow.user"]
    assert 0 <= found["metrics"]["system/cpu_utilization_percentage"] <= 100
    assert found["metrics"]["system/system_memory_usage_megabytes"] > 10
    assert "to stdout" in read("text", mlflow.address, found["id"], "console/stdout.log")
    assert "to stderr" in read("text", mlflow.address, found["id"], "console/stderr.log")
    assert "script.py" in found["files"] or "code/script.py" in found["files"]
    assert "script.py" in read("text", mlflow.address, found["id"], "diff.patch")
    assert json.loads(read("text", mlflow.address, found["id"], "trackkit/provenance.json"))["python"]


@pytest.mark.parametrize(("ending", "status"), [("finished", "FINISHED"), ("failed", "FAILED"), ("killed", "KILLED")])
def test_the_status_says_how_the_run_ended(
    mlflow: Server, read: Reader, folder: Path, project: str, ending: str, status: str
) -> None:
    writer = Writer(folder / "store", f"{project}-{ending}", "w").start(project=project).log({"x": 1.0})
    writer.finish(ending, error="boom" if ending == "failed" else "").die()

    sync([folder / "store"], mlflow.sink)

    found = only(read, mlflow, project)
    assert found["status"] == status
    assert found["tags"].get("trackkit.error", "") == ("boom" if ending == "failed" else "")


def test_a_writer_that_died_leaves_a_failed_run(mlflow: Server, read: Reader, folder: Path, project: str) -> None:
    Writer(folder / "store", f"{project}-c", "w").start(project=project).log({"x": 1.0}).die()

    sync([folder / "store"], mlflow.sink)

    assert only(read, mlflow, project)["status"] == "FAILED"


def test_a_run_is_resumed_by_its_id_elsewhere_too(
    mlflow: Server, read: Reader, folder: Path, project: str, settings: dict[str, Any]
) -> None:
    run = start(mlflow, folder, project, settings, config={"model": {"depth": 3}}, name="first", notes="a note")
    run.log({"x": 1.0}, step=4)
    run.finish()
    again = start(mlflow, folder / "elsewhere", project, settings, id=run.id, resume="must")
    assert again.config.model.depth == 3
    assert again.name == "first"
    during = only(read, mlflow, project)
    again.log({"x": 2.0})
    again.finish()

    found = only(read, mlflow, project)

    assert during["id"] == found["id"]
    assert found["status"] == "FINISHED"
    assert [point[::2] for point in found["history"]["x"]] == [[4, 1.0], [5, 2.0]]
    assert found["tags"]["mlflow.note.content"] == "a note"


def test_a_run_that_mlflow_made_goes_on_under_its_id(
    mlflow: Server, read: Reader, folder: Path, project: str, settings: dict[str, Any]
) -> None:
    id = read("train", mlflow.address, project)
    run = start(mlflow, folder, project, settings, id=id, resume="must")
    assert run.config.lr == "0.1"
    run.log({"loss": 0.1})
    run.finish()

    (found,) = read("runs", mlflow.address, project)
    assert found["id"] == id
    assert [point[0] for point in found["history"]["loss"]] == [0, 1, 2, 3]
    assert found["status"] == "FINISHED"


def test_runs_of_a_group_are_nested(
    mlflow: Server, read: Reader, folder: Path, project: str, settings: dict[str, Any]
) -> None:
    parent = start(mlflow, folder, project, settings, name="search")
    parent.log({"x": 0.0})
    until(lambda: read("runs", mlflow.address, project))
    for number in range(2):
        child = start(mlflow, folder, project, settings, group=parent.id, name=f"c{number}", reinit="create_new")
        child.finish()
    parent.finish()
    for number in range(2):
        start(mlflow, folder, project, settings, group="grid", name=f"g{number}").finish()

    found = {run["name"]: run for run in read("runs", mlflow.address, project)}

    assert len(found) == 6
    for number in range(2):
        assert found[f"c{number}"]["tags"]["mlflow.parentRunId"] == found["search"]["id"]
        assert found[f"g{number}"]["tags"]["mlflow.parentRunId"] == found["grid"]["id"]
    assert {run["status"] for run in found.values()} == {"FINISHED"}


def test_processes_that_begin_at_once_make_one_run(mlflow: Server, read: Reader, folder: Path, project: str) -> None:
    writers = []
    for number in range(6):
        writer = Writer(folder / "store", f"{project}-s", f"w{number}").start(project=project, label=f"rank {number}")
        for step in range(50):
            writer.log({f"x{number}": float(step)})
        writers.append(writer.say(records.Lines(1.0, "stdout", f"rank {number} here\n")).finish().die())

    def send(number: int) -> None:
        sink = find_factory(mlflow.sink)(mlflow.sink, folder / "store")
        sink.open(f"{project}-s", f"w{number}")
        for batch in writers[number].batches(10, 20):
            until(lambda batch=batch: _written(sink, batch, number))  # type: ignore[misc]
        until(lambda: not sink.files_waiting)  # type: ignore[attr-defined]
        sink.close()

    def _written(sink: Any, batch: Any, number: int) -> bool:
        try:
            return bool(sink.write(batch))
        except trackkit.core.sink.SinkError:
            sink.open(f"{project}-s", f"w{number}")
            return False

    threads = [threading.Thread(target=send, args=[number]) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    found = only(read, mlflow, project)
    for number in range(6):
        assert [point[2] for point in found["history"][f"x{number}"]] == list(map(float, range(50)))
    assert found["status"] == "FINISHED"
    consoles = sorted(path for path in found["files"] if path.endswith("stdout.log"))
    assert len(consoles) == 6
    assert sum(path == "console/stdout.log" for path in consoles) == 1


def test_what_an_offline_run_left_is_sent_later_and_once(
    mlflow: Server, read: Reader, folder: Path, project: str, settings: dict[str, Any]
) -> None:
    run = trackkit.init(project=project, dir=folder / "store", mode="offline", settings=settings)
    for step in range(100):
        run.log({"x": float(step)})
    run.finish()

    for _ in range(2):
        (sent,) = sync([folder / "store"], mlflow.sink)
        assert sent.error == ""

    assert [point[2] for point in only(read, mlflow, project)["history"]["x"]] == list(map(float, range(100)))


def test_a_deleted_run_or_experiment_refuses_what_comes_next(
    mlflow: Server, read: Reader, folder: Path, project: str, settings: dict[str, Any]
) -> None:
    start(mlflow, folder, project, settings, id=f"{project}-gone").finish()
    read("delete_run", mlflow.address, only(read, mlflow, project)["id"])
    sink = find_factory(mlflow.sink)(mlflow.sink, folder / "store")
    with pytest.raises(SinkRefused, match=r"is deleted at .*; restore it there"):
        sink.open(f"{project}-gone", "w")

    read("delete_experiment", mlflow.address, project)
    writer = Writer(folder / "other", f"{project}-late", "w").start(project=project)
    sink.open(f"{project}-late", "w")
    with pytest.raises(SinkRefused, match=r"the experiment .* is deleted"):
        sink.write(writer.batch())
    sink.close()


def test_the_run_is_renamed_and_relabelled(mlflow: Server, read: Reader, folder: Path, project: str) -> None:
    writer = Writer(folder / "store", f"{project}-d", "w").start(project=project, tags=["a", "b"])
    writer.say(records.Describe(2e9, name="renamed", notes="n", tags=["b", "c"], group="g")).finish().die()

    sync([folder / "store"], mlflow.sink)

    found = next(run for run in read("runs", mlflow.address, project) if run["name"] == "renamed")
    assert json.loads(found["tags"]["trackkit.tags"]) == ["b", "c"]
    assert "a" not in found["tags"]
    assert found["tags"]["c"] == "true"
    assert (found["tags"]["mlflow.note.content"], found["tags"]["trackkit.group"]) == ("n", "g")


def test_mlflow_s_variable_names_the_server(
    mlflow: Server, read: Reader, folder: Path, project: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow.address)
    run = trackkit.init(project=project, sink="mlflow", dir=folder / "store", settings=settings)
    run.log({"x": 1.0})
    run.finish()

    assert only(read, mlflow, project)["metrics"] == {"x": 1.0}
