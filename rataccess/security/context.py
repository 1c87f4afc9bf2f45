"""One OSCORE security context (RFC 8613 section 3): protects and unprotects whole CoAP messages.

Rules of this file: a context is used by one thread.  Nothing of it changes unless a message proves genuine and well
formed.  A nonce is used once: requests take sequence numbers reserved on disk, and an answer reuses the nonce of its
request only where the window that refuses a second such request is kept (`replay_state`).
"""

from __future__ import annotations

from collections import deque
from typing import NoReturn

from cryptography.exceptions import InvalidTag

from rataccess.objects import Memory, Service
from rataccess.security import derivation, replay
from rataccess.security.coap import (
    ACKNOWLEDGEMENT,
    CHANGED,
    CONFIRMABLE,
    CONTENT,
    FETCH,
    NON_CONFIRMABLE,
    POST,
    URI_PATH,
    option_bytes,
    path_options,
    read_message,
    read_options,
    read_oscore_option,
    refuse,
    understand,
)
from rataccess.security.compact import (
    ERROR,
    MARK,
    REACH,
    head_bytes,
    low_bits,
    read_compact,
    request_head,
    response_head,
)
from rataccess.security.sequence import MOST, SequenceNumbers, sequence_key
from rataccess.security.values import Request, RequestIdentity, Response

_LEAST_PROTECTED = derivation.TAG_BYTES + 1  # a tag and the inner code
_USUAL_PARTIAL_IV = 3


