"""The Quectel driver's patience, in virtual time and with the time limits of real modems."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rataccess.clock import SystemClock
from rataccess.driver import DriverContext
from rataccess.errors import AttachFailed, Closed, RadioSilent, RegistrationDenied, SimError, TransportBroken
from rataccess_drivers.cellular.options import QuectelOptions
from rataccess_drivers.cellular.profiles import BG95
from rataccess_drivers.cellular.quectel import QuectelDriver
from tests.cellular.quectel_rigs import FakePort

pytestmark = pytest.mark.looptime

UP: dict[str, tuple[str, ...] | str | None] = {
    "AT+CGMM": ("BG95-M3",),
    "AT+CPIN?": ("+CPIN: READY",),
    "AT+CFUN?": ("+CFUN: 1",),
    "AT+CEREG?": ('+CEREG: 5,1,"5B10","3787103",8',),
    "AT+CGREG?": ("+CGREG: 5,0",),
    "AT+QIACT?": ('+QIACT: 1,1,1,"10.64.0.2"',),
    "AT+COPS?": ('+COPS: 0,0,"Telia",8',),
    "AT+CPSMS?": ("+CPSMS: 0",),
}


async def opened(**options: Any) -> tuple[FakePort, QuectelDriver]:
    port = FakePort(UP)
    driver = QuectelDriver(
        QuectelOptions(port="pty:/fake", **options),
        DriverContext("lte", SystemClock(), {"lte.pin": "2468"}.get),
        make_port=lambda _options, _name: port,
    )
    await driver.open()
    return port, driver


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_busy_sim_is_waited_for() -> None:
    port, driver = await opened()
    port.answers["AT+CPIN?"] = "+CME ERROR: 14"
    asyncio.get_running_loop().call_later(12, port.answers.update, {"AT+CPIN?": ("+CPIN: READY",)})
    start = now()
    await driver.attach()
    assert 12 <= now() - start < 15
    await driver.aclose()


async def test_sim_that_stays_away() -> None:
    port, driver = await opened()
    for error, patience in (("+CME ERROR: 10", 5.0), ("+CME ERROR: 13", 5.0), ("+CME ERROR: 14", 30.0)):
        port.answers["AT+CPIN?"] = error
        start = now()
        with pytest.raises(SimError):
            await driver.attach()
        assert patience <= now() - start < patience + 2
    await driver.aclose()


async def test_pin_whose_answer_never_came_is_not_sent_again() -> None:
    """Whether it was right is not known, and this modem does not tell how many tries are left."""
    port, driver = await opened()
    port.answers |= {
        "AT+CPIN?": ("+CPIN: SIM PIN",),
        "AT+CPIN=": None,
        "AT+QPINC=": "ERROR",
        "AT+QCCID": ("+QCCID: 89882800000000000331",),
    }
    with pytest.raises(RadioSilent):
        await driver.attach()
    with pytest.raises(SimError, match="not sent again"):
        await driver.attach()
    assert port.asked.count('AT+CPIN="2468"') == 1
    # one that does tell, and has all its tries, may be sent it: it cannot have been refused
    port.answers |= {"AT+QPINC=": ('+QPINC: "SC",3,10',), "AT+CPIN=": ()}
    attaching = asyncio.create_task(driver.attach())
    await asyncio.sleep(3)
    port.answers["AT+CPIN?"] = ("+CPIN: READY",)
    assert (await attaching).addresses
    assert port.asked.count('AT+CPIN="2468"') == 2
    await driver.aclose()


@pytest.mark.parametrize("cause", ["", ",,,,0,17"])
async def test_refusal_that_may_pass_is_given_ten_seconds(cause: str) -> None:
    port, driver = await opened()
    port.answers["AT+CEREG?"] = (f"+CEREG: 5,3{cause}",)
    start = now()
    with pytest.raises(RegistrationDenied) as caught:
        await driver.attach()
    assert 10 <= now() - start < 20
    assert caught.value.retry_after in (900.0, 720.0)
    await driver.aclose()


async def test_refusal_by_one_network_and_consent_by_another() -> None:
    port, driver = await opened()
    port.answers["AT+CEREG?"] = ("+CEREG: 5,3,,,,0,17",)

    def find() -> None:
        port.answers |= {"AT+CEREG?": ('+CEREG: 5,5,"5B10","3787103",9',), "AT+COPS?": ('+COPS: 0,0,"Telia",9',)}
        port.say('+CEREG: 5,"5B10","3787103",9')

    asyncio.get_running_loop().call_later(7, find)
    start = now()
    assert (await driver.attach()).rat == "nb-iot"
    assert now() - start < 8  # by the URC, not by the next poll
    await driver.aclose()


async def test_registration_whose_urc_was_lost_is_found_by_asking() -> None:
    port, driver = await opened()
    port.answers["AT+CEREG?"] = ("+CEREG: 5,2",)
    asyncio.get_running_loop().call_later(60, port.answers.update, {"AT+CEREG?": ("+CEREG: 5,1",)})
    start = now()
    await driver.attach()
    assert 60 <= now() - start <= 66
    await driver.aclose()


async def test_registration_that_never_comes() -> None:
    port, driver = await opened(registration_timeout=180.0)
    port.answers["AT+CEREG?"] = ("+CEREG: 5,2",)
    start = now()
    with pytest.raises(AttachFailed, match="180 s: searching"):
        await driver.attach()
    assert 180 <= now() - start < 185
    await driver.aclose()


async def test_closing_ends_the_waiting() -> None:
    port, driver = await opened()
    port.answers["AT+CEREG?"] = ("+CEREG: 5,2",)
    attaching = asyncio.create_task(driver.attach())
    await asyncio.sleep(20)
    start = now()
    await driver.aclose()
    with pytest.raises(Closed):
        await attaching
    assert now() - start < 1


async def test_hung_modem_is_silent_within_the_limit_of_a_doubt() -> None:
    port, driver = await opened()
    await driver.attach()
    port.answers["AT+CPIN?"] = None
    start = now()
    with pytest.raises(RadioSilent):
        await driver.status()
    assert now() - start < 5
    await driver.aclose()


async def test_hung_send_breaks_the_socket_and_closing_ends_it_sooner() -> None:
    port, driver = await opened()
    await driver.attach()
    sockets = []
    for number in range(2):
        asyncio.get_running_loop().call_later(0.5, port.say, f"+QIOPEN: {number},0")
        sockets.append(await driver.open_datagram_socket("192.0.2.1", 5683))
    port.answers |= {"AT+QISEND=": None, "AT+QICLOSE=": None}
    start = now()
    with pytest.raises(TransportBroken):
        await sockets[0].send(b"data")
    assert now() - start <= BG95.limits.send + 1
    start = now()
    sending = asyncio.create_task(sockets[1].send(b"data"))
    await asyncio.sleep(1)
    await sockets[1].aclose()
    with pytest.raises(Closed):
        await sending
    assert now() - start < 6
    await driver.aclose()


async def test_socket_that_is_never_opened() -> None:
    port, driver = await opened()
    await driver.attach()
    start = now()
    with pytest.raises(TransportBroken, match="no answer"):
        await driver.open_datagram_socket("192.0.2.1", 5683)
    assert now() - start < 90
    assert port.asked[-1].startswith("AT+QIOPEN=1,0")
    await driver.aclose()


async def test_one_silent_read_is_noise_and_a_second_one_is_not() -> None:
    port, driver = await opened()
    await driver.attach()
    asyncio.get_running_loop().call_later(0.5, port.say, "+QIOPEN: 0,0")
    socket = await driver.open_datagram_socket("192.0.2.1", 5683)
    port.answers["AT+QIRD="] = None
    port.say('+QIURC: "recv",0')
    with pytest.raises(TransportBroken):
        await socket.receive()
    assert port.asked.count("AT+QIRD=0,1500") == 2
    await socket.aclose()
    await driver.aclose()


@pytest.mark.parametrize("name", ["reopen port", "radio off/on", "modem reset"])
async def test_rung_that_does_not_help_fails_within_its_deadline(name: str) -> None:
    port, driver = await opened()
    step = next(each for each in driver.recoveries if each.name == name)
    port.answers |= {"AT": None, "AT+CFUN?": None, "AT+CFUN=": None}
    async with asyncio.timeout(step.deadline):
        with pytest.raises(RadioSilent):
            await step.run()
    await driver.aclose()


async def test_unread_datagrams_stay_in_the_modem() -> None:
    """Whoever does not receive does not make memory grow."""
    port, driver = await opened()
    await driver.attach()
    asyncio.get_running_loop().call_later(0.5, port.say, "+QIOPEN: 0,0")
    socket = await driver.open_datagram_socket("192.0.2.1", 5683)
    port.flood = True
    port.say('+QIURC: "recv",0')
    await asyncio.sleep(100)
    read = port.asked.count("AT+QIRD=0,1500")
    assert 256 <= read <= 257
    assert await socket.receive() == b"flood"
    await asyncio.sleep(1)
    assert port.asked.count("AT+QIRD=0,1500") == read + 1
    await socket.aclose()
    await driver.aclose()
