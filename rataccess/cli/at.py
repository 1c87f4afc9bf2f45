"""`rataccess at PORT`: a console to a modem's AT port that tells replies from what comes unasked.

Rules of this file: lines in, lines out; the protocol is the driver's `AtPort`.  It runs on a loop in a thread of its own, so
that URCs are shown while somebody types.  Replies go to standard output; URCs and errors, marked, to standard error.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, Self, TypeVar

from rataccess.errors import CommandFailed, RadioSilent, RataccessError
from rataccess_drivers.at.commands import Command, Reply, Urc
from rataccess_drivers.at.port import AtPort

T = TypeVar("T")
RUI3_FAILURES = (
    "AT_ERROR",
    "AT_PARAM_ERROR",
    "AT_TEST_PARAM_OVERFLOW",
    "AT_BUSY_ERROR",
    "AT_NO_NETWORK_JOINED",
    "AT_NO_CLASSB_ENABLE",
    "AT_RX_ERROR",
    "AT_DUTYCYCLE_RESTRICTED",
    "AT_CRYPTO_ERROR",
    "AT_COMMAND_NOT_FOUND",
)
"""How RAKwireless's modules refuse (RUI3 serial operating manual); they say OK like a modem otherwise."""
HELP = "commands as the modem knows them; !timeout SECONDS; exit or Ctrl-D ends"


class Console:
    """One port, used from a thread that may block.  `on_urc` is called from the loop's thread."""

    def __init__(self, address: str, *, baudrate: int = 115_200, on_urc: Callable[[Urc], None]) -> None:
        self._port = AtPort(address, baudrate=baudrate, name=address)
        self._port.on_urc(on_urc)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="rataccess at", daemon=True)

    def __enter__(self) -> Self:
        """Open the port.  Raises `ConfigurationError`, `RadioNotFound`, `PortBusy` (naming the holder), `RadioSilent`."""
        self._thread.start()
        try:
            self._do(self._port.open())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(RataccessError):
            self._do(self._port.aclose())
        self._end()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise

    def ask(self, text: str, timeout: float) -> Reply:
        """The reply; raises `CommandFailed`, `RadioSilent`, `PortLost`, `ValueError`."""
        return self._do(self._port.run(Command(text, timeout=timeout, failure=RUI3_FAILURES)))


def show(reply: Reply) -> None:
    """As the modem said it."""
    for line in reply.lines:
        print(line)
    print(reply.final, flush=True)


def show_urc(urc: Urc) -> None:
    """Apart from replies: on standard error, with a mark."""
    payload = f"  [{len(urc.payload)} bytes]" if urc.payload is not None else ""
    sys.stderr.write(f"\r<< {urc.line}{payload}\n")
    sys.stderr.flush()


def run_commands(console: Console, commands: Sequence[str], timeout: float) -> int:
    """One after the other, up to the first that fails; 0 where all were answered with OK, else 1.

    Raises `RadioSilent` and `PortLost`.
    """
    for text in commands:
        try:
            show(console.ask(text, timeout))
        except (CommandFailed, ValueError) as error:
            sys.stderr.write(f"rataccess: {error}\n")
            return 1
    return 0


def converse(console: Console, timeout: float) -> int:
    """Lines of standard input until it ends; with history where it is a terminal.  Always 0; raises `PortLost`."""
    if sys.stdin.isatty():
        sys.stderr.write(HELP + "\n")
    for line in _lines():
        word, _, rest = line.partition(" ")
        if word in ("exit", "quit"):
            break
        if word == "!timeout":
            timeout = _seconds(rest, timeout)
        elif line:
            _answer(console, line, timeout)
    return 0


def _answer(console: Console, line: str, timeout: float) -> None:
    try:
        show(console.ask(line, timeout))
    except (CommandFailed, RadioSilent, ValueError) as error:
        sys.stderr.write(f"{error}\n")


def _seconds(text: str, now: float) -> float:
    try:
        found = float(text)
        if not 0 < found < 86_400:
            raise ValueError
    except ValueError:
        sys.stderr.write(f"!timeout {text}: seconds, above 0 and below 86400; it stays {now:g}\n")
        return now
    return found


def _lines() -> Iterator[str]:
    """What is typed, with the editing and history of readline, kept for this run only: lines may hold PINs."""
    terminal = sys.stdin.isatty()
    if terminal:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  it makes `input` edit
    while True:
        try:
            line = input("at> ") if terminal else sys.stdin.readline()
        except EOFError:
            return
        if not terminal and not line:
            return
        yield line.strip()
