"""TensorBoard's event files: read without TensorFlow, and what their summaries mean to a run.

The files are records of protocol buffers, `Event` and `Summary` of tensorboard's own package, which reads them;
https://github.com/tensorflow/tensorboard describes both. What old writers wrote (`simple_value`, `histo`) it turns
into what new ones do: a tensor, and the name of the plugin that shows it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

PATTERN: Final = "*tfevents*"
_HPARAMS: Final = "_hparams_/session_start_info"
_TEXT_SUFFIX: Final = "/text_summary"
"""What torch's writer appends to the tags of texts."""


class Scalar(msgspec.Struct, frozen=True):
    """A number logged under a tag."""

    tag: str
    value: float


class Text(msgspec.Struct, frozen=True):
    """A text logged under a tag."""

    tag: str
    value: str


class Picture(msgspec.Struct, frozen=True):
    """An image logged under a tag, encoded as PNG, JPEG or GIF; `index` counts those of one step."""

    tag: str
    index: int
    content: bytes
    width: int
    height: int


class Distribution(msgspec.Struct, frozen=True):
    """A histogram logged under a tag: edges of its bins, one more than there are counts."""

    tag: str
    edges: list[float]
    counts: list[float]


class Hyperparameters(msgspec.Struct, frozen=True):
    """What the run was set up with."""

    values: dict[str, Any]


Meaning = Scalar | Text | Picture | Distribution | Hyperparameters


def require() -> None:
    """Say what to install where tensorboard's package is missing.

    Raises
    ------
    ImportError
        If it is.
    """
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        raise ImportError("reading event files needs tensorboard: pip install 'trackkit[tensorboard]'") from None


def event_files(folder: Path) -> list[Path]:
    """The event files under a folder, those of one folder in the order they were begun."""
    return sorted((path for path in folder.rglob(PATTERN) if path.is_file()), key=lambda path: (path.parent, path.name))


def is_time(name: str) -> bool:
    """Whether a folder is named by the time alone, as `add_hparams` names those it makes inside another."""
    try:
        return float(name) > 1e9
    except ValueError:
        return False


def read(path: Path) -> Iterator[Any]:
    """The events of a file, up to where it is whole."""
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event

    for record in RawEventFileLoader(str(path)).Load():
        yield Event.FromString(record)


class Reader:
    """Tells what events mean. Tags are described by their first event alone, which it remembers.

    Examples
    --------
    >>> reader = Reader()  # doctest: +SKIP
    >>> for event in read(path):  # doctest: +SKIP
    ...     print(event.step, event.wall_time, reader.meanings(event))
    """

    def __init__(self) -> None:
        self._metadata: dict[str, Any] = {}

    def meanings(self, event: Any) -> list[Meaning]:
        """What an event says; what no one here can show is left out."""
        from tensorboard.data_compat import migrate_event
        from tensorboard.dataclass_compat import migrate_event as migrate_class

        if not event.HasField("summary"):
            return []
        found: list[Meaning] = []
        for one in migrate_class(migrate_event(event), self._metadata):
            for value in one.summary.value:
                found += _meanings(value, self._metadata.get(value.tag, value.metadata).plugin_data)
        return found


def _meanings(value: Any, plugin: Any) -> list[Meaning]:
    from tensorboard.util.tensor_util import make_ndarray

    if plugin.plugin_name == "hparams":
        return _hyperparameters(value.tag, plugin.content)
    if not value.HasField("tensor"):
        return []
    array = make_ndarray(value.tensor)
    match plugin.plugin_name:
        case "scalars" if array.size == 1:
            return [Scalar(value.tag, float(array.item()))]
        case "text":
            text = "\n".join(_text(one) for one in array.reshape(-1))
            return [Text(value.tag.removesuffix(_TEXT_SUFFIX), text)]
        case "images" if array.size > 2:  # width, height, then the images
            width, height, *images = array.reshape(-1).tolist()
            return [
                Picture(value.tag, number, bytes(content), int(width), int(height))
                for number, content in enumerate(images)
            ]
        case "histograms" if array.ndim == 2 and len(array):  # rows of left edge, right edge, count
            edges = [*array[:, 0].tolist(), float(array[-1, 1])]
            return [Distribution(value.tag, edges, array[:, 2].tolist())]
    return []


def _hyperparameters(tag: str, content: bytes) -> list[Meaning]:
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    if tag != _HPARAMS:
        return []
    started = HParamsPluginData.FromString(content).session_start_info
    values = {}
    for name, value in started.hparams.items():
        kind = value.WhichOneof("kind")
        values[name] = None if kind in (None, "null_value") else _plain(getattr(value, kind))
    return [Hyperparameters(values)]


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)  # protocol buffers have no other numbers here
    if isinstance(value, (bool, float, str)):
        return value
    return json.loads(json.dumps(list(value)))


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
