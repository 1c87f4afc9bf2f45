"""Receivers: whoever is authorised to be given the solution service's records.

Rules of this package: each receiver has its own position in the stream of records, its own task, its own back-off; what one
does or fails to do never reaches another, nor the service's socket.  Delivery is at least once, in order, each record with a
key that is the same every time.  Client libraries are imported by the one file that needs them, when it is needed.
"""

from rataccess.services.receivers.base import Receiver, as_json, key_of
from rataccess.services.receivers.forwarding import Forwarding, ReceiverStatus
from rataccess.services.receivers.receivers import Receivers
from rataccess.services.receivers.settings import (
    MqttSettings,
    NdjsonSettings,
    PostgresqlSettings,
    ReceiverSettings,
    WebhookSettings,
    absolute,
)

__all__ = [
    "Forwarding",
    "MqttSettings",
    "NdjsonSettings",
    "PostgresqlSettings",
    "Receiver",
    "ReceiverSettings",
    "ReceiverStatus",
    "Receivers",
    "WebhookSettings",
    "absolute",
    "as_json",
    "key_of",
]
