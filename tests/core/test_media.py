"""Media values: what they take and refuse, and what comes of it once it is encoded."""

from __future__ import annotations

import io
import json
import wave
from pathlib import Path
from typing import Any

import av
import matplotlib
import numpy as np
import plotly.graph_objects as go
import pytest
import soundfile
from PIL import Image as Pillow

import trackkit
from trackkit.core.media import encoding
from trackkit.core.media.snapshot import Media, Snapshot
from trackkit.core.values import split

matplotlib.use("Agg")

from matplotlib import pyplot as plt


class Kept:
    """What an encoder makes of a value: the content, and what it keeps beside it."""

    def __init__(self, value: Media) -> None:
        self.parts: dict[str, encoding.Content] = {}
        snapshot = value.snapshot()
        self.content = encoding.encode(snapshot, self.keep)
        self.metadata = {**snapshot.metadata, **self.content.metadata}
        data = self.content.data
        self.data = data if isinstance(data, bytes) else data.read_bytes()

    def keep(self, role: str, snapshot: Snapshot, content: encoding.Content) -> dict[str, Any]:
        self.parts[role] = content
        return {"digest": role}

    @property
    def pixels(self) -> np.ndarray[Any, Any]:
        return np.asarray(Pillow.open(io.BytesIO(self.data)))


def noise(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


# Images


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 2), (5, 7, 3), (5, 7, 4)])
def test_an_array_of_bytes_comes_back_as_it_was(shape: tuple[int, ...]) -> None:
    array = noise(*shape)

    kept = Kept(trackkit.Image(array))

    np.testing.assert_array_equal(kept.pixels, array[:, :, 0] if shape[-1] == 1 else array)
    assert (kept.metadata["width"], kept.metadata["height"]) == (7, 5)


def test_channels_may_come_first_where_only_that_can_be_meant() -> None:
    array = noise(3, 5, 7)

    np.testing.assert_array_equal(Kept(trackkit.Image(array)).pixels, array.transpose(1, 2, 0))


@pytest.mark.parametrize(
    ("floats", "pixels"),
    [
        ([[0.0, 0.5, 1.0]], [[0, 128, 255]]),
        ([[-1.0, 0.0, 1.0]], [[0, 128, 255]]),
        ([[0.0, 100.4, 300.0]], [[0, 100, 255]]),
        ([[float("nan"), 1.0, 0.0]], [[0, 255, 0]]),
        ([[float("inf"), 1.0, -5.0]], [[255, 1, 0]]),
    ],
    ids=["0 to 1", "-1 to 1", "beyond", "NaN", "infinite"],
)
def test_floats_are_brought_to_bytes(floats: list[list[float]], pixels: list[list[int]]) -> None:
    assert Kept(trackkit.Image(np.array(floats))).pixels.tolist() == pixels


def test_floats_are_cut_off_where_they_are_not_to_be_stretched() -> None:
    assert Kept(trackkit.Image(np.array([[0.0, 1.0, 300.0]]), normalize=False)).pixels.tolist() == [[0, 1, 255]]


def test_sixteen_bits_of_grey_stay() -> None:
    array = np.array([[0, 1000, 65535]], np.uint16)

    np.testing.assert_array_equal(Kept(trackkit.Image(array)).pixels, array)


def test_bools_are_black_and_white() -> None:
    assert Kept(trackkit.Image(np.array([[True, False]]))).pixels.tolist() == [[255, 0]]


def test_several_images_make_a_grid() -> None:
    kept = Kept(trackkit.Image(noise(10, 4, 6, 3)))

    assert kept.pixels.shape == (2 * 4 + 2, 8 * 6 + 7 * 2, 3)
    np.testing.assert_array_equal(kept.pixels[:4, :6], noise(10, 4, 6, 3)[0])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I;16", "I", "F"])
def test_images_of_pillow_in_any_mode_are_kept(mode: str) -> None:
    image = Pillow.fromarray(noise(6, 8, 3)).convert("L" if mode == "I;16" else mode)
    image = Pillow.fromarray(noise(6, 8).astype(np.uint16) * 200) if mode == "I;16" else image

    kept = Kept(trackkit.Image(image))

    assert Pillow.open(io.BytesIO(kept.data)).size == (8, 6)
    if mode in ("L", "RGB", "RGBA", "P", "I;16"):
        np.testing.assert_array_equal(kept.pixels, np.asarray(image))


