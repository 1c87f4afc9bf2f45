"""The OSCORE context that aiocoap's client and server share: AES-CCM-16-64-128, as ours; files as aiocoap wants them."""

from __future__ import annotations

import json
from pathlib import Path

SECRET = "0102030405060708090a0b0c0d0e0f10"


def context(folder: Path, sender: str, recipient: str) -> Path:
    """Write a fresh security context and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "algorithm": "AES-CCM-16-64-128",
        "kdf-hashfun": "sha256",
        "sender-id_hex": sender,
        "recipient-id_hex": recipient,
        "secret_hex": SECRET,
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    return folder
