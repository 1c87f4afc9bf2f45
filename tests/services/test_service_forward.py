"""Lines of JSON: each record once, whatever is killed when; and any object as JSON."""

from __future__ import annotations

import json
import math
import os
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rataccess.errors import DiskFull
from rataccess.services import forward
from rataccess.services.forward import Forwarder, append_all
from rataccess.services.jsonform import body_as_json, iso
from rataccess.services.store import ServiceStore
from tests.services.service_world import NOW, World


def lines(world: World) -> list[dict[str, object]]:
    return [json.loads(line) for line in (world.folder / "solution.ndjson").read_text().splitlines()]


def numbers(world: World) -> list[object]:
    return [line["record"] for line in lines(world)]


def fill(world: World, first: int, last: int) -> None:
    device = world.add("A1")
    device.context = world.__dict__.setdefault("context", device.context)
    for number in range(first, last + 1):
        world.send(device, device.record(number, {"n": number}))


def test_a_line_holds_what_is_known_of_a_record(solution: World) -> None:
    device = solution.add("A1")
    record = device.record(1, {"t": 21.5, "raw": b"\0\1"}, at=NOW + 0.25)
    solution.send(device, record, device.record(2, None, "alarms", at=NOW + 0.25), control={16: "lte"})
    solution.send(device, device.record(3, "ö", at=None), control={16: ""})
    append_all(solution.forwarder)  # type: ignore[arg-type]
    received = iso(solution.clock.wall())
    first, second, third = lines(solution)
    assert first == {
        "device": "00",
        "serial_number": "A1",
        "channel": "solution",
        "queue": "readings",
        "record": 1,
        "captured_at": "2026-09-21T14:13:20.250Z",
        "received_at": received,
        "link": "lte",
        "body": {"t": 21.5, "raw": {"$bytes": "AAE="}},
    }
    assert list(first) == [
        "device",
        "serial_number",
        "channel",
        "queue",
        "record",
        "captured_at",
        "received_at",
        "link",
        "body",
    ]
    assert (second["queue"], second["body"]) == ("alarms", None)
    assert (third["captured_at"], third["link"], third["body"]) == (None, None, "ö")


