"""The team's database: PostgreSQL, through psycopg 3.

The store's SQL runs as it is, with `?` numbered. Values are sent and read in the binary format: an int as a
bigint, a float as a double precision, NaN as NULL. PostgreSQL's text can't hold the character NUL, which is
written as ␀ (U+2400), so that a console line with one is kept.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any, Final, LiteralString, cast

from trackkit.backend.store.database import Busy, PatternRefused, Row, Unavailable, check_known
from trackkit.backend.store.patterns import to_postgres
from trackkit.backend.store.schema import MIGRATIONS

try:
    import psycopg
    import psycopg_pool
except ImportError as error:
    raise ImportError(f"a store on PostgreSQL needs psycopg ({error}): pip install 'trackkit[postgres]'") from error

from psycopg import Connection, RawCursor, errors
from psycopg.adapt import Dumper
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Format, TransactionStatus
from psycopg.types.numeric import Int8BinaryDumper, NumericBinaryLoader

SCHEMES: Final = ("postgresql", "postgres")
"""The schemes of the URLs that name such a database."""

_TYPES = {
    "integer": "bigint",
    "real": "double precision",
    "text": 'text collate "C"',  # ordered by code points, as in SQLite
    "blob": "bytea",
    "strict": "",
    "clustered": "",
}
_MIGRATION_LOCK = int.from_bytes(b"trackkit")
_DEFAULTS: Final = {
    "application_name": "trackkit",
    "client_encoding": "UTF8",
    "connect_timeout": "10",
    "tcp_user_timeout": "30000",
}
"""Of a connection; the URL may say otherwise."""
_ROWS_PER_STATEMENT = (64, 8, 1)
"""Sizes of multi-row statements: few, as each is prepared once; a statement has at most 65,535 parameters."""
_COPIED = 8
"""From so many rows on, COPY is faster than a statement that inserts them."""
_STATEMENTS_KEPT = 250

_TOKEN = re.compile(r"""('(?:[^']|'')*'|"(?:[^"]|"")*")|regexp\(\?, ([\w.]+)\)|\?""")
_RETRIED = (errors.LockNotAvailable, errors.DeadlockDetected, errors.SerializationFailure)


