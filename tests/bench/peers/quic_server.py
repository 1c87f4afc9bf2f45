"""aioquic server: an event a stream, answered with `ok`: `quic_server.py HOST PORT CERTIFICATE KEY`."""

from __future__ import annotations

import asyncio
import json
import sys
import time

from aioquic.asyncio import QuicConnectionProtocol, serve  # type: ignore[import-not-found,unused-ignore]
from aioquic.quic.configuration import QuicConfiguration  # type: ignore[import-not-found,unused-ignore]
from aioquic.quic.events import QuicEvent, StreamDataReceived  # type: ignore[import-not-found,unused-ignore]
from lines import say  # type: ignore[import-not-found,unused-ignore]


class Events(QuicConnectionProtocol):  # type: ignore[misc,unused-ignore]
    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, StreamDataReceived) and event.data:
            body = json.loads(event.data)
            say(at=time.time(), t=body.get("t"), n=body.get("n"))
            self._quic.send_stream_data(event.stream_id, b"ok", end_stream=True)
            self.transmit()


async def main(host: str, port: int, certificate: str, key: str) -> None:
    configuration = QuicConfiguration(alpn_protocols=["bench"], is_client=False)
    configuration.load_cert_chain(certificate, key)
    await serve(host, port, configuration=configuration, create_protocol=Events)
    say(ready=True)
    await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:]))
