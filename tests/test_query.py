"""Stores are opened, and runs found, read, edited and deleted, through `Api`."""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

import trackkit
from tests.servers import free_port, serving
from tests.store.conftest import EPOCH, Filler
from tests.store.test_gradients import Watching
from tests.store.test_gradients import frame as watched_frame
from trackkit.backend.store import plugin
from trackkit.backend.store.sqlite import SQLiteDatabase
from trackkit.query import Api, FilterError, RunNotFound, SchemaTooNew


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "runs"


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


@pytest.fixture(params=["folder", "server"])
def place(request: pytest.FixtureRequest, root: Path, db: SQLiteDatabase) -> Iterator[str]:
    """What `Api` is to open: the store's folder, or a server on it."""
    if request.param == "folder":
        yield str(root)
        return
    with serving(root) as server:
        yield server.address


@pytest.fixture
def trained(fill: Filler) -> int:
    """A finished run with some of everything."""
    run = fill.run(
        "abc",
        project="digits",
        name="first try",
        ended=EPOCH + 61_000_000,
        created=EPOCH,
        exit_code=0,
        metadata='{"git": {"branch": "main"}}',
        config={"model": {"depth": 3}, "lr": 0.1},
        summary={"acc": 0.9, "val.loss": 0.2, "val.acc": 0.8},
        tags=["a"],
    )
    fill.series(run, "loss", [3.0, 2.0, 1.0], steps=[0, 1, 2])
    fill.series(run, "epoch", [0.0, 1.0], steps=[0, 2])
    fill.series(run, "cpu", [50.0], kind="system")
    fill.texts(run, "note", ["hi", "ho"])
    fill.lines(run, [("stderr", "\r1%"), ("stderr", "\r2%\n")])
    fill.object(run, "train.py", kind="code", size=5, inline=b"print")
    alert = (run, "w", 0, EPOCH, "warning", "slow", "very")
    fill.db.insert_many("alerts", ["run", "writer", "seq", "time", "level", "title", "text"], [alert])
    return run


def test_a_store_opens_by_folder_file_or_uri(root, trained, monkeypatch):
    monkeypatch.setenv("TRACKKIT_DIR", str(root))

    for uri in (root, str(root), root / "trackkit.db", f"sqlite:///{root}/trackkit.db", f"sqlite:///{root}", None):
        assert Api(uri).run("abc").name == "first try"


