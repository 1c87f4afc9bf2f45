"""From a session secret to keys and nonces (RFC 8613 sections 3.2 and 5).

Rules of this file: pure functions; AES-CCM-16-64-128 (COSE algorithm 10: key 16 bytes, nonce 13, tag 8) and HKDF SHA-256
only.  The few CBOR values that RFC 8613 asks for are written out by hand: each has one fixed form.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers.aead import AESCCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from rataccess.errors import KeyStoreError

ALGORITHM = 10
KEY_BYTES = 16
NONCE_BYTES = 13
TAG_BYTES = 8
SECRET_BYTES = 16
"""Shortest session secret."""
MOST_ID_BYTES = NONCE_BYTES - 6
"""Longest sender or recipient id (RFC 8613 section 3.3)."""


def cipher(secret: bytes, salt: bytes, role_id: bytes, id_context: bytes | None) -> AESCCM:
    """The cipher of whoever sends as `role_id`; its key object is made once, for each message costs 0.3 us more else."""
    return AESCCM(derive(secret, salt, role_id, id_context, "Key", KEY_BYTES), tag_length=TAG_BYTES)


def common_iv(secret: bytes, salt: bytes, id_context: bytes | None) -> int:
    """The common IV, as a number of 13 bytes."""
    return int.from_bytes(derive(secret, salt, b"", id_context, "IV", NONCE_BYTES), "big")


def nonce_base(common: int, role_id: bytes) -> int:
    """What, XORed with a sequence number, is the nonce of a message that `role_id` numbers (RFC 8613 section 5.2)."""
    return common ^ (len(role_id) << 96 | int.from_bytes(role_id, "big") << 40)


def additional_data(kid: bytes, partial_iv: bytes, options: bytes = b"") -> bytes:
    """The Enc_structure of a request from `kid` with that Partial IV, and of its responses (RFC 8613 section 5.4).

    ["Encrypt0", h'', bstr([1, [10], kid, partial_iv, options])]; there are no class I options, so `options` is empty, but
    for the compact form's mark.
    """
    external = b"\x85\x01\x81\x0a" + byte_string(kid) + byte_string(partial_iv) + byte_string(options)
    return b"\x83\x68Encrypt0\x40" + byte_string(external)


def byte_string(value: bytes) -> bytes:
    """`value`, at most 255 bytes, as a CBOR byte string (RFC 8949)."""
    length = len(value)
    return (bytes((0x40 | length,)) if length < 24 else bytes((0x58, length))) + value


def derive(secret: bytes, salt: bytes, role_id: bytes, id_context: bytes | None, what: str, length: int) -> bytes:
    """HKDF with info = [role id, id context, algorithm, "Key" or "IV", length] (RFC 8613 section 3.2.1)."""
    context = b"\xf6" if id_context is None else byte_string(id_context)
    label = bytes((0x60 | len(what),)) + what.encode()
    info = b"\x85" + byte_string(role_id) + context + bytes((ALGORITHM,)) + label + bytes((length,))
    return HKDF(SHA256(), length, salt, info).derive(secret)


def check(sender_id: bytes, recipient_id: bytes, secret: bytes, id_context: bytes | None) -> None:
    """Raises `KeyStoreError` for parameters that no context can be made of."""
    longest = max(len(sender_id), len(recipient_id))
    if longest > MOST_ID_BYTES:
        raise KeyStoreError(f"a sender or recipient id has {longest} bytes; at most {MOST_ID_BYTES} are allowed")
    if sender_id == recipient_id:
        raise KeyStoreError("sender and recipient have the same id; a device's id has at least one byte")
    if len(secret) < SECRET_BYTES:
        raise KeyStoreError(f"a session secret has {len(secret)} bytes; at least {SECRET_BYTES} are needed")
    if id_context is not None and len(id_context) > 255:
        raise KeyStoreError(f"an id context has {len(id_context)} bytes; at most 255 are allowed")
