"""The virtual modem on a port: the interpreter, its pseudo terminal, and sockets that are sockets.

Rules of this file: the only place where the interpreter meets the event loop.  No thread; every task is cancelled and
awaited by `aclose`.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Mapping
from pathlib import Path

from rataccess.clock import Clock, SystemClock
from rataccess_hil.lines import VirtualLine
from rataccess_hil.modem import (
    commands_context,
    commands_general,
    commands_gnss,
    commands_message,
    commands_network,
    commands_sim,
    commands_socket,
)
from rataccess_hil.modem.actions import Action, CloseSocket, OpenSocket, Plug, Resolve, SendDatagram
from rataccess_hil.modem.controls import ModemControls
from rataccess_hil.modem.core import Handler, Modem
from rataccess_hil.modem.personality import BG95, EC25, FAST, Personality, Timings
from rataccess_hil.modem.state import Air, Sim
from rataccess_hil.network import NetworkSocket, Unreachable, VirtualNetwork
from rataccess_hil.part import Part
from rataccess_hil.pty_radio import PtyRadio

COMMANDS: Mapping[str, Handler] = {
    **commands_general.COMMANDS,
    **commands_sim.COMMANDS,
    **commands_network.COMMANDS,
    **commands_context.COMMANDS,
    **commands_socket.COMMANDS,
    **commands_gnss.COMMANDS,
    **commands_message.COMMANDS,
}
"""Every command that the virtual modem knows."""


class Start(enum.StrEnum):
    """How a virtual modem is found."""

    RUNNING = "running"
    """On for long, registered if it can be."""
    OFF = "off"
    """Supplied, and waiting for its power key."""
    UNPOWERED = "unpowered"
    """Without supply."""


class VirtualModem(Part):
    """A modem on a pseudo terminal.

    `network` is what its sockets reach (its own, empty and strict, by default); `link` the path of the port's link;
    `usb` makes the port vanish while the modem restarts, as its own USB port would; `exclusive` as of `PtyRadio`.
    `core` is the interpreter, `port` the terminal, `controls` what can be done to it.  Raises what `PtyRadio` raises.
    """

    usual_personality: Personality = BG95

    def __init__(
        self,
        network: VirtualNetwork | None = None,
        *,
        personality: Personality | None = None,
        timings: Timings = FAST,
        link: Path | str | None = None,
        sim: Sim | None = None,
        air: Air | None = None,
        start: Start = Start.RUNNING,
        starts_with_supply: bool = True,
        usb: bool = False,
        exclusive: bool = False,
        clock: Clock | None = None,
        seed: int = 0,
    ) -> None:
        self.network = network or VirtualNetwork()
        self._own_network = network is None
        self._clock = clock or SystemClock()
        self._start = start
        model = personality or self.usual_personality
        self.core = Modem(COMMANDS, model, timings, sim, air, starts_with_supply=starts_with_supply, usb=usb)
        self.port = PtyRadio(link, on_bytes=self._heard, on_open=self._port_opened, exclusive=exclusive, seed=seed)
        self.controls = ModemControls(self)
        self.power_key = VirtualLine(lambda level: self._wire("power_key", level))
        """Active high."""
        self.reset_line = VirtualLine(lambda level: self._wire("reset", level))
        """Active high."""
        self.supply = VirtualLine(lambda level: self._wire("supply", level), start is not Start.UNPOWERED)
        """High is power."""
        self._sockets: dict[int, NetworkSocket] = {}
        self._services: dict[tuple[int, tuple[str, int]], NetworkSocket] = {}
        self._opening: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._pumping = False

    # --- life ---------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Make the port and switch on as `start` says."""
        loop = asyncio.get_running_loop()
        self.core.schedule.now = loop.time()
        self.core.epoch = self._clock.wall() - loop.time()
        await self.port.open()
        if self._start is Start.RUNNING:
            self.core.start_warm()
        else:
            self.core.supplied = self._start is Start.OFF
            if self.core.usb:
                self.port.disconnect()
        self.pump()

    async def aclose(self) -> None:
        """Close port and sockets; idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for task in tuple(self._opening):
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        for socket in (*self._sockets.values(), *self._services.values()):
            socket.close()
        self._sockets.clear()
        self._services.clear()
        if self._own_network:
            await self.network.aclose()
        await self.port.aclose()
        # A datagram transport frees its descriptor in a callback of its own.
        await asyncio.sleep(0)

    @property
    def address(self) -> str:
        """The port's address for a configuration: `pty:/path`."""
        return self.port.address

    # --- between the interpreter and the loop -------------------------------------------------------------------------

    def _heard(self, data: bytes) -> None:
        self.core.run_until(asyncio.get_running_loop().time())
        self.core.receive(data)
        self.pump()

    def _port_opened(self) -> None:
        self.core.port_reopened()

    def _wire(self, name: str, level: bool) -> None:
        self.core.run_until(asyncio.get_running_loop().time())
        self.core.set_line(name, level)
        self.pump()

    def pump(self) -> None:
        """Do what is due, say what is to be said; call it after changing anything of `core` by hand."""
        if self._pumping:
            return
        self._pumping = True
        try:
            loop = asyncio.get_running_loop()
            self.core.run_until(loop.time())
            while self.core.output or self.core.actions:
                said = bytes(self.core.output)
                self.core.output.clear()
                if said:
                    self.port.write(said)
                actions, self.core.actions = self.core.actions, []
                for action in actions:
                    self._perform(action)
        finally:
            self._pumping = False
        self._rearm()

    def _rearm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self.core.schedule.next_due()
        if due is not None:
            self._timer = asyncio.get_running_loop().call_at(due, self.pump)

    def _perform(self, action: Action) -> None:
        if isinstance(action, OpenSocket):
            self._open(action)
        elif isinstance(action, SendDatagram):
            self._send(action)
        elif isinstance(action, CloseSocket):
            self._close(action.serial)
        elif isinstance(action, Resolve):
            silent = self.network.up.silent or self.network.down.silent
            self.core.data.resolved(action.host, [] if silent else self.network.resolve(action.host))
        elif isinstance(action, Plug):
            (self.port.connect if action.present else self.port.disconnect)()

    # --- sockets ------------------------------------------------------------------------------------------------------

    def _task(self, work: asyncio.Task[None]) -> None:
        self._opening.add(work)
        work.add_done_callback(self._opening.discard)

    def _open(self, action: OpenSocket) -> None:
        if action.service == "UDP SERVICE":
            self.core.data.opened(action.serial, 0)
        else:
            self._task(asyncio.get_running_loop().create_task(self._connect(action)))

    async def _connect(self, action: OpenSocket) -> None:
        peer = (action.host, action.port)
        error = 0
        local_port = 0
        try:
            socket = await self.network.open_socket(*peer, lambda data: self._arrived(action.serial, data, peer))
            self._sockets[action.serial] = socket
            local_port = socket.local_port
        except Unreachable:
            error = 566 if self.network.resolve(action.host) else 565
        except OSError:
            error = 554
        self.core.data.opened(action.serial, error, local_port)
        self.pump()

    def _send(self, action: SendDatagram) -> None:
        connected = self._sockets.get(action.serial) or self._services.get((action.serial, action.to))
        if connected is not None:
            connected.send(action.data)
        else:
            self._task(asyncio.get_running_loop().create_task(self._send_as_service(action)))

    async def _send_as_service(self, action: SendDatagram) -> None:
        try:
            opened = await self.network.open_socket(
                *action.to, lambda data: self._arrived(action.serial, data, action.to)
            )
        except (Unreachable, OSError):
            return
        self._services[action.serial, action.to] = opened
        opened.send(action.data)

    def _arrived(self, serial: int, data: bytes, source: tuple[str, int]) -> None:
        self.core.run_until(asyncio.get_running_loop().time())
        self.core.data.arrived(serial, data, source)
        self.pump()

    def _close(self, serial: int) -> None:
        socket = self._sockets.pop(serial, None)
        if socket is not None:
            socket.close()
        for key in [key for key in self._services if key[0] == serial]:
            self._services.pop(key).close()

    def __repr__(self) -> str:
        hang = f" hung ({self.core.faults.hang})" if self.core.faults.hang else ""
        return (
            f"<{type(self).__name__} {self.core.personality.model} {self.core.power}{hang}"
            f" stat={int(self.core.registration.stat)} {self.port!r}>"
        )


class VirtualBg95(VirtualModem):
    """A Quectel BG95: LTE-M and NB-IoT."""


class VirtualEc25(VirtualModem):
    """A Quectel EC25: LTE."""

    usual_personality = EC25
