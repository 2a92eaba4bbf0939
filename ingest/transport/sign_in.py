"""From nothing to the TRANSACTION state: connect, TLS, CAPA, sign in."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping

import structlog

from ingest.errors import RemoteProtocolError, TlsFailed
from ingest.failpoints import reach
from ingest.model import Mailbox
from ingest.pop3 import commands
from ingest.pop3.events import Challenge, Greeting, Reply
from ingest.pop3.replies import read_capabilities
from ingest.transport import sockets, tls
from ingest.transport.deadlines import Deadlines, Patience
from ingest.transport.dialogue import Dialogue
from ingest.transport.maildrop import Pop3Maildrop
from ingest.transport.refusals import refused

log = structlog.get_logger(__name__)

# Characters by which the response of AUTH PLAIN is known where a server cuts off its echo. They
# are base64 of the user name's beginning, which nothing else is.
_RESPONSE_BEGINNING = 12

# -ERR texts that refuse the mechanism, not the password.
_NO_MECHANISM = re.compile(
    r"\bmechanism|\b(unknown|unrecogni[sz]ed|invalid|bad) command|"
    r"\b(not|un)[ -]?(supported|implemented)",
    re.IGNORECASE,
)


def open_maildrop(
    mailbox: Mailbox, password: str, *, deadlines: Deadlines, stop: Callable[[], None]
) -> Pop3Maildrop:
    """Connect and sign in.

    `starttls` insists on STLS (RFC 2595); `none` sends the password in the clear and logs
    `plaintext_session`. `stop` is called at least every second while the session waits, and ends
    it by raising.

    Raises:
        ConnectionFailed: DNS, refused, unreachable, or the connection broke.
        TlsFailed: no TLS to be had, or a certificate that does not verify.
        SignInRefused: the server refused user name or password.
        MaildropBusy: it asks us to come back later.
        SessionError: anything else; the connection is closed then.
        LocalProtocolError: user name or password don't fit into a command.
    """
    peer = f"mailbox {mailbox.id} at {mailbox.host}:{mailbox.port}"
    patience = Patience(deadlines, peer, stop)
    wire = sockets.Wire(sockets.connect(mailbox.host, mailbox.port, peer, patience), peer, patience)
    try:
        if mailbox.tls == "implicit":
            wire.start_tls(tls.client_context(mailbox.ca_file), mailbox.host)
        response = base64.b64encode(commands.sasl_plain(mailbox.username, password)).decode()
        secrets = (password, response[:_RESPONSE_BEGINNING])
        dialogue = Dialogue(wire, peer, mailbox.username, secrets)
        _await_greeting(dialogue)
        reach("connected")
        capabilities = _capabilities(dialogue)
        if mailbox.tls == "starttls":
            _start_tls(dialogue, mailbox, capabilities)
            capabilities = _capabilities(dialogue)
        elif mailbox.tls == "none":
            log.warning("plaintext_session", mailbox=mailbox.id, host=mailbox.host)
        _sign_in(dialogue, mailbox.username, password, capabilities)
        reach("signed-in")
        return Pop3Maildrop(dialogue, _capabilities(dialogue) or capabilities)
    except BaseException:
        wire.close()
        raise


def _await_greeting(dialogue: Dialogue) -> None:
    greeting = dialogue.next()
    if isinstance(greeting, Greeting) and not greeting.ok:
        text = dialogue.quoted(greeting.text)
        raise refused(dialogue.peer, greeting.code, text, signing_in=False)


def _capabilities(dialogue: Dialogue) -> Mapping[str, tuple[str, ...]]:
    """What CAPA announces; nothing where the server does not know it."""
    if not dialogue.ask(commands.CAPA).ok:
        return {}
    return read_capabilities(dialogue.lines())


def _start_tls(
    dialogue: Dialogue, mailbox: Mailbox, capabilities: Mapping[str, tuple[str, ...]]
) -> None:
    """STLS, or fail: whoever strips it from CAPA or refuses it must not get the password."""
    offered = "STLS" in capabilities or not capabilities
    if not offered or not (reply := dialogue.ask(commands.STLS)).ok:
        said = f": {dialogue.quoted(reply.text)!r}" if offered else ""
        raise TlsFailed(
            f"{dialogue.peer}: the server offers no STLS{said}",
            remedy="use TLS from the start (port 995), or a server that has STLS",
        )
    dialogue.wire.start_tls(tls.client_context(mailbox.ca_file), mailbox.host)
    dialogue.connection.secured()


def _sign_in(
    dialogue: Dialogue,
    username: str,
    password: str,
    capabilities: Mapping[str, tuple[str, ...]],
) -> None:
    """AUTH PLAIN where it is offered, else USER and PASS.

    A refused password is not tried the other way: servers count.
    """
    if "PLAIN" in map(str.upper, capabilities.get("SASL", ())):
        reply = _auth_plain(dialogue, username, password)
        if not reply.ok and not reply.code and _NO_MECHANISM.search(reply.text):
            reply = _user_and_pass(dialogue, username, password)
    else:
        reply = _user_and_pass(dialogue, username, password)
    if not reply.ok:
        text = dialogue.quoted(reply.text)
        raise refused(dialogue.peer, reply.code, text, signing_in=True)


def _user_and_pass(dialogue: Dialogue, username: str, password: str) -> Reply:
    reply = dialogue.ask(commands.user(username))
    return dialogue.ask(commands.password(password)) if reply.ok else reply


def _auth_plain(dialogue: Dialogue, username: str, password: str) -> Reply:
    """AUTH PLAIN (RFC 5034). A server that overlooks the initial response asks once more."""
    response = commands.sasl_plain(username, password)
    dialogue.send(commands.auth("PLAIN", response))
    event = dialogue.next()
    if isinstance(event, Challenge):
        dialogue.wire.send(dialogue.connection.respond(response))
        event = dialogue.next()
    if not isinstance(event, Reply):
        raise RemoteProtocolError(f"{dialogue.peer}: the server asks for more than PLAIN has")
    return event
