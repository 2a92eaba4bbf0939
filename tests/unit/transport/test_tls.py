import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from ingest.errors import RemoteProtocolError, TlsFailed
from ingest.model import Tls
from ingest.transport.tls import client_context
from tests.fakes.pop3_server import CAPABILITIES, Faults, Pop3Server
from tests.servers.certificates import Certificates, make_certificates
from tests.servers.ports import HOST
from tests.unit.transport.conftest import OpenMaildrop


def self_signed(directory: Path) -> Certificates:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    file, key_file = directory / "cert.pem", directory / "key.pem"
    file.write_bytes(certificate.public_bytes(Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )
    return Certificates(file, file, key_file)


both_kinds = pytest.mark.parametrize("tls", ["implicit", "starttls"])


@both_kinds
def test_a_session_is_protected(opened: OpenMaildrop, certificates: Certificates, tls: Tls) -> None:
    with Pop3Server([("a", b"x\r\n")], certificates=certificates, tls=tls) as server:
        maildrop = opened(server, ca_file=str(certificates.ca_file))
        assert isinstance(maildrop._dialogue.wire._socket, ssl.SSLSocket)
        assert [listed.unique_id for listed in maildrop.listing()] == ["a"]
        maildrop.quit()


@pytest.mark.parametrize("one_octet_at_a_time", [False, True])
def test_records_of_every_size_give_the_same_octets(
    opened: OpenMaildrop, certificates: Certificates, *, one_octet_at_a_time: bool
) -> None:
    octets = b"Subject: x\r\n\r\n" + b".\r\na line\r\n" * (30 if one_octet_at_a_time else 300_000)
    faults = Faults(one_octet_at_a_time=one_octet_at_a_time)
    with Pop3Server(
        [("a", octets)] * 3, certificates=certificates, tls="implicit", faults=faults
    ) as server:
        maildrop = opened(server, ca_file=str(certificates.ca_file))
        came = [b"".join(map(bytes, retrieval)) for retrieval in maildrop.retrieve([1, 2, 3])]
        assert came == [octets] * 3
        maildrop.quit()


@both_kinds
@pytest.mark.parametrize(
    ("made", "error"),
    [((-1, HOST), "expired"), ((1, "192.0.2.1"), "another address")],
)
def test_a_certificate_must_verify(
    opened: OpenMaildrop, tmp_path: Path, made: tuple[int, str], error: str, tls: Tls
) -> None:
    days, address = made
    certificates = make_certificates(tmp_path, addresses=(address,), days=days)
    with (
        Pop3Server(certificates=certificates, tls=tls) as server,
        pytest.raises(TlsFailed, match=rf"^mailbox m1 at 127\.0\.0\.1:\d+: .*{error}") as failed,
    ):
        opened(server, ca_file=str(certificates.ca_file))
    assert failed.value.remedy
    assert not [entry for entry in server.commands() if entry in {"AUTH", "PASS"}]


def test_an_unknown_authority_is_not_trusted(
    opened: OpenMaildrop, certificates: Certificates
) -> None:
    with (
        Pop3Server(certificates=certificates, tls="implicit") as server,
        pytest.raises(TlsFailed, match="an authority that is not trusted"),
    ):
        opened(server)


def test_a_certificate_for_another_host_is_refused(opened: OpenMaildrop, tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path, names=("pop.example.org",))
    with (
        Pop3Server(certificates=certificates, tls="implicit") as server,
        pytest.raises(TlsFailed, match="another host"),
    ):
        opened(server, host="localhost", ca_file=str(certificates.ca_file))


def test_a_self_signed_certificate_is_named_as_such(opened: OpenMaildrop, tmp_path: Path) -> None:
    with (
        Pop3Server(certificates=self_signed(tmp_path), tls="implicit") as server,
        pytest.raises(TlsFailed, match="is self-signed"),
    ):
        opened(server)


def test_a_port_without_tls_is_named_as_such(opened: OpenMaildrop) -> None:
    with Pop3Server() as server, pytest.raises(TlsFailed, match="does not speak TLS on this port"):
        opened(server, tls="implicit")


def test_tls_older_than_1_2_is_refused(opened: OpenMaildrop, certificates: Certificates) -> None:
    with Pop3Server(certificates=certificates, tls="implicit") as server:
        assert server.context
        server.context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            server.context.minimum_version = ssl.TLSVersion.TLSv1_1
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            server.context.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(TlsFailed, match=r"no TLS of version 1\.2 or later"):
            opened(server, ca_file=str(certificates.ca_file))


def test_a_server_that_closes_in_the_handshake_is_an_error(opened: OpenMaildrop) -> None:
    with (
        Pop3Server(faults=Faults(cut_at=0)) as server,
        pytest.raises(TlsFailed, match="during the TLS handshake"),
    ):
        opened(server, tls="implicit")


@pytest.mark.parametrize("capabilities", [CAPABILITIES, None])
def test_without_stls_no_password_is_sent_rfc_2595(
    opened: OpenMaildrop, capabilities: tuple[str, ...] | None
) -> None:
    with (
        Pop3Server(faults=Faults(capabilities=capabilities)) as server,
        pytest.raises(TlsFailed, match="offers no STLS"),
    ):
        opened(server, tls="starttls")
    assert set(server.commands()) <= {"CAPA", "STLS"}


def test_plaintext_behind_the_answer_to_stls_is_fatal(
    opened: OpenMaildrop, certificates: Certificates
) -> None:
    injected = Faults(say={"STLS": b"+OK begin\r\n+OK injected\r\n"})
    with (
        Pop3Server(faults=injected, certificates=certificates, tls="starttls") as server,
        pytest.raises(RemoteProtocolError, match=r"m1 at .*: plaintext follows"),
    ):
        opened(server, ca_file=str(certificates.ca_file))


def test_capabilities_are_asked_for_again_under_tls_rfc_2595(
    opened: OpenMaildrop, certificates: Certificates
) -> None:
    with Pop3Server(certificates=certificates, tls="starttls") as server:
        maildrop = opened(server, ca_file=str(certificates.ca_file))
        assert "STLS" not in maildrop.capabilities
        assert server.commands() == ["CAPA", "STLS", "CAPA", "AUTH", "CAPA"]


def test_an_unreadable_ca_file_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    with pytest.raises(TlsFailed, match=r"missing\.pem"):
        client_context(str(missing))
    missing.write_text("no certificate")
    with pytest.raises(TlsFailed, match=r"missing\.pem"):
        client_context(str(missing))


def test_a_context_is_made_once_until_its_file_changes(
    certificates: Certificates, tmp_path: Path
) -> None:
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(certificates.ca_file.read_bytes())
    context = client_context(str(ca_file))
    assert client_context(str(ca_file)) is context
    ca_file.write_bytes(make_certificates(tmp_path).ca_file.read_bytes())
    assert client_context(str(ca_file)) is not context
