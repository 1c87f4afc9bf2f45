"""Microchip RN2483 and RN2903.

Rules of this file: data of one module.  Sources: public drivers, Microchip DS40001784G and
DS40001811B (command references).  Answers are one lower-case word; what is on the air follows in a second line.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rataccess_drivers.lora.modules.commands import Command
from rataccess_drivers.lora.modules.events import Kind, Why, pattern
from rataccess_drivers.lora.modules.profile import Profile, Setting, order, question

TABLE = (
    pattern(Kind.OK, r"(?-i:ok)"),
    pattern(Kind.JOINED, r"accepted"),
    pattern(Kind.JOIN_FAILED, r"denied"),
    pattern(Kind.SENT, r"mac_tx_ok"),
    pattern(Kind.DOWNLINK, r"mac_rx +(?P<port>\d{1,3})(?: +(?P<data>[0-9A-Fa-f]*))?"),
    pattern(Kind.FAILED, r"mac_err"),
    pattern(Kind.RAW, r"radio_(?:tx_ok|err)"),
    pattern(Kind.RAW, r"radio_rx +(?P<data>[0-9A-Fa-f]*)"),
    pattern(Kind.REFUSED, r"invalid_data_len", Why.LENGTH),
    pattern(Kind.REFUSED, r"invalid_param", Why.PARAMETER),
    pattern(Kind.REFUSED, r"(?:err_)?not_joined", Why.NOT_JOINED),
    pattern(Kind.REFUSED, r"no_free_ch", Why.NO_CHANNEL),
    pattern(Kind.REFUSED, r"silent", Why.SILENCED),
    pattern(Kind.REFUSED, r"busy", Why.BUSY),
    pattern(Kind.REFUSED, r"mac_paused", Why.PAUSED),
    pattern(Kind.REFUSED, r"keys_not_init", Why.KEYS),
    pattern(Kind.REFUSED, r"fram\w{0,2}_counter_err_rejoin_needed", Why.COUNTER),
    pattern(Kind.BOOTED, r"(?P<value>RN\d{4}\w? \d+\.\d+\.\d+\S*(?: .*)?)"),
    pattern(Kind.VALUE, r"(?P<value>[0-9A-Za-z][0-9A-Za-z_.,:/ -]{0,79})"),
)


VERSION = r"^(RN\d{4}\w?) (\d+\.\d+\.\d+\S*)"


def _ask(text: str, expect: str) -> Command:
    return question(text, expect, ends=Kind.VALUE)


def _uplink(port: int, digits: str, confirmed: bool) -> Sequence[Command]:
    kind = "cnf" if confirmed else "uncnf"
    limit = 180.0 if confirmed else 30.0  # eight transmissions with two windows each, at the slowest data rate
    ends = frozenset({Kind.SENT, Kind.DOWNLINK, Kind.FAILED})
    enough = frozenset() if confirmed else frozenset({Kind.OK})
    text, shown = f"mac tx {kind} {port} {digits}", f"mac tx {kind} {port} ..."
    return (Command(text, ends, shown, after=Kind.OK, enough=enough, limit=limit),)


def _sub_band(word: str) -> Sequence[Command]:
    number = int(word)
    mine = {*range(8 * (number - 1), 8 * number), 63 + number}
    return tuple(order(f"mac set ch status {each} {'on' if each in mine else 'off'}") for each in range(72))


def _joined(answer: str, model: str) -> bool:
    """ "Joined" is bit 0 before firmware 1.0.4, of 16 or 32 bits; bit 4 of 32 since, with the state of the MAC before it."""
    found = re.match(VERSION, model)
    version = [int(part) for part in re.findall(r"\d+", found[2])[:3]] if found is not None else [1, 0, 5]
    old = version < [1, 0, 4] or len(answer) <= 4
    return bool(int(answer, 16) & (0x01 if old else 0x10))


def _setting(name: str, word: str, expect: str) -> Setting:
    return Setting(name, _ask(f"mac get {word}", expect), lambda value: (order(f"mac set {word} {value}"),))


EUI = r"^([0-9A-Fa-f]{16})$"

RN2483 = Profile(
    name="RN2483 or RN2903",
    model=re.compile(VERSION),
    table=TABLE,
    baudrates=(57_600,),
    probe=Command("sys get ver", frozenset({Kind.BOOTED}), expect=re.compile(VERSION), first=2.0, limit=2.0),
    identify=Command("sys get ver", frozenset({Kind.BOOTED}), expect=re.compile(VERSION), first=2.0, limit=2.0),
    settings=(
        Setting(
            "region",
            _ask("mac get band", r"^(433|868)$"),
            lambda word: (order(f"mac reset {word}"),),
            {"EU868": "868"},
            needed=False,  # an RN2903 has one band only, and does not know the question
        ),
        _setting("adr", "adr", r"^(on|off)$"),
        Setting("sub_band", None, _sub_band),
        _setting("dev_eui", "deveui", EUI),
        _setting("join_eui", "appeui", EUI),
        _setting("data_rate", "dr", r"^(\d{1,2})$"),
    ),
    ask_dev_eui=_ask("mac get deveui", EUI),
    join=Command("mac join otaa", frozenset({Kind.JOINED, Kind.JOIN_FAILED}), after=Kind.OK, limit=60.0),
    uplink=_uplink,
    ask_data_rate=_ask("mac get dr", r"^(\d{1,2})$"),
    key=lambda key: order(f"mac set appkey {key}", shown="mac set appkey ..."),
    reset=Command("sys reset", frozenset({Kind.BOOTED}), first=5.0, limit=5.0),
    models={"RN2483": ("EU868",), "RN2903": ("US915",)},
    ask_joined=_ask("mac get status", r"^([0-9A-Fa-f]{4,8})$"),
    joined=_joined,
    hides_activation=True,
    ask_retries=_ask("mac get retx", r"^(\d{1,3})$"),
    ask_counter=_ask("mac get upctr", r"^(\d{1,10})$"),
    hardware_eui=_ask("sys get hweui", EUI),
    save=order("mac save", limit=10.0),
    resume=order("mac resume"),
    link_check=order("mac set linkchk 60"),
    rest=order("sys sleep 4294967295"),
    rests_silently=True,
    wake=b"\x55",
    breaks=True,
    stranger=b"AT\r\n",
    acked=frozenset({Kind.SENT, Kind.DOWNLINK}),
    misheard=frozenset({Why.PARAMETER}),  # it has one word for all that it does not understand
)
