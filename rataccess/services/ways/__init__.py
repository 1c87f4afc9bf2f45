"""Ways into a service besides UDP: network servers, satellite gateways, web-hooks, relays.

Rules of this package: a way brings packets in compact form, says which device its network takes them for (an `Airway`), and
carries answers back.  It proves nothing: the service's core finds out what is genuine.  What is unknown, forged or malformed
is counted by cause, kept nowhere, and answered with no more than its carrier's protocol demands.  One way's trouble is its
own: it is begun again, ever more rarely, and the others go on.
"""
