"""The body of a message between a device and a service (docs/wire.md), as values to bytes and back.

Rules of this package: pure; no keys, no CoAP, no I/O; `now` and `floor` are given.  Bytes from a peer end in a `Message` or
in `ObjectError`, whatever they are.
"""

from rataccess.wire.block import encode_block, fit_block
from rataccess.wire.build import MessageBuilder, encode_message, fragment
from rataccess.wire.dense import Reach
from rataccess.wire.read import decode_message
from rataccess.wire.values import (
    ANSWER_LIMIT,
    ASKED_ONLY,
    BASE,
    CALL_QUEUE,
    ENVIRONMENT_QUEUE,
    EPOCH,
    FIRST_FREE_QUEUE,
    FULL,
    HEALTH_QUEUE,
    LINK,
    MAX_BLOCK_BODIES,
    MAX_DEPTH,
    MAX_MESSAGE_RECORDS,
    MORE,
    MOST_WANTED,
    NAMED_OBJECT_QUEUE,
    PACKET,
    PARTIAL,
    RESERVED_QUEUES,
    SCHEMA_QUEUE,
    TIME,
    USUAL_ANSWER,
    WANTED,
    Block,
    LateNumber,
    Message,
    Piece,
    WireRecord,
)

__all__ = [
    "ANSWER_LIMIT",
    "ASKED_ONLY",
    "BASE",
    "CALL_QUEUE",
    "ENVIRONMENT_QUEUE",
    "EPOCH",
    "FIRST_FREE_QUEUE",
    "FULL",
    "HEALTH_QUEUE",
    "LINK",
    "MAX_BLOCK_BODIES",
    "MAX_DEPTH",
    "MAX_MESSAGE_RECORDS",
    "MORE",
    "MOST_WANTED",
    "NAMED_OBJECT_QUEUE",
    "PACKET",
    "PARTIAL",
    "RESERVED_QUEUES",
    "SCHEMA_QUEUE",
    "TIME",
    "USUAL_ANSWER",
    "WANTED",
    "Block",
    "LateNumber",
    "Message",
    "MessageBuilder",
    "Piece",
    "Reach",
    "WireRecord",
    "decode_message",
    "encode_block",
    "encode_message",
    "fit_block",
    "fragment",
]
