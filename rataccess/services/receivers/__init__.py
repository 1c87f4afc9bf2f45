"""Receivers: whoever is authorised to be given the solution service's records.

Rules of this package: each receiver has its own position in the stream of records, its own task, its own back-off; what one
does or fails to do never reaches another, nor the service's socket.  Delivery is at least once, in order, each record with a
key that is the same every time.  Client libraries are imported by the one file that needs them, when it is needed.
"""

from rataccess.services.receivers.settings import ReceiverSettings, absolute

__all__ = ["ReceiverSettings", "absolute"]
