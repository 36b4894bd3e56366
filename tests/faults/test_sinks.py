"""Sinks that fail, hang or lie beside one that works: each keeps its own pace, and nothing is lost."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from tests.faults.conftest import Script
from trackkit import Api

SINKS = '''
import pathlib, time
from trackkit.sinks.sqlite import SQLiteSink

class Broken:
    """Fails in a way of its own."""
    local = False
    def __init__(self, uri, root):
        self.how = uri.partition(":")[2]
        if self.how == "import":
            raise RuntimeError("no such service")
    def open(self, run, writer):
        if self.how == "open":
            raise ConnectionError("nobody is there")
        return 0
    def write(self, batch):
        if self.how == "hang":
            time.sleep(3600)
        if self.how == "write":
            raise OSError("the line is cut")
        if self.how == "lie":
            return 0
        raise AssertionError(self.how)
    def sync(self): ...
    def close(self):
        raise RuntimeError("can't even close")

class Flaky(SQLiteSink):
    """Writes, forgets that it did, and fails on every second call."""
    local = False
    calls = 0
    def __init__(self, uri, root):
        super().__init__("sqlite:///" + str(root / "flaky.db"), root)
    def write(self, batch):
        done = super().write(batch)
        Flaky.calls += 1
        if Flaky.calls % 2:
            raise ConnectionError("the answer got lost")
        return done
'''


@pytest.fixture
def sinks(script: Script) -> str:
    """A folder for PYTHONPATH with a distribution that registers the sinks above."""
    folder = script.folder / "site"
    information = folder / "badsinks-1.0.dist-info"
    information.mkdir(parents=True)
    (folder / "badsinks.py").write_text(SINKS)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: badsinks\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        textwrap.dedent(
            """
            [trackkit.sinks]
            broken = badsinks:Broken
            flaky = badsinks:Flaky
            """
        )
    )
    return str(folder)


@pytest.mark.parametrize("how", ["import", "open", "write", "hang", "lie"])
def test_a_failing_sink_holds_back_no_other_and_loses_nothing(script: Script, sinks: str, how: str) -> None:
    done = script.run(
        f"""
        run = trackkit.init(
            project="p", dir=ROOT, id="both", sink=["sqlite:", "broken:{how}"],
            settings={{**QUIET, "finish_timeout": 2}},
        )
        slowest = 0.0
        for step in range(1000):
            began = time.perf_counter()
            run.log({{"loss": float(step)}})
            slowest = max(slowest, time.perf_counter() - began)
            time.sleep(0.001)
        print("slowest", slowest, flush=True)
        began = time.perf_counter()
        run.finish()
        print("finish", time.perf_counter() - began, flush=True)
        """,
        PYTHONPATH=sinks,
    )

    assert done.returncode == 0, done.stderr
    run = Api(script.root).run("p/both")
    assert run.state == "finished"
    assert run.series("loss").value.tolist() == [float(step) for step in range(1000)]
    assert float(done.stdout.split()[1]) < 0.5, "a call waited for the sink"
    assert float(done.stdout.split()[3]) < 10
    assert "trackkit sync" in done.stderr, "it says that something is not delivered, and how to send it"
    assert list(script.root.glob("journals/both/*/*.journal")), "what one sink lacks stays in the journal"


def test_what_a_sink_took_without_saying_so_is_there_once(script: Script, sinks: str) -> None:
    done = script.run(
        """
        run = trackkit.init(project="p", dir=ROOT, id="flaky", sink=["sqlite:", "flaky:"], settings=QUIET)
        for step in range(2000):
            run.log({"loss": float(step)})
            time.sleep(0.0005)
        """,
        PYTHONPATH=sinks,
    )

    assert done.returncode == 0, done.stderr
    for store in (script.root, script.root / "flaky.db"):
        run = Api(store).run("p/flaky")
        assert run.state == "finished"
        assert run.series("loss").value.tolist() == [float(step) for step in range(2000)]
    assert not list(script.root.glob("journals/*/*"))


def test_a_database_that_is_no_database_costs_nothing_but_itself(script: Script, tmp_path: Path) -> None:
    script.root.mkdir()
    (script.root / "trackkit.db").write_bytes(b"this is no database" * 1000)

    done = script.run(
        """
        run = trackkit.init(project="p", dir=ROOT, id="kept", settings={**QUIET, "finish_timeout": 3})
        for step in range(100):
            run.log({"loss": float(step)})
        """
    )
    (script.root / "trackkit.db").unlink()
    (script.root / "trackkit.db").with_suffix(".db-wal").unlink(missing_ok=True)
    Script.run(script, 'trackkit.init(project="p", dir=ROOT, id="next", settings=QUIET).finish()')

    assert done.returncode == 0
    assert "safe in the journal" in done.stderr
    run = Api(script.root).run("p/kept")
    assert run.state == "finished"
    assert run.series("loss").value.tolist() == [float(step) for step in range(100)]
