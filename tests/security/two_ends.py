"""Two ends that ask each other and lose power at any point, whatever the form of their packets."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from rataccess.security import CHANGED, Request, SecureContext
from tests.security.oscore_reference import SECRET, Disk

WHO = st.integers(0, 1)


class PowerCut(Exception):
    """The process dies here."""


class FailingDisk(Disk):
    """A disk whose next `put_now` can end in a power cut, before or after it has written."""

    cut: str | None = None

    def put_now(self, key: str, value: bytes) -> None:
        cut, self.cut = self.cut, None
        if cut == "before":
            raise PowerCut
        super().put_now(key, value)
        if cut == "after":
            raise PowerCut


class Witness:
    """Stands before the cipher of a sender, and refuses a nonce that it has seen for the same key."""

    def __init__(self, cipher: object, used: set[bytes]) -> None:
        self._cipher = cipher
        self._used = used

    def encrypt(self, nonce: bytes, plaintext: bytes, data: bytes) -> bytes:
        assert nonce not in self._used, f"nonce {nonce.hex()} is used twice"
        self._used.add(nonce)
        sealed: bytes = self._cipher.encrypt(nonce, plaintext, data)  # type: ignore[attr-defined]
        return sealed


class Side:
    """One end, its disk, and the nonces that its key has seen over all restarts."""

    def __init__(self, name: str, sender_id: bytes, recipient_id: bytes) -> None:
        self.name, self.ids = name, (sender_id, recipient_id)
        self.disk = FailingDisk()
        self.used: set[bytes] = set()
        self.restart()

    def restart(self) -> None:
        """A power cut: what was not synced is lost; the context is made anew from the disk."""
        self.disk.crash()
        sender_id, recipient_id = self.ids
        self.context = SecureContext(
            sender_id=sender_id,
            recipient_id=recipient_id,
            secret=SECRET,
            memory=self.disk,
            name=self.name,
            replay_state=self.disk.get(f"window of {self.name}"),
        )
        self.context._sender = Witness(self.context._sender, self.used)  # type: ignore[assignment]
        self.waiting: list[Request] = []

    def keep_window(self) -> None:
        """What a receiver does in the transaction of what the requests did."""
        self.disk.put_now(f"window of {self.name}", self.context.replay_state())


class TwoEnds(RuleBasedStateMachine):
    """They answer, keep or do not keep their windows, and die; `Side` fails where a nonce comes twice."""

    def __init__(self) -> None:
        super().__init__()
        self.sides = [Side("device", b"\x07", b""), Side("service", b"", b"\x07")]

    @rule(who=WHO)
    def keep_the_window(self, who: int) -> None:
        try:
            self.sides[who].keep_window()
        except PowerCut:
            self.sides[who].restart()

    @rule(who=WHO, times=st.integers(1, 3))
    def answer(self, who: int, times: int) -> None:
        side = self.sides[who]
        for request in list(side.waiting):
            for _ in range(times):
                try:
                    side.context.protect_response(request, CHANGED, b"", message_id=0)
                except PowerCut:
                    side.restart()
                    return

    @rule(who=WHO)
    def crash(self, who: int) -> None:
        self.sides[who].restart()

    @rule(who=WHO, cut=st.sampled_from(["before", "after"]))
    def arm(self, who: int, cut: str) -> None:
        self.sides[who].disk.cut = cut
