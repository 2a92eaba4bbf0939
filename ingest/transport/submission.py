"""Submit one small message to an SMTP server (RFC 5321, RFC 6409).

The whole of it takes a minute at most, and no more memory than a few replies do, whatever the
server says.
"""

from __future__ import annotations

import base64
import contextlib
import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

import structlog

from ingest.errors import (
    CommandRefused,
    ConnectionFailed,
    DeadlineExceeded,
    MaildropBusy,
    SessionError,
    SessionStopped,
    SignInRefused,
    TlsFailed,
)
from ingest.model import Submission
from ingest.pop3.commands import sasl_plain
from ingest.transport import tls
from ingest.transport.deadlines import Deadlines, Patience
from ingest.transport.quoting import Quoting
from ingest.transport.sockets import connect

log = structlog.get_logger(__name__)

SECONDS = 60.0

_CONNECT_SECONDS = 20.0
_LOOK_SECONDS = 0.5
_REPLY_OCTETS = 64 * 1024  # of all replies of a session
_PORTS = "TLS from the start is on port 465 (smtps://), STARTTLS on port 587 (smtp://)"
_READY, _SIGNED_IN, _MORE = 220, 235, 334
_TEMPORARY = range(400, 500)


def submit(
    submission: Submission,
    password: str,
    message: bytes,
    *,
    peer: str,
    ending: Callable[[], bool] = lambda: False,
) -> None:
    """Have the server take the message over. `peer` names mailbox and server in errors.

    Ends within a second once the process is `ending`. `starttls` insists on STARTTLS (RFC 3207);
    `none` sends the password in the clear, and logs `plaintext_submission`.

    Raises:
        ConnectionFailed: DNS, refused, unreachable, or the connection broke.
        TlsFailed: no TLS to be had, or a certificate that does not verify.
        SignInRefused: the server refused user name or password, or knows no way to sign in.
        MaildropBusy: it asks us to come back later.
        CommandRefused: it refuses sender, recipient or message.
        DeadlineExceeded: it took longer than a minute.
        SessionStopped: the process is about to end.
        LocalProtocolError: user name or password don't fit into a command.
    """
    response = base64.b64encode(sasl_plain(submission.username, password)).decode()
    secrets = (password, response, _in_base64(password), _in_base64(submission.username))
    quoted = Quoting(submission.username, secrets).quoted
    with _in_words(peer, quoted), _connected(submission, peer, ending) as client:
        _expect(_READY, client.getreply())
        client.ehlo_or_helo_if_needed()
        if submission.tls == "starttls":
            _start_tls(client, submission, peer)
        elif submission.tls == "none":
            log.warning("plaintext_submission", host=submission.host)
        if submission.username:
            _sign_in(client, submission.username, password, response)
        client.sendmail(submission.sender, [submission.recipient], message)
        with contextlib.suppress(OSError, smtplib.SMTPException):  # it has the message
            client.docmd("QUIT")


class _Client(smtplib.SMTP):
    """A client on a connection that is made already."""

    def __init__(self, connection: socket.socket) -> None:
        address = connection.getsockname()[0]
        literal = f"[IPv6:{address}]" if ":" in address else f"[{address}]"
        super().__init__(local_hostname=literal)  # RFC 5321 section 4.1.4, and no look-up
        self.sock = connection

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None and self.sock is not None:
            self.file = _Bounded(self.sock.makefile("rb"))
        return super().getreply()


