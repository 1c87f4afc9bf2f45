"""A module that says what a test has it say: scripted lines of public drivers, on a port in memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from rataccess.clock import LoopClock
from rataccess.driver import DriverContext, Forgetful
from rataccess_drivers.lora.modules.driver import ModuleDriver, Rak3172Driver, Rn2483Driver, WioE5Driver
from rataccess_drivers.lora.modules.options import ModuleOptions
from rataccess_hil.memory_port import MemoryPort

Reply = str | Sequence[str] | Callable[[re.Match[str]], Sequence[str]]

DEV_EUI = "AC1F09FFFE001122"
KEY = "2B7E151628AED2A6ABF7158809CF4F3C"

RAK: dict[str, Reply] = {
    r"AT": "OK",
    r"AT\+VER=\?": ["AT+VER=RUI_4.0.6_RAK3172-E", "OK"],
    r"AT\+NWM=\?": ["AT+NWM=1", "OK"],
    r"AT\+BAND=\?": ["AT+BAND=4", "OK"],
    r"AT\+NJM=\?": ["AT+NJM=1", "OK"],
    r"AT\+CLASS=\?": ["AT+CLASS=A", "OK"],
    r"AT\+ADR=\?": ["AT+ADR=1", "OK"],
    r"AT\+CFM=\?": ["AT+CFM=1", "OK"],
    r"AT\+DEVEUI=\?": [f"AT+DEVEUI={DEV_EUI}", "OK"],
    r"AT\+APPEUI=\?": ["AT+APPEUI=0000000000000001", "OK"],
    r"AT\+DR=\?": ["AT+DR=3", "OK"],
    r"AT\+NJS=\?": ["AT+NJS=0", "OK"],
    r"AT\+JOIN=1:0:8:0": ["OK", "+EVT:JOINED"],
    r"AT\+SEND=.*": ["OK", "+EVT:TX_DONE", "+EVT:SEND_CONFIRMED_OK"],
    r"AT\+\w+=[^?].*": "OK",
}
WIO: dict[str, Reply] = {
    r"AT": "+AT: OK",
    r"AT\+VER": "+VER: 4.0.11",
    r"AT\+DR": "+DR: EU868 DR3 SF9 BW125K",
    r"AT\+MODE": "+MODE: LWOTAA",
    r"AT\+CLASS": "+CLASS: A",
    r"AT\+ADR": "+ADR: ON",
    r"AT\+ID": [
        "+ID: DevAddr, 00:11:22:33",
        "+ID: DevEui, AC:1F:09:FF:FE:00:11:22",
        "+ID: AppEui, 00:00:00:00:00:00:00:01",
    ],
    r"AT\+JOIN(?:=FORCE)?": [
        "+JOIN: Start",
        "+JOIN: NORMAL",
        "+JOIN: Network joined",
        "+JOIN: NetID 000013 DevAddr 26:01:5F:66",
        "+JOIN: Done",
    ],
    r"AT\+LW=LEN": "+LW: LEN 115",
    r'AT\+(C?MSGHEX)="(.*)"': lambda m: [f"+{m[1]}: Start", f"+{m[1]}: ACK Received", f"+{m[1]}: Done"],
    r"AT\+(\w+)=(.*)": lambda m: [f"+{m[1]}: {m[2]}"],
}
RN: dict[str, Reply] = {
    r"sys get ver": "RN2483 1.0.5 Oct 31 2018 15:06:52",
    r"mac get band": "868",
    r"mac get adr": "on",
    r"mac get deveui": DEV_EUI,
    r"mac get appeui": "0000000000000001",
    r"mac get dr": "3",
    r"mac get status": "00000000",
    r"mac join otaa": ["ok", "accepted"],
    r"mac tx (?:un)?cnf \d+ .*": ["ok", "mac_tx_ok"],
    r"mac set .*|mac save|mac resume|mac reset 868": "ok",
}
KINDS: dict[str, tuple[type[ModuleDriver], Mapping[str, Reply]]] = {
    "rak3172": (Rak3172Driver, RAK),
    "wio_e5": (WioE5Driver, WIO),
    "rn2483": (Rn2483Driver, RN),
}


class ScriptedModule:
    """Answers each line by the first pattern that fits it whole; `None` answers nothing."""

    def __init__(self, answers: Mapping[str, Reply], default: str | None = None, end: str = "\r\n") -> None:
        self.answers: dict[str, Reply | None] = dict(answers)
        self.default = default
        self.end = end
        self.echo = False
        self.heard: list[str] = []
        self.raw = b""
        self.port = MemoryPort(on_bytes=self._take)
        self._rest = b""

    def _take(self, data: bytes) -> None:
        self.raw += data
        *lines, self._rest = (self._rest + data).split(b"\r\n")
        for line in lines:
            self._answer(line.decode("latin-1"))

    def _answer(self, line: str) -> None:
        self.heard.append(line)
        if self.echo:
            self.say(line)
        # what a test has added comes first
        for pattern, reply in reversed(list(self.answers.items())):
            match = re.fullmatch(pattern, line)
            if match is not None and (reply is not None):
                said = reply(match) if callable(reply) else reply
                self.say(*([said] if isinstance(said, str) else said))
            if match is not None:
                return
        if self.default is not None:
            self.say(self.default)

    def say(self, *lines: str) -> None:
        """Something to the host."""
        for line in lines:
            self.port.write((line + self.end).encode("latin-1"))

    def sent(self, pattern: str) -> list[str]:
        """The commands that look like that."""
        return [line for line in self.heard if re.fullmatch(pattern, line)]


def scripted(kind: str, answers: Mapping[str, Reply | None] | None = None) -> ScriptedModule:
    """A healthy module of that kind; patterns in `answers` override."""
    module = ScriptedModule(dict(reversed(list(KINDS[kind][1].items()))))
    module.answers.update(answers or {})
    return module


def context(key: str | None = KEY, memory: Forgetful | None = None, clock: LoopClock | None = None) -> DriverContext:
    """What the driver is given."""
    secrets = {} if key is None else {"lora.appkey": key}
    return DriverContext("lora", clock or LoopClock(), secrets.get, memory or Forgetful())


def driver(kind: str, module: ScriptedModule, given: DriverContext | None = None, **options: object) -> ModuleDriver:
    """The driver for it, not opened."""
    merged: dict[str, object] = {"port": "pty:/dev/module", "region": "EU868", **options}
    return KINDS[kind][0](ModuleOptions(**merged), given or context(), open_line=module.port.open_line)  # type: ignore[arg-type]
