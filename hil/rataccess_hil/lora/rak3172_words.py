"""What a virtual RAK3172 takes as parameters, which commands are LoRaWAN's, and what it is sold with.

Rules of this file: data, and text in, values out.
"""

from __future__ import annotations

from rataccess_hil.lora.module import Bad

LORAWAN_ONLY = frozenset(
    (
        "ADR",
        "CFM",
        "CFS",
        "CLASS",
        "DCS",
        "DR",
        "JOIN",
        "LINKCHECK",
        "LPSEND",
        "MASK",
        "NJM",
        "NJS",
        "RECV",
        "RETY",
        "SEND",
    )
) | {"TIMEREQ", "TXP"}
FACTORY = {"CLASS": "A", "NJM": "1", "MASK": "0001", "LPM": "0", "PNM": "1", "DEBUG": "0"}


def flag(text: str) -> bool:
    """0 or 1; raises `Bad` otherwise."""
    if text not in ("0", "1"):
        raise Bad("AT_PARAM_ERROR")
    return text == "1"


def whole(text: str, lowest: int, highest: int) -> int:
    """A number within limits; raises `Bad` otherwise."""
    if not text.isdigit() or not lowest <= int(text) <= highest:
        raise Bad("AT_PARAM_ERROR")
    return int(text)
