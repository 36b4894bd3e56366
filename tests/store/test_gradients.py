"""Watched steps read back as matrices over steps, from one writer, several, and shards."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.store.conftest import Filler
from trackkit.backend.store import gradients
from trackkit.backend.store.database import Database
from trackkit.core.blobs import Blobs
from trackkit.core.gradients import frames
from trackkit.core.gradients.frames import Frame, Layers
from trackkit.core.gradients.layout import EXPONENTS, Tally

EPOCH = 1_700_000_000_000_000


def tally(values: list[Any]) -> Tally:
    """What measuring each array says, worked out by NumPy."""
    arrays = [np.asarray(each, np.float64) for each in values]
    exponents = np.zeros((len(arrays), EXPONENTS), np.int64)
    for number, each in enumerate(arrays):
        finite = each[np.isfinite(each)].astype(np.float32)
        places = (finite.view(np.int32) >> 23) + EXPONENTS // 2
        exponents[number] = np.bincount(places, minlength=EXPONENTS)

    def of(call: Any) -> Any:
        return np.array([call(each) if each.size else 0.0 for each in arrays], np.float64)

    return Tally(
        np.array([each.size for each in arrays]), of(np.sum), of(lambda each: (each**2).sum()),
        of(lambda each: ((each - each.mean()) ** 2).sum()), of(np.min), of(np.max), of(lambda each: (each == 0).sum()),
        of(lambda each: np.isnan(each).sum()), of(lambda each: np.isinf(each).sum()), exponents,
    )  # fmt: skip


def frame(*values: Any) -> Frame:
    return frames.summarise(tally(list(values)))


class Watching:
    """Writes watched steps into a store as ingest does."""

    def __init__(self, fill: Filler, folder: Path) -> None:
        self.db = fill.db
        self.blobs = Blobs(folder)
        self.run = fill.run("a")
        self._seq = 0

    def layers(self, *names: str, writer: str = "w", **more: Any) -> Layers:
        sizes = more.pop("sizes", [4] * len(names))
        its = Layers(list(names), [[size] for size in sizes], sizes, ["Linear"] * len(names), **more)
        self._object("layers", writer, None, its.encode(), f'{{"digest": "{its.digest}"}}')
        return its

    def step(self, step: int, its: Layers, found: Frame, *, writer: str = "w", blob: bool = False) -> None:
        self._object("watch", writer, step, frames.encode(found), f'{{"layers": "{its.digest}"}}', blob=blob)

    def _object(
        self, kind: str, writer: str, step: int | None, content: bytes, metadata: str, *, blob: bool = False
    ) -> None:
        self._seq += 1
        digest = self.blobs.put_bytes(content) if blob else ""
        row = {
            "run": self.run, "writer": writer, "seq": self._seq, "key": "gradients", "kind": kind, "path": "",
            "size": len(content), "digest": digest, "inline": None if blob else content, "step": step,
            "time": EPOCH + self._seq, "metadata": metadata,
        }  # fmt: skip
        self.db.insert_many("objects", list(row), [list(row.values())])

    def read(self, **more: Any) -> gradients.Watched:
        return gradients.read(self.db, self.blobs, self.run, "gradients", histograms=True, **more)


@pytest.fixture
def watching(db: Database, tmp_path: Path) -> Watching:
    return Watching(Filler(db), tmp_path)


def test_keys_and_their_steps_are_listed(watching: Watching) -> None:
    its = watching.layers("a")
    for step in (0, 100, 100, 300):
        watching.step(step, its, frame([1, 2, 3, 4]))
    assert gradients.keys(watching.db, watching.run) == [("gradients", 3, 0, 300)]


def test_a_step_recorded_twice_is_read_as_it_was_last_and_blobs_like_what_lies_in_rows(watching: Watching) -> None:
    its = watching.layers("a")
    watching.step(0, its, frame([1, 0, 0, 0]))
    watching.step(5, its, frame([2, 0, 0, 0]), blob=True)
    watching.step(0, its, frame([3, 0, 0, 0]))
    found = watching.read()
    assert found.steps.tolist() == [0, 5]
    assert [float(each.of("norm")[0]) for each in found.frames] == [3.0, 2.0]
    assert watching.read(first=1).steps.tolist() == [5]


def test_content_that_is_missing_or_damaged_is_left_out(watching: Watching) -> None:
    its = watching.layers("a")
    watching.step(0, its, frame([1, 0, 0, 0]), blob=True)
    watching.step(1, its, frame([2, 0, 0, 0]))
    watching._object("watch", "w", 2, b"\x93\x01\x02", f'{{"layers": "{its.digest}"}}')
    watching._object("watch", "w", 3, frames.encode(frame([1], [2])), f'{{"layers": "{its.digest}"}}')
    for digest in list(watching.blobs.iterate()):
        watching.blobs.delete(digest)
    assert watching.read().steps.tolist() == [1]


def test_layers_that_come_and_go_have_a_column_throughout(watching: Watching) -> None:
    first = watching.layers("a", "b")
    watching.step(0, first, frame([1, 0, 0, 0], [2, 0, 0, 0]))
    second = watching.layers("b", "c")
    watching.step(1, second, frame([3, 0, 0, 0], [4, 0, 0, 0]))
    found = watching.read()
    assert found.layers.names == ["a", "b", "c"]
    norms = np.array([each.of("norm") for each in found.frames])
    np.testing.assert_array_equal(norms, [[1, 2, math.nan], [math.nan, 3, 4]])


def test_shards_of_several_writers_are_read_as_the_whole(watching: Watching) -> None:
    rng = np.random.default_rng(0)
    whole = [rng.normal(3, 0.5, 600), np.r_[np.zeros(50), rng.normal(0, 100, 50)]]
    cuts = [(250, 40), (600, 100)]
    begin = (0, 0)
    for number, end in enumerate(cuts):
        parts = [values[a:b] for values, a, b in zip(whole, begin, end, strict=True)]
        its = watching.layers("a", "b", writer=f"w{number}", sharded=True, sizes=[part.size for part in parts])
        watching.step(7, its, frame(*parts), writer=f"w{number}")
        begin = end
    found, expected = watching.read().frames[0], frame(*whole)
    for name in frames.STATISTICS[:-1]:
        np.testing.assert_allclose(found.of(name), expected.of(name), rtol=1e-4, err_msg=name)
    assert found.tops is not None
    assert expected.tops is not None
    assert found.tops.tolist() == expected.tops.tolist()
    np.testing.assert_array_equal(found.histograms, expected.histograms)


def test_processes_that_hold_the_same_gradients_are_not_added_up(watching: Watching) -> None:
    for writer in ("w0", "w1"):
        its = watching.layers("a", writer=writer)
        watching.step(0, its, frame([3, 4, 0, 0]), writer=writer)
    assert float(watching.read().frames[0].of("norm")[0]) == 5.0


def test_a_heat_map_has_a_column_per_step_or_per_bucket_and_keeps_a_spike(watching: Watching) -> None:
    its = watching.layers("a", "b")
    for step in range(0, 1000, 10):
        watching.step(step, its, frame([99.0 if step == 550 else 1.0], [2.0]))
    watched = watching.read()
    exact = gradients.heat_map(watched, "norm", 100)
    assert (exact.width, exact.values.shape, exact.steps[-1]) == (0.0, (2, 100), 990)
    coarse = gradients.heat_map(watched, "norm", 7)
    assert coarse.values.shape == (2, 7)
    assert coarse.values[0].max() == 99.0
    assert gradients.heat_map(watched, "norm", 7, "min").values[0].max() == 1.0
    assert gradients.heat_map(watched, "norm", 7, "last").values[1].tolist() == [2.0] * 7
    mean = gradients.heat_map(watched, "norm", 1, "mean").values[0, 0]
    assert mean == pytest.approx((99 + 99) / 100)


def test_a_heat_map_tells_numbers_that_are_none_from_layers_that_took_no_part(watching: Watching) -> None:
    its = watching.layers("a", "b")
    watching.step(0, its, frame([math.nan, math.inf, 1], []))
    found = gradients.heat_map(watching.read(), "norm", 10)
    assert np.isnan(found.values).all()
    assert found.nonfinite.tolist() == [[2.0], [0.0]]


def test_a_distribution_follows_a_layer_whose_gradients_shrink(watching: Watching) -> None:
    its = watching.layers("a")
    for step in range(8):
        watching.step(step, its, frame([2.0**-step, -(2.0**-step), 0.0, 2.0**-step]))
    found = gradients.distribution(watching.read(), "a", 100)
    assert found.high == 0
    octaves = found.high - found.low + 1
    assert found.shares.shape == (2 * octaves + 1, 8)
    np.testing.assert_allclose(found.shares.sum(0), 1)
    for step in range(8):
        place = -step - found.low + 1
        assert found.shares[octaves + place, step] == 0.5
        assert found.shares[octaves - place, step] == 0.25
        assert found.shares[octaves, step] == 0.25


def test_a_distribution_of_an_unknown_layer_is_refused(watching: Watching) -> None:
    watching.step(0, watching.layers("a"), frame([1.0]))
    with pytest.raises(KeyError):
        gradients.distribution(watching.read(), "z", 10)


def test_a_layer_of_zeros_has_a_distribution(watching: Watching) -> None:
    watching.step(0, watching.layers("a"), frame([0.0, 0.0]))
    found = gradients.distribution(watching.read(), "a", 10)
    assert found.shares[len(found.shares) // 2].tolist() == [1.0]


def test_a_run_without_any_watched_step_gives_empty_matrices(watching: Watching) -> None:
    found = gradients.heat_map(watching.read(), "norm", 10)
    assert found.values.shape == (0, 0)
