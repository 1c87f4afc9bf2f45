"""The contract of `rataccess.driver.Driver`, as tests.

Rules of this file: floors 0 to 2 and pytest only; no radio is known here.  Each test names the clause that it holds.  No
test sleeps; each wait is bounded by `limit`, which only a failure reaches.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Protocol, TypeVar, runtime_checkable

import pytest

from rataccess.driver import Bearer, Driver, Evidence, RadioStatus
from rataccess.errors import Closed, DriverError, PortBusy, PortLost, RadioNotFound, RadioSilent
from rataccess.testing.resources import eventually, nothing_left, settled, within

T = TypeVar("T")

LADDER = ("re-read interface", "reopen port", "radio off/on", "modem reset", "reset line", "power key", "power cut")
"""Rungs known by name, mildest first (`Recovery.name`); a radio may have others between them."""


class DriverRig(ABC):
    """A radio with its network, for one test; the radio is there and its network too."""

    exclusive: bool = True
    """Whether the radio's port admits one driver at a time."""

    @abstractmethod
    def build(self) -> Driver:
        """A new driver for the radio, not opened."""

    @abstractmethod
    async def lose_bearer(self) -> None:
        """Take the bearer away in a way of which the radio tells unasked."""

    @abstractmethod
    async def restore_bearer(self) -> None:
        """The network is as before again; `attach` can succeed."""


@runtime_checkable
class Unplugs(Protocol):
    """The radio can vanish."""

    async def unplug(self) -> None:
        """It vanishes: its port or interface is gone."""
        ...


@runtime_checkable
class HangsRadio(Protocol):
    """The radio can hang with its port still there."""

    async def hang_radio(self) -> None:
        """From now on it answers nothing."""
        ...


