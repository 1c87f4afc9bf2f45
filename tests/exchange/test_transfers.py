"""Which link carried how much of an object that went in parts."""

from __future__ import annotations

from rataccess.exchange.transfers import MOST, Transfers


def test_only_what_the_service_had_told_of_before_counts_as_sent_again() -> None:
    transfers = Transfers()
    first = transfers.leaving("lora", 5, 300, (0, 100))
    assert transfers.plain() == [], "it has not left yet"
    first()
    second = transfers.leaving("lora", 5, 300, (50, 150))
    transfers.told(5, [(0, 100)])  # the answer to the first overtakes the report that the second has left
    second()
    assert transfers.plain() == [{"number": 5, "size": 300, "bytes": {"lora": 200}, "held": 100, "again": 0}]
    transfers.leaving("lte", 5, 300, (80, 300))()
    transfers.delivered([5, 6])
    assert transfers.plain() == [
        {"number": 5, "size": 300, "bytes": {"lora": 200, "lte": 220}, "held": 300, "again": 20}
    ]


def test_the_oldest_are_forgotten() -> None:
    transfers = Transfers()
    for number in range(MOST + 3):
        transfers.leaving("lora", number, 10, (0, 10))()
    assert [each["number"] for each in transfers.plain()] == list(range(3, MOST + 3))
