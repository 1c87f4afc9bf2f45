"""Subscribes at the broker's own machine and tells when each message arrived: `mqtt_watcher.py PORT`."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import paho.mqtt.client as mqtt
import paho.mqtt.enums
from lines import say  # type: ignore[import-not-found,unused-ignore]


def arrived(client: mqtt.Client, userdata: object, message: mqtt.MQTTMessage) -> None:
    at = time.time()
    try:
        body: Any = json.loads(message.payload)
    except ValueError:
        body = None
    say(at=at, t=body.get("t") if isinstance(body, dict) else None, n=body.get("n") if isinstance(body, dict) else None)


def main(port: int) -> None:
    client = mqtt.Client(paho.mqtt.enums.CallbackAPIVersion.VERSION2, client_id="watcher")
    client.on_message = arrived
    client.on_subscribe = lambda *_: say(ready=True)
    client.connect("127.0.0.1", port, 60)
    client.subscribe("readings", qos=1)
    client.loop_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]))
