"""Packet data contexts: `+CGDCONT`, `+CGACT`, `+CGPADDR`, `+CGCONTRDP` (3GPP TS 27.007 clauses 10.1.1, 10.1.10, 10.1.14,
10.1.23).

Rules of this file: pure functions, one line in, one frozen value out; `CommandFailed` with the line where it is none.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from rataccess.errors import CommandFailed
from rataccess_drivers.at.grammar import parse_range, plain_text, split_raw, whole_number

# The operator identifier that networks append to an APN (TS 23.003 clause 9.1.2).
_OPERATOR_PART = re.compile(r"\.mnc[0-9]{3}\.mcc[0-9]{3}\.gprs", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Context:
    """One defined context."""

    cid: int
    pdp_type: str
    """`IP`, `IPV6`, `IPV4V6`, `Non-IP` ... as sent."""
    apn: str | None
    address: str | None


@dataclass(frozen=True, slots=True)
class ContextRange:
    """Which contexts of a type can be defined."""

    cids: tuple[int, ...]
    pdp_type: str


@dataclass(frozen=True, slots=True)
class ContextState:
    """Whether a context is active."""

    cid: int
    active: bool


@dataclass(frozen=True, slots=True)
class ContextAddresses:
    """The addresses of a context, in the usual notation; none while it has none."""

    cid: int
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ContextParameters:
    """What the network gave an active context.  What is absent is `None`."""

    cid: int
    bearer: int | None
    apn: str | None
    address: str | None = None
    mask: str | None = None
    gateway: str | None = None
    dns: tuple[str, ...] = ()


def parse_context(line: str) -> Context:
    """One line of the reply to `AT+CGDCONT?`.  Raises `CommandFailed` where it is none."""
    fields = _fields(line, "CGDCONT")
    cid = whole_number(fields[0])
    if cid is None or len(fields) < 2:
        raise CommandFailed(f"not a context: {line!r}")
    fields += [""] * (4 - len(fields))
    return Context(cid, plain_text(fields[1]), plain_text(fields[2]) or None, parse_address(fields[3]))


def parse_context_range(line: str) -> ContextRange:
    """One line of the reply to `AT+CGDCONT=?`.  Raises `CommandFailed` where it is none."""
    fields = _fields(line, "CGDCONT")
    cids = parse_range(fields[0])
    if not cids or len(fields) < 2:
        raise CommandFailed(f"not a range of contexts: {line!r}")
    return ContextRange(tuple(cids), plain_text(fields[1]))


def parse_context_state(line: str) -> ContextState:
    """One line of the reply to `AT+CGACT?`.  Raises `CommandFailed` where it is none."""
    numbers = [whole_number(raw) for raw in _fields(line, "CGACT")]
    if len(numbers) < 2 or numbers[0] is None or numbers[1] not in (0, 1):
        raise CommandFailed(f"not the state of a context: {line!r}")
    return ContextState(numbers[0], numbers[1] == 1)


def parse_addresses(line: str) -> ContextAddresses:
    """One line of the reply to `AT+CGPADDR`; `0.0.0.0` means no address.  Raises `CommandFailed` where it is none."""
    fields = _fields(line, "CGPADDR")
    cid = whole_number(fields[0])
    if cid is None:
        raise CommandFailed(f"not the addresses of a context: {line!r}")
    found = [parse_address(raw) for raw in fields[1:]]
    return ContextAddresses(
        cid, tuple(each for each in found if each and not ipaddress.ip_address(each).is_unspecified)
    )


def parse_context_parameters(line: str) -> ContextParameters:
    """One line of the reply to `AT+CGCONTRDP`.

    The mask is glued to the address (since release 9 of the standard), a field of its own after an IPv4 address, or
    absent.  Raises `CommandFailed` where the line is none.
    """
    fields = _fields(line, "CGCONTRDP")
    cid = whole_number(fields[0])
    if cid is None or len(fields) < 2:
        raise CommandFailed(f"not the parameters of a context: {line!r}")
    fields += [""] * (4 - len(fields))
    address, mask = _address_and_mask(plain_text(fields[3]))
    rest = fields[4:]
    if mask is None and rest and _is_mask(plain_text(rest[0])):
        mask = plain_text(rest.pop(0))
    gateway, *servers = [parse_address(raw) for raw in rest[:3]] or [None]
    dns = tuple(each for each in servers if each and not ipaddress.ip_address(each).is_unspecified)
    return ContextParameters(cid, whole_number(fields[1]), plain_text(fields[2]) or None, address, mask, gateway, dns)


def parse_address(raw: str) -> str | None:
    """An IP address, quoted or not, in the usual notation; `None` for anything else.

    IPv6 comes as 16 dotted decimals or with colons, depending on `AT+CGPIAF` (TS 27.007 clause 10.1.33).
    """
    text = plain_text(raw).strip()
    numbers = _octets(text)
    if numbers is not None and len(numbers) == 16:
        return str(ipaddress.IPv6Address(bytes(numbers)))
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


def same_apn(network: str | None, asked: str | None) -> bool:
    """Whether the APN that the network reports is the one asked for, which lacks the operator's part; case is ignored."""
    plain = _OPERATOR_PART.sub("", network or "").lower()
    return (network or "").lower() == (asked or "").lower() or (bool(asked) and plain == (asked or "").lower())


def _fields(line: str, name: str) -> list[str]:
    head, _, text = line.partition(":")
    if head.strip() != "+" + name:
        raise CommandFailed(f"not a +{name} reply: {line!r}")
    return split_raw(text.strip())


def _octets(text: str) -> list[int] | None:
    parts = text.split(".")
    if not all(part.isascii() and part.isdigit() and len(part) <= 3 for part in parts):
        return None
    numbers = [int(part) for part in parts]
    return numbers if max(numbers) <= 255 else None


def _address_and_mask(text: str) -> tuple[str | None, str | None]:
    numbers = _octets(text)
    if numbers is None or len(numbers) not in (8, 32):
        return parse_address(text), None
    half = len(numbers) // 2
    address, mask = (str(ipaddress.ip_address(bytes(part))) for part in (numbers[:half], numbers[half:]))
    return address, mask


def _is_mask(text: str) -> bool:
    """Whether it is an IPv4 mask: ones, then zeros.  A gateway never looks like one."""
    numbers = _octets(text)
    if numbers is None or len(numbers) != 4 or numbers[0] == 0:
        return False
    zeros = ~int.from_bytes(bytes(numbers), "big") & 0xFFFFFFFF
    return zeros & (zeros + 1) == 0
