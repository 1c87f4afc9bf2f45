"""How the virtual network server composes a downlink: windows, what fits, and what is wrong with it on request.

Rules of this file: frames and sizes; no time and no gateway.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from rataccess_hil.lora import frames, semtech
from rataccess_hil.lora.frames import DataFrame, JoinAccept
from rataccess_hil.lora.network_device import Downlink, Misdeed, NetworkDevice, Session
from rataccess_hil.lora.network_sending import Window
from rataccess_hil.lora.regions import Region


@dataclass(frozen=True, slots=True)
class Composed:
    """A sealed downlink, the windows that it fits, and what of the queue is in it."""

    data: bytes
    windows: list[Window]
    item: Downlink | None = None


class Composer:
    """Composes for one region."""

    def __init__(self, region: Region, net_id: int) -> None:
        self._region = region
        self._net_id = net_id

    def windows(
        self, packet: dict[str, Any], delays: tuple[float, float], offset: int, rx2_rate: int, rx2_frequency: int
    ) -> list[Window]:
        """The receive windows after an uplink (an `rxpk`)."""
        factor, bandwidth = semtech.split_datr(packet["datr"])
        rate = self._region.rate_of(factor, bandwidth) or 0
        rx1_rate, rx1_frequency = self._region.rx1(rate, round(packet["freq"] * 1e6), offset)
        moments = [(int(packet["tmst"]) + round(delay * 1e6)) & 0xFFFFFFFF for delay in delays]
        return [Window(moments[0], rx1_rate, rx1_frequency), Window(moments[1], rx2_rate, rx2_frequency)]

    def compose(
        self,
        device: NetworkDevice,
        session: Session,
        uplink: DataFrame,
        windows: list[Window],
        misdeed: Misdeed | None,
    ) -> Composed:
        """The answer to an uplink, with what waits for the device and fits the first window."""
        if misdeed is Misdeed.REPLAY and device.last_downlink:
            return Composed(device.last_downlink, windows)
        if misdeed is Misdeed.JOIN_ACCEPT:
            return Composed(JoinAccept(0x123456, self._net_id, 0x26ABCDEF).seal(device.app_key), windows)
        if misdeed is not None:
            return Composed(self._spoilt(self._frame(session, uplink, None, b"", False), session, misdeed), windows)
        room = self._region.down_limit(windows[0].rate)
        options = device.take_commands(min(15, room))
        item = None
        if device.queue and len(device.queue[0].data) <= room - len(options):
            item = device.queue.popleft()
        made = self._frame(session, uplink, item, options, bool(device.queue))
        if item is not None and item.confirmed:
            device.unacknowledged = item
        session.down += 1
        needed = len(options) + len(made.payload)
        fitting = [each for each in windows if self._region.down_limit(each.rate) >= needed]
        return Composed(made.seal(session.keys), fitting, item)

    @staticmethod
    def _frame(session: Session, uplink: DataFrame, item: Downlink | None, options: bytes, pending: bool) -> DataFrame:
        return DataFrame(
            frames.CONFIRMED_DOWN if item is not None and item.confirmed else frames.UNCONFIRMED_DOWN,
            session.address,
            session.down,
            item.port if item is not None else None,
            item.data if item is not None else b"",
            options,
            adr=True,
            ack=uplink.confirmed,
            pending=pending,
        )

    @staticmethod
    def _spoilt(made: DataFrame, session: Session, misdeed: Misdeed) -> bytes:
        if misdeed is Misdeed.OLD_COUNTER:
            return replace(made, counter=max(0, session.down - 1)).seal(session.keys)
        if misdeed is Misdeed.WRONG_ADDRESS:
            return replace(made, address=session.address ^ 1).seal(session.keys)
        sealed = made.seal(session.keys)
        if misdeed is Misdeed.TRUNCATED:
            return sealed[:9]
        return sealed[:-1] + bytes([sealed[-1] ^ 1])


def spoilt_accept(device: NetworkDevice, sealed: bytes, misdeed: Misdeed | None) -> bytes:
    """A join-accept as it goes out, with what is wrong with it on request."""
    last, device.last_accept = device.last_accept, sealed
    if misdeed is Misdeed.REPLAY and last:
        return last
    if misdeed is Misdeed.TRUNCATED:
        return sealed[:9]
    return sealed[:-1] + bytes([sealed[-1] ^ 1]) if misdeed is Misdeed.BAD_MIC else sealed
