"""The command line as a whole."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from trackkit.cli import main
from trackkit.cli.commands import COMMANDS


def test_help_names_every_command():
    help = CliRunner().invoke(main, ["--help"]).stdout
    assert all(f"\n  {name} " in help for name in COMMANDS)


def test_help_imports_no_command_nor_numpy():
    code = "import sys; from trackkit.cli import main; main(['--help'], standalone_mode=False); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "click" in loaded
    assert not {"numpy", "rich", "sqlite_utils", "trackkit.query", "trackkit.cli.show"} & set(loaded)


@pytest.mark.parametrize("name", ["ui", "serve", "login", "logout", "token"])
def test_the_commands_of_servers_explain_themselves(name):
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: ")


def words_of_commands_on_a_store() -> Iterator[list[str]]:
    for name in COMMANDS:
        command = main.get_command(click.Context(main), name)
        if isinstance(command, click.Group):
            yield from ([name, inner] for inner in command.commands)
        else:
            yield [name]


OTHERS = ("ui", "serve", "login", "logout", "token")


@pytest.mark.parametrize("words", [words for words in words_of_commands_on_a_store() if words[0] not in OTHERS])
def test_every_command_on_a_store_explains_itself_and_takes_dir_and_json(words):
    result = CliRunner().invoke(main, [*words, "--help"])
    assert result.exit_code == 0
    assert "--json" in result.stdout
    assert "--dir" in result.stdout


def test_an_unknown_command_is_refused_with_the_known_ones():
    result = CliRunner().invoke(main, ["lss"])
    assert result.exit_code == 2
    assert "there is no command 'lss'" in result.stderr
    assert "ls, show" in result.stderr


@pytest.mark.parametrize("command", ["ls", "show", "tail", "status", "doctor", "gc"])
def test_a_folder_without_a_store_is_told_in_a_sentence(command, tmp_path: Path):
    result = CliRunner().invoke(main, [command, "--dir", str(tmp_path)])
    assert result.exit_code == 1
    assert str(tmp_path) in result.stderr
    assert "Traceback" not in result.stderr


def test_a_server_that_does_not_answer_is_told_in_a_sentence():
    result = CliRunner().invoke(main, ["ls", "--dir", "http://localhost:1"])
    assert result.exit_code == 1
    assert "http://localhost:1" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_the_shell(shell, ask):
    assert "_TRACKKIT_COMPLETE" in ask("completion", shell)["script"]


def test_run_ids_are_completed_newest_first(store: Path):
    words = {"COMP_WORDS": "trackkit show ", "COMP_CWORD": "2", "_TRACKKIT_COMPLETE": "bash_complete"}
    result = CliRunner().invoke(main, [], prog_name="trackkit", env={**words, "TRACKKIT_DIR": str(store)})
    assert result.stdout.split() == ["plain,broken", "plain,other", "plain,fast", "plain,slow"]


def test_completion_without_a_store_offers_nothing(tmp_path: Path):
    words = {"COMP_WORDS": "trackkit show ", "COMP_CWORD": "2", "_TRACKKIT_COMPLETE": "bash_complete"}
    result = CliRunner().invoke(main, [], prog_name="trackkit", env={**words, "TRACKKIT_DIR": str(tmp_path)})
    assert result.stdout.strip() == ""
