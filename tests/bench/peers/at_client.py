"""AT clients of others: `at_client.py KIND PATH`; says what `at_measuring` found."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import sys
import termios
import tty

from at_measuring import SLOW_LINES, measure  # type: ignore[import-not-found,unused-ignore]
from lines import say  # type: ignore[import-not-found,unused-ignore]


async def bare(path: str) -> dict[str, float]:
    """A blocking `os.read` loop: what Python and the pseudo terminal take at the least."""
    port = os.open(path, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(port, termios.TCSANOW)

    async def ask(command: str) -> int:
        os.write(port, command.encode() + b"\r")
        data, count = b"", 0
        while True:
            data += os.read(port, 65536)
            *lines, data = data.split(b"\r\n")
            count += len([line for line in lines if line])
            if lines and b"OK" in lines[-2:]:
                return count

    return dict(await measure(ask))


async def gsmmodem(path: str) -> dict[str, float]:
    """python-gsmmodem-new, its serial layer."""
    port = importlib.import_module("gsmmodem.serial_comms").SerialComms(path, 115200)
    port.connect()

    async def ask(command: str) -> int:
        return len(port.write(command + "\r", timeout=60))

    return dict(await measure(ask, SLOW_LINES))


async def async_gsm(path: str) -> dict[str, float]:
    """async-gsm-modem, its base modem, with as many unsolicited codes as ours has for a Quectel."""
    base = importlib.import_module("async_gsm_modem.base")
    codes = [(code.encode(), 1) for code in (f"+QX{i}:" for i in range(29))]
    modem = base.ATModem(path, 115200, urc=codes, error_codes=[b"+CME ERROR", b"+CMS ERROR"])
    await modem.connect()

    async def ask(command: str) -> int:
        return len((await modem.send_command(base.Command(command.encode()), timeout=60)).chunks)

    found = dict(await measure(ask, SLOW_LINES))
    say(**found)
    os._exit(0)  # its loops do not end


KINDS = {"bare": bare, "gsmmodem": gsmmodem, "async-gsm": async_gsm}

if __name__ == "__main__":
    logging.disable()
    say(**asyncio.run(KINDS[sys.argv[1]](sys.argv[2])))
    os._exit(0)