def test_a_palette_stays_with_its_image() -> None:
    image = Pillow.fromarray(noise(6, 8, 3)).convert("P")

    found = Pillow.open(io.BytesIO(Kept(trackkit.Image(image)).data))

    np.testing.assert_array_equal(np.asarray(found.convert("RGB")), np.asarray(image.convert("RGB")))


def test_a_file_is_kept_byte_by_byte(tmp_path: Path) -> None:
    Pillow.fromarray(noise(6, 8, 3)).save(tmp_path / "a.jpg")

    kept = Kept(trackkit.Image(tmp_path / "a.jpg"))

    assert kept.data == (tmp_path / "a.jpg").read_bytes()
    assert (kept.content.extension, kept.metadata["width"]) == ("jpg", 8)


def test_bytes_are_recognised_for_what_they_are() -> None:
    target = io.BytesIO()
    Pillow.fromarray(noise(6, 8, 3)).save(target, "webp")

    assert Kept(trackkit.Image(target.getvalue())).content.extension == "webp"


def test_another_file_type_is_made_if_asked_for() -> None:
    kept = Kept(trackkit.Image(noise(6, 8, 4), file_type="jpg"))

    assert Pillow.open(io.BytesIO(kept.data)).format == "JPEG"


def test_boxes_masks_and_classes_are_kept_with_an_image() -> None:
    mask = np.arange(30).reshape(5, 6)
    box = {"position": {"middle": (3, 2), "width": 2, "height": 4}, "class_id": np.int64(1), "domain": "pixel"}
    labels = {0: "road", 1: "car"}

    kept = Kept(
        trackkit.Image(
            noise(5, 6, 3),
            caption="street",
            classes=trackkit.Classes([{"id": 1, "name": "car"}]),
            boxes={"predictions": {"box_data": [{**box, "scores": {"p": 0.5}}], "class_labels": labels}},
            masks={"truth": {"mask_data": mask, "class_labels": labels}},
        )
    )

    assert kept.metadata["caption"] == "street"
    assert kept.metadata["classes"] == {"1": "car"}
    assert kept.metadata["boxes"]["predictions"] == {
        "labels": {"0": "road", "1": "car"},
        "boxes": [{"position": [2, 0, 4, 4], "domain": "pixel", "class": 1, "scores": {"p": 0.5}}],
    }
    assert kept.metadata["masks"]["truth"] == {"labels": {"0": "road", "1": "car"}, "digest": "mask:truth"}
    part = kept.parts["mask:truth"].data
    assert isinstance(part, bytes)
    np.testing.assert_array_equal(np.asarray(Pillow.open(io.BytesIO(part))), mask)


