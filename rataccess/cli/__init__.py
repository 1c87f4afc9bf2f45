"""The command line: `rataccess demo | serve | provision | fleet | status | explain | send | doctor | at | trace`.

Rules of this room: it reads arguments and prints; what it shows or does is asked of the floors below.

Exit codes: 0 done; 1 the demo lost, doubled or altered something, fleets are in conflict, the doctor found something, a
command of `at -c` failed, or `send --wait` waited in vain; 2 wrong arguments or configuration, or no such device; 3 keys;
4 the store; 5 nothing to ask or show (no device runs there, it has sent no health report); 6 anything else that the library
reports, or the system about a file that was named; 130 broken off with Ctrl-C.
"""

from __future__ import annotations

import logging
import sys
from typing import NoReturn

from rataccess.errors import Closed, ConfigurationError, KeyStoreError, RataccessError, StoreError

_CODES: tuple[tuple[type[RataccessError], int], ...] = (
    (ConfigurationError, 2),
    (KeyStoreError, 3),
    (StoreError, 4),
    (Closed, 5),
)


def exit_code(error: RataccessError) -> int:
    """The documented exit code for `error`."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), 6)


def _missing(error: ModuleNotFoundError) -> NoReturn:
    package = (error.name or "").partition(".")[0]
    if package not in ("typer", "rich", "segno"):
        raise error
    sys.stderr.write(f"rataccess: {package} is not installed; pip install 'rataccess[cli]'\n")
    sys.exit(2)


def main() -> None:
    """The `rataccess` command."""
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)  # it logs URLs, with the password in them
    try:
        from rataccess.cli.app import app
    except ModuleNotFoundError as error:
        _missing(error)
    try:
        app()
    except ModuleNotFoundError as error:
        _missing(error)
    except RataccessError as error:
        sys.stderr.write(f"rataccess: {error}\n")
        sys.exit(exit_code(error))
    except OSError as error:  # a file or folder that the command was given
        where = f"{error.filename}: " if error.filename else ""
        sys.stderr.write(f"rataccess: {where}{error.strerror or error or type(error).__name__}\n")
        sys.exit(6)
