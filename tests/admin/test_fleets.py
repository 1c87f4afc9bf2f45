"""Fleets and revocation, as a running service sees them."""

from __future__ import annotations

from pathlib import Path

import pytest

from rataccess.errors import ConfigurationError, KeyStoreError, UnknownDevice
from rataccess.objects import Service, decode
from rataccess.services import admin, provisioning
from rataccess.services.keyfile import KeyFile, read_entries, write_entries
from rataccess.services.store import open_store
from rataccess.wire import ENVIRONMENT_QUEUE, Message
from tests.services.conftest import management, solution
from tests.services.service_world import World

__all__ = ["management", "solution"]
SERIAL = "A1"


def environments(message: Message) -> list[object]:
    return [decode(record.body) for record in message.records if record.queue_id == ENVIRONMENT_QUEUE]


def test_a_device_has_the_union_of_its_fleets_and_its_own_value_wins(management: World) -> None:
    device = management.add(SERIAL, fleets=["north", "test"])
    admin.set_env(management.store_path, {"A": "north", "B": "north", "C": "north"}, fleet="north")
    admin.set_env(management.store_path, {"B": "test", "C": "test"}, fleet="test")
    admin.set_env(management.store_path, {"C": "mine"}, serial_number=SERIAL)
    merged = {"A": "north", "B": "test", "C": "mine"}
    assert environments(management.ask(device).message) == [merged]
    assert admin.merged_env(management.store_path, SERIAL) == merged
    [torn] = admin.conflicts(management.store_path)[SERIAL]
    assert (torn.name, torn.values) == ("B", (("north", "north"), ("test", "test")))  # C is settled by the device
    assert admin.count_conflicts(management.store_path) == 1


def test_a_change_reaches_a_device_unasked_while_it_is_heard_and_else_with_its_next_message(management: World) -> None:
    device = management.add(SERIAL, fleets=["north"])
    management.ask(device)
    admin.set_env(management.store_path, {"A": "1"}, fleet="north")
    [(pushed, answer)] = management.push(device)
    assert environments(pushed) == [{"A": "1"}]
    management.core.process([(answer, "here")])
    management.clock.passed += 3600  # nobody is told now
    provisioning.set_fleets(management.config, Service.MANAGEMENT, SERIAL, ["south"])
    assert management.push(device) == []
    assert environments(management.ask(device).message) == [{}]


def test_only_devices_of_a_fleet_are_told(management: World) -> None:
    inside, outside = management.add("A1", fleets=["north"]), management.add("B2", fleets=["south"])
    management.ask(inside)
    management.ask(outside)
    admin.set_env(management.store_path, {"A": "1"}, fleet="north")
    assert environments(management.ask(outside).message) == []
    assert environments(management.ask(inside).message) == [{"A": "1"}]


def test_fleets_of_a_key_file_of_before_move_into_the_store(management: World) -> None:
    device = management.add(SERIAL, fleets=["new"])
    management.add("B2")
    path = Path(management.settings.keys)
    first, second = read_entries(path)
    old = type(first)(serial_number=SERIAL, kid=first.kid, secret=first.secret, fleets=("old", "older"))
    write_entries(path, [old, second])
    admin.set_env(management.store_path, {"A": "old"}, fleet="old")
    assert environments(management.ask(device).message) == [{"A": "old"}]  # it holds before they are moved, too
    assert [e.fleets for e in provisioning.entries(management.config, Service.MANAGEMENT)] == [
        ("old", "older", "new"),
        (),
    ]
    assert provisioning.move_fleets(management.config, Service.MANAGEMENT) == 1
    assert provisioning.move_fleets(management.config, Service.MANAGEMENT) == 0
    assert [entry.fleets for entry in read_entries(path)] == [(), ()]
    assert admin.get_fleets(management.store_path, SERIAL) == ["old", "older", "new"]
    assert environments(management.ask(device).message) == []  # nothing has changed for the device


def test_moving_a_device_out_of_fleets_that_the_key_file_has(management: World) -> None:
    management.add(SERIAL)
    path = Path(management.settings.keys)
    [entry] = read_entries(path)
    write_entries(path, [type(entry)(serial_number=SERIAL, kid=entry.kid, secret=entry.secret, fleets=("old",))])
    provisioning.set_fleets(management.config, Service.MANAGEMENT, SERIAL, ["new"])
    assert [e.fleets for e in provisioning.entries(management.config, Service.MANAGEMENT)] == [("new",)]


def test_a_device_enrolled_anew_stays_in_its_fleets(management: World) -> None:
    management.add(SERIAL, fleets=["north"])
    provisioning.add_device(management.config, Service.MANAGEMENT, SERIAL, b"2" * 16, replace=True)
    assert admin.get_fleets(management.store_path, SERIAL) == ["north"]


def test_fleets_are_counted(management: World) -> None:
    management.add("A1", fleets=["north", "test"])
    management.add("B2", fleets=["north"])
    admin.set_env(management.store_path, {"A": "1"}, fleet="empty")
    assert admin.list_fleets(management.store_path) == {"empty": 0, "north": 2, "test": 1}


