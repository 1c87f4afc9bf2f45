"""The fixed text of docs/bench/README.md.

Rules of this file: sentences only; each figure belongs into results.json.
"""

from __future__ import annotations

HEAD = """
# Benches

`make bench` runs ours and its peers side by side, in one run, in turns: every contender has its turn in every round,
and rounds begin with another each time. `make bench ARGS="loss at --quick"` runs some of them, quickly. The peers
have a virtual environment of their own (`build/bench-venv`). This page is written by the run, from `results.json`
beside it.

How to read it: a figure is the median, with the least and most of `n` runs in brackets where they differ. Wall-clock
times of a shared machine move by a factor of two between minutes; CPU time, bytes, syncs and instructions hardly do,
and medians of interleaved runs can be compared within one run of this page only. Network benches use two namespaces
joined by an emulator (`tests/bench/emulator.c`), where every packet is counted, IP headers included.
"""

VERSIONS = {"ours": "Ours with", "peers": "Peers", "tools": "Tools"}

WHY: dict[str, str] = {
    "client CPU, one by one": (
        "the limit was set for a client that keeps nothing. Ours commits each record twice (accepted, settled) "
        "in a thread "
        "of its own, keeps its replay window with what it received, and runs two exchanges over supervised "
        "links. One by "
        "one, each of these steps is a wake-up of its own (about five of them a record); in a stream they are "
        "shared, and a "
        "record costs a tenth. About a third of it is the store's thread; *in memory* shows what the disk adds."
    ),
    "resident, Wi-Fi and cellular": (
        "the interpreter has 11 MB, asyncio adds 10, `cryptography` 7 (its one Rust library), the device itself "
        "5; the "
        "rest is SQLite, msgspec, cbor2, tenacity, pyserial and what runs."
    ),
    "AT round trip, 2 x a bare read": (
        "what a bare read does not do: wake an event loop, keep a time limit for each command, hold every line "
        "against the "
        "table of unsolicited codes, make a value of the reply. The peers that do as much take four times as "
        "long. On a real "
        "line of 115,200 baud the wire takes 3.5 ms."
    ),
    "lines after matching": (
        "by CPU it is reached: see *us CPU/line*. By the wall clock a port that talks without end is read in turns with "
        "everything else on the event loop; 100,000 lines a second are 30 Mbit/s, more than any AT port carries."
    ),
    "32 producers, 8 x persist-queue: `Device.enqueue`": (
        "32 threads in one interpreter share its lock, and the public call encodes, checks and makes a receipt "
        "in each. The "
        "disk is not what limits it: see *syncs* and *B written*, which are what an SD card is limited by."
    ),
    "32 producers, 8 x persist-queue: the store": (
        "32 threads in one interpreter share its lock, and each record wakes its producer by a hand-over "
        "between threads. "
        "The faster the disk, the less group commit can gain; on this virtual one a sync takes a tenth of a "
        "millisecond."
    ),
    "all that a device needs, the same": (
        "it brings the store, link supervision, configuration and OSCORE, where aiocoap brings CoAP and OSCORE; "
        "`import rataccess` itself loads none of that before it is used."
    ),
    "age after carrier loss: one way and 10 ms": (
        "beyond the path it is the kernel's word that the carrier is gone, two wake-ups and the protection "
        "anew; where the "
        "machine is busy with other work each waits for a core. The least of the runs is what it takes on an "
        "idle one."
    ),
    "age after silent loss: 150 ms, one way and 10 ms": (
        "beyond the path and the wait of 150 ms it is wake-ups, which wait for a core where the machine is "
        "busy; the least of "
        "the runs is what it takes on an idle one."
    ),
}
"""Why a goal may be missed; shown where it is."""

TAIL = """
## What is not measured

- No real radio, modem, SIM, SD card, ARM processor or Raspberry Pi: everything ran on one virtual machine. A Pi Zero
  takes about ten times as long for what is CPU.
- No random loss on the paths, no NAT that changes its mapping, no path that reorders; jitter and stalls only.
- Power cuts: syncs are counted, the power was not cut.
- The services over a network: generator, service and database share two cores here, so messages a second are a lower
  bound.
- libcoap, DTLS with connection ids, HTTP and AMQP clients: not among the contenders.
- litequeue and bare files without fdatasync are not power-safe; they are shown with what they promise.
"""
