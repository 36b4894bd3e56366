"""Tokens of servers, kept for the user in a file only they can read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from urllib.parse import urlsplit

VARIABLE = "TRACKKIT_TOKEN"
"""Names the token for every server; takes precedence over what `trackkit login` kept."""


def origins_of(url: str) -> list[str]:
    """The servers that an address means: one, or several on one store, of which any will do.

    Raises
    ------
    ValueError
        If it is no address of a server.

    Examples
    --------
    >>> origins_of("http://one:5757,two:5757")
    ['http://one:5757', 'http://two:5757']
    """
    scheme, _, rest = url.partition("://")
    origins = []
    for part in rest.partition("/")[0].split(","):
        try:
            origin = origin_of(f"{scheme}://{part}")
        except ValueError:  # its port is none
            origin = ""
        if scheme not in ("http", "https") or not origin.partition("://")[2]:
            raise ValueError(
                f"{url!r} is no address of a server: expected http://HOST:PORT or https://HOST, or several on one "
                "store as http://HOST:PORT,HOST:PORT"
            )
        origins.append(origin)
    return list(dict.fromkeys(origins))


def origin_of(url: str) -> str:
    """A server's URL without path: what a token is kept under.

    Examples
    --------
    >>> origin_of("https://Track.example.org:443/p/digits")
    'https://track.example.org'
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    default = {"http": 80, "https": 443}.get(parts.scheme)
    port = f":{parts.port}" if parts.port not in (None, default) else ""
    return f"{parts.scheme}://{host}{port}"


def token_for(url: str) -> str:
    """The token for a server; empty if there is none."""
    return os.environ.get(VARIABLE, "").strip() or _read().get(origin_of(url), "")


def keep(url: str, token: str) -> Path:
    """Keep the token for a server; the file it is in."""
    return _write({**_read(), origin_of(url): token})


def forget(url: str) -> bool:
    """Forget the token for a server; whether there was one."""
    known = _read()
    found = known.pop(origin_of(url), None) is not None
    if found:
        _write(known)
    return found


def _path() -> Path:
    from trackkit.core.settings import user_folder

    return user_folder() / "credentials.json"


def _read() -> dict[str, str]:
    try:
        stored = json.loads(_path().read_text())
        return {str(origin): str(token) for origin, token in stored.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def _write(tokens: dict[str, str]) -> Path:
    path = _path()
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(tokens, file, indent=2)
    os.replace(fresh, path)
    return path
