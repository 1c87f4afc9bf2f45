"""Tables for people.

Rules of this file: how they look; on a narrow terminal a cell goes on in the next line, and nothing of it is left out.
"""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

_UNBROKEN = 500
"""Columns of what is no terminal: whoever reads it finds each row in one line."""


def folding(*columns: str, title: str | None = None) -> Table:
    """A table with these columns."""
    table = Table(title=title, title_justify="left")
    for name in columns:
        table.add_column(name, overflow="fold")
    return table


def console() -> Console:
    """Standard output; as wide as a row needs where it is no terminal."""
    return Console() if sys.stdout.isatty() else Console(width=_UNBROKEN)
