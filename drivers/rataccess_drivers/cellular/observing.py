"""What a modem can tell besides carrying data: where it is, what time it is, which cells it hears, who it is.

Rules of this file: it asks and changes nothing, but for switching GNSS on and off.  Commands that a model does not have
give `None` or nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rataccess.driver import Cell, Fix
from rataccess.errors import CommandFailed
from rataccess_drivers.at.commands import Command
from rataccess_drivers.at.parsers import parse_clock
from rataccess_drivers.cellular.cells import parse_location, parse_neighbour, parse_serving
from rataccess_drivers.cellular.console import Console
from rataccess_drivers.cellular.profiles import Profile

_GNSS_OFF = 505  # CME: GNSS session not active; while there is no fix yet it is 516


@dataclass(frozen=True, slots=True)
class ModemIdentity:
    """What a modem says of itself; empty where it refuses."""

    model: str = ""
    revision: str = ""
    imei: str = ""


async def identify(console: Console, limit: float) -> ModemIdentity:
    """Ask who it is; `limit` is for each command, seconds."""
    model = await _said(console, "AT+CGMM", limit) or await _said(console, "ATI", limit)
    return ModemIdentity(model, await _said(console, "AT+CGMR", limit), await _said(console, "AT+CGSN", limit))


async def _said(console: Console, text: str, limit: float) -> str:
    """The first line of the reply that says something: `ATI` begins with the vendor's name."""
    try:
        reply = await console.run(Command(text, timeout=limit))
    except CommandFailed:
        return ""
    lines = [(line.partition(": ")[2] or line).strip().strip('"') for line in reply.lines]
    return next((line for line in lines if line not in ("", "Quectel")), "")


async def locate(console: Console, profile: Profile) -> Fix | None:
    """The fix now; switches GNSS on where it is off, and off after a fix where it shares the receiver."""
    try:
        fix = parse_location(await console.line("AT+QGPSLOC=2", "+QGPSLOC:", profile.limits.query))
    except CommandFailed as error:
        if error.code == _GNSS_OFF:
            await console.try_order(["AT+QGPS=1"], profile.limits.setting)
        return None
    if profile.gnss_shares_radio:
        await console.try_order(["AT+QGPSEND"], profile.limits.setting)
    return fix


async def network_time(console: Console, profile: Profile) -> float | None:
    """Seconds since 1970 (UTC), to the second; `None` before the network has told the time."""
    try:
        clock = parse_clock(await console.line("AT+QLTS=1", "+QLTS:", profile.limits.query))
    except CommandFailed:
        return None
    # `AT+QLTS=1` gives the time in UTC, and beside it the zone of the network (Quectel AT manuals)
    seconds = clock.seconds + 60.0 * (clock.offset_minutes or 0)
    return seconds if clock.known else None


async def cells(console: Console, profile: Profile) -> Sequence[Cell]:
    """Serving cell first; empty while it hears none."""
    found: list[Cell] = []
    for kind, parse in (("servingcell", parse_serving), ("neighbourcell", parse_neighbour)):
        try:
            lines = await console.lines(f'AT+QENG="{kind}"', "+QENG:", profile.limits.setting)
        except CommandFailed:
            continue
        found += [cell for line in lines if (cell := parse(line)) is not None]
    return found
