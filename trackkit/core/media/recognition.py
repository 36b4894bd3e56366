"""What `log` takes for media: our own values, and those of other libraries that can only be meant as such."""

from __future__ import annotations

from typing import Any

from trackkit.core.media.libraries import is_a
from trackkit.core.media.snapshot import Media, Snapshot


def take(key: str, value: Any) -> list[Snapshot] | None:
    """Snapshots of the media that a value is, one or those of a list; None if it is none.

    Raises
    ------
    TypeError, ValueError
        If it is media that can't be kept, naming the key.
    """
    media = recognise(key, value)
    if media is None:
        return None
    try:
        return [each.snapshot() for each in media]
    except (TypeError, ValueError, FileNotFoundError) as error:
        raise type(error)(f"the value of {key!r} can't be logged: {error}") from error


def recognise(key: str, value: Any) -> list[Media] | None:
    """The media that a value is; None if it is none.

    An array of more than one number is a histogram; a data frame is a table; a PIL image, a matplotlib or Plotly figure
    is what its name says; a list is of one kind of media.

    Raises
    ------
    TypeError, ValueError
        If it is media that can't be kept, naming the key.
    """
    if isinstance(value, list | tuple):
        return _of_list(key, value)
    single = _single(key, value)
    return None if single is None else [single]


def _of_list(key: str, values: list[Any] | tuple[Any, ...]) -> list[Media] | None:
    found = [_single(key, value, bare_arrays=False) for value in values]
    media = [each for each in found if each is not None]
    if not media:
        return None
    kinds = {each.logged_together for each in media} | {"" for each in found if each is None}
    if len(kinds) > 1:
        names = ", ".join(sorted({type(value).__name__ for value in values}))
        raise TypeError(f"the list under {key!r} must hold media of one kind, and holds {names}")
    if media[0].kind == "table" and len(media) > 1:
        raise TypeError(f"the list under {key!r} holds {len(media)} tables; log each under a key of its own")
    return media


def _single(key: str, value: Any, *, bare_arrays: bool = True) -> Media | None:
    if isinstance(value, Media):
        return value
    try:
        return _foreign(value, bare_arrays)
    except (TypeError, ValueError) as error:
        raise type(error)(f"the value of {key!r} can't be logged: {error}") from None


def _foreign(value: Any, bare_arrays: bool) -> Media | None:
    if isinstance(value, str | bytes | int | float) or value is None:
        return None
    if is_a(value, "PIL.Image", "Image"):
        from trackkit.core.media.image import Image

        return Image(value)
    from trackkit.core.media.figure import Figure, Plotly, as_figure, is_plotly

    if as_figure(value) is not None:
        return Figure(value)
    if is_plotly(value):
        return Plotly(value)
    from trackkit.core.table.frames import is_frame

    if is_frame(value):
        from trackkit.core.table import Table

        return Table(dataframe=value)
    if bare_arrays and _is_histogram(value):
        from trackkit.core.media.histogram import Histogram

        return Histogram(value)
    return None


def _is_histogram(value: Any) -> bool:
    """Whether it is an array of more than one real number."""
    from trackkit.core.media.arrays import is_array

    if not is_array(value) or getattr(getattr(value, "dtype", None), "kind", "f") not in "biuf":
        return False
    shape = tuple(value.shape)
    size = 1
    for length in shape:
        size *= int(length)
    return size > 1