@pytest.mark.parametrize("moment", ["before writing", "half written", "written", "committed"])
def test_a_kill_at_any_moment_neither_loses_nor_doubles_a_line(
    solution: World, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    fill(solution, 1, 5)
    assert solution.forwarder is not None
    solution.forwarder.forward()
    fill(solution, 6, 9)
    with monkeypatch.context() as patched:
        die_at(moment, patched)
        with pytest.raises(KeyboardInterrupt):
            solution.forwarder.forward()
    solution.restart()
    counted = 9 if moment == "committed" else 5
    assert numbers(solution) == list(range(1, counted + 1))  # nobody reads half a line
    append_all(solution.forwarder)
    assert numbers(solution) == list(range(1, 10))


def die_at(moment: str, patched: pytest.MonkeyPatch) -> None:
    """Have the process end at a moment of forwarding."""
    write, commit = os.pwrite, ServiceStore.transaction

    def half(descriptor: int, data: bytes, position: int) -> int:
        write(descriptor, data[: len(data) // 2], position)
        raise KeyboardInterrupt

    def never(*_: object) -> int:
        raise KeyboardInterrupt

    if moment == "before writing":
        patched.setattr(os, "pwrite", never)
    elif moment == "half written":
        patched.setattr(os, "pwrite", half)
    elif moment == "written":
        patched.setattr(ServiceStore, "transaction", never)
    else:

        def commit_and_die(store: ServiceStore) -> object:
            class Dying:
                def __enter__(self) -> object:
                    self.inner = commit(store)
                    return self.inner.__enter__()

                def __exit__(self, *error: object) -> None:
                    self.inner.__exit__(*error)  # type: ignore[arg-type]
                    raise KeyboardInterrupt

            return Dying()

        patched.setattr(ServiceStore, "transaction", commit_and_die)


def test_a_full_disk_delays_lines_and_loses_none(solution: World, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(solution, 1, 3)
    assert solution.forwarder is not None
    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(DiskFull):
            solution.forwarder.forward()
        append_all(solution.forwarder)  # an orderly end does not fail for it
    append_all(solution.forwarder)
    assert numbers(solution) == [1, 2, 3]


def test_a_file_that_was_moved_away_is_begun_anew(solution: World) -> None:
    path = solution.folder / "solution.ndjson"
    fill(solution, 1, 3)
    append_all(solution.forwarder)  # type: ignore[arg-type]
    moved = path.rename(solution.folder / "old.ndjson")
    fill(solution, 4, 5)
    append_all(solution.forwarder)  # type: ignore[arg-type]
    solution.restart()
    fill(solution, 6, 6)
    append_all(solution.forwarder)  # type: ignore[arg-type]
    assert numbers(solution) == [4, 5, 6]
    assert len(moved.read_text().splitlines()) == 3


def test_a_kill_just_after_the_file_was_moved_away_doubles_no_line(
    solution: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(solution, 1, 3)
    append_all(solution.forwarder)  # type: ignore[arg-type]
    (solution.folder / "solution.ndjson").rename(solution.folder / "old.ndjson")
    fill(solution, 4, 5)
    synchronise = os.fdatasync

    def synchronise_and_die(descriptor: int) -> None:
        synchronise(descriptor)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", synchronise_and_die)
        with pytest.raises(KeyboardInterrupt):
            solution.forwarder.forward()  # type: ignore[union-attr]
    solution.restart()
    append_all(solution.forwarder)  # type: ignore[arg-type]
    assert numbers(solution) == [4, 5]


def test_a_file_that_was_emptied_is_continued(solution: World) -> None:
    fill(solution, 1, 3)
    append_all(solution.forwarder)  # type: ignore[arg-type]
    os.truncate(solution.folder / "solution.ndjson", 0)
    fill(solution, 4, 4)
    append_all(solution.forwarder)  # type: ignore[arg-type]
    os.truncate(solution.folder / "solution.ndjson", 0)
    solution.restart()
    fill(solution, 5, 5)
    append_all(solution.forwarder)  # type: ignore[arg-type]
    assert numbers(solution) == [5]


def test_chunks_are_bounded_by_bytes(solution: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "CHUNK_BYTES", 8)
    fill(solution, 1, 6)
    assert solution.forwarder is not None
    assert solution.forwarder.forward()
    assert len(numbers(solution)) < 6
    append_all(solution.forwarder)
    assert numbers(solution) == [1, 2, 3, 4, 5, 6]


def test_what_was_parked_is_forwarded_when_it_is_named(solution: World) -> None:
    device = solution.add("A1")
    solution.send(device, device.record(1, 1, "late", named=False), device.record(2, 2))
    append_all(solution.forwarder)  # type: ignore[arg-type]
    solution.send(device, device.record(3, 3, "late"))
    append_all(solution.forwarder)  # type: ignore[arg-type]
    assert sorted((line["record"], line["queue"]) for line in lines(solution)) == [
        (1, "late"),
        (2, "readings"),
        (3, "late"),
    ]


# --- objects as JSON --------------------------------------------------------------------------------------------------

_EAST = timezone(timedelta(hours=2))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": [1, None, True, "x"]}, {"a": [1, None, True, "x"]}),
        (b"\xff", {"$bytes": "/w=="}),
        (math.nan, {"$float": "nan"}),
        (math.inf, {"$float": "inf"}),
        (-math.inf, {"$float": "-inf"}),
        (datetime(2026, 1, 2, 3, 4, 5, 678_900, tzinfo=_EAST), "2026-01-02T01:04:05.678Z"),
        (date(2026, 1, 2), "2026-01-02"),
        ({1: "a", "b": 2}, {"$map": [[1, "a"], ["b", 2]]}),
        ({"$bytes": "trick"}, {"$map": [["$bytes", "trick"]]}),
        ({(1, 2): 3}, {"$map": [[[1, 2], 3]]}),
        (2**63 - 1, 2**63 - 1),
        (2**63, {"$integer": "9223372036854775808"}),
        (Decimal("1.50"), {"$decimal": "1.50"}),
        (Fraction(1, 3), {"$fraction": [1, 3]}),
        ({1}, {"$set": [1]}),
        (cbor2.CBORTag(4711, [1]), {"$tag": 4711, "value": [1]}),
        (cbor2.CBORSimpleValue(99), {"$simple": 99}),
        (cbor2.undefined, {"$undefined": True}),
    ],
)
def test_objects_as_json(value: object, expected: object) -> None:
    assert json.loads(body_as_json(cbor2.dumps(value))) == expected


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80))
def test_any_bytes_become_one_line_of_json(body: bytes) -> None:
    text = body_as_json(body)
    assert "\n" not in text
    json.loads(text, parse_constant=pytest.fail)
    text.encode()


def shared_bomb(depth: int) -> bytes:
    """Lists of lists of references, each twice to the one before (tags 28 and 29)."""
    lists = (b"\xd8\x1c\x82" + 2 * (b"\xd8\x1d" + cbor2.dumps(index)) for index in range(depth))
    return b"\x98" + bytes([depth + 1]) + b"\xd8\x1c\x81\x00" + b"".join(lists)


def test_shared_references_do_not_blow_up() -> None:
    small, large = shared_bomb(3), shared_bomb(60)
    assert len(cbor2.loads(small)) == 4
    assert json.loads(body_as_json(large)).keys() == {"$cbor"}
    cyclic = b"\xd8\x1c\x81\xd8\x1d\x00"
    assert json.loads(body_as_json(cyclic)).keys() == {"$cbor"}


def test_huge_numbers_are_kept_as_bytes() -> None:
    assert json.loads(body_as_json(cbor2.dumps(10**6000))).keys() == {"$cbor"}


def test_times_that_nobody_knows() -> None:
    assert iso(None) is None
    assert iso(0.0004) == "1970-01-01T00:00:00.000Z"
    assert datetime.fromisoformat(iso(NOW) or "") == datetime.fromtimestamp(NOW, UTC)


def test_repr(tmp_path: Path, solution: World) -> None:
    assert "record=0" in repr(Forwarder(solution.store, tmp_path / "x"))
