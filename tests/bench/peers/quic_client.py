"""aioquic client with an unbound socket: `quic_client.py HOST PORT CERTIFICATE`; an event a stream."""

from __future__ import annotations

import asyncio
import json
import sys

from aioquic.asyncio.client import connect  # type: ignore[import-not-found,unused-ignore]
from aioquic.quic.configuration import QuicConfiguration  # type: ignore[import-not-found,unused-ignore]
from lines import event, say  # type: ignore[import-not-found,unused-ignore]


async def main(host: str, port: int, certificate: str) -> None:
    configuration = QuicConfiguration(alpn_protocols=["bench"], is_client=True, server_name=host)
    configuration.load_verify_locations(certificate)
    async with connect(host, port, configuration=configuration) as client:
        reader, writer = await client.create_stream()
        writer.write(event(-1))
        writer.write_eof()
        await reader.read()
        say(ready=True)
        command = json.loads(await asyncio.to_thread(sys.stdin.readline))
        for number in range(1_000_000):
            _, writer = await client.create_stream()
            writer.write(event(number))
            writer.write_eof()
            await asyncio.sleep(command["period"])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:]))
