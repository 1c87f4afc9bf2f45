"""The virtual modem itself, without any I/O: bytes and time in, bytes and actions out.

Rules of this file: no loop, no clock, no descriptor.  `receive`, `run_until`, the lines (`power_key`, `reset`, `supply`)
and the answers to actions come in; `output`, `actions` and `next_due` go out.  Here are power, boot and life; the commands
are in the `commands_*` files, registration and data in `registration` and `data`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy

from rataccess_hil.modem.actions import Action, Answer, AtError, NoAnswer, Plug
from rataccess_hil.modem.data import Data
from rataccess_hil.modem.grammar import Call
from rataccess_hil.modem.personality import BG95, Personality, Timings
from rataccess_hil.modem.registration import Registration
from rataccess_hil.modem.schedule import Schedule, Timer
from rataccess_hil.modem.state import Air, Faults, Hang, Kept, Power, Settings, Sim
from rataccess_hil.modem.terminal import Terminal

Handler = Callable[["Modem", Call], Answer]

_DEAD = (Hang.FIRMWARE, Hang.SUPPLY)


class Modem:
    """One modem.  It is off and without supply until `start_warm` or the supply and the power key say otherwise."""

    def __init__(
        self,
        commands: Mapping[str, Handler],
        personality: Personality = BG95,
        timings: Timings | None = None,
        sim: Sim | None = None,
        air: Air | None = None,
        *,
        epoch: float = 0.0,
        imei: str = "867698040000000",
        starts_with_supply: bool = True,
        usb: bool = False,
    ) -> None:
        self.personality = personality
        self.timings = timings or Timings()
        self.sim = sim or Sim()
        self.air = air or Air()
        self.epoch = epoch
        """Unix time at schedule time 0."""
        self.imei = imei
        self.starts_with_supply = starts_with_supply
        self.usb = usb
        """Whether its port is its own USB port, which goes away while it restarts."""
        self.schedule = Schedule()
        self.faults = Faults()
        self.kept = Kept(configuration=dict(personality.configuration))
        self.output = bytearray()
        self.actions: list[Action] = []
        self.power = Power.OFF
        self.supplied = False
        self.function = 1
        """CFUN."""
        self.sim_ready = False
        self.boots = 0
        self.swallowed = 0
        """Bytes that came while it was off, booting or hung."""
        self.commands = commands
        self._pressed: dict[str, float] = {}
        self._key_timer: Timer | None = None
        self._boot_timer: Timer | None = None
        self.terminal = Terminal(
            self.schedule, self.faults, self._execute, self._put, self.timings.reply, self.timings.escape
        )
        self.registration = Registration(self)
        self.data = Data(self)
        self.gnss_since: float | None = None

    # --- the outside --------------------------------------------------------------------------------------------------

    @property
    def settings(self) -> Settings:
        """What AT commands have set."""
        return self.terminal.settings

    @property
    def alive(self) -> bool:
        """Whether the firmware runs."""
        return self.power is Power.RUNNING and self.faults.hang not in _DEAD

    def run_until(self, now: float) -> None:
        """Let time pass."""
        self.schedule.run_until(now)

    def receive(self, data: bytes) -> None:
        """What the host wrote."""
        if not self.alive:
            self.swallowed += len(data)
        elif self.faults.hang is Hang.PORT:
            self.swallowed += len(data)
            if b"\x1b" in data:
                self.port_reopened()
        else:
            self.terminal.receive(data)

    def port_reopened(self) -> None:
        """The host has closed and opened the port."""
        if self.faults.hang is Hang.PORT:
            self.faults.hang = None
            self.terminal.reset()

    def _put(self, data: bytes) -> None:
        if self.alive and self.faults.hang is not Hang.PORT:
            self.output += data

    def urc(self, line: str, payload: bytes | None = None) -> None:
        """Say something unasked, where there is a firmware to say it."""
        if self.alive:
            self.terminal.urc(line, payload)

    def act(self, action: Action) -> None:
        """Ask something of the world."""
        self.actions.append(action)

    def _execute(self, call: Call) -> Answer:
        if self.faults.hang is Hang.COMMANDS and not self._passes_hang(call):
            raise NoAnswer
        handler = self.commands.get(call.name)
        if handler is None:
            raise AtError(None)
        return handler(self, call)

    @staticmethod
    def _passes_hang(call: Call) -> bool:
        return call.name == "E" or (call.name == "+CFUN" and call.values == ("1", "1"))

    # --- power --------------------------------------------------------------------------------------------------------

    def start_warm(self) -> None:
        """As if it had been switched on long ago: running and registered, with nothing said."""
        self.supplied = True
        self.power = Power.RUNNING
        self.boots += 1
        self.sim_ready = True
        self.registration.settle()

    def boot(self) -> None:
        """Start; the UART answers `Timings.boot` later."""
        if not self.supplied or self.power is not Power.OFF:
            return
        self.power = Power.BOOTING
        self._boot_timer = self.schedule.after(self.timings.boot, self._ready, hardware=True)

    def _ready(self) -> None:
        self.power = Power.RUNNING
        self.boots += 1
        if self.usb:
            self.act(Plug(True))
        self.terminal.settings = deepcopy(self.kept.saved) if self.kept.saved else Settings()
        first, *later = self.personality.boot_lines
        self.urc(first)
        for line in later:
            self.schedule.after(self.timings.app_ready, lambda line=line: self.urc(line))  # type: ignore[misc]
        self.schedule.after(self.timings.sim_ready, self._sim_ready)
        self.schedule.after(self.timings.sms_done, self._files_read)

    def _sim_ready(self) -> None:
        self.sim_ready = True
        self.urc(f"+CFUN: {self.function}")
        state = self.sim.state() if self.sim.present else "NOT INSERTED"
        self.urc(f"+CPIN: {state}")
        if self.sim.present:
            self.urc("+QUSIM: 1")
        self.registration.evaluate()

    def _files_read(self) -> None:
        if self.sim.present and self.sim.state() == "READY":
            self.urc("+QIND: SMS DONE")
            self.urc("+QIND: PB DONE")

    def _forget(self) -> None:
        self.schedule.stop_firmware()
        self.terminal.reset()
        self.terminal.settings = Settings()
        self.registration.reset()
        self.data.reset()
        self.function = 1
        self.sim_ready = False
        self.sim.unlocked = False
        self.gnss_since = None
        if self.usb and self.power is Power.RUNNING:
            self.act(Plug(False))

    def switch_off(self) -> None:
        """Off at once, with nothing said; all that is not in flash is lost."""
        if self.power is Power.OFF:
            return
        self._forget()
        if self._boot_timer is not None:
            self._boot_timer.cancel()
        self.power = Power.OFF
        if self.faults.hang is not Hang.SUPPLY:
            self.faults.hang = None

    def restart(self) -> None:
        """Off and on at once, with nothing said: a crash, a reset line, a watchdog."""
        if self.faults.hang is Hang.SUPPLY:
            return
        self.switch_off()
        self.boot()

    def brown_out(self) -> None:
        """The supply dips: off, also out of a latch-up, and on again where the board starts by itself."""
        if self.supplied:
            self._set_supply(False)
            self._set_supply(True)

    def power_down(self) -> None:
        """Off in good order: `POWERED DOWN` is said first."""
        self.registration.reset()
        self.schedule.after(self.timings.power_down, self._powered_down)

    def _powered_down(self) -> None:
        self.urc("POWERED DOWN")
        self.switch_off()

    def reset_by_command(self) -> None:
        """CFUN=1,1: restart shortly after the OK."""
        self.schedule.after(self.timings.restart, self.restart)

    # --- lines --------------------------------------------------------------------------------------------------------

    def set_line(self, name: str, level: bool) -> None:
        """A wire changes: `power_key` and `reset` are active high (a transistor pulls the pin), `supply` is power.

        Raises `ValueError` for another name.
        """
        if name == "supply":
            self._set_supply(level)
        elif name in ("power_key", "reset"):
            if level and name not in self._pressed:
                self._press(name)
            elif not level and name in self._pressed:
                self._release(name, self.schedule.now - self._pressed.pop(name))
        else:
            raise ValueError(f"there is no line {name!r}; there are power_key, reset and supply")

    def _set_supply(self, on: bool) -> None:
        if on and not self.supplied:
            self.supplied = True
            if self.starts_with_supply:
                self.boot()
        elif not on and self.supplied:
            self.supplied = False
            self.switch_off()
            self.power = Power.OFF
            self.faults.hang = None

    def _press(self, name: str) -> None:
        self._pressed[name] = self.schedule.now
        if name == "power_key" and self.power is Power.OFF and self.supplied:
            self._key_timer = self.schedule.after(self.personality.lines.key_on, self._key_on, hardware=True)

    def _key_on(self) -> None:
        # The rest of this press means nothing more.
        self._pressed.pop("power_key", None)
        self.boot()

    def _release(self, name: str, held: float) -> None:
        lines = self.personality.lines
        if name == "power_key" and self._key_timer is not None:
            self._key_timer.cancel()
            self._key_timer = None
        if self.power is not Power.RUNNING or self.faults.hang is Hang.SUPPLY:
            return
        resets = name == "reset" or self.personality.key_resets
        if resets and lines.reset <= held <= lines.reset_most:
            self.restart()
        elif name == "power_key" and lines.key_off <= held <= lines.key_off_most:
            if self.alive:
                self.power_down()
            else:
                self.switch_off()

    # --- faults -------------------------------------------------------------------------------------------------------

    def hang(self, how: Hang) -> None:
        """Stop working; see `Hang`."""
        self.faults.hang = how
        if how in _DEAD:
            self.schedule.stop_firmware()
            self.terminal.reset()
            if how is Hang.FIRMWARE and self.faults.watchdog is not None:
                self.schedule.after(self.faults.watchdog, self._bite, hardware=True)
        elif how is Hang.RADIO:
            self.registration.evaluate()

    def _bite(self) -> None:
        if self.faults.hang is Hang.FIRMWARE:
            self.restart()

    def cycle_radio(self, function: int) -> None:
        """CFUN=0, 1 or 4."""
        if function == 1 and self.function != 1 and self.faults.hang is Hang.RADIO:
            self.faults.hang = None
        if function != 1 and self.function == 1:
            self.data.lose_all()
        self.function = function
        self.registration.evaluate()
