"""`Device`: the same device for applications without an event loop.

Rules of this file: it forwards to `AsyncDevice`, which runs on a thread of its own; no logic of radios or records.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from rataccess.config import Configuration
from rataccess.device.asynchronous import FLUSH_ON_CLOSE, AsyncDevice
from rataccess.device.faces import ManagementChannel, SolutionChannel
from rataccess.device.hints import HintsCallback
from rataccess.device.runner import Iteration, Runner, call
from rataccess.errors import Closed, DeadlineExceeded
from rataccess.transport import Hints

T = TypeVar("T")


class Device:
    """A client of exactly two services, for code without an event loop.

    `with Device.open() as device:` gives `device.management` and `device.solution`.  Leaving the block waits a few seconds
    for what is queued, then closes; records that were not delivered stay on disk.
    """

    management: ManagementChannel
    solution: SolutionChannel

    def __init__(self, device: AsyncDevice) -> None:
        """Takes a device that is not open yet and opens nothing."""
        self._device = device
        self._runner: Runner | None = None

    @classmethod
    def open(cls, configuration: Configuration | Path | str | None = None) -> Device:
        """A device for `with`, or call `start` and `close`.  Raises `ConfigurationError`; see `AsyncDevice.open`."""
        return cls(AsyncDevice.open(configuration))

    def __repr__(self) -> str:
        return repr(self._device).replace("AsyncDevice", "Device")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner:
            try:
                self._runner.run(self._device.flush(FLUSH_ON_CLOSE))
            except (DeadlineExceeded, Closed):
                pass  # what is left is on disk
            finally:
                self.close()

    def start(self) -> None:
        """Open store, keys, links.  Raises `KeyStoreError`, `StoreError`, `Closed`."""
        runner = Runner()
        try:
            runner.run(self._device.start())
        except BaseException:
            runner.close()
            raise
        self._runner = runner
        self.management = ManagementChannel(self._device.management, runner)
        self.solution = SolutionChannel(self._device.solution, runner)

    def close(self) -> None:
        """Close everything without waiting for records; idempotent."""
        runner, self._runner = self._runner, None
        if runner:
            try:
                runner.run(self._device.aclose())
            finally:
                runner.close()

    def flush(self, timeout: float | None = None) -> None:
        """Wait until every record of both channels is settled; `DeadlineExceeded` after `timeout` seconds."""
        self._run(self._device.flush(timeout))

    @property
    def hints(self) -> Hints | None:
        """What the link in use can do right now, or `None` without one."""
        return self._device.hints

    @property
    def link(self) -> str | None:
        """The name of the link in use, or `None` without one."""
        return self._device.link

    def on_hints(self, callback: HintsCallback) -> Callable[[], None]:
        """Have `callback` called with `hints` after each change of the link in use or of its hints.

        Returns what undoes that, which may be called from any thread.  The callback runs in the device's own thread: while
        it does, nothing else of the device does, so let it be short.  There it may call what does not wait (`enqueue`,
        `put`, `get`, `hints`, `link`, `env`); everything else raises `RuntimeError` there.  What it raises is logged.
        """
        return self._run(call(lambda: self._device.on_hints(callback)))

    def hint_changes(self) -> Iteration[Hints | None]:
        """The hints after each change from now on, to be iterated over; `None` without a link.

        Changes that come while nobody waits are given as one, the latest.
        """
        runner = self._open_runner()
        return Iteration(runner.run(call(self._device.hint_changes)), runner)

    def explain(self) -> str:
        """Why this link; for people."""
        return self._run(call(self._device.explain))

    def snapshot(self) -> dict[str, object]:
        """The device's state as plain values."""
        return self._run(call(self._device.snapshot))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            runner = self._open_runner()
        except Closed:
            work.close()
            raise
        return runner.run(work)

    def _open_runner(self) -> Runner:
        if self._runner is None:
            raise Closed("the device is not open")
        return self._runner
