"""A probe is known by its signature, however its header was folded, and nothing else is one."""

from __future__ import annotations

import email
import email.policy
from datetime import UTC, datetime

import msgspec
import pytest

from ingest.errors import SettingsError
from ingest.intake.probe import FIELD, Recognition, compose, new_probe
from ingest.mime.envelope import envelope
from ingest.mime.events import Field
from ingest.mime.header import parse
from ingest.model import Probe, Submission
from ingest.state.secrets import Keyring, new_key

SUBMISSION = Submission(
    host="smtp.example.org", port=587, sender="probe@example.org", recipient="canary@example.net"
)
NOW = 1_800_000_000.1234
KEYRING = Keyring([new_key()])
PROBE = new_probe(NOW)


def fields(message: bytes) -> tuple[Field, ...]:
    return parse(message.partition(b"\r\n\r\n")[0] + b"\r\n", 1000).fields


def message() -> bytes:
    return compose(PROBE, "mb-a", SUBMISSION, KEYRING)


def recognised(octets: bytes, mailbox: str = "mb-a", keyring: Keyring = KEYRING) -> Probe | None:
    return Recognition(mailbox, keyring)(fields(octets))


def test_a_probe_that_was_sent_is_recognised_with_its_time() -> None:
    assert recognised(message()) == PROBE
    assert PROBE.sent_at == datetime(2027, 1, 15, 8, 0, 0, 123000, UTC)


def test_a_probe_is_a_message_as_the_standards_have_it() -> None:
    parsed = email.message_from_bytes(message(), policy=email.policy.strict)
    assert not parsed.defects
    assert parsed["From"] == "probe@example.org"
    assert parsed["To"] == "canary@example.net"
    assert parsed["Auto-Submitted"] == "auto-generated"  # nobody shall answer it
    assert parsed["Message-ID"] == f"<{PROBE.id}@example.org>"
    assert message().isascii()
    assert max(map(len, message().split(b"\r\n"))) <= 78
    assert envelope(fields(message())).classification == "message"


def test_two_probes_are_never_the_same() -> None:
    assert new_probe(NOW).id != new_probe(NOW).id


@pytest.mark.parametrize("white", [b" ", b"\r\n ", b"\r\n\t", b"   "])
def test_relays_may_fold_the_field_as_they_like(white: bytes) -> None:
    value = next(field.raw for field in fields(message()) if field.name == FIELD.lower())
    folded = FIELD.lower().encode() + b": " + white.join(value.split()) + b"\r\n\r\n"
    assert recognised(folded) == PROBE


def test_a_probe_of_another_mailbox_or_of_another_key_is_none() -> None:
    assert recognised(message(), "mb-b") is None
    assert recognised(message(), keyring=Keyring([new_key()])) is None
    assert recognised(message(), keyring=Keyring([])) is None


def test_a_probe_under_way_while_keys_change_is_recognised() -> None:
    old, new = new_key(), new_key()
    octets = compose(PROBE, "mb-a", SUBMISSION, Keyring([old]))
    assert recognised(octets, keyring=Keyring([new, old])) == PROBE


def forged(change: str) -> bytes:
    value = next(field.raw for field in fields(message()) if field.name == FIELD.lower()).decode()
    version, probe, sent, signature = value.split()
    return {
        "later": f"{version} {probe} {int(sent) + 1} {signature}",
        "other id": f"{version} {'0' * 32} {sent} {signature}",
        "no signature": f"{version} {probe} {sent}",
        "zero signature": f"{version} {probe} {sent} {'0' * 64}",
        "other version": f"v2 {probe} {sent} {signature}",
        "more": f"{version} {probe} {sent} {signature} x",
        "upper case": f"{version} {probe.upper()} {sent} {signature}",
        "other digits": f"{version} {probe} {sent[:-1]}\N{ARABIC-INDIC DIGIT ONE} {signature}",
        "longer": f"{version} {probe} 0{sent} {signature}",
        "empty": "",
        "endless": f"{version} {probe} {sent} {signature}" + " " * 10_000_000,
        "null": f"{version} {probe} {sent} {signature}\0",
    }[change].encode()


@pytest.mark.parametrize(
    "change",
    [
        *("later", "other id", "no signature", "zero signature", "other version", "more"),
        *("upper case", "other digits", "longer", "empty", "null"),
    ],
)
def test_what_was_changed_is_no_probe(change: str) -> None:
    recognition = Recognition("mb-a", KEYRING)
    assert recognition([Field(FIELD.lower(), forged(change))]) is None


def test_white_space_without_an_end_costs_nothing() -> None:
    recognition = Recognition("mb-a", KEYRING)
    assert recognition([Field(FIELD.lower(), forged("endless"))]) == PROBE


def test_the_first_of_two_fields_counts() -> None:
    value = next(field for field in fields(message()) if field.name == FIELD.lower())
    recognition = Recognition("mb-a", KEYRING)
    assert recognition([value, Field(FIELD.lower(), b"x")]) == PROBE
    assert recognition([Field(FIELD.lower(), b"x"), value]) is None
    assert recognition([]) is None


def test_without_a_key_there_are_no_probes() -> None:
    with pytest.raises(SettingsError, match="no key"):
        compose(PROBE, "mb-a", SUBMISSION, Keyring([]))


def test_a_probe_is_the_same_after_it_was_written_and_read() -> None:
    assert msgspec.json.decode(msgspec.json.encode(PROBE), type=Probe) == PROBE
