"""Protection of messages: bytes in, bytes out.

Rules of this floor: OSCORE (RFC 8613) with AES-CCM-16-64-128 and HKDF SHA-256 around the one shape of CoAP message
(RFC 7252) that docs/wire.md describes.  It knows no link, no record and no clock; the store is only a `Memory` to it.
Whatever arrives, however malformed, ends in a value or in `ProtectionFailed`.  No key is in any `repr`, error or log.
Why this is not a library: docs/decisions/0003-oscore.md.
"""

from rataccess.security.coap import (
    BAD_OPTION,
    BAD_REQUEST,
    CHANGED,
    CONTENT,
    INTERNAL_SERVER_ERROR,
    POST,
    SERVICE_UNAVAILABLE,
    UNAUTHORIZED,
    Header,
    peek,
)
from rataccess.security.compact import CompactHeader, low_bits, read_compact
from rataccess.security.context import SecureContext
from rataccess.security.values import Request, RequestIdentity, Response

__all__ = [
    "BAD_OPTION",
    "BAD_REQUEST",
    "CHANGED",
    "CONTENT",
    "INTERNAL_SERVER_ERROR",
    "POST",
    "SERVICE_UNAVAILABLE",
    "UNAUTHORIZED",
    "CompactHeader",
    "Header",
    "Request",
    "RequestIdentity",
    "Response",
    "SecureContext",
    "low_bits",
    "peek",
    "read_compact",
]
