"""Structured logs: one event a line, to standard output.

Rules of this file: form only.  What may be said is the caller's duty: no secret is ever given to a logger.  A line is one
line whatever a message holds: line breaks are escaped in both formats.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

from rataccess.services.settings import LogFormat, LogLevel

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
"""What every record has; what else it has was given as `extra`."""

_QUIETER = {"httpx": logging.WARNING, "uvicorn.error": logging.WARNING, "psycopg.pool": logging.CRITICAL}
"""httpx and the pool log URLs, which may hold a secret; what they and uvicorn have to say is in lines of ours."""


def configure(level: LogLevel, form: LogFormat, service: str) -> None:
    """Have everything that is logged from now on written to standard output, in place of what was set up before."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines(service) if form is LogFormat.JSON else TextLines(service))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name, least in _QUIETER.items():
        logging.getLogger(name).setLevel(max(least, logging.getLogger().level))
    logging.captureWarnings(True)


def _time(record: logging.LogRecord) -> str:
    """RFC 3339 in UTC, with milliseconds."""
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{whole}.{int(record.msecs):03d}Z"


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _OWN}


class JsonLines(logging.Formatter):
    """A JSON object a line: `time`, `level`, `logger`, `service`, `message`, what the event adds, `exception` if any."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        fields: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "service": self._service,
            "message": record.getMessage(),
            **_extras(record),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)  # ASCII: a line separator of Unicode's ends no line either


class TextLines(logging.Formatter):
    """Time, level, logger and message, for people."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        more = "".join(f" {name}={value}" for name, value in _extras(record).items())
        text = f"{_time(record)} {record.levelname} {self._service} {record.name} {record.getMessage()}{more}"
        if record.exc_info:
            text += f" {self.formatException(record.exc_info)}"
        return "".join(each if each.isprintable() and each != "\\" else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    """Nothing that a device sent moves the cursor of whoever reads the log."""
    return character.encode("unicode_escape").decode()
