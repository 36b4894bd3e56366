"""Reading journals: what was appended comes back, and damage costs no more than what it hit."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackkit.core.journal import (
    HEADER,
    JournalReader,
    WriterLock,
    is_alive,
    lock_if_dead,
    read_sinks,
    segment_name,
    segments,
    write_sinks,
    writer_folders,
)
from trackkit.core.writer import JournalWriter

PAYLOADS = st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=60)
ZEROS_AND_POWERS = st.lists(
    st.sampled_from([b"\0" * 64, b"\1" + b"\0" * 63, b"x" * 128, b"\0" * 8, b"y" * 256, b"z"]), min_size=1, max_size=40
)
"""Payloads on which damage is easily taken for the end of a segment."""


def write(folder: Path, payloads: list[bytes], segment_bytes: int = 1 << 20) -> Path:
    writer = JournalWriter(folder, "run", "writer", sinks=[], segment_bytes=segment_bytes)
    for payload in payloads:
        writer.append(payload)
    writer.close(acknowledged=False)
    return writer.folder


def read_all(folder: Path, limit: int = 1 << 20, *, final: bool = True) -> tuple[list[bytes], list[str]]:
    reader, offset, found = JournalReader(folder, final=final), 0, []
    while True:
        frames = reader.read(offset, limit)
        found += frames.payloads
        if frames.end == offset:
            return found, reader.damage
        assert frames.end > offset, "reading never goes back"
        offset = frames.end


def frame_bounds(payloads: list[bytes]) -> list[tuple[int, int]]:
    bounds, position = [], 0
    for payload in payloads:
        bounds.append((position, position + 8 + len(payload)))
        position += 8 + len(payload)
    return bounds


def is_subsequence(part: list[bytes], whole: list[bytes]) -> bool:
    rest: Iterator[bytes] = iter(whole)
    return all(item in rest for item in part)


@given(PAYLOADS, st.sampled_from([4096, 8192, 1 << 20]), st.integers(8, 2000))
@settings(max_examples=60, deadline=None)
def test_everything_appended_is_read_back_in_order_whatever_the_segment_size_and_the_limit(
    payloads: list[bytes], segment_bytes: int, limit: int
) -> None:
    with TemporaryDirectory() as root:
        folder = write(Path(root), payloads, segment_bytes)

        assert read_all(folder, limit) == (payloads, [])
        assert read_all(folder, limit, final=False) == (payloads, [])


@given(PAYLOADS, st.data())
@settings(max_examples=60, deadline=None)
def test_reading_goes_on_at_the_end_of_any_frame(payloads: list[bytes], data: st.DataObject) -> None:
    with TemporaryDirectory() as root:
        folder = write(Path(root), payloads)
        bounds = frame_bounds(payloads)
        index = data.draw(st.integers(0, len(payloads) - 1))

        frames = JournalReader(folder, final=True).read(bounds[index][0])

        assert frames.payloads == payloads[index:]
        assert frames.ends == [end for _, end in bounds[index:]]
        assert (frames.start, frames.end) == (bounds[index][0], bounds[-1][1])


@given(PAYLOADS | ZEROS_AND_POWERS, st.data())
@settings(max_examples=150, deadline=None)
def test_a_flipped_bit_costs_no_frame_before_it_and_is_reported(payloads: list[bytes], data: st.DataObject) -> None:
    with TemporaryDirectory() as root:
        folder = write(Path(root), payloads)
        bounds = frame_bounds(payloads)
        bit = data.draw(st.integers(0, bounds[-1][1] * 8 - 1))
        hit = next(index for index, (start, end) in enumerate(bounds) if start <= bit // 8 < end)
        flip(folder / segment_name(0), bit)

        found, damage = read_all(folder, data.draw(st.integers(8, 4000)))

        assert found[:hit] == payloads[:hit]
        assert len(found) < len(payloads)
        assert is_subsequence(found, payloads)
        assert damage
        assert all("left out" in note for note in damage)


@given(PAYLOADS, st.data())
@settings(max_examples=60, deadline=None)
def test_a_flipped_bit_in_a_payload_costs_that_frame_alone(payloads: list[bytes], data: st.DataObject) -> None:
    with TemporaryDirectory() as root:
        folder = write(Path(root), payloads)
        hit = data.draw(st.integers(0, len(payloads) - 1))
        start, end = frame_bounds(payloads)[hit]
        flip(folder / segment_name(0), data.draw(st.integers((start + 8) * 8, end * 8 - 1)))

        found, damage = read_all(folder)

        assert found == payloads[:hit] + payloads[hit + 1 :]
        assert len(damage) == 1
        assert f"at offset {start}: {end - start} bytes" in damage[0]


@given(PAYLOADS | ZEROS_AND_POWERS, st.data())
@settings(max_examples=100, deadline=None)
def test_a_cut_journal_keeps_every_whole_frame(payloads: list[bytes], data: st.DataObject) -> None:
    with TemporaryDirectory() as root:
        folder = write(Path(root), payloads)
        bounds = frame_bounds(payloads)
        length = data.draw(st.integers(0, bounds[-1][1]))
        kept = [payload for payload, (_, end) in zip(payloads, bounds, strict=True) if end <= length]
        path = folder / segment_name(0)
        os.truncate(path, length)
        rest = path.read_bytes()[sum(8 + len(payload) for payload in kept) :]

        found, damage = read_all(folder, data.draw(st.integers(8, 4000)))

        assert found == kept
        assert bool(damage) == bool(rest.strip(b"\0"))


def test_damage_in_one_segment_leaves_the_others_alone(tmp_path: Path) -> None:
    payloads = [bytes([number]) * 1000 for number in range(1, 21)]
    folder = write(tmp_path, payloads, segment_bytes=4096)
    _, second, *rest = segments(folder)
    assert rest
    second[1].write_bytes(b"\xff" * second[1].stat().st_size)

    found, damage = read_all(folder)

    assert found == payloads[:4] + payloads[8:]
    assert len(damage) == 1


def test_a_lost_segment_leaves_the_others_alone(tmp_path: Path) -> None:
    payloads = [bytes([number]) * 1000 for number in range(1, 21)]
    folder = write(tmp_path, payloads, segment_bytes=4096)
    segments(folder)[1][1].unlink()

    found, _ = read_all(folder)

    assert found == payloads[:4] + payloads[8:]


def test_a_journal_of_garbage_reads_as_nothing_and_says_so(tmp_path: Path) -> None:
    folder = write(tmp_path, [b"x"])
    (folder / segment_name(0)).write_bytes(os.urandom(10_000))

    found, damage = read_all(folder)

    assert found == []
    assert damage


def test_what_a_live_writer_has_not_finished_is_waited_for(tmp_path: Path) -> None:
    folder = write(tmp_path, [b"whole", b"unfinished"])
    path = folder / segment_name(0)
    data = path.read_bytes()
    path.write_bytes(data[:-3] + b"\0\0\0" + bytes(100))
    reader = JournalReader(folder, final=False)

    before = reader.read(0)
    path.write_bytes(data + bytes(100))
    after = reader.read(before.end)

    assert before.payloads == [b"whole"]
    assert after.payloads == [b"unfinished"]
    assert reader.damage == []


def test_a_killed_writers_journal_ends_where_the_zeros_begin(tmp_path: Path) -> None:
    folder = write(tmp_path, [b"one", b"two"])
    path = folder / segment_name(0)
    path.write_bytes(path.read_bytes() + bytes(100_000))

    assert read_all(folder) == ([b"one", b"two"], [])


def test_a_frame_larger_than_the_limit_is_read_whole(tmp_path: Path) -> None:
    payloads = [b"small", b"x" * 3_000_000, b"last"]
    folder = write(tmp_path, payloads, segment_bytes=8 << 20)

    assert read_all(folder, limit=1000) == (payloads, [])


def test_a_claimed_length_beyond_the_limit_is_damage(tmp_path: Path) -> None:
    folder = write(tmp_path, [b"good"])
    with open(folder / segment_name(0), "ab") as file:
        file.write(HEADER.pack(33 * 1024 * 1024, 1) + b"x" * 100)

    found, damage = read_all(folder)

    assert found == [b"good"]
    assert len(damage) == 1


def test_a_segment_deleted_while_it_is_read_ends_nothing_else(tmp_path: Path) -> None:
    payloads = [bytes([number]) * 1000 for number in range(1, 13)]
    folder = write(tmp_path, payloads, segment_bytes=4096)
    reader = JournalReader(folder, final=False)
    first = reader.read(0)
    segments(folder)[0][1].unlink()

    second = reader.read(first.end)

    assert first.payloads == payloads[:4]
    assert second.payloads == payloads[4:8]


def test_only_segments_count_among_a_journals_files(tmp_path: Path) -> None:
    folder = write(tmp_path, [b"x"])
    for name in ("notes.txt", "x.journal", "00000000000000000009.spill"):
        (folder / name).write_bytes(b"\xff" * 50)

    assert [start for start, _ in segments(folder)] == [0]
    assert read_all(folder) == ([b"x"], [])


def test_writers_are_found_by_run_and_hidden_ones_are_not(tmp_path: Path) -> None:
    for run, writer in (("b", "2"), ("b", "1"), ("a", "3"), ("a", ".unfinished")):
        (tmp_path / "journals" / run / writer).mkdir(parents=True)

    assert [path.parent.name + path.name for path in writer_folders(tmp_path)] == ["a3", "b1", "b2"]
    assert [path.name for path in writer_folders(tmp_path, "b")] == ["1", "2"]
    assert list(writer_folders(tmp_path / "nowhere")) == []
    assert list(writer_folders(tmp_path, "unknown")) == []


def test_a_writer_is_alive_while_its_process_holds_the_lock(tmp_path: Path) -> None:
    code = "import sys, pathlib; from trackkit.core.journal import WriterLock\n"
    code += "lock = WriterLock(pathlib.Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"

        alive, lock = is_alive(tmp_path), lock_if_dead(tmp_path)
        with pytest.raises(BlockingIOError, match="another process holds"):
            WriterLock(tmp_path)
        process.kill()

    assert alive
    assert lock is None
    assert not is_alive(tmp_path)


def test_only_one_can_take_over_a_dead_writers_journal(tmp_path: Path) -> None:
    WriterLock(tmp_path).release()

    first, second = lock_if_dead(tmp_path), lock_if_dead(tmp_path)

    assert first is not None
    assert second is None
    first.release()


def test_the_sinks_offsets_are_kept_beside_the_journal(tmp_path: Path) -> None:
    write_sinks(tmp_path, {"sqlite:": 10, "http://host": 0})
    write_sinks(tmp_path, {"sqlite:": 20, "http://host": 5})

    assert read_sinks(tmp_path) == {"sqlite:": 20, "http://host": 5}


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"sqlite:": "x"}', "\x00\xff"])
def test_a_damaged_note_of_offsets_means_none_are_known(tmp_path: Path, text: str) -> None:
    (tmp_path / "sinks.json").write_text(text)

    assert read_sinks(tmp_path) == {}


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
