"""Contexts of a device and its service, for tests of the compact form."""

from __future__ import annotations

from rataccess.security import SecureContext
from rataccess.security.sequence import sequence_key

KID = b"\x01"


class Book(dict[str, bytes]):
    """A `Memory` that is always on disk."""

    def put(self, key: str, value: bytes) -> None:
        self[key] = value

    put_now = put


def pair(
    secret: bytes, *, used: int = 0, device_memory: Book | None = None, service_memory: Book | None = None
) -> tuple[SecureContext, SecureContext]:
    """A device that has used so many sequence numbers, and its service."""
    memory = Book() if device_memory is None else device_memory
    if used:
        memory[sequence_key("device")] = used.to_bytes(8, "big")
    device = SecureContext(sender_id=KID, recipient_id=b"", secret=secret, memory=memory, name="device")
    book = Book() if service_memory is None else service_memory
    service = SecureContext(sender_id=b"", recipient_id=KID, secret=secret, memory=book, name="service")
    return device, service
