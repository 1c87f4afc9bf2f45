"""What a way in is, and what it is given.

Rules of this file: the abstract base: starting, restarting, counting, closing.  No protocol, no socket.  A way in
authenticates nothing: whether a packet is genuine is for the service's core to say.  What it cannot read is counted by
cause, answered with no more than its carrier's protocol demands, and kept nowhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from rataccess.clock import Clock
from rataccess.errors import ConfigurationError, StoreError, WayBroken
from rataccess.link.backoff import exponential
from rataccess.objects import Service
from rataccess.services.airway import Airway
from rataccess.services.keyfile import KeyFile
from rataccess.services.storethread import StoreAccess

logger = logging.getLogger("rataccess.services.ways")

Heard = Callable[[Sequence[tuple[bytes, Airway]]], bool | None]
"""What packets are given to, on the event loop: they are taken, or dropped for good, when it returns.  `False`: they could
not be kept now, and should come again."""

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""Seconds before a way that broke is begun again; doubled each time."""
STANDS_BY = 10.0
"""Seconds, on average, between two looks whether a port has become free that another process of the service had."""
QUIET = 60.0
"""Seconds between two log lines of the same text that something from outside can cause: strangers fill no disk."""
LASTED = 60.0
"""Seconds after which a way that ran counts as sound: the next wait is the first one again."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the service gives to each of its ways."""

    service: Service
    clock: Clock
    count: Callable[[str], None]
    """Counts one event by its cause."""
    keys: KeyFile
    """Who the devices are; a way refreshes what it asks of it."""
    store: Callable[[str], StoreAccess]
    """A handle on the store, for a way of a name that keeps something."""
    environ: Mapping[str, str]
    random: Random
    repeats_after: float = 3 * 3600.0
    """Seconds after which what went where packets cost is sent again, where nothing acknowledged it."""
    shared: bool = False
    """Whether several processes of the service share its store: a port is one's, and another takes it where that ends."""


class WayIn(ABC):
    """One way in.  `start`, then packets go to `heard` and answers come by `send`, until `aclose`."""

    def __init__(self, name: str, around: Surroundings) -> None:
        self.name = name
        self._around = around
        self._task: asyncio.Task[None] | None = None
        self.state = "closed"
        """`open`, `standing by`, `trying again` or `closed`."""
        self.last_error: str | None = None
        self._warned: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {self.state}>"

    async def start(self, heard: Heard) -> None:
        """Listen, and go on until `aclose`, whatever breaks.  Raises `ConfigurationError` where an address cannot be had;
        one that another process of the service may have is waited for."""
        self._heard = heard
        try:
            await self._open()
        except BaseException as error:
            await self._close()
            if self._stands_by(error):
                self.state = "standing by"
                logger.info("way %s stands by: %s", self.name, error)
            elif type(error) is ConfigurationError:
                raise ConfigurationError(f"way {self.name}: {error}") from error
            else:
                raise
        else:
            self.state = "open"
        self._task = asyncio.create_task(self._keep(), name=f"way {self.name}")

    def _stands_by(self, error: BaseException | None) -> bool:
        """Whether another process of the service does its work, as far as can be told."""
        cause = None if error is None else error.__cause__
        return self._around.shared and isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE

    @abstractmethod
    def send(self, airway: Airway, data: bytes) -> None:
        """Have `data` sent to a device, as soon as its network allows.  Never blocks, never raises: what cannot be sent
        is counted."""

    async def aclose(self) -> None:
        """Stop and let go of everything.  Idempotent; never raises."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({task})
        with contextlib.suppress(Exception):
            await self._close()
        self.state = "closed"

    # --- for the kinds ------------------------------------------------------------------------------------------------

    async def _open(self) -> None:  # noqa: B027 (some only connect)
        """Begin to listen.  Called again, after `_close`, when `_run` has ended."""

    @abstractmethod
    async def _run(self) -> None:
        """Serve; raises `WayBroken` when that is over."""

    async def _close(self) -> None:  # noqa: B027
        """Let go of everything; also of what `_open` began and did not finish."""

    def _count(self, cause: str) -> None:
        self._around.count(cause)

    def _met(self, error: Exception) -> None:
        """A defect: the message that met it is lost, and nothing else is."""
        self._count("ways in that met a defect")
        self._say(logging.ERROR, "way %s met a defect", error=error)

    def _warn(self, text: str, *arguments: object) -> None:
        """Log a warning that begins with the way's name (`%s` in `text`), each text once in a while."""
        self._say(logging.WARNING, text, *arguments)

    def _say(self, level: int, text: str, *arguments: object, error: Exception | None = None) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._warned.get(text, float("-inf")) >= QUIET:
            self._warned[text] = now
            logger.log(level, text, self.name, *arguments, exc_info=error)

    def _hear(self, data: bytes, airway: Airway) -> bool:
        """Hand one packet to the service; whether it is done with: where not, it should come again."""
        self._count("packets that came by a way in")
        return self._heard([(data, airway)]) is not False

    # --- running ------------------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        loop, failures, opened = asyncio.get_running_loop(), 0, self.state == "open"
        while True:
            begun = loop.time()
            try:
                if not opened:
                    await self._close()
                    await self._open()
                self.state, opened = "open", False
                await self._run()
            except (WayBroken, ConfigurationError, StoreError) as error:
                if self._stands_by(error):
                    self.state = "standing by"
                    await asyncio.sleep(STANDS_BY * (0.5 + self._around.random.random()))
                    continue
                self.last_error = str(error)
            except Exception as error:  # noqa: BLE001 (a defect of one way is not the end of the service)
                self.last_error = f"a defect: {type(error).__name__}"
                self._met(error)
            failures = 1 if loop.time() - begun > LASTED else failures + 1
            wait = exponential(failures, FIRST_WAIT, LONGEST_WAIT, self._around.random)
            self.state = "trying again"
            self._count("ways in begun again")
            logger.warning("way %s: %s; again in %.1f s", self.name, self.last_error, wait)
            await asyncio.sleep(wait)


def service_of(data: bytes) -> Service | None:
    """The service that a packet in compact form names in its first byte (docs/wire.md); `None`: it is none."""
    if not data or data[0] >> 6 == 3:
        return None
    return Service.SOLUTION if data[0] & 0x20 else Service.MANAGEMENT
