"""Calls: what a device asks for by name, the solution service asks for over HTTP.

Rules of this package: the routes are the operator's; a device chooses a name among them and gives a body, no more.
"""

from rataccess.services.calls.desk import CallDesk, CallStatus
from rataccess.services.calls.settings import RouteSettings

__all__ = ["CallDesk", "CallStatus", "RouteSettings"]
