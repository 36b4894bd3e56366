"""From snapshots to what is kept: a function per encoder, run on the media thread or while a store is recovered."""

from __future__ import annotations

import io
import pickle
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np

from trackkit.core.media.arrays import Array, restored
from trackkit.core.media.libraries import load
from trackkit.core.media.snapshot import Snapshot
from trackkit.core.records import Json

COMPRESSION: Final = 1
"""Of PNG. At zlib's own default, 6, Pillow holds the GIL for up to 18 ms at a time, at 1 for less than one."""
_GRID_COLUMNS = 8
_PADDING = 2
_AS_THEY_ARE = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
_CHANNELS = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


@dataclass(slots=True)
class Content:
    """Encoded content.

    Attributes
    ----------
    data
        Bytes, or a file that may be taken over.
    extension
        Of its path, without the dot; tells what it is.
    metadata
        What is only known now.
    """

    data: bytes | Path
    extension: str
    metadata: dict[str, Json] = field(default_factory=dict)


Keep = Callable[[str, Snapshot, Content], dict[str, Json]]
"""Keeps content beside the main one, in a role, as a blob: its `digest`, `size` and `path`."""
Encoder = Callable[[Snapshot, Keep], Content]


def encode(snapshot: Snapshot, keep: Keep) -> Content:
    """The content that a snapshot stands for.

    Raises
    ------
    Exception
        Whatever goes wrong in the libraries that encode.
    """
    return _ENCODERS[snapshot.encoder](snapshot, keep)


def modules(encoder: str) -> list[str]:
    """What an encoder imports, so that it can be imported with care."""
    return _MODULES.get(encoder, [])


def _bytes(snapshot: Snapshot, keep: Keep) -> Content:
    return Content(bytes(snapshot.data()), snapshot.parameters["extension"])


def _file(snapshot: Snapshot, keep: Keep) -> Content:
    assert snapshot.file is not None
    return Content(snapshot.file, snapshot.parameters["extension"])


# Images


def _image(snapshot: Snapshot, keep: Keep) -> Content:
    """An array, brought to 8 bits a channel."""
    parameters = snapshot.parameters
    array = restored(snapshot.data(), parameters)
    pixels = _to_pixels(array, parameters["normalize"])
    if pixels.ndim == 4:
        pixels = _grid(pixels)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    pil = load("PIL.Image", "trackkit.Image")
    if pixels.ndim == 2:
        image = pil.fromarray(pixels)
    else:
        mode = parameters["mode"] or _CHANNELS[pixels.shape[2]]
        height, width = pixels.shape[:2]
        image = pil.frombytes(mode, (width, height), np.ascontiguousarray(pixels).tobytes())
    return _saved(image, parameters["file_type"], snapshot, keep)


def _to_pixels(array: Array, normalize: bool) -> Array:
    """Values as pixels: 8 bits, or 16 where an image of one channel has them.

    The rules are those of W&B's `Image`: floats that lie between 0 and 1, or -1 and 1, are stretched.
    """
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind == "b":
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype == np.uint16 and array.ndim == 2 and array.max(initial=0) > 255:
        return array
    if array.dtype.kind in "iu":
        return np.clip(array, 0, 255).astype(np.uint8)
    finite: Array = np.nan_to_num(array.astype(np.float32), nan=0.0)
    if normalize:
        low, high = float(finite.min()), float(finite.max())
        if -1 <= low < 0 and high <= 1:
            finite = (finite + 1) * 127.5
        elif low >= 0 and high <= 1:
            finite = finite * 255
    pixels: Array = np.clip(np.rint(finite), 0, 255).astype(np.uint8)
    return pixels


