"""What `rataccess fleet` prints.

Rules of this file: prints what it is given, as tables or as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.table import Table

from rataccess.cli.tables import console, folding
from rataccess.errors import Closed
from rataccess.services.jsonform import iso
from rataccess.services.receivers.base import as_json as as_json_line

if TYPE_CHECKING:
    from rataccess.services.receivers.aside import Refused
    from rataccess.services.store.aside import Aside

View = dict[str, Any]


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1))


def _text(value: Any) -> str:
    """One cell; nothing of it is taken for markup or moves the cursor."""
    if value is None:
        return "-"
    text = value if isinstance(value, str) else json.dumps(value)
    return "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in text).replace("[", r"\[")


def _table(*columns: str) -> Table:
    return folding(*columns)


def _rows(table: Table, rows: Sequence[Sequence[Any]]) -> None:
    for row in rows:
        table.add_row(*map(_text, row))
    console().print(table)


def devices(found: list[View], *, as_json: bool) -> None:
    """All devices."""
    for each in found:
        del each["id"]
    if as_json:
        _print_json(found)
        return
    table = _table("serial number", "state", "fleets", "last heard", "link", "waiting", "parked", "unfinished")
    _rows(
        table,
        [
            (
                each["serial_number"],
                each["state"],
                ", ".join(each["fleets"]),
                each["heard_at"],
                each["link"],
                each["waiting"],
                each["parked_records"] + each["parked_blocks"],
                each["unfinished"],
            )
            for each in found
        ],
    )


def one(found: View, *, as_json: bool) -> None:
    """One device."""
    del found["id"]
    if as_json:
        _print_json(found)
        return
    _rows(_table("", found["serial_number"]), [(name.replace("_", " "), value) for name, value in found.items()])


def health(serial_number: str, found: View | None, *, as_json: bool) -> None:
    """A health report.  Raises `Closed` where there is none."""
    if found is None:
        raise Closed(f"{serial_number} has sent no health report")
    if as_json:
        _print_json(found)
        return
    report = found["report"] if isinstance(found["report"], dict) else {"report": found["report"]}
    _rows(_table("", f"received {found['received_at']}"), list(report.items()))


def environment(found: View, *, as_json: bool) -> None:
    """Variables of a fleet, or of a device."""
    if as_json:
        _print_json(found)
        return
    if "values" in found:
        _rows(_table("variable", "value"), sorted(found["values"].items()))
        return
    own = found["own"]
    rows = [(name, value, "device" if name in own else "fleet") for name, value in sorted(found["merged"].items())]
    _rows(_table("variable", "value", "set for the"), rows)
    if found["conflicts"]:
        conflicts(found["conflicts"], as_json=False)


def conflicts(found: list[View], *, as_json: bool) -> None:
    """What fleets disagree about."""
    if as_json:
        _print_json(found)
        return
    if not found:
        print("no conflicts")
        return
    rows = [
        (
            each.get("serial_number"),
            each["name"],
            "; ".join(f"{one['fleet']}: {one['value']}" for one in each["values"]),
        )
        for each in found
    ]
    _rows(_table("serial number", "variable", "values (the last holds)"), rows)


def aside_counts(found: dict[str, int], *, as_json: bool) -> None:
    """How many records stand aside, by receiver."""
    if as_json:
        _print_json(found)
    elif not found:
        print("no record stands aside")
    else:
        _rows(_table("receiver", "records"), sorted(found.items()))


def aside(found: list[Refused], *, as_json: bool) -> None:
    """Records that stand aside."""
    if as_json:
        _print_json([{**asdict(each), "refused_at": iso(each.refused_at)} for each in found])
        return
    rows = [(each.key, iso(each.refused_at), each.size, each.again, each.reason) for each in found]
    _rows(_table("key", "refused at", "bytes", "will be sent again", "reason"), rows)


def aside_one(found: Aside) -> None:
    """One with its record."""
    told = {"key": found.key, "reason": found.reason, "refused_at": iso(found.refused_at)}
    _print_json({**told, "record": json.loads(as_json_line(found.record))})
