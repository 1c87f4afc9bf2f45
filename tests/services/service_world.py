"""A service without a socket, and devices that talk to it with real keys: what the tests of this folder share."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from rataccess.errors import ProtectionFailed
from rataccess.objects import Service, Urgency, encode
from rataccess.security import RequestIdentity, SecureContext, peek
from rataccess.services import provisioning, settings
from rataccess.services.core import ServiceCore
from rataccess.services.keyfile import KeyFile
from rataccess.services.receivers.ndjson import NdjsonReceiver
from rataccess.services.store import NDJSON, ServiceStore, open_store
from rataccess.template import Template
from rataccess.wire import ERA, FIRST_FREE_QUEUE, RESERVED_QUEUES, Message, WireRecord, decode_message, encode_message
from tests.receivers.receiver_world import drained, forwarding

NOW = 1_790_000_000.0


class HandClock:
    """A clock that goes when it is told."""

    def __init__(self) -> None:
        self.passed = 1000.0

    def monotonic(self) -> float:
        return self.passed

    def wall(self) -> float:
        return NOW + self.passed

    def wall_known(self) -> bool:
        return True


class DictMemory(dict[str, bytes]):
    """A `Memory` that is always on disk."""

    def put(self, key: str, value: bytes) -> None:
        self[key] = value

    put_now = put


@dataclass
class Answer:
    """What a device reads out of an answer."""

    code: int
    message: Message


@dataclass
class FakeDevice:
    """The device's side: keys, queue ids, messages; keeps what the service tells it."""

    serial_number: str
    kid: bytes
    secret: bytes
    clock: HandClock
    queues: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.context = SecureContext(
            sender_id=self.kid, recipient_id=b"", secret=self.secret, memory=DictMemory(), name=self.serial_number
        )
        self.message_id = 0
        self.era: bytes | None = None
        """What the last answer told of it (key 22), which is taken out of what tests look at."""

    def record(
        self, number: int, value: object, queue: str = "readings", *, named: bool = True, at: float | None = NOW
    ) -> WireRecord:
        """A whole record; `named` puts the queue's name into the head."""
        reserved = RESERVED_QUEUES.get(queue)
        queue_id = (
            reserved if reserved is not None else self.queues.setdefault(queue, FIRST_FREE_QUEUE + len(self.queues))
        )
        name = queue if named and reserved is None else None
        return WireRecord(number, queue_id, Urgency.ROUTINE, encode(value), at, name)

    def protect(self, message: Message | bytes, *, confirmable: bool = False) -> tuple[bytes, RequestIdentity]:
        self.message_id += 1
        body = message if isinstance(message, bytes) else encode_message(message, floor=None, now=self.clock.wall())
        token = self.message_id.to_bytes(4, "big")[-2:]
        return self.context.protect_request(body, token=token, message_id=self.message_id, confirmable=confirmable)

    def read(self, datagram: bytes, identity: RequestIdentity) -> Answer:
        response = self.context.unprotect_response(datagram, identity)
        message = decode_message(response.body, floor=0, now=self.clock.wall())
        self.era = message.control.pop(ERA, None)
        return Answer(response.code, message)


class World:
    """One service in a folder, which can be killed and started again at any moment."""

    def __init__(
        self, folder: Path, service: Service = Service.MANAGEMENT, *, store: str | None = None, **options: object
    ) -> None:
        self.folder, self.service = folder, service
        self.clock = HandClock()
        self.templates: list[Template] = []
        self.config = folder / "services.toml"
        store = store or f"{service}.sqlite3"
        ndjson = f'ndjson = "{service}.ndjson"\n' if service is Service.SOLUTION else ""
        extra = "".join(f"{name} = {value}\n" for name, value in options.items())
        with self.config.open("a") as file:
            file.write(f'[{service}]\nport = 0\nstore = "{store}"\nkeys = "{service}.json"\n{ndjson}{extra}')
        self.start()

    def start(self) -> None:
        self.settings = settings.load(self.config, self.service)
        self.store_path = Path(self.settings.store)
        self.store = open_store(self.settings.store)
        self.store.own()
        self.core = self.another_core(self.store)

    def another_core(self, store: ServiceStore) -> ServiceCore:
        """A process that shares the store."""
        keys = KeyFile(Path(self.settings.keys))
        return ServiceCore(self.service, self.settings, store, keys, self.clock, templates=self.templates)

    def kill(self) -> None:
        """What a kill leaves: the files, as they were committed."""
        self.store.close()

    def forward(self) -> None:
        """Everything that is there to the file of lines, by a process of its own."""
        receiver = NdjsonReceiver(self.folder / f"{self.service}.ndjson")
        asyncio.run(drained(forwarding(receiver, self.settings.store, self.clock, name=NDJSON)))

    def restart(self) -> None:
        self.kill()
        self.start()

    def add(self, serial_number: str, fleets: Sequence[str] = ()) -> FakeDevice:
        secret = random.Random(serial_number).randbytes(16)
        kid = provisioning.add_device(self.config, self.service, serial_number, secret, fleets=fleets)
        return FakeDevice(serial_number, kid, secret, self.clock)

    def ask(self, device: FakeDevice, message: Message | bytes = b"", *, address: str = "here") -> Answer:
        """One request and its answer."""
        data, identity = device.protect(message)
        [(answer, to)] = self.core.process([(data, address)])
        assert to == address
        return device.read(answer, identity)

    def send(self, device: FakeDevice, *records: WireRecord, **more: object) -> Answer:
        return self.ask(device, Message(records=list(records), **more))  # type: ignore[arg-type]

    def push(self, device: FakeDevice) -> list[tuple[Message, bytes]]:
        """What a tick sends to the device, read, and the device's plain answer to each."""
        read = []
        for data, _ in self.core.tick():
            if peek(data).kid != b"":
                continue
            try:
                request = device.context.unprotect_request(data)
            except ProtectionFailed:
                continue
            device.context.replay_state()
            message = decode_message(request.body, floor=0, now=self.clock.wall())
            read.append((message, device.context.protect_response(request, 0x44, b"", message_id=1)))
        return read

    def rows(self, table: str = "records", columns: str = "number, queue") -> list[tuple[object, ...]]:
        return self.store.execute(f"SELECT {columns} FROM {table} ORDER BY 1")


@contextmanager
def passing_world(service: Service) -> Iterator[World]:
    """A world in a folder of its own, which leaves nothing behind, not even where an example is broken off half-way."""
    with TemporaryDirectory() as folder:
        world = World(Path(folder), service)
        try:
            yield world
        finally:
            world.kill()
