"""The disk fills up, refuses, or was never there: training goes on, and says so once."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import Script
from trackkit import Api


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    as_root("mount", "-t", "tmpfs", "-o", "size=6m,mode=0777", "tmpfs", str(place))
    yield place
    as_root("umount", "-l", str(place))


def as_root(*command: str) -> None:
    subprocess.run([*([] if os.geteuid() == 0 else ["sudo", "-n"]), *command], check=True)


def remount(place: Path, option: str) -> None:
    as_root("mount", "-o", f"remount,{option}", str(place))


def test_training_goes_on_with_a_full_disk_and_what_was_logged_before_is_intact(
    script: Script, small_disk: Path
) -> None:
    script.root = small_disk / "store"

    done = script.run(
        """
        run = trackkit.init(project="p", dir=ROOT, id="full", settings={**QUIET, "finish_timeout": 3, "memory_mb": 8})
        for step in range(100):
            run.log({"early": float(step)})
        time.sleep(2)
        for step in range(200_000):
            run.log({"noise": step * 1.1, "text": "x" * 50} if step % 2 else {"noise": step * 1.7})
        print("trained", flush=True)
        """,
        timeout=120,
    )

    run = Api(script.root).run("p/full")
    assert "trained" in done.stdout
    assert done.returncode == 0
    assert done.stderr.count("the journal can't be written") == 1
    assert run.series("early").value.tolist() == [float(step) for step in range(100)]


def test_records_kept_in_memory_arrive_once_there_is_room_again(script: Script, small_disk: Path) -> None:
    script.root = small_disk / "store"
    (small_disk / "ballast").write_bytes(b"")

    done = script.run(
        """
        run = trackkit.init(project="p", dir=ROOT, id="again", settings={**QUIET, "write_back_interval": 0.2})
        time.sleep(1)
        ballast = os.path.join(os.path.dirname(ROOT), "ballast")
        with open(ballast, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
        for step in range(30_000):
            run.log({"loss": float(step)})
        os.unlink(ballast)
        time.sleep(2)
        """,
        timeout=120,
    )

    run = Api(script.root).run("p/again")
    assert done.returncode == 0
    assert run.state == "finished"
    assert run.series("loss").value.tolist() == [float(step) for step in range(30_000)]


@pytest.mark.parametrize("kind", ["a file", "below a file"])
def test_a_folder_that_cannot_be_made_stops_no_training(script: Script, kind: str) -> None:
    (script.folder / "taken").write_text("")
    script.root = script.folder / "taken" / ("" if kind == "a file" else "store")

    done = script.run(
        """
        run = trackkit.init(project="p", dir=ROOT, settings=QUIET)
        for step in range(100):
            run.log({"loss": float(step)})
        print("trained", flush=True)
        """
    )

    assert "trained" in done.stdout
    assert done.returncode == 0
    assert done.stderr.count("the journal can't be written") == 1
    assert "could be kept nowhere" in done.stderr


def test_a_folder_without_permission_stops_no_training(script: Script) -> None:
    script.root.mkdir()
    script.root.chmod(0o555)
    as_anyone = ["setpriv", "--bounding-set=-dac_override"] if os.geteuid() == 0 else []  # root writes anywhere

    done = script.run(
        """
        try:
            open(os.path.join(ROOT, "probe"), "w")
            raise SystemExit("the folder is writable: the test would show nothing")
        except PermissionError:
            pass
        run = trackkit.init(project="p", dir=ROOT, settings=QUIET)
        for step in range(100):
            run.log({"loss": float(step)})
        print("trained", flush=True)
        """,
        under=as_anyone,
    )

    assert "trained" in done.stdout
    assert done.returncode == 0
    assert done.stderr.count("the journal can't be written") == 1


def test_a_read_only_file_system_stops_no_training(script: Script, small_disk: Path) -> None:
    script.root = small_disk / "store"
    script.run('trackkit.init(project="p", dir=ROOT, id="before", settings=QUIET).log({"loss": 1.0})')
    remount(small_disk, "ro")

    done = script.run(
        """
        run = trackkit.init(project="p", dir=ROOT, id="after", settings=QUIET)
        run.log({"loss": 2.0})
        print("trained", flush=True)
        """
    )

    assert "trained" in done.stdout
    assert done.returncode == 0
    assert done.stderr.count("the journal can't be written") == 1
    assert Api(script.root).run("p/before").series("loss").value.tolist() == [1.0]


def test_a_path_that_does_not_exist_is_made(script: Script) -> None:
    script.root = script.folder / "not" / "yet" / "there"

    script.run('trackkit.init(project="p", dir=ROOT, settings=QUIET).log({"loss": 1.0})')

    (run,) = Api(script.root).runs()
    assert run.series("loss").value.tolist() == [1.0]