def test_a_place_without_a_store_is_reported(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no trackkit store at .*nowhere"):
        Api(tmp_path / "nowhere")
    with pytest.raises(ConnectionError, match=r"can't be read: http://127\.0\.0\.1:\d+: Connection refused"):
        Api(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(ValueError, match="is no address of a server"):
        Api("http://:/")
    with pytest.raises(ValueError, match="can't be read"):
        Api("ftp://example.org")
    assert not (tmp_path / "nowhere").exists()


def test_a_store_of_a_newer_version_is_refused(root, db):
    db.execute("insert into _sqlite_migrations (migration_set, name, applied_at) values ('trackkit', '9999 x', '')")

    with pytest.raises(SchemaTooNew, match="upgrade trackkit to read it"):
        Api(root)


def test_a_run_shows_what_it_did(place, trained):
    run = Api(place).run("digits/abc")

    assert (run.id, run.project, run.name, run.state, run.exit_code) == ("abc", "digits", "first try", "finished", 0)
    assert run.config == {"model": {"depth": 3}, "lr": 0.1}
    assert dict(run.summary) == {"acc": 0.9, "val.loss": 0.2, "val.acc": 0.8}
    assert run.summary["val"] == {"loss": 0.2, "acc": 0.8}
    assert run.created == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert run.duration == 61.0
    assert run.metadata == {"git": {"branch": "main"}}
    assert run.tags == ["a"]
    assert (run.keys(), run.keys("system"), run.keys("text")) == (["epoch", "loss"], ["cpu"], ["note"])
    assert run.series("loss").value.tolist() == [3.0, 2.0, 1.0]
    assert run.series("loss").time.tolist() == [(EPOCH + 1000 * i) / 1e6 for i in range(3)]
    assert run.texts("note").value.tolist() == ["hi", "ho"]
    assert run.system["cpu"].value.tolist() == [50.0]
    assert list(run.system) == ["cpu"]
    assert run.console() == "2%\n"
    assert run.console(raw=True) == "\r1%\r2%\n"
    assert [(alert.level, alert.title, alert.text) for alert in run.alerts()] == [("warning", "slow", "very")]


def test_a_run_that_does_not_exist_is_named_with_those_like_it(place, trained):
    api = Api(place)

    with pytest.raises(RunNotFound, match=r"there is no run 'digits/abd' .* did you mean digits/abc\?$"):
        api.run("digits/abd")
    with pytest.raises(RunNotFound, match="there is no run 'mnist/abc'"):
        api.run("mnist/abc")


def test_a_key_that_was_not_logged_is_named_with_those_like_it(place, trained):
    run = Api(place).run("abc")

    with pytest.raises(KeyError, match="has logged no metric 'los'; there is 'loss'"):
        run.series("los")
    with pytest.raises(KeyError, match="has logged no text 'loss'; there is 'note'"):
        run.texts("loss")
    with pytest.raises(KeyError, match="has logged no metric 'epochs'"):
        run.history(x_axis="epochs", format="numpy")


def test_runs_are_a_lazy_sequence(place, fill):
    for position in range(250):
        fill.run(f"run-{position}", config={"n": position})

    runs = Api(place).runs(order="created")

    assert len(runs) == 250
    assert [run.config["n"] for run in runs] == list(range(250))
    assert (runs[0].id, runs[-1].id, runs[120].id) == ("run-0", "run-249", "run-120")
    assert [run.id for run in runs[248:]] == ["run-248", "run-249"]
    assert len(Api(place).runs(limit=7)) == 7
    with pytest.raises(IndexError):
        runs[250]


def test_a_listing_is_not_disturbed_by_runs_that_come_and_go(place, fill):
    for position in range(150):
        fill.run(f"run-{position}")
    api = Api(place)
    runs = api.runs(order="-created")
    seen = []

    for run in runs:
        seen.append(run.id)
        if len(seen) == 10:
            fill.run("newer", created=EPOCH * 2)
            api.run("run-3").delete()

    assert len(seen) == 149
    assert len(set(seen)) == 149
    assert {"newer", "run-3"}.isdisjoint(seen)


def test_runs_are_filtered_by_expression_dict_and_project(place, fill):
    fill.run("a", project="p", config={"lr": 0.1}, tags=["baseline"])
    fill.run("b", project="p", config={"lr": 0.01})
    fill.run("c", project="q", config={"lr": 0.1})
    api = Api(place)

    assert [run.id for run in api.runs("p", "config.lr > 0.05")] == ["a"]
    assert [run.id for run in api.runs(filters={"config.lr": {"$gt": 0.05}}, order="+name")] == ["a", "c"]
    assert [run.id for run in api.runs(filters='tags has "baseline" or name matches "^c"')] == ["c", "a"]
    projects = {project.name: project for project in api.projects()}
    assert (projects["p"].count, projects["q"].count) == (2, 1)
    assert [run.id for run in projects["p"].runs(order="config.lr")] == ["b", "a"]
    with pytest.raises(FilterError, match="column 9"):
        api.runs(filters="state = finished")
    with pytest.raises(FilterError, match="there is no field 'loss'"):
        api.runs(order="loss")


def test_a_history_comes_as_arrays_with_texts_and_times(place, trained):
    history = Api(place).run("abc").history(format="numpy")

    assert list(history) == ["_step", "_timestamp", "_runtime", "epoch", "loss", "note"]
    assert history["_step"].tolist() == [0, 1, 2]
    assert history["_runtime"].tolist() == [0.0, 0.001, 0.002]
    assert history["loss"].tolist() == [3.0, 2.0, 1.0]
    np.testing.assert_array_equal(history["epoch"], [0.0, math.nan, 1.0])
    assert history["note"].tolist() == ["hi", "ho", None]


def test_a_history_is_sampled_evenly_with_both_ends(place, fill):
    run = fill.run("long")
    fill.series(run, "loss", list(range(9000)))

    history = Api(place).run("long").history(["loss"], samples=10, format="numpy")

    assert (len(history["loss"]), history["loss"][0], history["loss"][-1]) == (10, 0, 8999)
    np.testing.assert_allclose(np.diff(history["loss"]), 1000, atol=1)
    assert len(Api(place).run("long").history(["loss"], samples=None, format="numpy")["loss"]) == 9000


def test_a_history_can_be_over_time_or_another_metric(place, fill):
    run = fill.run("abc", created=EPOCH)
    fill.series(run, "loss", [1.0, 2.0, 3.0], steps=[2, 1, 0])
    fill.series(run, "epoch", [7.0, 6.0], steps=[0, 2])

    read = Api(place).run("abc").history

    assert read(["loss"], x_axis="time", format="numpy")["loss"].tolist() == [1.0, 2.0, 3.0]
    assert read(["loss"], x_axis="relative", format="numpy")["_runtime"].tolist() == [0.0, 0.001, 0.002]
    assert read(["loss"], x_axis="step", format="numpy")["loss"].tolist() == [3.0, 2.0, 1.0]
    over_epochs = read(["loss"], x_axis="epoch", format="numpy")
    assert (over_epochs["epoch"].tolist(), over_epochs["loss"].tolist()) == ([6.0, 7.0], [1.0, 3.0])


def test_a_history_tells_missing_from_nan_where_the_format_can(place, fill):
    run = fill.run("abc")
    fill.series(run, "a", [math.nan, 1.0], steps=[0, 1])
    fill.series(run, "b", [2.0], steps=[1])
    fill.texts(run, "note", ["hi"])
    read = Api(place).run("abc").history

    polars, arrow, pandas = read(format="polars"), read(format="arrow"), read()

    assert str(polars["a"].to_list()) == str(arrow["a"].to_pylist()) == "[nan, 1.0]"
    assert polars["b"].to_list() == arrow["b"].to_pylist() == [None, 2.0]
    assert polars["note"].to_list() == arrow["note"].to_pylist() == ["hi", None]
    assert list(pandas.columns) == ["_step", "_timestamp", "_runtime", "a", "b", "note"]
    assert pandas["b"].isna().tolist() == [True, False]


def test_a_format_that_is_not_there_is_refused_with_what_to_do(place, trained, monkeypatch):
    run = Api(place).run("abc")
    monkeypatch.setitem(sys.modules, "polars", None)

    with pytest.raises(ImportError, match=r"needs polars: install it with 'pip install polars'"):
        run.history(format="polars")
    with pytest.raises(ValueError, match="must be one of pandas, polars, numpy, arrow"):
        run.history(format="excel")


def test_a_scan_gives_every_row_as_a_dict(place, trained):
    rows = list(Api(place).run("abc").scan_history())

    assert [row["_step"] for row in rows] == [0, 1, 2]
    assert rows[1] == {"_step": 1, "_timestamp": EPOCH / 1e6 + 0.001, "_runtime": 0.001, "loss": 2.0, "note": "ho"}
    assert [row["_step"] for row in Api(place).run("abc").scan_history(["loss"], min_step=1, max_step=1)] == [1]


def test_a_real_run_reads_back_as_it_was_logged(tmp_path):
    with trackkit.init(project="digits", dir=tmp_path, config={"net": {"depth": 2}}, tags=["t"]) as written:
        for step in range(5000):
            written.log({"loss": math.sin(step), "train": {"lr": 1.0 / (step + 1)}})
        written.log({"note": "done", "loss": math.nan})
        written.summary["best"] = 0.5

    run = Api(tmp_path).run(f"digits/{written.id}")

    assert (run.state, run.exit_code, run.tags, run.config) == ("finished", 0, ["t"], {"net": {"depth": 2}})
    np.testing.assert_array_equal(run.series("loss").value, [*(math.sin(step) for step in range(5000)), math.nan])
    assert np.all(np.diff(run.series("train.lr").time) >= 0)
    assert run.summary["best"] == 0.5
    assert run.summary["note"] == "done"
    assert len(list(run.scan_history(["train.lr", "note"]))) == 5001
    assert 0 <= run.history(format="numpy")["_runtime"][0] < 60


def test_a_scan_of_a_run_that_goes_on_has_each_row_once(tmp_path):
    with trackkit.init(dir=tmp_path, settings={"interval": 0.02, "system": False}) as written:
        lengths = [0]
        logged = 0
        while lengths[-1] <= 2 * 4096:
            for _ in range(500):
                written.log({"a": logged, "b": -logged})
                logged += 1
            with contextlib.suppress(FileNotFoundError, RunNotFound):
                rows = list(Api(tmp_path).run(written.id).scan_history(page_size=100))
                assert [row["_step"] for row in rows] == list(range(len(rows)))
                assert [(row["a"], row["b"]) for row in rows] == [(step, -step) for step in range(len(rows))]
                lengths.append(len(rows))

    assert lengths == sorted(lengths)
    assert len(list(Api(tmp_path).run(written.id).scan_history())) == logged


def test_edits_of_a_finished_run_are_saved_by_update(place, trained):
    run = Api(place).run("abc")
    run.name, run.notes = "best", "keep"
    run.tags.append("b")
    run.config["model"]["depth"] = 4
    del run.config["lr"]
    run.summary["acc"] = np.float32(0.5)
    run.summary["new"] = {"x": [1, 2]}
    del run.summary["val"]

    run.update()

    again = Api(place).run("abc")
    assert (again.name, again.notes, again.tags) == ("best", "keep", ["a", "b"])
    assert again.config == {"model": {"depth": 4}}
    assert dict(again.summary) == {"acc": 0.5, "new.x": [1, 2]}
    assert repr(dict(run.summary)) == repr(dict(again.summary))


def test_edits_can_be_given_to_update_itself(place, trained):
    run = Api(place).run("abc")

    run.update(name="n", tags=["z"], config={"model": {"width": 8}}, summary={"acc": 1.0})
    run.summary.update({"f1": 0.7})

    again = Api(place).run("abc")
    assert (again.name, again.tags) == ("n", ["z"])
    assert again.config == {"model": {"depth": 3, "width": 8}, "lr": 0.1}
    assert (again.summary["acc"], again.summary["f1"], again.summary["val.loss"]) == (1.0, 0.7, 0.2)


def test_an_edit_that_fails_changes_nothing(place, trained):
    run = Api(place).run("abc")

    with pytest.raises(TypeError, match="a value of type set can't be stored"):
        run.update(name="half", config={"x": {1, 2}})

    assert Api(place).run("abc").name == "first try"


def test_a_deleted_run_is_gone_with_its_journals(root, trained):
    journals = root / "journals" / "abc"
    journals.mkdir(parents=True)
    api = Api(root)
    run = api.run("abc")

    run.delete()

    assert not journals.exists()
    assert len(api.runs()) == 0
    with pytest.raises(RunNotFound, match="no longer in the store"):
        run.update(name="ghost")


def test_a_run_that_goes_on_is_not_deleted(place, fill):
    fill.run("live", state="running")

    with pytest.raises(RuntimeError, match="still running; stop it"):
        Api(place).run("live").delete()

    assert Api(place).run("live").state == "running"


def test_files_are_read_from_rows_and_blobs(root, place, fill, trained, tmp_path):
    digest = "ab" * 32
    blob = root / "blobs" / "ab" / digest
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"large")
    fill.object(trained, "out/model.bin", seq=1, size=5, digest=digest)
    fill.object(trained, "../../evil", seq=2, size=1, inline=b"x")
    fill.object(trained, "lost", seq=3, size=1, digest="cd" * 32)
    run = Api(place).run("abc")

    assert run.file("train.py").read() == b"print"
    assert run.file("out/model.bin").download(tmp_path / "to").read_bytes() == b"large"
    with pytest.raises(ValueError, match="leads out of"):
        run.file("../../evil").download(tmp_path / "to")
    with pytest.raises(FileNotFoundError, match="the content of lost is not in the store"):
        run.file("lost").read()
    with pytest.raises(KeyError, match="has no file 'nope'"):
        run.file("nope")


def test_notebooks_show_what_runs_say_without_taking_it_for_markup(place, fill):
    fill.run("a", name="<script>x</script>", config={"<b>": "<i>"}, tags=["<u>"])
    api = Api(place)

    shown = api.runs()._repr_html_() + api.run("a")._repr_html_()

    assert "&lt;script&gt;" in shown
    for markup in ("<script>", "<b>", "<i>", "<u>"):
        assert markup not in shown


def test_no_lock_is_held_between_calls(root, db, trained):
    run = Api(root).run("abc")
    next(run.scan_history())
    run.series("loss")

    db.execute("pragma wal_checkpoint(truncate)")

    assert (root / "trackkit.db-wal").stat().st_size == 0


def test_reading_imports_no_pandas(root, trained):
    script = f"""
import sys
from trackkit.query import Api
run = Api({str(root)!r}).run("abc")
run.history(format="numpy"), list(run.scan_history()), run.series("loss"), run.update(name="x")
assert not {{"pandas", "polars", "pyarrow", "sqlite_utils"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_threads_and_forks_read_with_connections_of_their_own(place, trained):
    from concurrent.futures import ThreadPoolExecutor

    run = Api(place).run("abc")
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: run.series("loss").value.tolist(), range(50)))

    assert found == [[3.0, 2.0, 1.0]] * 50
    if hasattr(os, "fork"):
        child = os.fork()
        if not child:
            os._exit(0 if run.series("loss").value.tolist() == [3.0, 2.0, 1.0] else 1)
        assert os.waitpid(child, 0)[1] == 0


@pytest.fixture
def media() -> Iterator[Path]:
    """A folder that strangers can reach, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions of folders are those of Unix")
@pytest.mark.parametrize("is_copied_with_its_log", [False, True])
def test_a_store_in_a_read_only_folder_is_read(root, db, trained, media, is_copied_with_its_log):
    if not is_copied_with_its_log:
        db.close()
    before = ["trackkit.db", "trackkit.db-wal"] if is_copied_with_its_log else ["trackkit.db"]
    for name in before:
        (media / name).write_bytes((root / name).read_bytes())

    done = read_as_stranger(media)

    assert done.returncode == 0, done.stderr
    assert sorted(file.name for file in media.iterdir()) == before


def read_as_stranger(folder: Path) -> subprocess.CompletedProcess[str]:
    """Read a run with a user's rights to whom the folder is read-only."""
    script = f"""
import importlib, os
from trackkit.query import Api
for module in ("numpy", "pcodec", "trackkit.core.settings", "trackkit.core.terminal", "encodings.ascii"):
    importlib.import_module(module)
if os.geteuid() == 0:
    os.setegid(65534); os.seteuid(65534)
assert Api({str(folder)!r}).run("abc").series("loss").value.tolist() == [3.0, 2.0, 1.0]
"""
    folder.chmod(0o555)
    try:
        return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    finally:
        folder.chmod(0o755)


def test_what_a_run_watched_is_read_as_arrays(tmp_path: Path) -> None:
    db = SQLiteDatabase(tmp_path / "trackkit.db")
    db.migrate()
    watching = Watching(Filler(db), tmp_path)
    its = watching.layers("0.weight", "0.bias")
    for step in (0, 100):
        watching.step(step, its, watched_frame([3.0, 4.0], [2.0**-step, 0.0]))
    db.close()
    run = Api(tmp_path).run("p/a")
    found = run.watched()
    assert found.layers == ["0.weight", "0.bias"]
    assert found.step.tolist() == [0, 100]
    assert found["norm"].tolist() == [[5.0, 1.0], [5.0, 2.0**-100]]
    histogram = found.histogram("0.weight")
    assert len(histogram.edges) == histogram.shares.shape[1] + 1
    assert histogram.shares[:, (histogram.edges[:-1] <= 3.0) & (histogram.edges[1:] > 3.0)].tolist() == [[0.5], [0.5]]
    with pytest.raises(KeyError, match="no statistic 'median'"):
        found["median"]
    with pytest.raises(KeyError, match="no layer 'z'"):
        found.histogram("z")
    with pytest.raises(KeyError, match="has not watched 'parameters'; it has watched 'gradients'"):
        run.watched("parameters")
