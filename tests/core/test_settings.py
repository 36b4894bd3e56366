"""Settings come from arguments, the environment, the project's files and the user's, in this order."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import trackkit
from trackkit.core.settings import PREFIX, Settings, load


@pytest.fixture
def user_file() -> Path:
    """The user's configuration file, not written yet."""
    file = Path(os.environ["XDG_CONFIG_HOME"]) / "trackkit" / "config.toml"
    file.parent.mkdir(parents=True)
    return file


def test_without_anything_the_store_is_a_folder_here_and_everything_is_captured(folder: Path) -> None:
    settings = load()

    assert (settings.project, settings.dir, settings.mode, settings.sink) == ("", ".trackkit", "online", [])
    assert all([settings.system, settings.gpu, settings.git, settings.code, settings.packages, settings.redact])
    assert (settings.console, settings.system_interval, settings.interval) == ("wrap", 10.0, 1.0)


def test_what_is_closer_to_the_call_wins(folder: Path, user_file: Path) -> None:
    environ = {"XDG_CONFIG_HOME": os.environ["XDG_CONFIG_HOME"]}
    user_file.write_text("project = 'user'\nname = 'user'\ngroup = 'user'\nnotes = 'user'\n")
    (folder / "trackkit.toml").write_text("project = 'file'\nname = 'file'\ngroup = 'file'\n")
    environ |= {"TRACKKIT_PROJECT": "environment", "TRACKKIT_NAME": "environment"}

    settings = load({"project": "argument"}, environ)

    assert (settings.project, settings.name, settings.group, settings.notes) == (
        "argument",
        "environment",
        "file",
        "user",
    )


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("project", "digits", "digits"),
        ("tags", "a, b,,c ", ["a", "b", "c"]),
        ("sink", "sqlite:,http://tracker:8080", ["sqlite:", "http://tracker:8080"]),
        ("system", "0", False),
        ("gpu", "False", False),
        ("git", " no ", False),
        ("code", "off", False),
        ("packages", "1", True),
        ("redact", "true", True),
        ("system_interval", "0.5", 0.5),
        ("finish_timeout", "5", 5.0),
        ("segment_mb", "16", 16),
        ("run_id", "abc", "abc"),
    ],
)
def test_every_setting_is_a_variable_of_the_environment(folder: Path, name: str, text: str, value: Any) -> None:
    settings = load(environ={PREFIX + name.upper(): text})

    assert getattr(settings, name) == value


def test_an_empty_variable_sets_nothing(folder: Path) -> None:
    assert load(environ={"TRACKKIT_DIR": "", "TRACKKIT_SYSTEM": ""}) == Settings()


@pytest.mark.parametrize("where", [".", "..", "../.."])
def test_the_projects_file_is_found_here_or_above(folder: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    deep = folder / "src" / "train"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    (deep / where / "trackkit.toml").write_text("project = 'digits'\nsink = 'sqlite:///runs.db'\n")

    settings = load()

    assert (settings.project, settings.sink) == ("digits", ["sqlite:///runs.db"])


def test_pyproject_counts_where_it_has_a_section(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "pyproject.toml").write_text("[tool.trackkit]\nproject = 'outer'\ntags = ['a']\n")
    inner = folder / "package"
    inner.mkdir()
    (inner / "pyproject.toml").write_text("[project]\nname = 'package'\n")
    monkeypatch.chdir(inner)

    settings = load()

    assert (settings.project, settings.tags) == ("outer", ["a"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"colour": "red"}, r"settings: .*unknown field `colour`"),
        ({"system_interval": "often"}, r"settings: .*`\$\.system_interval`"),
        ({"tags": 3}, r"settings: .*`\$\.tags`"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_name(folder: Path, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(given)


def test_an_error_names_the_place_it_stands_in(folder: Path, user_file: Path) -> None:
    with pytest.raises(ValueError, match=r"^the environment: .*segment_mb"):
        load(environ={"TRACKKIT_SEGMENT_MB": "many"})

    (folder / "trackkit.toml").write_text("colour = 'red'\n")
    with pytest.raises(ValueError, match=r"^trackkit.toml or pyproject.toml: .*colour"):
        load()
    (folder / "trackkit.toml").write_text("project = \n")
    with pytest.raises(ValueError, match=r"trackkit\.toml is no valid TOML"):
        load()
    (folder / "trackkit.toml").unlink()

    user_file.write_text("colour = 'red'\n")
    with pytest.raises(ValueError, match=r"^the user's configuration: .*colour"):
        load()


def test_init_takes_settings_as_a_mapping_or_as_a_whole(folder: Path) -> None:
    quiet = {"system": False, "console": "off", "git": False, "packages": False, "quiet": True}

    with trackkit.init(settings={**quiet, "project": "as mapping"}) as first:
        pass
    with trackkit.init(settings=Settings(**quiet, project="as a whole")) as second:  # type: ignore[arg-type]
        pass

    assert (first.project, first.settings.console) == ("as mapping", "off")
    assert (second.project, second.settings.console) == ("as a whole", "off")
