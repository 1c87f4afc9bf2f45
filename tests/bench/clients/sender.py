"""An application of ours that sends what it is told: `sender.py CONFIG`; commands and answers are JSON lines.

`{"do": "one", "series": kind, "count": n, "template": bool, "pause": seconds}`: each acknowledged before the next.
`{"do": "batch", ...}`: all at once, until all are acknowledged.
`{"do": "backlog", ...}`: the same; says `queued` once all are accepted.
`{"do": "steady", "period": seconds}`: for ever, without waiting.
Each answer has `began` and `ended` (wall seconds) and `cpu` (seconds of this process).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import msgspec

from rataccess import AsyncDevice
from rataccess.channel import AsyncChannel, AsyncReceipt
from tests.bench import series

QUEUE = "readings"
DEFINED: set[int] = set()


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)  # noqa: T201


def template_for(value: dict[str, Any]) -> Any:
    from rataccess import Integer, Scaled, Template

    if "load" in value:
        return Template(QUEUE, load=Scaled(0, 100, 0.01), busy=Integer(0, 100), memory=Scaled(0, 100, 0.1))
    return Template(QUEUE, temp=Scaled(-40, 85, 0.1), hum=Integer(0, 100), volt=Scaled(0, 5, 0.01))


async def accept(channel: AsyncChannel, value: dict[str, Any], captured_at: float | None, extra: Any) -> AsyncReceipt:
    """Enqueue `value` as captured at another time."""
    record = channel.record(value, queue=QUEUE, **extra)
    if captured_at is not None:
        record = msgspec.structs.replace(record, captured_at=captured_at)
    return await channel._accept(record)  # as `enqueue` does


async def one_by_one(channel: AsyncChannel, values: list[dict[str, Any]], extra: Any, pause: float) -> None:
    for value in values:
        receipt = await channel.enqueue(value, queue=QUEUE, **extra)
        await receipt.wait(60)
        if pause:
            await asyncio.sleep(pause)


async def batch(channel: AsyncChannel, values: list[dict[str, Any]], extra: Any, _: float) -> None:
    first = time.time() - series.PERIOD * len(values)
    waits = [accept(channel, value, first + i * series.PERIOD, extra) for i, value in enumerate(values)]
    receipts = await asyncio.gather(*waits)
    await asyncio.gather(*(receipt.wait(120) for receipt in receipts))


async def backlog(channel: AsyncChannel, values: list[dict[str, Any]], extra: Any, _: float) -> None:
    receipts: list[AsyncReceipt] = []
    for start in range(0, len(values), 500):
        some = values[start : start + 500]
        receipts += await asyncio.gather(*(channel.enqueue(value, queue=QUEUE, **extra) for value in some))
    say(queued=len(receipts))
    await asyncio.gather(*(receipt.wait(120) for receipt in receipts))


async def steady(channel: AsyncChannel, period: float) -> None:
    for number in range(1_000_000):
        await channel.enqueue({**series.SINGLE, "n": number, "t": time.time()}, queue=QUEUE)
        await asyncio.sleep(period)


async def obey(device: AsyncDevice, command: dict[str, Any]) -> None:
    channel = device.solution
    if command["do"] == "steady":
        await steady(channel, command["period"])
    values = series.take(command["series"], command["count"])
    extra: dict[str, Any] = {}
    if command.get("template"):
        extra["template"] = template_for(values[0])
        if extra["template"].id not in DEFINED:
            DEFINED.add(extra["template"].id)
            await channel.define(extra["template"])
            await device.flush(30)
    began, cpu = time.time(), time.process_time()
    deed = {"one": one_by_one, "batch": batch, "backlog": backlog}[command["do"]]
    await deed(channel, values, extra, command.get("pause", 0.0))
    say(began=began, ended=time.time(), cpu=time.process_time() - cpu, **notes(device))


def notes(device: AsyncDevice) -> dict[str, Any]:
    return {"counters": dict(device.store.counters())}


async def main(configuration: str) -> None:
    async with AsyncDevice.open(configuration) as device:
        receipt = await device.solution.enqueue({"hello": True}, queue=QUEUE)
        await receipt.wait(60)
        await device.flush(30)
        say(ready=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            try:
                await obey(device, json.loads(line))
            except Exception as error:  # noqa: BLE001 - the bench is told, and may go on with something else
                say(error=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
