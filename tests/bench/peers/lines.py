"""JSON lines to and from the bench; only the standard library.

Rules of this file: shared by all programs of this folder, which stands first on their path.
"""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Iterator
from typing import Any


def say(**what: object) -> None:
    """One line to the bench."""
    print(json.dumps(what), flush=True)  # noqa: T201


def commands() -> Iterator[dict[str, Any]]:
    """What the bench says, until it ends."""
    for line in sys.stdin:
        yield json.loads(line)


def payloads(command: dict[str, Any]) -> list[bytes]:
    """The bytes to send, one for each message."""
    return [base64.b64decode(each) for each in command["payloads"]]


def event(number: int) -> bytes:
    """An event that tells when it was made."""
    return json.dumps({"temp": 21.5, "hum": 48, "volt": 3.71, "n": number, "t": time.time()}).encode()
