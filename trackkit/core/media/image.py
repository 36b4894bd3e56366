"""`Image`: arrays, PIL images, figures and files, with what is drawn over them."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from trackkit.core.media.arrays import Array, as_array, described, is_array, is_torch, raw
from trackkit.core.media.libraries import is_a, require
from trackkit.core.media.overlays import Classes, check_boxes, check_classes, check_masks, mask_snapshot
from trackkit.core.media.snapshot import Media, Snapshot, check_caption, check_file, named

FileType = Literal["png", "jpg", "jpeg", "bmp", "gif", "webp"]
FILE_TYPES: Final = ("png", "jpg", "jpeg", "bmp", "gif", "webp")
MODES: Final = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "I", "F")


class Image(Media):
    """An image.

    Parameters
    ----------
    data_or_path
        An array of height × width, height × width × channels, or channels × height × width (torch tensors always, other
        arrays if only that can be meant), with 1 to 4 channels (grey, grey and alpha, RGB, RGBA); one more axis in
        front makes a grid of several images. Or a PIL image, a matplotlib figure, encoded bytes, a file or its path.
    mode
        PIL's mode of an array's channels, if it is not plain from their number.
    caption
        Text shown with it.
    grouping
        How many images of a list belong together.
    classes
        `Classes`, or a list of dicts with `id` and `name`.
    boxes
        Sets of boxes by name, in W&B's form: `{"predictions": {"box_data": [{"position": {"minX", "maxX", "minY",
        "maxY"}, "class_id", "box_caption", "domain", "scores"}], "class_labels": {0: "car"}}}`.
    masks
        Masks by name: `{"ground_truth": {"mask_data": array of class ids, "class_labels": {0: "road"}}}`.
    file_type
        `png` (the default for arrays), `jpg`, `webp`, `bmp` or `gif`.
    normalize
        Bring floats to 0 to 255: those from 0 to 1 and from -1 to 1 are stretched, others are cut off. Without it,
        all values are cut off at 0 and 255.

    Raises
    ------
    TypeError, ValueError
        If the data is no image, or an argument is none of what it may be.
    FileNotFoundError
        If there is no such file.
    ImportError
        If Pillow is not installed.

    Examples
    --------
    >>> run.log({"digits": trackkit.Image(digits.images[0] / 16, caption="a zero")})  # doctest: +SKIP
    """

    kind = "image"

    def __init__(
        self,
        data_or_path: Any,
        mode: str | None = None,
        caption: str | None = None,
        grouping: int | None = None,
        classes: Classes | Sequence[Mapping[str, Any]] | None = None,
        boxes: Mapping[str, Any] | None = None,
        masks: Mapping[str, Any] | None = None,
        file_type: FileType | None = None,
        normalize: bool = True,
    ) -> None:
        require("PIL", "trackkit.Image")
        if file_type is not None and file_type not in FILE_TYPES:
            raise ValueError(f"file_type must be one of {', '.join(FILE_TYPES)}, not {file_type!r}")
        if mode is not None and mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}, not {mode!r}")
        self.caption = check_caption(caption)
        self._mode = mode
        self._file_type = file_type
        self._normalize = bool(normalize)
        self._metadata = named(
            caption=self.caption,
            grouping=grouping,
            classes=check_classes(classes) or None,
            boxes=check_boxes(boxes),
        )
        self._masks = check_masks(masks)
        self._data = _checked(data_or_path)

    def snapshot(self) -> Snapshot:
        made = self._snapshot()
        made.metadata = {**self._metadata, **made.metadata}
        made.children = [mask_snapshot(name, *mask) for name, mask in (self._masks or {}).items()]
        return made

    def _snapshot(self) -> Snapshot:
        data = self._data
        parameters: dict[str, Any] = {"file_type": self._file_type or "png"}
        if isinstance(data, bytes):
            return Snapshot("image", "image file", {"file_type": self._file_type}, {}, [data])
        if isinstance(data, Path):
            extension = data.suffix.lstrip(".").lower()
            return Snapshot("image", "image file", {"file_type": self._file_type, "extension": extension}, file=data)
        if is_array(data):
            return self._of_array(data, parameters)
        if _is_pil(data):
            return _of_pil(data, parameters)
        from trackkit.core.media.figure import figure_snapshot

        return figure_snapshot(data, "image", svg=False)

    def _of_array(self, data: Array, parameters: dict[str, Any]) -> Snapshot:
        content, of_array = raw(data)
        shape = data.shape if data.ndim < 4 else data.shape[1:]
        size = named(width=shape[1], height=shape[0]) if data.ndim < 4 else {}
        more = {"mode": self._mode, "normalize": self._normalize}
        return Snapshot("image", "image", {**parameters, **more, **of_array}, size, [content])


def _checked(data: Any) -> Any:
    """The data in a form that can be kept: bytes, a path, an array with its channels last, PIL's image, a figure."""
    if isinstance(data, Image):
        return data._data
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    if isinstance(data, str | os.PathLike):
        return check_file(data, "trackkit.Image")
    if _is_pil(data):
        return data
    from trackkit.core.media.figure import as_figure

    if (figure := as_figure(data)) is not None:
        return figure
    if is_array(data) or isinstance(data, list | tuple) or hasattr(data, "__array__"):
        return _channels_last(data)
    if isinstance(data, io.IOBase) or hasattr(data, "read"):
        content = data.read()
        if isinstance(content, bytes):
            return content
    raise TypeError(
        f"trackkit.Image can't be made of {type(data).__name__}: expected an array, a PIL image, a matplotlib figure, "
        "bytes or a path"
    )


def _channels_last(data: Any) -> Array:
    array = as_array(data, "trackkit.Image")
    shape = array.shape
    if not array.size or array.ndim not in (2, 3, 4):
        text = "height × width, height × width × channels, or several such images"
        what = described(data) if is_array(data) else f"{type(data).__name__} of shape {shape}"
        raise ValueError(f"trackkit.Image can't be made of a {what}; expected {text}")
    if array.ndim == 2:
        return array
    first, last = shape[-3], shape[-1]
    if is_torch(data) or (last not in (1, 2, 3, 4) and first in (1, 3, 4)):
        array, last = array.transpose(*range(array.ndim - 3), -2, -1, -3), first
    if last not in (1, 2, 3, 4):
        raise ValueError(f"trackkit.Image takes 1 to 4 channels, first or last; an array of shape {shape} has neither")
    return array


def _is_pil(value: Any) -> bool:
    return is_a(value, "PIL.Image", "Image")


def _of_pil(image: Any, parameters: dict[str, Any]) -> Snapshot:
    image.load()
    known = {"size": list(image.size), "pil_mode": image.mode}
    buffers = [image.tobytes()]
    if image.mode == "P":
        known["palette_mode"] = image.palette.mode
        buffers.append(image.palette.tobytes())
        if isinstance(image.info.get("transparency"), int | bytes):
            transparency = image.info["transparency"]
            known["transparency"] = transparency if isinstance(transparency, int) else list(transparency)
    size = named(width=image.width, height=image.height)
    return Snapshot("image", "pil image", {**parameters, **known}, size, buffers)
