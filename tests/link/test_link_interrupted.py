"""A slow look at the radio is cut short by a doubt, and by the loss of the bearer."""

from __future__ import annotations

import asyncio

import pytest

from rataccess.driver import Evidence
from tests.link.fakes import Bench

pytestmark = pytest.mark.looptime(noop_cycles=0)

SLOW = 14.0
"""Seconds: a status behind a command that hangs; within the watch's limit of 15."""


async def _slow_watch(bench: Bench) -> None:
    """Up, and in the middle of a watch that takes long."""
    await bench.up()
    bench.radio.takes = SLOW
    while not bench.radio.times("status"):
        await asyncio.sleep(0.1)
    assert bench.link.ready


async def test_a_doubt_during_a_slow_watch_is_answered_within_its_own_limit() -> None:
    async with Bench() as bench:
        await _slow_watch(bench)
        doubted = asyncio.get_running_loop().time()
        bench.link.doubt("an answer is overdue")
        while bench.link.ready:
            await asyncio.sleep(0.1)
        assert asyncio.get_running_loop().time() - doubted <= 5.2, "the doubt's limit, not the watch's"


async def test_a_loss_during_a_slow_watch_is_acted_upon_at_once() -> None:
    async with Bench() as bench:
        await _slow_watch(bench)
        lost = asyncio.get_running_loop().time()
        attached = len(bench.radio.times("attach"))
        bench.radio.carrier(Evidence.RADIO)
        assert not bench.link.ready
        bench.radio.takes = 0.1
        await asyncio.sleep(2.0)
        again = bench.radio.times("attach")[attached:]
        assert again, "attached again"
        assert again[0] - lost < 1.0