class PostgresDatabase:
    """A connection to a PostgreSQL database.

    One that was lost is made anew for the next call outside a transaction.

    Parameters
    ----------
    url
        `postgresql://user:password@host:port/database`, with whatever libpq understands as parameters.
    patience
        Seconds to wait for a lock before `Busy` is raised.

    Raises
    ------
    Unavailable
        If PostgreSQL can't be reached, now or at any call.
    """

    def __init__(self, url: str, *, patience: float = 30.0) -> None:
        self.url = url
        self.patience = patience
        self.connection = connect(url, patience)
        self._lasting = False  # whether a lost connection may not be made anew: one of a pool, or in a transaction
        self._types: dict[tuple[str, ...], list[int]] = {}

    @classmethod
    def lent(cls, connection: Connection[Row], types: dict[tuple[str, ...], list[int]]) -> PostgresDatabase:
        """A database on a connection of a pool, which looks after it."""
        made = cls.__new__(cls)
        made.url, made.patience, made.connection, made._lasting, made._types = "", 0.0, connection, True, types
        return made

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        with self._named_errors():
            return self._run(sql, parameters).fetchall()

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        with self._named_errors():
            return self._run(sql, parameters).rowcount

    def execute_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        statement, _ = _translated(sql)
        with self._named_errors(), self.connection.cursor() as cursor:
            cursor.executemany(statement, rows)

    def insert_many(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        if len(rows) < _COPIED:
            self._insert(table, columns, rows, "")
            return
        types = self._types_of(table, columns)
        copy = _literal(f"copy {table} ({', '.join(columns)}) from stdin (format binary)")
        with self._named_errors(), self.connection.cursor() as cursor, cursor.copy(copy) as writer:
            writer.set_types(types)
            for row in rows:
                writer.write_row(row)

    def upsert_many(
        self, table: str, keys: Sequence[str], columns: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> None:
        changes = ", ".join(f"{column} = excluded.{column}" for column in columns)
        conflict = f" on conflict ({', '.join(keys)}) do " + (f"update set {changes}" if changes else "nothing")
        # One statement may not change a row twice; of rows with the same keys the last one counts.
        latest = {_identity(row[: len(keys)]): row for row in rows}
        self._insert(table, [*keys, *columns], list(latest.values()), conflict)

    @contextlib.contextmanager
    def atomic(self) -> Iterator[None]:
        self.execute("begin")
        lasting, self._lasting = self._lasting, True
        try:
            yield
            with self._named_errors():
                ended = self.connection.execute("commit").statusmessage
        except BaseException:
            with contextlib.suppress(psycopg.Error):
                self.connection.execute("rollback")
            raise
        finally:
            self._lasting = lasting
        if ended != "COMMIT":
            raise RuntimeError("the transaction was rolled back: a statement in it failed, and the error was dropped")

    def notify(self, channel: str, payload: str) -> None:
        """Tell whoever listens, see `notices.Listener`; within a transaction, once it is committed.

        Parameters
        ----------
        payload
            At most 7,999 bytes.
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
                    self.execute(statement.format(**_TYPES))
                self.execute("insert into trackkit_migrations (name) values (?)", [name])

    def close(self) -> None:
        self.connection.close()

    def _run(self, sql: str, parameters: Sequence[Any]) -> psycopg.Cursor[Row]:
        statement, patterns = _translated(sql)
        if patterns:
            parameters = [
                to_postgres(value) if position in patterns else value for position, value in enumerate(parameters)
            ]
        return self.connection.execute(statement, parameters, binary=True)

    def _insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], conflict: str) -> None:
        start = 0
        for size in _ROWS_PER_STATEMENT:
            while len(rows) - start >= size:
                flat = list(itertools.chain.from_iterable(rows[start : start + size]))
                with self._named_errors():
                    self.connection.execute(_insertion(table, tuple(columns), size, conflict), flat, prepare=True)
                start += size

    def _types_of(self, table: str, columns: Sequence[str]) -> list[int]:
        """The types of columns, which COPY has to be told."""
        key = (table, *columns)
        found = self._types.get(key)
        if found is None:
            with self._named_errors():
                described = self._run(f"select {', '.join(columns)} from {table} limit 0", []).description
            found = self._types[key] = [column.type_code for column in described or []]
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

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        if self.connection.closed and not self._lasting:
            self.connection = connect(self.url, self.patience)
        try:
            yield
        except _RETRIED as error:
            raise Busy(f"PostgreSQL can't do it now: {_sentence(error)}; try again") from error
        except errors.InvalidRegularExpression as error:
            raise PatternRefused(f"PostgreSQL can't search for it: {_sentence(error)}") from error
        except errors.ReadOnlySqlTransaction as error:
            self.connection.close()  # the server was made a standby: another one is the primary now
            raise Unavailable(f"PostgreSQL takes no changes now: {_sentence(error)}; try again") from error
        except psycopg.Error as error:
            if not self.connection.closed:
                raise
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

    def __init__(self, url: str, size: int = 8, *, patience: float = 30.0) -> None:
        connect(url, patience).close()  # says why not, which a pool does not
        self._types: dict[tuple[str, ...], list[int]] = {}
        self._pool = psycopg_pool.ConnectionPool(
            url,
            kwargs=_arguments(url),
            min_size=min(size, 2),
            max_size=size,
            timeout=patience,
            configure=functools.partial(_configure, patience=patience),
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
            yield PostgresDatabase.lent(connection, self._types)
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


def _configure(connection: Connection[Row], patience: float) -> None:
    for type, dumper in _DUMPERS.items():
        connection.adapters.register_dumper(type, dumper)
    connection.adapters.register_loader("numeric", _NumberLoader)
    connection.prepared_max = _STATEMENTS_KEPT
    # Compiling a plan takes longer than any question asked here; engines like PostgreSQL don't know the setting.
    connection.execute("select set_config(name, 'off', false) from pg_settings where name = 'jit'")
    connection.execute("select set_config('lock_timeout', $1, false)", [str(max(1, round(patience * 1000)))])


class _FloatDumper(Dumper):
    """A float; NaN is NULL, as in SQLite."""

    format = Format.BINARY
    oid = psycopg.adapters.types["float8"].oid
    _pack = struct.Struct("!d").pack

    def dump(self, obj: float) -> bytes | None:
        return self._pack(obj) if obj == obj else None


class _TextDumper(Dumper):
    """Text; NUL, which PostgreSQL's can't hold, is ␀."""

    format = Format.BINARY
    oid = psycopg.adapters.types["text"].oid

    def dump(self, obj: str) -> bytes:
        return _text(obj).encode()


class _NumberLoader(NumericBinaryLoader):
    """What sums of integers are: an int, as in SQLite, not a Decimal; and a float where there are decimals."""

    def load(self, data: Any) -> Any:
        number: Decimal = super().load(data)
        return int(number) if number.as_tuple().exponent == 0 else float(number)


_DUMPERS: Final[dict[type, type[Dumper]]] = {
    int: Int8BinaryDumper,
    bool: Int8BinaryDumper,
    float: _FloatDumper,
    str: _TextDumper,
}


@functools.lru_cache(maxsize=1024)
def _translated(sql: str) -> tuple[LiteralString, frozenset[int]]:
    """The statement for PostgreSQL, and which of its parameters are regular expressions.

    Its operator for them takes a collation that knows all letters, which the columns' own does not.
    """
    numbers = itertools.count(1)
    patterns = set()

    def replaced(found: re.Match[str]) -> str:
        literal, column = found.groups()
        if literal is not None:
            return str(literal)
        number = next(numbers)
        if column is None:
            return f"${number}"
        patterns.add(number - 1)
        return f'({column} collate "default" ~ ${number})'

    return _literal(_TOKEN.sub(replaced, sql)), frozenset(patterns)


@functools.lru_cache(maxsize=256)
def _insertion(table: str, columns: tuple[str, ...], rows: int, conflict: str) -> LiteralString:
    """A statement that inserts so many rows."""
    width = len(columns)
    values = [
        f"({', '.join(f'${start + column}' for column in range(1, width + 1))})"
        for start in range(0, rows * width, width)
    ]
    return _literal(f"insert into {table} ({', '.join(columns)}) values {', '.join(values)}{conflict}")


def _literal(sql: str) -> LiteralString:
    """SQL made of the store's own words, with every value of anybody's as a parameter."""
    return cast(LiteralString, sql)


def _text(text: str) -> str:
    return text.replace("\0", "␀")


def _identity(keys: Sequence[Any]) -> Row:
    """The values of a row's keys as PostgreSQL has them."""
    return tuple([_text(key) if isinstance(key, str) else key for key in keys])


def _sentence(error: psycopg.Error) -> str:
    """The first line of what PostgreSQL said."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
