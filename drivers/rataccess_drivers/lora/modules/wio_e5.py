"""Seeed Wio-E5 (LoRa-E5), and the RHF76-052 that it descends from.

Rules of this file: data of one module.  Sources: public drivers, Seeed LoRa-E5 AT Command
Specification.  Each line of an answer is `+COMMAND: text`; some end with `Done`, refusals without.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rataccess_drivers.lora.modules.commands import Command
from rataccess_drivers.lora.modules.events import Kind, Why, pattern
from rataccess_drivers.lora.modules.profile import Profile, Setting, order, question

_ANY = r"\+(?P<name>[A-Z]+): ?"

TABLE = (
    pattern(Kind.OK, r"\+(?P<name>AT): ?OK"),
    pattern(Kind.DOWNLINK, _ANY + r'PORT: ?(?P<port>\d{1,3}); ?RX: ?"(?P<data>[0-9A-F ]*)"'),
    pattern(Kind.SIGNAL, _ANY + r"RXWIN\d{1,3}, ?RSSI ?(?P<rssi>-?\d{1,4}), ?SNR ?(?P<snr>-?\d{1,4}(?:\.\d+)?)"),
    pattern(Kind.MARGIN, _ANY + r"Link (?P<margin>\d{1,3}), ?(?P<gateways>\d{1,3})"),
    pattern(Kind.PENDING, _ANY + r"FPENDING"),
    pattern(Kind.ACKED, _ANY + r"ACK Received"),
    pattern(Kind.STARTED, _ANY + r"(?:Start|NORMAL|FORCE|TIMEOUT|MULTICAST|Wait ACK|Starting)"),
    pattern(Kind.JOINED, r"\+(?P<name>JOIN): ?Network joined"),
    pattern(Kind.ALREADY, r"\+(?P<name>JOIN): ?Joined already"),
    pattern(Kind.JOIN_FAILED, r"\+(?P<name>JOIN): ?Join failed"),
    pattern(Kind.ADDRESS, r"\+(?P<name>JOIN): ?NetID [0-9A-F]{1,6},? DevAddr (?P<value>[0-9A-F:]{8,11})"),
    pattern(Kind.DONE, _ANY + r"Done"),
    pattern(Kind.REFUSED, _ANY + r"Please join network first", Why.NOT_JOINED),
    pattern(Kind.REFUSED, _ANY + r"Not in OTAA mode", Why.MODE),
    pattern(Kind.REFUSED, _ANY + r"No free channel(?: .*)?", Why.NO_CHANNEL),
    pattern(Kind.REFUSED, _ANY + r"No band in (?P<ms>\d{1,10}) ?ms", Why.DUTY),
    pattern(Kind.REFUSED, _ANY + r"DR error", Why.RATE),
    pattern(Kind.REFUSED, _ANY + r"Length error (?P<limit>\d{1,3})", Why.LENGTH),
    pattern(Kind.REFUSED, _ANY + r"LoRaWAN modem is busy", Why.BUSY),
    pattern(Kind.REFUSED, _ANY + r"ERROR\((?P<number>-10)\)", Why.UNKNOWN),
    pattern(Kind.REFUSED, _ANY + r"ERROR\((?P<number>-12)\)", Why.MODE),
    pattern(Kind.REFUSED, _ANY + r"ERROR\((?P<number>-(?:11|2[1-4]))\)", Why.GARBLED),
    pattern(Kind.REFUSED, _ANY + r"ERROR\((?P<number>-\d{1,3})\)", Why.PARAMETER),
    pattern(Kind.BOOTED, r"\+BOOT.*"),
    pattern(
        Kind.RAW,
        r"\+(?P<name>TEST): ?LEN: ?(?P<number>\d{1,3}), ?RSSI: ?(?P<rssi>-?\d{1,4}), ?SNR: ?(?P<snr>-?\d{1,4})",
    ),
    pattern(Kind.VALUE, _ANY + r"(?P<value>.*)"),
)

LIMIT = r"LEN,? ?(\d{1,3})"
COUNTERS = r"ULDL, ?(\d{1,9}), ?(\d{1,9})"


def _tell(name: str, text: str, *, limit: float = 3.0, shown: str = "") -> Command:
    return order(text, name, ends=Kind.VALUE, limit=limit, shown=shown)


def _ask(name: str, text: str, expect: str) -> Command:
    return question(text, expect, name, ends=Kind.VALUE)


def _uplink(port: int, digits: str, confirmed: bool) -> Sequence[Command]:
    name = "CMSGHEX" if confirmed else "MSGHEX"
    limit = 180.0 if confirmed else 30.0  # eight transmissions with two windows each, at the slowest data rate
    sending = Command(
        f'AT+{name}="{digits}"',
        frozenset({Kind.DONE}),
        f'AT+{name}="..."',
        name,
        after=Kind.STARTED,
        enough=frozenset({Kind.ACKED} if confirmed else {Kind.STARTED}),
        limit=limit,
    )
    return (_tell("PORT", f"AT+PORT={port}"), sending)


def _sub_band(word: str) -> Sequence[Command]:
    first = 8 * (int(word) - 1)
    return (_tell("CH", f"AT+CH=NUM,{first}-{first + 7},{64 + int(word) - 1}", limit=10.0),)


def _join(text: str) -> Command:
    ends = frozenset({Kind.DONE, Kind.ALREADY})
    return Command(text, ends, name="JOIN", after=Kind.STARTED, enough=frozenset({Kind.JOINED}), limit=60.0)


WIO_E5 = Profile(
    name="Wio-E5",
    model=re.compile(r"\d+\.\d+"),
    table=TABLE,
    baudrates=(9_600, 115_200, 57_600, 38_400, 19_200),
    probe=order("AT", "AT", limit=2.0),
    identify=question("AT+VER", r"(.+)", "VER", ends=Kind.VALUE, limit=2.0),
    settings=(
        Setting(
            "region",
            _ask("DR", "AT+DR", r"\b((?:EU|US|AU|AS|IN|KR|RU|CN)\d{3}[\w-]*)"),
            lambda word: (_tell("DR", f"AT+DR={word}"),),
        ),
        Setting(
            "mode",
            _ask("MODE", "AT+MODE", r"(LWOTAA|LWABP|TEST)"),
            lambda word: (_tell("MODE", f"AT+MODE={word}"),),
            {"lorawan": "LWOTAA"},
        ),
        Setting("class", _ask("CLASS", "AT+CLASS", r"^([ABC])\b"), lambda word: (_tell("CLASS", f"AT+CLASS={word}"),)),
        Setting(
            "adr",
            _ask("ADR", "AT+ADR", r"(ON|OFF)"),
            lambda word: (_tell("ADR", f"AT+ADR={word}"),),
            {"on": "ON", "off": "OFF"},
        ),
        Setting(
            "duty_cycle",
            _ask("LW", "AT+LW=DC", r"DC, ?(ON|OFF)"),
            lambda word: (_tell("LW", f"AT+LW=DC,{word}"),),
            {"on": "ON", "off": "OFF"},
        ),
        Setting("sub_band", None, _sub_band, needed=False),
        Setting(
            "dev_eui",
            _ask("ID", "AT+ID", r"(?i)DevEui,? ?([0-9A-Fa-f:]{16,23})"),
            lambda word: (_tell("ID", f'AT+ID=DevEui,"{word}"'),),
        ),
        Setting(
            "join_eui",
            _ask("ID", "AT+ID", r"(?i)AppEui,? ?([0-9A-Fa-f:]{16,23})"),
            lambda word: (_tell("ID", f'AT+ID=AppEui,"{word}"'),),
        ),
        # The question is answered by two lines, of which the second may come when the first has been taken.
        Setting(
            "data_rate",
            _ask("DR", "AT+DR", r"\bDR(\d{1,2})\b"),
            lambda word: (_ask("DR", f"AT+DR=DR{word}", rf"\bDR{word}\b"),),
        ),
    ),
    ask_dev_eui=_ask("ID", "AT+ID", r"(?i)DevEui,? ?([0-9A-Fa-f:]{16,23})"),
    join=_join("AT+JOIN"),
    rejoin=_join("AT+JOIN=FORCE"),
    uplink=_uplink,
    ask_data_rate=_ask("DR", "AT+DR", r"\bDR(\d{1,2})\b"),
    key=lambda key: _tell("KEY", f'AT+KEY=APPKEY,"{key}"', shown='AT+KEY=APPKEY,"..."'),
    reset=_tell("RESET", "AT+RESET"),
    ask_limit=_ask("LW", "AT+LW=LEN", LIMIT),
    ask_counter=_ask("LW", "AT+LW=ULDL", COUNTERS),
    ask_retries=_ask("RETRY", "AT+RETRY", r"(\d{1,3})"),
    mark=re.compile(r"\+(?:JOIN|C?MSG(?:HEX)?): ?(?=[A-Z])"),
    flushes=True,
    link_check=_tell("LW", "AT+LW=LCR"),
    rest=_tell("LOWPOWER", "AT+LOWPOWER"),
    wake=b"\xff\xff\xff\xffAT+LOWPOWER=AUTOOFF\r\n",  # some were left to go to sleep after each command
)
