"""How a command line is taken apart (ITU-T V.250 section 5.2; 3GPP TS 27.007 section 4).

Rules of this file: text in, values out.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from rataccess_hil.modem.actions import AtError

_EXTENDED = re.compile(r"[+#%^*$][A-Za-z][A-Za-z0-9]*")
_BASIC = re.compile(r"(&?[A-Za-z])(\d*)")
_REGISTER = re.compile(r"[Ss](\d+)(=\d*|\?)")


class Form(enum.StrEnum):
    """What the command is asked to do."""

    EXECUTE = ""
    READ = "?"
    TEST = "=?"
    SET = "="


@dataclass(frozen=True, slots=True)
class Call:
    """One command of a line."""

    name: str
    """Upper case, with its sign: `+CEREG`, `E`, `&F`, `S`."""
    form: Form
    values: tuple[str, ...] = ()
    """Fields as written, quotes and all."""

    def __len__(self) -> int:
        return len(self.values)

    def given(self, index: int) -> bool:
        """Whether field `index` is there and not empty."""
        return index < len(self.values) and self.values[index] != ""

    def text(self, index: int, default: str | None = None) -> str:
        """Field `index` without its quotes; CME 50 where it is missing and there is no default."""
        if not self.given(index):
            if default is None:
                raise AtError(50)
            return default
        value = self.values[index]
        return value[1:-1] if len(value) >= 2 and value[0] == value[-1] == '"' else value

    def number(self, index: int, low: int, high: int, default: int | None = None) -> int:
        """Field `index` as a number from `low` to `high`; CME 50 where it is anything else."""
        if not self.given(index):
            if default is None:
                raise AtError(50)
            return default
        if not re.fullmatch(r"\d{1,9}", self.values[index]):
            raise AtError(50)
        value = int(self.values[index])
        if not low <= value <= high:
            raise AtError(50)
        return value


def split_line(body: str) -> list[Call]:
    """The commands of a line without its `AT`; raises `AtError` where it is none.

    >>> [str(call.name) for call in split_line("E0V1+CMEE=1;+CSQ")]
    ['E', 'V', '+CMEE', '+CSQ']
    """
    calls: list[Call] = []
    rest = body.strip(" ")
    while rest:
        if rest[0] in "; ":
            rest = rest[1:]
            continue
        call, rest = _extended(rest) if rest[0] in "+#%^*$" else _basic(rest)
        calls.append(call)
    return calls


def _basic(text: str) -> tuple[Call, str]:
    register = _REGISTER.match(text)
    if register:
        number, rest = register.groups()
        form = Form.READ if rest == "?" else Form.SET
        return Call("S", form, (number, rest[1:])), text[register.end() :]
    match = _BASIC.match(text)
    if not match:
        raise AtError(None)
    name, digits = match.group(1).upper(), match.group(2)
    if name == "D":
        return Call("D", Form.SET, (text[1:],)), ""
    return Call(name, Form.SET if digits else Form.EXECUTE, (digits,) if digits else ()), text[match.end() :]


def _extended(text: str) -> tuple[Call, str]:
    match = _EXTENDED.match(text)
    if not match:
        raise AtError(None)
    name = match.group().upper()
    body, rest = _until_semicolon(text[match.end() :])
    body = body.strip(" ")
    if body in ("", "?", "=?"):
        return Call(name, Form(body)), rest
    if body[0] != "=":
        raise AtError(None)
    return Call(name, Form.SET, tuple(split_fields(body[1:]))), rest


def _until_semicolon(text: str) -> tuple[str, str]:
    quoted = False
    for index, sign in enumerate(text):
        if sign == '"':
            quoted = not quoted
        elif sign == ";" and not quoted:
            return text[:index], text[index + 1 :]
    return text, ""


def split_fields(text: str) -> list[str]:
    """Fields between commas that stand outside quotes, stripped of blanks."""
    fields = [""]
    quoted = False
    for sign in text:
        quoted ^= sign == '"'
        if sign == "," and not quoted:
            fields.append("")
        else:
            fields[-1] += sign
    return [part.strip(" ") for part in fields]
