"""Runs read from a server are those of its folder: to the last bit, by the token's rights, or with a clear error."""

from __future__ import annotations

import contextlib
import json
import math
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import trackkit
from tests.faults.proxies import proxy
from tests.servers import Serving, process, serving
from tests.store.conftest import EPOCH, Filler
from tests.store.test_gradients import Watching
from tests.store.test_gradients import frame as watched_frame
from trackkit.backend.store import passage, plugin, runs, series
from trackkit.backend.store.sqlite import SQLiteDatabase
from trackkit.cli import main
from trackkit.core import credentials
from trackkit.query import Api, FilterError, RunNotFound, remote

ODD = [math.nan, math.inf, -math.inf, -0.0, 0.0, 5e-324, 1.7976931348623157e308, 0.1 + 0.2]
STEPS = [-(2**63), -1, 0, 2**53 + 1, 2**53 + 2, 2**62, 2**63 - 2, 2**63 - 1]
SETTINGS = {"quiet": True, "system": False, "console": "off", "git": False, "packages": False, "code": False}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def server(root: Path) -> Iterator[Serving]:
    with serving(root) as found:
        yield found


@pytest.fixture
def db(root: Path) -> Iterator[SQLiteDatabase]:
    database = SQLiteDatabase(root / "trackkit.db")
    database.migrate()
    plugin.prepare_connection(database.connection)
    yield database
    database.close()


@pytest.fixture
def fill(db: SQLiteDatabase) -> Filler:
    return Filler(db)


def assert_same(found: Any, expected: Any) -> None:
    """Every column has the same type, and the same bits."""
    for name in ("step", "time", "value"):
        left, right = getattr(found, name), getattr(expected, name)
        assert left.dtype == right.dtype
        assert left.tobytes() == right.tobytes() if left.dtype != object else left.tolist() == right.tolist()


def test_numbers_and_steps_come_to_the_last_bit(server: Serving, root: Path, fill: Filler) -> None:
    run = fill.run("r")
    fill.series(run, "odd", ODD, steps=STEPS, per_chunk=len(ODD))

    found, expected = Api(server.address).run("r").series("odd"), Api(root).run("r").series("odd")

    assert_same(found, expected)
    assert found.value.tobytes() == np.array(ODD).tobytes()
    assert found.step.tolist() == STEPS
    found.value[0] = 1.0


def test_the_points_of_several_writers_come_in_the_same_order(server: Serving, root: Path, fill: Filler) -> None:
    run, many = fill.run("r"), 5 * 4096 + 100
    random = np.random.default_rng(0)
    for writer in ("w", "v", "u"):
        times = (EPOCH + np.sort(random.integers(0, 1000, many))).tolist()  # most times are shared
        steps = random.integers(0, 50, many).tolist()
        fill.series(run, "loss", random.random(many).tolist(), steps=steps, times=times, writer=writer)
    fill.db.insert_many("rewinds", ["run", "writer", "seq", "time", "step"], [(run, "w", 0, EPOCH + 500, 10)])
    here, there = Api(root).run("r"), Api(server.address).run("r")

    assert_same(there.series("loss"), here.series("loss"))
    assert_same(there.series("loss", superseded=True), here.series("loss", superseded=True))
    assert len(there.series("loss").step) < len(there.series("loss", superseded=True).step) == 3 * many
    assert list(there.scan_history(page_size=10)) == list(here.scan_history(page_size=10))
    for format in ("pandas", "polars", "arrow"):
        left, right = (run.history(samples=None, format=format) for run in (there, here))
        assert left.equals(right)


def test_a_long_series_is_sent_a_page_at_a_time(server: Serving, fill: Filler, monkeypatch: pytest.MonkeyPatch) -> None:
    run, many = fill.run("r"), 3 * passage.CHUNKS * 4096 + 77
    fill.series(run, "loss", np.arange(many, dtype=float))
    pages = []
    page = passage.page

    def counted(*arguments: Any) -> Any:
        found = page(*arguments)
        pages.append(len(found[0].steps))
        return found

    monkeypatch.setattr(passage, "page", counted)

    series = Api(server.address).run("r").series("loss")

    assert np.array_equal(series.value, np.arange(many))
    assert pages == [passage.CHUNKS * 4096] * 3 + [77]


