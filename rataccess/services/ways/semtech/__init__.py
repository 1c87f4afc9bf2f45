"""Our own small LoRaWAN network server, for gateways that run Semtech's UDP packet forwarder.

Rules of this package: LoRaWAN 1.0.4, class A.  What a frame, a key or a channel plan is comes from `rataccess.lorawan`; the
forwarder's datagrams are next door.  `network` decides and knows no socket and no clock; `way` has both.  AppKeys are in the
service's key file and nowhere else: what the store keeps of a session is worth nothing without them.
"""

from rataccess.services.ways.semtech.way import SemtechWay

__all__ = ["SemtechWay"]
