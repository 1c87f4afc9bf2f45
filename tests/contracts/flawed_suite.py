"""Transports and drivers with one defect each, put through the contracts: every class here must fail at its own clause.

Rules of this file: pytest does not collect it by itself; `test_contracts_find_defects.py` runs it and reads the report.
`CATCHES` names, for each class, the test that must fail; the others may fail too.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from rataccess.driver import Bearer, Evidence, RadioStatus, Recovery
from rataccess.errors import Closed, PacketTooLarge, RadioSilent
from rataccess.objects import Service
from rataccess.testing import DriverContract, MemoryDriver, MemoryMedium, MemoryTransport, TransportContract
from rataccess.transport import Handover, Packet
from tests.contracts.contract_rigs import MemoryDriverRig, MemoryTransportRig

CATCHES: dict[str, str] = {}


def caught_by(test: str) -> Any:
    """A class decorator: makes the suite for a flawed class, under the name that pytest collects."""

    def register(flawed: type[Any]) -> type[Any]:
        driver = issubclass(flawed, MemoryDriver)
        base: type[Any] = DriverContract if driver else TransportContract
        rig_base: type[Any] = MemoryDriverRig if driver else MemoryTransportRig
        rig = type(f"{flawed.__name__}Rig", (rig_base,), {"made": flawed})

        @asynccontextmanager
        async def make(self: object) -> AsyncIterator[Any]:
            yield rig()

        name = f"Test{flawed.__name__}"
        globals()[name] = type(name, (base,), {"make": make, "limit": 0.3, "close_limit": 0.3, "__module__": __name__})
        CATCHES[name] = test
        return flawed

    return register


class Leak:
    """A file that nobody closes."""

    def __init__(self) -> None:
        self.files = os.pipe()


# --- transports -------------------------------------------------------------------------------------------------------


@caught_by("test_constructor_opens_nothing")
class OpensInConstructor(MemoryTransport):
    def __init__(self, medium: MemoryMedium) -> None:
        super().__init__(medium)
        self.leak = Leak()


@caught_by("test_closing_frees_everything")
class LeaksFiles(MemoryTransport):
    async def open(self) -> None:
        self.leak = Leak()
        await super().open()


@caught_by("test_closing_is_idempotent")
class ClosesOnce(MemoryTransport):
    async def aclose(self) -> None:
        self._check()
        await super().aclose()


@caught_by("test_closed_transport_says_closed")
class SendsAfterClose(MemoryTransport):
    async def send(self, packet: Packet) -> Handover | None:
        try:
            return await super().send(packet)
        except Closed:
            return None


@caught_by("test_closing_wakes_receive")
class LeavesReceiveWaiting(MemoryTransport):
    def end(self, trouble: Exception) -> None:
        self._trouble = trouble


@caught_by("test_packets_pass_both_ways")
class LosesAnswers(MemoryTransport):
    def arrive(self, packet: Packet) -> None:
        pass


@caught_by("test_any_bytes_pass")
class StopsAtControlZ(MemoryTransport):
    async def send(self, packet: Packet) -> Handover | None:
        return await super().send(Packet(packet.data.split(b"\x1a")[0], packet.service))


@caught_by("test_services_are_kept_apart")
class ConfusesServices(MemoryTransport):
    def arrive(self, packet: Packet) -> None:
        super().arrive(Packet(packet.data, Service.SOLUTION))


@caught_by("test_largest_packet_passes")
class OffByOne(MemoryTransport):
    async def send(self, packet: Packet) -> Handover | None:
        if len(packet.data) >= self.hints.mtu:
            raise PacketTooLarge(len(packet.data), self.hints.mtu)
        return await super().send(packet)


@caught_by("test_too_large_packet_is_refused")
class Truncates(MemoryTransport):
    async def send(self, packet: Packet) -> Handover | None:
        return await super().send(Packet(packet.data[: self.hints.mtu], packet.service))


@caught_by("test_cancelled_receive_loses_nothing")
class LosesOnCancel(MemoryTransport):
    async def receive(self) -> Packet:
        packet = await super().receive()
        await asyncio.sleep(0)
        return packet


@caught_by("test_sending_while_receiving")
class OneAtATime(MemoryTransport):
    def __init__(self, medium: MemoryMedium) -> None:
        super().__init__(medium)
        self.lock = asyncio.Lock()

    async def send(self, packet: Packet) -> Handover | None:
        async with self.lock:
            return await super().send(packet)

    async def receive(self) -> Packet:
        async with self.lock:
            return await super().receive()


@caught_by("test_changed_hints_are_announced")
class HidesHints(MemoryTransport):
    def set_hints(self, **changes: Any) -> None:
        callbacks, self._hints_callbacks = self._hints_callbacks, []
        super().set_hints(**changes)
        self._hints_callbacks = callbacks


@caught_by("test_broken_medium_is_told")
class NeverBreaks(MemoryTransport):
    def end(self, trouble: Exception) -> None:
        if isinstance(trouble, Closed):
            super().end(trouble)


@caught_by("test_closing_on_a_hanging_medium")
class HangsOnClose(MemoryTransport):
    async def aclose(self) -> None:
        if self.medium.hanging:
            await asyncio.Event().wait()
        await super().aclose()


@caught_by("test_refused_service_is_told")
class IgnoresRefusals(MemoryTransport):
    async def send(self, packet: Packet) -> Handover | None:
        return None if packet.service in self.medium.refused else await super().send(packet)


# --- drivers ----------------------------------------------------------------------------------------------------------


@caught_by("test_constructor_opens_nothing")
class DriverOpensInConstructor(MemoryDriver):
    def __init__(self, medium: MemoryMedium) -> None:
        super().__init__(medium)
        self.leak = Leak()


@caught_by("test_closing_frees_everything")
class DriverLeaksTask(MemoryDriver):
    async def open(self) -> None:
        await super().open()
        self.task = asyncio.create_task(asyncio.Event().wait())


@caught_by("test_closing_frees_the_port")
class KeepsPort(MemoryDriver):
    async def aclose(self) -> None:
        self._open = False
        self._moved.set()


@caught_by("test_second_opener")
class StealsPort(MemoryDriver):
    async def open(self) -> None:
        self.medium.driver = None
        await super().open()


@caught_by("test_status_is_modest")
class ClaimsTooMuch(MemoryDriver):
    async def status(self) -> RadioStatus:
        await super().status()
        return RadioStatus(Evidence.REACHABLE)


@caught_by("test_attach_is_idempotent")
class AttachesOnce(MemoryDriver):
    attached = False

    async def attach(self) -> Bearer:
        if self.attached:
            raise RadioSilent("no second time")
        self.attached = True
        return await super().attach()


@caught_by("test_loss_is_announced")
class KeepsQuiet(MemoryDriver):
    def moved(self) -> None:
        self._moved.set()


@caught_by("test_undone_callback_is_silent")
class CallsForEver(MemoryDriver):
    def on_status(self, callback: Any) -> Any:
        super().on_status(callback)
        return lambda: None


@caught_by("test_closing_ends_a_waiting_attach")
class AttachOutlivesClose(MemoryDriver):
    async def aclose(self) -> None:
        self._open = False
        self.medium.driver = None


@caught_by("test_hung_radio_is_silent")
class WaitsForEver(MemoryDriver):
    async def status(self) -> RadioStatus:
        try:
            return await super().status()
        except RadioSilent:
            await asyncio.Event().wait()
            raise


@caught_by("test_recoveries_are_well_formed")
class HardestFirst(MemoryDriver):
    @property
    def recoveries(self) -> Sequence[Recovery]:
        return (Recovery("power cut", self._reset, 5.0), Recovery("reopen port", self._reset, 5.0))


@caught_by("test_mildest_recovery_leaves_a_radio_that_opens")
class RecoveryBreaks(MemoryDriver):
    async def _reset(self) -> None:
        self.medium.present = False


@caught_by("test_closed_driver_says_so")
class AnswersWhenClosed(MemoryDriver):
    async def status(self) -> RadioStatus:
        return self._status()


@caught_by("test_unplugged_radio_is_told")
class MissesUnplugging(MemoryDriver):
    def moved(self) -> None:
        if self.medium.present:
            super().moved()
