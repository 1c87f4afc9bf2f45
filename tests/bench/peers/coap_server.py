"""aiocoap server with OSCORE: `coap_server.py HOST PORT FOLDER`; tells when each event arrived."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

import aiocoap
import aiocoap.resource
from aiocoap.credentials import CredentialsMap
from aiocoap.oscore import FilesystemSecurityContext
from aiocoap.oscore_sitewrapper import OscoreSiteWrapper
from coap_common import context  # type: ignore[import-not-found,unused-ignore]
from lines import say  # type: ignore[import-not-found,unused-ignore]


class Readings(aiocoap.resource.Resource):  # type: ignore[misc,unused-ignore]
    async def render_post(self, request: aiocoap.Message) -> aiocoap.Message:
        at = time.time()
        try:
            body = json.loads(request.payload)
            say(at=at, t=body.get("t"), n=body.get("n"))
        except (ValueError, AttributeError):
            say(at=at)
        return aiocoap.Message(code=aiocoap.CHANGED)


async def main(host: str, port: int, folder: Path) -> None:
    site = aiocoap.resource.Site()
    site.add_resource(["r"], Readings())
    credentials = CredentialsMap()
    credentials[":device"] = FilesystemSecurityContext(str(context(folder, "00", "01")))
    server = await aiocoap.Context.create_server_context(
        OscoreSiteWrapper(site, credentials), bind=(host, port), transports=["udp6"]
    )
    say(ready=True)
    await asyncio.get_running_loop().create_future()
    await server.shutdown()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
