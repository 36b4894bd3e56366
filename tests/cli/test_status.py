"""`trackkit status`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import trackkit


def test_status_of_a_store_at_rest_has_runs_and_sizes(ask):
    status = ask("status")
    assert status["runs"] == 4
    assert status["running"] == []
    assert status["database_size"] > 0


def test_status_shows_a_run_that_is_running_with_its_journal(ask, make_run, start_run, tmp_path: Path):
    make_run("done")
    start_run("live").log({"loss": 1.0})
    status = ask("status", root=tmp_path)
    assert [(journal["run"], journal["alive"]) for journal in status["journals"]] == [("live", True)]


def test_status_counts_the_records_of_an_offline_run_that_nobody_has(ask, call, start_run, tmp_path: Path):
    with start_run("away", mode="offline") as run:
        for step in range(100):
            run.log({"loss": step})
    (journal,) = ask("status", root=tmp_path)["journals"]
    assert not journal["alive"]
    assert journal["unsent"] >= 100
    assert "offline" in call("status", root=tmp_path).stdout


def test_status_and_doctor_tell_of_media_left_staged(ask, call, tmp_path: Path):
    root = tmp_path / "killed"
    code = f"""
import os, numpy, trackkit
from trackkit.core.media import recorder
recorder.MediaRecorder._run = lambda self: None  # the thread that would encode never comes to it
run = trackkit.init(id="killed", project="p", dir={str(root)!r}, settings={{"system": False, "console": "off"}})
run.log({{"image": trackkit.Image(numpy.zeros((8, 8, 3), "uint8"))}})
run.log({{"image": trackkit.Image(numpy.ones((8, 8, 3), "uint8"))}})
os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 9

    (staged,) = ask("status", root=root)["staged"]
    shown = call("status", root=root)
    told = call("doctor", root=root)

    assert (staged["run"], staged["alive"], staged["values"]) == ("killed", False, 2)
    assert staged["size"] > 2 * 8 * 8 * 3
    assert "media to be encoded" in shown.stdout
    assert told.exit_code == 1
    assert "run killed has 2 media values" in " ".join(told.stdout.split())
    assert call("doctor", "--repair", root=root).exit_code == 0
    assert ask("status", root=root)["staged"] == []


def test_status_tells_of_artifacts_that_are_no_versions_yet(ask, call, tmp_path: Path):
    root = tmp_path / "waiting"
    settings = {"system": False, "console": "off"}
    with trackkit.init(id="part", project="p", dir=root, settings=settings, reinit="create_new") as run:
        part = trackkit.Artifact("features", "dataset")
        with part.new_file("a") as file:
            file.write("1")
        run.finish_artifact(part, distributed_id="d", parts=2)

    assert ask("status", root=root)["waiting"] == [{"run": "part", "project": "p", "name": "features"}]
    assert "p/features" in call("status", root=root).stdout
