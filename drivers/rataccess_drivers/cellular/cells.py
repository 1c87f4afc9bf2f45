"""Cells, fixes and clocks as Quectel modems tell them.

Rules of this file: pure functions, text in, values out; a line that is none gives `None`, whatever it holds.  Sources:
Quectel AT manuals (`QENG`, `QNWINFO`), GNSS application notes (`QGPSLOC`), replies of real modems.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from rataccess.driver import Cell, Fix
from rataccess_drivers.at.grammar import hexadecimal, plain_text, split_raw, whole_number

_RATS = {
    "LTE": "lte",
    "EMTC": "lte-m",
    "CAT-M": "lte-m",
    "CAT-M1": "lte-m",
    "NBIOT": "nb-iot",
    "NB-IOT": "nb-iot",
    "CAT-NB": "nb-iot",
    "CAT-NB1": "nb-iot",
    "NTN NBIOT": "ntn-nb-iot",
    "GSM": "gsm",
    "EDGE": "gsm",
    "WCDMA": "umts",
    "TDSCDMA": "umts",
    "NR5G-SA": "nr",
    "NR5G-NSA": "nr",
}
_LTE_RATS = ("lte", "lte-m", "nb-iot", "ntn-nb-iot")
_ANGLE = re.compile(r"(\d{2,3})(\d{2}\.\d+)([NSEW])")


def rat_name(text: str) -> str | None:
    """Our name of QENG's technology; `None` for one that is not known."""
    return _RATS.get(text.upper())


def parse_serving(line: str) -> Cell | None:
    """A `+QENG: "servingcell"` line; `None` while searching, and for technologies whose fields are not known here.

    Without its first two fields (EN-DC says those once, and then a line for each cell) it is understood as well.
    """
    fields = [plain_text(raw) for raw in _after(line, "+QENG:")]
    if fields[:1] == ["servingcell"]:
        fields = fields[2:]
    rat = rat_name(fields[0]) if fields else None
    if rat in _LTE_RATS and len(fields) >= 13:
        return _lte_cell(rat or "", fields)
    if rat == "gsm" and len(fields) >= 8:
        return _gsm_cell(fields)
    if rat == "umts" and len(fields) >= 10:
        return _umts_cell(fields)
    return None


def _lte_cell(rat: str, fields: Sequence[str]) -> Cell:
    """rat,duplex,mcc,mnc,cellid(hex),pcid,earfcn,band,ulbw,dlbw,tac(hex),rsrp,rsrq,rssi,sinr[,srxlev]."""
    return Cell(
        rat,
        True,
        mcc=_code(fields[2]),
        mnc=_code(fields[3]),
        area=hexadecimal(fields[10]),
        cell=hexadecimal(fields[4]),
        physical_cell=whole_number(fields[5]),
        channel=whole_number(fields[6]),
        band=whole_number(fields[7]),
        signal_dbm=_power(fields[11]),
        quality_db=_decibels(fields[12]),
    )


def _gsm_cell(fields: Sequence[str]) -> Cell:
    """rat,mcc,mnc,lac(hex),cellid(hex),bsic,arfcn,band,rxlev; as in Quectel's manual, not seen on a real modem."""
    return Cell(
        "gsm",
        True,
        mcc=_code(fields[1]),
        mnc=_code(fields[2]),
        area=hexadecimal(fields[3]),
        cell=hexadecimal(fields[4]),
        channel=whole_number(fields[6]),
        signal_dbm=_power(fields[8]) if len(fields) > 8 else None,
    )


def _umts_cell(fields: Sequence[str]) -> Cell:
    """rat,mcc,mnc,lac(hex),cellid(hex),uarfcn,psc,rac,rscp,ecio; as in Quectel's manual, not seen on a real modem."""
    return Cell(
        "umts",
        True,
        mcc=_code(fields[1]),
        mnc=_code(fields[2]),
        area=hexadecimal(fields[3]),
        cell=hexadecimal(fields[4]),
        physical_cell=whole_number(fields[6]),
        channel=whole_number(fields[5]),
        signal_dbm=_power(fields[8]),
        quality_db=_decibels(fields[9]),
    )


def parse_neighbour(line: str) -> Cell | None:
    """A `+QENG: "neighbourcell intra"` or `inter` line of an LTE family; `None` for others.

    Fields: kind,rat,earfcn,pcid,rsrq,rsrp,rssi,...; some firmware has rsrp before rsrq, but their ranges tell them apart.
    """
    fields = [plain_text(raw) for raw in _after(line, "+QENG:")]
    if len(fields) < 6 or not fields[0].startswith("neighbourcell"):
        return None
    rat = rat_name(fields[1])
    if rat not in _LTE_RATS:
        return None
    quality, power = fields[4:6]
    if (whole_number(quality) or 0) < (whole_number(power) or 0):
        quality, power = power, quality
    return Cell(
        rat or "",
        False,
        physical_cell=whole_number(fields[3]),
        channel=whole_number(fields[2]),
        signal_dbm=_power(power),
        quality_db=_decibels(quality),
    )


def parse_location(line: str) -> Fix | None:
    """A `+QGPSLOC:` line in any of its three forms (ddmm.mmmmN, the same with six decimals, signed degrees)."""
    fields = [plain_text(raw) for raw in _after(line, "+QGPSLOC:")]
    if len(fields) < 10:
        return None
    latitude, longitude = _degrees(fields[1], 90), _degrees(fields[2], 180)
    if latitude is None or longitude is None:
        return None
    return Fix(
        latitude,
        longitude,
        time=_moment(fields[9], fields[0]),
        altitude=_number(fields[4]),
        satellites=whole_number(fields[10]) if len(fields) > 10 else None,
    )


def _degrees(text: str, most: int) -> float | None:
    match = _ANGLE.fullmatch(text)
    value = float(match[1]) + float(match[2]) / 60 if match else _number(text)
    if match and match[3] in "SW" and value is not None:
        value = -value
    return value if value is not None and -most <= value <= most else None


def _moment(day: str, time: str) -> float | None:
    """ddmmyy and hhmmss[.sss], UTC."""
    try:
        return datetime.strptime(f"{day} {time.partition('.')[0]}", "%d%m%y %H%M%S").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def _after(line: str, prefix: str) -> list[str]:
    return split_raw(line[len(prefix) :].strip()) if line.startswith(prefix) else []


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"-?\d{1,12}(\.\d{1,12})?", text) else None


def _code(text: str) -> str | None:
    return text if text.isascii() and text.isdigit() else None


def _power(text: str) -> float | None:
    """dBm; a modem without a value says 0, 255, -32768 or nothing."""
    value = whole_number(text)
    return float(value) if value is not None and -160 <= value <= -20 else None


def _decibels(text: str) -> float | None:
    value = whole_number(text)
    return float(value) if value is not None and -60 <= value <= 0 else None
