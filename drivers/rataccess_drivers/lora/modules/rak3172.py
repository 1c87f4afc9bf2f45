"""RAKwireless modules with the RUI3 firmware (RAK3172, RAK4630, RAK3272S ...).

Rules of this file: data of one module and the little that only it can do.  Sources: public drivers
(event and status words), RAKwireless RUI3 AT command manual.  Blanks and underscores in events differ between firmwares.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rataccess_drivers.lora.modules.commands import Command
from rataccess_drivers.lora.modules.events import Kind, Why, pattern
from rataccess_drivers.lora.modules.profile import Profile, Setting, order, question

TABLE = (
    pattern(Kind.OK, r"OK"),
    pattern(
        Kind.DOWNLINK,
        r"\+EVT: ?RX[ _]?\w{1,2} ?: ?(?P<rssi>-?\d{1,4}) ?: ?(?P<snr>-?\d{1,4}(?:\.\d+)?) ?: ?(?:UNICAST|MULTICAST)"
        r" ?: ?(?P<port>\d{1,3}) ?: ?(?P<data>[0-9A-F]*)",
    ),
    pattern(
        Kind.SIGNAL,
        r"\+EVT: ?RX[ _]?\w{1,2}, ?RSSI[ =:]*(?P<rssi>-?\d{1,4}), ?SNR[ =:]*(?P<snr>-?\d{1,4}(?:\.\d+)?)",
    ),
    pattern(Kind.DOWNLINK, r"\+EVT: ?(?P<port>\d{1,3}) ?: ?(?P<data>[0-9A-F]*)"),
    pattern(Kind.JOINED, r"\+EVT: ?JOINED"),
    pattern(Kind.JOIN_FAILED, r"\+EVT: ?JOIN[ _]?FAILED[ _:]?(?P<value>.*)"),
    pattern(Kind.SENT, r"\+EVT: ?TX[ _]?DONE"),
    pattern(Kind.ACKED, r"\+EVT: ?SEND[ _]CONFIRMED[ _]OK"),
    # The number is why the stack gave up (4: nothing in RX2), not how often it sent.
    pattern(Kind.NOT_ACKED, r"\+EVT: ?SEND[ _]CONFIRMED[ _]FAILED[ _:]?\(?(?P<number>\d{1,3})?\)?"),
    pattern(Kind.TIME, r"\+EVT: ?TIMEREQ[ _]OK"),
    pattern(Kind.MARGIN, r"\+EVT: ?LINKCHECK[ _:]+0:(?P<margin>\d{1,3}):(?P<gateways>\d{1,3})(?::.*)?"),
    pattern(Kind.BOOTED, r"(?:Current Work Mode:|RAKwireless ).*"),
    pattern(Kind.REFUSED, r"AT_NO_NETWORK_JOINED", Why.NOT_JOINED),
    pattern(Kind.REFUSED, r"AT_BUSY_ERROR", Why.BUSY),
    pattern(Kind.REFUSED, r"AT_DUTY_?CYC?LE_RESTRICTED(?:\D{0,8}(?P<ms>\d{1,10})[ _]?ms\W*)?", Why.DUTY),
    # AT_BUSY_ERROR follows, which some take for the whole answer.
    pattern(Kind.REFUSED, r"\W*Restricted[ _]Wait(?:\D{0,8}(?P<ms>\d{1,10})[ _]?ms\W*)?", Why.DUTY, prelude=True),
    pattern(Kind.REFUSED, r"AT_(?:TEST_)?PARAM_(?:ERROR|OVERFLOW)", Why.PARAMETER),
    pattern(Kind.REFUSED, r"AT_COMMAND_NOT_FOUND", Why.UNKNOWN),
    pattern(Kind.REFUSED, r"AT_RX_ERROR", Why.GARBLED),
    pattern(Kind.REFUSED, r"AT_MODE_NO_SUPPORT", Why.MODE),
    pattern(Kind.REFUSED, r"AT_CRYPTO_ERROR", Why.KEYS),
    pattern(Kind.REFUSED, r"(?:AT_[A-Z_]{2,30}|ERROR)", Why.OTHER),
    pattern(Kind.VALUE, r"AT\+(?P<name>[A-Z]+)=(?P<value>.*)"),
    pattern(Kind.VALUE, r"(?P<value>[0-9A-Z][0-9A-Z_.:/ -]{0,79})"),
)

BANDS = {
    "IN865": "3",
    "EU868": "4",
    "US915": "5",
    "AU915": "6",
    "AS923": "8",
    "AS923-2": "9",
    "AS923-3": "10",
    "AS923-4": "11",
}
"""`AT+BAND`."""


def _uplink(port: int, digits: str, confirmed: bool) -> Sequence[Command]:
    ends = {Kind.ACKED, Kind.NOT_ACKED} if confirmed else {Kind.SENT, Kind.ACKED, Kind.NOT_ACKED}
    limit = 180.0 if confirmed else 30.0  # eight transmissions with two windows each, at the slowest data rate
    return (
        Command(
            f"AT+SEND={port}:{digits}",
            frozenset(ends),
            f"AT+SEND={port}:...",
            after=Kind.OK,
            # Early RUI3 says nothing at the end of an unconfirmed uplink; and one that confirms nothing says TX_DONE.
            enough=frozenset({Kind.SENT} if confirmed else {Kind.OK}),
            limit=limit,
        ),
    )


def _ask(name: str, expect: str) -> Command:
    return question(f"AT+{name}=?", expect, name)


def _setting(
    name: str, at: str, expect: str, words: dict[str, str] | None = None, *, restarts: bool = False
) -> Setting:
    return Setting(name, _ask(at, expect), lambda word: (order(f"AT+{at}={word}", at),), words, restarts)


ON_OFF = {"on": "1", "off": "0"}
SUB_BANDS = {str(number): f"{1 << (number - 1):04X}" for number in range(1, 9)}

RAK3172 = Profile(
    name="RAK3172 (RUI3)",
    model=re.compile(r"RUI|RAK|^v?\d+\.\d+", re.IGNORECASE),
    table=TABLE,
    baudrates=(115_200, 9_600, 57_600, 38_400, 19_200),
    probe=order("AT", limit=2.0),
    identify=question("AT+VER=?", r"(.+)", "VER", limit=2.0),
    settings=(
        _setting("mode", "NWM", r"^(\d)$", {"lorawan": "1"}, restarts=True),
        _setting("region", "BAND", r"^(\d{1,2})\b", BANDS, restarts=True),
        _setting("activation", "NJM", r"^(\d)$", {"otaa": "1"}),
        _setting("class", "CLASS", r"^([ABC])\b"),
        _setting("adr", "ADR", r"^(\d)$", ON_OFF),
        _setting("confirm", "CFM", r"^(\d)$", ON_OFF),
        Setting(
            "sleep", _ask("LPM", r"^([01])$"), lambda word: (order(f"AT+LPM={word}", "LPM"),), ON_OFF, needed=False
        ),
        Setting("duty_cycle", _ask("DCS", r"^([01])$"), lambda word: (order(f"AT+DCS={word}", "DCS"),), ON_OFF),
        _setting("sub_band", "MASK", r"^([0-9A-Fa-f]{4})\b", SUB_BANDS),
        _setting("dev_eui", "DEVEUI", r"^([0-9A-Fa-f]{16})$"),
        _setting("join_eui", "APPEUI", r"^([0-9A-Fa-f]{16})$"),
        _setting("data_rate", "DR", r"^(\d{1,2})$"),
    ),
    ask_dev_eui=_ask("DEVEUI", r"^([0-9A-Fa-f]{16})$"),
    # No second attempt by the module itself: back-off is ours, and known to supervision.
    join=Command("AT+JOIN=1:0:8:0", frozenset({Kind.JOINED, Kind.JOIN_FAILED}), after=Kind.OK, limit=60.0),
    uplink=_uplink,
    ask_data_rate=_ask("DR", r"^(\d{1,2})$"),
    key=lambda key: order(f"AT+APPKEY={key}", "APPKEY", shown="AT+APPKEY=..."),
    reset=order("ATZ", limit=2.0),
    ask_joined=_ask("NJS", r"^([01])$"),
    joined=lambda answer, model: answer == "1",
    ask_retries=_ask("RETY", r"^(\d)$"),
    wake=b"+++",  # ends its transparent mode; before a command, it has that said again
    mark=re.compile(r"\+EVT:"),
    sends_by_itself=True,
    link_check=order("AT+LINKCHECK=1"),
    ask_time=order("AT+TIMEREQ=1"),
)

LOCAL_TIME = question("AT+LTIME=?", r"(\d{1,2})h(\d{1,2})m(\d{1,2})s on (\d{1,2})/(\d{1,2})/(\d{4})", "LTIME")
