"""Settings that the modem keeps in its flash: technologies, bands, power saving, the APN.

Rules of this file: each is read first and written only where it differs, because flash wears out and some settings make
the modem search anew.  `wanted_*` are pure.  Values are compared as the modem gives them back: numbers by value, masks as
hexadecimal numbers, a scan sequence by its beginning (the modem completes it).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from rataccess.errors import CommandFailed, ConfigurationError
from rataccess_drivers.at.grammar import plain_text, quote
from rataccess_drivers.at.parsers import parse_context, same_apn
from rataccess_drivers.cellular.console import Console
from rataccess_drivers.cellular.options import PdpType, QuectelOptions, Rat
from rataccess_drivers.cellular.profiles import Profile, Selection

PDP_NAMES = {PdpType.IPV4: "IP", PdpType.IPV6: "IPV6", PdpType.IPV4V6: "IPV4V6"}

# Units of T3412 extended and T3324 (3GPP TS 24.008 clauses 10.5.7.4a and 10.5.7.3): seconds, three bits; values are 5 bits.
_TAU_UNITS = ((2, 0b011), (30, 0b100), (60, 0b101), (600, 0b000), (3_600, 0b001), (36_000, 0b010), (1_152_000, 0b110))
_ACTIVE_UNITS = ((2, 0b000), (60, 0b001), (360, 0b010))

# eDRX cycles, seconds by 4-bit value (3GPP TS 24.008 table 10.5.5.32); NB-IoT lacks those that are left out.
_LTE_CYCLES = (
    (5.12, 0),
    (10.24, 1),
    (20.48, 2),
    (40.96, 3),
    (61.44, 4),
    (81.92, 5),
    (102.4, 6),
    (122.88, 7),
    (143.36, 8),
    (163.84, 9),
    (327.68, 10),
    (655.36, 11),
    (1310.72, 12),
    (2621.44, 13),
)
_NB_CYCLES = (
    *(entry for entry in _LTE_CYCLES if entry[1] in (2, 3, 5, 9, 10, 11, 12, 13)),
    (5242.88, 14),
    (10485.76, 15),
)


def timer_bits(seconds: float, units: Sequence[tuple[int, int]]) -> str:
    """A timer of 8 bits that is at least `seconds`, in the finest unit that holds it; the longest one beyond that."""
    for unit, code in units:
        count = -int(-seconds // unit)
        if count <= 31:
            return f"{code:03b}{count:05b}"
    return f"{units[-1][1]:03b}11111"


def tau_bits(seconds: float) -> str:
    """T3412 extended."""
    return timer_bits(seconds, _TAU_UNITS)


def active_time_bits(seconds: float) -> str:
    """T3324."""
    return timer_bits(seconds, _ACTIVE_UNITS)


def cycle_bits(seconds: float, *, narrow_band: bool) -> str:
    """The shortest eDRX cycle that is at least `seconds`, as 4 bits; the longest one beyond that."""
    cycles = _NB_CYCLES if narrow_band else _LTE_CYCLES
    return f"{next((code for cycle, code in cycles if cycle >= seconds), cycles[-1][1]):04b}"


def band_mask(bands: Sequence[int]) -> int:
    """Bit n-1 for band n (Quectel `QCFG="band"`)."""
    return sum(1 << (band - 1) for band in set(bands))


def wanted_technologies(rats: Sequence[Rat], selection: Selection) -> dict[str, str]:
    """QCFG names and values that allow `rats` in that order; nothing for an empty list.

    Raises `ConfigurationError` for a technology that the family does not have.
    """
    if not rats:
        return {}
    automatic = rats[0] is Rat.AUTO
    chosen = frozenset(selection.codes if automatic else rats)
    unknown = sorted(chosen - set(selection.codes))
    if unknown:
        raise ConfigurationError(
            f"rat {', '.join(unknown)} is not in this modem; it has {', '.join(sorted(selection.codes))}"
        )
    wanted = {"nwscanmode": "0" if automatic else selection.modes.get(chosen, "0")}
    wanted["nwscanseq"] = "00" if automatic else "".join(selection.codes[rat] for rat in rats)
    iot = frozenset(rat for rat in chosen if rat in (Rat.LTE_M, Rat.NB_IOT))
    if iot in selection.iot_modes:
        wanted["iotopmode"] = selection.iot_modes[iot]
    return wanted


def is_set(name: str, found: str, wanted: str) -> bool:
    """Whether the modem's value `found` of a QCFG name says what is wanted."""
    found = plain_text(found)
    if name == "nwscanseq":
        return found.startswith(wanted) if wanted != "00" else found.strip("0") == ""
    return found.lstrip("0") == wanted.lstrip("0")


