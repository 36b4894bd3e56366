"""Runs as notebooks show them."""

from __future__ import annotations

import html
import sys
from typing import Protocol


class Shown(Protocol):
    """What of a run is shown."""

    @property
    def url(self) -> str: ...

    @property
    def path(self) -> str: ...


def show(run: Shown) -> bool:
    """Show a link to the run's page below the cell, if there is a notebook; whether there is."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if getattr(shell, "kernel", None) is None:  # IPython in a terminal has none
        return False
    try:
        from IPython.display import HTML, display

        display(HTML(link(run)))
    except Exception:
        return False
    return True


def link(run: Shown) -> str:
    """A link to the run's page."""
    address = html.escape(run.url, quote=True)
    return f'<p>trackkit: <a href="{address}" target="_blank" rel="noopener">{html.escape(run.path)}</a></p>'


def frame(run: Shown) -> str:
    """The run's page in a frame, below a link for where the page may not be framed."""
    address, title = html.escape(run.url, quote=True), html.escape(run.path, quote=True)
    return f'{link(run)}<iframe src="{address}" width="100%" height="480" loading="lazy" title="{title}"></iframe>'
