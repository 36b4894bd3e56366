"""The browser tests run in: the machine's own Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from typing import Any

from playwright.sync_api import Browser, Playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def path() -> str:
    """Where Chromium is: what CHROMIUM names, or one of the usual names on the PATH.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    named = os.environ.get("CHROMIUM")
    found = shutil.which(named) if named else next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        where = f"CHROMIUM is {named!r}, where no program is" if named else f"none of {', '.join(NAMES)} is on the PATH"
        raise FileNotFoundError(
            f"the browser tests need Chromium, and {where}: install it (Debian: apt-get install chromium), "
            "or name one in CHROMIUM"
        )
    return found


def launch(playwright: Playwright, *flags: str, **options: Any) -> Browser:
    """A headless Chromium with a fresh profile."""
    return playwright.chromium.launch(executable_path=path(), args=[*FLAGS, *flags], **options)
