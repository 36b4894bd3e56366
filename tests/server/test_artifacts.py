"""Artifacts over the API: who may see and change what, ranges, pages, parts."""

from __future__ import annotations

import os
from binascii import crc32
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import trackkit
from tests.servers import Serving

QUIET: dict[str, Any] = {
    "system": False, "console": "off", "git": False, "code": False, "packages": False, "quiet": True, "interval": 0.05,
}  # fmt: skip
Log = Callable[..., str]


@pytest.fixture
def log(request: pytest.FixtureRequest, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Log:
    """Logs an artifact to the server; the version's id."""
    is_guarded = "guarded" in request.fixturenames
    server: Serving = request.getfixturevalue("guarded" if is_guarded else "server")
    if is_guarded:
        monkeypatch.setenv("TRACKKIT_TOKEN", server.token("logger"))

    def logged(files: dict[str, bytes], project: str = "p", name: str = "data", **more: Any) -> str:
        artifact = trackkit.Artifact(name, "dataset", metadata=more.pop("metadata", None))
        for path, content in files.items():
            with artifact.new_file(path, "wb") as file:
                file.write(content)
        place = {"dir": folder / "here", "sink": server.address}
        with trackkit.init(project=project, settings=QUIET, reinit="create_new", **place) as run:  # type: ignore[arg-type]
            return run.log_artifact(artifact, **more).wait(20).id

    return logged


def test_a_range_of_a_file_is_sent(server: Serving, log: Log) -> None:
    id = log({"f.bin": b"0123456789"})

    part = server.ask("GET", f"/artifacts/{id}/content/f.bin", headers={"range": "bytes=3-5"})
    rest = server.ask("GET", f"/artifacts/{id}/content/f.bin", headers={"range": "bytes=7-"})

    assert (part.status_code, part.content) == (206, b"345")
    assert (rest.status_code, rest.content) == (206, b"789")
    assert part.headers["content-range"] == "bytes 3-5/10"
    assert "sandbox" in part.headers["content-security-policy"]
    assert part.headers["content-disposition"].startswith("attachment")


def test_entries_come_in_pages(server: Serving, log: Log) -> None:
    id = log({f"d/{number:03}": b"x" * number for number in range(25)} | {"other": b""})

    first = server.get(f"/artifacts/{id}/entries", prefix="d/", limit=20)
    second = server.get(f"/artifacts/{id}/entries", prefix="d/", limit=20, after=first["entries"][-1]["path"])

    assert (len(first["entries"]), first["count"], first["size"], first["done"]) == (20, 25, 300, False)
    assert [entry["path"] for entry in second["entries"]] == [f"d/{number:03}" for number in range(20, 25)]
    assert second["done"]


def test_two_versions_are_compared(server: Serving, log: Log) -> None:
    old = log({"same": b"1", "changed": b"2", "gone": b"3"}, metadata={"rows": 1, "kept": 0})
    new = log({"same": b"1", "changed": b"4", "new": b"5"}, metadata={"rows": 2, "kept": 0})

    told = server.get(f"/artifacts/{old}/diff/{new}")

    assert {one["path"]: one["change"] for one in told["changes"]} == {
        "changed": "changed", "gone": "removed", "new": "added",
    }  # fmt: skip
    assert (told["added"], told["removed"], told["changed"], told["unchanged"]) == (1, 1, 1, 1)
    assert told["metadata"] == {"rows": [1, 2]}


def test_a_token_sees_the_artifacts_of_its_projects_alone(guarded: Serving, log: Log) -> None:
    mine, theirs = log({"f": b"1"}, "mine"), log({"f": b"2"}, "theirs")
    headers = {"authorization": f"Bearer {guarded.token(projects=['mine'])}"}

    def ask(method: str, path: str, **more: Any) -> int:
        return guarded.ask(method, path, headers=headers, **more).status_code

    listed = guarded.ask("GET", "/artifacts", headers=headers).json()["collections"]
    assert [one["project"] for one in listed] == ["mine"]
    assert ask("GET", f"/artifacts/{mine}") == 200
    for path in ("", "/entries", "/content/f", "/runs", "/lineage", f"/blobs/{sha256(b'2').hexdigest()}"):
        assert ask("GET", f"/artifacts/{theirs}{path}") == 404
    assert ask("GET", f"/artifacts/{mine}/diff/{theirs}") == 404
    assert ask("GET", f"/artifacts/{mine}/blobs/{sha256(b'2').hexdigest()}") == 404
    assert ask("GET", "/artifacts/find?reference=theirs/data:latest") == 404
    assert ask("GET", "/artifacts/versions?project=theirs&name=data") == 404
    assert ask("PATCH", f"/artifacts/{theirs}", json={"description": "x"}) == 404
    assert ask("DELETE", f"/artifacts/{theirs}") == 404
    assert ask("POST", f"/artifacts/{mine}/link", json={"project": "theirs", "name": "x"}) == 404
    assert ask("GET", "/collections/history?project=theirs&name=data") == 404
    assert ask("GET", f"/artifacts/{mine}") == 200


def test_reading_tokens_change_nothing_and_protection_is_for_administrators(guarded: Serving, log: Log) -> None:
    id, other = log({"f": b"1"}, aliases=["gold"]), log({"f": b"2"})
    secrets = {scope: guarded.token(scope=scope) for scope in ("read", "write", "admin")}

    def ask(scope: str, method: str, path: str, **more: Any) -> int:
        headers = {"authorization": f"Bearer {secrets[scope]}"}
        return guarded.ask(method, path, headers=headers, **more).status_code

    assert ask("read", "PUT", f"/artifacts/{id}/aliases/x", json={}) == 403
    assert ask("write", "PUT", f"/artifacts/{id}/aliases/gold", json={"protected": True}) == 403
    assert ask("admin", "PUT", f"/artifacts/{id}/aliases/gold", json={"protected": True}) == 200
    assert ask("write", "PUT", f"/artifacts/{other}/aliases/gold", json={}) == 403
    assert ask("write", "DELETE", f"/artifacts/{id}/aliases/gold") == 403
    assert ask("write", "DELETE", f"/artifacts/{id}?aliases=true") == 403
    assert ask("write", "PUT", "/budgets", json={"project": "p", "bytes": 1}) == 403
    assert ask("admin", "PUT", f"/artifacts/{other}/aliases/gold", json={}) == 200

    headers = {"authorization": f"Bearer {secrets['read']}"}
    moves = guarded.ask("GET", "/collections/history?project=p&name=data", headers=headers).json()["moves"]
    assert (moves[0]["alias"], moves[0]["before"], moves[0]["after"]) == ("gold", 0, 1)
    assert moves[0]["actor"] == "somebody"


def test_a_blob_grows_part_by_part_wherever_the_client_stands(server: Serving, root: Path) -> None:
    content = os.urandom(300_000)
    digest = sha256(content).hexdigest()

    def put(start: int, stop: int) -> Any:
        part = content[start:stop]
        url = f"/blobs/{digest}/parts?offset={start}&size={len(content)}&check={crc32(part)}"
        return server.ask("PUT", url, data=part).json()

    assert put(0, 100_000) == {"offset": 100_000, "complete": False}
    assert put(0, 100_000) == {"offset": 100_000, "complete": False}
    assert put(200_000, 300_000) == {"offset": 100_000, "complete": False}
    assert server.get(f"/blobs/{digest}/parts") == {"offset": 100_000, "complete": False}
    assert put(100_000, 200_000)["offset"] == 200_000
    assert put(200_000, 300_000) == {"offset": 300_000, "complete": True}
    assert put(200_000, 300_000)["complete"]
    assert (root / "blobs" / digest[:2] / digest).read_bytes() == content
    assert server.ask("POST", "/blobs/lacking", json={"digests": [digest, "0" * 64]}).json() == {"digests": ["0" * 64]}


def test_a_large_blob_is_refused_where_the_server_has_a_limit(root: Path) -> None:
    from tests.servers import serving

    with serving(root, max_blob_mb=1) as server:
        answer = server.ask("PUT", f"/blobs/{'0' * 64}/parts?offset=0&size=2000000&check=0", data=b"")

    assert answer.status_code == 413


def test_a_change_by_hand_is_live(server: Serving, log: Log) -> None:
    id = log({"f": b"1"})

    answer = server.ask("PATCH", f"/artifacts/{id}", json={"tags": ["a"], "aliases_added": ["new"]})

    assert answer.json()["version"]["aliases"] == ["latest", "new"]
    assert server.get("/artifacts/find", reference="p/data:new")["version"]["tags"] == ["a"]
    bad = server.ask("PATCH", f"/artifacts/{id}", json={"aliases_added": ["v7"]})
    assert (bad.status_code, "can't be an alias" in bad.text) == (400, True)
    assert server.ask("PATCH", f"/artifacts/{id}", json={"aliases_removed": ["latest"]}).status_code == 400
