"""The virtual RockBLOCK 9704 without port and loop: bytes and time in, bytes out.

Rules of this file: requests and state; how messages travel is in `imt_messages`.  The order of things is the vendor
library's and a field report's: version, SIM, operational state, provisioning, then messages.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from rataccess_hil.modem.schedule import Schedule, Timer
from rataccess_hil.satellite import jspr
from rataccess_hil.satellite.gateway import LONGEST_IMT, IridiumGateway
from rataccess_hil.satellite.imt_messages import Messages
from rataccess_hil.satellite.imt_state import ImtCounts, ImtFaults, ImtModel, ImtTimings, Topic
from rataccess_hil.satellite.jspr import Code, JsprRequest, Refused
from rataccess_hil.satellite.sky import Sky

_STATES = ("inactive", "active")
_INTERFACES = ("none", "local", "remote", "internal")


class ImtModem:
    """A 9704.  `output` fills with what it says; `schedule` tells when `run_until` has something to do."""

    def __init__(
        self,
        gateway: IridiumGateway,
        *,
        imei: str,
        sky: Sky,
        model: ImtModel,
        timings: ImtTimings,
        provisioned: bool,
        seed: int,
    ) -> None:
        self.gateway, self.imei, self.sky, self.model, self.timings = gateway, imei, sky, model, timings
        self.chance = random.Random(seed)
        self.schedule = Schedule()
        self.output = bytearray()
        self.faults, self.counts = ImtFaults(), ImtCounts()
        self.provisioned = provisioned
        self.powered = self.awake = False
        self.version: dict[str, int] | None = None
        self.interface = "none"
        self.state = "inactive"
        self.messages = Messages(self)
        self._shown: dict[str, Any] | None = None
        self._next_look: Timer | None = None
        self._active_at: float | None = None
        self._fresh = True
        self._pending = bytearray()
        gateway.subscribe(imei, longest_mo=LONGEST_IMT, longest_mt=LONGEST_IMT)

    # --- power, time --------------------------------------------------------------------------------------------------

    def run_until(self, now: float) -> None:
        """Do all that is due."""
        self.schedule.run_until(now)

    def find(self, running: bool) -> None:
        """How it is found: started, or off."""
        self.powered = self.awake = running

    def power(self, on: bool) -> None:
        """Give it power or take it; everything but its provisioning is gone."""
        if on == self.powered:
            return
        self.powered, self.awake = on, False
        self.schedule.stop_firmware()
        self.output.clear()
        self._pending.clear()
        self.faults.silent = False
        self.counts.failed_in_a_row = 0
        self.version, self.interface, self.state, self._active_at = None, "none", "inactive", None
        self.messages = Messages(self)
        self._shown, self._next_look = None, None
        if on:
            self.schedule.after(self.timings.boot, self._booted)

    def _booted(self) -> None:
        self.awake = True
        self.counts.boots += 1
        major, minor, patch = self.model.firmware
        version = {"major": major, "minor": minor, "patch": patch, "build_info": "SX-000000-00000000"}
        self.tell("bootInfo", {"image_type": "production", "version": version, "boot_source": "primary"})

    def opened(self) -> None:
        """Somebody opened the port: the first line will be found malformed."""
        self._fresh = True
        self._pending.clear()

    # --- the network --------------------------------------------------------------------------------------------------

    def bars(self) -> int:
        """What the sky gives now; 0 while it is not active."""
        return self.sky.bars(self.schedule.now) if self.awake and self._active_at is not None else 0

    def visible(self) -> bool:
        """Whether the constellation has been found."""
        active = self._active_at
        return active is not None and self.schedule.now >= active + self.timings.network and self.bars() > 0

    def constellation(self) -> dict[str, Any]:
        """As `constellationState` tells it."""
        if not self.visible():
            return {"constellation_visible": False, "signal_bars": 0}
        bars = self.bars()
        return {"constellation_visible": True, "signal_bars": bars, "signal_level": -118 + 2 * bars}

    def look(self) -> None:
        """See what the sky and the gateway have for it, tell of changes, and look again where they go on by themselves."""
        if self._next_look is not None:
            self._next_look.cancel()
        if not self.active:
            return
        now = self.constellation()
        if now != self._shown:
            self._shown = now
            self.tell("constellationState", now)
        if not self.provisioned and self.visible() and self._since_network() >= self.timings.provisioning:
            self.provisioned = True
            self.tell("messageProvisioning", self._provisioning())
        self.messages.sky_seen()
        pending = self.bars() > 0 and (not self.visible() or not self.provisioned)
        change = self.sky.next_change(self.schedule.now)
        if pending:
            self._next_look = self.schedule.after(self.timings.state_report, self.look)
        elif change is not None:
            self._next_look = self.schedule.after(change - self.schedule.now, self.look)

    def _since_network(self) -> float:
        active = self._active_at
        return 0.0 if active is None else self.schedule.now - active - self.timings.network

    def topic(self, number: Any) -> Topic | None:
        """A topic of the subscription, once provisioned."""
        found = (each for each in self.model.topics if each.number == number)
        return next(found, None) if self.provisioned else None

    # --- what it says and hears ---------------------------------------------------------------------------------------

    def tell(self, target: str, content: dict[str, Any]) -> None:
        """Something unasked."""
        self.say(Code.UNSOLICITED, target, content)

    def say(self, code: int, target: str, content: dict[str, Any]) -> None:
        """A line, unless it has gone silent."""
        if self.awake and not self.faults.silent:
            junk, self.faults.junk = self.faults.junk, b""
            self.output += junk + jspr.answer(code, target, content)

    def receive(self, data: bytes) -> None:
        """The host wrote."""
        if not self.awake or self.faults.silent:
            self.counts.swallowed += len(data)
            return
        self._pending += data
        while b"\r" in self._pending:
            line, _, rest = bytes(self._pending).partition(b"\r")
            self._pending[:] = rest
            if line.strip(b"\n "):
                self._obey(line)
        if len(self._pending) > jspr.LONGEST_LINE:
            self._pending.clear()
            self.say(Code.MALFORMED, "MALFORMED", {})

    def _obey(self, line: bytes) -> None:
        self.counts.requests += 1
        target = "MALFORMED"
        fresh, self._fresh = self._fresh, False
        try:
            if fresh and self.model.first_malformed:
                raise Refused(Code.MALFORMED)
            request = jspr.parse(line, wants_blanks=self.model.wants_blanks)
            target = request.target
            self._serve(request)
        except Refused as refused:
            self.counts.refused += 1
            self.say(refused.code, "MALFORMED" if refused.code is Code.MALFORMED else target, {})

    def _serve(self, request: JsprRequest) -> None:
        forced = self.faults.codes.get(request.target)
        if forced:
            raise Refused(Code(forced.popleft()))
        handlers = _HANDLERS.get(request.target)
        if handlers is None:
            raise Refused(Code.NO_TARGET)
        if self.version is None and request.target != "apiVersion":
            raise Refused(Code.NO_VERSION)
        handler = handlers.get(request.method)
        if handler is None:
            raise Refused(Code.BAD_TYPE)
        handler(self, request.content)

    # --- requests -----------------------------------------------------------------------------------------------------

    def get_version(self, content: dict[str, Any]) -> None:
        """GET apiVersion."""
        listed = [_version(each) for each in self.model.versions]
        active = {"active_version": self.version} if self.version else {}
        self.say(Code.OK, "apiVersion", {"supported_versions": listed, **active})

    def put_version(self, content: dict[str, Any]) -> None:
        """PUT apiVersion: once after each start."""
        if self.version is not None:
            raise Refused(Code.ALREADY_SET)
        wanted = content.get("active_version")
        if wanted not in [_version(each) for each in self.model.versions]:
            raise Refused(Code.FAILED)
        self.version = wanted
        self.get_version({})

    def get_sim(self, content: dict[str, Any]) -> None:
        """GET simConfig."""
        self.say(Code.OK, "simConfig", {"interface": self.interface})

    def put_sim(self, content: dict[str, Any]) -> None:
        """PUT simConfig; the status follows."""
        wanted = content.get("interface")
        if wanted not in _INTERFACES:
            raise Refused(Code.BAD_JSON)
        if wanted == self.interface:
            raise Refused(Code.ALREADY_SET)
        if self.state != "inactive":
            raise Refused(Code.NOT_ALLOWED)
        self.interface = wanted
        self.get_sim({})
        self.schedule.after(self.timings.sim, lambda: self.tell("simStatus", self._sim_status()))

    def get_sim_status(self, content: dict[str, Any]) -> None:
        """GET simStatus."""
        self.say(Code.OK, "simStatus", self._sim_status())

    def _sim_status(self) -> dict[str, Any]:
        there = self.interface == "internal" and self.faults.card
        found = {"card_present": there, "sim_connected": there}
        return {**found, "iccid": self.model.iccid} if there else found

    def get_state(self, content: dict[str, Any]) -> None:
        """GET operationalState."""
        self.say(Code.OK, "operationalState", {"state": self.state, "reason": 0})

    def put_state(self, content: dict[str, Any]) -> None:
        """PUT operationalState: in force a moment later, which is told."""
        wanted = content.get("state")
        if wanted not in _STATES:
            raise Refused(Code.BAD_JSON)
        if wanted == self.state:
            raise Refused(Code.NOT_ALLOWED)
        if wanted == "active" and not self._sim_status()["sim_connected"]:
            raise Refused(Code.NO_SIM)
        self.state = wanted
        self.get_state({})
        self.schedule.after(self.timings.state, self._state_in_force)

    def _state_in_force(self) -> None:
        self._active_at = self.schedule.now if self.state == "active" else None
        self.tell("operationalState", {"state": self.state, "reason": 0})
        self.gateway.of(self.imei).attached = self.active
        self._shown = None
        self.look()

    @property
    def active(self) -> bool:
        """Whether it is in force."""
        return self._active_at is not None

    def get_hardware(self, content: dict[str, Any]) -> None:
        """GET hwInfo."""
        model = self.model
        identity = {"hw_version": model.hw_version, "serial_number": model.serial_number, "imei": self.imei}
        self.say(Code.OK, "hwInfo", {**identity, "board_temp": 19})

    def get_firmware(self, content: dict[str, Any]) -> None:
        """GET firmware."""
        version = {**_version(self.model.firmware), "build_info": "SX-000000-00000000"}
        self.say(Code.OK, "firmware", {"slot": "primary", "validity": True, "version": version, "hash": "00" * 32})

    def get_provisioning(self, content: dict[str, Any]) -> None:
        """GET messageProvisioning: an empty list before the first provisioning."""
        self.say(Code.OK, "messageProvisioning", self._provisioning())

    def _provisioning(self) -> dict[str, Any]:
        topics = [
            {
                "topic_id": each.number,
                "topic_name": each.name,
                "priority": each.priority,
                "discard_time_seconds": each.discard_seconds,
                "max_queue_depth": each.depth,
            }
            for each in (self.model.topics if self.provisioned else ())
        ]
        return {"provisioning": topics}

    def get_constellation(self, content: dict[str, Any]) -> None:
        """GET constellationState."""
        self.say(Code.OK, "constellationState", self.constellation())

    def originate(self, content: dict[str, Any]) -> None:
        """PUT messageOriginate."""
        self.messages.originate(content)

    def segment(self, content: dict[str, Any]) -> None:
        """PUT messageOriginateSegment."""
        self.messages.segment(content)

    def cancel(self, content: dict[str, Any]) -> None:
        """PUT messageOriginateStatus."""
        self.messages.cancel(content)


def _version(parts: tuple[int, int, int]) -> dict[str, int]:
    return dict(zip(("major", "minor", "patch"), parts, strict=True))


_Handler = Callable[[ImtModem, dict[str, Any]], None]
_HANDLERS: dict[str, dict[str, _Handler]] = {
    "apiVersion": {"GET": ImtModem.get_version, "PUT": ImtModem.put_version},
    "simConfig": {"GET": ImtModem.get_sim, "PUT": ImtModem.put_sim},
    "simStatus": {"GET": ImtModem.get_sim_status},
    "operationalState": {"GET": ImtModem.get_state, "PUT": ImtModem.put_state},
    "hwInfo": {"GET": ImtModem.get_hardware},
    "firmware": {"GET": ImtModem.get_firmware},
    "messageProvisioning": {"GET": ImtModem.get_provisioning},
    "constellationState": {"GET": ImtModem.get_constellation},
    "messageOriginate": {"PUT": ImtModem.originate},
    "messageOriginateSegment": {"PUT": ImtModem.segment},
    "messageOriginateStatus": {"PUT": ImtModem.cancel},
}
