"""Whatever receiver, store and process do: every record arrives, in order, and what comes again has the same key."""

from __future__ import annotations

import asyncio
import tempfile
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import looptime
from hypothesis import given, settings
from hypothesis import strategies as st

from rataccess.clock import LoopClock
from rataccess.errors import ReceiverDown, RecordRefused, StoreUnreachable
from rataccess.services.receivers import as_json, key_of
from rataccess.services.store import StoredRecord
from tests.receivers.receiver_world import Killed, Records, Told, forwarding, no_room

DEVICES = ("A1", "B2", "C3")
RECEIVER = st.sampled_from(
    [
        "take",
        "take",
        "take",
        "refuse",
        "too large",
        "down",
        "late",
        "taken, then down",
        "hang",
        "taken, then killed",
        "defect",
    ]
)
STORE = st.sampled_from([None] * 12 + ["full", "away", "killed before", "killed after"])


class Hostile:
    """Plays a script of misdeeds, and behaves once it is over."""

    def __init__(self, deeds: Sequence[str], store: Sequence[str | None]) -> None:
        self._deeds, self._store = deque(deeds), deque(store)
        self._now = "take"

    def receive(self, moment: str, batch: Sequence[StoredRecord]) -> None:
        if moment == "open":
            return
        if moment == "before":
            self._now = self._deeds.popleft() if self._deeds else "take"
            if self._now in ("refuse", "too large"):
                raise RecordRefused("no", too_large=self._now == "too large")
            if self._now in ("down", "late"):
                raise ReceiverDown("away", 700.0 if self._now == "late" else None)
            if self._now == "defect":
                raise ZeroDivisionError
        elif self._now == "taken, then down":
            raise ReceiverDown("the answer was lost")
        elif self._now == "taken, then killed":
            raise Killed

    def store(self, moment: str) -> None:
        if moment == "before the store":
            self._deed = self._store.popleft() if self._store else None
            if self._deed == "full":
                raise no_room()
            if self._deed == "away":
                raise StoreUnreachable("away")
            if self._deed == "killed before":
                raise Killed
        elif self._deed == "killed after":
            raise Killed


class Patient(Told):
    """`Told`, of which one record at a time may be refused for ever without being given up."""

    most = 4
    tries = 10_000


async def run(records: Records, told: Told, hostile: Hostile, additions: deque[str]) -> None:
    """Processes, one after the other, until one has lived through it all."""
    for _ in range(200):
        forwards = forwarding(told, records.url, LoopClock(), trouble=hostile.store)
        task = asyncio.create_task(forwards.run())
        for _ in range(min(5, len(additions))):
            serial_number = additions.popleft()
            records.add(serial_number, serial_number=serial_number)
            forwards.wake()
            await asyncio.sleep(1)
            if task.done():
                break
        while not task.done() and records.store.backlog("told"):
            await asyncio.wait({task}, timeout=5)
        if not task.done():
            forwards.finish()
            await asyncio.wait({task})
        if task.exception() is None and not additions and not records.store.backlog("told"):
            return
        assert task.exception() is None or isinstance(task.exception(), Killed)
    raise AssertionError("it never came to rest")


@settings(max_examples=60)
@given(
    devices=st.lists(st.sampled_from(DEVICES), max_size=30),
    before=st.integers(0, 12),
    deeds=st.lists(RECEIVER, max_size=25),
    store=st.lists(STORE, max_size=60),
)
def test_every_record_arrives_in_order_with_one_key(
    devices: list[str], before: int, deeds: list[str], store: list[str | None]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        records, told = Records(Path(folder) / "s.sqlite3"), Patient()
        hostile = Hostile(deeds, store)
        told.behave = hostile.receive
        try:
            for serial_number in devices[:before]:
                records.add(serial_number, serial_number=serial_number)
            with asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(start=0)) as runner:
                runner.run(run(records, told, hostile, deque(devices[before:])))
            judge(records.all(), told.taken, len(devices))
            assert records.store.aside() == []
        finally:
            records.close()


def judge(stored: list[StoredRecord], taken: list[StoredRecord], count: int) -> None:
    assert len(stored) == count
    firsts = {key_of(each): each for each in reversed(taken)}
    assert set(firsts) == {key_of(each) for each in stored}  # every one, and nothing else
    assert len(firsts) == count
    for serial_number in DEVICES:
        order = list(dict.fromkeys(each.number for each in taken if each.serial_number == serial_number))
        assert order == sorted(order, key=lambda number: number or 0)
    for each in taken:  # what comes again is the same to the letter
        assert as_json(each) == as_json(firsts[key_of(each)])
