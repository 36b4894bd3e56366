"""The store is a plain SQLite file to sqlite-utils and Datasette, with every point in a view."""

from __future__ import annotations

import json
import math
import sqlite3
import subprocess
import sys

import pytest
import sqlite_utils
from sqlite_utils.plugins import pm

from tests.store.conftest import EPOCH
from trackkit.backend.store import plugin

pytestmark = pytest.mark.sqlite


@pytest.fixture
def filled(db, fill, root):
    run = fill.run("abc", project="digits", config={"lr": 0.1})
    fill.series(run, "loss", [0.5, math.nan, math.inf, -math.inf, 2.0], steps=[0, 1, 2, 3, 2**53 + 1], per_chunk=4)
    fill.series(run, "cpu", [1.0], kind="system")
    return root / "trackkit.db"


@pytest.fixture
def registered():
    """The plugin as its entry point registers it, also where the package is not installed."""
    if any(module is plugin for module in pm.get_plugins()):
        yield
        return
    pm.register(plugin, "trackkit")
    yield
    pm.unregister(name="trackkit")


def test_the_history_view_has_every_point_of_rows_and_chunks(filled, registered):
    database = sqlite_utils.Database(filled)

    rows = list(database.query("select * from history order by step"))

    assert [(row["run"], row["project"], row["key"]) for row in rows] == [("abc", "digits", "loss")] * 5
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 2**53 + 1]
    assert [row["value"] for row in rows] == [0.5, None, math.inf, -math.inf, 2.0]
    assert [row["time"] for row in rows] == [(EPOCH + 1_000 * position) / 1e6 for position in range(5)]


def test_sqlite_utils_opens_a_store_in_a_plain_way(filled):
    database = sqlite_utils.Database(filled)

    assert {"runs", "config", "summary", "series", "points", "chunks"} <= set(database.table_names())
    assert database.view_names() == ["history"]
    assert database["runs"].get(1)["id"] == "abc"
    assert [row["key"] for row in database["config"].rows] == ["lr"]


def test_the_command_line_of_sqlite_utils_sees_every_point(filled):
    start = (
        "import sys; from sqlite_utils import cli, plugins; from trackkit.backend.store import plugin\n"
        "any(module is plugin for module in plugins.pm.get_plugins()) or plugins.pm.register(plugin)\n"
        "cli.cli()"
    )
    query = "select count(*) as points, max(value) as top from history where run = 'abc' and value < 9"

    done = subprocess.run(
        [sys.executable, "-c", start, "query", str(filled), query], capture_output=True, text=True, check=True
    )

    assert json.loads(done.stdout) == [{"points": 3, "top": 2.0}]


def test_datasette_finds_the_hook_by_its_name():
    assert plugin.prepare_connection.datasette_impl is not None
    assert plugin.prepare_connection.sqlite_utils_impl is not None


DATASETTE = """
import asyncio, json, sys
from datasette.app import Datasette

async def answers():
    datasette = Datasette([sys.argv[1]])
    await datasette.invoke_startup()
    asked = {"sql": "select step, value from history order by step", "_shape": "array"}
    plugins = (await datasette.client.get("/-/plugins.json")).json()
    rows = (await datasette.client.get("/trackkit.json", params=asked)).json()
    print(json.dumps([[each["name"] for each in plugins], rows]))

asyncio.run(answers())
"""


def test_datasette_serves_every_point(filled):
    # in a process of its own: importing Datasette has sqlite3 print what functions in Python raise, everywhere
    done = subprocess.run([sys.executable, "-c", DATASETTE, filled], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    plugins, rows = json.loads(done.stdout)

    assert "trackkit" in plugins
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 2**53 + 1]
    assert [row["value"] for row in rows[:2]] == [0.5, None]


def test_regexp_searches_text_and_is_null_of_null():
    connection = sqlite3.connect(":memory:")
    plugin.prepare_connection(connection)

    row = connection.execute("select 'resnet50' regexp 'net\\d', 'vgg' regexp '^res', null regexp 'x', 12 regexp '2'")

    assert row.fetchone() == (1, 0, None, 1)


def test_the_view_finds_one_series_by_keys_alone(filled, registered):
    database = sqlite_utils.Database(filled)

    plan = database.query("explain query plan select * from history where run = 'abc' and key = 'loss'")

    steps = " / ".join(row["detail"] for row in plan)
    assert "SEARCH points USING PRIMARY KEY (run=? AND series=?)" in steps
    assert "chunks USING INDEX sqlite_autoindex_chunks_1 (run=? AND series=?)" in steps