def test_points_sealed_between_two_pages_come_once(db: SQLiteDatabase, fill: Filler, monkeypatch: Any) -> None:
    monkeypatch.setattr(passage, "ROWS", 1000)
    run = fill.run("r")
    number = fill.series(run, "loss", np.arange(3000.0), per_chunk=4096)
    first, start = passage.page(db, run, number, 0, series.LOWEST, series.HIGHEST)

    steps, times = np.arange(3000), EPOCH + 1000 * np.arange(3000)
    fill.chunk(run, number, 0, steps.tolist(), times.tolist(), steps.astype(float).tolist())
    db.execute("delete from points where run = ?", [run])
    assert start is not None
    rest, end = passage.page(db, run, number, start, series.LOWEST, series.HIGHEST)

    assert (len(first.steps), end) == (1000, None)
    assert [*first.values, *rest.values] == list(range(3000))


def test_texts_of_many_pages_come_in_time_order(server: Serving, root: Path, fill: Filler, monkeypatch: Any) -> None:
    monkeypatch.setattr(passage, "TEXTS", 7)
    monkeypatch.setattr(remote, "LINES", 7)
    run = fill.run("r")
    for writer in ("v", "w"):
        if writer == "v":
            fill.writer(run, "v")
        fill.texts(run, "note", [f"{writer}{number}" for number in range(30)], writer=writer)
        fill.lines(run, [("stdout", f"{writer}{number}\n") for number in range(30)], writer=writer)
    here, there = Api(root).run("r"), Api(server.address).run("r")

    assert_same(there.texts("note"), here.texts("note"))
    assert (there.console(), there.console(raw=True)) == (here.console(), here.console(raw=True))
    assert there.console(stream="stderr") == here.console(stream="stderr") == ""


def test_config_and_summary_are_exact_and_so_are_edits(server: Serving, root: Path, fill: Filler) -> None:
    values = {
        "nan": math.nan,
        "inf": -math.inf,
        "zero": 0.5,
        "big": 2**200,
        "deep": [math.nan, {"a": [2**70]}],
        "e": {},
    }
    fill.run("r", config=values, summary={"none": None, "one": 1, "true": True, "float": 1.0})
    there = Api(server.address).run("r")

    assert repr(there.config) == repr(Api(root).run("r").config) == repr(dict(sorted(values.items())))
    there.config.update(added=values)
    there.config.pop("zero")
    there.summary.update(values)
    del there.summary["one"]
    there.update(notes="ä\U0001f600", tags=["x", "y"])

    here = Api(root).run("r")
    assert repr(here.config) == repr(there.config)
    assert repr(dict(here.summary)) == repr(dict(there.summary))
    assert "zero" not in here.config
    assert "one" not in here.summary
    assert repr(here.config["added"]["deep"]) == repr(values["deep"])
    assert (here.notes, here.tags) == ("ä\U0001f600", ["x", "y"])
    assert here.created == there.created


def test_a_filter_means_the_same_on_a_server(server: Serving, root: Path, fill: Filler) -> None:
    for number in range(4):
        fill.run(f"r{number}", config={"x": [0.5, math.inf, math.nan, "a \"b\" 'c'"][number]}, project=f"p{number % 2}")
    asked: list[Any] = [
        "config.x = inf",
        "config.x is nan",
        {"config.x": "a \"b\" 'c'"},
        "not (config.x > 0)",
        "duration < 7d",
    ]

    for filters in asked:
        here, there = ([run.id for run in Api(place).runs(filters=filters)] for place in (root, server.address))
        assert here == there
    assert [run.id for run in Api(server.address).runs("p1", order=["-config.x", "name"])] == ["r1", "r3"]
    with pytest.raises(FilterError, match="column 9"):
        Api(server.address).runs(filters="state = finished")


def test_media_and_tables_are_read_as_they_were_logged(server: Serving, root: Path, tmp_path: Path) -> None:
    with trackkit.init(project="p", id="m", dir=root, settings=SETTINGS) as run:
        for step in range(3):
            noise = np.random.default_rng(step).integers(0, 255, (64, 64, 3), np.uint8)
            mask = {"mask_data": np.ones((64, 64), np.uint8)}
            picture = trackkit.Image(noise, caption=f"c{step}", masks={"m": mask})
            table = trackkit.Table(columns=["a", "b"], data=[[step, trackkit.Image(noise)]])
            run.log({"i": picture, "h": np.arange(9.0), "t": table})
    here, there = Api(root).run("m"), Api(server.address).run("m")

    assert there.media_keys() == here.media_keys() == {"h": "histogram", "i": "image", "t": "table"}
    assert [item.read() for item in there.media("i")] == [item.read() for item in here.media("i")]
    assert [item.caption for item in there.media("i")] == ["c0", "c1", "c2"]
    assert there.media("i")[0].part("mask:m") == here.media("i")[0].part("mask:m")
    assert there.media("i")[1].image().size == (64, 64)
    assert there.media("h")[0].histogram()[0].sum() == 9
    assert there.table("t", step=1).arrow() == here.table("t", step=1).arrow()
    assert repr(there.table("t")) == repr(here.table("t"))
    cell = there.table("t").arrow()["b"][0].as_py()
    assert there.table("t").content(cell) == here.table("t").content(cell)
    assert [file.path for file in there.files()] == [file.path for file in here.files()]
    assert there.files()[0].download(tmp_path / "copy").read_bytes() == here.files()[0].read()
    assert there.accounting == here.accounting
    with pytest.raises(KeyError, match="no media under 'x'; there is"):
        there.media("x")


