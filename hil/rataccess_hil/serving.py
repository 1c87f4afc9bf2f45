"""What virtual radios that run as processes of their own have in common: what they are told, what they say, and their end.

Rules of this file: nothing of any radio.  Such a process prints one line of JSON when it can be used, and ends on SIGTERM,
SIGINT, the control `stop`, or where it was asked to when its standard input ends (its parent died).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from rataccess_hil.control import Control, ControlServer
from rataccess_hil.part import Part


def host_and_port(text: str, least: int = 1) -> tuple[str, int]:
    """`HOST:PORT` of a command line; raises `argparse.ArgumentTypeError` for anything else, and ports below `least`."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or not least <= int(port) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is no HOST:PORT")
    return host.strip("[]"), int(port)


def run_process(
    parser: argparse.ArgumentParser,
    run: Callable[[argparse.Namespace], Coroutine[Any, Any, None]],
    arguments: Sequence[str] | None = None,
) -> None:
    """Parse and run; a port, a path or a socket that cannot be had is told in a line, and the exit status is 1."""
    options = parser.parse_args(arguments)
    try:
        asyncio.run(run(options))
    except OSError as error:
        parser.exit(1, f"{parser.prog}: {error}\n")


class Serving:
    """Minds signals and standard input from the moment it is made, in the running event loop."""

    def __init__(self, *, until_eof: bool) -> None:
        self._ended = asyncio.Event()
        self._until_eof = until_eof
        self._loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._ended.set)
        if until_eof:
            self._loop.add_reader(sys.stdin, self._look)

    def _look(self) -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            self._ended.set()

    async def serve(
        self,
        told: Callable[[], Mapping[str, Any]],
        control: str | None = None,
        do: Control | None = None,
        parts: Sequence[Part] = (),
    ) -> None:
        """Open the parts, and a control channel at `control` where there is one; say what is `told`; wait for the end."""
        server = [ControlServer(control, do, self._ended.set)] if control and do else []
        everything: list[Part] = [*parts, *server]
        try:
            for part in everything:
                await part.open()
            sys.stdout.write(json.dumps(told()) + "\n")
            sys.stdout.flush()
            await self._ended.wait()
        finally:
            for part in reversed(everything):
                await part.aclose()
            if self._until_eof:
                self._loop.remove_reader(sys.stdin)
