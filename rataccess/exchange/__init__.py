"""Requests, acknowledgement, splitting, resumption: the way of records between the store and the links."""

from rataccess.exchange.exchange import Exchange, replay_key
from rataccess.exchange.observer import Observer

__all__ = ["Exchange", "Observer", "replay_key"]