def test_what_a_run_watched_is_the_same_from_a_server(server: Serving, root: Path, fill: Filler) -> None:
    watching = Watching(fill, root)
    before, after = watching.layers("0.weight", "0.bias"), watching.layers("0.weight", "1.weight", "0.bias")
    for step in range(120):
        watching.step(step, before, watched_frame([3.0, 4.0], [2.0**-step, 0.0]))
    for step in range(120, 230, 2):
        watching.step(step, after, watched_frame([step], [0.5], [-1.0, float("nan")]), blob=True)

    found, expected = Api(server.address).run("a").watched(), Api(root).run("a").watched()

    assert found.layers == expected.layers == ["0.weight", "0.bias", "1.weight"]
    assert (found.kinds, found.shapes, found.sizes) == (expected.kinds, expected.shapes, expected.sizes)
    assert found.step.tolist() == expected.step.tolist() == [*range(120), *range(120, 230, 2)]
    assert found.time.tolist() == expected.time.tolist()
    for statistic in found.keys():
        np.testing.assert_array_equal(found[statistic], expected[statistic])
    for layer in found.layers:
        np.testing.assert_array_equal(found.histogram(layer).edges, expected.histogram(layer).edges)
        np.testing.assert_array_equal(found.histogram(layer).shares, expected.histogram(layer).shares)


def test_a_run_deleted_on_a_server_can_be_brought_back(server: Serving, fill: Filler) -> None:
    number = fill.run("r")
    api = Api(server.address)
    run = api.run("r")

    run.delete()
    run.delete()

    assert len(api.runs()) == 0
    with pytest.raises(RunNotFound, match="there is no run 'r'"):
        api.run("r")
    with pytest.raises(RunNotFound, match="no longer in the store"):
        run.update(name="ghost")
    with pytest.raises(RunNotFound, match="no longer in the store"):
        run.reload()
    with server.services.storage.changing() as db:
        runs.restore(db, [number])
    assert api.run("r").name == "r"


def test_a_token_sees_its_projects_and_may_what_its_scope_says(root: Path, fill: Filler, monkeypatch: Any) -> None:
    for project in ("ours", "theirs"):
        fill.series(fill.run(project, project=project), "loss", [1.0])
    with serving(root, auth=True) as server:
        with pytest.raises(PermissionError, match=r"asks for a token: run 'trackkit login URL'.*401"):
            Api(server.address)
        monkeypatch.setenv("TRACKKIT_TOKEN", "wrong")
        with pytest.raises(PermissionError, match="this token is wrong"):
            Api(server.address)
        monkeypatch.delenv("TRACKKIT_TOKEN")

        credentials.keep(server.address, server.token(scope="read", projects=["ours"]))
        api = Api(server.address)

        assert [project.name for project in api.projects()] == ["ours"]
        assert [run.id for run in api.runs()] == ["ours"]
        assert len(api.runs("theirs")) == 0
        with pytest.raises(RunNotFound):
            api.run("theirs")
        with pytest.raises(PermissionError, match="a token with the scope 'write'"):
            api.run("ours").update(name="x")
        ours = api.run("ours")
        ours._row.id = "theirs"
        for ask in (lambda: ours.series("loss"), ours.alerts, ours.files, lambda: list(ours.scan_history())):
            with pytest.raises(RunNotFound, match=r"there is no run 'theirs' \(404"):
                ask()
        monkeypatch.setenv("TRACKKIT_TOKEN", server.token(projects=["ours"]))
        api = Api(server.address)
        api.run("ours").update(name="x")
        ours = api.run("ours")
        assert ours.name == "x"
        ours._row.id, ours.name = "theirs", "stolen"
        with pytest.raises(RunNotFound):
            ours.update()
        with server.services.storage.reading() as db:
            assert {row.name for row in runs.load(db, runs.numbers(db))} == {"x", "theirs"}


