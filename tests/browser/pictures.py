"""The pictures of the documentation: `python -m tests.browser.pictures docs/images`.

A study is written to a fresh store, a server shows it, and the main pages are taken in light and in dark.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser import chromium, study
from tests.servers import process

WINDOW = {"width": 1280, "height": 800}
MOST_BYTES = 70_000
PAGES = {
    "projects": "/",
    "project": "/projects/vision?search=%5E(train%7Cval)%2F",
    "run": f"/runs/{study.BEST}",
    "system": f"/runs/{study.BEST}/system",
    "compare": f"/compare?runs={study.BEST},{study.FAILED},{study.DIVERGED}",
}


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        study.fill(Path(place), time.time())
        with process(Path(place), "--log-level", "warning") as server, sync_playwright() as playwright:
            browser = chromium.launch(playwright)
            for theme in ("light", "dark"):
                take_all(browser, server.address, theme, folder)
            browser.close()


def take_all(browser: Browser, address: str, theme: str, folder: Path) -> None:
    context = browser.new_context(base_url=address, viewport=WINDOW, color_scheme=theme)  # type: ignore[arg-type]
    for name, path in PAGES.items():
        page = context.new_page()
        page.goto(path)
        settle(page)
        if name == "project":
            page.locator("article .u-over").first.hover(position={"x": 150, "y": 60})
            page.wait_for_timeout(300)
        size = keep(page.screenshot(), folder / f"{name}-{theme}.webp")
        print(f"{name}-{theme}.webp: {size / 1000:.0f} kB")
        page.close()
    context.close()


def settle(page: Page) -> None:
    expect(page.get_by_role("heading", level=1).first).to_be_attached(timeout=20_000)
    expect(page.locator(".skeleton")).to_have_count(0, timeout=20_000)
    page.wait_for_timeout(1200)  # the last strokes


def keep(screenshot: bytes, path: Path) -> int:
    """Write a picture as lossless WebP; its size in bytes.

    Raises
    ------
    ValueError
        If it is larger than the repository should hold.
    """
    Image.open(io.BytesIO(screenshot)).convert("RGB").save(path, lossless=True, quality=100, method=6)
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise ValueError(f"{path} has {size:,} bytes and may have {MOST_BYTES:,}: show less in it")
    return size


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Take the pictures of the documentation.")
    parser.add_argument("folder", type=Path)
    main(parser.parse_args().folder)
