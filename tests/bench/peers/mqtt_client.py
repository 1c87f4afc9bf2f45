"""paho-mqtt: MQTT 3.1.1, QoS 1, TLS: `mqtt_client.py HOST PORT CA_FILE KEEPALIVE [IN_FLIGHT [BACKLOG]]`.

A CA_FILE of `-` is no TLS; 20 in flight is its default.

`{"do": "one" | "steady" | "stream", "payloads": [base64...], "period": seconds}`; see `clients/sender.py`.
"""

from __future__ import annotations

import os
import sys
import threading
import time

import paho.mqtt.client as mqtt
import paho.mqtt.enums
from lines import commands, event, payloads, say  # type: ignore[import-not-found,unused-ignore]

TOPIC = "readings"


def main(host: str, port: int, authority: str, keepalive: int, in_flight: int = 20, backlog: int = 0) -> None:
    client = mqtt.Client(
        paho.mqtt.enums.CallbackAPIVersion.VERSION2, client_id=f"B-{os.getpid()}", protocol=mqtt.MQTTv311
    )
    if authority != "-":
        client.tls_set(authority)
    client.max_inflight_messages_set(in_flight)
    connected = threading.Event()
    client.on_connect = lambda *_: connected.set()
    if backlog:
        drain(client, host, port, keepalive, backlog)
        return
    client.connect(host, port, keepalive)
    client.loop_start()
    if not connected.wait(60):
        raise SystemExit("no connection")
    client.publish(TOPIC, event(-1), qos=1).wait_for_publish(60)
    say(ready=True)
    for command in commands():
        if command["do"] == "steady":
            steady(client, command["period"])
        began, cpu = time.time(), time.process_time()
        if command["do"] == "stream":
            for info in [client.publish(TOPIC, each, qos=1) for each in payloads(command)]:
                info.wait_for_publish(120)
        else:
            for each in payloads(command):
                client.publish(TOPIC, each, qos=1).wait_for_publish(60)
                time.sleep(command.get("pause", 0))
        say(began=began, ended=time.time(), cpu=time.process_time() - cpu)
    client.disconnect()
    client.loop_stop()


def drain(client: mqtt.Client, host: str, port: int, keepalive: int, count: int) -> None:
    """Queue first, connect then."""
    client.max_queued_messages_set(0)
    left, through = count, threading.Event()

    def published(*_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            through.set()

    client.on_publish = published
    for number in range(count):
        client.publish(TOPIC, event(number), qos=1)
    say(queued=count)
    began, cpu = time.time(), time.process_time()
    client.connect(host, port, keepalive)
    client.loop_start()
    through.wait(120)
    say(began=began, ended=time.time(), cpu=time.process_time() - cpu)
    client.disconnect()
    client.loop_stop()


def steady(client: mqtt.Client, period: float) -> None:
    for number in range(1_000_000):
        client.publish(TOPIC, event(number), qos=1)
        time.sleep(period)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], *map(int, sys.argv[4:]))
