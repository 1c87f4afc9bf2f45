"""What LoRaWAN 1.0.x proves and hides with AES-128: MICs, payloads, join-accepts, session keys.

Rules of this file: functions of their arguments; AES and CMAC come from `cryptography`.  Keys are 16 octets and never in a
message of an error or in a `repr`.  Source: LoRaWAN L2 1.0.4, clauses 4.3.3 (payload), 4.4 (MIC), 6.2.5 and 6.2.6 (join).
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field, replace
from typing import TypeVar

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from cryptography.hazmat.primitives.cmac import CMAC

from rataccess.errors import ProtectionFailed
from rataccess.lorawan.frame import (
    MIC_SIZE,
    Downlink,
    JoinAccept,
    JoinRequest,
    MType,
    SealedJoinAccept,
    Uplink,
    join_accept,
    little,
)

KEY_SIZE = 16


@dataclass(frozen=True, slots=True)
class SessionKeys:
    """The two keys of a session of LoRaWAN 1.0."""

    nwk_s_key: bytes = field(repr=False)
    """Proves every data frame; hides MAC commands on FPort 0."""
    app_s_key: bytes = field(repr=False)
    """Hides the payload on every other FPort."""


def data_mic(nwk_s_key: bytes, body: bytes, *, uplink: bool, dev_addr: int, fcnt: int) -> bytes:
    """The MIC of a data frame; `body` is everything before it, `fcnt` the whole counter of 32 bits."""
    block = b"\x49" + bytes(4) + _direction(uplink) + little(dev_addr, 4) + little(fcnt, 4) + bytes([0, len(body)])
    return _cmac(nwk_s_key, block + body)[:MIC_SIZE]


def encrypt_payload(key: bytes, payload: bytes, *, uplink: bool, dev_addr: int, fcnt: int) -> bytes:
    """Hides a payload, or shows a hidden one: the same does both.  `key`: see `SessionKeys`."""
    head = b"\x01" + bytes(4) + _direction(uplink) + little(dev_addr, 4) + little(fcnt, 4) + b"\0"
    count = -(-len(payload) // 16)
    stream = _encrypt(key, b"".join(head + bytes([each]) for each in range(1, count + 1)))
    return bytes(a ^ b for a, b in zip(payload, stream, strict=False))


def join_mic(app_key: bytes, body: bytes) -> bytes:
    """The MIC of a join-request, or of a join-accept in the clear (1.0); `body` is everything before it."""
    return _cmac(app_key, body)[:MIC_SIZE]


def encrypt_join_accept(app_key: bytes, clear: bytes) -> bytes:
    """The PHY payload of a join-accept whose fields and MIC are `clear` (with MHDR): what a network server sends.

    AES *decryption*, so that a device needs only encryption.
    """
    decryptor = Cipher(AES(app_key), ECB()).decryptor()
    return clear[:1] + decryptor.update(clear[1:]) + decryptor.finalize()


def decrypt_join_accept(app_key: bytes, data: bytes) -> bytes:
    """MHDR, fields and MIC in the clear of the PHY payload `data` (17 or 33 octets); proves nothing."""
    return data[:1] + _encrypt(app_key, data[1:])


def seal_join_accept(app_key: bytes, accept: JoinAccept) -> bytes:
    """The PHY payload that carries `accept`: with its MIC, encrypted."""
    body = accept.body
    return encrypt_join_accept(app_key, body + join_mic(app_key, body))


def open_join_accept(app_key: bytes, sealed: SealedJoinAccept) -> JoinAccept:
    """What the join-accept says; raises `ProtectionFailed` where it was not made with this key."""
    clear = decrypt_join_accept(app_key, MType.JOIN_ACCEPT.mhdr + sealed.sealed)
    _same(clear[-MIC_SIZE:], join_mic(app_key, clear[:-MIC_SIZE]), "join-accept")
    return join_accept(clear)


def seal_join_request(app_key: bytes, request: JoinRequest) -> JoinRequest:
    """`request` with its MIC."""
    return replace(request, mic=join_mic(app_key, request.body))


def check_join_request(app_key: bytes, request: JoinRequest) -> None:
    """Raises `ProtectionFailed` where the join-request was not made with this key."""
    _same(request.mic, join_mic(app_key, request.body), "join-request")


DataFrameType = TypeVar("DataFrameType", bound=Uplink | Downlink)


def seal(keys: SessionKeys, frame: DataFrameType) -> DataFrameType:
    """`frame`, whose payload is in the clear and whose `fcnt` is whole, with payload hidden and MIC."""
    hidden = replace(frame, payload=_payload(keys, frame, frame.fcnt))
    return replace(hidden, mic=_mic(keys, hidden, frame.fcnt))


def open_frame(keys: SessionKeys, frame: DataFrameType, fcnt: int) -> DataFrameType:
    """`frame`, as it was received, with its payload in the clear and its whole counter, which `fcnt` says.

    Raises `ProtectionFailed` where the MIC is not that of these keys and this counter.
    """
    _same(frame.mic, _mic(keys, frame, fcnt), "data frame")
    return replace(frame, fcnt=fcnt, payload=_payload(keys, frame, fcnt))


def session_keys(app_key: bytes, join_nonce: int, net_id: int, dev_nonce: int) -> SessionKeys:
    """The keys of the session that a join-accept begins (clause 6.2.6)."""
    context = little(join_nonce, 3) + little(net_id, 3) + little(dev_nonce, 2)
    return SessionKeys(derive_key(app_key, 0x01, context), derive_key(app_key, 0x02, context))


def derive_key(key: bytes, kind: int, context: bytes) -> bytes:
    """AES of `kind`, `context` and padding: how LoRaWAN derives every key."""
    return _encrypt(key, (bytes([kind]) + context).ljust(16, b"\0"))


def _mic(keys: SessionKeys, frame: Uplink | Downlink, fcnt: int) -> bytes:
    uplink = isinstance(frame, Uplink)
    return data_mic(keys.nwk_s_key, frame.body, uplink=uplink, dev_addr=frame.dev_addr, fcnt=fcnt)


def _payload(keys: SessionKeys, frame: Uplink | Downlink, fcnt: int) -> bytes:
    key = keys.nwk_s_key if frame.port == 0 else keys.app_s_key
    return encrypt_payload(key, frame.payload, uplink=isinstance(frame, Uplink), dev_addr=frame.dev_addr, fcnt=fcnt)


def _same(found: bytes, expected: bytes, what: str) -> None:
    if not hmac.compare_digest(found, expected):
        raise ProtectionFailed(f"the MIC of a {what} is wrong: it is forged, damaged or for another session")


def _direction(uplink: bool) -> bytes:
    return b"\0" if uplink else b"\1"


def _encrypt(key: bytes, blocks: bytes) -> bytes:
    encryptor = Cipher(AES(key), ECB()).encryptor()
    return encryptor.update(blocks) + encryptor.finalize()


def _cmac(key: bytes, data: bytes) -> bytes:
    mac = CMAC(AES(key))
    mac.update(data)
    return mac.finalize()
