"""What an application does with one service: enqueue, dequeue, get, put, flush."""

from rataccess.channel.channel import AsyncChannel, AsyncManagementChannel
from rataccess.channel.environment import Environment
from rataccess.channel.receipts import AsyncReceipt, Receipts

__all__ = ["AsyncChannel", "AsyncManagementChannel", "AsyncReceipt", "Environment", "Receipts"]