def test_a_mask_of_many_classes_has_sixteen_bits() -> None:
    mask = np.array([[0, 300], [70, 65535]])

    part = Kept(trackkit.Image(noise(2, 2), masks={"m": {"mask_data": mask}})).parts["mask:m"].data

    assert isinstance(part, bytes)
    np.testing.assert_array_equal(np.asarray(Pillow.open(io.BytesIO(part))), mask)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"data_or_path": noise(5)}, ValueError, r"ndarray of shape \(5,\)"),
        ({"data_or_path": noise(5, 5, 7)}, ValueError, r"\(5, 5, 7\)"),
        ({"data_or_path": noise(0, 5)}, ValueError, r"\(0, 5\)"),
        ({"data_or_path": np.zeros((2, 2), complex)}, TypeError, "complex128"),
        ({"data_or_path": "missing.png"}, FileNotFoundError, "missing.png"),
        ({"data_or_path": object()}, TypeError, "object"),
        ({"data_or_path": noise(2, 2), "file_type": "tga"}, ValueError, "tga"),
        ({"data_or_path": noise(2, 2), "mode": "XYZ"}, ValueError, "XYZ"),
        ({"data_or_path": noise(2, 2), "caption": ["a"]}, TypeError, "caption"),
        ({"data_or_path": noise(2, 2), "classes": [{"id": "x", "name": "y"}]}, TypeError, "class 0"),
        ({"data_or_path": noise(2, 2), "boxes": {"p": {"box_data": [{}]}}}, TypeError, "box 0 of the set 'p'"),
        (
            {"data_or_path": noise(2, 2), "boxes": {"p": {"box_data": [{"position": {"minX": 0}}]}}},
            ValueError,
            "box 0 of the set 'p' of boxes needs minX, minY, maxX, maxY",
        ),
        ({"data_or_path": noise(2, 2), "masks": {"m": {"mask_data": noise(2)}}}, ValueError, "mask 'm'"),
        ({"data_or_path": noise(2, 2), "masks": {"m": {"mask_data": np.ones((2, 2))}}}, TypeError, "mask 'm'"),
    ],
)
def test_what_is_no_image_is_refused_where_it_is_made(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        trackkit.Image(**arguments)


# Sound and moving pictures


@pytest.mark.parametrize("kind", ["float32", "float64", "int16", "int32"])
def test_samples_come_back(kind: str) -> None:
    floats = np.sin(np.arange(800) / 10)[:, None] * [0.5, 0.25]
    samples = (floats * np.iinfo(kind).max).astype(kind) if kind.startswith("int") else floats.astype(kind)

    kept = Kept(trackkit.Audio(samples, sample_rate=8000, caption="hum"))

    found, rate = soundfile.read(io.BytesIO(kept.data))
    np.testing.assert_allclose(found, floats, atol=1e-4)
    assert (rate, kept.metadata["duration"], kept.metadata["channels"]) == (8000, 0.1, 2)


def test_an_audio_file_is_kept_byte_by_byte(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(1600))

    kept = Kept(trackkit.Audio(str(tmp_path / "a.wav")))

    assert kept.data == (tmp_path / "a.wav").read_bytes()
    assert kept.metadata["duration"] == 0.1


@pytest.mark.parametrize(
    ("data", "rate", "error"),
    [
        (np.zeros(8), None, ValueError),
        (np.zeros(8), 0, ValueError),
        (np.zeros((2, 2, 2)), 8000, ValueError),
        (np.zeros(8, np.uint8), 8000, TypeError),
        (np.zeros(0), 8000, ValueError),
    ],
)
def test_what_is_no_sound_is_refused(data: Any, rate: int | None, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"trackkit\.Audio"):
        trackkit.Audio(data, sample_rate=rate)


@pytest.mark.parametrize("format", ["mp4", "webm", "gif"])
@pytest.mark.parametrize("shape", [(6, 3, 33, 35), (6, 1, 32, 32), (2, 6, 3, 32, 32), (6, 32, 32, 3)])
def test_frames_become_a_video_that_plays(format: Any, shape: tuple[int, ...]) -> None:
    kept = Kept(trackkit.Video(noise(*shape), fps=8, format=format))

    with av.open(io.BytesIO(kept.data)) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == 6
    side_by_side = shape[0] if len(shape) == 5 else 1
    assert frames[0].width in (shape[-2] if shape[-1] == 3 else shape[-1] * side_by_side, 36, 64)
    assert (kept.metadata["frames"], kept.metadata["fps"]) == (6, 8)


def test_colours_of_a_video_are_those_of_its_frames() -> None:
    frames = np.zeros((4, 3, 32, 32), np.uint8)
    frames[:, 0] = 200

    with av.open(io.BytesIO(Kept(trackkit.Video(frames)).data)) as container:
        picture = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert np.abs(picture.reshape(-1, 3).mean(0) - [200, 0, 0]).max() < 12


@pytest.mark.parametrize("data", [noise(5, 5), noise(5, 7, 8, 9), np.zeros((0, 3, 4, 4))])
def test_what_is_no_video_is_refused(data: Any) -> None:
    with pytest.raises(ValueError, match=r"trackkit\.Video"):
        trackkit.Video(data)


# Figures


def test_a_figure_is_kept_as_png_and_svg_and_opens_no_window() -> None:
    figure, axes = plt.subplots(figsize=(3, 2), dpi=50)
    axes.plot([1, 2, 3])
    open_before = plt.get_fignums()

    kept = Kept(trackkit.Figure(figure, caption="loss"))

    svg = kept.parts["svg"].data
    assert Pillow.open(io.BytesIO(kept.data)).size == (150, 100)
    assert isinstance(svg, bytes)
    assert b"<svg" in svg
    assert plt.get_fignums() == open_before
    assert (kept.metadata["width"], kept.metadata["caption"]) == (150, "loss")
    plt.close(figure)


def test_a_figure_that_can_not_be_pickled_is_drawn_at_once() -> None:
    figure, axes = plt.subplots(figsize=(3, 2), dpi=50)
    axes.plot([1, 2, 3])
    axes.xaxis.set_major_formatter(lambda value, position: f"{value:.1f} s")

    kept = Kept(trackkit.Figure(figure))

    assert Pillow.open(io.BytesIO(kept.data)).size == (150, 100)
    plt.close(figure)


def test_a_figure_may_stand_where_an_image_is_meant() -> None:
    figure, axes = plt.subplots(figsize=(3, 2), dpi=50)
    axes.plot([1, 2, 3])

    assert Kept(trackkit.Image(figure)).pixels.shape[:2] == (100, 150)
    assert Kept(trackkit.Figure(axes)).pixels.shape[:2] == (100, 150)
    assert Kept(trackkit.Figure(plt)).pixels.shape[:2] == (100, 150)
    plt.close(figure)


def test_a_plotly_figure_is_kept_as_json() -> None:
    figure = go.Figure(go.Scatter(y=np.array([1.0, 2.0])), layout={"title": "loss"})

    found = json.loads(Kept(trackkit.Plotly(figure)).data)

    assert found["data"][0]["type"] == "scatter"
    assert go.Figure(found).layout.title.text == "loss"


# Text, structures, graphs


def test_text_markdown_and_html_are_kept_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<b>page</b>")

    assert Kept(trackkit.Text("words")).data == b"words"
    assert Kept(trackkit.Markdown("# words")).content.extension == "md"
    assert Kept(trackkit.Html("<i>words</i>", inject=False)).data == b"<i>words</i>"
    assert Kept(trackkit.Html(str(tmp_path / "page.html"))).data == b"<b>page</b>"
    assert Kept(trackkit.Html(io.StringIO("<p>"))).data == b"<p>"


def test_a_point_cloud_is_kept_as_numbers() -> None:
    points = np.random.default_rng(0).random((20, 6))
    boxes = [{"corners": [[0, 0, 0]] * 8, "label": "car", "color": (1, 2, 3)}]

    kept = Kept(trackkit.Object3D({"type": "lidar/beta", "points": points, "boxes": boxes}))

    np.testing.assert_array_equal(np.load(io.BytesIO(kept.data)), points.astype(np.float32))
    assert kept.metadata["boxes"][0]["color"] == [1, 2, 3]
    assert (kept.metadata["points"], kept.metadata["columns"]) == (20, 6)


def test_a_model_is_kept_byte_by_byte(tmp_path: Path) -> None:
    (tmp_path / "cube.glb").write_bytes(b"glTF....")

    assert Kept(trackkit.Object3D(str(tmp_path / "cube.glb"))).data == b"glTF...."
    with pytest.raises(ValueError, match="glb"):
        trackkit.Object3D(__file__)
    with pytest.raises(ValueError, match="points × 3"):
        trackkit.Object3D(np.zeros((3, 5)))


def test_a_molecule_is_kept_with_its_type(tmp_path: Path) -> None:
    (tmp_path / "a.pdb").write_text("ATOM\nEND\n")

    assert Kept(trackkit.Molecule(str(tmp_path / "a.pdb"))).content.extension == "pdb"
    assert Kept(trackkit.Molecule("a\nb\n", file_type="sdf")).data == b"a\nb\n"
    with pytest.raises(ValueError, match="file_type"):
        trackkit.Molecule("a\nb\n")


def test_a_graph_must_hang_together() -> None:
    graph = trackkit.Graph([{"id": 1, "label": "in"}], caption="net")
    graph.add_node(2, label="out")
    graph.add_edge(1, 2, weight=0.5)

    assert json.loads(Kept(graph).data)["edges"] == [{"source": "1", "target": "2", "weight": 0.5}]
    with pytest.raises(ValueError, match="'3', which is no node"):
        graph.add_edge(1, 3)
    with pytest.raises(ValueError, match="'2' is there already"):
        graph.add_node(2)


# Histograms


def test_a_histogram_counts_what_numpy_counts() -> None:
    data = np.random.default_rng(0).normal(size=1000)

    kept = Kept(trackkit.Histogram(data, num_bins=16))

    counts, edges = np.histogram(data, 16)
    found = json.loads(kept.data)
    assert found["counts"] == counts.tolist()
    np.testing.assert_allclose(found["edges"], edges)
    assert kept.metadata["count"] == 1000


def test_values_that_are_not_finite_are_left_out_and_counted() -> None:
    kept = Kept(trackkit.Histogram([1.0, float("nan"), float("inf"), -float("inf"), 2.0]))

    assert sum(json.loads(kept.data)["counts"]) == 2
    assert (kept.metadata["nan"], kept.metadata["infinite"], kept.metadata["count"]) == (1, 2, 2)


@pytest.mark.parametrize(
    "data",
    [
        np.full(5, 3.0),
        np.array([1.0, np.nextafter(1.0, 2.0)]),
        np.array([-1.7e308, 1.7e308]),
        np.array([float("nan")] * 3),
        np.zeros(4, np.float16),
        np.array([True, False, True]),
        np.array([2**63 - 1, -(2**63)]),
        np.array([1e-320, 2e-320]),
    ],
    ids=["constant", "neighbours", "widest", "NaN", "half", "bools", "int64", "subnormal"],
)
def test_no_numbers_are_too_odd_for_a_histogram(data: Any) -> None:
    kept = Kept(trackkit.Histogram(data))

    found = json.loads(kept.data)
    assert sum(found["counts"]) == np.isfinite(data.astype(float)).sum()
    assert len(found["edges"]) == len(found["counts"]) + 1 == 65
    assert all(a <= b for a, b in zip(found["edges"], found["edges"][1:], strict=False))


def test_a_made_histogram_is_kept_as_it_is() -> None:
    histogram = trackkit.Histogram(np_histogram=np.histogram([1, 2, 2, 3], bins=3))

    assert histogram.histogram == [1, 2, 1]
    assert json.loads(Kept(histogram).data)["counts"] == [1, 2, 1]


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"sequence": [1], "np_histogram": ([1], [0, 1])},
        {"np_histogram": ([1], [0])},
        {"np_histogram": ([1], [1, 0])},
        {"sequence": [1.0], "num_bins": 513},
    ],
)
def test_what_is_no_histogram_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError), match=r"histogram|bins|Histogram"):
        trackkit.Histogram(**arguments)


