"""The Quectel driver against a virtual BG95 and EC25, whose faults are those of real ones."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import pytest

from rataccess.driver import (
    Evidence,
    HasPowerKey,
    KnowsTime,
    LocatesItself,
    OpensDatagramSockets,
    Recovery,
    SeesCells,
)
from rataccess.errors import (
    AttachFailed,
    ConfigurationError,
    NotNow,
    RadioSilent,
    RataccessError,
    RegistrationDenied,
    SimError,
    TransportBroken,
    WrongRadio,
)
from rataccess.objects import Service
from rataccess.transport import Packet
from rataccess_drivers.cellular.options import Authentication, PagingCycle, PowerSaving, Rat
from rataccess_drivers.cellular.profiles import PROFILES
from rataccess_hil.modem import VirtualEc25
from rataccess_hil.modem.personality import BG95, LineTimings, Personality
from rataccess_hil.modem.state import Air, Hang, Sim
from rataccess_hil.modem.virtual import Start
from tests.cellular.quectel_rigs import QUICK_PROFILES, Ear, driver_for, world

NASTY = b'\r\nOK\r\n\r\n+QIURC: "closed",0\r\n> \x1a\x1b+++\r\n+CME ERROR: 10\r\nRDY\r\n' + bytes(range(256))


def wired(**timings: float) -> Personality:
    """A BG95 whose lines need no long presses."""
    values = {"key_on": 0.02, "key_off": 0.04, "reset": 0.08, "reset_most": 0.5} | timings
    return Personality(**{**_fields(BG95), "lines": LineTimings(**values)})


def _fields(personality: Personality) -> dict[str, Any]:
    return {name: getattr(personality, name) for name in Personality.__dataclass_fields__}


# --- identity -------------------------------------------------------------------------------------------------------------


async def test_capabilities_are_types() -> None:
    async with world() as w, world(lines={"power_key": None}) as keyed:
        for capability in (OpensDatagramSockets, LocatesItself, KnowsTime, SeesCells):
            assert isinstance(w.driver, capability)
        assert not isinstance(w.driver, HasPowerKey)
        assert isinstance(keyed.driver, HasPowerKey)


async def test_model_chooses_the_profile() -> None:
    async with world(VirtualEc25) as w:
        bearer, transport = await w.up()
        assert (w.driver.profile.name, bearer.rat) == ("EC2x", "lte")
        await transport.aclose()
    async with world() as w:
        await w.driver.open()
        assert w.driver.identity.model == "BG95-M3"
        assert w.driver.identity.imei == w.modem.core.imei
        assert (await w.driver.attach()).rat == "lte-m"


async def test_other_model_than_expected_is_named() -> None:
    async with world(model="EC25") as w:
        with pytest.raises(WrongRadio, match=r"'BG95-M3'.*'EC25'"):
            await w.driver.open()
        successor = driver_for(w.modem.address)  # the port is free again
        await successor.open()
        await successor.aclose()


async def test_unknown_model_is_named() -> None:
    strange = Personality(**{**_fields(BG95), "model": "SIMCOM_SIM7600E"})
    async with world(modem={"personality": strange}) as w:
        with pytest.raises(WrongRadio, match="SIMCOM_SIM7600E"):
            await w.driver.open()


# --- SIM ------------------------------------------------------------------------------------------------------------------


async def test_pin_is_given_once() -> None:
    async with world(modem={"sim": Sim(pin="2468")}, secrets={"lte.pin": "2468"}) as w:
        await w.driver.open()
        assert (await w.driver.attach()).addresses
        assert w.commands("AT+CPIN=") == ['AT+CPIN="2468"']


async def test_wrong_pin_is_never_sent_twice() -> None:
    sim = Sim(pin="2468", iccid="8988280666000000011")
    async with world(modem={"sim": sim}, secrets={"lte.pin": "1111"}) as w:
        await w.driver.open()
        for _ in range(3):
            with pytest.raises(SimError) as caught:
                await w.driver.attach()
            assert "1111" not in str(caught.value)
        await w.driver.aclose()
        # even after somebody has put the counter back by entering the right one elsewhere
        sim.tries = 3
        successor = driver_for(w.modem.address, secrets={"lte.pin": "1111"})
        await successor.open()
        with pytest.raises(SimError, match="refused this PIN before"):
            await successor.attach()
        await successor.aclose()
        assert w.commands("AT+CPIN=") == ['AT+CPIN="1111"']


async def test_sim_with_a_refused_pin_gets_none() -> None:
    """As after a restart of the process: only the SIM's own counter knows."""
    sim = Sim(pin="2468", tries=2, iccid="8988280666000000022")
    async with world(modem={"sim": sim}, secrets={"lte.pin": "2468"}) as w:
        await w.driver.open()
        with pytest.raises(SimError, match="2 PIN tries left"):
            await w.driver.attach()
        assert w.commands("AT+CPIN=") == []
        await w.driver.aclose()
        corrected = driver_for(w.modem.address, secrets={"lte.pin": "2468"}, pin_tries_left=2)
        await corrected.open()
        assert (await corrected.attach()).addresses
        await corrected.aclose()