class DriverContract(ABC):
    """Every clause of `Driver`.  Override `make`."""

    pytestmark = pytest.mark.asyncio

    limit = 30.0
    """Seconds that anything may take before it counts as hung."""

    @abstractmethod
    def make(self) -> AbstractAsyncContextManager[DriverRig]:
        """A fresh rig."""

    # --- helpers ------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[tuple[DriverRig, Driver]]:
        """A rig and an open driver."""
        async with self.make() as rig:
            driver = rig.build()
            try:
                await within(self.limit, driver.open(), "open")
                yield rig, driver
            finally:
                await within(self.limit, driver.aclose(), "aclose")

    async def attach(self, driver: Driver) -> Bearer:
        """Attach, within the limit."""
        return await within(self.limit, driver.attach(), "attach")

    async def status(self, driver: Driver) -> RadioStatus:
        """Ask for the status, within the limit, and see that it claims nothing that a driver cannot know."""
        status = await within(self.limit, driver.status(), "status")
        assert status.evidence <= Evidence.BEARER
        assert isinstance(status.detail, str)
        assert "\n" not in status.detail
        return status

    async def _lose(self, rig: DriverRig, driver: Driver) -> list[RadioStatus]:
        """Take the bearer away; what the driver announced of it."""
        ear = _Ear()
        undo = driver.on_status(ear.hear)
        try:
            await rig.lose_bearer()
            await ear.wait(self.limit, Evidence.REGISTERED, "announcement of the loss")
        finally:
            undo()
        return ear.heard

    # --- opening and closing ------------------------------------------------------------------------------------------

    async def test_constructor_opens_nothing(self) -> None:
        """The constructor opens nothing: no file, task or thread; such a driver can be closed."""
        async with self.make() as rig:
            before = await settled()
            driver = rig.build()
            await nothing_left(before)
            await within(self.limit, driver.aclose(), "aclose of a driver that was never opened")

    async def test_closing_frees_everything(self) -> None:
        """`aclose` frees everything that `open` and `attach` took."""
        async with self.make() as rig:
            for again in (False, True):  # what a process loads once is not the driver's
                before = await settled()
                driver = rig.build()
                await within(self.limit, driver.open(), "open")
                await self.attach(driver)
                await within(self.limit, driver.aclose(), "aclose")
                if again:
                    await nothing_left(before)

    async def test_closing_is_idempotent(self) -> None:
        """`aclose` again does nothing; also twice at once."""
        async with self.opened() as (_, driver):
            both = asyncio.gather(driver.aclose(), driver.aclose())
            await within(self.limit, _all(both), "aclose, twice at once")
            await within(self.limit, driver.aclose(), "aclose, again")

    async def test_closed_driver_says_so(self) -> None:
        """After `aclose`, `status` and `attach` raise `Closed` or `PortLost`, at once."""
        async with self.opened() as (_, driver):
            await driver.aclose()
            with pytest.raises((Closed, PortLost)):
                await within(self.limit, driver.status(), "status")
            with pytest.raises((Closed, PortLost)):
                await within(self.limit, driver.attach(), "attach")

    async def test_opening_twice_does_no_harm(self) -> None:
        """`open` on an open driver returns or raises a `DriverError`; the driver works on."""
        async with self.opened() as (_, driver):
            with suppress(DriverError):
                await within(self.limit, driver.open(), "open, again")
            assert (await self.status(driver)).evidence >= Evidence.PORT

    async def test_closing_frees_the_port(self) -> None:
        """After `aclose` another driver can open the radio."""
        async with self.opened() as (rig, driver):
            await driver.aclose()
            successor = rig.build()
            try:
                await within(self.limit, successor.open(), "open by the next driver")
                assert (await self.status(successor)).evidence >= Evidence.PORT
            finally:
                await within(self.limit, successor.aclose(), "aclose")

    async def test_second_opener(self) -> None:
        """A port in use is refused with `PortBusy`, and its holder is not disturbed; a shared one serves both."""
        async with self.opened() as (rig, driver):
            second = rig.build()
            try:
                if rig.exclusive:
                    with pytest.raises(PortBusy):
                        await within(self.limit, second.open(), "open of a port in use")
                else:
                    await within(self.limit, second.open(), "open of a shared port")
                    assert (await self.status(second)).evidence >= Evidence.PORT
            finally:
                await within(self.limit, second.aclose(), "aclose")
            assert (await self.status(driver)).evidence >= Evidence.PORT

    async def test_absent_radio_is_not_found(self) -> None:
        """`open` raises `RadioNotFound` where the radio is not there, and leaves nothing behind."""
        async with self.make() as rig:
            if not isinstance(rig, Unplugs):
                pytest.skip("this radio cannot be unplugged here")
            await rig.unplug()
            for again in (False, True):
                before = await settled()
                driver = rig.build()
                with pytest.raises(RadioNotFound):
                    await within(self.limit, driver.open(), "open of an absent radio")
                if again:
                    await nothing_left(before)
                await within(self.limit, driver.aclose(), "aclose")

    # --- status and bearer --------------------------------------------------------------------------------------------

    async def test_status_is_modest(self) -> None:
        """`status` tells what was reached, never `REACHABLE`, before `attach` and after; it changes nothing."""
        async with self.opened() as (_, driver):
            assert (await self.status(driver)).evidence >= Evidence.PORT
            await self.attach(driver)
            statuses = [await self.status(driver) for _ in range(3)]
            assert {status.evidence for status in statuses} == {Evidence.BEARER}

    async def test_attach_is_idempotent(self) -> None:
        """`attach` returns the bearer at once where it is up already."""
        async with self.opened() as (_, driver):
            first = await self.attach(driver)
            second = await self.attach(driver)
            assert first == second
            assert first.rat
            assert first.mtu is None or first.mtu > 0
            assert (await self.status(driver)).evidence is Evidence.BEARER

    async def test_loss_is_announced(self) -> None:
        """The loss of the bearer is announced unasked, and `status` agrees; `attach` works when the network is back."""
        async with self.opened() as (rig, driver):
            await self.attach(driver)
            heard = await self._lose(rig, driver)
            assert all(status.evidence <= Evidence.BEARER for status in heard)
            try:
                assert (await self.status(driver)).evidence < Evidence.BEARER
            except PortLost:
                return  # the bearer went with the port: there is nothing more to ask
            await rig.restore_bearer()
            await self.attach(driver)
            assert (await self.status(driver)).evidence is Evidence.BEARER

    async def test_undone_callback_is_silent(self) -> None:
        """The function that `on_status` returns ends the calls; calling it again does nothing."""
        async with self.opened() as (rig, driver):
            await self.attach(driver)
            unwanted: list[RadioStatus] = []
            undo = driver.on_status(unwanted.append)
            undo()
            undo()
            await self._lose(rig, driver)
            assert unwanted == []

    async def test_closed_driver_announces_nothing(self) -> None:
        """After `aclose` no callback is called."""
        async with self.opened() as (rig, driver):
            await self.attach(driver)
            await driver.aclose()
            heard: list[RadioStatus] = []
            driver.on_status(heard.append)
            witness = rig.build()
            try:
                await within(self.limit, witness.open(), "open")
                await self.attach(witness)
                await self._lose(rig, witness)
            finally:
                await within(self.limit, witness.aclose(), "aclose")
            assert heard == []

    async def test_cancelled_attach_does_no_harm(self) -> None:
        """`attach` may be cancelled; a later one works."""
        async with self.opened() as (_, driver):
            for steps in range(4):
                attaching = asyncio.create_task(driver.attach())
                for _ in range(steps):
                    await asyncio.sleep(0)
                attaching.cancel()
                await asyncio.wait([attaching])
            await self.attach(driver)

    async def test_closing_ends_a_waiting_attach(self) -> None:
        """`aclose` while `attach` waits for the network: both end, in bounded time."""
        async with self.opened() as (rig, driver):
            await self.attach(driver)
            await self._lose(rig, driver)
            attaching = asyncio.create_task(driver.attach())
            await asyncio.sleep(0)
            await within(self.limit, driver.aclose(), "aclose")
            (end,) = await within(self.limit, _all(asyncio.gather(attaching, return_exceptions=True)), "attach")
            assert isinstance(end, Closed | DriverError), f"attach ended with {end!r}"

    # --- trouble ------------------------------------------------------------------------------------------------------

    async def test_unplugged_radio_is_told(self) -> None:
        """A radio that vanishes is announced, `status` raises `PortLost`, and `aclose` works."""
        async with self.opened() as (rig, driver):
            if not isinstance(rig, Unplugs):
                pytest.skip("this radio cannot be unplugged here")
            await self.attach(driver)
            ear = _Ear()
            driver.on_status(ear.hear)
            await rig.unplug()
            await ear.wait(self.limit, Evidence.NONE, "announcement of the unplugging")
            with pytest.raises(PortLost):
                await within(self.limit, driver.status(), "status")

    async def test_hung_radio_is_silent(self) -> None:
        """A radio that answers nothing: `status` raises `RadioSilent`, and `aclose` ends in bounded time."""
        async with self.opened() as (rig, driver):
            if not isinstance(rig, HangsRadio):
                pytest.skip("this radio cannot hang here")
            await self.attach(driver)
            await rig.hang_radio()
            with pytest.raises(RadioSilent):
                await within(self.limit, driver.status(), "status")
            await within(self.limit, driver.aclose(), "aclose")

    # --- recoveries ---------------------------------------------------------------------------------------------------

    async def test_recoveries_are_well_formed(self) -> None:
        """`recoveries` are there before `open`: each with a name of its own, a deadline and attempts; mildest first."""
        async with self.make() as rig:
            driver = rig.build()
            names = [recovery.name for recovery in driver.recoveries]
            assert all(names)
            assert len(set(names)) == len(names)
            assert all(recovery.deadline > 0 and recovery.attempts >= 1 for recovery in driver.recoveries)
            known = [LADDER.index(name) for name in names if name in LADDER]
            assert known == sorted(known), f"{names} are not mildest first"
            assert [recovery.name for recovery in driver.recoveries] == names

    async def test_mildest_recovery_leaves_a_radio_that_opens(self) -> None:
        """The mildest recovery of a healthy radio ends within its deadline, and the radio can be opened afterwards."""
        async with self.opened() as (rig, driver):
            if not driver.recoveries:
                pytest.skip("this radio has no recoveries")
            mildest = driver.recoveries[0]
            async with asyncio.timeout(mildest.deadline):
                await mildest.run()
            await within(self.limit, driver.aclose(), "aclose")
            successor = rig.build()
            try:
                await within(self.limit, successor.open(), "open after the recovery")
                await self.attach(successor)
            finally:
                await within(self.limit, successor.aclose(), "aclose")


class _Ear:
    """Hears what a driver announces."""

    def __init__(self) -> None:
        self.heard: list[RadioStatus] = []
        self._told = asyncio.Event()

    def hear(self, status: RadioStatus) -> None:
        self.heard.append(status)
        self._told.set()

    async def wait(self, limit: float, highest: Evidence, what: str) -> None:
        """Until a status of at most `highest` was announced."""
        await eventually(limit, lambda: any(status.evidence <= highest for status in self.heard), self._told, what)


async def _all(future: asyncio.Future[T]) -> T:
    return await future
