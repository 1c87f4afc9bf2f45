"""A real PostgreSQL for tests: in a temporary folder, on a socket and a loopback port of its own, ended with the session.

Rules of this file: what is started here is ended here.  Without the program, tests that need it are skipped with the reason.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

_PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
_OPTIONS = (
    *("fsync=off", "full_page_writes=off", "max_connections=60", "shared_buffers=32MB", "autovacuum=off"),
    *("listen_addresses=127.0.0.1", "log_min_messages=fatal", "max_wal_size=256MB", "jit=off"),
)
"""fsync off: the tests kill processes, not the machine."""


class Postgres:
    """One server."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self.folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        self._names = itertools.count(1)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        self.run("initdb", "--auth=trust", "--username=rataccess", "--encoding=UTF8", "--locale=C", "--no-sync")

    def run(self, program: str, *arguments: str) -> None:
        """One of its programs, on its data."""
        command = [str(self._programs / program), "--pgdata", str(self.folder / "data"), *arguments]
        subprocess.run(_as_nobody_special(command), check=True, capture_output=True, cwd="/", timeout=120)

    def start(self) -> None:
        """Returns once it takes connections."""
        options = "".join(f" -c {option}" for option in (*_OPTIONS, f"port={self.port}"))
        options += f" -c unix_socket_directories={self.folder}"
        self.run("pg_ctl", "start", "--wait", "--silent", "--log", str(self.folder / "log"), "--options", options)

    def stop(self, mode: str = "fast") -> None:
        """`fast` ends connections, `immediate` is a crash: the next start recovers."""
        self.run("pg_ctl", "stop", "--wait", "--silent", "--mode", mode)

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://rataccess@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """The URL of an empty database."""
        name = f"test{next(self._names)}"
        self.sql(f"CREATE DATABASE {name}")
        return self.url(name)

    def drop(self, url: str) -> None:
        """End a database and whoever is connected to it."""
        self.sql(f"DROP DATABASE IF EXISTS {url.rsplit('/', 1)[1]} WITH (FORCE)")

    def sql(self, statement: str) -> list[tuple[object, ...]]:
        """Run a statement as the superuser."""
        import psycopg

        with psycopg.connect(self.url(), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def end(self) -> None:
        try:
            self.stop("immediate")
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)


def _as_nobody_special(command: Sequence[str]) -> list[str]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return list(command)
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The server of this session."""
    pytest.importorskip("psycopg", reason="psycopg is not installed (pip install rataccess[services])")
    if not _PROGRAMS:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    server = Postgres(_PROGRAMS[-1])
    try:
        server.start()
        yield server
    finally:
        server.end()


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """A fresh database."""
    url = postgres.new_database()
    yield url
    postgres.drop(url)
