"""The AT port of ours, with the whole table of unsolicited codes of a Quectel modem: `at_client.py PATH`."""

from __future__ import annotations

import asyncio
import json
import sys

from rataccess_drivers.at.commands import Command
from rataccess_drivers.at.port import AtPort
from rataccess_drivers.cellular.profiles import URCS
from tests.bench.peers.at_measuring import measure


async def main(path: str) -> None:
    port = AtPort(f"pty:{path}", urcs=URCS)
    await port.open()

    async def ask(command: str) -> int:
        return len((await port.run(Command(command, prefixes=("+CSQ:", "+QSCAN:", "+QSC:"), timeout=60.0))).lines)

    print(json.dumps(await measure(ask)), flush=True)  # noqa: T201
    await port.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
