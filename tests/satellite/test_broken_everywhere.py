"""A session that breaks at any step, a process that is killed at any moment, a modem that loses its power: one copy at the
gateway, or none and an error that says so, and never two; each message for the device exactly once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rataccess.driver import Forgetful, RadioMessage
from rataccess.errors import AttachFailed, Closed, DiskFull, DriverError, NotNow, TransportBroken
from rataccess_hil.satellite import ImtBreak, Step
from tests.satellite.rigs import Imt, Iridium, Notecard, Radio, Sbd

pytestmark = pytest.mark.looptime

UP, DOWN = b"up \r\nOK\r\n", b"down \r\nOK\r\n"
MOMENTS = (0.05, 0.5, 3.0, 8.0, 15.0, 24.0)
"""Seconds after the beginning at which the process is killed; sessions take 6 to 22."""


class Disk(Forgetful):
    """What outlives a process; nothing is written to it after its process was killed."""

    def __init__(self, values: dict[str, bytes] | None = None) -> None:
        super().__init__()
        self._values.update(values or {})
        self._alive = True

    def put(self, key: str, value: bytes) -> None:
        if self._alive:
            super().put(key, value)

    put_now = put

    def killed(self) -> Disk:
        """The disk as the next process finds it."""
        self._alive = False
        return Disk(self._values)


async def started(radio: Radio, disk: Disk, **options: Any) -> Any:
    """A driver that is open and attached, as supervision would bring it there."""
    for _ in range(20):
        driver = radio.driver(disk, **options)
        try:
            await driver.open()
            await driver.attach()
        except (AttachFailed, DriverError) as error:
            await driver.aclose()
            await asyncio.sleep(getattr(error, "retry_after", None) or 20)
        else:
            return driver
    raise AssertionError("the radio does not come up again")


async def kill(driver: Any, disk: Disk, *tasks: asyncio.Task[Any]) -> Disk:
    """Nothing that happens from now on is written down, nothing more is said to the radio, and its port is free."""
    disk = disk.killed()
    if hasattr(driver._console, "close"):
        driver._console.close()
    else:
        await driver._console.bus.aclose()
    await driver.aclose()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return disk


async def insist(radio: Radio, disk: Disk, data: bytes = UP, **options: Any) -> bool:
    """Send the very same bytes until they were accepted, or an error says that they may have been."""
    driver = await started(radio, disk, **options)
    try:
        for _ in range(40):
            try:
                assert await driver.send_message(RadioMessage(data)) is not None
            except NotNow as later:
                await asyncio.sleep(later.retry_after)
            except (TransportBroken, Closed) as error:
                if "may have this very message" in str(error):
                    return False
                await driver.aclose()
                driver = await started(radio, disk, **options)
            else:
                return True
    finally:
        await driver.aclose()
    raise AssertionError("neither accepted nor given up")


async def killed_then_insisted(radio: Radio, moment: float, **options: Any) -> bool:
    disk = Disk()
    driver = await started(radio, disk, **options)
    sending = asyncio.create_task(driver.send_message(RadioMessage(UP)))
    await asyncio.sleep(moment)
    if told(sending):
        await driver.aclose()
        return True
    return await insist(radio, await kill(driver, disk, sending), **options)


def told(sending: asyncio.Task[Any]) -> bool:
    """Whether whoever sent knows that it was accepted."""
    return sending.done() and sending.exception() is None


# --- Iridium SBD ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [None, *Step])
async def test_sbd_session_that_breaks(step: Step | None) -> None:
    radio = Sbd(drops_repeats=step is Step.AFTER_MO)
    if step is not None:
        radio.modem.controls.break_session(step)
    assert await insist(radio, Disk())
    assert radio.up() == [UP]
    await radio.aclose()


@pytest.mark.parametrize("step", [None, *Step])
async def test_sbd_killed_at_any_moment(step: Step | None) -> None:
    for moment in MOMENTS:
        radio = Sbd(drops_repeats=step is Step.AFTER_MO)
        if step is not None:
            radio.modem.controls.break_session(step)
        assert await killed_then_insisted(radio, moment), moment
        assert radio.up() == [UP], moment
        await radio.aclose()


async def test_sbd_without_trust_in_the_momsn() -> None:
    """The gateway has it, the MOMSN has not moved, and the gateway drops no repetition: it is not sent again."""
    for step in Step:
        radio = Sbd()
        radio.modem.controls.break_session(step)
        accepted = await insist(radio, Disk(), trust_momsn=False)
        assert len(radio.up()) <= 1
        assert accepted == (step not in (Step.BEFORE_MO, Step.AFTER_MO))
        assert radio.up() == ([] if step is Step.BEFORE_MO else [UP])
        await radio.aclose()


@pytest.mark.parametrize("trust", [True, False])
@pytest.mark.parametrize("moment", MOMENTS)
async def test_sbd_modem_that_loses_its_power(moment: float, trust: bool) -> None:
    radio = Sbd()
    disk = Disk()
    driver = await started(radio, disk, session_timeout=100.0, trust_momsn=trust)
    sending = asyncio.create_task(driver.send_message(RadioMessage(UP)))
    await asyncio.sleep(moment)
    radio.modem.controls.power_cut(1.0)
    await asyncio.wait([sending])
    await driver.aclose()
    accepted = told(sending) or await insist(radio, disk, trust_momsn=trust)
    assert radio.up() == [UP] if accepted else len(radio.up()) <= 1
    await radio.aclose()


@pytest.mark.parametrize("how", ["uart", "busy"])
async def test_sbd_modem_that_hangs(how: str) -> None:
    """It hangs in the middle of a session; a power cut ends that."""
    radio = Sbd()
    disk = Disk()
    driver = await started(radio, disk, session_timeout=100.0)
    sending = asyncio.create_task(driver.send_message(RadioMessage(UP)))
    await asyncio.sleep(3)
    radio.modem.controls.hang(how)
    with pytest.raises(TransportBroken):
        await sending
    await driver.aclose()
    radio.modem.controls.power_cut(1.0)
    accepted = await insist(radio, disk)
    assert radio.up() == [UP] if accepted else len(radio.up()) <= 1
    await radio.aclose()


@pytest.mark.parametrize("step", [None, Step.DURING_MT, Step.AFTER_MT])
async def test_sbd_messages_for_the_device_come_once(step: Step | None) -> None:
    for moment in (0.5, 6.0, 12.0, 18.0, 24.0, 40.0):
        await once_each(Sbd(), step, moment)


async def once_each(radio: Iridium, step: Step | None, moment: float) -> None:
    disk, wanted = Disk(), [DOWN + bytes([number]) for number in range(3)]
    driver = await started(radio, disk)
    await driver.send_message(RadioMessage(UP))  # which registers the modem for ring alerts
    if step is not None:
        radio.modem.controls.break_session(step)
    for data in wanted:
        radio.down(data)
    came: list[bytes] = []
    hearing = asyncio.create_task(hear(driver, came))
    await asyncio.sleep(moment)
    disk = await kill(driver, disk, hearing)
    driver = await started(radio, disk)
    hearing = asyncio.create_task(hear(driver, came))
    await asyncio.sleep(600)
    await kill(driver, disk, hearing)
    assert sorted(came) == wanted, (step, moment, came)
    await radio.aclose()


async def hear(driver: Any, came: list[bytes]) -> None:
    while True:
        came.append((await driver.receive_message()).data)


async def test_sbd_credits() -> None:
    """A message of 51 bytes is two credits; looking at the mailbox by ring and queue costs what it brings."""
    radio = Sbd()
    driver = await started(radio, Disk())
    assert await driver.send_message(RadioMessage(bytes(51)))
    assert radio.gateway.credits(radio.modem.imei) == driver.message_hints.tariff.units(51) == 2
    await driver.aclose()
    await radio.aclose()


class FullDisk(Disk):
    """A disk that takes nothing while it is full."""

    full = False

    def put(self, key: str, value: bytes) -> None:
        if self.full:
            raise DiskFull("no space left on device")
        super().put(key, value)

    put_now = put


@pytest.mark.parametrize("kind", [Sbd, Imt, Notecard])
async def test_full_disk(kind: type[Any]) -> None:
    """What cannot be noted is not sent, what cannot be kept is not taken from the radio, and both go on afterwards."""
    radio, disk = kind(), FullDisk()
    driver = await started(radio, disk)
    assert await driver.send_message(RadioMessage(b"before"))
    disk.full = True
    with pytest.raises(NotNow, match="no space left"):
        await driver.send_message(RadioMessage(UP))
    assert radio.up() == [b"before"]
    if kind is not Imt:  # its modem keeps no copy
        radio.down(DOWN)
        await asyncio.sleep(200)
    disk.full = False
    if kind is not Imt:
        assert (await driver.receive_message()).data == DOWN
    assert await driver.send_message(RadioMessage(UP))
    assert radio.up() == [b"before", UP]
    await driver.aclose()
    await radio.aclose()


# --- Iridium IMT ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", [None, *ImtBreak])
async def test_imt_broken_and_killed(where: ImtBreak | None) -> None:
    for moment in (None, 0.02, 0.1, 1.0, 4.0, 9.0, 20.0):
        radio = Imt()
        if where is not None:
            radio.modem.controls.break_message(where)
        if moment is None:
            accepted = await insist(radio, Disk())
        else:
            accepted = await killed_then_insisted(radio, moment)
        assert len(radio.up()) <= 1
        assert not accepted or radio.up() == [UP]
        if where is None and moment is None:
            assert accepted
        await radio.aclose()


async def test_imt_100_kilobytes() -> None:
    radio = Imt()
    driver = await started(radio, Disk(), mtu=100_000)
    data = bytes(range(256)) * 390
    assert await driver.send_message(RadioMessage(data))
    assert radio.up() == [data]
    radio.down(data)
    assert (await driver.receive_message()).data == data
    await driver.aclose()
    await radio.aclose()


async def test_imt_message_that_was_altered_is_dropped() -> None:
    radio = Imt()
    driver = await started(radio, Disk())
    radio.modem.controls.garble_mt()
    radio.down(b"altered")
    radio.down(DOWN)
    assert (await driver.receive_message()).data == DOWN
    await driver.aclose()
    await radio.aclose()


# --- Notecard ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["", "drop_replies", "garble_replies", "fail"])
async def test_notecard_broken_and_killed(fault: str) -> None:
    for moment in (None, 0.05, 0.2, 0.5, 2.0, 6.0):
        radio = Notecard()
        disk = Disk()
        driver = await started(radio, disk)
        if fault:
            getattr(radio.card.controls, fault)()
        sending = asyncio.create_task(driver.send_message(RadioMessage(UP)))
        if moment is None:
            await asyncio.wait([sending])
            sending.exception()
        else:
            await asyncio.sleep(moment)
        known = told(sending)
        disk = await kill(driver, disk, sending)
        assert known or await insist(radio, disk)
        assert radio.up() == [UP], (fault, moment)
        await radio.aclose()
