"""What processes on one PostgreSQL tell each other, by LISTEN and NOTIFY: that a run has news, say.

A notice is a hint. Whoever was not listening when it was sent never hears of it, so a listener that lost its
connection asks the store what it missed (`changes.since`) and listens on.
"""

from __future__ import annotations

import psycopg
from psycopg import Connection, sql

from trackkit.backend.store.database import Row, Unavailable
from trackkit.backend.store.postgres import connect


class Listener:
    """A connection of its own that hears what `PostgresDatabase.notify` says on a channel.

    Parameters
    ----------
    url
        As of `PostgresDatabase`. A connection pooler in between has to keep sessions apart.
    channel
        Which notices to hear.

    Raises
    ------
    Unavailable
        If PostgreSQL can't be reached.

    Examples
    --------
    >>> listener = Listener("postgresql:///trackkit", "runs")  # doctest: +SKIP
    >>> listener.wait(1.0)  # doctest: +SKIP
    ['k3x1', 'p0q9']
    """

    def __init__(self, url: str, channel: str) -> None:
        self.url = url
        self.channel = channel
        self._connection: Connection[Row] | None = None
        self._listen()

    def wait(self, timeout: float) -> list[str]:
        """What was said since the last call, in order; waits for it for so many seconds at most.

        Raises
        ------
        Unavailable
            If the connection was lost, and with it perhaps some notices; the next call makes another.
        """
        connection = self._connection or self._listen()
        try:
            return [notice.payload for notice in connection.notifies(timeout=timeout, stop_after=1)]
        except psycopg.OperationalError as error:
            self.close()
            raise Unavailable(f"PostgreSQL's notices were lost: {error}; ask the store what is new") from error

    def close(self) -> None:
        """Hear no more."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _listen(self) -> Connection[Row]:
        self._connection = connect(self.url)
        self._connection.execute(sql.SQL("listen {}").format(sql.Identifier(self.channel)))
        return self._connection
