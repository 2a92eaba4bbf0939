"""Every error that mail-ingest raises on purpose.

    IngestError
    ├── SettingsError            a setting or an argument is wrong
    ├── RegistryError            a mailbox is unknown, configured twice, or its secret unreadable
    │   ├── MailboxUnreadable    its settings are of a newer version, or damaged
    │   └── MailboxPaused        it is not polled until a person resumes it
    ├── LocalProtocolError       we broke POP3: a bug of ours, or an argument with CR, LF or NUL
    ├── SessionError             one session with one POP3 server failed
    │   ├── ConnectionFailed     no connection, or it broke
    │   ├── TlsFailed            no TLS, or a certificate that does not verify
    │   ├── DeadlineExceeded     idle for too long, or too slow
    │   ├── RemoteProtocolError  the server broke POP3
    │   ├── CommandRefused       -ERR where the session can't go on
    │   ├── SignInRefused        the server refused user name or password
    │   ├── SuspectFatal         the process that tried a suspect message died
    │   ├── MaildropBusy         [IN-USE], [LOGIN-DELAY], [SYS/TEMP]: try again later
    │   └── SessionStopped       we stop ourselves: shutdown, a lost lease, the brake
    │       ├── LeaseLost        somebody else may hold the mailbox now
    │       └── DeletesBraked    nothing may be deleted now
    ├── StoreError               the object store
    │   ├── StoreUnavailable     unreachable, slow, answering 5xx: try again later
    │   │   └── BuffersTaken     it is well, but this process has no upload buffer free
    │   ├── StoreRefused         wrong credentials, rights, bucket: a person must act
    │   │   └── StoreChanged     it is not the store that Redis knows the contents of
    │   ├── StoreFull            no space left
    │   ├── ObjectMissing        a key that should be there is not
    │   └── ProofFailed          what is stored would not give the original back
    └── StateError               Redis
        ├── StateUnavailable     unreachable, loading, failing over: try again later
        └── StateRefused         wrong credentials, rights or version, no memory left

Each message is one line: what happened, to which mailbox or message or setting. `remedy`, where
there is one, says what to do about it. `code` names the class of error in logs and metrics.
"""

from __future__ import annotations

from typing import ClassVar


class IngestError(Exception):
    """The root. `exit_code` is what the command line ends with."""

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


class SettingsError(IngestError):
    """A setting or an argument is wrong."""

    code = "settings"
    exit_code = 3


class RegistryError(IngestError):
    """A mailbox is unknown, configured twice, or its secret can't be read."""

    code = "registry"
    exit_code = 4


class MailboxUnreadable(RegistryError):
    """The mailbox's settings are of a newer version, or damaged: others can poll it, or nobody."""


class MailboxPaused(RegistryError):
    """The mailbox is not polled until a person resumes it."""

    code = "paused"


class LocalProtocolError(IngestError):
    """We were about to break POP3; nothing was sent."""

    code = "local_protocol"


class SessionError(IngestError):
    """One session with one POP3 server failed. Nothing uncommitted was deleted."""

    code = "session"
    exit_code = 5


class ConnectionFailed(SessionError):
    """No connection could be made, or it broke."""

    code = "connection"


class TlsFailed(SessionError):
    """The server offers no TLS, or its certificate does not verify."""

    code = "tls"


class DeadlineExceeded(SessionError):
    """The server was silent, or slower than the minimum rate, for too long."""

    code = "deadline"


class RemoteProtocolError(SessionError):
    """The server sent what RFC 1939 does not allow."""

    code = "remote_protocol"


class CommandRefused(SessionError):
    """The server answered -ERR to a command that the session can't do without."""

    code = "refused"


class SignInRefused(SessionError):
    """The server refused the user name or the password."""

    code = "sign_in"
    exit_code = 6


class SuspectFatal(SessionError):
    """A process of its own that tried suspect messages died. The count of them stands."""

    code = "suspect_fatal"


class MaildropBusy(SessionError):
    """The server asks us to come back later (RFC 2449, RFC 3206)."""

    code = "busy"


class SessionStopped(SessionError):
    """We stopped the session ourselves, before its end."""

    code = "stopped"


class LeaseLost(SessionStopped):
    """Our lease on the mailbox expired: another worker may hold it now."""

    code = "lease_lost"


class DeletesBraked(SessionStopped):
    """The brake came on while DELEs were under way: the session ended without QUIT."""

    code = "braked"


class StoreError(IngestError):
    """The object store failed."""

    code = "store"
    exit_code = 7


class StoreUnavailable(StoreError):
    """The object store can't be reached or asks us to come back later."""

    code = "store_unavailable"


class BuffersTaken(StoreUnavailable):
    """No upload buffer came free in time: other sessions hold them all."""

    code = "buffers_taken"


class StoreRefused(StoreError):
    """The object store refuses us: credentials, rights, bucket or address are wrong."""

    code = "store_refused"


class StoreChanged(StoreRefused):
    """The object store is another one than Redis is the index of, or it was emptied."""

    code = "store_changed"


class StoreFull(StoreError):
    """The object store has no space left."""

    code = "store_full"


class ObjectMissing(StoreError):
    """An object that should be there is not."""

    code = "object_missing"


class ProofFailed(StoreError):
    """What is stored would not give the message's octets back, so it is not deleted."""

    code = "proof"


class StateError(IngestError):
    """Redis or Valkey failed."""

    code = "state"
    exit_code = 8


class StateUnavailable(StateError):
    """Redis can't be reached, is loading or failing over."""

    code = "state_unavailable"


class StateRefused(StateError):
    """Redis refuses us: credentials, rights, version, or out of memory."""

    code = "state_refused"
