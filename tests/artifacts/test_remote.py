"""`Api` reads the artifacts of a server as those of a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import trackkit
from tests.artifacts.conftest import Make, Place
from tests.servers import Serving, serving
from trackkit.query import ArtifactNotFound


@pytest.fixture
def server(folder: Path) -> Iterator[Serving]:
    with serving(folder / "server") as found:
        yield found


def test_a_server_is_read_as_its_folder_is(server: Serving, folder: Path, make: Make) -> None:
    place = Place(folder / "here", server.address, folder / "server", {})
    maker, user = place.run("maker"), place.run("user")
    maker.log_artifact(make({"a/f": "1"}), aliases=["best"]).wait(30)
    maker.log_artifact(make({"a/f": "2", "g": "3"})).wait(30)
    user.use_artifact("data:best")
    place.finish()
    here, there = trackkit.Api(folder / "server"), trackkit.Api(server.address)

    for api in (here, there):
        best = api.artifact("data:best")
        assert best.qualified_name == "p/data:v0"
        assert best.logged_by().id == "maker"
        assert [run.id for run in best.used_by()] == ["user"]
        assert (Path(best.download(folder / "x")) / "a" / "f").read_text() == "1"
        assert [change.path for change in best.compare(api.artifact("p/data:v1"))] == ["a/f", "g"]
        assert [one.version for one in api.artifacts(type="dataset", project="p")] == ["v1", "v0"]
        assert [one.version for one in api.run("p/maker").logged_artifacts()] == ["v0", "v1"]
        assert [one.version for one in api.run("p/user").used_artifacts()] == ["v0"]
        with pytest.raises(ArtifactNotFound, match="no artifact 'p/nothing'"):
            api.artifact("p/nothing")
        with pytest.raises(ArtifactNotFound):
            api.versions("p/nothing")
    assert there.versions("p/data") == here.versions("p/data")
    assert there.collections() == here.collections()
    assert there.alias_history("p/data") == here.alias_history("p/data")


def test_a_server_is_changed_as_its_folder_is(server: Serving, folder: Path, make: Make) -> None:
    place = Place(folder / "here", server.address, folder / "server", {})
    place.run().log_artifact(make({"f": "1"})).wait(30)
    place.finish()
    api = trackkit.Api(server.address)

    artifact = api.artifact("p/data")
    artifact.aliases = [*artifact.aliases, "gold"]
    artifact.save()
    api.protect_alias(artifact, "gold")
    api.set_budget("p", 1000, "keep last 3")

    assert api.artifact("p/data:gold").version == "v0"
    assert [(one.project, one.bytes, one.rule, one.used) for one in api.budgets()] == [("p", 1000, "keep last 3", 1)]
    assert artifact.history()[0].alias == "gold"
    with pytest.raises(ValueError, match="is no rule"):
        api.set_budget("p", 1000, "keep all")
    with pytest.raises(ValueError, match="can't be an alias"):
        artifact.aliases = ["v9"]
    artifact.delete(delete_aliases=True)
    assert api.artifacts() == []
