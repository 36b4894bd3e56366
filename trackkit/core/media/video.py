"""`Video`: frames, or a file of them."""

from __future__ import annotations

import os
from typing import Any, Final, Literal

import numpy as np

from trackkit.core.media.arrays import as_array, described, is_array, raw
from trackkit.core.media.libraries import require
from trackkit.core.media.snapshot import Media, Snapshot, check_caption, check_file, named

Format = Literal["mp4", "webm", "gif", "ogg"]
FORMATS: Final = ("mp4", "webm", "gif", "ogg")


class Video(Media):
    """Moving pictures.

    Parameters
    ----------
    data_or_path
        Frames × channels × height × width, or one axis more in front for several videos side by side; channels may
        also come last. 8-bit integers, or floats from 0 to 1. Or a video file's path or its bytes, kept as they are.
    caption
        Text shown with it.
    fps
        Frames a second, by default 4.
    format
        Of an encoded array: `mp4` (H.264, the default), `webm` (VP9) or `gif`; of bytes: what they are.

    Raises
    ------
    TypeError, ValueError
        If the frames are none, or the format is not known.
    FileNotFoundError
        If there is no such file.
    ImportError
        If PyAV is not installed, which arrays need.

    Examples
    --------
    >>> run.log({"rollout": trackkit.Video(frames, fps=30)})  # doctest: +SKIP
    """

    kind = "video"

    def __init__(
        self, data_or_path: Any, caption: str | None = None, fps: float | None = None, format: Format | None = None
    ) -> None:
        self.caption = check_caption(caption)
        if format is not None and format not in FORMATS:
            raise ValueError(f"format must be one of {', '.join(FORMATS)}, not {format!r}")
        if fps is not None and not 0 < float(fps) <= 1000:
            raise ValueError(f"fps must be more than 0 and at most 1000 frames a second, not {fps!r}")
        self._format = format
        self._fps = float(fps or 4)
        if isinstance(data_or_path, str | os.PathLike):
            self._data: Any = check_file(data_or_path, "trackkit.Video")
            if self._data.suffix.lstrip(".").lower() not in FORMATS:
                raise ValueError(f"trackkit.Video takes files of {', '.join(FORMATS)}, not {str(data_or_path)!r}")
        elif isinstance(data_or_path, bytes) or hasattr(data_or_path, "read"):
            self._data = data_or_path if isinstance(data_or_path, bytes) else bytes(data_or_path.read())
        else:
            require("av", "trackkit.Video")
            self._data = _frames(data_or_path)

    def snapshot(self) -> Snapshot:
        noted = named(caption=self.caption)
        if isinstance(self._data, bytes):
            return Snapshot("video", "bytes", {"extension": self._format or "mp4"}, noted, [self._data])
        if not is_array(self._data):
            return Snapshot(
                "video", "file", {"extension": self._data.suffix.lstrip(".").lower()}, noted, file=self._data
            )
        content, parameters = raw(self._data)
        frames, height, width = (int(length) for length in self._data.shape[:3])
        noted.update(named(width=width, height=height, frames=frames, fps=self._fps))
        more = {"fps": self._fps, "format": "mp4" if self._format in (None, "ogg") else self._format}
        return Snapshot("video", "video", {**parameters, **more}, noted, [content])


def _frames(data: Any) -> Any:
    """Frames × height × width × channels."""
    array = as_array(data, "trackkit.Video")
    channels_first = array.ndim >= 4 and array.shape[-3] in (1, 3, 4)
    if array.ndim not in (4, 5) or not array.size or not (channels_first or array.shape[-1] in (1, 3, 4)):
        what = described(data) if is_array(data) else f"{type(data).__name__} of shape {array.shape}"
        text = "frames × channels × height × width with 1, 3 or 4 channels"
        raise ValueError(f"trackkit.Video can't be made of a {what}; expected {text}")
    if array.dtype.kind not in "biuf":
        raise TypeError(f"trackkit.Video takes 8-bit integers, or floats from 0 to 1, not {array.dtype}")
    if channels_first:
        array = np.moveaxis(array, -3, -1)
    if array.ndim == 5:  # side by side
        array = np.concatenate(list(array), axis=2)
    return array
