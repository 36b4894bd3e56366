"""Media on their way from `log` to the store: steps, times, order, duplicates, and what can't be encoded."""

from __future__ import annotations

import os
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trackkit
from trackkit.core import records
from trackkit.core.blobs import Blobs
from trackkit.core.media import keeping, staging
from trackkit.core.media.snapshot import Media, Snapshot
from trackkit.query import Api

SETTINGS = {"quiet": True, "system": False, "console": "off", "git": False, "packages": False, "code": False}


def start(root: Path, **more: Any) -> trackkit.Run:
    return trackkit.init(project="p", id="r", dir=root, settings=SETTINGS, **more)


def noise(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


class Unencodable(Media):
    """A value that turns out to be no good only where it is encoded."""

    kind = "image"

    def snapshot(self) -> Snapshot:
        return Snapshot("image", "image file", {"file_type": None}, {}, [b"no image at all"])


def test_media_are_found_under_their_key_and_step(tmp_path: Path) -> None:
    before = time.time()
    with start(tmp_path) as run:
        run.log({"loss": 1.0})
        run.log({"sample": trackkit.Image(noise(4, 4, 3), caption="first"), "loss": 0.5})
        run.log({"sample": trackkit.Image(noise(4, 4, 3, seed=1))}, step=7)

    read = Api(tmp_path).run("r")
    first, second = read.media("sample")
    assert (first.step, first.caption, first.kind) == (1, "first", "image")
    assert second.step == 7
    assert before <= first.created.timestamp() <= time.time()
    np.testing.assert_array_equal(np.asarray(first.image()), noise(4, 4, 3))
    assert read.series("loss").step.tolist() == [0, 1]
    assert read.media_keys() == {"sample": "image"}


def test_the_data_is_that_of_the_call_whatever_becomes_of_it(tmp_path: Path) -> None:
    array = noise(64, 64, 3)
    with start(tmp_path) as run:
        run.log({"sample": trackkit.Image(array)})
        array[:] = 0

    (item,) = Api(tmp_path).run("r").media("sample")
    np.testing.assert_array_equal(np.asarray(item.image()), noise(64, 64, 3))


def test_a_file_may_be_deleted_once_it_is_logged(tmp_path: Path) -> None:
    (tmp_path / "a.glb").write_bytes(b"glTF" * 10_000)
    with start(tmp_path / "store") as run:
        run.log({"model": trackkit.Object3D(str(tmp_path / "a.glb"))})
        (tmp_path / "a.glb").unlink()

    (item,) = Api(tmp_path / "store").run("r").media("model")
    assert item.read() == b"glTF" * 10_000


def test_a_list_stays_together_and_in_order(tmp_path: Path) -> None:
    with start(tmp_path) as run:
        run.log({"samples": [trackkit.Image(noise(4, 4, seed=seed), caption=str(seed)) for seed in range(5)]})

    items = Api(tmp_path).run("r").media("samples")
    assert [(item.index, item.caption, item.metadata["items"]) for item in items] == [
        (index, str(index), 5) for index in range(5)
    ]


def test_the_same_content_is_kept_once(tmp_path: Path) -> None:
    with start(tmp_path) as run:
        for _ in range(3):
            run.log({"sample": trackkit.Image(noise(128, 128, 3))})

    items = Api(tmp_path).run("r").media("sample")
    assert len(items) == 3
    assert len(list(Blobs(tmp_path).iterate())) == 1


def test_values_gathered_without_a_commit_have_the_step_of_the_commit(tmp_path: Path) -> None:
    with start(tmp_path) as run:
        run.log({"a": 1.0})
        run.log({"sample": trackkit.Image(noise(4, 4))}, commit=False)
        run.log({"loss": 0.5})

    read = Api(tmp_path).run("r")
    assert [item.step for item in read.media("sample")] == [1]
    assert read.series("loss").step.tolist() == [1]


def test_a_step_of_media_alone_counts(tmp_path: Path) -> None:
    with start(tmp_path) as run:
        run.log({"sample": trackkit.Image(noise(4, 4))})
        run.log({"loss": 0.5})
        run.log({"sample": trackkit.Image(noise(4, 4))})

    read = Api(tmp_path).run("r")
    assert [item.step for item in read.media("sample")] == [0, 2]
    assert read.series("loss").step.tolist() == [1]
    with start(tmp_path, resume="must") as run:
        assert run.step == 3


def test_wrong_use_is_an_error_at_the_call_that_takes_no_step(tmp_path: Path) -> None:
    with start(tmp_path) as run:
        with pytest.raises(TypeError, match="'samples' must hold media of one kind"):
            run.log({"samples": [trackkit.Image(noise(4, 4)), 3], "loss": 1.0})
        run.log({"loss": 0.5})

    assert Api(tmp_path).run("r").series("loss").step.tolist() == [0]


def test_what_can_not_be_encoded_is_told_once_and_training_goes_on(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        with start(tmp_path) as run:
            for _ in range(5):
                run.log({"bad": Unencodable(), "good": trackkit.Image(noise(4, 4)), "loss": 1.0})

    read = Api(tmp_path).run("r")
    assert len([each for each in given if "'bad'" in str(each.message)]) == 1
    (alert,) = read.alerts()
    assert alert.level == "warning"
    assert "'bad'" in alert.text
    assert len(read.media("good")) == 5
    assert "bad" not in read.media_keys()
    assert len(read.series("loss").value) == 5


def test_eight_threads_log_at_once(tmp_path: Path) -> None:
    with start(tmp_path) as run:

        def work(number: int) -> None:
            for step in range(20):
                run.log({f"sample {number}": trackkit.Image(noise(8, 8, seed=step))}, step=step)

        threads = [threading.Thread(target=work, args=[number]) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    read = Api(tmp_path).run("r")
    for number in range(8):
        items = read.media(f"sample {number}")
        assert [item.step for item in items] == list(range(20))
        np.testing.assert_array_equal(np.asarray(items[7].image()), noise(8, 8, seed=7))


def test_nothing_is_left_staged_once_a_run_is_finished(tmp_path: Path) -> None:
    with start(tmp_path) as run:
        run.log({"sample": [trackkit.Image(noise(4, 4)) for _ in range(3)]})

    assert not (tmp_path / "staging").exists()


def test_a_key_that_looks_like_a_path_leads_nowhere(tmp_path: Path) -> None:
    keys = ["../../evil", "/etc/passwd", "a/../../b", "C:\\windows", "a\x00b", "..", "x" * 900]
    with start(tmp_path / "store") as run:
        run.log({key: trackkit.Image(noise(4, 4)) for key in keys})

    read = Api(tmp_path / "store").run("r")
    for item in [item for key in keys for item in read.media(key.replace("\0", "␀"))]:
        assert (tmp_path / "out") in item.download(tmp_path / "out").parents
        assert len(item.path) < 200


def test_many_boxes_do_not_burden_whoever_lists_the_images(tmp_path: Path) -> None:
    box = {"position": {"minX": 0, "minY": 0, "maxX": 1, "maxY": 1}, "class_id": 1}
    with start(tmp_path) as run:
        run.log({"sample": trackkit.Image(noise(4, 4), boxes={"p": {"box_data": [box] * 2000}})})

    (item,) = Api(tmp_path).run("r").media("sample")
    assert "digest" in item.metadata["boxes"]
    assert item.part("boxes").count(b"position") == 2000


def test_masks_are_read_back(tmp_path: Path) -> None:
    with start(tmp_path) as run:
        run.log({"sample": trackkit.Image(noise(4, 4), masks={"m": {"mask_data": noise(4, 4) % 3}})})

    (item,) = Api(tmp_path).run("r").media("sample")
    assert item.part("mask:m").startswith(b"\x89PNG")
    with pytest.raises(KeyError, match="mask:other"):
        item.part("mask:other")


def test_a_disabled_run_takes_media_and_keeps_nothing(tmp_path: Path) -> None:
    with start(tmp_path, mode="disabled") as run:
        run.log({"sample": trackkit.Image(noise(4, 4))})

    assert not tmp_path.joinpath("staging").exists()


# Staged files


def staged(tmp_path: Path, snapshot: Snapshot) -> Path:
    stage = staging.Stage(tmp_path, records.Start(0.0, "r", "p", "r"), "w", ["sqlite:"])
    path = stage.write(staging.header_of("key", 3, 1.5, (None, 1), snapshot), snapshot)
    stage.abandon()
    return path


def test_a_staged_value_comes_back_with_its_parts(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    child = Snapshot("part", "file", {"extension": "x"}, {"role": "r"}, file=tmp_path / "file")
    big = noise(2 << 20).data
    snapshot = Snapshot(
        "image", "image", {"a": 1}, {"b": [1.5]}, [b"first", [b"in ", b"pieces"], big], children=[child]
    )

    path = staged(tmp_path, snapshot)
    found = staging.read(path)

    assert (found.value.key, found.value.step, found.value.time) == ("key", 3, 1.5)
    assert [bytes(found.snapshot.data(number)) for number in range(3)] == [b"first", b"in pieces", bytes(big)]
    part = found.snapshot.children[0]
    assert part.file is not None
    assert part.file.read_bytes() == b"content"
    staging.discard(path)
    assert sorted(each.name for each in path.parent.iterdir()) == ["lock", "sinks.json", "start.json"]


def test_only_its_owner_may_read_what_is_staged(tmp_path: Path) -> None:
    path = staged(tmp_path, Snapshot("text", "bytes", {}, {}, [b"x"]))

    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("length", [0, 1, 15, 16, 40, 200])
def test_a_file_cut_short_is_told_from_a_whole_one(tmp_path: Path, length: int) -> None:
    path = staged(tmp_path, Snapshot("text", "bytes", {"extension": "txt"}, {}, [b"x" * 100]))
    os.truncate(path, min(length, path.stat().st_size - 1))

    with pytest.raises(staging.NotWhole):
        staging.read(path)


def test_a_pickle_that_others_could_have_written_is_not_loaded(tmp_path: Path) -> None:
    path = staged(tmp_path, Snapshot("figure", "figure", {}, {}, [b"cos\nsystem\n(S'touch /tmp/owned'\ntR."]))
    path.chmod(0o666)

    with pytest.raises(keeping.Untrusted, match="not loaded"):
        keeping.objects(staging.read(path), Blobs(tmp_path), path)


def test_media_that_a_rewind_superseded_are_left_out(tmp_path: Path) -> None:
    with start(tmp_path) as run:
        for step in range(4):
            run.log({"sample": trackkit.Image(noise(4, 4)), "loss": 1.0}, step=step)
        run.rewind(2)
        run.log({"sample": trackkit.Image(noise(4, 4, seed=9)), "loss": 1.0})

    items = Api(tmp_path).run("r").media("sample")
    assert [item.step for item in items] == [0, 1, 2]
    np.testing.assert_array_equal(np.asarray(items[2].image()), noise(4, 4, seed=9))
