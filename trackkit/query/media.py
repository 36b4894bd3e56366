"""The media of a run, read back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from trackkit.query.files import File

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]


class MediaItem(File):
    """One media value of a run: a file that knows its key and step.

    Attributes
    ----------
    key, step
        What it was logged under, and at which step.
    created
        When it was logged, an aware datetime in UTC.
    kind
        `image`, `audio`, `video`, `html`, `text`, `histogram`, `figure`, `plotly`, `object3d`, `molecule`, `graph`,
        `chart` or `table`.
    metadata
        What is known of it: width and height, caption, boxes, masks and so on; `index` in a list.

    Examples
    --------
    >>> for item in run.media("examples"):
    ...     print(item.step, item.caption, item.download("pictures"))
    """

    @property
    def caption(self) -> str:
        """Its caption, or nothing."""
        return str(self.metadata.get("caption") or "")

    @property
    def index(self) -> int:
        """Its place in the list it was logged in."""
        return int(self.metadata.get("index") or 0)

    def json(self) -> Any:
        """The content of a chart, graph, histogram or Plotly figure.

        Raises
        ------
        ValueError
            If the content is no JSON.
        """
        try:
            return msgspec.json.decode(self.read())
        except msgspec.DecodeError as error:
            raise ValueError(f"{self.path} is no JSON: {error}") from None

    def image(self) -> Any:
        """An image or figure as PIL's, to be looked at in a notebook.

        Raises
        ------
        ImportError
            If Pillow is not installed.
        """
        from trackkit.core.media.libraries import load

        return load("PIL.Image", "MediaItem.image").open(self.open())

    def histogram(self) -> tuple[Array, Array]:
        """Counts and edges of a histogram, as `numpy.histogram` returns them."""
        import numpy as np

        found = self.json()
        return np.array(found["counts"]), np.array(found["edges"])

    def part(self, role: str) -> bytes:
        """What is kept beside it: the mask of a name (`mask:NAME`), the `svg` of a figure, the `boxes` of an image.

        Raises
        ------
        KeyError
            If it has no such part.
        """
        known = self.metadata
        found = known.get("masks", {}).get(role.removeprefix("mask:")) if role.startswith("mask:") else known.get(role)
        if not isinstance(found, dict) or "digest" not in found:
            raise KeyError(f"{self.key} at step {self.step} has no part {role!r}")
        with self._source.open_blob(self._run, str(found["digest"]), f"{role} of {self.path}") as content:
            return content.read()

    def __repr__(self) -> str:
        return f"MediaItem({self.key!r}, step {self.step}, {self.kind}, {self.size} bytes)"
