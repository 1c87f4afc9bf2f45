"""The virtual SBD modem without port and loop: bytes and time in, bytes out.

Rules of this file: power, network and the modem's state over time.  The conversation is in `sbd_interpreter`, what each
command says in `sbd_commands`, what a session does in `sbd_session`.  No clock is read but the gateway's date; seconds
come in by `run_until`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace

from rataccess_hil.lora.pins import Pin
from rataccess_hil.modem.schedule import Timer
from rataccess_hil.satellite.gateway import IridiumGateway
from rataccess_hil.satellite.sbd_grammar import Handler
from rataccess_hil.satellite.sbd_interpreter import SbdInterpreter
from rataccess_hil.satellite.sbd_state import Buffers, Model, Profile, Timings
from rataccess_hil.satellite.sky import Sky


class SbdModem(SbdInterpreter):
    """A 9602/9603.  `output` fills with what it says; `schedule` tells when `run_until` has something to do."""

    def __init__(
        self,
        gateway: IridiumGateway,
        commands: Mapping[str, Handler],
        *,
        imei: str,
        sky: Sky,
        model: Model,
        timings: Timings,
        seed: int,
    ) -> None:
        self.stored = Profile(flow=model.flow_control)
        """What AT&W0 stored."""
        super().__init__(commands, model, timings, replace(self.stored))
        self.gateway, self.imei, self.sky = gateway, imei, sky
        self.chance = random.Random(seed)
        self.buffers = Buffers()
        self.ring_pin = Pin("ring", level=True, output=True)
        """RI: low while it rings; `VirtualGpio(core.ring_pin, "in", "falling")` is the host's end."""
        self.momsn = 0
        self.powered = False
        self.radio = True
        """AT*R1."""
        self.registered = 1
        """As +SBDREG says: 0 detached, 1 not registered, 2 registered, 3 denied, 4 unknown."""
        self.last_bars = 0
        self.indicators = (False, False)
        """Which of +CIEV: bars, service."""
        self._shown: tuple[int, bool] | None = None
        self._look: Timer | None = None
        self._seen_at: float | None = None
        self._time_known = False
        self.charged_at = 0.0
        """When the supercap is full."""
        self.in_session = False
        self._subscription = gateway.subscribe(imei)

    # --- time, power --------------------------------------------------------------------------------------------------

    def run_until(self, now: float) -> None:
        """Do all that is due."""
        self.bars_seen()
        self.schedule.run_until(now)
        self.bars_seen()

    def find(self, running: bool) -> None:
        """How it is found: on for long and in the network, or off."""
        self.powered = self.awake = running
        if running and self.bars() > 0:
            self._seen_at = -self.timings.network

    def draw(self, pair: tuple[float, float]) -> float:
        """Seconds between a shortest and a longest."""
        return self.chance.uniform(*pair)

    def power(self, on: bool) -> None:
        """Give it power or take it, by its supply or its ON/OFF pin; buffers are gone, numbers are not."""
        if on == self.powered:
            return
        self.powered = on
        self._stop()
        if on:
            self.charged_at = self.schedule.now + self.timings.charge
            self.schedule.after(self.timings.boot, self._booted)

    def brown_out(self) -> None:
        """The supply collapses for a moment: off and on, with nothing said."""
        self.counts.brown_outs += 1
        self.power(False)
        self.power(True)

    def _stop(self) -> None:
        self.drop()
        self.schedule.stop_firmware()
        self.in_session = False
        self.awake, self.faults.hang, self.indicators, self._shown = False, None, (False, False), None
        self.buffers, self.profile, self.registered, self.radio = Buffers(), replace(self.stored), 1, True
        self._seen_at, self._time_known, self.last_bars = None, False, 0
        self.ring_pin.drive(True)

    def _booted(self) -> None:
        self.awake = True
        self.counts.boots += 1
        self.bars_seen()

    def store(self) -> None:
        """AT&W0."""
        self.stored = replace(self.profile)

    def recall(self) -> None:
        """ATZ0."""
        self.profile = replace(self.stored)

    def discharge(self) -> None:
        """A session has emptied the supercap."""
        self.charged_at = self.schedule.now + self.timings.charge

    @property
    def charged(self) -> bool:
        """Whether the supercap is full."""
        return self.schedule.now >= self.charged_at

    # --- the network --------------------------------------------------------------------------------------------------

    def bars(self) -> int:
        """What the sky gives now; 0 with the radio off."""
        return self.sky.bars(self.schedule.now) if self.awake and self.radio else 0

    def bars_seen(self) -> None:
        """Take note of the first sky since power came."""
        if self._seen_at is None and self.bars() > 0:
            self._seen_at = self.schedule.now

    def in_network(self) -> bool:
        """Whether the network has been found since power came."""
        return self._seen_at is not None and self.schedule.now >= self._seen_at + self.timings.network

    def lacks_time(self) -> bool:
        """Whether the firmware is one that wants an MSSTM poll before its first session."""
        return self.model.needs_time_first and not self._time_known

    def system_time(self) -> int | None:
        """Ticks of 90 ms since the epoch (32 bits), `None` without network."""
        if not self.in_network() or self.bars() == 0:
            return None
        self._time_known = True
        return int((self.gateway.clock.wall() - self.model.epoch) / 0.09) & 0xFFFFFFFF

    def refusal(self) -> int | None:
        """The MO status that stands before any session now."""
        faults = self.faults
        hurdles = (
            (faults.locked, 16),
            (not self.radio, 34),
            (faults.antenna, 33),
            (faults.busy, 35),
            (faults.disabled, 37),
            (self.schedule.now < faults.traffic_until, 38),
        )
        return next((status for stands, status in hurdles if stands), None)

    def attach(self) -> None:
        """The gateway knows where to ring."""
        self.registered = 2
        self._subscription.attached = True

    def detach(self) -> None:
        """No more ring alerts."""
        self.registered = 0
        self._subscription.attached = False

    def rung(self) -> None:
        """The constellation calls, and once more later where the message still waits."""
        self._page()
        self.schedule.after(self.timings.second_ring, self._page_again, hardware=True)

    def _page_again(self) -> None:
        if self._subscription.queue:
            self._page()

    def _page(self) -> None:
        # A radio hears pages only in the sky, with its receiver free: not in the middle of a session.
        if self.bars() == 0 or not self.in_network() or self.in_session:
            self.counts.rings_missed += 1
            return
        self.counts.rings_heard += 1
        self.buffers.ring = True
        if self.profile.ring_indication:
            self.urc("SBDRING")
            self.ring_pin.drive(False)
            self.schedule.after(self.timings.ring_pulse, lambda: self.ring_pin.drive(True))

    def sky_changed(self) -> None:
        """Something was set: take note, and tell of it at the indicators' next look."""
        self.bars_seen()
        if any(self.indicators):
            self._look_again(self.timings.indicator)

    def _look_again(self, seconds: float) -> None:
        if self._look is not None:
            self._look.cancel()
        self._look = self.schedule.after(seconds, self._watch_sky)

    def _watch_sky(self) -> None:
        """+CIEV for what changed; goes on by itself only while the sky does."""
        if not any(self.indicators):
            return
        now = (self.bars(), self.in_network() and self.bars() > 0)
        before, self._shown = self._shown, now
        if self.indicators[0] and (before is None or before[0] != now[0]):
            self.last_bars = now[0]
            self.urc(f"+CIEV:0,{now[0]}")
        if self.indicators[1] and (before is None or before[1] != now[1]):
            self.urc(f"+CIEV:1,{int(now[1])}")
        change = self.sky.next_change(self.schedule.now)
        if self.bars() > 0 and not self.in_network():
            self._look_again(self.timings.indicator)
        elif change is not None:
            self._look_again(change - self.schedule.now)

    def indicate(self, bars: bool, service: bool) -> None:
        """AT+CIER: from now on, beginning with what is now."""
        self.indicators, self._shown = (bars, service), None
        self._look_again(0.0)
