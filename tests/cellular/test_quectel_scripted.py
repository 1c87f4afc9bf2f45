"""The Quectel driver against scripts: exact bytes, cut anywhere, as real modems and awkward ones say them."""

from __future__ import annotations

import asyncio

import pytest

from rataccess.driver import Evidence
from rataccess.errors import AttachFailed, NotNow, TransportBroken, WrongRadio
from tests.cellular.quectel_rigs import HEALTHY, ScriptedModem, driver_for, lines


async def test_replies_of_a_real_bg95() -> None:
    async with ScriptedModem(HEALTHY) as modem:
        driver = driver_for(modem.address)
        await driver.open()
        bearer = await driver.attach()
        assert (bearer.rat, bearer.addresses) == ("lte-m", ("10.64.0.2",))
        status = await driver.status()
        assert (status.evidence, status.operator, status.signal_dbm) == (Evidence.BEARER, "Telia", -88.0)
        await driver.aclose()
        assert "AT+QIACT=1" not in modem.asked  # it was up already


async def test_registration_line_in_the_middle_of_another_reply() -> None:
    """The URC comes between the lines of a reply, and looks like one itself."""
    replies = HEALTHY | {
        "AT+COPS?": b'\r\n+CEREG: 2\r\n\r\n+COPS: 0,0,"Telia",8\r\n\r\n+CEREG: 5,"5B10","3787103",8\r\n\r\nOK\r\n',
        "AT+CEREG?": b'\r\n+CEREG: 5,"5B10","3787103",8\r\n\r\n+CEREG: 2,5,"5B10","3787103",8\r\n\r\nOK\r\n',
    }
    async with ScriptedModem(replies) as modem:
        driver = driver_for(modem.address)
        await driver.open()
        assert (await driver.attach()).rat == "lte-m"
        assert (await driver.status()).operator == "Telia"
        await driver.aclose()


@pytest.mark.parametrize(
    "line",
    [
        '+QIURC: "pdpdeact",1',
        "+CGEV: NW PDN DEACT 1",
        "+CGEV: ME PDN DEACT 1",
        "+CGEV: NW DETACH",
        "+CEREG: 0",
        "+CEREG: 2",
        "+CEREG: 3",
        "+CEREG: 4",
        "POWERED DOWN",
        "RDY",
        "+CPIN: NOT READY",
    ],
)
async def test_line_that_takes_the_bearer_away(line: str) -> None:
    async with ScriptedModem(HEALTHY) as modem:
        driver = driver_for(modem.address)
        told: asyncio.Queue[Evidence] = asyncio.Queue()
        await driver.open()
        await driver.attach()
        driver.on_status(lambda status: told.put_nowait(status.evidence))
        modem.say(f"\r\n{line}\r\n".encode())
        async with asyncio.timeout(5):
            assert await told.get() < Evidence.BEARER
        await driver.aclose()


@pytest.mark.parametrize(
    "line", ['+QIURC: "pdpdeact",2', "+CGEV: NW PDN DEACT 3", "+CGEV: ME PDN ACT 1", "+CGREG: 0", "APP RDY"]
)
async def test_line_that_does_not(line: str) -> None:
    """Another context; another domain; and the tail of a start that was before `open`."""
    async with ScriptedModem(HEALTHY) as modem:
        driver = driver_for(modem.address)
        await driver.open()
        await driver.attach()
        heard: list[Evidence] = []
        driver.on_status(lambda status: heard.append(status.evidence))
        modem.say(f"\r\n{line}\r\n".encode())
        assert (await driver.status()).evidence is Evidence.BEARER
        assert heard == []
        await driver.aclose()


async def test_denial_without_a_cause() -> None:
    """Firmware that knows kinds 0 to 2 and 4 of reports only."""
    replies = HEALTHY | {
        "AT+CEREG=5": b"\r\n+CME ERROR: 50\r\n",
        "AT+CEREG=3": b"\r\n+CME ERROR: 50\r\n",
        "AT+CEREG?": lines("+CEREG: 2,3"),
        "AT+CGREG?": lines("+CGREG: 2,0"),
    }
    async with ScriptedModem(replies) as modem:
        driver = driver_for(modem.address, registration_timeout=0.05)
        await driver.open()
        assert modem.asked.index("AT+CEREG=2") > modem.asked.index("AT+CEREG=3") > modem.asked.index("AT+CEREG=5")
        with pytest.raises(AttachFailed, match="denied"):  # it may yet find another network: not told as final at once
            await driver.attach()
        await driver.aclose()


async def test_errors_as_words() -> None:
    """A modem that takes `CMEE=2` only."""
    replies = HEALTHY | {
        "AT+CMEE=1": b"\r\nERROR\r\n",
        "AT+CMEE=2": lines(),
        "AT+QIACT?": lines(),
        "AT+QIACT=1": b"\r\n+CME ERROR: user authentication failed\r\n",
    }
    async with ScriptedModem(replies) as modem:
        driver = driver_for(modem.address)
        await driver.open()
        with pytest.raises(AttachFailed, match="129") as caught:
            await driver.attach()
        assert caught.value.retry_after == 3600.0
        await driver.aclose()


async def test_model_that_says_nothing_of_itself() -> None:
    async with ScriptedModem(
        HEALTHY | {"AT+CGMM": b"\r\nERROR\r\n", "ATI": lines("Quectel", "M95", "Revision: x")}
    ) as modem:
        driver = driver_for(modem.address)
        with pytest.raises(WrongRadio, match="M95"):
            await driver.open()
        assert repr(driver).endswith("NONE>")


