"""`trackkit tail`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_tail_prints_the_last_rows_of_a_run_that_ended(call):
    lines = call("tail", "fast", "-n", "2").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["18", "19"]


def test_tail_prints_a_line_of_json_a_step(call):
    rows = [
        json.loads(line) for line in call("tail", "fast", "-n", "3", "--keys", "loss", "--json").stdout.splitlines()
    ]
    assert [row["_step"] for row in rows] == [17, 18, 19]
    assert rows[0]["loss"] == 1 / 18
    assert "accuracy" not in rows[0]


def test_tail_follows_a_run_until_it_ends_and_shows_each_step_once(start_run, tmp_path: Path):
    run = start_run("live", settings={"interval": 0.05})
    run.log({"loss": 0.0})
    command = [sys.executable, "-m", "trackkit.cli", "tail", "live", "--json", "--interval", "0.05"]
    tail = subprocess.Popen([*command, "--dir", str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert tail.stdout is not None
        seen = [json.loads(tail.stdout.readline())["_step"]]
        for step in range(1, 50):
            run.log({"loss": float(step)})
        run.finish()
        rest, _ = tail.communicate(timeout=30)
    finally:
        tail.kill()
    seen += [json.loads(line)["_step"] for line in rest.splitlines()]
    assert seen == list(range(50))


def test_tail_shows_what_a_run_prints(tmp_path: Path, call):
    script = (
        "import trackkit, sys\n"
        f"with trackkit.init(id='talks', dir={str(tmp_path)!r}, settings={{'system': False, 'git': False}}):\n"
        "    print('epoch 1')\n"
        "    print('epoch 2')\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    assert "epoch 1\nepoch 2\n" in call("tail", "talks", "--console", root=tmp_path).stdout
    assert "epoch 1" not in call("tail", "talks", "--console", "-n", "1", root=tmp_path).stdout