@pytest.mark.parametrize(
    ("sim", "secrets", "words"),
    [
        (Sim(pin="2468"), {}, "lte.pin"),
        (Sim(pin="2468"), {"lte.pin": "letters"}, "no PIN"),
        (Sim(pin="2468", tries=0), {"lte.pin": "2468"}, "SIM PUK"),
    ],
)
async def test_locked_sim(sim: Sim, secrets: dict[str, str], words: str) -> None:
    async with world(modem={"sim": sim}, secrets=secrets) as w:
        await w.driver.open()
        with pytest.raises(SimError, match=words):
            await w.driver.attach()
        assert w.commands("AT+CPIN=") == []
        assert (await w.driver.status()).evidence is Evidence.RADIO


async def test_removed_sim_is_told_at_once() -> None:
    async with world() as w:
        _, transport = await w.up()
        w.controls.sim(False)
        assert (await w.ear.until(lambda status: status.evidence <= Evidence.RADIO)).detail
        await transport.aclose()


# --- settings in flash ----------------------------------------------------------------------------------------------------


async def test_settings_are_written_only_where_they_differ() -> None:
    options: dict[str, Any] = {
        "apn": "iot.example",
        "rat": [Rat.LTE_M, Rat.NB_IOT],
        "bands": {Rat.LTE_M: [3, 20], Rat.NB_IOT: [20]},
        "psm": PowerSaving(active_time=10, periodic_tau=3600),
        "edrx": PagingCycle(cycle=80),
    }
    async with world(**options) as w:
        await w.driver.open()
        await w.driver.attach()
        kept = w.modem.core.kept
        assert {name: kept.configuration[name] for name in ("nwscanmode", "nwscanseq", "iotopmode", "band")} == {
            "nwscanmode": "3",
            "nwscanseq": "0203",
            "iotopmode": "2",
            "band": "f,80004,80000",
        }
        assert (kept.psm, kept.periodic_tau, kept.active_time) == (True, "00000110", "00000101")
        assert kept.edrx == {4: "0101", 5: "0101"}
        assert kept.contexts[1] == ("IP", "iot.example")
        written = len(w.controls.commands())
        await w.driver.aclose()
        successor = driver_for(w.modem.address, **options)
        await successor.open()
        await successor.attach()
        await successor.aclose()
        later = w.controls.commands()[written:]
        assert not [
            line
            for line in later
            if line.startswith(("AT+QCFG=", "AT+CPSMS=", "AT+CEDRXS=", "AT+CGDCONT=")) and line.count(",") > 0
        ]
        assert "AT+CFUN=0" not in later


async def test_left_over_power_saving_is_switched_off() -> None:
    async with world() as w:
        w.modem.core.kept.psm = True
        await w.driver.open()
        await w.driver.attach()
        assert not w.modem.core.kept.psm


async def test_technology_that_the_modem_lacks() -> None:
    async with world(VirtualEc25, rat=[Rat.NB_IOT]) as w:
        await w.driver.open()
        with pytest.raises(ConfigurationError, match="nb-iot"):
            await w.driver.attach()