class SecureContext:
    """The keys and counters shared with one peer."""

    def __init__(
        self,
        *,
        sender_id: bytes,
        recipient_id: bytes,
        secret: bytes,
        memory: Memory,
        name: str,
        salt: bytes = b"",
        replay_state: bytes | None = None,
        id_context: bytes | None = None,
        least: int = 0,
    ) -> None:
        """`name` tells contexts in `memory` apart; the same keys always go with the same name and the same memory.

        Ids have at most 7 bytes and differ; `secret` has at least 16.  `replay_state` is what that method last returned.
        Sequence numbers begin at `least`, or above what `memory` says was used.
        Raises `KeyStoreError` for other values, and where `memory` has provably lost the sequence numbers.
        """
        derivation.check(sender_id, recipient_id, secret, id_context)
        self.name = name
        self._sender_id = sender_id
        self._recipient_id = recipient_id
        self._id_context = id_context
        self._sender = derivation.cipher(secret, salt, sender_id, id_context)
        self._recipient = derivation.cipher(secret, salt, recipient_id, id_context)
        common = derivation.common_iv(secret, salt, id_context)
        self._sender_base = derivation.nonce_base(common, sender_id)
        self._recipient_base = derivation.nonce_base(common, recipient_id)
        reserved = 0
        self._window = replay.ReplayWindow()
        if replay_state is not None:
            self._window, reserved = replay.load(replay_state)
        self._numbers = SequenceNumbers(memory, sequence_key(name), reserved, least)
        self._unkept: deque[RequestIdentity] = deque(maxlen=replay.SIZE)
        self._seen_by_peer: int | None = None
        """The highest number of ours that an answer has acknowledged in this run."""

    def __repr__(self) -> str:
        ids = f"{self._sender_id.hex() or '-'}->{self._recipient_id.hex() or '-'}"
        return f"<SecureContext {self.name} {ids} next={self._numbers.upcoming} seen={self._window.lowest}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a SecureContext cannot be copied or pickled: two of it would use nonces twice")

    @property
    def overhead(self) -> int:
        """The most bytes that a request to the root path, with a token of two bytes, adds to its body.

        It grows with the sequence number (by a byte at 2^24 and 2^32): read it for each message.
        """
        number = (max(self._numbers.upcoming, self._numbers.reserved).bit_length() + 7) // 8
        option = len(self._option(bytes(max(_USUAL_PARTIAL_IV, number))))
        return 4 + 2 + 1 + (option > 12) + option + 1 + 1 + 1 + derivation.TAG_BYTES

    # --- as the one who asks -------------------------------------------------------------------------------------------

    def protect_request(
        self,
        body: bytes,
        *,
        token: bytes,
        message_id: int,
        confirmable: bool = False,
        code: int = POST,
        path: tuple[str, ...] = (),
    ) -> tuple[bytes, RequestIdentity]:
        """A datagram with `body`, and what is needed to read its response.

        `token` has at most 8 bytes; `message_id` is 0 to 65535; each part of `path` at most 255 bytes in UTF-8 (else
        `ObjectError`).  Raises `SequenceExhausted`, and the `StoreError` of a memory that cannot reserve numbers.
        """
        plaintext = bytes((code,)) + (path_options(path) if path else b"") + (b"\xff" + body if body else b"")
        number, partial_iv, nonce = self._take()
        data = derivation.additional_data(self._sender_id, partial_iv)
        kind = CONFIRMABLE if confirmable else NON_CONFIRMABLE
        head = bytes((0x40 | kind << 4 | len(token), POST, message_id >> 8, message_id & 0xFF))
        option = option_bytes(9, self._option(partial_iv))
        datagram = head + token + option + b"\xff" + self._sender.encrypt(nonce, plaintext, data)
        return datagram, RequestIdentity(self, token, number, nonce, data)

    def _option(self, partial_iv: bytes) -> bytes:
        """The OSCORE option of a request: flags, Partial IV, kid context, kid (RFC 8613 section 6.1)."""
        if self._id_context is None:
            return bytes((0x08 | len(partial_iv),)) + partial_iv + self._sender_id
        context = bytes((len(self._id_context),)) + self._id_context
        return bytes((0x18 | len(partial_iv),)) + partial_iv + context + self._sender_id

    def unprotect_response(self, datagram: bytes, identity: RequestIdentity) -> Response:
        """The response to the request of `identity`; raises `ProtectionFailed` for anything else.

        A response to one request can be read more than once: the caller forgets the identity after the first.
        """
        outer = read_message(datagram)
        if outer.option is None or outer.code < 32 or outer.token != identity.token:
            refuse("not a response to that request")
        nonce, number = identity.nonce, None
        if outer.option:
            partial_iv, kid, context = read_oscore_option(outer.option)
            if kid not in (None, self._recipient_id) or context not in (None, self._id_context):
                refuse("a response from another sender")
            if partial_iv:
                number = int.from_bytes(partial_iv, "big")
                nonce = (self._recipient_base ^ number).to_bytes(derivation.NONCE_BYTES, "big")
        code, options, body = self._open_message(outer.payload, nonce, identity.additional_data)
        if code >> 5 not in (2, 4, 5):
            refuse("a response with the code of a request")
        understand(options, ())
        self._acknowledged(identity, number)
        return Response(code, body)

    # --- as the one who answers ----------------------------------------------------------------------------------------

    def unprotect_request(self, datagram: bytes) -> Request:
        """A genuine request that was not seen before, now struck out of the replay window.

        Raises `ProtectionFailed` for everything else, also for one with a critical option other than Uri-Path.
        """
        request = self.open_request(datagram)
        self.strike_out(request)
        return request

    def open_request(self, datagram: bytes) -> Request:
        """A genuine request that was not seen before as far as is known here; nothing changes.

        It counts as seen only with `strike_out`.  For who shares the window with others: reads it anew in between.
        """
        outer = read_message(datagram)
        if outer.option is None or outer.code not in (POST, FETCH):
            refuse("not a protected request")
        partial_iv, kid, context = read_oscore_option(outer.option)
        if not partial_iv or kid != self._recipient_id or context not in (None, self._id_context):
            refuse("a request from another sender")
        number = int.from_bytes(partial_iv, "big")
        if not self._window.is_new(number):
            refuse("a request that was seen before")
        nonce = (self._recipient_base ^ number).to_bytes(derivation.NONCE_BYTES, "big")
        data = derivation.additional_data(kid, partial_iv)
        code, options, body = self._open_message(outer.payload, nonce, data)
        if not 0 < code < 32:
            refuse("a request with the code of a response")
        path = understand(options, (URI_PATH,))
        identity = RequestIdentity(self, outer.token, number, nonce, data, outer.code)
        return Request(code, path, body, outer.token, outer.message_id, outer.type == CONFIRMABLE, identity)

    def strike_out(self, request: Request) -> None:
        """`request`, which `open_request` returned, is seen; raises `ProtectionFailed` where it was seen meanwhile."""
        number = request.identity.sequence_number
        if not self._window.is_new(number):
            refuse("a request that was seen before")
        self._window.strike_out(number)
        self._unkept.append(request.identity)

    def take_over(self, replay_state: bytes | None) -> None:
        """Go on from where another process that has these keys has kept the replay window.

        Requests that are opened and not struck out stay valid.  Raises `KeyStoreError` as the constructor.
        """
        window, reserved = replay.ReplayWindow(), 0
        if replay_state is not None:
            window, reserved = replay.load(replay_state)
        self._numbers.check(reserved)
        self._window = window
        self._unkept.clear()

    @property
    def deaf(self) -> bool:
        """Whether no request is taken, see `lose_window`."""
        return self._window.lowest > MOST

    def lose_window(self) -> None:
        """Nobody knows any more which requests were seen: take none, until an answer to one of ours has a sequence number of
        the peer's own.  What it sends later has a higher one (RFC 8613 appendix B.1.2: an answer proves what is fresh)."""
        self._window = replay.ReplayWindow(MOST + 1)
        self._unkept.clear()

    def protect_response(self, request: Request, code: int, body: bytes, *, message_id: int) -> bytes:
        """The answer: piggybacked on the acknowledgement of a confirmable request, else non-confirmable.

        It reuses the nonce of the request, and so needs no Partial IV, where `replay_state` was read after the request
        and this is its first answer.  Every other answer takes a sequence number of its own.  Raises `ValueError` for a
        request of another context, else as `protect_request`.
        """
        identity = request.identity
        if identity.context is not self:
            raise ValueError("the request belongs to another context")
        if identity.compact is not None:
            return self._protect_compact_response(identity, identity.compact, code, body)
        nonce, option = identity.nonce, b""
        if not identity.reusable:
            _, partial_iv, nonce = self._take()
            option = bytes((len(partial_iv),)) + partial_iv
        identity.reusable = False
        plaintext = bytes((code,)) + (b"\xff" + body if body else b"")
        kind = ACKNOWLEDGEMENT if request.confirmable else NON_CONFIRMABLE
        number = request.message_id if request.confirmable else message_id
        outer = CONTENT if identity.outer_code == FETCH else CHANGED  # RFC 8613 section 4.2
        head = bytes((0x40 | kind << 4 | len(request.token), outer, number >> 8, number & 0xFF))
        ciphertext = self._sender.encrypt(nonce, plaintext, identity.additional_data)
        return head + request.token + option_bytes(9, option) + b"\xff" + ciphertext

    def replay_state(self) -> bytes:
        """The replay window, to keep in the same transaction as what the requests did.

        Who reads it promises that it is on disk before any answer to a request unprotected before is sent: after a
        crash such a request must be refused, because its nonce was used by the answer.
        """
        for identity in self._unkept:
            identity.reusable = True
        self._unkept.clear()
        return replay.dump(self._window, self._numbers.reserved)

    # --- in compact form (docs/wire.md): the same numbers, nonces and window, other bytes around them --------------------

    @property
    def compact_overhead(self) -> int:
        """What the next request in compact form adds to its body, in bytes, unless another context of the same name takes
        numbers as well: read it for each message."""
        number = self._numbers.upcoming
        return head_bytes(number, short=self._within_reach(number)) + derivation.TAG_BYTES

    def protect_compact(self, body: bytes, service: Service) -> tuple[bytes, RequestIdentity]:
        """A packet with `body` for or from `service`, and what is needed to read its response.

        The token is the lowest two bytes of the sequence number.  Raises as `protect_request`.
        """
        number, partial_iv, nonce = self._take()
        data = derivation.additional_data(self._sender_id, partial_iv, MARK)
        head = request_head(service, number, short=self._within_reach(number))
        token = (number & 0xFFFF).to_bytes(2, "big")
        identity = RequestIdentity(self, token, number, nonce, data, compact=service)
        return head + self._sender.encrypt(nonce, body, data), identity

    @property
    def upcoming(self) -> int:
        """The sequence number of the next request, unless another context of the same name takes numbers as well."""
        return self._numbers.upcoming

    @property
    def highest_seen(self) -> int:
        """The highest sequence number of the peer's that was struck out; -1 where none was."""
        return self._window.highest

    @property
    def within_reach(self) -> bool:
        """Whether the peer is known, in this run, to have seen something of ours a short while ago."""
        return self._within_reach(self._numbers.upcoming)

    def _within_reach(self, number: int) -> bool:
        """Whether the lowest bits of a number of ours tell it to the peer.  Where other processes take numbers of the same
        sender it may have seen far higher ones."""
        return self._seen_by_peer is not None and not self._numbers.shared and number - self._seen_by_peer <= REACH

    def open_compact(self, packet: bytes, replay_state: bytes | None = None) -> Request:
        """As `open_request`, for a packet in compact form.  A number completed wrongly can only fail to prove genuine.

        `replay_state`: complete it by this, which another process has kept, instead of what was seen here.
        """
        header = read_compact(packet)
        if header.response:
            refuse("not a request")
        window = self._window if replay_state is None else replay.load(replay_state)[0]
        number = header.whole(window.highest)
        if not self._window.is_new(number):
            refuse("a request that was seen before")
        nonce = (self._recipient_base ^ number).to_bytes(derivation.NONCE_BYTES, "big")
        data = derivation.additional_data(self._recipient_id, _partial_iv(number), MARK)
        body = self._decrypt(packet[header.start :], nonce, data)
        token = (number & 0xFFFF).to_bytes(2, "big")
        identity = RequestIdentity(self, token, number, nonce, data, compact=header.service)
        return Request(POST, (), body, token, 0, False, identity)

    def unprotect_compact(self, packet: bytes) -> Request:
        """As `unprotect_request`, for a packet in compact form."""
        request = self.open_compact(packet)
        self.strike_out(request)
        return request

    def unprotect_compact_response(self, packet: bytes, identity: RequestIdentity) -> Response:
        """As `unprotect_response`, for a packet in compact form."""
        header = read_compact(packet)
        if not header.response or header.service is not identity.compact:
            refuse("not a response to that request")
        if header.low != low_bits(identity.sequence_number):
            refuse("not a response to that request")
        nonce = identity.nonce
        if header.number is not None:
            nonce = (self._recipient_base ^ header.number).to_bytes(derivation.NONCE_BYTES, "big")
        body = self._decrypt(packet[header.start :], nonce, identity.additional_data)
        self._acknowledged(identity, header.number)
        if len(body) == 2 and body[0] == ERROR:
            return Response(body[1], b"")
        return Response(CHANGED, body)

    def _protect_compact_response(self, identity: RequestIdentity, service: Service, code: int, body: bytes) -> bytes:
        nonce, own = identity.nonce, None
        if not identity.reusable:
            own, _, nonce = self._take()
        identity.reusable = False
        if code != CHANGED:
            body = bytes((ERROR, code))
        head = response_head(service, identity.sequence_number, own)
        return head + self._sender.encrypt(nonce, body, identity.additional_data)

    # --- both ----------------------------------------------------------------------------------------------------------

    def _take(self) -> tuple[int, bytes, bytes]:
        """A sequence number of our own, its Partial IV and nonce."""
        number = self._numbers.take()
        partial_iv = _partial_iv(number)
        return number, partial_iv, (self._sender_base ^ number).to_bytes(derivation.NONCE_BYTES, "big")

    def _acknowledged(self, identity: RequestIdentity, number: int | None) -> None:
        """A request of ours was answered, under the peer's own sequence number `number` where it took one."""
        if number is not None and self.deaf:
            self._window = replay.ReplayWindow(number + 1)
        self._seen_by_peer = max(self._seen_by_peer or 0, identity.sequence_number)

    def _decrypt(self, sealed: bytes, nonce: bytes, data: bytes) -> bytes:
        try:
            return self._recipient.decrypt(nonce, sealed, data)
        except InvalidTag:
            refuse("a forged or altered message")

    def _open_message(self, sealed: bytes, nonce: bytes, data: bytes) -> tuple[int, list[tuple[int, bytes]], bytes]:
        """Inner code, options and body."""
        if len(sealed) < _LEAST_PROTECTED:
            refuse("a protected message that is too short")
        plaintext = self._decrypt(sealed, nonce, data)
        options, body = read_options(plaintext, 1)
        return plaintext[0], options, body


def _partial_iv(number: int) -> bytes:
    """As short as can be, and a byte at least (RFC 8613 section 6.1)."""
    return number.to_bytes((number.bit_length() + 7) // 8 or 1, "big")