def test_a_server_that_goes_away_is_a_clear_error(root: Path, fill: Filler, monkeypatch: Any) -> None:
    run = fill.run("r")
    fill.series(run, "loss", np.arange(20_000.0))
    with process(root) as server:
        found = Api(server.address).run("r")
        rows = found.scan_history(page_size=100)
        seen = [next(rows) for _ in range(10)]
        server.end(signal.SIGKILL)

        with pytest.raises(ConnectionError, match=rf"can't be read: {server.address}: Connection refused"):
            list(rows)
        with pytest.raises(ConnectionError, match="Connection refused"):
            found.series("loss")
    assert [row["loss"] for row in seen] == list(range(10))


def test_an_answer_that_breaks_off_is_a_clear_error_and_no_shorter_series(
    server: Serving, fill: Filler, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill.series(fill.run("r"), "loss", np.random.default_rng(0).random(100_000))
    run = Api(server.address).run("r")
    page = passage.page

    def fails(*arguments: Any) -> Any:
        if arguments[3] > 50_000:
            raise OSError("the disk is gone")
        return page(*arguments)

    monkeypatch.setattr(passage, "CHUNKS", 2)
    with monkeypatch.context() as patched:
        patched.setattr(passage, "page", fails)
        with pytest.raises(ConnectionError, match="the answer broke off"):
            run.series("loss")
    assert len(run.series("loss").step) == 100_000


def test_a_network_that_cuts_connections_gives_an_error_or_the_whole_series(server: Serving, fill: Filler) -> None:
    fill.series(fill.run("r"), "loss", np.random.default_rng(0).random(100_000))
    with proxy(int(server.address.rpartition(":")[2]), cut=0.0) as between:
        run = Api(between.address).run("r")
        for share in (0.001, 0.01, 0.1):
            between.mischief["cut"] = share
            for _ in range(5):
                with contextlib.suppress(ConnectionError):
                    assert len(run.series("loss").step) == 100_000
        assert between.done["cut"] > 5


def test_what_is_no_trackkit_server_is_said_to_be_none() -> None:
    class Other(BaseHTTPRequestHandler):
        status = 200

        def do_GET(self) -> None:
            self.send_response(self.status)
            self.end_headers()
            self.wfile.write(b"<html>hello</html>")

        def log_message(self, *arguments: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Other) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        try:
            for status in (200, 404, 500):
                Other.status = status
                with pytest.raises(ConnectionError, match="not as a trackkit server"):
                    Api(f"http://127.0.0.1:{other.server_port}")
        finally:
            other.shutdown()
            thread.join()


def test_the_server_sends_little_endian_frames_that_anybody_can_read(server: Serving, fill: Filler) -> None:
    import msgspec

    fill.series(fill.run("r"), "loss", [1.5, -0.0], steps=[3, 4], per_chunk=2)

    answer = server.ask("GET", "/runs/r/points", params={"key": "loss"}, headers={"accept-encoding": "identity"})

    assert answer.headers["content-type"] == "application/vnd.trackkit.points"
    length = int.from_bytes(answer.content[:4], "little")
    key, steps, times, values = msgspec.msgpack.decode(answer.content[4 : 4 + length])
    assert (key, np.frombuffer(steps, "<i8").tolist()) == ("loss", [3, 4])
    assert np.frombuffer(times, "<i8").tolist() == [EPOCH, EPOCH + 1000]
    assert values == np.array([1.5, -0.0], "<f8").tobytes()
    assert answer.content[4 + length :] == b"\0\0\0\0" + (2**63 - 1).to_bytes(8, "little")


def test_commands_read_a_server_as_a_folder(server: Serving, root: Path, fill: Filler, folder: Path) -> None:
    fill.series(fill.run("r", config={"lr": 0.1}), "loss", [3.0, 1.0])

    def ask(place: str, *arguments: str) -> str:
        result = CliRunner().invoke(main, [*arguments, "--dir", place])
        assert result.exit_code == 0, result.output
        return result.stdout + "".join(file.read_text() for file in sorted(folder.glob("export/*")))

    assert [run["id"] for run in json.loads(ask(server.address, "ls", "--json"))] == ["r"]
    for command in (["ls", "--json"], ["show", "r"], ["show", "r", "--json"], ["export", "r", "--format", "csv"]):
        assert ask(server.address, *command) == ask(str(root), *command)
    refused = CliRunner().invoke(main, ["ls", "--dir", "http://127.0.0.1:1"])
    assert refused.exit_code == 1
    assert "the trackkit server can't be read: http://127.0.0.1:1: Connection refused" in refused.output
