"""What artifacts do wherever they go: into a SQLite file, to a server, with files on a disk or in an object store."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

import pytest

import trackkit
from tests.artifacts.conftest import Make, Place
from trackkit.core.artifact import ArtifactRefused

PATIENCE = 30.0


def test_a_logged_folder_comes_back_as_it_was(place: Place, tree: Path, folder: Path) -> None:
    run = place.run()
    artifact = trackkit.Artifact("data", "dataset", "two letters", {"letters": ["a", "b"]})
    artifact.add_dir(tree)

    run.log_artifact(artifact, aliases=["best"], tags=["small"]).wait(PATIENCE)
    found = run.use_artifact("data:best")
    target = Path(found.download(folder / "back"))

    assert (artifact.version, artifact.qualified_name) == ("v0", "p/data:v0")
    assert (found.description, found.metadata) == ("two letters", {"letters": ["a", "b"]})
    assert (sorted(found.aliases), found.tags) == (["best", "latest"], ["small"])
    assert {path.relative_to(target).as_posix(): path.read_text() for path in target.rglob("*") if path.is_file()} == {
        "a.txt": "a", "b.txt": "b", "deep/er/c.txt": "c", "deep/again.txt": "a",
    }  # fmt: skip
    found.verify(target)


def test_the_same_files_make_no_new_version_and_others_do(place: Place, make: Make) -> None:
    run = place.run()

    versions = [
        run.log_artifact(make({"f": content}), aliases=[alias]).wait(PATIENCE)
        for content, alias in (("1", "one"), ("1", "again"), ("2", "two"))
    ]

    assert [version.version for version in versions] == ["v0", "v0", "v1"]
    assert sorted(run.use_artifact("data:v0").aliases) == ["again", "one"]
    assert sorted(run.use_artifact("data").aliases) == ["latest", "two"]


def test_a_large_file_arrives_whole(place: Place, folder: Path, make: Make) -> None:
    content = os.urandom(20 << 20)
    run = place.run()

    run.log_artifact(make({"large": content, "small": b"x"})).wait(PATIENCE)
    file = run.use_artifact("data").get_entry("large").download(folder / "back")

    assert Path(file).read_bytes() == content


def test_a_version_is_found_by_its_digest(place: Place, make: Make) -> None:
    run = place.run()
    logged = run.log_artifact(make({"f": "1"})).wait(PATIENCE)

    assert run.use_artifact(logged.digest).qualified_name == "p/data:v0"
    with pytest.raises(KeyError, match="no artifact 'data:nothing'"):
        run.use_artifact("data:nothing")
    with pytest.raises(KeyError, match="of type 'model'"):
        run.use_artifact("data:latest", type="model")


def test_lineage_tells_who_logged_and_who_used(place: Place, make: Make) -> None:
    maker, user = place.run("maker"), place.run("user")
    maker.log_artifact(make({"f": "1"})).wait(PATIENCE)
    used = user.use_artifact("data:latest")
    user.log_artifact(make({"m": "2"}, "model", type="model")).wait(PATIENCE)

    api = place.api()

    assert api.artifact("p/data:v0").logged_by().id == "maker"
    assert [run.id for run in api.artifact("p/data:v0").used_by()] == ["user"]
    assert [one.qualified_name for one in api.run("user").used_artifacts()] == ["p/data:v0"]
    assert [one.qualified_name for one in api.run("user").logged_artifacts()] == ["p/model:v0"]
    assert used.logged_by() is not None


def test_a_draft_of_a_version_sends_only_what_is_new(place: Place, make: Make) -> None:
    run = place.run()
    run.log_artifact(make({"keep": "1", "drop": "2"})).wait(PATIENCE)

    draft = run.use_artifact("data").new_draft()
    draft.remove("drop")
    with draft.new_file("new") as file:
        file.write("3")
    run.log_artifact(draft).wait(PATIENCE)

    assert [entry.path for entry in run.use_artifact("data:v1").files()] == ["keep", "new"]


def test_what_may_change_of_a_version_is_changed(place: Place, make: Make) -> None:
    run = place.run()
    run.log_artifact(make({"f": "1"}), aliases=["old"]).wait(PATIENCE)
    found = run.use_artifact("data:old")

    found.aliases = [alias for alias in found.aliases if alias != "old"] + ["new"]
    found.description = "better"
    found.metadata["rows"] = 3
    found.tags = ["kept"]
    found.ttl = datetime.timedelta(days=1)
    found.save()
    again = run.use_artifact("data:new")

    assert (again.description, again.metadata, again.tags) == ("better", {"rows": 3}, ["kept"])
    assert again.ttl is not None
    assert round(again.ttl.total_seconds()) == 86400
    with pytest.raises(KeyError):
        run.use_artifact("data:old")


def test_a_version_is_linked_to_the_registry_and_promoted(place: Place, make: Make, folder: Path) -> None:
    run = place.run()
    logged = run.log_artifact(make({"f": "1"}))

    linked = run.link_artifact(logged, "registry/gold", aliases=["production"])

    assert (linked.qualified_name, linked.source_name) == ("registry/gold:v0", "p/data:v0")
    assert (Path(run.use_artifact("registry/gold:production").download(folder / "x")) / "f").read_text() == "1"


def test_a_deleted_version_is_gone_and_its_number_is_not_given_again(place: Place, make: Make) -> None:
    run = place.run()
    for content in ("1", "2"):
        run.log_artifact(make({"f": content}), aliases=[f"n{content}"]).wait(PATIENCE)
    with pytest.raises(ValueError, match="still called 'n2'"):
        run.use_artifact("data:v1").delete()

    run.use_artifact("data:v1").delete(delete_aliases=True)
    later = run.log_artifact(make({"f": "3"})).wait(PATIENCE)

    assert later.version == "v2"
    with pytest.raises(KeyError):
        run.use_artifact("data:v1")


def test_another_type_under_a_name_is_refused(place: Place, make: Make) -> None:
    run = place.run()
    run.log_artifact(make({"f": "1"})).wait(PATIENCE)

    with pytest.raises(ArtifactRefused, match="holds artifacts of the type 'dataset'"):
        run.log_artifact(make({"f": "2"}, type="model")).wait(PATIENCE)

    assert any("refused" in alert.title for alert in place.api().run("p/run1").alerts())


def test_several_writers_build_one_version(place: Place, make: Make) -> None:
    first = place.run("shared", resume="allow")
    second = place.run("other")

    end = first.finish_artifact(make({"index": "all"}), distributed_id="build", parts=2)
    second.upsert_artifact(make({"part1": "1"}), distributed_id="build")
    first.upsert_artifact(make({"part2": "2"}), distributed_id="build")
    end.wait(PATIENCE)

    assert [entry.path for entry in first.use_artifact("data").files()] == ["index", "part1", "part2"]
    assert len(place.api().versions("p/data")) == 1


def test_loose_files_are_kept_and_restored(place: Place, folder: Path) -> None:
    run = place.run()
    (folder / "notes").mkdir()
    (folder / "notes" / "a.txt").write_text("first")

    assert run.save("notes/*.txt", policy="now") == ["notes/a.txt"]
    run.finish()
    (folder / "notes" / "a.txt").unlink()
    other = place.run()
    restored = other.restore("notes/a.txt", run_path=run.path)

    assert restored is not None
    with restored:
        assert restored.read() == "first"
    with pytest.raises(ValueError, match="has no file"):
        other.restore("nothing.txt", run_path=run.path)


def test_an_offline_run_is_synced_with_its_artifacts(place: Place, make: Make) -> None:
    from trackkit.sync import sync

    run = place.run(mode="offline")
    run.log_artifact(make({"f": "1"}), aliases=["later"])
    run.finish()

    (sent,) = sync([place.root], to=place.sink)

    assert sent.error == ""
    assert place.api().artifact("p/data:later").version == "v0"