async def test_name_and_password_come_from_the_key_store() -> None:
    secrets = {"apn.user": "alice", "apn.password": "s3cret"}
    options: dict[str, Any] = {
        "username_secret": "apn.user",
        "password_secret": "apn.password",
        "authentication": Authentication.CHAP,
    }
    async with world(secrets=secrets, apn="corp", **options) as w:
        await w.driver.open()
        await w.driver.attach()
        context = w.modem.core.data.contexts[1]
        assert (context.apn, context.user, context.password, context.authentication) == ("corp", "alice", "s3cret", 2)
        assert "s3cret" not in repr(w.driver)


async def test_absent_secret_is_named() -> None:
    async with world(password_secret="apn.password") as w:
        await w.driver.open()
        with pytest.raises(ConfigurationError, match=r"apn\.password"):
            await w.driver.attach()


# --- registration ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cause", "seconds"), [(11, 1800.0), (7, 3600.0), (15, 900.0), (3, 3600.0)])
async def test_denial_has_cause_and_patience(cause: int, seconds: float) -> None:
    async with world(modem={"air": Air(denied=cause)}) as w:
        await w.driver.open()
        with pytest.raises(RegistrationDenied, match=f"cause {cause}") as caught:
            await w.driver.attach()
        assert caught.value.retry_after == seconds
        status = await w.driver.status()
        assert status.evidence is Evidence.SIM
        assert "denied" in status.detail


async def test_no_coverage_gives_up_in_time() -> None:
    async with world(modem={"air": Air(coverage=False)}, registration_timeout=0.3) as w:
        await w.driver.open()
        with pytest.raises(AttachFailed, match="searching") as caught:
            await w.driver.attach()
        assert not isinstance(caught.value, RegistrationDenied)


async def test_attach_waits_for_coverage() -> None:
    async with world(modem={"air": Air(coverage=False)}) as w:
        await w.driver.open()
        attaching = asyncio.create_task(w.driver.attach())
        await w.asked("AT+CEREG?")
        w.controls.coverage(True)
        assert (await attaching).addresses


async def test_deregistered_modem_is_let_search() -> None:
    async with world() as w:
        w.modem.core.registration.deregistered = True
        w.modem.core.registration.evaluate()
        await w.driver.open()
        await w.driver.attach()
        assert w.commands("AT+COPS=") == ["AT+COPS=0"]


async def test_switched_off_radio_is_switched_on() -> None:
    async with world() as w:
        w.modem.core.cycle_radio(4)
        await w.driver.open()
        assert (await w.driver.attach()).addresses


async def test_lost_coverage_is_told_at_once_and_its_end_too() -> None:
    async with world() as w:
        _, transport = await w.up()
        w.controls.coverage(False)
        lost = await w.ear.until(lambda status: status.evidence is Evidence.SIM)
        assert "searching" in lost.detail
        w.ear.heard.clear()
        w.controls.coverage(True)
        await w.ear.until(lambda status: status.evidence >= Evidence.REGISTERED)
        await transport.aclose()


# --- the context ----------------------------------------------------------------------------------------------------------


async def test_lost_context_is_told_at_once_and_comes_back() -> None:
    async with world() as w:
        bearer, transport = await w.up()
        waiting = asyncio.create_task(transport.receive())
        w.controls.lose_context()
        with pytest.raises(TransportBroken, match="PDP context"):
            await waiting
        assert (await w.ear.until(lambda status: status.evidence is Evidence.REGISTERED)).detail.startswith(
            "registered without data"
        )
        with pytest.raises(TransportBroken):
            await w.driver.open_datagram_socket("192.0.2.1", 5683)
        await transport.aclose()
        again = await w.driver.attach()
        assert again.addresses != bearer.addresses  # the network gave it anew
        assert w.commands("AT+QIDEACT") == ["AT+QIDEACT=1"]


async def test_context_lost_without_a_word_is_found_by_asking() -> None:
    async with world() as w:
        _, transport = await w.up()
        context = w.modem.core.data.contexts[1]
        context.active = False
        status = await w.driver.status()
        assert status.evidence is Evidence.REGISTERED
        assert "without data" in status.detail
        with pytest.raises(TransportBroken):
            await transport.send(Packet(b"x", Service.SOLUTION))
        await transport.aclose()


