"""What the documentation claims about integrations, each claim by a test that there is."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

FRAMEWORKS = REPOSITORY / "tests" / "frameworks"
PAGE = (REPOSITORY / "docs" / "integrations" / "index.md").read_text(encoding="utf-8")
NAMED = re.compile(r'<abbr title="(test_\w+\.py)::(test_\w+)">[^<]+</abbr>')


def claims() -> list[tuple[str, str, str]]:
    """Section, row and trackkit's cell of every table that compares."""
    found = []
    for section in re.split(r"^### ", PAGE, flags=re.MULTILINE)[1:]:
        title = section.partition("\n")[0]
        for line in section.splitlines():
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            if line.startswith("| ") and len(cells) == 4 and cells[0].strip("| ") and not cells[0].startswith("---"):
                found.append((title, cells[0].strip("| "), cells[1]))
    return found


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_integration_is_compared() -> None:
    pages = {path.stem for path in (REPOSITORY / "docs" / "integrations").glob("*.md")} - {"index"}
    assert {name for name in pages if f"]({name}.md)" not in PAGE} == set()
    assert len({title for title, _, _ in claims()}) == len(pages)


@pytest.mark.parametrize(("title", "row", "cell"), claims(), ids=lambda value: str(value)[:40])
def test_every_cell_names_a_test_that_there_is(title: str, row: str, cell: str) -> None:
    named = NAMED.fullmatch(cell)
    assert named is not None, f"{title}, {row}: {cell!r} names no test"
    path = FRAMEWORKS / named[1]
    assert path.is_file(), f"{title}, {row}: there is no {named[1]}"
    assert named[2] in functions(path), f"{title}, {row}: {named[1]} has no {named[2]}"


def test_every_framework_has_a_session_and_an_extra() -> None:
    tests = {path.stem.removeprefix("test_") for path in FRAMEWORKS.glob("test_*.py")}
    source = (REPOSITORY / "noxfile.py").read_text(encoding="utf-8")
    tables = {
        node.target.id: ast.literal_eval(node.value)
        for node in ast.parse(source).body
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and node.target.id in ("FRAMEWORKS", "TOGETHER")
        and node.value is not None
    }
    assert set(tables["FRAMEWORKS"]) == tests
    assert sorted(name for group in tables["TOGETHER"].values() for name in group) == sorted(tests)
