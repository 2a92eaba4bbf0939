"""One session of the scriptable POP3 server."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import re
import socket
import ssl
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.fakes.pop3_server import Kind, Message, Pop3Server


class _End(Exception):
    """The session ends here."""


class Session:
    """Serves one client, with the faults that the server has at its beginning."""

    def __init__(self, server: Pop3Server, connection: socket.socket, number: int) -> None:
        self.server = server
        self.faults = server.faults
        self.connection = connection
        self.number = number
        self.messages: list[Message] = []
        self.marked: set[int] = set()
        self.user = ""
        self.signed_in = False
        self.sent = 0
        self.trickling = self.faults.trickle == "greeting"
        self.received = b""

    def run(self) -> None:
        reason = "by the server"
        try:
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.server.tls == "implicit":
                self.start_tls()
            self.status(self.faults.greeting)
            while True:
                self.obey(self.command())
        except _End as end:
            reason = str(end) or reason
        except OSError as error:
            reason = f"broken: {error}"
        finally:
            # With octets unread, closing would reset the connection and destroy what was sent.
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_WR)
            self.connection.close()
            self.note("closed", reason)

    def note(self, kind: Kind, text: str) -> None:
        self.server.note(self.number, kind, text)

    def start_tls(self) -> None:
        assert self.server.context
        self.connection = self.server.context.wrap_socket(self.connection, server_side=True)

    def command(self) -> str:
        self.connection.settimeout(self.faults.autologout)
        while b"\n" not in self.received:
            try:
                octets = self.connection.recv(65536)
            except TimeoutError:
                raise _End("autologout") from None
            if not octets:
                raise _End("by the client")
            self.received += octets
        self.connection.settimeout(None)
        line, _, self.received = self.received.partition(b"\n")
        if "PIPELINING" not in (self.faults.capabilities or ()):
            self.received = b""  # like servers that flush their input before they answer
        return line.rstrip(b"\r").decode(errors="replace")

    def send(self, octets: bytes) -> None:
        limits = [at for at in (self.faults.cut_at, self.faults.stall_at) if at is not None]
        left = min(limits, default=self.sent + len(octets)) - self.sent
        passed = octets[: max(left, 0)]
        if self.faults.one_octet_at_a_time or self.trickling:
            for octet in passed:
                self.connection.sendall(bytes([octet]))
                time.sleep(0.01 * self.trickling)
        else:
            self.connection.sendall(passed)
        self.sent += len(passed)
        self.server.sent = self.sent
        if len(passed) < len(octets) or (limits and left == len(octets)):
            if self.faults.stall_at is not None:
                self.stay_silent()
            raise _End(f"cut at {self.sent}")

    def stay_silent(self) -> None:
        while not self.server.stopping.wait(0.02):
            self.connection.settimeout(0.02)
            with contextlib.suppress(TimeoutError):
                if not self.connection.recv(65536):
                    break
        raise _End("stalled")

    def status(self, line: str) -> None:
        self.note("answer", line)
        self.send(line.encode() + b"\r\n")

    def multi_line(self, status: str, octets: bytes) -> None:
        self.note("answer", status)
        stuffed = (b"\r\n" + octets).replace(b"\r\n.", b"\r\n..")[2:]
        self.send(status.encode() + b"\r\n" + stuffed + b".\r\n")

    def obey(self, line: str) -> None:
        keyword, _, argument = line.partition(" ")
        keyword = keyword.upper()
        self.note("command", line if keyword not in {"PASS", "AUTH"} else keyword)

        def is_meant(command: str) -> bool:
            return command in {keyword, f"{keyword} {argument.partition(' ')[0]}"}

        faults = self.faults
        if is_meant(faults.cut_before):
            raise _End(f"before {line}")
        self.trickling = is_meant(faults.trickle)
        if is_meant(faults.stall):
            self.stay_silent()
        scripted = {
            **faults.say,
            **{of: f"-ERR {why}\r\n".encode() for of, why in faults.refuse.items()},
        }
        for octets in [scripted[command] for command in scripted if is_meant(command)]:
            self.note("answer", octets.decode(errors="replace").rstrip())
            self.send(octets)
            return
        allowed = self.transaction() if self.signed_in else self.authorization()
        if keyword not in allowed:
            self.status("-ERR unknown command")
            return
        if is_meant(faults.cut_unanswered):
            self.faults = dataclasses.replace(faults, cut_at=self.sent)
        allowed[keyword](argument)
        if is_meant(faults.cut_after):
            raise _End(f"after {line}")

    # AUTHORIZATION

    def authorization(self) -> dict[str, Callable[[str], None]]:
        return {
            "CAPA": self.capa,
            "STLS": self.stls,
            "USER": self.user_name,
            "PASS": self.password,
            "AUTH": self.auth,
            "QUIT": self.leave,
        }

    def capa(self, _: str) -> None:
        if self.faults.capabilities is None:
            self.status("-ERR unknown command")
            return
        offered = list(self.faults.capabilities)
        if self.server.tls == "starttls" and not isinstance(self.connection, ssl.SSLSocket):
            offered.append("STLS")
        self.multi_line("+OK", "".join(f"{name}\r\n" for name in offered).encode())

    def stls(self, _: str) -> None:
        if self.server.tls != "starttls":
            self.status("-ERR no TLS here")
            return
        self.status("+OK begin")
        self.start_tls()

    def user_name(self, argument: str) -> None:
        self.user = argument
        self.status("+OK")

    def password(self, argument: str) -> None:
        self.enter(self.user, argument)

    def auth(self, argument: str) -> None:
        mechanism, _, response = argument.partition(" ")
        if f"SASL {mechanism}" not in (self.faults.capabilities or ()):
            self.status("-ERR unknown mechanism")
            return
        for _ in range(max(self.faults.challenges, not response)):
            self.send(b"+ \r\n")
            response = self.command()
        _, name, secret = base64.b64decode(response).decode().split("\0")
        self.enter(name, secret)

    def enter(self, name: str, secret: str) -> None:
        if (name, secret) != (self.server.username, self.server.password):
            self.status(f"-ERR [AUTH] wrong password for {name}")
            return
        with self.server.lock:
            self.messages = list(self.server.maildrop)
        self.signed_in = True
        self.status("+OK welcome")

    def leave(self, _: str) -> None:
        self.status("+OK bye")
        raise _End

    # TRANSACTION

    def transaction(self) -> dict[str, Callable[[str], None]]:
        return {
            "CAPA": self.capa,
            "STAT": self.stat,
            "LIST": self.list,
            "UIDL": self.uidl,
            "RETR": self.retr,
            "TOP": self.top,
            "DELE": self.dele,
            "RSET": self.rset,
            "NOOP": lambda _: self.status("+OK"),
            "QUIT": self.quit,
        }

    def present(self) -> dict[int, Message]:
        numbered = enumerate(self.messages, 1)
        return {number: message for number, message in numbered if number not in self.marked}

    def stat(self, _: str) -> None:
        sizes = [self.listed_octets(message) for message in self.present().values()]
        self.status(f"+OK {len(sizes)} {sum(sizes)}")

    def listed_octets(self, message: Message) -> int:
        return self.faults.list_octets(len(message.octets))

    def list(self, argument: str) -> None:
        self.lines(argument, lambda message: str(self.listed_octets(message)))

    def uidl(self, argument: str) -> None:
        self.lines(argument, lambda message: self.faults.unique_ids(message.unique_id, self.number))

    def lines(self, argument: str, said: Callable[[Message], str]) -> None:
        lines = {number: f"{number} {said(message)}" for number, message in self.present().items()}
        if not argument:
            self.multi_line("+OK", "".join(f"{line}\r\n" for line in lines.values()).encode())
        elif number := self.existing(argument):
            self.status(f"+OK {lines[number]}")

    def existing(self, argument: str) -> int:
        number = int(argument) if re.fullmatch("[0-9]{1,9}", argument) else 0
        if number in self.present():
            return number
        self.status("-ERR no such message")
        return 0

    def retr(self, argument: str) -> None:
        if number := self.existing(argument):
            self.message(self.messages[number - 1].octets)

    def top(self, argument: str) -> None:
        first, _, count = argument.partition(" ")
        if number := self.existing(first):
            head, empty, body = self.messages[number - 1].octets.partition(b"\r\n\r\n")
            lines = body.split(b"\r\n")[: int(count)]
            self.message(head + empty + b"".join(line + b"\r\n" for line in lines))

    def message(self, octets: bytes) -> None:
        if octets and not octets.endswith(b"\r\n"):
            octets += b"\r\n"
        self.multi_line(f"+OK {len(octets)} octets", octets)

    def dele(self, argument: str) -> None:
        if number := self.existing(argument):
            self.marked.add(number)
            self.status(f"+OK message {number} deleted")

    def rset(self, _: str) -> None:
        self.marked.clear()
        self.status("+OK")

    def quit(self, _: str) -> None:
        gone = [self.messages[number - 1] for number in sorted(self.marked)]
        with self.server.lock:
            self.server.maildrop = [
                message for message in self.server.maildrop if message not in gone
            ]
        for message in gone:
            self.note("deleted", message.unique_id)
        self.status("+OK bye")
        raise _End
