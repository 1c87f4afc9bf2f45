"""The command line: `rataccess demo | serve | provision | status | explain`.

Rules of this room: it reads arguments and prints; what it shows or does is asked of the floors below.

Exit codes: 0 done; 1 the demo lost, doubled or altered something; 2 wrong arguments or configuration; 3 keys; 4 the store;
5 nothing to ask (no device runs there); 6 anything else that the library reports.
"""

from __future__ import annotations

import sys

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


def main() -> None:
    """The `rataccess` command."""
    try:
        from rataccess.cli.app import app
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich", "segno"):
            raise
        sys.stderr.write(f"rataccess: {error.name} is not installed; pip install 'rataccess[cli]'\n")
        sys.exit(2)
    try:
        app()
    except RataccessError as error:
        sys.stderr.write(f"rataccess: {error}\n")
        sys.exit(exit_code(error))
