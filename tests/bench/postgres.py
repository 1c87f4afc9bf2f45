"""A real PostgreSQL for the benches: on the disk of the tree, durable as it comes, ended with the block.

Rules of this file: its defaults stay, but for where it listens and how many may connect; it runs as another user than root.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.bench.bench import Unavailable
from tests.bench.desk import Desk
from tests.bench.fleet import free_port

_OPTIONS = ("max_connections=100", "shared_buffers=256MB", "listen_addresses=127.0.0.1", "log_min_messages=fatal")
USER = "rataccess"


class Postgres:
    """One running server."""

    def __init__(self, desk: Desk) -> None:
        """Raises `Unavailable`."""
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
        if not found:
            raise Unavailable("PostgreSQL is not installed (Debian: postgresql)")
        self._programs = found[-1]
        self.folder = desk.room("postgres")
        self.port = free_port(socket.SOCK_STREAM)
        if os.geteuid() == 0:
            try:
                user = pwd.getpwnam("postgres")
            except KeyError:
                raise Unavailable("PostgreSQL refuses to run as root, and there is no user postgres") from None
            desk.folder.chmod(0o711)
            os.chown(self.folder, user.pw_uid, user.pw_gid)

    def start(self) -> None:
        """Returns once it takes connections."""
        self._run("initdb", "--auth=trust", f"--username={USER}", "--encoding=UTF8", "--locale=C")
        options = "".join(f" -c {each}" for each in (*_OPTIONS, f"port={self.port}"))
        options += f" -c unix_socket_directories={self.folder}"
        self._run("pg_ctl", "start", "--wait", "--silent", "--log", str(self.folder / "log"), "--options", options)

    def end(self) -> None:
        """Stop it; its files go too."""
        self._run("pg_ctl", "stop", "--wait", "--silent", "--mode", "immediate", check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def database(self, name: str) -> str:
        """A new, empty database; its URL."""
        import psycopg

        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self._url(name)

    def _url(self, name: str) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{name}"

    def main_process(self) -> int:
        """The process that all others of the server are children of."""
        return int((self.folder / "data" / "postmaster.pid").read_text().split()[0])

    def _run(self, program: str, *arguments: str, check: bool = True) -> None:
        command = [str(self._programs / program), "--pgdata", str(self.folder / "data"), *arguments]
        done = subprocess.run(_unprivileged(command), capture_output=True, cwd="/", timeout=120)
        if check and done.returncode:
            raise Unavailable(f"{program}: {(done.stderr or done.stdout).decode(errors='replace')[-300:]}")


def _unprivileged(command: Sequence[str]) -> list[str]:
    if os.geteuid() != 0:
        return list(command)
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]


@contextmanager
def running(desk: Desk) -> Iterator[Postgres]:
    """A server while the block lasts; raises `Unavailable`."""
    server = Postgres(desk)
    try:
        server.start()
        yield server
    finally:
        server.end()
