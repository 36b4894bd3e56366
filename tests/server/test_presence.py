"""Writers that die are found out, those that are merely quiet are not, and none is wronged for long."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.servers import Serving, until
from tests.store.journals import Writer
from trackkit.backend.server.presence import Presence
from trackkit.sinks.http import HTTPSink


def state(server: Serving) -> str:
    return str(server.get("/runs/r")["run"]["state"])


def test_a_writer_on_another_machine_that_falls_silent_has_crashed(server: Serving, tmp_path: Path) -> None:
    writer = Writer(tmp_path / "there", "r", "w").start().log({"x": 1})
    sink = HTTPSink(server.address, tmp_path / "there")
    sink.open("r", "w")
    sink.write(writer.batch())
    patient, impatient = Presence(server.services.storage, 60), Presence(server.services.storage, 0.05)
    time.sleep(0.1)

    assert patient.look() == []
    assert state(server) == "running"

    assert impatient.look() == ["r"]
    assert state(server) == "crashed"

    sink.write(writer.log({"x": 2}).batch())
    sink.close()

    assert state(server) == "running"


def test_a_writer_whose_clock_is_ahead_is_found_out_too(server: Serving, tmp_path: Path) -> None:
    writer = Writer(tmp_path / "there", "r", "w").start(time=time.time() + 3600)
    sink = HTTPSink(server.address, tmp_path / "there")
    sink.open("r", "w")
    sink.write(writer.batch())
    sink.close()
    impatient = Presence(server.services.storage, 0.05)
    time.sleep(0.1)

    assert impatient.look() == ["r"]

    assert state(server) == "crashed"


def test_a_server_that_was_away_listens_before_it_judges(server: Serving, tmp_path: Path) -> None:
    writer = Writer(tmp_path / "there", "r", "w").start()
    sink = HTTPSink(server.address, tmp_path / "there")
    sink.open("r", "w")
    sink.write(writer.batch())
    sink.close()
    with server.services.storage.changing() as db:
        db.execute("update writers set seen = seen - 3600000000")

    assert Presence(server.services.storage, 60).look() == []
    assert state(server) == "running"


@pytest.mark.sqlite
def test_what_a_dead_script_on_this_machine_left_is_brought_in(server: Serving, root: Path) -> None:
    Writer(root, "r", "w", sinks=["sqlite:"]).start().log({"x": 1}).die()

    Presence(server.services.storage).look()  # unless the server's own is at it

    until(lambda: server.ask("GET", "/runs/r").status_code == 200)
    until(lambda: state(server) == "crashed")
    assert server.get("/runs/r")["run"]["keys"]["metric"][0]["last"] == 1
