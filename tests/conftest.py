"""What holds for every test: the jailer.

Rules of this file: a test that leaves a task, a thread or an open file behind has failed, whatever it asserted.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import threading
from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import settings

from tests.servers.postgres import postgres as postgres
from tests.servers.postgres import postgres_url as postgres_url

# An example that takes long on a busy machine is no failure.  Where a run decides whether something lands, the examples
# are the same each time; elsewhere they are new ones, and what they find is worth knowing.
settings.register_profile("patient", deadline=None)
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable" if os.environ.get("CI") else "patient")


def pytest_configure(config: pytest.Config) -> None:
    """Coverage is measured here and in the workers, not in what tests start: that is to be as it is for users."""
    if hasattr(config, "workerinput") or not getattr(config.option, "numprocesses", None):
        os.environ.pop("COVERAGE_PROCESS_CONFIG", None)


def pytest_sessionstart() -> None:
    """Nobody makes an event loop by asking for the current one (the virtual-time plug-in does, and never closes it)."""
    asyncio.set_event_loop(None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every asynchronous test is watched for tasks."""
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.function):
            item.fixturenames.append("no_task_left")


@pytest.fixture(autouse=True)
def jailer() -> Iterator[None]:
    """No leaked thread, and no leaked socket, terminal or database."""
    threads = set(threading.enumerate())
    before = set(_descriptors().values())
    yield
    for each in set(threading.enumerate()) - threads:
        if each.name.startswith("asyncio-waitpid"):
            each.join(30)  # it ends once it has told the loop that its process did
    left = [each.name for each in set(threading.enumerate()) - threads if each.is_alive() and not _pool(each)]
    assert not left, f"threads left behind: {left}"
    extra = _new(before)
    if extra:
        gc.collect()  # an exception's traceback may still hold what a test has closed
        extra = _new(before)
    assert not extra, f"files left open: {extra}"


@pytest.fixture
async def no_task_left() -> AsyncIterator[None]:
    """No task outlives its test."""
    before = asyncio.all_tasks()
    yield
    await asyncio.sleep(0)  # what was cancelled last has its turn
    left = {each for each in asyncio.all_tasks() - before if not each.done() and each is not asyncio.current_task()}
    assert not left, f"tasks left behind: {left}"


def _descriptors() -> dict[str, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # the one that listed
    return found


def _new(before: set[str]) -> dict[str, str]:
    return {name: target for name, target in _descriptors().items() if target not in before and _watched(target)}


def _watched(target: str) -> bool:
    """Whether an open file can be a test's doing: not the runner's own logs and caches, nor the event loop's own pair."""
    return target.startswith(("/dev/pts/", "/dev/ptmx", "/dev/net/", "socket:")) or ".sqlite" in target


def _pool(thread: threading.Thread) -> bool:
    """The event loop's own executor, which ends with its loop."""
    return thread.name.startswith("asyncio_")
