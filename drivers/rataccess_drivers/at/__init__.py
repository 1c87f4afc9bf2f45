"""AT modems: V.250 framing and 3GPP TS 27.007 replies, for every driver that talks to a modem over a serial port.

Rules of this package: `commands`, `grammar`, `engine` and the parsers are sans-I/O; `port` is the only file that touches
a file descriptor.  Nothing here knows a vendor beyond what a line looks like on the wire.
"""
