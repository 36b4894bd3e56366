"""A real browser, on real servers in processes of their own, over stores that real journals were taken into."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.browser import chromium, study
from tests.browser.watch import Watch
from tests.servers import Process, process

WIDE = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
QUIET = ("--log-level", "warning")
PATIENCE_MS = 10_000
expect.set_options(timeout=PATIENCE_MS)

NUMBERS = itertools.count(1)

NewPage = Callable[..., Page]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = chromium.launch(playwright)
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A server over the study, which tests only look at."""
    root = tmp_path_factory.mktemp("study")
    study.fill(root, time.time())
    with process(root, *QUIET) as server:
        yield server


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a store that tests fill, each a project of its own."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="session")
def server(root: Path) -> Iterator[Process]:
    """A server over that store."""
    with process(root, *QUIET) as own:
        yield own


@pytest.fixture
def project() -> str:
    """A project of the test's own."""
    return f"project-{next(NUMBERS)}"


@pytest.fixture
def watches() -> list[Watch]:
    """Who watches the pages of this test."""
    return []


@pytest.fixture
def open_page(browser: Browser, watches: list[Watch]) -> Iterator[NewPage]:
    """Opens pages of a server, each in a fresh profile; what a page must not do fails the test at its end."""
    contexts: list[BrowserContext] = []

    def open(server: Process, path: str = "/", *, theme: str = "light", viewport: dict[str, int] = WIDE) -> Page:
        context = browser.new_context(base_url=server.address, viewport=viewport, color_scheme=theme)  # type: ignore[arg-type]
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        watches.append(Watch(context, server.address))
        page = context.new_page()
        page.goto(path)
        return page

    yield open
    for context in contexts:
        context.close()
    for watch in watches:
        watch.check()
