"""What `rataccess fleet` prints.

Rules of this file: prints what it is given, as tables or as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from rataccess.errors import Closed

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
    return Table(*columns)


def _rows(table: Table, rows: Sequence[Sequence[Any]]) -> None:
    for row in rows:
        table.add_row(*map(_text, row))
    Console().print(table)


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
