"""LoRaWAN 1.0.x cryptography of the virtual network: keys, message integrity, payloads, join-accepts.

Rules of this file: AES and CMAC of `cryptography`, put together as LoRaWAN L2 1.0.4 (sections 4.3.3, 4.4, 6.2.4 to 6.2.6)
has it, independently of the library.  Byte strings are as on the air (little-endian).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC

UP, DOWN = 0, 1


@dataclass(frozen=True, slots=True)
class SessionKeys:
    """The two keys of a 1.0.x session."""

    network: bytes = field(repr=False)
    """NwkSKey."""
    application: bytes = field(repr=False)
    """AppSKey."""


def _encrypt_blocks(key: bytes, data: bytes) -> bytes:
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    return encryptor.update(data) + encryptor.finalize()


def _decrypt_blocks(key: bytes, data: bytes) -> bytes:
    decryptor = Cipher(algorithms.AES(key), modes.ECB()).decryptor()
    return decryptor.update(data) + decryptor.finalize()


def cmac4(key: bytes, data: bytes) -> bytes:
    """The first four bytes of AES-CMAC."""
    mac = CMAC(algorithms.AES(key))
    mac.update(data)
    return mac.finalize()[:4]


def data_mic(key: bytes, direction: int, address: int, counter: int, message: bytes) -> bytes:
    """The MIC of a data frame: `message` is MHDR to FRMPayload, `counter` the whole 32-bit one, `key` NwkSKey."""
    block = struct.pack("<BIBIIBB", 0x49, 0, direction, address, counter, 0, len(message))
    return cmac4(key, block + message)


def crypt_payload(key: bytes, direction: int, address: int, counter: int, payload: bytes) -> bytes:
    """Encrypt or decrypt FRMPayload, which is the same; `key` is AppSKey, or NwkSKey on port 0."""
    blocks = b"".join(
        struct.pack("<BIBIIBB", 1, 0, direction, address, counter, 0, number)
        for number in range(1, (len(payload) + 15) // 16 + 1)
    )
    stream = _encrypt_blocks(key, blocks)
    return bytes(one ^ other for one, other in zip(payload, stream, strict=False))


def seal_join_accept(key: bytes, frame: bytes) -> bytes:
    """MHDR and body of a join-accept in the clear, without MIC, to the bytes on the air."""
    return frame[:1] + _decrypt_blocks(key, frame[1:] + cmac4(key, frame))


def open_join_accept(key: bytes, frame: bytes) -> bytes | None:
    """Bytes on the air to MHDR and body in the clear, without MIC; `None` where the MIC is wrong."""
    if len(frame) not in (17, 33):
        return None
    clear = frame[:1] + _encrypt_blocks(key, frame[1:])
    return clear[:-4] if cmac4(key, clear[:-4]) == clear[-4:] else None


def session_keys(key: bytes, join_nonce: bytes, net_id: bytes, dev_nonce: bytes) -> SessionKeys:
    """The keys of a session, from the AppKey and the nonces as on the air (3, 3 and 2 bytes)."""
    tail = (join_nonce + net_id + dev_nonce).ljust(15, b"\0")
    return SessionKeys(_encrypt_blocks(key, b"\x01" + tail), _encrypt_blocks(key, b"\x02" + tail))
