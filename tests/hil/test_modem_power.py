"""Boot, power, SIM and the ways in which the virtual modem hangs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rataccess_hil.modem import EC25, Hang, Power, Sim
from rataccess_hil.modem.actions import Plug
from tests.hil.bench import Bench

BOOT_LINES = [
    "RDY",
    "APP RDY",
    "+CFUN: 1",
    "+CPIN: READY",
    "+QUSIM: 1",
    "+QIND: SMS DONE",
    "+QIND: PB DONE",
]


def press(bench: Bench, name: str, seconds: float) -> None:
    bench.do(lambda modem: modem.set_line(name, True), seconds)
    bench.do(lambda modem: modem.set_line(name, False))


def supplied() -> Bench:
    bench = Bench(warm=False)
    bench.modem.supplied = True
    return bench


def test_boots_with_its_lines_in_order_and_forgets_its_settings() -> None:
    bench = Bench()
    bench.online()
    serial = bench.socket()
    for command in ("AT+CEREG=5", "AT+CGEREP=1", "AT+CTZR=1"):
        assert bench.ask(command) == ["OK"]
    assert bench.ask("AT+CFUN=1,1") == ["OK"]
    assert bench.hear(2.9) == [], "2.5 s to boot, after half a second"
    assert bench.hear(10.0) == BOOT_LINES
    assert bench.closed() == [serial]
    assert bench.ask("AT+QIACT?")[0].startswith("AT+QIACT?"), "echo is on again"
    assert bench.ask("ATE0")[-1] == "OK"
    assert bench.ask("AT+CMEE?") == ["+CMEE: 0", "OK"]
    assert bench.ask("AT+CEREG?") == ["+CEREG: 0,1", "OK"]
    assert bench.ask("AT+QIACT?") == ["OK"]
    assert bench.ask("AT+QISTATE?") == ["OK"]
    assert bench.ask("AT+QICSGP=1") == ['+QICSGP: 1,"","","",0', "OK"]


def test_saved_settings_and_flash_survive() -> None:
    bench = Bench()
    for command in ("AT+CEREG=2", "AT&W", 'AT+CGDCONT=2,"IP","other"', "AT+CTZU=3", 'AT+QCFG="iotopmode",2,1'):
        assert bench.ask(command) == ["OK"]
    bench.ask("AT+CFUN=1,1")
    bench.hear(20.0)
    assert bench.ask("AT+CEREG?") == ['+CEREG: 2,1,"5B10","3787103",8', "OK"]
    assert '+CGDCONT: 2,"IP","other","0.0.0.0",0,0,0,0' in bench.ask("AT+CGDCONT?")
    assert bench.ask("AT+CTZU?") == ["+CTZU: 3", "OK"]
    assert bench.ask('AT+QCFG="iotopmode"') == ['+QCFG: "iotopmode",2', "OK"]
    assert bench.ask('AT+QCFG="no such thing",1') == ["ERROR"]


def test_the_sim_is_busy_at_first() -> None:
    bench = supplied()
    bench.modem.boot()
    assert bench.hear(2.6) == ["RDY"]
    bench.ask("ATE0")
    bench.ask("AT+CMEE=1")
    assert bench.ask("AT+CPIN?") == ["+CME ERROR: 14"]
    bench.hear(2.0)
    assert bench.ask("AT+CPIN?") == ["+CPIN: READY", "OK"]


def test_an_absent_sim() -> None:
    bench = Bench(sim=Sim(present=False))
    assert bench.ask("AT+CPIN?") == ["+CME ERROR: 10"]
    assert bench.ask("AT+CIMI;+QCCID") == ["+CME ERROR: 10"]
    assert bench.ask("AT+CEREG?") == ["+CEREG: 0,0", "OK"]
    assert '"LIMSRV"' in bench.ask('AT+QENG="servingcell"')[0]


def test_three_wrong_pins_ask_for_the_puk() -> None:
    bench = Bench(sim=Sim(pin="1234", puk="12345678"))
    assert bench.ask("AT+CPIN?") == ["+CPIN: SIM PIN", "OK"]
    assert bench.ask("AT+CIMI") == ["+CME ERROR: 11"]
    assert bench.ask("AT+CEREG?") == ["+CEREG: 0,0", "OK"]
    assert bench.ask("AT+CPIN=1111") == ["+CME ERROR: 16"]
    assert bench.ask('AT+QPINC="SC"') == ['+QPINC: "SC",2,10', "OK"]
    assert bench.ask("AT+CPIN=1111") == ["+CME ERROR: 16"]
    assert bench.ask("AT+CPIN=1111") == ["+CME ERROR: 12"]
    assert bench.ask("AT+CPIN?") == ["+CPIN: SIM PUK", "OK"]
    assert bench.ask('AT+CPIN="1234"') == ["+CME ERROR: 50"], "the PUK needs a new PIN too"
    assert bench.ask('AT+CPIN="00000000","4321"') == ["+CME ERROR: 16"]
    assert bench.ask('AT+CPIN="12345678","4321"') == ["OK", "+CPIN: READY"]
    assert bench.ask("AT+CPIN?") == ["+CPIN: READY", "OK"]
    bench.ask("AT+CFUN=1,1")
    bench.hear(20.0)
    bench.ask("ATE0")
    assert bench.ask("AT+CPIN?") == ["+CPIN: SIM PIN", "OK"], "locked again after a restart"
    assert bench.ask("AT+CPIN=4321", 0.1)[0] == "OK"
    bench.hear(10.0)
    assert bench.ask("AT+CEREG?") == ["+CEREG: 0,1", "OK"]


def test_a_right_pin_gives_back_the_tries() -> None:
    sim = Sim(pin="1234")
    bench = Bench(sim=sim)
    bench.ask("AT+CPIN=1111")
    assert sim.tries == 2
    assert bench.ask("AT+CPIN=1234")[0] == "OK"
    assert sim.tries == 3


@pytest.mark.parametrize(("held", "starts"), [(0.3, False), (0.49, False), (0.575, True), (1.0, True), (2.0, True)])
def test_the_power_key_switches_on(held: float, starts: bool) -> None:
    bench = supplied()
    press(bench, "power_key", held)
    assert bench.hear(10.0) == (BOOT_LINES if starts else [])


@pytest.mark.parametrize(
    ("held", "outcome"),
    [(0.575, "nothing"), (0.8, "off"), (1.5, "off"), (1.8, "nothing"), (2.9, "restart"), (5.0, "nothing")],
)
def test_the_power_key_of_a_running_bg95(held: float, outcome: str) -> None:
    bench = Bench()
    press(bench, "power_key", held)
    said = bench.hear(15.0)
    assert said == {"nothing": [], "off": ["POWERED DOWN"], "restart": BOOT_LINES}[outcome]
    assert (bench.modem.power is Power.OFF) == (outcome == "off")


def test_the_power_key_of_an_ec25_does_not_reset_it() -> None:
    bench = Bench(personality=EC25)
    press(bench, "power_key", 2.9)
    assert bench.hear(15.0) == ["POWERED DOWN"]
    press(bench, "power_key", 0.6)
    bench.hear(15.0)
    press(bench, "reset", 0.3)
    assert bench.hear(15.0)[0] == "RDY"


@pytest.mark.parametrize(("held", "restarts"), [(0.5, False), (2.9, True), (4.5, False)])
def test_the_reset_line(held: float, restarts: bool) -> None:
    bench = Bench()
    press(bench, "reset", held)
    assert bench.hear(15.0) == (BOOT_LINES if restarts else [])


def test_there_is_no_other_line() -> None:
    with pytest.raises(ValueError, match="power_key, reset and supply"):
        Bench().modem.set_line("pwrkey", True)


def test_a_modem_that_is_off_swallows_everything() -> None:
    bench = supplied()
    assert bench.ask("AT", 10.0) == []
    assert bench.modem.swallowed == 3
    bench.modem.boot()
    assert bench.ask("AT", 1.0) == [], "and so does one that boots"


def test_powers_down_in_good_order() -> None:
    bench = Bench()
    assert bench.ask("AT+QPOWD", 5.0) == ["OK", "POWERED DOWN"]
    assert bench.ask("AT", 5.0) == []
    assert bench.modem.power is Power.OFF


def test_powers_down_at_once() -> None:
    bench = Bench()
    assert bench.ask("AT+QPOWD=0", 5.0) == ["OK"]
    assert bench.modem.power is Power.OFF


def test_a_supply_cut_during_boot_starts_the_boot_again() -> None:
    bench = Bench(warm=False, starts_with_supply=True)
    bench.do(lambda modem: modem.set_line("supply", True), 2.0)
    bench.do(lambda modem: modem.set_line("supply", False), 0.1)
    bench.do(lambda modem: modem.set_line("supply", True))
    assert bench.hear(2.4) == []
    assert bench.hear(0.2) == ["RDY"]
    assert bench.modem.boots == 1


def test_a_brown_out_says_nothing_and_loses_everything() -> None:
    bench = Bench(starts_with_supply=True)
    bench.online()
    assert bench.do(lambda modem: modem.brown_out(), 1.0) == []
    assert bench.hear(15.0) == BOOT_LINES
    bench.ask("ATE0")
    assert bench.ask("AT+QIACT?") == ["OK"]


def test_its_own_usb_port_goes_and_comes_back() -> None:
    bench = Bench(usb=True)
    bench.ask("AT+CFUN=1,1")
    bench.hear(1.0)
    assert bench.actions == [Plug(False)]
    bench.hear(5.0)
    assert bench.actions == [Plug(False), Plug(True)]


# --- hangs, and what helps --------------------------------------------------------------------------------------------


def reopen(bench: Bench) -> None:
    bench.modem.port_reopened()


def escape(bench: Bench) -> None:
    bench.write(b"\x1b")


def radio_off_and_on(bench: Bench) -> None:
    bench.ask("AT+CFUN=4", 5.0)
    bench.ask("AT+CFUN=1", 5.0)


def reset_command(bench: Bench) -> None:
    bench.ask("AT+CFUN=1,1", 1.0)


def reset_line(bench: Bench) -> None:
    press(bench, "reset", 2.9)


def power_key(bench: Bench) -> None:
    press(bench, "power_key", 0.8)
    bench.hear(3.0)
    press(bench, "power_key", 0.6)


def power_cut(bench: Bench) -> None:
    bench.do(lambda modem: modem.set_line("supply", False), 1.0)
    bench.do(lambda modem: modem.set_line("supply", True))


REMEDIES: list[Callable[[Bench], None]] = [
    reopen,
    escape,
    radio_off_and_on,
    reset_command,
    reset_line,
    power_key,
    power_cut,
]
HELPS: dict[Hang, set[Callable[[Bench], None]]] = {
    Hang.PORT: {reopen, escape, reset_line, power_key, power_cut},
    Hang.RADIO: {radio_off_and_on, reset_command, reset_line, power_key, power_cut},
    Hang.COMMANDS: {reset_command, reset_line, power_key, power_cut},
    Hang.FIRMWARE: {reset_line, power_key, power_cut},
    Hang.SUPPLY: {power_cut},
}


def works(bench: Bench) -> bool:
    bench.hear(20.0)
    return bench.ask("ATE0", 1.0)[-1:] == ["OK"] and bench.ask("AT+CEREG?", 1.0) == ["+CEREG: 0,1", "OK"]


@pytest.mark.parametrize("hang", list(Hang))
@pytest.mark.parametrize("remedy", REMEDIES, ids=lambda remedy: remedy.__name__)
def test_every_hang_yields_to_its_remedies_and_to_no_milder_one(hang: Hang, remedy: Callable[[Bench], None]) -> None:
    bench = Bench(starts_with_supply=True)
    assert works(bench)
    bench.modem.hang(hang)
    assert not works(bench)
    remedy(bench)
    assert works(bench) == (remedy in HELPS[hang])


def test_a_hung_modem_swallows_bytes() -> None:
    bench = Bench()
    bench.modem.hang(Hang.FIRMWARE)
    bench.write(b"AT\r" * 100)
    assert bench.wait(3600.0) == b""
    assert bench.modem.swallowed == 300


def test_the_watchdog_bites() -> None:
    bench = Bench()
    bench.modem.faults.watchdog = 60.0
    bench.modem.hang(Hang.FIRMWARE)
    assert bench.hear(59.0) == []
    assert bench.hear(15.0) == BOOT_LINES


def test_a_hung_command_set_answers_at_alone() -> None:
    bench = Bench()
    bench.modem.hang(Hang.COMMANDS)
    assert bench.ask("AT") == ["OK"]
    assert bench.ask("AT+CSQ", 60.0) == []
    assert bench.ask("ATE0") == ["OK"]
