"""The team's database: PostgreSQL, through psycopg 3. `dialect` says how SQL and values get there."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from trackkit.backend.store.database import Busy, Row, Unavailable, check_known
from trackkit.backend.store.patterns import PatternRefused, to_postgres
from trackkit.backend.store.schema import MIGRATIONS

try:
    import psycopg
    import psycopg_pool
except ImportError as error:
    raise ImportError(f"a store on PostgreSQL needs psycopg ({error}): pip install 'trackkit[postgres]'") from error

# Only here is it known that psycopg is installed.
from psycopg import Connection, RawCursor, errors
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus

from trackkit.backend.store import dialect

SCHEMES: Final = ("postgresql", "postgres")
"""The schemes of the URLs that name such a database."""

_MIGRATION_LOCK = int.from_bytes(b"trackkit")
_DEFAULTS: Final = {
    "application_name": "trackkit",
    "client_encoding": "UTF8",
    "connect_timeout": "10",
    "tcp_user_timeout": "30000",
}
"""Of a connection; the URL may say otherwise."""
_ROWS_AT_ONCE = 2000
"""Rows of a statement, of which some may have 100 KB."""
_COPIED = 8
"""From so many rows on, COPY is faster than a statement that inserts them."""
_STATEMENTS_KEPT = 250
_types: dict[tuple[str, ...], tuple[int, ...]] = {}
"""The types of tables' columns, which are the same in every database."""


