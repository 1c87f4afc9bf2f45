"""Commands about sockets and names.

Rules of this file: each function answers one command; the table at the end names them.  Source: Quectel BG95 TCP/IP
application note.  Only UDP is carried; TCP answers 555 (operation not supported).
"""

from __future__ import annotations

from rataccess_hil.modem.actions import Answer, AtError, Block, Prompt, Resolve, Wait
from rataccess_hil.modem.core import Handler, Modem
from rataccess_hil.modem.grammar import Call, Form
from rataccess_hil.modem.results import SOCKET
from rataccess_hil.modem.state import Socket

MOST_SENT = 1460
MOST_READ = 1500
_SERVICES = ("TCP", "UDP", "TCP LISTENER", "UDP SERVICE")


def _index(modem: Modem, call: Call, field: int = 0) -> int:
    return call.number(field, 0, modem.personality.sockets - 1)


def _fail(modem: Modem, error: int) -> AtError:
    """Socket commands answer plain ERROR; QIGETERROR tells why."""
    modem.data.last_error = error
    return AtError(None)


def _socket(modem: Modem, call: Call) -> Socket:
    found = modem.data.sockets.get(_index(modem, call))
    if found is None:
        raise _fail(modem, 572)
    return found


def open_socket(modem: Modem, call: Call) -> Answer:
    """AT+QIOPEN: OK at once, the result as a URC."""
    if call.form is not Form.SET:
        return [f'+QIOPEN: (1-16),(0-{modem.personality.sockets - 1}),"TCP/UDP/TCP LISTENER/UDP SERVICE"']
    try:
        context, index = call.number(0, 1, modem.personality.contexts), _index(modem, call, 1)
        service, host = call.text(2), call.text(3)
        port, local_port = call.number(4, 0, 65535), call.number(5, 0, 65535, 0)
        mode = call.number(6, 0, 2, 0)
    except AtError as error:
        raise _fail(modem, 552) from error
    if service not in _SERVICES or len(host) > 150:
        raise _fail(modem, 552)
    error_code = _objection(modem, context, index, service, mode)
    if error_code:
        modem.data.last_error = error_code
        modem.schedule.after(0.0, lambda: modem.urc(f"+QIOPEN: {index},{error_code}"))
    else:
        modem.schedule.after(
            modem.timings.connect,
            lambda: modem.data.open(index, context, service, host, port, local_port, mode),
        )
        modem.data.opening.add(index)
    return []


def _objection(modem: Modem, context: int, index: int, service: str, mode: int) -> int:
    if index in modem.data.sockets or index in modem.data.opening:
        return 563
    found = modem.data.contexts.get(context)
    if found is None or not found.active:
        return 561
    return 555 if service.startswith("TCP") or mode == 2 else 0


def _usable(modem: Modem, socket: Socket) -> None:
    if socket.state not in (2, 3):
        raise _fail(modem, 567)


def _target(modem: Modem, call: Call, socket: Socket, field: int) -> tuple[str, int]:
    if socket.service != "UDP SERVICE":
        return socket.host, socket.port
    try:
        return call.text(field), call.number(field + 1, 1, 65535)
    except AtError as error:
        raise _fail(modem, 552) from error


def send(modem: Modem, call: Call) -> Answer:
    """AT+QISEND: a length asks for raw bytes; none for text up to Ctrl-Z; 0 asks what was sent."""
    if call.form is not Form.SET:
        return [f"+QISEND: (0-{modem.personality.sockets - 1}),(0-{MOST_SENT})"]
    socket = _socket(modem, call)
    if not call.given(1):
        _usable(modem, socket)
        return _send(modem, socket, None, _target(modem, call, socket, 2))
    try:
        size = call.number(1, 0, MOST_SENT)
    except AtError as error:
        raise _fail(modem, 552) from error
    if size == 0:
        return [f"+QISEND: {socket.sent},{socket.sent},0"]
    _usable(modem, socket)
    return _send(modem, socket, size, _target(modem, call, socket, 2))


def _send(modem: Modem, socket: Socket, size: int | None, to: tuple[str, int]) -> Answer:
    data = yield Prompt(size)
    yield Wait(modem.timings.send)
    return _sent(modem, socket, data, to)


def _sent(modem: Modem, socket: Socket, data: bytes, to: tuple[str, int]) -> str:
    if modem.data.find(socket.serial) is None or socket.state not in (2, 3):
        raise _fail(modem, 567)
    if modem.faults.buffer_full or len(data) > MOST_SENT:
        modem.data.last_error = 558
        return "SEND FAIL"
    modem.data.send(socket, data, to)
    return "SEND OK"


def send_hex(modem: Modem, call: Call) -> Answer:
    """AT+QISENDEX: the payload stands in the command, as hexadecimal text of at most 512 digits."""
    if call.form is not Form.SET:
        return []
    socket = _socket(modem, call)
    _usable(modem, socket)
    text = call.text(1)
    try:
        data = bytes.fromhex(text)
    except ValueError as error:
        raise _fail(modem, 552) from error
    if not 1 <= len(data) <= 512:
        raise _fail(modem, 552)
    return _send_now(modem, socket, data, _target(modem, call, socket, 2))