@pytest.mark.parametrize(("code", "seconds"), [(127, 3600.0), (133, 3600.0), (126, 300.0), (148, None)])
async def test_refused_context(code: int, seconds: float | None) -> None:
    async with world(modem={"air": Air(refuses_context=code)}) as w:
        await w.driver.open()
        with pytest.raises(AttachFailed, match=str(code)) as caught:
            await w.driver.attach()
        assert caught.value.retry_after == seconds
        assert (await w.driver.status()).evidence is Evidence.REGISTERED
        tries = len(w.commands("AT+QIACT="))
        assert tries == (1 if seconds else 2)  # a lasting refusal is not asked for again


# --- sockets --------------------------------------------------------------------------------------------------------------


async def test_any_bytes_up_and_down() -> None:
    async with world() as w:
        _, transport = await w.up()
        packets = [Packet(NASTY + bytes([n]), Service.SOLUTION) for n in range(8)]
        for packet in packets:
            await transport.send(packet)
        assert [await w.far.arrived.get() for _ in packets] == packets
        for packet in packets:
            w.far.answer(packet)
        assert [await transport.receive() for _ in packets] == packets
        await transport.aclose()


async def test_unasked_lines_in_the_middle_of_a_reply() -> None:
    async with world() as w:
        _, transport = await w.up()
        w.controls.chatter(['+CEREG: 5,"5B10","3787103",8', '+QIURC: "recv",0', "+QIND: SMS DONE", '+CTZV: "+04"'])
        for _ in range(3):
            assert (await w.driver.status()).evidence is Evidence.BEARER
            await transport.send(Packet(NASTY, Service.MANAGEMENT))
            assert (await w.far.arrived.get()).data == NASTY
            w.far.answer(Packet(NASTY, Service.MANAGEMENT))
            assert (await transport.receive()).data == NASTY
        w.controls.chatter([])
        await transport.aclose()


async def test_full_buffer_is_not_now() -> None:
    async with world() as w:
        _, transport = await w.up()
        w.controls.buffer_full(True)
        with pytest.raises(NotNow) as caught:
            await transport.send(Packet(b"x", Service.SOLUTION))
        assert caught.value.retry_after > 0
        w.controls.buffer_full(False)
        await transport.send(Packet(b"y", Service.SOLUTION))
        assert (await w.far.arrived.get()).data == b"y"
        await transport.aclose()


async def test_lost_recv_line_is_made_good_by_status() -> None:
    """A URC that the line has eaten is never repeated: the next look at the radio reads the socket."""
    async with world() as w:
        _, transport = await w.up()
        await transport.send(Packet(b"hello", Service.SOLUTION))
        await w.far.arrived.get()
        w.controls.drop(count=len('\r\n+QIURC: "recv",1\r\n'), direction="to host")
        w.far.answer(Packet(b"unheard", Service.SOLUTION))
        await w.until(lambda: w.modem.core.data.received > 0)
        waiting = asyncio.create_task(transport.receive())
        await w.driver.status()
        assert (await waiting).data == b"unheard"
        await transport.aclose()


async def test_socket_that_the_modem_closes() -> None:
    async with world() as w:
        _, transport = await w.up()
        w.controls.close_socket(0)
        with pytest.raises(TransportBroken, match="closed"):
            await transport.receive()
        await transport.aclose()
        assert len(w.commands("AT+QICLOSE")) == 2  # the one that was closed as well
        bearer = await w.driver.attach()
        again = w.transport(bearer)
        await again.open()
        await again.send(Packet(b"x", Service.SOLUTION))
        assert (await w.far.arrived.get()).data == b"x"
        await again.aclose()


async def test_sockets_left_open_by_a_program_that_was_killed() -> None:
    async with world() as w:
        await w.up()
        await w.driver.aclose()  # with the transport still open: the modem's sockets stay
        successor = driver_for(w.modem.address)
        await successor.open()
        bearer = await successor.attach()
        w.driver = successor
        transport = w.transport(bearer)
        await transport.open()
        await transport.send(Packet(b"x", Service.SOLUTION))
        assert (await w.far.arrived.get()).data == b"x"
        await transport.aclose()
        await successor.aclose()


async def test_unknown_host_breaks_the_opening_with_the_modems_cause() -> None:
    async with world() as w:
        await w.driver.open()
        await w.driver.attach()
        with pytest.raises(TransportBroken, match="565"):
            await w.driver.open_datagram_socket("nowhere.example", 5683)