# What `log` takes


def kinds(value: Any) -> list[str]:
    return [snapshot.kind for snapshot in split({"key": value})[2]["key"]]


def test_values_of_other_libraries_are_taken_for_what_they_are() -> None:
    import pandas as pd

    figure, _ = plt.subplots()

    assert kinds(np.zeros(3)) == ["histogram"]
    assert kinds(Pillow.new("L", (2, 2))) == ["image"]
    assert kinds([Pillow.new("L", (2, 2)), trackkit.Image(noise(2, 2))]) == ["image", "image"]
    assert kinds(figure) == ["figure"]
    assert kinds(go.Figure()) == ["plotly"]
    assert kinds(pd.DataFrame({"a": [1]})) == ["table"]
    plt.close(figure)


def test_an_array_of_one_element_is_still_a_number() -> None:
    assert split({"loss": np.array([[0.5]])}) == ({"loss": 0.5}, {}, {})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([trackkit.Image(noise(2, 2)), trackkit.Html("x")], "'key' must hold media of one kind"),
        ([trackkit.Image(noise(2, 2)), 3], "'key' must hold media of one kind"),
        ([1, 2], "'key' can't be logged"),
        ([], "'key' can't be logged"),
        (np.zeros(0), "'key' can't be logged"),
        (np.array(["a", "b"]), "'key' can't be logged"),
        (np.zeros((2, 2), complex), "'key' can't be logged"),
    ],
)
def test_what_is_none_of_these_is_refused_by_name(value: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        split({"key": value})
