"""Opening a service's store: who may read its files, URLs that are none, connections of hosts that died."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rataccess.errors import ConfigurationError
from rataccess.services.store import open_store


def test_nobody_else_may_read_the_file_or_its_log(tmp_path: Path) -> None:
    with open_store(str(tmp_path / "solution.sqlite")) as store:
        store.put_now("key", b"value")
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
        assert {"solution.sqlite", "solution.sqlite-wal"} <= modes.keys()
        assert set(modes.values()) == {0o600}


@pytest.mark.parametrize(
    "url", ["postgresql://u:s3cret@[half/db", "postgresql://u:s3cret@h:port/db", "postgresql://u:s3%crt@h/"]
)
def test_a_url_that_is_none_is_told_without_its_password(url: str) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(ConfigurationError, match="cannot be read") as error:
        open_store(url)
    assert "s3" not in str(error.value)
    assert error.value.__cause__ is None


def test_the_server_notices_a_client_that_died(postgres_url: str) -> None:
    with open_store(postgres_url) as store:
        assert store.execute("SELECT current_setting('tcp_keepalives_idle')") == [("5",)]


def test_opening_a_file_again_takes_no_lock_from_who_has_it_open(tmp_path: Path) -> None:
    """POSIX gives up a process's locks on a file with any of its descriptors; then another process would remove the log."""
    path = str(tmp_path / "solution.sqlite")
    reading = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); print(c.execute('SELECT value FROM memory').fetchall())"
    )

    def read_elsewhere() -> str:
        done = subprocess.run([sys.executable, "-c", reading, path], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    with open_store(path) as store:
        store.put_now("key", b"before")
        with open_store(path):
            pass
        assert read_elsewhere() == "[(b'before',)]"
        store.put_now("key", b"after")
        assert read_elsewhere() == "[(b'after',)]"