# --- restarts -------------------------------------------------------------------------------------------------------------


async def test_restart_is_told_at_once_and_attach_sets_up_again() -> None:
    async with world() as w:
        _, transport = await w.up()
        waiting = asyncio.create_task(transport.receive())
        w.controls.crash()
        status = await w.ear.until(lambda status: status.evidence <= Evidence.RADIO)
        assert "restarted" in status.detail
        with pytest.raises(TransportBroken, match="restarted"):
            await waiting
        await transport.aclose()
        bearer = await w.driver.attach()
        again = w.transport(bearer)
        await again.open()
        await again.send(Packet(b"back", Service.SOLUTION))
        assert (await w.far.arrived.get()).data == b"back"
        await again.aclose()
        assert len(w.ear.heard) < 8  # the rest of the boot lines are no restarts of their own


async def test_restart_ends_what_waits_for_an_answer() -> None:
    """QIACT may take 150 s; a modem that has restarted meanwhile will never answer it."""
    slow = tuple(QUICK_PROFILES)
    async with world(profiles=slow, modem={"air": Air()}) as w:
        await w.driver.open()
        w.controls.ignore("+QIACT")
        attaching = asyncio.create_task(w.driver.attach())
        await w.asked("AT+QIACT")
        w.controls.crash()
        with pytest.raises(AttachFailed, match="restarted"):
            await attaching
        w.controls.ignore("+QIACT", on=False)
        assert (await w.driver.attach()).addresses


async def test_power_down_is_told_at_once() -> None:
    async with world() as w:
        _, transport = await w.up()
        w.modem.core.power_down()
        w.modem.pump()
        status = await w.ear.until(lambda status: status.evidence is Evidence.PORT)
        assert "POWERED DOWN" in status.detail
        await transport.aclose()


# --- hangs and recoveries -------------------------------------------------------------------------------------------------


def rung(recoveries: Sequence[Recovery], name: str) -> Recovery:
    return next(recovery for recovery in recoveries if recovery.name == name)


async def test_ladder_has_only_the_rungs_that_are_wired() -> None:
    async with world() as w:
        assert [each.name for each in w.driver.recoveries] == ["reopen port", "radio off/on", "modem reset"]
    async with world(lines={"reset": None, "power_key": None, "power_switch": None}) as w:
        assert [each.name for each in w.driver.recoveries][3:] == ["reset line", "power key", "power cut"]


@pytest.mark.parametrize(
    ("how", "names"),
    [
        (Hang.PORT, ["reopen port"]),
        (Hang.RADIO, ["radio off/on"]),
        (Hang.COMMANDS, ["modem reset"]),
        (Hang.FIRMWARE, ["reset line"]),
        (Hang.FIRMWARE, ["power key"]),
        (Hang.SUPPLY, ["power cut"]),
    ],
)
@pytest.mark.parametrize("closed", [False, True])
async def test_recovery_cures_its_hang(how: Hang, names: list[str], closed: bool) -> None:
    async with world(modem={"personality": wired(), "starts_with_supply": False}) as w:
        modem = w.modem
        lines = {"reset": modem.reset_line, "power_key": modem.power_key, "power_switch": modem.supply}
        driver = driver_for(modem.address, lines=lines, registration_timeout=2.0)
        await driver.open()
        await driver.attach()
        w.controls.hang(how)
        if closed:  # supervision may have let go of it before
            await driver.aclose()
        for name in names:
            step = rung(driver.recoveries, name)
            async with asyncio.timeout(step.deadline):
                await step.run()
        await driver.aclose()
        assert modem.core.faults.hang is None
        successor = driver_for(modem.address, lines=lines)
        await successor.open()
        assert (await successor.attach()).addresses
        await successor.aclose()


async def test_commands_that_hang_do_not_pass_as_a_port_reopened() -> None:
    async with world() as w:
        await w.driver.open()
        w.controls.hang(Hang.COMMANDS)
        for name in ("reopen port", "radio off/on"):
            with pytest.raises(RadioSilent):
                await rung(w.driver.recoveries, name).run()


