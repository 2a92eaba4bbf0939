from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from ingest.model import Mailbox
from ingest.transport import sockets
from ingest.transport.deadlines import Deadlines
from ingest.transport.maildrop import Pop3Maildrop
from ingest.transport.sign_in import open_maildrop
from tests.fakes.pop3_server import PASSWORD, USERNAME, Pop3Server
from tests.servers.certificates import Certificates, make_certificates

OpenMaildrop = Callable[..., Pop3Maildrop]


@pytest.fixture(autouse=True)
def short_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at deadlines and at `stop` more often than every second."""
    monkeypatch.setattr(sockets, "SLICE_SECONDS", 0.02)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def mailbox_of(server: Pop3Server, **changes: object) -> Mailbox:
    fields: dict[str, object] = {
        "id": "m1",
        "name": "inbox",
        "host": server.host,
        "port": server.port,
        "tls": server.tls,
        "username": USERNAME,
        "password": "env:UNUSED",
    }
    return Mailbox(**(fields | changes))  # type: ignore[arg-type]  # the fields above, changed


@pytest.fixture
def opened() -> Iterator[OpenMaildrop]:
    """Opens the maildrop of a server; what a test leaves open is dropped at its end."""
    maildrops: list[Pop3Maildrop] = []

    def open_it(
        server: Pop3Server,
        *,
        password: str = PASSWORD,
        deadlines: Deadlines | None = None,
        stop: Callable[[], None] = lambda: None,
        **changes: object,
    ) -> Pop3Maildrop:
        maildrop = open_maildrop(
            mailbox_of(server, **changes),
            password,
            deadlines=deadlines or Deadlines(connect_seconds=5, idle_seconds=5),
            stop=stop,
        )
        maildrops.append(maildrop)
        return maildrop

    yield open_it
    for maildrop in maildrops:
        maildrop.drop()
