"""`Figure` and `Plotly`: what plotting libraries draw."""

from __future__ import annotations

import io
import pickle
import sys
from typing import Any, Literal

from trackkit.core.media.libraries import is_a, require
from trackkit.core.media.snapshot import Media, Snapshot, check_caption, named

_MODULE = "matplotlib.figure"
_RESTORES_WINDOW = "_restore_to_pylab"


class Figure(Media):
    """A matplotlib figure, kept as PNG and as SVG.

    Parameters
    ----------
    figure
        The figure, axes of it, or `matplotlib.pyplot` for the current one.
    caption
        Text shown with it.
    svg
        Keep it as SVG, too, which stays sharp and may be large.

    Raises
    ------
    TypeError
        If it is no figure.

    Examples
    --------
    >>> figure, axes = plt.subplots()  # doctest: +SKIP
    >>> run.log({"loss surface": trackkit.Figure(figure)})  # doctest: +SKIP
    """

    kind = "figure"

    def __init__(self, figure: Any, caption: str | None = None, svg: bool = True) -> None:
        found = as_figure(figure)
        if found is None:
            raise TypeError(f"trackkit.Figure can't be made of {type(figure).__name__}: expected a matplotlib figure")
        self.caption = check_caption(caption)
        self._figure = found
        self._svg = svg

    def snapshot(self) -> Snapshot:
        made = figure_snapshot(self._figure, "figure", svg=self._svg)
        made.metadata.update(named(caption=self.caption))
        return made


class Plotly(Media):
    """A Plotly figure, kept as JSON.

    Parameters
    ----------
    figure
        A `plotly.graph_objects.Figure`.
    caption
        Text shown with it.

    Raises
    ------
    TypeError
        If it is no Plotly figure.
    """

    kind = "plotly"

    def __init__(self, figure: Any, caption: str | None = None) -> None:
        if not is_plotly(figure):
            raise TypeError(f"trackkit.Plotly can't be made of {type(figure).__name__}: expected a Plotly figure")
        require("plotly", "trackkit.Plotly")
        self.caption = check_caption(caption)
        self._figure = figure

    def snapshot(self) -> Snapshot:
        content = pickle.dumps(self._figure.to_dict(), protocol=5)
        return Snapshot("plotly", "plotly", {}, named(caption=self.caption), [content])


def as_figure(value: Any) -> Any:
    """The matplotlib figure that a value is, or belongs to; None if it is none."""
    if _MODULE not in sys.modules:
        return None
    if getattr(value, "__name__", "") == "matplotlib.pyplot":
        return value.gcf()
    if not is_a(value, _MODULE, "FigureBase") and type(value).__module__.startswith(("matplotlib", "mpl_toolkits")):
        value = getattr(value, "figure", None)
    if is_a(value, _MODULE, "SubFigure"):
        value = value.figure
    return value if is_a(value, _MODULE, "Figure") else None


def is_plotly(value: Any) -> bool:
    """Whether a value is a Plotly figure."""
    return is_a(value, "plotly.basedatatypes", "BaseFigure")


def figure_snapshot(figure: Any, kind: Literal["image", "figure"], *, svg: bool) -> Snapshot:
    """A matplotlib figure, pickled to be drawn later; drawn at once if it can't be pickled."""
    from matplotlib.figure import Figure as MatplotlibFigure

    class Pickler(pickle.Pickler):
        def reducer_override(self, value: Any) -> Any:
            """Figures without the wish to be shown in a window again, which only the main thread may do."""
            if not isinstance(value, MatplotlibFigure):
                return NotImplemented
            reduced = list(value.__reduce_ex__(5))
            if len(reduced) > 2 and isinstance(reduced[2], dict):
                reduced[2] = {key: each for key, each in reduced[2].items() if key != _RESTORES_WINDOW}
            return tuple(reduced)

    target = io.BytesIO()
    try:
        Pickler(target, protocol=5).dump(figure)
    except Exception:
        return _drawn(figure, kind)
    return Snapshot(kind, "figure", {"svg": svg}, {}, [target.getvalue()])


def _drawn(figure: Any, kind: str) -> Snapshot:
    target = io.BytesIO()
    figure.savefig(target, format="png")
    return Snapshot(kind, "image file", {"file_type": None, "extension": "png"}, {}, [target.getvalue()])
