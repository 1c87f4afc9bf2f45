"""What travels besides the payload: answers to MAC commands, the device's own questions, the acknowledgement.

Rules of this file: bookkeeping of what waits for the next uplink; sticky answers are the session's.  Source: LoRaWAN L2
1.0.4, clauses 4.3.1.2 (acknowledgement), 4.3.1.6 (FOpts) and chapter 5.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rataccess.lorawan.commands import (
    Command,
    DeviceTimeReq,
    LinkCheckReq,
    Unknown,
    decode_commands,
    encode_commands,
)
from rataccess.lorawan.frame import MAX_FOPTS
from rataccess_drivers.lora.mac.orders import STICKY, fitting
from rataccess_drivers.lora.mac.session import Session


@dataclass(frozen=True, slots=True)
class Options:
    """What goes with one uplink."""

    fopts: bytes = b""
    ack: bool = False
    answers: int = 0
    """How many of those that are sent once are in it."""
    asked: tuple[Command, ...] = ()


class Waiting:
    """What waits for the next uplink."""

    def __init__(self) -> None:
        self.answers: list[Command] = []
        self.questions: list[Command] = []
        self.ack_due = False

    def options(self, session: Session | None) -> Options:
        """As much of it as fits, in order: sticky answers, others, questions."""
        sticky = decode_commands(session.sticky, uplink=True) if session else []
        repeated = [each for each in sticky if not isinstance(each, Unknown)]
        everything = [*repeated, *self.answers, *self.questions]
        fit = everything[: fitting(everything, MAX_FOPTS)]
        once = max(0, min(len(fit) - len(repeated), len(self.answers)))
        asked = tuple(fit[len(repeated) + once :])
        return Options(encode_commands(fit), self.ack_due, once, asked)

    def sent(self, options: Options) -> None:
        """They have left."""
        del self.answers[: options.answers]
        self.questions = [each for each in self.questions if each not in options.asked]
        if options.ack:
            self.ack_due = False

    def ask(self, question: DeviceTimeReq | LinkCheckReq) -> None:
        """Send it with the next uplink; once."""
        if question not in self.questions:
            self.questions.append(question)

    def answer(self, answers: Iterable[Command]) -> None:
        """Have these sent, but for the sticky ones, which are the session's."""
        self.answers += [each for each in answers if not isinstance(each, STICKY)]

    def forget(self) -> None:
        """Another session: nothing of the old one is owed."""
        self.answers.clear()
        self.ack_due = False


def sticky_part(answers: Iterable[Command]) -> bytes:
    """Those that every uplink repeats until a downlink comes."""
    return encode_commands(each for each in answers if isinstance(each, STICKY))