def _grid(images: Array) -> Array:
    """Several images as one, in rows of eight with a thin black line between."""
    count, height, width, channels = images.shape
    columns = min(count, _GRID_COLUMNS)
    rows = -(-count // columns)
    size = (rows * (height + _PADDING) - _PADDING, columns * (width + _PADDING) - _PADDING, channels)
    grid = np.zeros(size, images.dtype)
    for number, image in enumerate(images):
        top, left = (number // columns) * (height + _PADDING), (number % columns) * (width + _PADDING)
        grid[top : top + height, left : left + width] = image
    return grid


def _pil_image(snapshot: Snapshot, keep: Keep) -> Content:
    parameters = snapshot.parameters
    pil = load("PIL.Image", "trackkit.Image")
    image = pil.frombytes(parameters["pil_mode"], tuple(parameters["size"]), bytes(snapshot.data()))
    if parameters["pil_mode"] == "P":
        image.putpalette(bytes(snapshot.data(1)), parameters["palette_mode"])
        transparency = parameters.get("transparency")
        if transparency is not None:
            image.info["transparency"] = transparency if isinstance(transparency, int) else bytes(transparency)
    if image.mode == "F":
        image = pil.fromarray(_to_pixels(np.asarray(image), True))
    return _saved(image, parameters["file_type"], snapshot, keep)


def _saved(image: Any, file_type: str, snapshot: Snapshot, keep: Keep) -> Content:
    kind = "jpeg" if file_type == "jpg" else file_type
    if (kind in ("jpeg", "bmp") and image.mode not in ("L", "RGB")) or image.mode not in _AS_THEY_ARE:
        image = image.convert("RGB")
    target = io.BytesIO()
    image.save(target, kind, **({"compress_level": COMPRESSION} if kind == "png" else {}))
    return Content(target.getvalue(), file_type, {**_size(image), **_masks(snapshot, keep)})


def _image_file(snapshot: Snapshot, keep: Keep) -> Content:
    """An encoded image, kept as it is unless another type is asked for."""
    pil = load("PIL.Image", "trackkit.Image")
    source: Any = snapshot.file if snapshot.file is not None else io.BytesIO(bytes(snapshot.data()))
    wanted, extension = snapshot.parameters.get("file_type"), snapshot.parameters.get("extension")
    if extension == "svg":
        return Content(_content(snapshot), "svg", _masks(snapshot, keep))
    with pil.open(source) as image:
        found = (image.format or "").lower()
        if wanted is not None and found != ("jpeg" if wanted == "jpg" else wanted):
            image.load()
            return _saved(image, wanted, snapshot, keep)
        known = {"jpeg": "jpg", "tiff": "tif"}.get(found, found) or extension or "png"
        return Content(_content(snapshot), known, {**_size(image), **_masks(snapshot, keep)})


def _content(snapshot: Snapshot) -> bytes | Path:
    return snapshot.file if snapshot.file is not None else bytes(snapshot.data())


def _size(image: Any) -> dict[str, Json]:
    return {"width": image.width, "height": image.height}


def _masks(snapshot: Snapshot, keep: Keep) -> dict[str, Json]:
    """The masks of an image: each a blob, and what is noted of it on the image."""
    masks: dict[str, Json] = {}
    for child in snapshot.children:
        role = str(child.metadata["role"])
        kept = keep(role, child, encode(child, keep))
        masks[role.partition(":")[2]] = {"labels": child.metadata["labels"], **kept}
    return {"masks": masks} if masks else {}


def _mask(snapshot: Snapshot, keep: Keep) -> Content:
    """Class ids as a grey PNG: 8 bits if they fit, else 16."""
    ids = restored(snapshot.data(), snapshot.parameters)
    highest = int(ids.max(initial=0))
    if int(ids.min(initial=0)) < 0 or highest > 65535:
        raise ValueError(f"a mask's class ids must be from 0 to 65,535, not {int(ids.min())} to {highest}")
    target = io.BytesIO()
    image = load("PIL.Image", "trackkit.Image").fromarray(ids.astype(np.uint8 if highest < 256 else np.uint16))
    image.save(target, "png", compress_level=COMPRESSION)
    return Content(target.getvalue(), "png", _size(image))


# Figures


def _figure(snapshot: Snapshot, keep: Keep) -> Content:
    agg, svg = load("matplotlib.backends.backend_agg", "a figure"), load("matplotlib.backends.backend_svg", "a figure")
    figure = pickle.loads(bytes(snapshot.data()))
    noted: dict[str, Json] = {}
    if snapshot.parameters.get("svg"):
        svg.FigureCanvasSVG(figure)
        target = io.BytesIO()
        figure.savefig(target, format="svg")
        noted["svg"] = keep("svg", snapshot, Content(target.getvalue(), "svg"))
    canvas = agg.FigureCanvasAgg(figure)
    target = io.BytesIO()
    figure.savefig(target, format="png")
    width, height = canvas.get_width_height()
    return Content(target.getvalue(), "png", {"width": width, "height": height, **noted})


def _plotly(snapshot: Snapshot, keep: Keep) -> Content:
    figure = pickle.loads(bytes(snapshot.data()))
    text: str = load("plotly.io.json", "trackkit.Plotly").to_json_plotly(figure)
    return Content(text.encode(), "json")


# Sound and moving pictures


def _audio(snapshot: Snapshot, keep: Keep) -> Content:
    samples = restored(snapshot.data(), snapshot.parameters)
    if samples.dtype.kind == "f":
        samples = np.nan_to_num(samples.astype(np.float32))
    target = io.BytesIO()
    subtype = "PCM_32" if samples.dtype == np.int32 else "PCM_16"
    load("soundfile", "trackkit.Audio").write(
        target, samples, snapshot.parameters["sample_rate"], format="WAV", subtype=subtype
    )
    return Content(target.getvalue(), "wav")


def _audio_file(snapshot: Snapshot, keep: Keep) -> Content:
    """An audio file as it is; what soundfile can tell of it is noted."""
    content = _file(snapshot, keep)
    try:
        found = load("soundfile", "trackkit.Audio").info(str(snapshot.file))
    except Exception:  # it may be of a format that only browsers know
        return content
    content.metadata = {"sample_rate": found.samplerate, "channels": found.channels, "duration": found.duration}
    return content


def _video(snapshot: Snapshot, keep: Keep) -> Content:
    av = load("av", "trackkit.Video")
    parameters = snapshot.parameters
    frames = _to_pixels(restored(snapshot.data(), parameters), True)
    format, rate = parameters["format"], Fraction(parameters["fps"]).limit_denominator(1001)
    codec, pixels = {"mp4": ("libx264", "yuv420p"), "webm": ("libvpx-vp9", "yuv420p"), "gif": ("gif", "rgb8")}[format]
    even = format != "gif"
    with tempfile.TemporaryDirectory(prefix="trackkit-") as folder:
        target = Path(folder) / f"video.{format}"
        # The index comes first, so that playing begins before all has arrived.
        options = {"movflags": "faststart"} if format == "mp4" else {}
        with av.open(str(target), "w", format=format, options=options) as container:
            stream = container.add_stream(codec, rate=rate)
            height, width = frames.shape[1:3]
            stream.width, stream.height = (width + width % 2, height + height % 2) if even else (width, height)
            stream.pix_fmt = pixels
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(_rgb(frame, even), format="rgb24")))
            container.mux(stream.encode(None))
        return Content(target.read_bytes(), format)


