"""A LoRaWAN 1.0.4 class A device, without a radio: events in with the time, what to do next out.

Rules of this package: no radio, no clock, no sleep, no task.  What must outlive the process is on disk before anything that
depends on it leaves the device: DevNonce, frame counters, session, air time.
"""

from __future__ import annotations

from rataccess_drivers.lora.mac.actions import Action, Done, Listen, Pause, Received, Transmit
from rataccess_drivers.lora.mac.device import Mac
from rataccess_drivers.lora.mac.settings import MacSettings

__all__ = ["Action", "Done", "Listen", "Mac", "MacSettings", "Pause", "Received", "Transmit"]
