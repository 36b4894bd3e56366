"""What a project has in common is found out once, and again when a run of it has changed."""

from __future__ import annotations

import pytest

from tests.servers import Serving
from tests.store.conftest import Filler
from trackkit.backend.server import overview
from trackkit.backend.store import catalogue


@pytest.fixture
def found_out(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes each project whose runs are gone through, patience being over at once."""
    asked: list[str] = []
    groups = catalogue.groups

    def note(db: object, project: str) -> object:
        asked.append(project)
        return groups(db, project)  # type: ignore[arg-type]

    monkeypatch.setattr(overview, "PATIENCE", 0.0)
    monkeypatch.setattr(catalogue, "groups", note)
    return asked


def tags(server: Serving, project: str = "p") -> list[str]:
    return [one["value"] for one in server.get("/columns", project=project)["tags"]]


def test_it_is_found_out_once_while_nothing_changes(server: Serving, fill: Filler, found_out: list[str]) -> None:
    fill.run(tags=["a"])
    fill.run(project="q", tags=["b"])

    assert [tags(server), tags(server), tags(server, "q")] == [["a"], ["a"], ["b"]]

    assert found_out == ["p", "q"]


@pytest.mark.parametrize(
    ("action", "expected"),
    [({"action": "tag", "tags": ["new"]}, ["a", "new"]), ({"action": "delete"}, [])],
)
def test_what_is_changed_shows_at_once(
    server: Serving, fill: Filler, found_out: list[str], action: dict[str, object], expected: list[str]
) -> None:
    fill.run("r", tags=["a"])
    assert tags(server) == ["a"]

    assert server.ask("POST", "/runs/actions", json={**action, "runs": ["r"]}).status_code == 200

    assert sorted(tags(server)) == expected


def test_a_project_that_changes_all_the_time_is_not_gone_through_all_the_time(
    server: Serving, fill: Filler, found_out: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "PATIENCE", 1e9)
    fill.run("r", tags=["a"])
    for number in range(5):
        tags(server)
        server.ask("POST", "/runs/actions", json={"action": "tag", "tags": [f"t{number}"], "runs": ["r"]})

    assert found_out == ["p"]


def test_the_projects_asked_for_last_are_kept(
    server: Serving, fill: Filler, found_out: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "MOST_PROJECTS", 2)
    for project in ("p", "q", "p", "r", "p", "q"):
        tags(server, project)

    assert found_out == ["p", "q", "r", "q"]