class PostgresDatabase:
    """A connection to a PostgreSQL database.

    One that was lost is made anew for the next call outside a transaction.

    Parameters
    ----------
    url
        `postgresql://user:password@host:port/database`, with whatever libpq understands as parameters.
    patience
        Seconds to wait for a lock before `Busy` is raised.
    lent
        A connection that somebody else looks after; it is not made anew.

    Raises
    ------
    Unavailable
        If PostgreSQL can't be reached, now or at any call.
    """

    def __init__(self, url: str, *, patience: float = 30.0, lent: Connection[Row] | None = None) -> None:
        self.url = url
        self.patience = patience
        self.connection = connect(url, patience) if lent is None else lent
        self.is_fixed = lent is not None
        """Whether the connection may not be replaced: it is another's, or a transaction is going on."""
        self._guard = _Guard(self)

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        with self._guard:
            return self._run(sql, parameters).fetchall()

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        with self._guard:
            return self._run(sql, parameters).rowcount

    def execute_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        with self._guard, self.connection.cursor() as cursor:
            cursor.executemany(dialect.translated(sql).sql, rows)

    def insert_many(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        if len(rows) < _COPIED:
            self._insert(table, columns, rows, "")
            return
        types = self._types_of(table, columns)
        copy = f"copy {table} ({', '.join(columns)}) from stdin (format binary)"
        with self._guard, self.connection.cursor() as cursor, cursor.copy(copy) as writer:
            writer.set_types(types)
            for row in rows:
                writer.write_row(row)

    def upsert_many(
        self, table: str, keys: Sequence[str], columns: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> None:
        changes = ", ".join(f"{column} = excluded.{column}" for column in columns)
        conflict = f" on conflict ({', '.join(keys)}) do " + (f"update set {changes}" if changes else "nothing")
        # One statement may not change a row twice; of rows with the same keys the last one counts.
        latest = {dialect.identity(row[: len(keys)]): row for row in rows}
        self._insert(table, [*keys, *columns], list(latest.values()), conflict)

    @contextlib.contextmanager
    def atomic(self) -> Iterator[None]:
        self.execute("begin")
        was_fixed, self.is_fixed = self.is_fixed, True
        try:
            yield
            with self._guard:
                ended = self.connection.execute("commit").statusmessage
        except BaseException:
            with contextlib.suppress(psycopg.Error):
                self.connection.execute("rollback")
            raise
        finally:
            self.is_fixed = was_fixed
        if ended != "COMMIT":
            raise RuntimeError("the transaction was rolled back: a statement in it failed, and the error was dropped")

    def notify(self, channel: str, payload: str) -> None:
        """Tell whoever listens, see `notices.Listener`; within a transaction, once it is committed.

        Notices of the same text in one transaction are sent once.

        Parameters
        ----------
        payload
            Less than 8,000 bytes.
        """
        self.query("select pg_notify(?, ?)", [channel, payload])

    def sync(self) -> None:
        """Nothing is left to do: what is committed is on PostgreSQL's disk, unless its settings say otherwise."""

    def migrate(self) -> None:
        known = [name for name, _ in MIGRATIONS]
        applied = self._applied_migrations()
        check_known(applied, known, self._name())
        if applied == set(known):
            return
        self._check_encoding()
        with self.atomic():
            self.query("select pg_advisory_xact_lock(?)", [_MIGRATION_LOCK])
            self.execute(
                "create table if not exists trackkit_migrations "
                "(name text primary key, applied_at timestamptz not null default now())"
            )
            applied = self._applied_migrations()
            check_known(applied, known, self._name())
            for name, statements in MIGRATIONS:
                if name in applied:
                    continue
                for statement in statements:
                    self.execute(statement.format(**dialect.TYPES))
                self.execute("insert into trackkit_migrations (name) values (?)", [name])
            for statement in dialect.TUNING:
                self.execute(statement)

    def close(self) -> None:
        self.connection.close()

    def _run(self, sql: str, parameters: Sequence[Any]) -> psycopg.Cursor[Row]:
        statement = dialect.translated(sql)
        if statement.patterns:
            parameters = [
                to_postgres(value) if position in statement.patterns else value
                for position, value in enumerate(parameters)
            ]
        return self.connection.execute(statement.sql, parameters, prepare=statement.prepare, binary=True)

    def _insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], conflict: str) -> None:
        types = self._types_of(table, columns)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            given = dialect.arrays(types, rows[start : start + _ROWS_AT_ONCE])
            statement = dialect.insertion(table, tuple(columns), types, conflict)
            with self._guard:
                self.connection.execute(statement, given, prepare=True)

    def _types_of(self, table: str, columns: Sequence[str]) -> tuple[int, ...]:
        """The numbers of the columns' types."""
        key = (table, *columns)
        found = _types.get(key)
        if found is None:
            with self._guard:
                described = self._run(f"select {', '.join(columns)} from {table} limit 0", []).description
            found = _types[key] = tuple([column.type_code for column in described or []])
        return found

    def _applied_migrations(self) -> set[str]:
        if not self.query("select 1 where to_regclass('trackkit_migrations') is not null"):
            return set()
        return {name for (name,) in self.query("select name from trackkit_migrations")}

    def _check_encoding(self) -> None:
        encoding = self.connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise RuntimeError(
                f"{self._name()} has the encoding {encoding}, which can't hold every text; "
                "make one with: create database trackkit encoding 'UTF8' template template0"
            )

    def _name(self) -> str:
        return f"the PostgreSQL database {self.connection.info.dbname!r} on {self.connection.info.host}"


class _Guard:
    """A context for what is said to PostgreSQL: makes a lost connection anew, and gives errors the port's names.

    A class, as a generator would cost a fifth of a short statement.
    """

    __slots__ = ("_db",)

    def __init__(self, db: PostgresDatabase) -> None:
        self._db = db

    def __enter__(self) -> None:
        db = self._db
        if db.connection.closed and not db.is_fixed:
            db.connection = connect(db.url, db.patience)

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        match error:
            case errors.LockNotAvailable() | errors.DeadlockDetected() | errors.SerializationFailure():
                raise Busy(f"PostgreSQL can't do it now: {_sentence(error)}; try again") from error
            case errors.QueryCanceled():
                raise Busy(f"PostgreSQL gave up: {_sentence(error)}; ask for less, or try again") from error
            case errors.InvalidRegularExpression():
                raise PatternRefused(f"PostgreSQL can't search for it: {_sentence(error)}") from error
            case errors.ReadOnlySqlTransaction():
                self._db.connection.close()  # the server was made a standby: another one is the primary now
                raise Unavailable(f"PostgreSQL takes no changes now: {_sentence(error)}; try again") from error
            case psycopg.Error() if self._db.connection.closed:
                raise Unavailable(f"the connection to PostgreSQL was lost: {_sentence(error)}; try again") from error


