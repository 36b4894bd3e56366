"""A network that can't be relied on: a TCP proxy that cuts, delays, repeats and damages what passes."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections.abc import Iterator


class Proxy:
    """Passes connections on to a port of this machine, and does to them what `mischief` says.

    Parameters
    ----------
    target
        The port.
    mischief
        How often, of pieces of up to 4 KiB: `cut`, `delay`, `repeat`, `damage`.
    uploads_per_second
        Bytes of a connection that begins with the upload of a file; 0 for as many as come.
    """

    def __init__(self, target: int, *, uploads_per_second: int = 0, **mischief: float) -> None:
        self._uploads_per_second = uploads_per_second
        self.mischief = mischief
        self.done: dict[str, int] = dict.fromkeys(mischief, 0)
        self.target = target
        self._random = random.Random(0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.address = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no further connection."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                try:
                    there = socket.create_connection(("127.0.0.1", self.target), timeout=5)
                except OSError:
                    here.close()
                    continue
                there.settimeout(None)
                for source, sink in ((here, there), (there, here)):
                    threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        slow = 0
        with contextlib.suppress(OSError):
            while piece := source.recv(4096):
                slow = self._uploads_per_second if piece.startswith(b"PUT ") else slow
                if slow:
                    time.sleep(len(piece) / slow)
                happening = self._happening()
                if happening == "cut":
                    break
                if happening == "delay":
                    time.sleep(0.1)
                if happening == "damage":
                    position = self._random.randrange(len(piece))
                    piece = piece[:position] + bytes([piece[position] ^ 0x04]) + piece[position + 1 :]
                sink.sendall(piece * 2 if happening == "repeat" else piece)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _happening(self) -> str:
        drawn = self._random.random()
        for name, share in self.mischief.items():
            drawn -= share
            if drawn < 0:
                self.done[name] += 1
                return name
        return ""


@contextlib.contextmanager
def proxy(target: int, *, uploads_per_second: int = 0, **mischief: float) -> Iterator[Proxy]:
    """A proxy, until the block ends."""
    found = Proxy(target, uploads_per_second=uploads_per_second, **mischief)
    try:
        yield found
    finally:
        found.close()
