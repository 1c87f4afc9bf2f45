"""Requests, acknowledgement, splitting, resumption: the way of records between the store and the links."""

from rataccess.exchange.exchange import Exchange, Observer, replay_key

__all__ = ["Exchange", "Observer", "replay_key"]