async def test_modem_that_is_off_is_switched_on_by_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rataccess_drivers.at.port._PROBE_WAITS", (0.1,))
    async with world(modem={"personality": wired(), "start": Start.OFF}) as w:
        driver = driver_for(w.modem.address, lines={"power_key": w.modem.power_key})
        await driver.open()
        assert (await driver.attach()).addresses
        assert w.modem.core.boots == 1
        await driver.aclose()


async def test_power_key_of_a_running_modem() -> None:
    async with world(modem={"personality": wired()}) as w:
        driver = driver_for(w.modem.address, lines={"power_key": w.modem.power_key})
        ear = Ear(driver)
        await driver.open()
        await driver.attach()
        assert isinstance(driver, HasPowerKey)
        await driver.press_power_key()
        assert w.modem.core.boots == 2
        assert ear.heard[0].evidence < Evidence.BEARER
        assert (await driver.attach()).addresses
        await driver.aclose()


async def test_usb_port_that_vanishes_during_a_reset() -> None:
    async with world(modem={"usb": True}) as w:
        await w.driver.open()
        await w.driver.attach()
        await rung(w.driver.recoveries, "modem reset").run()
        assert w.modem.core.boots == 2
        await w.driver.aclose()


def test_deadlines_leave_room_for_what_the_rung_does() -> None:
    for profile in PROFILES:
        for recovery in driver_for("pty:/nowhere", profiles=[profile], lines={"power_key": None}).recoveries:  # type: ignore[dict-item]
            assert recovery.deadline > profile.power.ready


# --- what it tells --------------------------------------------------------------------------------------------------------


async def test_status_tells_operator_and_signal() -> None:
    async with world() as w:
        _, transport = await w.up()
        w.controls.signal(-101, rsrq=-13)
        status = await w.driver.status()
        assert (status.evidence, status.rat, status.operator) == (Evidence.BEARER, "lte-m", "Virtual Cellular")
        assert (status.signal_dbm, status.signal_quality_db) == (-101.0, -13.0)
        await transport.aclose()


async def test_cells_fix_and_time() -> None:
    async with world() as w:
        await w.driver.open()
        await w.driver.attach()
        serving, neighbour = await w.driver.cells()
        air = w.modem.core.air
        assert (serving.serving, serving.mcc, serving.mnc) == (True, air.mcc, air.mnc)
        assert (serving.area, serving.cell, serving.signal_dbm) == (air.cell.area, air.cell.identity, air.cell.rsrp)
        assert (neighbour.serving, neighbour.physical_cell) == (False, air.neighbours[0].physical)
        told = await w.driver.network_time()
        assert told is not None
        assert abs(told - (w.modem.core.epoch + asyncio.get_running_loop().time())) < 5
        assert await w.driver.locate() is None  # switches GNSS on
        fix = None
        while fix is None:
            await asyncio.sleep(0.02)
            fix = await w.driver.locate()
        assert (round(fix.latitude, 3), round(fix.longitude, 3)) == (59.329, 18.069)
        assert w.modem.core.gnss_since is None  # off again: it shares the receiver


async def test_time_before_the_network_tells_it() -> None:
    async with world(modem={"air": Air(tells_time=False)}) as w:
        await w.driver.open()
        assert await w.driver.network_time() is None


async def test_repr_says_who_and_how_far() -> None:
    async with world() as w:
        await w.up()
        assert repr(w.driver) == "<QuectelDriver lte BG95-M3 BEARER>"


async def test_noise_on_the_line_ends_in_our_errors_and_passes() -> None:
    """Bytes lost and altered in both directions: nothing foreign is raised, and afterwards all is well again."""
    async with world(registration_timeout=2.0) as w:
        await w.driver.open()
        await w.driver.attach()
        w.controls.garble(rate=0.01)
        w.controls.drop(rate=0.005)
        for _ in range(4):
            with contextlib.suppress(RataccessError):
                await w.driver.status()
            with contextlib.suppress(RataccessError):
                transport = w.transport(await w.driver.attach())
                try:
                    await transport.open()
                    await transport.send(Packet(NASTY, Service.SOLUTION))
                finally:
                    await transport.aclose()
        w.controls.mend()
        successor = driver_for(w.modem.address)
        await w.driver.aclose()
        await successor.open()
        assert (await successor.attach()).addresses
        await successor.aclose()
