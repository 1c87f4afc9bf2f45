"""Durable queues of others: `producer.py KIND FOLDER PRODUCERS TOTAL`; says what it took."""

from __future__ import annotations

import importlib
import json
import os
import sqlite3
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lines import say  # type: ignore[import-not-found,unused-ignore]
from producing import BODY, measure  # type: ignore[import-not-found,unused-ignore]


def persist_queue(folder: Path) -> Callable[[], Any]:
    """Its queue with acknowledgements, every put committed."""
    persistqueue = importlib.import_module("persistqueue")
    queue = persistqueue.SQLiteAckQueue(str(folder), auto_commit=True, multithreading=True)
    return lambda: queue.put(BODY)


def litequeue(folder: Path) -> Callable[[], Any]:
    """Its defaults; it is used under a lock, as its connection is one."""
    queue = importlib.import_module("litequeue").LiteQueue(str(folder / "queue.sqlite"))
    lock = threading.Lock()

    def put() -> None:
        with lock:
            queue.put(json.dumps(BODY))

    return put


def sqlite(folder: Path) -> Callable[[], Any]:
    """One insert and commit each, WAL, synchronous=FULL, one connection under a lock."""
    database = sqlite3.connect(folder / "queue.sqlite", check_same_thread=False, isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("CREATE TABLE queue (id INTEGER PRIMARY KEY, body TEXT)")
    lock = threading.Lock()

    def put() -> None:
        with lock:
            database.execute("INSERT INTO queue (body) VALUES (?)", (json.dumps(BODY),))

    return put


def file(folder: Path) -> Callable[[], Any]:
    """A line appended, then fdatasync: the least that is durable, for one producer."""
    descriptor = os.open(folder / "queue", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    lock = threading.Lock()

    def put() -> None:
        with lock:
            os.write(descriptor, json.dumps(BODY).encode() + b"\n")
            os.fdatasync(descriptor)

    return put


KINDS = {"persist-queue": persist_queue, "litequeue": litequeue, "sqlite": sqlite, "file": file}

if __name__ == "__main__":
    say(**measure(KINDS[sys.argv[1]](Path(sys.argv[2])), int(sys.argv[3]), int(sys.argv[4])))
