"""Requests, acknowledgement, splitting, resumption: the way of records between the store and the links."""

from rataccess.exchange.exchange import Exchange, Observer

__all__ = ["Exchange", "Observer"]
