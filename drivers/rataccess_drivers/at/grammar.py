"""The grammar of AT lines: fields, groups, ranges, strings (ITU-T V.250 clause 5; 3GPP TS 27.007 clause 4).

Rules of this file: pure functions on text, total: any text at all gives a value, never an exception, unless the docstring
says otherwise.  What a line means is for `results`, the engine and the parsers.
"""

from __future__ import annotations

import re

Field = str | int | None

# One field and the comma or end after it.  Quoted first: it may hold commas and parentheses.  A quote that is never
# closed, as in a line that was cut, runs to the end.
_QUOTED = re.compile(r'\s*"([^"]*)(?:"|$)\s*')
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_RANGE = re.compile(r"\s*([0-9]{1,9})\s*(?:-\s*([0-9]{1,9})\s*)?")
_ESCAPE = re.compile(r"\\([01][0-9A-Fa-f]|22|5[Cc])")
_TO_ESCAPE = re.compile(r'[\x00-\x1f"\\]')
# No list that a modem announces has more values; a garbled `0-999999999` must not eat the memory.
_MOST_VALUES = 4096


def split_raw(text: str) -> list[str]:
    """The comma fields of `text` as written (quotes and parentheses kept), without surrounding blanks.

    Commas inside quotes or parentheses do not split; a parenthesis never opened stands for itself, one never closed
    runs to the end.  `""` has one empty field.
    """
    if '"' not in text and "(" not in text:
        return [part.strip() for part in text.split(",")]
    fields = []
    start = depth = 0
    quoted = False
    for index, character in enumerate(text):
        if character == '"':
            quoted = not quoted
        elif quoted:
            continue
        elif character == "(":
            depth += 1
        elif character == ")":
            depth = max(depth - 1, 0)
        elif character == "," and not depth:
            fields.append(text[start:index].strip())
            start = index + 1
    fields.append(text[start:].strip())
    return fields


def field_value(raw: str) -> Field:
    """The value of one field as `split_raw` gives it.

    Nothing is `None`; a quoted string is its text, also where it is empty; a plain decimal integer is an `int`.
    Anything else stays text: hexadecimal values, `(1-3,5)`, and numbers with leading zeros, because in `310,010` (a
    mobile network code) and in `0010` (a cell in hexadecimal) the zeros mean something.
    """
    if not raw:
        return None
    if raw[0] == '"':
        return unquote(raw)
    if _INTEGER.fullmatch(raw):
        return int(raw)
    return raw


def split_fields(text: str) -> list[Field]:
    """The values of the comma fields of `text`: `1,"a,b",,(1-3,5)` gives `[1, "a,b", None, "(1-3,5)"]`.

    A string constant's `\\hh` (V.250 clause 5.4.2.2) is undone where it stands for a control character, a quote or a
    backslash; elsewhere modems mean the backslash itself.
    """
    return [field_value(raw) for raw in split_raw(text)]


def plain_text(raw: str) -> str:
    """The text of a field whether or not the modem quoted it."""
    return unquote(raw) if raw[:1] == '"' else raw


def whole_number(raw: str) -> int | None:
    """The decimal integer of a field, quoted or not, leading zeros allowed; `None` where it is none."""
    text = plain_text(raw).strip()
    body = text[1:] if text[:1] in "+-" else text
    if not (body.isascii() and body.isdigit() and len(body) <= 18):
        return None
    return int(text)


def hexadecimal(raw: str) -> int | None:
    """The hexadecimal integer of a field, quoted or not, with or without `0x`; `None` where it is none."""
    text = plain_text(raw).strip().removeprefix("0x")
    if not re.fullmatch(r"[0-9A-Fa-f]{1,16}", text):
        return None
    return int(text, 16)


def unquote(raw: str) -> str:
    """The text of a quoted string; a missing closing quote, and whatever follows it, is ignored."""
    match = _QUOTED.match(raw)
    text = match[1] if match else raw
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text) if "\\" in text else text


def quote(text: str) -> str:
    """`text` as a string constant for a command: control characters, `"` and `\\` become `\\hh` (V.250 clause 5.4.2.2)."""
    return '"' + _TO_ESCAPE.sub(lambda found: f"\\{ord(found[0]):02X}", text) + '"'


def split_groups(text: str) -> list[str]:
    """The comma parts of a test reply, each without its outer parentheses: `("SM","ME"),"SM"`; quotes are kept."""
    return [_without_parentheses(part) for part in split_raw(text)]


def _without_parentheses(part: str) -> str:
    if part[:1] != "(":
        return part
    return part[1:-1].strip() if part[-1:] == ")" and len(part) > 1 else part[1:].strip()


def parse_range(text: str) -> list[int]:
    """The whole numbers that `(0-3,5)` allows, ascending; the parentheses may be absent.

    Parts that are no number or range are left out, and so is what exceeds 4096 values: a list that long is a garbled one.
    """
    values: set[int] = set()
    for part in _without_parentheses(text.strip()).split(","):
        match = _RANGE.fullmatch(part)
        if not match:
            continue
        first = int(match[1])
        last = int(match[2]) if match[2] else first
        values.update(range(first, min(last + 1, first + _MOST_VALUES - len(values))))
    return sorted(values)


def decimal_digits(text: str, *, low_nibble_first: bool) -> str:
    """The digits that BCD octets, given in hexadecimal, hold (3GPP TS 31.102 clause 4.2.2, TS 24.008 clause 10.5.4.7).

    A nibble above 9 ends them; so does a character that is no hexadecimal digit.
    """
    pairs = (text[index : index + 2] for index in range(0, len(text) - 1, 2))
    ordered = "".join(pair[::-1] if low_nibble_first else pair for pair in pairs)
    match = re.match(r"[0-9]*", ordered)
    return match[0] if match else ""


def strip_echo(data: bytes) -> bytes:
    """`data` from its first CR LF on: what stands before it, at the start of a verbose reply, is the command's echo.

    Data that begins with CR or LF has no echo, and data without CR LF is left alone, since more of it may come.
    """
    if data[:1] in (b"\r", b"\n", b""):
        return data
    index = data.find(b"\r\n")
    return data[index:] if index >= 0 else data
