"""What networks call a device: the kinds of names, and what each looks like.

Rules of this file: pure.
"""

from __future__ import annotations

import re

from rataccess.errors import ConfigurationError

_HEX = "0123456789abcdef"
_SEPARATORS = re.compile(r"[:\-\s]")
KINDS = {
    "deveui": "16 hexadecimal digits",
    "imei": "15 digits",
    "lora": "6 hexadecimal digits: network and address in private LoRa, such as 2a0005",
    "notecard": "1 to 64 printable characters without blanks: product and device",
}
"""Each kind, and what its names look like."""


def check_identity(kind: str, name: str) -> str:
    """The name as it is kept: in lower case, a EUI without separators.  Raises `ConfigurationError`."""
    if kind not in KINDS:
        raise ConfigurationError(f"{kind!r:.40} is no kind of identity; allowed: {', '.join(KINDS)}")
    found = name.strip().lower()
    if kind in ("deveui", "lora"):
        found = _SEPARATORS.sub("", found)
    fits = {
        "deveui": len(found) == 16 and set(found) <= set(_HEX),
        "imei": len(found) == 15 and found.isascii() and found.isdigit(),
        "lora": len(found) == 6 and set(found) <= set(_HEX),
        "notecard": 1 <= len(found) <= 64 and found.isprintable() and " " not in found,
    }
    if not fits[kind]:
        raise ConfigurationError(f"{kind} is {KINDS[kind]}, not {name!r:.80}")
    return found


def oddity(kind: str, name: str) -> str | None:
    """What is odd about a name that is allowed, or `None`."""
    if kind == "imei" and not luhn(name):
        return f"imei {name} fails the check of its last digit (Luhn); is a digit wrong?"
    if kind == "deveui" and name in ("0" * 16, "f" * 16):
        return f"deveui {name} is nobody's"
    return None


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others (3GPP TS 23.003 annex B)."""
    doubled = [int(each) * (1 + at % 2) for at, each in enumerate(reversed(digits))]
    return sum(each // 10 + each % 10 for each in doubled) % 10 == 0
