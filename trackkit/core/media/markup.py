"""`Html`, `Text` and `Markdown`: text that is shown as more than the value of a metric."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from trackkit.core.media.snapshot import Media, Snapshot, check_caption, named

MOST_BYTES: Final = 64 << 20


class Html(Media):
    """A page of HTML, shown in a frame of its own from which it reaches nothing else.

    Parameters
    ----------
    data
        HTML, the path of an `.html` file, or an open file.
    inject
        Accepted for scripts written for W&B.
    data_is_not_path
        Take text that ends in `.html` for HTML, too.
    caption
        Text shown with it.

    Raises
    ------
    TypeError
        If it is no text.
    FileNotFoundError
        If there is no such file.
    """

    kind = "html"

    def __init__(
        self, data: Any, inject: bool = True, data_is_not_path: bool = False, caption: str | None = None
    ) -> None:
        self.caption = check_caption(caption)
        is_path = isinstance(data, os.PathLike) or (isinstance(data, str) and data.endswith((".html", ".htm")))
        if is_path and not data_is_not_path:
            path = Path(data)
            if not path.is_file():
                raise FileNotFoundError(f"trackkit.Html found no file {str(path)!r}")
            data = path.read_text(encoding="utf-8", errors="replace")
        elif hasattr(data, "read"):
            data = data.read()
        self.html = _text(data, "trackkit.Html")

    def snapshot(self) -> Snapshot:
        return _markup("html", "html", self.html, named(caption=self.caption))


class Text(Media):
    """Text, as long as it likes, kept as a file.

    Parameters
    ----------
    text
        The text.
    caption
        Text shown with it.

    Raises
    ------
    TypeError
        If it is no text.
    """

    kind = "text"
    format = "txt"

    def __init__(self, text: str, caption: str | None = None) -> None:
        self.caption = check_caption(caption)
        self.text = _text(text, f"trackkit.{type(self).__name__}")

    def snapshot(self) -> Snapshot:
        return _markup("text", self.format, self.text, named(caption=self.caption))

    @property
    def logged_together(self) -> str:
        return self.format


class Markdown(Text):
    """Text that is shown with its Markdown applied; parameters as `Text`'s."""

    format = "md"


def _markup(kind: str, extension: str, text: str, metadata: dict[str, Any]) -> Snapshot:
    return Snapshot(kind, "bytes", {"extension": extension}, metadata, [text.encode("utf-8", "backslashreplace")])


def _text(data: Any, what: str) -> str:
    if isinstance(data, bytes):
        data = data.decode("utf-8", "replace")
    if not isinstance(data, str):
        raise TypeError(f"{what} takes text, not {type(data).__name__}")
    if len(data) > MOST_BYTES:
        raise ValueError(f"{what} takes up to {MOST_BYTES:,} characters, not {len(data):,}; save more as a file")
    return data
