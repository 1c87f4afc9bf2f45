"""How people write LoRaWAN keys.

Rules of this file: text only; no key is ever in an error or a log.
"""

from __future__ import annotations

import re


def plain_digits(text: str) -> str:
    """A key without what people and network servers put between its digits: blanks, colons, commas, hyphens; upper case."""
    return re.sub(r"[\s:,-]", "", text).upper()


def is_key(digits: str) -> bool:
    """Whether these are the 32 hexadecimal digits of an AES-128 key, as `plain_digits` returns them."""
    return re.fullmatch(r"[0-9A-F]{32}", digits) is not None