class _Bounded:
    """A file of which only so much is read: a reply may have any number of lines."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = _REPLY_OCTETS
        self.close = file.close

    def readline(self, size: int) -> bytes:
        line = self._file.readline(size)
        self._left -= len(line)
        if self._left < 0:
            raise ConnectionError("the replies are too long")
        return line


@contextlib.contextmanager
def _connected(submission: Submission, peer: str, ending: Callable[[], bool]) -> Iterator[_Client]:
    """A client whose connection is cut when its time is over, or that of the process.

    Raises:
        DeadlineExceeded, SessionStopped: that was the case.
    """

    def stop() -> None:
        if ending():
            raise _late(peer, ending)

    patience = Patience(Deadlines(connect_seconds=_CONNECT_SECONDS), peer, stop)
    connection = connect(submission.host, submission.port, peer, patience)
    connection.settimeout(2 * SECONDS)  # it is cut before, and is told why
    with contextlib.ExitStack() as stack:
        line = stack.enter_context(connection.dup())  # also when TLS has taken the other over
        over = stack.enter_context(_cut_in_time(line, ending))
        stack.enter_context(connection)
        try:
            if submission.tls == "implicit":
                connection = _secured(connection, submission)
            client = _Client(connection)
            stack.callback(client.close)
            yield client
        except (OSError, smtplib.SMTPException, SessionError):
            if over.is_set():
                raise _late(peer, ending) from None
            raise


def _late(peer: str, ending: Callable[[], bool]) -> SessionError:
    if ending():
        return SessionStopped(
            f"{peer}: the worker is about to end", remedy="nothing to do: a probe is sent later"
        )
    return DeadlineExceeded(f"{peer}: the server took longer than {SECONDS:g} s", remedy=_PORTS)


@contextlib.contextmanager
def _cut_in_time(line: socket.socket, ending: Callable[[], bool]) -> Iterator[threading.Event]:
    """Cut a connection when its time is over, or that of the process; whether it was cut."""
    cut, done = threading.Event(), threading.Event()
    until = time.monotonic() + SECONDS

    def watch() -> None:
        while (left := until - time.monotonic()) > 0 and not ending():
            if done.wait(min(left, _LOOK_SECONDS)):
                return
        cut.set()
        with contextlib.suppress(OSError):  # it has broken already
            line.shutdown(socket.SHUT_RDWR)

    threading.Thread(target=watch, name="submission", daemon=True).start()
    try:
        yield cut
    finally:
        done.set()


def _secured(connection: socket.socket, submission: Submission) -> ssl.SSLSocket:
    context = tls.client_context(submission.ca_file)
    return context.wrap_socket(connection, server_hostname=submission.host)


def _start_tls(client: _Client, submission: Submission, peer: str) -> None:
    """STARTTLS, or fail: whoever strips it from EHLO or refuses it must not get the password."""
    if not client.has_extn("starttls") or client.docmd("STARTTLS")[0] != _READY:
        raise TlsFailed(f"{peer}: the server offers no STARTTLS", remedy=_PORTS)
    assert client.sock is not None  # noqa: S101 - it has just answered
    client.sock = _secured(client.sock, submission)
    client.file = None  # with what was said in the clear behind the answer
    client.ehlo()


def _sign_in(client: _Client, username: str, password: str, response: str) -> None:
    """AUTH PLAIN where it is offered, else LOGIN. Once: servers count."""
    offered = client.esmtp_features.get("auth", "").upper().split()
    if "PLAIN" in offered:
        answer = client.docmd("AUTH", f"PLAIN {response}")
    elif "LOGIN" in offered:
        answer = client.docmd("AUTH", "LOGIN")
        for secret in (username, password):
            if answer[0] == _MORE:
                answer = client.docmd(_in_base64(secret))
    else:
        raise smtplib.SMTPAuthenticationError(0, "offers neither AUTH PLAIN nor LOGIN")
    if answer[0] != _SIGNED_IN:
        raise smtplib.SMTPAuthenticationError(*answer)


def _expect(code: int, answer: tuple[int, bytes]) -> None:
    if answer[0] != code:
        raise smtplib.SMTPResponseException(*answer)


@contextlib.contextmanager
def _in_words(peer: str, quoted: Callable[[str], str]) -> Iterator[None]:
    """Let errors be ours, with what the server said."""
    try:
        yield
    except smtplib.SMTPRecipientsRefused as error:
        [answer] = error.recipients.values()
        raise _refused(peer, answer[0], quoted(_text(answer[1]))) from None
    except smtplib.SMTPAuthenticationError as error:
        said = quoted(_text(error.smtp_error))
        if error.smtp_code in _TEMPORARY:
            raise _refused(peer, error.smtp_code, said) from None
        raise SignInRefused(
            f"{peer}: the server says {said!r} to user name and password",
            remedy="check both; some providers want an app password",
        ) from None
    except smtplib.SMTPResponseException as error:
        raise _refused(peer, error.smtp_code, quoted(_text(error.smtp_error))) from None
    except ConnectionFailed as error:
        error.remedy = f"check host and port: {_PORTS}; and the network between"
        raise
    except ssl.SSLError as error:
        failed = tls.failed(peer, error)
        if not isinstance(error, ssl.SSLCertVerificationError):
            failed.remedy = _PORTS
        raise failed from None
    except (OSError, smtplib.SMTPException) as error:
        raise ConnectionFailed(
            f"{peer}: the connection broke: {quoted(str(error))}",
            remedy="check the network between worker and server, and the server's log",
        ) from None


def _refused(peer: str, code: int, said: str) -> SessionError:
    what = f"{peer}: the server says {code} {said!r}"
    if code in _TEMPORARY:
        return MaildropBusy(what, remedy="nothing to do: the next probe tries again")
    return CommandRefused(what, remedy="ask the server's operator: this does not pass by itself")


def _in_base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _text(said: str | bytes) -> str:
    return said if isinstance(said, str) else said.decode("latin-1")