async def test_socket_to_the_byte() -> None:
    """One datagram up, prompt and all; two down, one of which holds what looks like results."""
    hostile = b"\r\nOK\r\n+QIRD: 4\r\n> \x1a"
    waiting = [b"first", hostile]
    async with ScriptedModem(HEALTHY) as modem:

        def read(text: str) -> bytes:
            data = waiting.pop(0) if waiting else b""
            return b"\r\n+QIRD: %d\r\n%s\r\n\r\nOK\r\n" % (len(data), data)

        def opened(text: str) -> bytes:
            return lines() + b"\r\n+QIOPEN: 0,0\r\n"

        modem.replies |= {
            "AT+QIOPEN=": opened,
            "AT+QISEND=0,9": lambda text: modem.prompt(9, b"\r\n+CEREG: 5\r\n\r\nSEND OK\r\n"),
            "AT+QIRD=": read,
            "AT+QICLOSE=": lines(),
        }
        driver = driver_for(modem.address)
        await driver.open()
        await driver.attach()
        socket = await driver.open_datagram_socket("192.0.2.1", 5683)
        await socket.send(b"OK\r\n>\x1b\x1aOK")
        assert modem.payloads == [b"OK\r\n>\x1b\x1aOK"]
        modem.say(b'\r\n+QIURC: "re')
        modem.say(b'cv",0\r\n')
        assert [await socket.receive(), await socket.receive()] == [b"first", hostile]
        with pytest.raises(ValueError, match="empty"):
            await socket.send(b"")
        await socket.aclose()
        await driver.aclose()
        assert modem.asked[-1] == "AT+QICLOSE=0,1"


@pytest.mark.parametrize(
    ("answer", "number", "error"),
    [
        (b"\r\nSEND FAIL\r\n", 0, NotNow),
        (b"\r\nERROR\r\n", 553, NotNow),
        (b"\r\nERROR\r\n", 568, NotNow),
        (b"\r\nERROR\r\n", 567, TransportBroken),
        (b"\r\nERROR\r\n", 570, TransportBroken),
        (b"\r\nERROR\r\n", 999, TransportBroken),
    ],
)
async def test_sending_that_is_refused(answer: bytes, number: int, error: type[Exception]) -> None:
    async with ScriptedModem(HEALTHY) as modem:
        modem.replies |= {
            "AT+QIOPEN=": lines() + b"\r\n+QIOPEN: 0,0\r\n",
            "AT+QISEND=": answer,
            "AT+QIGETERROR": lines(f"+QIGETERROR: {number},words"),
            "AT+QICLOSE=": lines(),
        }
        driver = driver_for(modem.address)
        await driver.open()
        await driver.attach()
        socket = await driver.open_datagram_socket("192.0.2.1", 5683)
        with pytest.raises(error):
            await socket.send(b"data")
        modem.replies["AT+QISEND="] = lambda text: modem.prompt(4, b"\r\nSEND OK\r\n")
        if error is NotNow:
            await socket.send(b"data")
        else:
            with pytest.raises(TransportBroken):
                await socket.send(b"data")
        await socket.aclose()
        await driver.aclose()


async def test_number_that_is_in_use_is_closed_first() -> None:
    tries = iter([563, 0])
    async with ScriptedModem(HEALTHY) as modem:
        modem.replies |= {
            "AT+QIOPEN=": lambda text: lines() + b"\r\n+QIOPEN: 0,%d\r\n" % next(tries),
            "AT+QICLOSE=": lines(),
        }
        driver = driver_for(modem.address)
        await driver.open()
        await driver.attach()
        socket = await driver.open_datagram_socket("192.0.2.1", 5683)
        assert [line[:11] for line in modem.asked[-3:]] == ["AT+QIOPEN=1", "AT+QICLOSE=", "AT+QIOPEN=1"]
        await socket.aclose()
        await driver.aclose()


async def test_datagram_that_a_modem_pushes() -> None:
    """Push mode, as another program may have set it."""
    async with ScriptedModem(HEALTHY) as modem:
        modem.replies |= {"AT+QIOPEN=": lines() + b"\r\n+QIOPEN: 0,0\r\n", "AT+QICLOSE=": lines()}
        driver = driver_for(modem.address)
        await driver.open()
        await driver.attach()
        socket = await driver.open_datagram_socket("192.0.2.1", 5683)
        modem.say(b'\r\n+QIURC: "recv",0,8\r\n\r\nOK\r\n12\r\n')
        assert await socket.receive() == b"\r\nOK\r\n12"
        await socket.aclose()
        await driver.aclose()


@pytest.mark.parametrize(("found", "written"), [("usbat", True), ("uart1", False), ("all", False)])
async def test_news_are_told_on_the_port_in_use(found: str, written: bool) -> None:
    """A modem on its UART tells news on its USB port until it is told otherwise."""
    async with ScriptedModem(HEALTHY) as modem:
        modem.replies['AT+QURCCFG="urcport"'] = lines(f'+QURCCFG: "urcport","{found}"')
        driver = driver_for(modem.address.replace("pty:", "serial:"))
        await driver.open()
        await driver.aclose()
        assert ('AT+QURCCFG="urcport","uart1"' in modem.asked) == written
