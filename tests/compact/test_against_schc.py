"""Our outer form next to what SCHC (RFC 8724, RFC 8824) makes of the same protected message, by an implementation of it."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from rataccess.objects import Service
from rataccess.security import CHANGED, SecureContext
from tests.compact.compact_contexts import pair
from tests.security.oscore_reference import SECRET

pytest.importorskip("microschc", reason="the package microschc is not installed")

BODY = bytes(13)
TOKEN = 0x55
NUMBER = 100_001


def warmed() -> SecureContext:
    """A device whose service has just answered number 100,000."""
    device, service = pair(SECRET, used=NUMBER - 1)
    packet, identity = device.protect_compact(b"", Service.SOLUTION)
    request = service.unprotect_compact(packet)
    service.replay_state()
    device.unprotect_compact_response(service.protect_response(request, CHANGED, b"", message_id=0), identity)
    return device


def part(name: str) -> Any:
    """A module of microschc, which has no types."""
    return importlib.import_module(f"microschc.{name}")


def compressed(datagram: bytes) -> Any:
    """What microschc makes of it by a rule made for it by hand: all that RFC 8824 sections 6.4 and 7.3 can leave off.

    Its parser takes the option's value as one field, so that the kid, which stands behind the Partial IV, is sent with the
    lowest 12 bits of that; with fields of their own, as RFC 8824 has them, the kid would not be: `KID_BITS` less.
    """
    buffer = part("binary.buffer").Buffer
    rfc8724, fields_of_coap = part("rfc8724"), part("protocol.coap").CoAPFields
    action, direction, operator = rfc8724.CDA, rfc8724.DI, rfc8724.MO
    parser = part("protocol.registry").factory("CoAP")
    packet = parser.parse(buffer(content=datagram, length=8 * len(datagram)))
    packet.direction = direction.UP
    sent = {fields_of_coap.TOKEN: 8, fields_of_coap.OPTION_VALUE: 12 + KID_BITS}
    fields = []
    for field in packet.fields:
        low = sent.get(field.id, 0)
        known = field.value[0 : field.value.length - low] if low else field.value
        how = (operator.MSB, action.LSB) if low else (operator.EQUAL, action.NOT_SENT)
        if field.id == fields_of_coap.TOKEN:
            how, known = (operator.IGNORE, action.VALUE_SENT), None
        described = (field.id, field.value.length, field.position, direction.UP, known)
        fields.append(rfc8724.RuleFieldDescriptor(*described, *how))
    rule = rfc8724.RuleDescriptor(buffer(content=b"\x01", length=3), rfc8724.RuleNature.COMPRESSION, fields)
    ruler = part("ruler.ruler").Ruler([rule])
    found = part("compressor.compressor").compress(packet, next(ruler.match_packet_descriptor(packet)))
    back = part("decompressor.decompressor").decompress(found, ruler.match_schc_packet(found))
    assert back.content == datagram, "it can be undone"
    return found


KID_BITS = 8


def test_the_outer_form_is_no_larger_than_what_schc_makes_of_the_same_message() -> None:
    device = warmed()
    usual, _ = device.protect_request(BODY, token=bytes([TOKEN]), message_id=7)
    device = warmed()
    ours, _ = device.protect_compact(BODY, Service.SOLUTION)
    schc = compressed(usual)
    inner = (
        2 * 8
    )  # code and marker, which a rule for the inner part leaves off (RFC 8824 section 7.2) for an id of its own
    inner_rule = 3
    least = schc.length - KID_BITS - inner + inner_rule
    assert (len(usual), (schc.length + 7) // 8, (least + 7) // 8, len(ours)) == (35, 27, 25, 23)
    assert len(ours) * 8 <= least
