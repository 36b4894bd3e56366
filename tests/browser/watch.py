"""What a page must not do, seen while a test uses it."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request

NOTE_VIOLATIONS = """
addEventListener('securitypolicyviolation', (event) =>
  console.error(`content security policy: ${event.violatedDirective} forbids ${event.blockedURI}`));
"""


class Watch:
    """Notes errors on the console, exceptions, violated policies, and requests to other hosts than the server's."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.host = urlsplit(address).netloc
        self.requests: list[Request] = []
        self.problems: list[str] = []
        self._said: list[str] = []
        self._allowed: list[re.Pattern[str]] = []
        context.add_init_script(NOTE_VIOLATIONS)
        context.on("request", self._see)
        context.on("console", self._hear)
        context.on("weberror", lambda error: self.problems.append(f"exception: {error.error.stack}"))

    def allow(self, pattern: str) -> None:
        """Expect an error on the console, such as the browser's note of an answer of 400."""
        self._allowed.append(re.compile(pattern))

    def asked(self, path: str) -> list[Request]:
        """The requests so far whose path begins so."""
        return [request for request in self.requests if urlsplit(request.url).path.startswith(path)]

    def check(self) -> None:
        """Fail with all that went wrong."""
        said = [text for text in self._said if not any(pattern.search(text) for pattern in self._allowed)]
        assert not self.problems + said, "\n".join(self.problems + said)

    def _see(self, request: Request) -> None:
        self.requests.append(request)
        url = urlsplit(request.url)
        if url.scheme not in ("data", "blob") and url.netloc != self.host:
            self.problems.append(f"a request to another host: {request.url}")

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type not in ("error", "warning"):
            return
        self._said.append(f"console {message.type}: {message.text} ({message.location.get('url', '')})")


def scrolls_sideways(page: Page) -> bool:
    """Whether the page as a whole is wider than the window."""
    return bool(page.evaluate("document.documentElement.scrollWidth > innerWidth"))
