"""The socket a server listens on."""

from __future__ import annotations

import socket

import pytest

from trackkit.backend.server.launch import PortTaken, bind


def test_answers_do_not_wait_to_be_sent_with_more() -> None:
    with bind("127.0.0.1", 0, exact=True) as listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_port_in_use_is_another_programs() -> None:
    with bind("127.0.0.1", 0, exact=True) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(PortTaken, match=str(port)):
            bind("127.0.0.1", port, exact=True)
        with bind("127.0.0.1", port, exact=False) as other:
            assert other.getsockname()[1] > port
