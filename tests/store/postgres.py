"""A throwaway PostgreSQL for tests: made by initdb in a temporary folder, reached by a Unix socket alone.

Where PostgreSQL or psycopg is missing, tests that want one are skipped and say so; with TRACKKIT_POSTGRES=required
in the environment, as the session `postgres` of nox has it, they fail.
"""

from __future__ import annotations

import contextlib
import ctypes
import glob
import itertools
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

REQUIRED = os.environ.get("TRACKKIT_POSTGRES") == "required"
_PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin", "/opt/homebrew/opt/postgresql*/bin")
_CARELESS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off"}
_START_SECONDS = 30


def binaries() -> Path | None:
    """The folder of initdb and postgres of the newest PostgreSQL on this machine; None if there is none."""
    if found := shutil.which("initdb"):
        return Path(found).parent
    folders = [Path(folder) for place in _PLACES for folder in glob.glob(place)]
    installed = [folder for folder in folders if (folder / "initdb").exists()]
    return max(installed, key=lambda folder: [int(part) for part in re.findall(r"\d+", str(folder))], default=None)


def missing() -> str:
    """What a test would need that is not there, as a sentence; empty if nothing is missing."""
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        return f"PostgreSQL is not tested: {error}; pip install 'trackkit[postgres]'"
    if binaries() is None:
        return "PostgreSQL is not tested: there is no initdb on this machine; install it (Debian: postgresql)"
    return ""


def require(*, of_module: bool = False) -> None:
    """Skip a test, or a module of them, where something is missing; or fail, where PostgreSQL is required."""
    import pytest

    if lacks := missing():
        if REQUIRED:
            pytest.fail(lacks)
        pytest.skip(lacks, allow_module_level=of_module)


class Cluster:
    """A running PostgreSQL with as many databases as tests ask for.

    Parameters
    ----------
    settings
        Of the server; by default those that make tests quick and lose everything with a power cut.
    """

    def __init__(self, settings: Mapping[str, str] = _CARELESS) -> None:
        self._settings = settings
        self._binaries = binaries()
        self._as = _other_user()
        self._folder = Path(tempfile.mkdtemp(prefix="trackkit-pg-"))  # a socket's path has at most 107 bytes
        self._numbers = itertools.count(1)
        self._template = ""
        try:
            if self._as:
                shutil.chown(self._folder, self._as["user"], self._as["group"])
            made = self._run("initdb", "--auth=trust", "--username=trackkit", "--encoding=UTF8", "--locale=C.UTF-8",
                             "--no-sync", "--no-instructions", f"--pgdata={self._folder / 'data'}")  # fmt: skip
            if made.wait():
                raise RuntimeError(f"initdb failed: {self._log()}")
            self.start()
        except BaseException:
            shutil.rmtree(self._folder)
            raise

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = {**self._settings, "listen_addresses": "", "unix_socket_directories": str(self._folder)}
        given = [f"-c{name}={value}" for name, value in settings.items()]
        self._process = self._run("postgres", "-D", str(self._folder / "data"), *given)
        until = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                self.stop()
                raise RuntimeError(f"postgres did not start: {self._log()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End it, and every connection with it."""
        self._process.send_signal(signal.SIGINT)  # a fast shutdown; SIGTERM would wait for the connections
        self._process.wait()

    def remove(self) -> None:
        """End it and delete what it wrote."""
        self.stop()
        shutil.rmtree(self._folder)

    def url(self, database: str = "postgres") -> str:
        """How to reach one of its databases."""
        return f"postgresql://trackkit@/{database}?host={self._folder}"

    def create(self, *, empty: bool = False) -> str:
        """Make a database with the store's tables, or without; its name."""
        from trackkit.backend.store.postgres import PostgresDatabase

        if not self._template and not empty:
            self._template = self.create(empty=True)
            db = PostgresDatabase(self.url(self._template))
            db.migrate()
            db.close()
        name = f"t{next(self._numbers)}"
        self._execute(f"create database {name} template {'template0' if empty else self._template}")
        return name

    def drop(self, database: str) -> None:
        """Delete a database and end every connection to it."""
        self._execute(f"drop database {database} with (force)")

    def disconnect(self, database: str) -> None:
        """End every connection to a database."""
        self._execute(f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{database}'")

    def _execute(self, sql: str) -> None:
        import psycopg

        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(sql.encode())

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.url()).close()
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        assert self._binaries is not None
        with open(self._folder / "log", "ab") as log:
            command = [str(self._binaries / program), *arguments]
            return subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self._folder, preexec_fn=_end_with_parent, **self._as
            )

    def _log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")[-2000:]


def _end_with_parent() -> None:
    """Have Linux end this process when the tests' own is killed."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGQUIT)  # PR_SET_PDEATHSIG


def _other_user() -> dict[str, Any]:
    """Whom to run PostgreSQL as, which refuses to be run by root."""
    if os.name != "posix" or os.geteuid() != 0:
        return {}
    import pwd

    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise RuntimeError("PostgreSQL refuses to run as root, and there is no user 'postgres' or 'nobody' to run it as")
