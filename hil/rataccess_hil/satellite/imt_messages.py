"""How messages travel through a virtual 9704: announced, asked for in segments, transferred, ended with a final status.

Rules of this file: one message is transferred at a time, MO before MT.  A transfer needs a visible constellation all
along; where it is lost the transfer stalls, and is given up after a while.
"""

from __future__ import annotations

import base64
from collections import deque
from typing import TYPE_CHECKING, Any

from rataccess_hil.satellite import jspr
from rataccess_hil.satellite.gateway import LONGEST_IMT, QueuedMt
from rataccess_hil.satellite.imt_state import ImtBreak, Originated
from rataccess_hil.satellite.jspr import Code, Refused

if TYPE_CHECKING:
    from rataccess_hil.modem.schedule import Timer
    from rataccess_hil.satellite.imt_core import ImtModem

_SENT = "mo_ack_received"


class Messages:
    """What is under way, both directions."""

    def __init__(self, modem: ImtModem) -> None:
        self._modem = modem
        self._queue: deque[Originated] = deque()
        self._number = 0
        self._mt_number = 0
        self._busy = False
        self._owed: Timer | None = None
        self._momsn = 0

    # --- from the host ------------------------------------------------------------------------------------------------

    def originate(self, content: dict[str, Any]) -> None:
        """PUT messageOriginate."""
        modem = self._modem
        topic, length = content.get("topic_id"), content.get("message_length")
        reference = content.get("request_reference")
        if not isinstance(length, int) or not isinstance(reference, int) or not 1 <= reference <= 100:
            raise Refused(Code.BAD_JSON)
        if not modem.active:
            raise Refused(Code.NOT_ALLOWED)
        if not modem.provisioned:
            raise Refused(Code.NOT_PROVISIONED)
        if not 3 <= length <= LONGEST_IMT + 2:
            raise Refused(Code.TOO_LONG)
        known = modem.topic(topic)
        told = {"topic_id": topic, "request_reference": reference}
        if known is None:
            modem.say(Code.OK, "messageOriginate", {**told, "message_response": "subscription_invalid"})
            return
        if sum(each.topic == topic for each in self._queue) >= known.depth:
            modem.say(Code.OK, "messageOriginate", {**told, "message_response": "message_discarded_on_overflow"})
            return
        self._number = self._number % 255 + 1
        message = Originated(known.number, self._number, length, reference, accepted_at=modem.schedule.now)
        self._queue.append(message)
        accepted = {"message_id": self._number, "message_response": "message_accepted"}
        modem.say(Code.OK, "messageOriginate", {**told, **accepted})
        modem.schedule.after(known.discard_seconds, lambda: self._expire(message))
        self.sky_seen()

    def segment(self, content: dict[str, Any]) -> None:
        """PUT messageOriginateSegment: what was asked for."""
        message = self._named(content)
        if message is None or message.asked is None:
            raise Refused(Code.NOT_ALLOWED)
        data = jspr.unpack(content.get("data"))
        told = {"topic_id": message.topic, "message_id": message.number}
        right = (content.get("segment_start"), content.get("segment_length")) == message.asked
        self._modem.say(Code.OK, "messageOriginateSegment", told)
        if self._owed is not None:
            self._owed.cancel()
        if not right or len(data) != message.asked[1]:
            self._end(message, "segment_incorrect")
            return
        message.data += data
        message.asked = None
        self._go_on(message)

    def cancel(self, content: dict[str, Any]) -> None:
        """PUT messageOriginateStatus with the action `cancel`."""
        message = self._named(content)
        if content.get("action") != "cancel":
            raise Refused(Code.BAD_JSON)
        if message is None:
            raise Refused(Code.NOT_ALLOWED)
        self._modem.say(Code.OK, "messageOriginateStatus", {"topic_id": message.topic, "message_id": message.number})
        self._end(message, f"message_cancelled_{'in' if message.in_transit else 'pre'}_transit")

    def _named(self, content: dict[str, Any]) -> Originated | None:
        wanted = (content.get("topic_id"), content.get("message_id"))
        return next((each for each in self._queue if (each.topic, each.number) == wanted), None)

    # --- up -----------------------------------------------------------------------------------------------------------

    def sky_seen(self) -> None:
        """Begin with what waits, if nothing is under way and the constellation is visible."""
        if self._busy or not self._modem.visible():
            return
        if self._queue:
            self._busy = True
            message = self._queue[0]
            self._modem.schedule.after(0.05, lambda: self._go_on(message))
        elif self._modem.provisioned and self._modem.gateway.queued(self._modem.imei):
            self._busy = True
            self._modem.schedule.after(self._modem.chance.uniform(*self._modem.timings.start), self._terminate)

    def _go_on(self, message: Originated) -> None:
        """Ask for the next segment, or transfer what is complete."""
        if message not in self._queue:
            return
        if len(message.data) == message.length:
            self._complete(message)
            return
        start = len(message.data)
        message.asked = (start, min(jspr.SEGMENT, message.length - start))
        told = {"segment_length": message.asked[1], "segment_start": start}
        self._modem.tell("messageOriginateSegment", {"topic_id": message.topic, "message_id": message.number, **told})
        self._owed = self._modem.schedule.after(
            self._modem.timings.segment, lambda: self._end(message, "segment_not_supplied")
        )

    def _complete(self, message: Originated) -> None:
        if jspr.crc16(bytes(message.data[:-2])) != int.from_bytes(message.data[-2:], "big"):
            self._end(message, "user_supplied_crc_error")
            return
        message.in_transit = True
        timings = self._modem.timings
        seconds = self._modem.chance.uniform(*timings.start) + message.length / timings.rate
        self._modem.schedule.after(seconds, lambda: self._arrive(message, timings.transfer))

    def _arrive(self, message: Originated, patience: float) -> None:
        """The transfer is over, or stalls while the constellation is out of sight."""
        modem = self._modem
        if message not in self._queue:
            return
        if not modem.visible():
            if patience <= 0:
                self._end(message, "message_transfer_timeout")
            else:
                modem.schedule.after(5.0, lambda: self._arrive(message, patience - 5.0))
            return
        status = modem.faults.statuses.popleft() if modem.faults.statuses else _SENT
        where = ImtBreak.AFTER_GATEWAY if status == _SENT else ImtBreak.BEFORE_GATEWAY
        if modem.faults.breaks:
            where, status = modem.faults.breaks.popleft()
        if where is ImtBreak.AFTER_GATEWAY:
            self._momsn = (self._momsn + 1) & 0xFFFF
            modem.gateway.take_mo(modem.imei, self._momsn, bytes(message.data[:-2]), topic=message.topic)
        self._end(message, status)

    def _expire(self, message: Originated) -> None:
        if message in self._queue and not message.in_transit:
            self._end(message, "message_expired")

    def _end(self, message: Originated, status: str) -> None:
        if message not in self._queue:
            return
        under_way = self._queue[0] is message and self._busy
        self._queue.remove(message)
        counts = self._modem.counts
        counts.mo += status == _SENT
        counts.failed_in_a_row = 0 if status == _SENT else counts.failed_in_a_row + 1
        told = {"topic_id": message.topic, "message_id": message.number, "final_mo_status": status}
        self._modem.tell("messageOriginateStatus", told)
        limit = self._modem.model.silent_after
        if limit is not None and counts.failed_in_a_row >= limit:
            self._modem.faults.silent = True
        if under_way:
            self._busy = False
            self.sky_seen()

    # --- down ---------------------------------------------------------------------------------------------------------

    def _terminate(self) -> None:
        """Bring the first MT message down: announced, in segments, ended.  The modem keeps no copy."""
        modem = self._modem
        message = modem.gateway.next_mt(modem.imei)
        if message is None or not modem.visible():
            self._done()
            return
        self._mt_number = self._mt_number % 255 + 1
        data = bytearray(jspr.with_crc(message.payload))
        if modem.faults.garble_mt:
            modem.faults.garble_mt -= 1
            data[modem.chance.randrange(len(data))] ^= 0x55
        told = {"topic_id": message.topic or 244, "message_id": self._mt_number}
        modem.tell("messageTerminate", {**told, "message_length_max": len(data)})
        self._bring(message, bytes(data), 0, told)

    def _bring(self, message: QueuedMt, data: bytes, start: int, told: dict[str, Any]) -> None:
        modem = self._modem
        status = modem.faults.mt_statuses[0] if modem.faults.mt_statuses else "complete"
        if not modem.visible():
            status = "message_timed_out"
        length = min(jspr.SEGMENT, len(data) - start)
        if status != "complete" or length == 0:
            self._brought(message, status, told)
            return
        text = base64.b64encode(data[start : start + length]).decode()
        modem.tell("messageTerminateSegment", {**told, "segment_length": length, "segment_start": start, "data": text})
        modem.schedule.after(length / modem.timings.rate, lambda: self._bring(message, data, start + length, told))

    def _brought(self, message: QueuedMt, status: str, told: dict[str, Any]) -> None:
        modem = self._modem
        if modem.faults.mt_statuses:
            modem.faults.mt_statuses.popleft()
        if status == "complete":
            modem.gateway.mt_done(modem.imei, message)
            modem.counts.mt += 1
        modem.tell("messageTerminateStatus", {**told, "final_mt_status": status})
        self._done()

    def _done(self) -> None:
        self._busy = False
        self.sky_seen()