def _send_now(modem: Modem, socket: Socket, data: bytes, to: tuple[str, int]) -> Answer:
    yield Wait(modem.timings.send)
    return _sent(modem, socket, data, to)


def read(modem: Modem, call: Call) -> Answer:
    """AT+QIRD: one datagram at a time; length 0 asks what waits."""
    if call.form is not Form.SET:
        return [f"+QIRD: (0-{modem.personality.sockets - 1}),(0-{MOST_READ})"]
    socket = _socket(modem, call)
    try:
        most = call.number(1, 0, MOST_READ, MOST_READ)
    except AtError as error:
        raise _fail(modem, 552) from error
    if call.given(1) and most == 0:
        return [f"+QIRD: {socket.received},{socket.read},{socket.unread}"]
    return _read(modem, socket, most)


def _read(modem: Modem, socket: Socket, most: int) -> Answer:
    if not socket.buffer:
        socket.announced = False
        yield "+QIRD: 0"
        return None
    data, source = socket.buffer.popleft()
    if len(data) > most:
        socket.buffer.appendleft((data[most:], source))
        data = data[:most]
    socket.read += len(data)
    socket.announced = bool(socket.buffer)
    origin = f',"{source[0]}",{source[1]}' if socket.service == "UDP SERVICE" else ""
    body = data.hex().upper().encode() if modem.settings.receive_hex else data
    yield Block(f"+QIRD: {len(data)}{origin}", body)
    return None


def state(modem: Modem, call: Call) -> Answer:
    """AT+QISTATE: all sockets, those of a context (0,context), or one (1,socket)."""
    sockets = dict(sorted(modem.data.sockets.items()))
    if call.form is Form.SET:
        kind = call.number(0, 0, 1)
        number = call.number(1, 0, 16)
        sockets = {i: s for i, s in sockets.items() if (s.context if kind == 0 else i) == number}
    return [
        f'+QISTATE: {index},"{socket.service}","{socket.host}",{socket.port},{socket.local_port},{socket.state},'
        f'{socket.context},{index},{socket.mode},"usbat"'
        for index, socket in sockets.items()
    ]


def close(modem: Modem, call: Call) -> Answer:
    """AT+QICLOSE: OK also where there is no such socket."""
    if call.form is not Form.SET:
        return []
    call.number(1, 0, 65535, 10)
    return _close(modem, _index(modem, call))


def _close(modem: Modem, index: int) -> Answer:
    yield Wait(modem.timings.close)
    modem.data.close(index)
    return None


def last_error(modem: Modem, call: Call) -> Answer:
    """AT+QIGETERROR."""
    code = modem.data.last_error
    return [f"+QIGETERROR: {code},{SOCKET.get(code, 'unknown error')}"]


def resolve(modem: Modem, call: Call) -> Answer:
    """AT+QIDNSGIP: OK at once, the addresses as URCs."""
    context = modem.data.contexts.get(call.number(0, 1, modem.personality.contexts))
    host = call.text(1)
    if context is None or not context.active:
        raise _fail(modem, 561)
    if modem.data.names:
        raise _fail(modem, 564)
    modem.data.names.append(host)
    modem.schedule.after(modem.timings.resolve, lambda: modem.act(Resolve(host)))
    return []


def name_servers(modem: Modem, call: Call) -> Answer:
    """AT+QIDNSCFG."""
    if len(call) <= 1:
        first, second = modem.data.dns
        return [f'+QIDNSCFG: {call.number(0, 1, 16)},"{first}","{second}"']
    modem.data.dns = (call.text(1), call.text(2, "0.0.0.0"))
    return []


def configure(modem: Modem, call: Call) -> Answer:
    """AT+QICFG: `dataformat` has effect for what is received; those that concern TCP are taken."""
    if call.form is not Form.SET:
        return []
    name = call.text(0)
    settings = modem.settings
    if name == "dataformat":
        if len(call) == 1:
            return [f'+QICFG: "dataformat",0,{int(settings.receive_hex)}']
        # Sending hexadecimal text is not built: it fails rather than being taken in silence.
        call.number(1, 0, 0)
        settings.receive_hex = bool(call.number(2, 0, 1, 0))
    elif name not in ("transpktsize", "transwaittm", "tcp/retranscfg", "tcp/keepalive"):
        raise AtError(None)
    return []


def payload_echo(modem: Modem, call: Call) -> Answer:
    """AT+QISDE: whether payload is echoed; it needs the echo of commands too."""
    if call.form is Form.READ:
        return [f"+QISDE: {int(modem.settings.payload_echo)}"]
    if call.form is Form.SET:
        modem.settings.payload_echo = bool(call.number(0, 0, 1))
    return []


COMMANDS: dict[str, Handler] = {
    "+QIOPEN": open_socket,
    "+QISEND": send,
    "+QISENDEX": send_hex,
    "+QIRD": read,
    "+QISTATE": state,
    "+QICLOSE": close,
    "+QIGETERROR": last_error,
    "+QIDNSGIP": resolve,
    "+QIDNSCFG": name_servers,
    "+QICFG": configure,
    "+QISDE": payload_echo,
}
