"""aiocoap client with OSCORE, confirmable: `coap_client.py HOST PORT FOLDER`; commands as `mqtt_client.py`."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

import aiocoap
from aiocoap.oscore import FilesystemSecurityContext
from coap_common import context  # type: ignore[import-not-found,unused-ignore]
from lines import event, payloads, say  # type: ignore[import-not-found,unused-ignore]


async def main(host: str, port: int, folder: Path) -> None:
    client = await aiocoap.Context.create_client_context()
    uri = f"coap://{host}:{port}/r"
    client.client_credentials[f"coap://{host}:{port}/*"] = FilesystemSecurityContext(str(context(folder, "01", "00")))

    async def post(payload: bytes) -> None:
        await client.request(aiocoap.Message(code=aiocoap.POST, uri=uri, payload=payload)).response_raising

    await post(event(-1))
    say(ready=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        command = json.loads(line)
        if command["do"] == "steady":
            for number in range(1_000_000):
                await post(event(number))
                await asyncio.sleep(command["period"])
        began, cpu = time.time(), time.process_time()
        for each in payloads(command):
            await post(each)
            await asyncio.sleep(command.get("pause", 0))
        say(began=began, ended=time.time(), cpu=time.process_time() - cpu)
    await client.shutdown()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
