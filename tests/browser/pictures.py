"""The pictures of the documentation: `python -m tests.browser.pictures docs/images`.

A study is written to a fresh store, an album of media, a table and a shelf of artifacts to others; a server shows each,
and the main pages are taken in light and in dark.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser import album, chromium, ledger, shelf, study
from tests.servers import process

WINDOW = {"width": 1280, "height": 800}
MOST_BYTES = 100_000
PAGES = {
    "projects": "/",
    "project": "/projects/vision?search=%5E(train%7Cval)%2F",
    "run": f"/runs/{study.BEST}",
    "system": f"/runs/{study.BEST}/system",
    "compare": f"/compare?runs={study.BEST},{study.FAILED},{study.DIVERGED}",
}
ALBUM = "street"
ALBUM_PAGES = {"media": f"/projects/{ALBUM}?search=%5Eval%2F(examples%7Croc)"}
TABLE_PAGES = {"table": f"/runs/{ledger.RUNS[1]}/charts"}
SHELF_PAGES = {
    "artifact": f"/projects/{shelf.PROJECT}/artifacts/digits-data/v1/files",
    "lineage": f"/projects/{shelf.PROJECT}/artifacts/digits-model/v0/lineage",
}


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    take_all(folder, lambda root: study.fill(root, time.time()), PAGES)
    take_all(folder, lambda root: album.fill(root, ALBUM), ALBUM_PAGES)
    take_all(folder, ledger.fill, TABLE_PAGES)
    take_all(folder, lambda root: shelf.fill(root, sweep=6), SHELF_PAGES)


def take_all(folder: Path, fill: Callable[[Path], object], pages: dict[str, str]) -> None:
    """Pictures of pages over a store that `fill` writes."""
    with tempfile.TemporaryDirectory() as place:
        fill(Path(place))
        with process(Path(place), "--log-level", "warning") as server, sync_playwright() as playwright:
            browser = chromium.launch(playwright)
            for theme in ("light", "dark"):
                take(browser, server.address, theme, folder, pages)
            browser.close()


def take(browser: Browser, address: str, theme: str, folder: Path, pages: dict[str, str]) -> None:
    context = browser.new_context(base_url=address, viewport=WINDOW, color_scheme=theme)  # type: ignore[arg-type]
    for name, path in pages.items():
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
