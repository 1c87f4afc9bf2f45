"""What travels besides the payload: answers to MAC commands, the device's own questions, the acknowledgement.

Rules of this file: bookkeeping of what waits for the next uplink; what outlives the process is the session's.  Source:
LoRaWAN L2 1.0.4, clauses 4.3.1.2 (acknowledgement), 4.3.1.6 (FOpts) and chapter 5.
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
    asked: tuple[Command, ...] = ()


class Waiting:
    """What waits for the next uplink."""

    def __init__(self) -> None:
        self.answers: list[Command] = []
        """To the last downlink, in its order."""
        self.questions: list[Command] = []
        self.ack_due = False

    def options(self, session: Session | None, room: int) -> Options:
        """As much of it as `room` octets and FOpts take, from the first: answers in the order of what they answer (chapter
        5), or where those have left already the sticky ones among them; then questions.
        """
        answers = self.answers or _sticky_answers(session)
        everything = [*answers, *self.questions]
        fit = everything[: fitting(everything, min(room, MAX_FOPTS))]
        return Options(encode_commands(fit), self.ack_due, tuple(fit[len(answers) :]))

    def sent(self, options: Options) -> None:
        """They have left.  Answers for which there was no room are given up: the network asks again (chapter 5)."""
        self.answers.clear()
        self.questions = [each for each in self.questions if each not in options.asked]
        if options.ack:
            self.ack_due = False

    def ask(self, question: DeviceTimeReq | LinkCheckReq) -> None:
        """Send it with the next uplink; once."""
        if question not in self.questions:
            self.questions.append(question)

    def answer(self, answers: Iterable[Command]) -> None:
        """Have these sent; the sticky ones among them are the session's too."""
        self.answers = list(answers)

    def forget(self) -> None:
        """Another session: nothing of the old one is owed."""
        self.answers.clear()
        self.ack_due = False


def _sticky_answers(session: Session | None) -> list[Command]:
    found = decode_commands(session.sticky, uplink=True) if session else []
    return [each for each in found if not isinstance(each, Unknown)]


def sticky_part(answers: Iterable[Command]) -> bytes:
    """Those that every uplink repeats until a downlink comes."""
    return encode_commands(each for each in answers if isinstance(each, STICKY))
