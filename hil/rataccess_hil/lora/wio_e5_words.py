"""How a virtual Wio-E5 writes and reads parameters.

Rules of this file: text in, text out.
"""

from __future__ import annotations

from rataccess_hil.lora.module import Bad


def colons(data: bytes) -> str:
    """Bytes as it writes an EUI or address."""
    return data.hex(":").upper()


def unquoted(text: str) -> str:
    """A parameter without quotation marks and colons; raises `Bad` where one mark is missing."""
    plain = text.strip()
    if plain.startswith('"') != (plain.endswith('"') and len(plain) > 1):
        raise Bad("-22")
    return plain.strip('"').replace(":", "") if ":" in plain else plain.strip('"')
