"""Private LoRa: gateways of ours talk packet to packet, without a network server (docs/decisions/0015-private-lora.md).

Rules of this package: one hub with an Internet connection, nodes around it.  Frames and the link protocol are sans-I/O; one
runner moves them over a transceiver; the driver is a node, the bridge is the hub.
"""
