"""`Object3D`: point clouds, and models in files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

from trackkit.core.media.arrays import as_array, raw
from trackkit.core.media.snapshot import Media, Snapshot, check_caption, check_file, named
from trackkit.core.records import Json

FILE_TYPES: Final = ("glb", "gltf", "obj", "stl", "babylon", "ply")


class Object3D(Media):
    """Something in three dimensions.

    Parameters
    ----------
    data_or_path
        A point cloud, points × 3 (x, y, z), × 4 (and a category from 1 to 14) or × 6 (and red, green, blue from 0
        to 255); a dict as W&B's `{"type": "lidar/beta", "points": array, "boxes": [...], "vectors": [...]}`; or the
        path of a model: `.glb`, `.gltf`, `.obj`, `.stl`, `.babylon` or `.ply`.
    caption
        Text shown with it.
    file_type
        What an open file or bytes hold.

    Raises
    ------
    TypeError, ValueError
        If it is none of these.
    FileNotFoundError
        If there is no such file.
    """

    kind = "object3d"

    def __init__(
        self, data_or_path: Any, caption: str | None = None, file_type: str | None = None, **compatible: Any
    ) -> None:
        self.caption = check_caption(caption)
        self._extra: dict[str, Json] = {}
        self._type = file_type
        if file_type is not None and file_type not in FILE_TYPES:
            raise ValueError(f"file_type must be one of {', '.join(FILE_TYPES)}, not {file_type!r}")
        if isinstance(data_or_path, str | os.PathLike):
            self._data: Any = check_file(data_or_path, "trackkit.Object3D")
            self._type = self._type or self._data.suffix.lstrip(".").lower()
            if self._type not in FILE_TYPES:
                raise ValueError(f"trackkit.Object3D takes files of {', '.join(FILE_TYPES)}, not {str(data_or_path)!r}")
        elif isinstance(data_or_path, bytes) or hasattr(data_or_path, "read"):
            if file_type is None:
                raise ValueError("trackkit.Object3D needs a file_type for what is no path")
            content = data_or_path if isinstance(data_or_path, bytes) else data_or_path.read()
            self._data = content.encode() if isinstance(content, str) else bytes(content)
        elif isinstance(data_or_path, Mapping):
            self._data = _points(data_or_path.get("points"))
            self._extra = {
                name: _plain(data_or_path[name], name)
                for name in ("boxes", "vectors")
                if data_or_path.get(name) is not None
            }
        else:
            self._data = _points(data_or_path)

    def snapshot(self) -> Snapshot:
        noted = named(caption=self.caption)
        if isinstance(self._data, bytes):
            return Snapshot("object3d", "bytes", {"extension": self._type}, noted, [self._data])
        if isinstance(self._data, os.PathLike):
            return Snapshot(
                "object3d", "file", {"extension": self._type}, noted, file=check_file(self._data, "Object3D")
            )
        content, parameters = raw(self._data)
        noted.update(points=len(self._data), columns=self._data.shape[1], **self._extra)
        return Snapshot("object3d", "points", parameters, noted, [content])

    @classmethod
    def from_numpy(cls, data: Any, caption: str | None = None) -> Object3D:
        """A point cloud of an array; see the class."""
        return cls(data, caption)

    @classmethod
    def from_file(cls, data_or_path: Any, file_type: str | None = None) -> Object3D:
        """A model of a file; see the class."""
        return cls(data_or_path, file_type=file_type)

    @classmethod
    def from_point_cloud(
        cls, points: Any, boxes: Any = (), vectors: Any = None, point_cloud_type: str = "lidar/beta"
    ) -> Object3D:
        """A point cloud with boxes, each a dict with eight `corners`, a `label` and a `color`."""
        return cls({"type": point_cloud_type, "points": points, "boxes": list(boxes), "vectors": vectors})


def _points(data: Any) -> Any:
    array = as_array(data, "trackkit.Object3D")
    if array.ndim != 2 or array.shape[1] not in (3, 4, 6) or not len(array):
        raise ValueError(
            f"trackkit.Object3D takes points × 3, 4 or 6 numbers, not an array of shape {tuple(array.shape)}"
        )
    return array


def _plain(value: Any, what: str) -> Json:
    """A value as JSON can hold it, arrays as lists.

    Raises
    ------
    TypeError
        If JSON can't hold it.
    """
    if isinstance(value, Mapping):
        return {str(key): _plain(each, what) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, what) for each in value]
    if hasattr(value, "tolist"):
        return value.tolist()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"the {what} of a trackkit.Object3D must be numbers and texts, not {type(value).__name__}")
