"""What can be done to a virtual modem from outside: its coverage, its SIM, its faults, its port and its network.

Rules of this file: controls only, see `Hands`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rataccess_hil.hands import Hands
from rataccess_hil.modem.state import Hang

if TYPE_CHECKING:
    from rataccess_hil.modem.virtual import VirtualModem
    from rataccess_hil.wire import Wire


class ModemControls(Hands):
    """The hands on a virtual modem."""

    def __init__(self, modem: VirtualModem) -> None:
        self._modem = modem

    def _changed(self) -> None:
        self._modem.core.registration.evaluate()
        self._modem.pump()

    # --- the air ------------------------------------------------------------------------------------------------------

    def coverage(self, on: bool) -> None:
        """Whether the network can be heard."""
        self._modem.core.air.coverage = on
        self._changed()

    def deny(self, cause: int | None) -> None:
        """Have the network refuse registration with this cause (3GPP TS 24.301 section 9.9.3.9); `None` ends it."""
        self._modem.core.air.denied = cause
        self._changed()

    def roam(self, on: bool) -> None:
        """Whether the network is a foreign one."""
        self._modem.core.air.roaming = on
        self._changed()

    def refuse_context(self, code: int | None) -> None:
        """Have the network refuse PDP contexts with this CME code; `None` ends it."""
        self._modem.core.air.refuses_context = code

    def lose_context(self, context: int = 1) -> None:
        """The network takes a PDP context away."""
        self._modem.core.data.lose(context)
        self._modem.pump()

    def close_socket(self, socket: int) -> None:
        """The far end closes a socket."""
        self._modem.core.data.close_by_peer(socket)
        self._modem.pump()

    def signal(self, rsrp: int, rsrq: int = -10, sinr: int = 12) -> None:
        """Power (dBm) and quality (dB) of the serving cell."""
        air = self._modem.core.air
        air.cell = replace(air.cell, rsrp=rsrp, rsrq=rsrq, rssi=rsrp + 28, sinr=sinr)

    def sky(self, on: bool) -> None:
        """Whether GNSS satellites can be heard."""
        self._modem.core.air.sky = on

    # --- the SIM ------------------------------------------------------------------------------------------------------

    def sim(self, present: bool) -> None:
        """Put the SIM in or take it out; the modem says so."""
        core = self._modem.core
        core.sim.present = present
        core.sim.unlocked = False
        core.urc(f"+CPIN: {core.sim.state() if present else 'NOT READY'}")
        self._changed()

    # --- the firmware -------------------------------------------------------------------------------------------------

    def hang(self, how: str) -> None:
        """Stop working: see `Hang` for the ways."""
        self._modem.core.hang(Hang(how))
        self._modem.pump()

    def watchdog(self, seconds: float | None) -> None:
        """Have the firmware restart by itself so long after it hangs; for hangs to come."""
        self._modem.core.faults.watchdog = seconds

    def crash(self) -> None:
        """Restart by itself, with nothing said."""
        self._modem.core.restart()
        self._modem.pump()

    def slow(self, seconds: float, between_lines: float = 0.0) -> None:
        """Take so much longer before each answer, and between its lines."""
        self._modem.core.faults.slow = seconds
        self._modem.core.faults.gap = between_lines

    def urc(self, line: str) -> None:
        """Say something unasked, now."""
        self._modem.core.urc(line)
        self._modem.pump()

    def interject(self, line: str, where: str = "between") -> None:
        """Say something unasked in the middle of the next answer: `between` two lines, or `before final`."""
        places = self._modem.core.faults.interjections
        if where not in places:
            raise ValueError(f"{where!r} is no place; there are {', '.join(places)}")
        places[where].append(line)

    def chatter(self, lines: list[str]) -> None:
        """Say these in every gap of every answer; an empty list ends it."""
        self._modem.core.faults.chatter = lines

    def misspell(self, right: str, wrong: str) -> None:
        """Have the firmware write `wrong` for `right`."""
        self._modem.core.faults.typos[right] = wrong

    def ignore(self, command: str, on: bool = True) -> None:
        """Never answer a command (its name with its sign: `+QIACT`)."""
        ignored = self._modem.core.faults.ignored
        (ignored.add if on else ignored.discard)(command.upper())

    def buffer_full(self, on: bool) -> None:
        """Answer QISEND with SEND FAIL."""
        self._modem.core.faults.buffer_full = on

    # --- wires --------------------------------------------------------------------------------------------------------

    def line(self, name: str, level: bool) -> None:
        """Drive `power_key`, `reset` or `supply`."""
        lines = {
            "power_key": self._modem.power_key,
            "reset": self._modem.reset_line,
            "supply": self._modem.supply,
        }
        if name not in lines:
            raise ValueError(f"there is no line {name!r}; there are {', '.join(lines)}")
        lines[name].write(level)

    def brown_out(self) -> None:
        """The supply dips: the modem restarts with nothing said, whatever it was doing."""
        self._modem.core.brown_out()
        self._modem.pump()

    # --- the port -----------------------------------------------------------------------------------------------------

    def _wires(self, direction: str) -> list[Wire]:
        port = self._modem.port
        known = {"to radio": [port.to_radio], "to host": [port.to_host], "both": [port.to_radio, port.to_host]}
        if direction not in known:
            raise ValueError(f"{direction!r} is no direction; there are {', '.join(known)}")
        return known[direction]

    def cut(self, after: int = 0, direction: str = "both") -> None:
        """Let `after` more bytes through, and none after them."""
        for wire in self._wires(direction):
            wire.cut(after)

    def drop(self, count: int = 0, rate: float = 0.0, direction: str = "both") -> None:
        """Lose the next `count` bytes, and then each with probability `rate`."""
        for wire in self._wires(direction):
            wire.drop(count, rate)

    def garble(self, count: int = 0, rate: float = 0.0, direction: str = "both") -> None:
        """Alter the next `count` bytes, and then each with probability `rate`."""
        for wire in self._wires(direction):
            wire.garble(count, rate)

    def delay(self, seconds: float, direction: str = "both") -> None:
        """Deliver bytes so much later."""
        for wire in self._wires(direction):
            wire.delay(seconds)

    def freeze(self, keep: bool = False) -> None:
        """Pass nothing in either direction until `thaw`; with `keep`, hold it back instead of losing it."""
        for wire in self._wires("both"):
            wire.freeze(keep)

    def thaw(self) -> None:
        """End `freeze`."""
        for wire in self._wires("both"):
            wire.thaw()

    def mend(self) -> None:
        """End every fault of the byte path."""
        for wire in self._wires("both"):
            wire.mend()

    def disconnect(self) -> None:
        """Unplug the port: whoever has it open is hung up on."""
        self._modem.port.disconnect()

    def connect(self) -> None:
        """Plug it in again, as another /dev/pts node."""
        self._modem.port.connect()

    def renumber(self) -> None:
        """Unplug and plug in at once."""
        self._modem.port.renumber()

    # --- the network --------------------------------------------------------------------------------------------------

    def silence(self, on: bool = True) -> None:
        """Let every datagram vanish."""
        self._modem.network.silence(on)

    def loss(self, up: float, down: float) -> None:
        """Probabilities, 0 to 1, that a datagram vanishes."""
        self._modem.network.up.loss, self._modem.network.down.loss = up, down

    def latency(self, up: float, down: float) -> None:
        """Seconds that datagrams take."""
        self._modem.network.up.delay, self._modem.network.down.delay = up, down

    def forward(self, host: str, port: int, to_host: str, to_port: int) -> None:
        """Add to the network's map: where a public address really is."""
        self._modem.network.forward((host, port), (to_host, to_port))

    # --- looking ------------------------------------------------------------------------------------------------------

    def stats(self) -> dict[str, Any]:
        """Everything that can be counted."""
        core, port = self._modem.core, self._modem.port
        return {
            "power": str(core.power),
            "hang": str(core.faults.hang or ""),
            "function": core.function,
            "stat": int(core.registration.stat),
            "boots": core.boots,
            "contexts": [number for number, context in core.data.contexts.items() if context.active],
            "sockets": {str(index): socket.state for index, socket in core.data.sockets.items()},
            "sent": core.data.sent,
            "received": core.data.received,
            "overflowed": core.data.overflowed,
            "swallowed": core.swallowed + core.terminal.swallowed,
            "port": {
                "address": port.address,
                "node": port.node,
                "in_use": port.in_use,
                "opened_times": port.opened_times,
                "lost": [port.to_radio.lost, port.to_host.lost],
                "garbled": [port.to_radio.garbled, port.to_host.garbled],
            },
            "network": dict(self._modem.network.stats()),
        }

    def commands(self) -> list[str]:
        """Every line that the host has written."""
        return self._modem.port.journal.commands()

    def journal(self, last: int = 1000) -> list[dict[str, object]]:
        """The last entries of the port's journal."""
        return self._modem.port.journal.dump()[-last:]