@pytest.mark.parametrize("name", ["", "x" * 65, "a\nb", "a\0b", "\ud800"])
def test_a_name_that_cannot_be_is_refused_before_anything_changes(management: World, name: str) -> None:
    management.add(SERIAL, fleets=["north"])
    with pytest.raises(ConfigurationError, match="a fleet is named by"):
        provisioning.set_fleets(management.config, Service.MANAGEMENT, SERIAL, ["south", name])
    with pytest.raises(ConfigurationError):
        provisioning.add_device(management.config, Service.MANAGEMENT, "B2", b"2" * 16, fleets=[name])
    with pytest.raises(ConfigurationError):
        admin.set_env(management.store_path, {"ok": "1", 2 * name: "1"}, fleet="north")
    assert admin.get_fleets(management.store_path, SERIAL) == ["north"]
    assert len(provisioning.entries(management.config, Service.MANAGEMENT)) == 1
    assert admin.get_env(management.store_path, fleet="north") == {}


# --- revocation -------------------------------------------------------------------------------------------------------


def test_revoking_stops_a_device_at_once_and_keeps_what_came(solution: World) -> None:
    device, other = solution.add(SERIAL), solution.add("B2")
    solution.send(device, device.record(1, 1))
    admin.enqueue_inbound(solution.store_path, SERIAL, "q", 1)
    admin.enqueue_inbound(solution.store_path, "B2", "q", 1)
    admin.post_packet(solution.store_path, SERIAL, b"x")
    assert provisioning.revoke_device(solution.config, Service.SOLUTION, SERIAL) == 2
    assert solution.push(device) == []
    assert solution.core.process([(device.protect(Message(records=[device.record(2, 2)]))[0], "here")]) == []
    assert solution.core.counters["requests of revoked devices"] == 1
    assert [record.number for record in admin.records(solution.store_path)] == [1]
    first, second = admin.list_devices(solution.store_path)
    assert (first.waiting, second.waiting) == (0, 1)
    assert solution.ask(other).code == 0x44
    with pytest.raises(KeyStoreError, match="not enrolled"):
        provisioning.revoke_device(solution.config, Service.SOLUTION, SERIAL)


def test_a_revoked_devices_kid_is_never_given_again_also_where_the_key_file_is_lost(solution: World) -> None:
    solution.add(SERIAL)
    provisioning.revoke_device(solution.config, Service.SOLUTION, SERIAL)
    assert solution.add("B2").kid == b"\1"
    Path(solution.settings.keys).unlink()
    assert solution.add("C3").kid == b"\2"


def test_a_device_that_was_revoked_comes_back_with_new_keys_only(solution: World) -> None:
    solution.add(SERIAL)
    provisioning.revoke_device(solution.config, Service.SOLUTION, SERIAL)
    kid = provisioning.add_device(solution.config, Service.SOLUTION, SERIAL, b"2" * 16)
    assert kid == b"\1"
    keys = KeyFile(Path(solution.settings.keys))
    keys.refresh()
    assert (keys.is_revoked(b"\0"), keys.is_revoked(b"\1"), keys.is_revoked(b"\2")) == (True, False, False)


# --- what is asked of a store ------------------------------------------------------------------------------------------


def test_enrolments_are_listed_as_asked(solution: World) -> None:
    for serial_number in ("A1", "B2"):
        solution.add(serial_number, fleets=["north"])
    provisioning.add_device(solution.config, Service.SOLUTION, "A1", b"2" * 16, replace=True)
    store = solution.store_path

    def kids(**chosen: object) -> list[str]:
        return [each.kid.hex() for each in admin.list_devices(store, **chosen)]  # type: ignore[arg-type]

    assert kids() == ["00", "01", "02"]
    assert kids(latest=True) == ["01", "02"]
    assert kids(serial_number="A1") == ["00", "02"]
    assert kids(fleet="north", latest=True, limit=1) == ["01"]
    assert kids(after=admin.list_devices(store, limit=2)[-1].id) == ["02"]
    assert kids(fleet="none") == []
    assert admin.list_devices(store, count_records=False)[0].records == -1


def test_an_unknown_device_is_named(solution: World) -> None:
    for ask in (
        lambda: admin.enqueue_inbound(solution.store_path, "X", "q", 1),
        lambda: admin.post_packet(solution.store_path, "X", b""),
        lambda: admin.set_fleets(solution.store_path, "X", []),
        lambda: admin.set_queue_name(solution.store_path, "\0", 9, "q"),
    ):
        with pytest.raises(UnknownDevice, match="no device"):
            ask()


def test_an_open_store_serves_as_well(solution: World) -> None:
    solution.add(SERIAL)
    with open_store(f"sqlite://{solution.store_path}") as store:
        assert [each.serial_number for each in admin.list_devices(store)] == [SERIAL]
    assert [each.serial_number for each in admin.list_devices(f"sqlite://{solution.store_path}")] == [SERIAL]