def wanted_bands(found: Sequence[str], bands: Mapping[Rat, Sequence[int]], selection: Selection) -> list[str] | None:
    """The masks to write, in hexadecimal, or `None` where those `found` say it already.

    Raises `ConfigurationError` for a technology whose bands cannot be chosen, `CommandFailed` for masks that are none.
    """
    masks = [_mask(raw) for raw in found]
    new = list(masks)
    for rat, wanted in bands.items():
        index = selection.band_fields.get(rat)
        if index is None:
            raise ConfigurationError(f"bands of {rat} cannot be chosen in this modem")
        if index >= len(new):
            raise CommandFailed(f"the modem gives {len(found)} band masks, too few for {rat}")
        new[index] = band_mask(wanted)
    if any(mask is None for mask in new):
        raise CommandFailed(f"not band masks: {found}")
    return None if new == masks else [f"{mask:x}" for mask in new]


def _mask(raw: str) -> int | None:
    """A mask; those of LTE-M are longer than 64 bits."""
    digits = plain_text(raw).strip().lower().removeprefix("0x")
    return int(digits, 16) if re.fullmatch(r"[0-9a-f]{1,32}", digits) else None


class FlashSettings:
    """Brings one modem's settings in line with its options."""

    def __init__(self, console: Console, profile: Profile, options: QuectelOptions) -> None:
        self._console = console
        self._profile = profile
        self._options = options

    async def differences(self) -> list[str]:
        """The commands that are needed; none where everything is as configured.

        Raises `ConfigurationError` where the modem cannot do what is configured.
        """
        needed = await self._technologies()
        needed += await self._bands()
        needed += await self._context()
        needed += await self._power_saving()
        needed += await self._paging()
        return needed

    async def _read(self, name: str) -> list[str]:
        """The values of a QCFG name."""
        limit = self._profile.limits.setting
        for first, *values in await self._console.ask(f'AT+QCFG="{name}"', "+QCFG:", limit):
            if plain_text(first) == name:
                return values
        raise CommandFailed(f"{self._console.name} does not tell its setting {name!r}")

    async def _technologies(self) -> list[str]:
        needed = []
        for name, value in wanted_technologies(self._options.rat, self._profile.selection).items():
            found = await self._read(name)
            if not found or not is_set(name, found[0], value):
                needed.append(f'AT+QCFG="{name}",{value},1')
        return needed

    async def _bands(self) -> list[str]:
        if not self._options.bands:
            return []
        new = wanted_bands(await self._read("band"), self._options.bands, self._profile.selection)
        return [f'AT+QCFG="band",{",".join(new)},1'] if new else []

    async def _context(self) -> list[str]:
        """The context that LTE attaches with; an APN that is not configured leaves the modem's."""
        options, kind = self._options, PDP_NAMES[self._options.pdp_type]
        if not options.apn:
            return []
        for line in await self._console.lines("AT+CGDCONT?", "+CGDCONT:", self._profile.limits.setting):
            found = parse_context(line)
            if found.cid == options.context and found.pdp_type.upper() == kind and same_apn(found.apn, options.apn):
                return []
        return [f'AT+CGDCONT={options.context},"{kind}",{quote(options.apn)}']

    async def _power_saving(self) -> list[str]:
        if not self._profile.lpwa:
            return self._unsupported(self._options.psm, "PSM")
        psm = self._options.psm
        try:
            found = await self._console.ask("AT+CPSMS?", "+CPSMS:", self._profile.limits.setting)
        except CommandFailed:
            if psm is None:
                return []
            raise
        fields = [plain_text(raw) for raw in found[0]] if found else []
        if psm is None:
            return ["AT+CPSMS=0"] if fields[:1] == ["1"] else []
        tau, active = tau_bits(psm.periodic_tau), active_time_bits(psm.active_time)
        return [] if fields[:1] + fields[3:5] == ["1", tau, active] else [f'AT+CPSMS=1,,,"{tau}","{active}"']

    async def _paging(self) -> list[str]:
        edrx = self._options.edrx
        if edrx is None or not self._profile.lpwa:
            return self._unsupported(edrx, "eDRX")
        found: dict[str, str] = {}
        for fields in await self._console.ask("AT+CEDRXS?", "+CEDRXS:", self._profile.limits.setting):
            if len(fields) > 1:
                found[fields[0]] = plain_text(fields[1])
        # 27.007 clause 7.40: 4 is LTE with LTE-M, 5 is NB-IoT
        wanted = {kind: cycle_bits(edrx.cycle, narrow_band=kind == "5") for kind in ("4", "5")}
        return [f'AT+CEDRXS=1,{kind},"{bits}"' for kind, bits in wanted.items() if found.get(kind) != bits]

    def _unsupported(self, setting: object | None, name: str) -> list[str]:
        if setting is not None:
            raise ConfigurationError(f"{self._profile.name} modems have no {name}")
        return []
