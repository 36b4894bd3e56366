"""Submissions, versions, aliases, lineage and budgets, on every database."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.store.conftest import Filler
from trackkit.backend.store import artifacts, budgets, lineage, runs, submissions
from trackkit.backend.store.artifacts import Protected, Refusal, VersionRow
from trackkit.backend.store.blobstore import FolderBlobs
from trackkit.backend.store.database import Database
from trackkit.core import records
from trackkit.core.blobs import Blobs
from trackkit.core.manifest import Entry, Manifest, Reference
from trackkit.core.sink import Edit


class Logger:
    """Logs artifacts as runs do."""

    def __init__(self, db: Database, fill: Filler, root: Path) -> None:
        self.db = db
        self.blobs = FolderBlobs(Blobs(root))
        self.run = fill.run("maker")
        self.user = fill.run("user")
        self._seq = 0

    def submit(self, files: dict[str, str], name: str = "data", **more: object) -> submissions.Submission:
        """A submission whose files are all there."""
        entries = {path: Entry(len(text), self.blobs.put_bytes(text.encode())) for path, text in files.items()}
        manifest = Manifest(entries)
        self.blobs.put_bytes(manifest.encode())
        self._seq += 1
        token = f"t{self._seq}"
        given = {"kind": "dataset", "size": manifest.size, "count": len(manifest), **more}
        record = records.Artifact(float(self._seq), token, name, digest=manifest.digest, **given)  # type: ignore[arg-type]
        with self.db.atomic():
            submissions.receive(self.db, self.run, "w", self._seq, record)
        found = submissions.find(self.db, self.run, token)
        assert found is not None
        return found

    def log(self, files: dict[str, str], name: str = "data", **more: object) -> VersionRow:
        """A version."""
        done = submissions.commit(self.db, self.blobs, self.submit(files, name, **more))
        assert done.version is not None, done.reason
        row = artifacts.get(self.db, done.version)
        assert row is not None
        return row

    def find(self, reference: str) -> VersionRow | None:
        return artifacts.find(self.db, Reference.parse(reference), "p")


@pytest.fixture
def logger(db: Database, fill: Filler, tmp_path: Path) -> Logger:
    return Logger(db, fill, tmp_path / "blobs-root")


def test_nothing_is_a_version_before_all_of_its_files_are_there(logger: Logger, db: Database) -> None:
    submission = logger.submit({"a": "1", "b": "2"})
    lost = Manifest.decode(logger.blobs.blobs.path(submission.digest).read_bytes())["b"].digest
    logger.blobs.delete([lost])

    with pytest.raises(submissions.Lacking) as told:
        submissions.commit(db, logger.blobs, submission)

    assert told.value.digests == [lost]
    assert artifacts.collections(db) == []
    assert logger.find("data") is None
    logger.blobs.put_bytes(b"2")
    assert submissions.commit_waiting(db, logger.blobs) == 0
    assert logger.find("data:latest") is not None


def test_committing_twice_makes_one_version(logger: Logger, db: Database) -> None:
    submission = logger.submit({"a": "1"})

    done = [submissions.commit(db, logger.blobs, submission) for _ in range(2)]

    assert done[0].version == done[1].version
    assert len(artifacts.versions(db, (done[0].version and logger.log({"a": "1"}).collection) or 0)) == 1


def test_versions_are_numbered_and_the_latest_follows(logger: Logger) -> None:
    numbers = [logger.log({"a": text}, aliases=[f"n{text}"]).number for text in ("1", "1", "2", "1")]

    assert numbers == [0, 0, 1, 2]
    found = logger.find("data:latest")
    assert found is not None
    assert (found.number, found.aliases) == (2, ["latest", "n1"])


def test_the_history_tells_who_moved_an_alias(logger: Logger, db: Database) -> None:
    first = logger.log({"a": "1"}, aliases=["best"])
    logger.log({"a": "2"}, aliases=["best"])
    with db.atomic():
        artifacts.set_alias(db, first.version, "best", "ada")
        artifacts.drop_alias(db, first.version, "best", "ada")

    told = [
        (move.before, move.after, move.actor) for move in artifacts.moves(db, first.collection) if move.alias == "best"
    ]

    assert told == [(0, None, "ada"), (1, 0, "ada"), (0, 1, "run maker"), (None, 0, "run maker")]


def test_a_protected_alias_moves_by_force_alone(logger: Logger, db: Database) -> None:
    first, second = logger.log({"a": "1"}), logger.log({"a": "2"})
    with db.atomic():
        artifacts.set_alias(db, first.version, "gold", "ada", force=True, protect=True)

    with pytest.raises(Protected), db.atomic():
        artifacts.set_alias(db, second.version, "gold", "bob")
    with pytest.raises(Protected), db.atomic():
        artifacts.drop_alias(db, first.version, "gold", "bob")
    with db.atomic():
        artifacts.set_alias(db, second.version, "gold", "ada", force=True)

    found = logger.find("data:gold")
    assert found is not None
    assert found.version == second.version
    assert artifacts.protected(db, first.collection) == ["gold"]


def test_a_deleted_version_gives_latest_back(logger: Logger, db: Database) -> None:
    logger.log({"a": "1"})
    last = logger.log({"a": "2"})
    with db.atomic():
        artifacts.delete(db, last.version, "ada")

    found = logger.find("data")
    assert found is not None
    assert found.number == 0
    assert logger.find("data:v1") is None
    assert logger.log({"a": "2"}).number == 2


def test_the_registry_has_versions_of_its_own(logger: Logger, db: Database) -> None:
    source = logger.log({"a": "1"})
    with db.atomic():
        linked = artifacts.link(db, source.version, "registry", "gold", ["production"], "ada")

    assert (linked.path, linked.source, linked.aliases) == (
        "registry/gold:v0",
        source.version,
        ["latest", "production"],
    )
    with pytest.raises(Refusal, match="in that collection already"), db.atomic():
        artifacts.link(db, linked.version, "registry", "gold", [], "ada")


def test_what_is_edited_is_read_back(logger: Logger, db: Database) -> None:
    row = logger.log({"a": "1"}, tags=["t"])
    change = Edit("d", {"k": [1, "ä"]}, ["u", "v"], 5.0, aliases_added=["new"])
    with db.atomic():
        artifacts.edit(db, row.version, change, "ada")

    found = artifacts.get(db, row.version)
    assert found is not None
    assert (found.description, found.metadata, found.tags, found.expires) == (
        "d",
        '{"k":[1,"ä"]}',
        ["u", "v"],
        5_000_000,
    )
    assert found.aliases == ["latest", "new"]
    assert artifacts.expired(db, 6.0) == [row.version]


def test_lineage_reaches_through_runs_and_links(logger: Logger, db: Database) -> None:
    data = logger.log({"a": "1"})
    use = records.Use(1.0, "data:latest", "p", "data", "dataset", 0, data.digest)
    submissions.note_use(db, logger.user, "w", 1, use)
    with db.atomic():
        linked = artifacts.link(db, data.version, "registry", "gold", [], "ada")

    graph = lineage.around(db, ("run", logger.user))

    assert {run.id for run in graph.runs} == {"maker", "user"}
    assert {row.version for row in graph.versions} == {data.version, linked.version}
    edges = {(edge.source, edge.target, edge.kind) for edge in graph.edges}
    assert edges == {
        (("run", logger.run), ("artifact", data.version), "logged"),
        (("artifact", data.version), ("run", logger.user), "used"),
        (("artifact", data.version), ("artifact", linked.version), "linked"),
    }
    assert graph.complete
    assert not lineage.around(db, ("run", logger.user), depth=1).complete
    assert len(lineage.around(db, ("run", logger.user), most=2).edges) == 1


def test_hundreds_of_nodes_are_one_graph(logger: Logger, db: Database, fill: Filler) -> None:
    data = logger.log({"a": "1"})
    for number in range(300):
        run = fill.run(f"u{number}")
        submissions.note_use(db, run, "w", 1, records.Use(1.0, "data", "p", "data", "dataset", 0, data.digest))

    graph = lineage.around(db, ("artifact", data.version))

    assert len(graph.runs) == 301
    assert len(graph.edges) == 301


def test_parts_come_in_any_order(logger: Logger, db: Database) -> None:
    end = logger.submit({"end": "e"}, draft="d", parts=2)
    assert submissions.commit(db, logger.blobs, end).state == "pending"
    first = logger.submit({"one": "1"}, draft="d", is_part=True)
    assert submissions.commit(db, logger.blobs, first).state == "complete"
    assert artifacts.collections(db) == []

    second = logger.submit({"two": "2"}, draft="d", is_part=True)
    done = submissions.commit(db, logger.blobs, second)

    assert done.state == "committed"
    row = logger.find("data:v0")
    assert row is not None
    assert list(Manifest.decode(logger.blobs.blobs.path(row.digest).read_bytes())) == ["end", "one", "two"]


def test_a_part_that_comes_too_late_is_told(logger: Logger, db: Database) -> None:
    submissions.commit(db, logger.blobs, logger.submit({"end": "e"}, draft="d"))
    submissions.commit(db, logger.blobs, logger.submit({"one": "1"}, draft="d", is_part=True))

    assert ["came after its version was made" in alert.text for alert in runs.alerts(db, logger.run)] == [True]


def test_shared_bytes_count_once(logger: Logger, db: Database) -> None:
    logger.log({"a": "x" * 100, "b": "y"})
    logger.log({"a": "x" * 100, "b": "z"})

    assert budgets.usage(db, logger.blobs, "p") == 102


@pytest.mark.parametrize("rule", ["keep", "keep last", "keep best 1", "keep last x", "drop table budgets"])
def test_a_rule_that_is_none_is_refused(rule: str) -> None:
    with pytest.raises(ValueError, match="is no rule of a budget"):
        budgets.check_rule(rule)


def test_a_refused_version_leaves_nothing_deleted(logger: Logger, db: Database) -> None:
    for text in ("1", "2"):
        logger.log({"a": text * 100})
    budgets.set_budget(db, "p", 250, "keep last 1")

    done = submissions.commit(db, logger.blobs, logger.submit({"a": "3" * 300}))

    assert done.state == "refused"
    assert "budget of 250 bytes" in done.reason
    assert [row.number for row in artifacts.versions(db, artifacts.find_collection(db, "p", "data") or 0)] == [1, 0]
