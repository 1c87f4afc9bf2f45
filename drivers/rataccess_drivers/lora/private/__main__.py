"""`python -m rataccess_drivers.lora.private bridge.toml`: the hub of a private LoRa network as a process.

Rules of this file: arguments, configuration and the end by a signal; everything else is in `bridge`.  Air time is kept in
the file beside the configuration (or `--state`), so that a restart gives none back.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
import tomllib
from pathlib import Path

import cbor2
import msgspec

from rataccess.clock import SystemClock
from rataccess.errors import ConfigurationError, DiskFull, RataccessError
from rataccess_drivers.lora.private.bridge import Bridge, BridgeSettings


class FileMemory:
    """A `Memory` in one small file, replaced as a whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._values: dict[str, bytes] = {}
        with contextlib.suppress(FileNotFoundError):
            data = path.read_bytes()
            try:
                self._values = dict(cbor2.loads(data))
            except Exception as error:  # whatever the disk made of it  # noqa: BLE001
                raise ConfigurationError(
                    f"{path} is damaged ({error}); delete it an hour after the last start"
                ) from None

    def get(self, key: str) -> bytes | None:
        """See `Memory.get`."""
        return self._values.get(key)

    def put_now(self, key: str, value: bytes) -> None:
        """See `Memory.put_now`; raises `DiskFull` where the file cannot be written, and the old one stays."""
        values = self._values | {key: value}
        new = self._path.with_name(f"{self._path.name}.new")
        try:
            with new.open("wb") as file:
                file.write(cbor2.dumps(values))
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)  # or a power cut may bring the old file back, and air time with it
            finally:
                os.close(folder)
        except OSError as error:
            raise DiskFull(
                f"{self._path} cannot be written: {error.strerror}; make room there, or give --state"
            ) from error
        self._values = values

    put = put_now


def settings(path: Path) -> BridgeSettings:
    """Read the configuration.  Raises `ConfigurationError`."""
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), BridgeSettings)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise ConfigurationError(f"{path}: {error}") from error


async def serve(bridge: Bridge) -> None:
    """Until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    running = asyncio.create_task(bridge.run())
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, running.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await running
    logging.getLogger("rataccess.lora.private").info("%r ends: %s", bridge, {**bridge.counters, **bridge.hub.counters})


def main(arguments: list[str] | None = None) -> int:
    """0 when ended by a signal, 1 where the configuration or the radio is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m rataccess_drivers.lora.private", description="The hub of a private LoRa network."
    )
    parser.add_argument("configuration", type=Path, help="TOML: `management`, `solution`, `network`, [transceiver] ...")
    parser.add_argument("--state", type=Path, help="file that keeps the air time; by default beside the configuration")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        state = chosen.state or chosen.configuration.with_suffix(".state")
        bridge = Bridge(settings(chosen.configuration), SystemClock(), FileMemory(state))
        asyncio.run(serve(bridge))
    except (RataccessError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