class PostgresPool:
    """Connections to a PostgreSQL database that threads share.

    Parameters
    ----------
    url
        As of `PostgresDatabase`.
    size
        How many connections are made at most.
    patience
        Seconds to wait for a lock before `Busy` is raised, and for a connection before `Unavailable` is.
    limit
        Seconds that a statement may take before `Busy` is raised; 0 for ever.

    Raises
    ------
    Unavailable
        If PostgreSQL can't be reached.

    Examples
    --------
    >>> with PostgresPool("postgresql:///trackkit") as pool, pool.connection() as db:  # doctest: +SKIP
    ...     db.query("select count(*) from runs")
    [(12,)]
    """

    def __init__(self, url: str, size: int = 8, *, patience: float = 30.0, limit: float = 0.0) -> None:
        connect(url, patience).close()  # says why not, which a pool does not
        self._url, self._patience = url, patience
        self._pool = psycopg_pool.ConnectionPool(
            url,
            kwargs=_arguments(url),
            min_size=min(size, 2),
            max_size=size,
            timeout=patience,
            configure=functools.partial(_configure, patience=patience, limit=limit),
            check=psycopg_pool.ConnectionPool.check_connection,
            open=True,
        )

    @contextlib.contextmanager
    def connection(self) -> Iterator[PostgresDatabase]:
        """A database for the length of a `with`.

        Raises
        ------
        Unavailable
            If no connection came free in time.
        """
        try:
            connection = self._pool.getconn()
        except psycopg_pool.PoolTimeout as error:
            raise Unavailable(f"no connection to PostgreSQL was to be had: {error}; try again") from error
        try:
            yield PostgresDatabase(self._url, patience=self._patience, lent=connection)
        finally:
            if connection.info.transaction_status not in (TransactionStatus.IDLE, TransactionStatus.UNKNOWN):
                connection.close()
            self._pool.putconn(connection)

    def close(self) -> None:
        """Close the connections; those in use, when they are given back."""
        self._pool.close()

    def __enter__(self) -> PostgresPool:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def connect(url: str, patience: float = 30.0) -> Connection[Row]:
    """A connection that reads and writes values as stores do.

    Raises
    ------
    Unavailable
        If PostgreSQL can't be reached.
    """
    try:
        connection = Connection.connect(url, **_arguments(url))
        _configure(connection, patience)
    except psycopg.OperationalError as error:
        raise Unavailable(f"PostgreSQL can't be reached: {_sentence(error)}") from error
    return connection


def _arguments(url: str) -> dict[str, Any]:
    given = conninfo_to_dict(url)
    arguments = {name: value for name, value in _DEFAULTS.items() if name not in given}
    return {**arguments, "autocommit": True, "cursor_factory": RawCursor}


def _configure(connection: Connection[Row], patience: float, limit: float = 0.0) -> None:
    dialect.adapt(connection.adapters)
    connection.prepared_max = _STATEMENTS_KEPT
    # Compiling a plan takes longer than any question asked here; engines like PostgreSQL don't know the setting.
    connection.execute("select set_config(name, 'off', false) from pg_settings where name = 'jit'")
    connection.execute("select set_config('lock_timeout', $1, false)", [str(max(1, round(patience * 1000)))])
    if limit:
        connection.execute("select set_config('statement_timeout', $1, false)", [str(round(limit * 1000))])


def _sentence(error: psycopg.Error) -> str:
    """The first line of what PostgreSQL said."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
