"""One downlink at a time in a network server's queue, whatever is lost of what it says."""

from __future__ import annotations

from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st

from rataccess.services.ways import turns
from rataccess.services.ways.turns import LOST, LOST_AFTER, Turns


class Network:
    """A network server's queue for one device: each uplink takes what is first in it, and whoever is late is in the next."""

    def __init__(self) -> None:
        self.turns, self.queue, self.number = Turns(), deque[tuple[str, int]](), 0
        self.now = 0.0

    def publish(self, answer: int) -> None:
        self.number += 1
        if self.turns.offer("d", str(self.number), answer.to_bytes(2, "big"), self.now)[0]:
            self.queue.append((str(self.number), answer))

    def uplink(self, answer: int, *, late: bool, reported: bool) -> int | None:
        """The answer that goes out after this uplink, which brings `answer` to be sent."""
        sent = self.queue.popleft() if late and self.queue else None
        self.now += 300.0
        self.turns.uplink("d", self.now)
        self.publish(answer)
        waited = self.turns.due("d")
        if waited is not None:
            self.publish(int.from_bytes(waited, "big"))
        if not late and self.queue:
            sent = self.queue.popleft()
        if sent is not None and reported:
            self.turns.gone("d", sent[0])
        return None if sent is None else sent[1]


@settings(max_examples=50)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=30))
def test_nothing_piles_up_and_lateness_does_not_last(uplinks: list[tuple[bool, bool]]) -> None:
    network = Network()
    for answer, (late, reported) in enumerate(uplinks):
        network.uplink(answer, late=late, reported=reported)
        assert len(network.queue) <= 2
    sent = [network.uplink(answer, late=False, reported=True) for answer in range(100, 106)]
    assert sent[-2:] == [104, 105]


def test_a_queue_that_somebody_has_emptied_is_used_again() -> None:
    made = Turns()
    assert made.offer("d", "a", b"1", 0.0) == (True, False)
    assert made.offer("d", "b", b"2", 1.0) == (False, False)
    assert made.offer("d", "c", b"3", 2.0) == (False, True)
    made.gone("d", "another")
    for _ in range(10 * LOST):  # a broker kept them
        made.uplink("d", 3.0)
        assert made.due("d") is None
    made.uplink("d", LOST_AFTER)
    assert made.due("d") == b"3"
    assert made.due("d") is None
    assert made.due("e") is None


def test_what_waited_is_not_published_after_what_is_newer() -> None:
    made = Turns()
    made.offer("d", "a", b"1", 0.0)
    made.offer("d", "b", b"2", 1.0)
    made.gone("d", "a")
    assert made.offer("d", "c", b"3", 2.0) == (True, True)
    made.gone("d", "c")
    assert made.due("d") is None


def test_the_devices_that_are_remembered_are_so_many() -> None:
    made = Turns()
    for number in range(turns.MOST_DEVICES + 5):
        assert made.offer(str(number), "a", b"", 0.0)[0]
    assert len(made) == turns.MOST_DEVICES
    assert made.offer("0", "b", b"", 0.0)[0]
    assert not made.offer("0", "c", b"", 0.0)[0]