def _rgb(frame: Array, even: bool) -> Array:
    """A frame as 8-bit RGB, its sides made even by repeating the last row and column, as codecs want them."""
    pixels = frame[:, :, :3]
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    height, width = pixels.shape[:2]
    if even and (height % 2 or width % 2):
        pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(pixels)


# Numbers


def _histogram(snapshot: Snapshot, keep: Keep) -> Content:
    from trackkit.core.media.histogram import compute, content_of

    data = restored(snapshot.data(), snapshot.parameters)
    counts, edges, noted = compute(data, snapshot.parameters["bins"])
    return Content(content_of(counts, edges), "json", noted)


def _points(snapshot: Snapshot, keep: Keep) -> Content:
    """A point cloud as a NumPy file of float32."""
    points = restored(snapshot.data(), snapshot.parameters)
    target = io.BytesIO()
    np.save(target, np.ascontiguousarray(points, "<f4"), allow_pickle=False)
    return Content(target.getvalue(), "npy")


def _table(snapshot: Snapshot, keep: Keep) -> Content:
    from trackkit.core.table.parquet import encode_table

    return encode_table(snapshot, keep)


_ENCODERS: dict[str, Encoder] = {
    "bytes": _bytes,
    "file": _file,
    "image": _image,
    "pil image": _pil_image,
    "image file": _image_file,
    "mask": _mask,
    "figure": _figure,
    "plotly": _plotly,
    "audio": _audio,
    "audio file": _audio_file,
    "video": _video,
    "histogram": _histogram,
    "points": _points,
    "table": _table,
}
_PILLOW = ["numpy", "PIL.Image", "PIL.PngImagePlugin"]
_MODULES = {
    "image": _PILLOW,
    "pil image": _PILLOW,
    "image file": _PILLOW,
    "mask": _PILLOW,
    "figure": ["matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg"],
    "plotly": ["plotly.io.json"],
    "audio": ["numpy", "soundfile"],
    "audio file": ["soundfile"],
    "video": ["numpy", "av"],
    "histogram": ["numpy", "trackkit.core.media.histogram"],
    "points": ["numpy"],
    "table": ["pyarrow", "pyarrow.parquet", "trackkit.core.table.parquet"],
}
PICKLED: Final = frozenset({"figure", "plotly"})
"""Encoders whose snapshots are pickles, which run code when they are loaded."""
