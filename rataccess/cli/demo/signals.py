"""Signals that end the demo early.

Rules of this file: a signal is noted wherever it comes, and acted upon only where the demo waits.  A handler that raised
would break what it lands in: a process that was started would never be written down (`subprocess.Popen` waits for its
child), and what is raised in a finaliser Python drops.
"""

from __future__ import annotations

import os
import select
import signal
from typing import IO, Any, Self

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """While it is entered, SIGINT, SIGTERM and SIGHUP have the next wait raise `KeyboardInterrupt`, and each one after."""

    def __enter__(self) -> Self:
        self._told = False
        self._awake, self._wake = os.pipe()
        os.set_blocking(self._wake, False)  # a full pipe wakes as well
        self._before = {number: signal.signal(number, self._note) for number in ENDING}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._awake)
        os.close(self._wake)

    def _note(self, number: int, _: object) -> None:
        if not self._told:
            self._told = True
            os.write(self._wake, b"\0")

    def check(self) -> None:
        """Raises `KeyboardInterrupt` where a signal has come."""
        if self._told:
            raise KeyboardInterrupt

    def wait(self, seconds: float, stream: IO[Any] | None = None) -> bool:
        """Wait until `stream` can be read, at most `seconds`; whether it can.  Raises as `check` does."""
        streams: list[IO[Any] | int] = [self._awake] if stream is None else [self._awake, stream]
        readable, _, _ = select.select(streams, [], [], seconds)
        self.check()
        return stream is not None and stream in readable
