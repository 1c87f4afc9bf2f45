"""`rataccess send`: enqueue one object, by the device that runs on this machine or, where none does, by opening it.

Rules of this file: it reads the object, asks, and prints what became of the record.  A device's store belongs to one
process, so a running one is asked over its control socket (`rataccess.device.requests` has the protocol).
"""

from __future__ import annotations

import asyncio
import base64
import json
import math
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rataccess import errors
from rataccess.cli.status import fetch
from rataccess.config import Configuration, load
from rataccess.device import AsyncDevice
from rataccess.device.requests import answers
from rataccess.errors import Closed, ObjectError, RataccessError
from rataccess.objects import Object, ReceiptState, Service, Urgency, encode

PATIENCE = 30.0
"""Seconds that a running device may take to accept a record: a commit on a slow card, behind others."""
DELIVERY = 60.0
"""Seconds that a record is waited for where this command opens the device itself and `--wait` does not say: who opens the
device must keep it open until the record is delivered, or it waits for the next who does."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be enqueued, and how."""

    value: Object
    service: Service
    queue: str = "default"
    urgency: Urgency = Urgency.ROUTINE
    ttl: float | None = None
    max_cost: float | None = None
    links: Sequence[str] = ()

    def request(self, wait: float | None) -> dict[str, object]:
        """As `rataccess.device.requests` takes it."""
        return {
            "do": "enqueue",
            "service": str(self.service),
            "cbor": base64.b64encode(encode(self.value)).decode(),
            "queue": self.queue,
            "urgency": self.urgency.name.lower(),
            "ttl": self.ttl,
            "max_cost": self.max_cost,
            "links": list(self.links),
            "wait": wait,
        }


def read_object(text: str | None, file: Path | None) -> Object:
    """The object that is given as JSON, or in `file`: JSON, CBOR where the name ends in `.cbor`; `-` is standard input.

    Raises `ObjectError`.
    """
    if (text is None) == (file is None):
        raise ObjectError("give the object either as JSON, with - for standard input, or with --file")
    try:
        if file is not None:
            data = file.read_bytes()
            return _cbor(data) if file.suffix == ".cbor" else _json(data)
        return _json(sys.stdin.buffer.read() if text == "-" else (text or "").encode())
    except OSError as error:
        raise ObjectError(f"{file} cannot be read: {error.strerror}") from error


def _cbor(data: bytes) -> Object:
    from rataccess.objects import decode

    return decode(data)


def _json(data: bytes) -> Object:
    try:
        found: Object = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ObjectError(
            f"the object is not JSON: {error}; put text into quotation marks within quotes: '\"text\"'"
        ) from error
    return found


def send(wish: Wish, config: Path | None, wait: float | None) -> ReceiptState:
    """Enqueue it and print its number and state; returns the last state known.

    Raises what `AsyncChannel.enqueue` raises, `ConfigurationError`, and what opening a device raises.
    """
    configuration = load(config)
    path = Path(configuration.device.state) / "control.sock"
    request = wish.request(wait)
    try:
        connection = _connected(path)
    except OSError:
        return asyncio.run(_by_itself(configuration, wish.request(DELIVERY if wait is None else wait)))
    with connection:
        connection.settimeout(PATIENCE + (wait or 0.0))
        state = _told(_ask(connection, request))
    if wait is not None and state is not ReceiptState.DELIVERED:
        _say_why(fetch(config)["explanation"])
    return state


def _say_why(explanation: str) -> None:
    """What the links are busy with, for whoever waited in vain."""
    links = explanation.partition("\nlatest decisions:")[0]
    sys.stderr.write(f"not delivered yet; {links}\n")


def _connected(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(path))
    except OSError:
        connection.close()
        raise
    return connection


def _ask(connection: socket.socket, request: dict[str, object]) -> Iterator[dict[str, Any]]:
    try:
        connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile("rb") as answered:
            for line in answered:
                yield json.loads(line)
    except (OSError, ValueError) as error:
        raise Closed(
            f"the running device stopped answering: {error}; whether the record was accepted is not known"
        ) from error


async def _by_itself(configuration: Configuration, request: dict[str, object]) -> ReceiptState:
    sys.stderr.write(f"no device {configuration.device.serial_number!r} runs here: opening it\n")
    device = AsyncDevice.open(configuration)
    await device.start()
    try:
        state = _told([answer async for answer in answers(device, json.dumps(request).encode())])
        if state is not ReceiptState.DELIVERED:
            _say_why(device.explain())
        return state
    finally:
        await device.aclose()


def _told(found: Sequence[dict[str, Any]] | Iterator[dict[str, Any]]) -> ReceiptState:
    state: ReceiptState | None = None
    for answer in found:
        if "error" in answer:
            raise _error(answer)
        if "state" not in answer:
            raise Closed("the running device is an older one, which takes no requests; nothing was enqueued")
        state = ReceiptState(answer["state"])
        print(f"record {answer['number']}: {state}", flush=True)
    if state is None:
        raise Closed("the running device closed without an answer; whether the record was accepted is not known")
    return state


def _error(answer: dict[str, Any]) -> RataccessError:
    """The error that the device named, where it takes nothing but a message; else what is nearest."""
    kind = getattr(errors, str(answer.get("kind")), RataccessError)
    if (
        not (isinstance(kind, type) and issubclass(kind, RataccessError))
        or kind.__init__ is not RataccessError.__init__
    ):
        kind = RataccessError
    return kind(str(answer["error"]))


def check_seconds(name: str, seconds: float | None) -> None:
    """Raises `ObjectError` for what is no number of seconds above 0."""
    if seconds is not None and not 0 < seconds < math.inf:
        raise ObjectError(f"--{name} {seconds}: seconds, above 0")
