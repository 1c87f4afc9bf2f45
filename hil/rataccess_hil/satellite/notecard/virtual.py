"""The virtual Notecard on a serial port and on an I2C bus, and what can be done to it.

Rules of this file: where the interpreter meets loop, port, bus and threads.  I2C is synchronous and may come from any
thread; what the Notehub hears is told in the loop's thread where there is one.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import threading
from collections.abc import Callable
from typing import Any

from rataccess.clock import Clock, SystemClock
from rataccess_hil.hands import Hands
from rataccess_hil.satellite.notecard.bus import SerialOverI2c, VirtualPeripheryI2c, VirtualSmbus
from rataccess_hil.satellite.notecard.core import NotecardCore
from rataccess_hil.satellite.notecard.note_requests import NOTE_REQUESTS
from rataccess_hil.satellite.notecard.notehub import Event, VirtualNotehub
from rataccess_hil.satellite.notecard.peripherals import PERIPHERALS
from rataccess_hil.satellite.notecard.requests import REQUESTS
from rataccess_hil.satellite.notecard.state import I2C_ADDRESS, NotecardHang, NotecardModel, NotecardTimings
from rataccess_hil.satellite.port import RadioPort
from rataccess_hil.satellite.sky import Sky


class VirtualNotecard:
    """A Notecard with `port` as its serial side (none where it is only used over I2C).

    `smbus()` and `periphery_i2c()` are its bus; it answers where it was asked last.  A running event loop (of `open`, or
    where it is first spoken to) moves it on by itself; without one, time passes when it is spoken to, and is the machine's
    or that of `monotonic`.
    """

    def __init__(
        self,
        port: RadioPort | None = None,
        notehub: VirtualNotehub | None = None,
        *,
        model: NotecardModel | None = None,
        timings: NotecardTimings | None = None,
        sky: Sky | None = None,
        clock: Clock | None = None,
        monotonic: Callable[[], float] | None = None,
        address: int = I2C_ADDRESS,
        seed: int = 0,
    ) -> None:
        self.notehub = notehub or VirtualNotehub()
        self.sky = sky or Sky()
        self.core = NotecardCore(
            self.notehub,
            {**PERIPHERALS, **REQUESTS, **NOTE_REQUESTS},
            model=model or NotecardModel(),
            timings=timings or NotecardTimings(),
            sky=self.sky,
            clock=clock or SystemClock(),
            seed=seed,
        )
        self.port = port
        self.address = address
        self.controls = NotecardControls(self)
        self._wire = SerialOverI2c()
        self.core.stopped = self._wire.reset
        self._on_bus = port is None
        self._lock = threading.RLock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._monotonic = monotonic or SystemClock().monotonic
        self._timer: asyncio.TimerHandle | None = None
        self._running = False
        self.core.uplink = self._uplink
        self.notehub.attach(self.core.model.device, lambda: self.run(self.core.syncing.rang))
        if port is not None:
            port.on_bytes = self._heard

    # --- life ---------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Bind it to the running loop."""
        self.pump()

    async def aclose(self) -> None:
        """Off the loop; idempotent."""
        self._loop = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def __aenter__(self) -> VirtualNotecard:
        await self.open()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    @property
    def device(self) -> str:
        """Under which the Notehub knows it."""
        return self.core.model.device

    def _bind(self) -> None:
        if self._loop is None:
            with contextlib.suppress(RuntimeError):
                self._loop = asyncio.get_running_loop()
                self._thread = threading.get_ident()

    def _elsewhere(self) -> asyncio.AbstractEventLoop | None:
        """The loop, where this is not its thread."""
        return self._loop if threading.get_ident() != self._thread else None

    def _uplink(self, event: Event) -> None:
        loop = self._elsewhere()
        if loop is not None:
            loop.call_soon_threadsafe(self.notehub.take, event)
        else:
            self.notehub.take(event)

    # --- serial -------------------------------------------------------------------------------------------------------

    def _heard(self, data: bytes) -> None:
        self._on_bus = False
        self.run(lambda: self.core.receive(data))

    # --- I2C ----------------------------------------------------------------------------------------------------------

    def smbus(self) -> VirtualSmbus:
        """The bus as `smbus2.SMBus` would open it."""
        return VirtualSmbus(self)

    def periphery_i2c(self) -> VirtualPeripheryI2c:
        """The bus as `periphery.I2C` would open it."""
        return VirtualPeripheryI2c(self)

    def i2c_write(self, data: bytes) -> None:
        """See `Endpoint.i2c_write`."""
        with self._lock:
            busy = self.core.model.nacks_when_busy and bool(data) and data[0] != 0
            self._acknowledge(busy)
            self._on_bus = True
            given = self._wire.written(data)
            if given:
                self.run(lambda: self.core.receive(given))

    def i2c_read(self, count: int) -> bytes:
        """See `Endpoint.i2c_read`."""
        with self._lock:
            self._acknowledge()
            self.pump()
            return self._wire.read(count)

    def _acknowledge(self, unless_busy: bool = False) -> None:
        faults = self.core.faults
        self.pump()
        gone = not self.core.awake or faults.hang is NotecardHang.GONE
        if gone or faults.nacks > 0 or (unless_busy and self.core.busy):
            faults.nacks = max(0, faults.nacks - 1)
            self.core.counts.nacks += 1
            raise OSError(errno.EREMOTEIO, "Remote I/O error")

    # --- time ---------------------------------------------------------------------------------------------------------

    def pump(self) -> None:
        """Do what is due, say what is to be said."""
        self.run(lambda: None)

    def run(self, what: Callable[[], None]) -> None:
        """Bring it up to the present, do this to it, and put what it says where it was asked."""
        self._bind()
        with self._lock:
            if self._running:
                what()
                return
            self._running = True
            try:
                self.core.run_until(self._now())
                what()
                self.core.run_until(self._now())
                self._say()
            finally:
                self._running = False
        self._rearm()

    def _now(self) -> float:
        return self._loop.time() if self._loop is not None else self._monotonic()

    def _say(self) -> None:
        said = list(self.core.output)
        self.core.output.clear()
        for message in said:
            if self._on_bus:
                self._wire.messages.append(message)
            elif self.port is not None:
                self.port.write(message)

    def _rearm(self) -> None:
        loop = self._loop
        if loop is None:
            return
        if self._elsewhere() is not None:
            loop.call_soon_threadsafe(self._rearm)
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self.core.schedule.next_due()
        if due is not None:
            self._timer = loop.call_at(due, self.pump)

    def __repr__(self) -> str:
        core = self.core
        return f"<VirtualNotecard {self.device} {core.syncing.method} {'awake' if core.awake else 'starting'}>"


