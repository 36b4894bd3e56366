"""How a server was told to run, and what it refuses to."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path

import msgspec

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
DEFAULT_PORT = 5757


class UnsafeBind(ValueError):
    """The server would be open to others without authentication."""


class ServerConfig(msgspec.Struct, frozen=True):
    """How to serve a store.

    Attributes
    ----------
    store
        The store's folder, or the URL of a PostgreSQL database.
    root
        The folder of blobs, and of the SQLite file where there is one.
    host, port
        Where to listen.
    auth
        Whether every request needs a token or a session.
    allowed_hosts
        Further names under which the server may be asked for.
    max_batch_mb
        The largest batch of records taken, uncompressed, MiB.
    max_blob_mb
        The largest file taken, MiB; 0 for no limit but the disk's.
    embed_from
        Origins whose pages may show the dashboard in a frame.
    blobs
        Where files are, `s3://…` or a folder; by default in `root`.
    """

    store: str
    root: Path
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    auth: bool = False
    allowed_hosts: tuple[str, ...] = ()
    max_batch_mb: int = 64
    max_blob_mb: int = 0
    embed_from: tuple[str, ...] = ()
    blobs: str = ""

    def hosts(self) -> frozenset[str]:
        """The values of the `Host` header, without port, that mean this server."""
        names = {*LOOPBACK_NAMES, *map(str.lower, self.allowed_hosts)}
        if not is_loopback(self.host):
            names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
            if self.host not in ("0.0.0.0", "::"):
                names.add(f"[{self.host}]" if ":" in self.host else self.host.lower())
        return frozenset(names)

    def frames(self) -> str:
        """The pages that may show the dashboard in a frame, as a source list of a Content Security Policy."""
        local = ("http://localhost:*", "http://127.0.0.1:*") if is_loopback(self.host) else ()
        return " ".join(["'self'", *local, *self.embed_from])


def check_bind(host: str, *, auth: bool) -> None:
    """Refuse to be open to a network without authentication.

    Raises
    ------
    UnsafeBind
        If `host` is not this machine alone and `auth` is false.
    """
    if not auth and not is_loopback(host):
        raise UnsafeBind(
            f"listening on {host} would let everybody who reaches this machine read, change and delete every run: "
            "add --auth, and give people tokens with 'trackkit token create'; or listen on 127.0.0.1 and let "
            "people come through an SSH tunnel"
        )


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
