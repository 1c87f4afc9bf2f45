"""One event, one line, whatever it holds."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rataccess.services import logs
from rataccess.services.settings import LogFormat, LogLevel


def record(message: str, level: int = logging.INFO, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("rataccess.services", level, __file__, 1, message, (), None)
    made.created, made.msecs = 1_790_000_000.25, 250
    vars(made).update(extra)
    return made


def test_a_json_line() -> None:
    told = json.loads(logs.JsonLines("solution").format(record("it happened", device="A1", count=3, what=b"\0")))
    assert told == {
        "time": "2026-09-21T14:13:20.250Z",
        "level": "info",
        "logger": "rataccess.services",
        "service": "solution",
        "message": "it happened",
        "device": "A1",
        "count": 3,
        "what": "b'\\x00'",
    }


def test_nothing_moves_the_cursor() -> None:
    line = logs.TextLines("solution").format(record("queue \x1b[2Jq\u202e \\ é"))
    assert line.endswith(r"queue \x1b[2Jq\u202e \\ é")


def test_a_text_line() -> None:
    told = logs.TextLines("solution").format(record("it happened\nand more", logging.WARNING, device="A1"))
    assert told == "2026-09-21T14:13:20.250Z WARNING solution rataccess.services it happened\\nand more device=A1"


@pytest.mark.parametrize("form", [logs.JsonLines("x"), logs.TextLines("x")])
def test_an_exception_stays_in_its_line(form: logging.Formatter) -> None:
    made = record("trouble")
    try:
        raise ValueError("a\nb")
    except ValueError:
        made.exc_info = sys.exc_info()
    told = form.format(made)
    assert "\n" not in told
    assert "ValueError" in told
    assert "test_an_exception_stays_in_its_line" in told


@given(
    st.text(max_size=40), st.dictionaries(st.text(min_size=1, max_size=5), st.text(max_size=10) | st.binary(max_size=4))
)
@settings(max_examples=100)
def test_any_text_is_one_line(message: str, extra: dict[str, Any]) -> None:
    made = record(
        message.replace("%", ""), **{name: value for name, value in extra.items() if name not in ("msg", "args")}
    )
    line = logs.JsonLines("x").format(made)
    assert len(line.splitlines()) == 1
    assert json.loads(line)["message"] == message.replace("%", "")


@pytest.fixture
def root() -> object:
    """The root logger is as before afterwards."""
    before = logging.root.handlers[:], logging.root.level, logging.getLogger("httpx").level
    yield
    logging.captureWarnings(False)
    for handler in logging.root.handlers[:]:
        logging.root.removeHandler(handler)
    for handler in before[0]:
        logging.root.addHandler(handler)
    logging.root.setLevel(before[1])
    logging.getLogger("httpx").setLevel(before[2])


def test_everything_goes_to_standard_output(root: object, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogLevel.INFO, LogFormat.JSON, "management")
    logging.getLogger("anything").info("one")
    logging.getLogger("anything").debug("not this")
    logging.getLogger("httpx").info("nor this, which may hold a URL")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("two", stacklevel=1)
        logging.captureWarnings(False)
    told = capsys.readouterr()
    assert told.err == ""
    first, second = map(json.loads, told.out.splitlines())
    assert (first["message"], first["service"]) == ("one", "management")
    assert "two" in second["message"]