class NotecardControls(Hands):
    """The hands on a virtual Notecard."""

    def __init__(self, card: VirtualNotecard) -> None:
        self._card = card

    def coverage(self, cell: bool | None = None, wifi: bool | None = None) -> None:
        """Whether terrestrial networks can be heard."""
        air = self._card.core.air
        air.cell = air.cell if cell is None else cell
        air.wifi = air.wifi if wifi is None else wifi

    def sky(self, bars: int | None = None, rain: int | None = None, obstruction: float | None = None) -> None:
        """Set the most bars (0 to 5), the bars that rain takes, the share of passes that is hidden (0 to 1)."""
        if bars is not None:
            self._card.sky.set(bars)
        self._card.sky.spoil(rain, obstruction)

    def location(self, latitude: float | None = None, longitude: float | None = None) -> None:
        """Where it is; `None` where it does not know."""
        self._card.core.air.latitude, self._card.core.air.longitude = latitude, longitude

    def pair(self, on: bool) -> None:
        """Whether a satellite module is paired."""
        self._card.core.ntn = on

    def fail(self, error: str = "I/O error {io}", count: int = 1) -> None:
        """Answer the next `count` requests with this `err`."""
        self._card.core.faults.errors.extend([error] * count)

    def drop_replies(self, count: int = 1) -> None:
        """Swallow the next `count` replies, with the request done."""
        self._card.core.faults.drop_replies = count

    def garble_replies(self, count: int = 1) -> None:
        """Alter the next `count` replies."""
        self._card.core.faults.garble_replies = count

    def nack(self, count: int = 1) -> None:
        """Leave the next `count` accesses on I2C unacknowledged."""
        self._card.core.faults.nacks = count

    def heartbeats(self, count: int = 1) -> None:
        """Say so many heartbeats before the next reply."""
        self._card.core.faults.heartbeats = count

    def hang(self, how: str = "silent") -> None:
        """Stop working: see `NotecardHang`."""
        self._card.core.faults.hang = NotecardHang(how)

    def power_cut(self, seconds: float | None = None) -> None:
        """Restart; back after `seconds` (its usual time by default)."""
        self._card.run(lambda: self._card.core.restart(seconds))

    def stats(self) -> dict[str, Any]:
        """Everything that can be counted."""
        core = self._card.core
        counts = core.counts
        return {
            "device": self._card.device,
            "awake": core.awake,
            "connected": core.syncing.connected,
            "method": core.syncing.method,
            "notes": core.files.total(),
            "boots": counts.boots,
            "requests": counts.requests,
            "syncs": counts.syncs,
            "failed_syncs": counts.failed_syncs,
            "sent": counts.sent,
            "received": counts.received,
            "lost_bytes": counts.lost_bytes,
            "nacks": counts.nacks,
            "packets": self._card.notehub.packets.get(self._card.device, 0),
        }
