"""What is drawn over an image: boxes, masks, and the names of classes, in W&B's form, checked and made compact."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from trackkit.core.media.arrays import as_array, raw
from trackkit.core.media.snapshot import Snapshot, check_file, named
from trackkit.core.records import Json

_CORNERS = ("minX", "minY", "maxX", "maxY")
_MIDDLE = ("middle", "width", "height")


class Classes:
    """The classes an image's boxes and masks speak of.

    Parameters
    ----------
    class_set
        Dicts with an `id` and a `name`.

    Raises
    ------
    TypeError, ValueError
        If one has no whole number as `id`, or no `name`.

    Examples
    --------
    >>> Classes([{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}]).names
    {0: 'cat', 1: 'dog'}
    """

    def __init__(self, class_set: Sequence[Mapping[str, Any]]) -> None:
        self.names: dict[int, str] = {}
        given: Sequence[Any] = class_set
        for number, each in enumerate(given):
            if not isinstance(each, Mapping) or "id" not in each or "name" not in each:
                raise ValueError(f"class {number} must be a dict with an 'id' and a 'name', not {each!r:.60}")
            self.names[_class_id(each["id"], f"the id of class {number}")] = str(each["name"])


def check_classes(classes: Any) -> dict[str, str]:
    """Names of classes by their id as text; from `Classes`, or what that takes."""
    if classes is None:
        return {}
    found = classes if isinstance(classes, Classes) else Classes(classes)
    return _as_labels(found.names)


def check_boxes(boxes: Any) -> dict[str, Json] | None:
    """Sets of boxes, by the name of the set.

    Each is `{"labels": {id: name}, "boxes": [{"position": [x0, y0, x1, y1], "domain": "fraction" | "pixel", "class":
    id, "caption": text, "scores": {name: number}}]}`; positions are fractions of the image's sides, or pixels.

    Raises
    ------
    TypeError, ValueError
        Naming the set and the box.
    """
    return _sets(boxes, "boxes", "box_data", _box_set)


def _box_set(data: Mapping[str, Any], where: str) -> Json:
    entries = data["box_data"]
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        raise TypeError(f"the 'box_data' of {where} must be a list of boxes, not {type(entries).__name__}")
    return {"boxes": [_box(each, f"box {number} of {where}") for number, each in enumerate(entries)]}


def _box(box: Any, where: str) -> Json:
    if not isinstance(box, Mapping) or not isinstance(box.get("position"), Mapping):
        raise TypeError(f"{where} must be a dict with a 'position', not {box!r:.80}")
    if box.get("domain") not in (None, "pixel"):
        raise ValueError(f"the domain of {where} must be 'pixel', or left out for fractions, not {box['domain']!r}")
    scores = box.get("scores")
    if scores is not None and not isinstance(scores, Mapping):
        raise TypeError(f"the scores of {where} must be a dict of numbers, not {type(scores).__name__}")
    return named(
        position=_position(box["position"], where),
        domain="pixel" if box.get("domain") == "pixel" else "fraction",
        **{"class": None if box.get("class_id") is None else _class_id(box["class_id"], f"the class_id of {where}")},
        caption=None if box.get("box_caption") is None else str(box["box_caption"]),
        scores=None
        if scores is None
        else {str(key): _number(value, f"score {key!r} of {where}") for key, value in scores.items()},
    )


def _position(position: Mapping[str, Any], where: str) -> list[float]:
    if all(key in position for key in _CORNERS):
        return [_number(position[key], f"{key} of {where}") for key in _CORNERS]
    if all(key in position for key in _MIDDLE):
        middle = position["middle"]
        if not isinstance(middle, Sequence) or len(middle) != 2:
            raise ValueError(f"the middle of {where} must be two numbers, not {middle!r:.60}")
        x, y = (_number(each, f"the middle of {where}") for each in middle)
        width, height = (_number(position[key], f"{key} of {where}") for key in ("width", "height"))
        return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    raise ValueError(
        f"the position of {where} needs {', '.join(_CORNERS)}, or {', '.join(_MIDDLE)}; it has {[*position]}"
    )


def check_masks(masks: Any) -> dict[str, tuple[dict[str, str], Any]] | None:
    """Masks by name: the names of their classes, and an array of class ids (height × width) or the path of a file.

    Raises
    ------
    TypeError, ValueError, FileNotFoundError
        Naming the mask.
    """
    if masks is None:
        return None
    if not isinstance(masks, Mapping):
        raise TypeError(f"masks must be a dict of masks by name, not {type(masks).__name__}")
    return {str(name): _mask(data, f"mask {name!r}") for name, data in masks.items()}


def _mask(data: Any, where: str) -> tuple[dict[str, str], Any]:
    if not isinstance(data, Mapping) or ("mask_data" in data) == ("path" in data):
        raise ValueError(f"{where} must be a dict with either 'mask_data', an array of class ids, or 'path'")
    labels = _labels(data, where)
    if "path" in data:
        return labels, check_file(os.fspath(data["path"]), where)
    array = as_array(data["mask_data"], where)
    if array.ndim == 3 and 1 in (array.shape[0], array.shape[-1]):
        array = array.reshape(array.shape[1:] if array.shape[0] == 1 else array.shape[:-1])
    if array.ndim != 2:
        raise ValueError(f"{where} must be height × width class ids, not an array of shape {array.shape}")
    if array.dtype.kind == "f":
        raise TypeError(f"{where} must hold whole class ids, not {array.dtype}")
    return labels, array


def mask_snapshot(name: str, labels: dict[str, str], content: Any) -> Snapshot:
    """A mask as a part of an image's snapshot."""
    noted: dict[str, Json] = {"role": f"mask:{name}", "labels": labels}
    if hasattr(content, "dtype"):
        data, parameters = raw(content)
        return Snapshot("part", "mask", parameters, noted, [data])
    return Snapshot("part", "file", {"extension": content.suffix.lstrip(".").lower() or "png"}, noted, file=content)


def _sets(given: Any, what: str, content: str, check: Any) -> dict[str, Json] | None:
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise TypeError(f"{what} must be a dict of sets by name, not {type(given).__name__}")
    found: dict[str, Json] = {}
    for name, data in given.items():
        where = f"the set {name!r} of {what}"
        if not isinstance(data, Mapping) or content not in data:
            raise ValueError(f"{where} must be a dict with {content!r}, not {data!r:.60}")
        found[str(name)] = {"labels": _labels(data, where), **check(data, where)}
    return found


def _labels(data: Mapping[str, Any], where: str) -> dict[str, str]:
    labels = data.get("class_labels") or {}
    if not isinstance(labels, Mapping):
        raise TypeError(f"the class_labels of {where} must be a dict of names by class id, not {type(labels).__name__}")
    return _as_labels({_class_id(key, f"a class label of {where}"): str(name) for key, name in labels.items()})


def _as_labels(names: Mapping[int, str]) -> dict[str, str]:
    return {str(key): name for key, name in names.items()}


def _class_id(value: Any, where: str) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{where} must be a whole number, not {value!r:.60}")
    return int(value.__index__())


def _number(value: Any, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{where} must be a number, not {value!r:.60}") from None
    if not math.isfinite(number):
        raise ValueError(f"{where} must be finite, not {number}")
    return number
