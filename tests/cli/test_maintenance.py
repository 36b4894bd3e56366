"""`trackkit doctor` and `gc`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def orphan(make_run, tmp_path: Path) -> Path:
    """A store of one run, with a blob from yesterday that nothing refers to."""
    make_run("one")
    digest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    blob = tmp_path / "blobs" / digest[:2] / digest
    blob.parent.mkdir(parents=True)
    blob.write_text("hello")
    os.utime(blob, (blob.stat().st_mtime - 86400,) * 2)
    return blob


def test_doctor_finds_nothing_wrong_with_a_store_at_rest(ask, call):
    assert ask("doctor")["healthy"]
    assert "nothing is wrong" in call("doctor").stdout


def test_doctor_tells_what_is_wrong_and_fails(call, orphan: Path, tmp_path: Path):
    result = call("doctor", root=tmp_path)
    assert result.exit_code == 1
    assert orphan.name in result.stdout
    assert orphan.exists()


def test_a_damaged_database_is_told_with_what_saves_it(call, make_run, tmp_path):
    make_run("one")
    path = tmp_path / "trackkit.db"
    path.write_bytes(b"x" * path.stat().st_size)
    result = call("ls", root=tmp_path)
    assert result.exit_code == 1
    assert "file is not a database; `trackkit doctor --repair` saves what can be read of it" in result.stderr


def test_doctor_repairs_when_asked(call, orphan: Path, tmp_path: Path):
    assert call("doctor", "--repair", root=tmp_path).exit_code == 0
    assert call("doctor", root=tmp_path).exit_code == 0


def test_gc_deletes_what_nothing_refers_to(ask, orphan: Path, tmp_path: Path):
    assert ask("gc", root=tmp_path)["blobs"] == 1
    assert not orphan.exists()


def test_gc_only_tells_in_a_dry_run(ask, orphan: Path, tmp_path: Path):
    assert ask("gc", "--dry-run", root=tmp_path)["blobs"] == 1
    assert orphan.exists()
