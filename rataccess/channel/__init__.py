"""What an application does with one service: enqueue, dequeue, get, put, call, packets, flush."""

from rataccess.channel.channel import AsyncChannel, Parts
from rataccess.channel.environment import AsyncEnvironment, Changes, Environment, EnvironmentChanges
from rataccess.channel.inbound import InboundObject
from rataccess.channel.management import AsyncManagementChannel
from rataccess.channel.packets import AsyncPackets
from rataccess.channel.receipts import AsyncReceipt, Receipts
from rataccess.channel.solution import AsyncSolutionChannel
from rataccess.channel.watching import Watched

__all__ = [
    "AsyncChannel",
    "AsyncEnvironment",
    "AsyncManagementChannel",
    "AsyncPackets",
    "AsyncReceipt",
    "AsyncSolutionChannel",
    "Changes",
    "Environment",
    "EnvironmentChanges",
    "InboundObject",
    "Parts",
    "Receipts",
    "Watched",
]
