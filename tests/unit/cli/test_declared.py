"""Files of declared mailboxes: what they may say, and how what is wrong is told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from ingest.cli.declared import read
from ingest.cli.strict_yaml import load
from ingest.errors import SettingsError
from ingest.model import Mailbox

ONE = {"name": "a", "address": "pop3s://a%40example.org@pop.example.org", "password": "env:A"}
SECRET = "hunter2"


def entries(*given: Mapping[str, Any]) -> bytes:
    return json.dumps({"mailboxes": given}).encode()


def test_an_entry_is_a_mailbox_with_the_same_defaults_as_on_the_command_line() -> None:
    wanted, wrong = read(entries(ONE))
    assert not wrong
    assert wanted == [
        Mailbox(
            id="",
            name="a",
            host="pop.example.org",
            port=995,
            username="a@example.org",
            password="env:A",
        )
    ]


def test_an_entry_may_say_all_that_the_command_line_may() -> None:
    whole = {
        **ONE,
        "address": "pop3://a@[::1]:1110",
        "password": "file:/run/a b",
        "delete": "after  7d",
        "tenant": "t",
        "ca_file": "/etc/ca.pem",
        "plaintext": True,
        "paused": "moving house",
    }
    (mailbox,), wrong = read(entries(whole))
    assert not wrong
    assert msgspec.structs.asdict(mailbox).items() >= {
        ("host", "::1"),
        ("port", 1110),
        ("tls", "none"),
        ("username", "a"),
        ("password", "file:/run/a b"),
        ("delete", "after 7d"),
        ("tenant", "t"),
        ("ca_file", "/etc/ca.pem"),
        ("paused", "moving house"),
    }


def test_yaml_means_the_same_as_json() -> None:
    text = f"""
    # who is who
    mailboxes:
      - name: {ONE["name"]}
        address: {ONE["address"]}
        password: {ONE["password"]}
    """
    assert read(text.encode()) == read(entries(ONE))


def test_json_that_is_no_yaml_is_read() -> None:
    text = json.dumps({"mailboxes": [{**ONE, "name": "😀"}]}, indent="\t")  # escapes, tabs
    (mailbox,), _ = read(text.encode())
    assert mailbox.name == "😀"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"password": SECRET}, "`password` is not where the password is"),
        ({"password": f"sealed:{SECRET}"}, "`password` is not where the password is"),
        ({"password": "file:relative"}, "env:NAME, file:/PATH"),
        ({"password": "env:"}, "env:NAME, file:/PATH"),
        ({"password": 12}, "expected `str`, got `int` - at `password`"),
        ({"pasword": "env:A"}, "unknown field `pasword`"),
        ({"address": f"pop3s://a:{SECRET}@pop.example.org"}, "there is a password in the address"),
        ({"address": "imap://a@pop.example.org"}, "that is no address of a mailbox"),
        ({"address": "pop3s://a@pop.example.org", "plaintext": True}, "leave plaintext out"),
        ({"name": " "}, "`name` is empty"),
        ({"name": False}, "expected `str`, got `bool` - at `name`"),
        ({"name": "a\nb"}, "`name` is empty, or has characters that don't print"),
        ({"tenant": ""}, "`tenant` is empty"),
        ({"paused": True}, "expected `str`, got `bool` - at `paused`"),
        ({"paused": "\x1b[2J"}, "`paused` is empty, or has"),
        ({"delete": "soon"}, "unknown delete rule 'soon'"),
        ({"ca_file": "ca.pem"}, "`ca_file` does not begin with a slash"),
        ({"ca_file": "/ca\0"}, "`ca_file` has characters that don't print"),
        ({"password": f"file:/{SECRET}\0"}, "`password` has characters that don't print"),
    ],
)
def test_a_wrong_entry_is_named_in_one_line_without_what_may_be_a_password(
    change: dict[str, Any], said: str
) -> None:
    good, bad = {**ONE, "name": "b", "address": "pop3s://b@pop.example.org"}, {**ONE, **change}
    wanted, wrong = read(entries(good, bad))
    assert [mailbox.name for mailbox in wanted] == ["b"]
    (sentence,) = wrong
    assert sentence.startswith("entry 2")
    assert said in sentence
    assert SECRET not in sentence


def test_all_wrong_entries_are_told_at_once() -> None:
    assert read(entries({}, {"name": "x"}, {**ONE, "delete": ""}))[1] == [
        "entry 1: object missing required field `name`",
        "entry 2 ('x'): object missing required field `address`",
        (
            "entry 3 ('a'): unknown delete rule '': use committed, published, never, shadow, or "
            "after 7d"
        ),
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "b"}, "entry 2 ('b'): it has the account of entry 1 ('a')"),
        (
            {"name": "A", "address": "pop3s://b@pop.example.org"},
            "entry 2 ('A'): it has the name of entry 1 ('a')",
        ),
    ],
)
def test_one_name_or_account_twice_is_told(change: dict[str, Any], said: str) -> None:
    assert read(entries(ONE, {**ONE, **change}))[1] == [said]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mailboxes:",
        "mailbox: []",
        "mailboxes: []\nmore: 1",
        "[]",
        '{"mailboxes": {}}',
        f"mailboxes: *{SECRET}",
        f'{{"mailboxes": [{{"password": "{SECRET}}}',
        f"mailboxes: !!python/object/apply:os.system ['{SECRET}']",
        f"mailboxes: [!!int {SECRET}]",
        f"mailboxes: [!!bool {SECRET}]",
        f"mailboxes: [!!timestamp {SECRET}]",
        "mailboxes: [{name: 2026-13-01}]",
        'mailboxes: ["\\U00110000"]',
        'mailboxes: ["\\UFFFFFFFF"]',
        'mailboxes: ["\\uD800"]',
        "a0: &a0 {k: v}\n"
        + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 40)),
        "\x00",
        "[" * 100_000,
    ],
)
def test_what_is_no_list_of_mailboxes_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read(text.encode())
    assert SECRET not in str(refused.value) + refused.value.remedy


def test_octets_that_are_no_text_are_refused() -> None:
    with pytest.raises(SettingsError):
        read(b"\xff\xfe\xfa")


def test_an_empty_list_is_one() -> None:
    assert read(b"mailboxes: []") == ([], [])


def test_a_key_that_stands_twice_is_refused_with_its_line() -> None:
    with pytest.raises(SettingsError, match="has a key twice in line 2"):
        load(b"mailboxes:\n- name: a\n  name: b\n")


@pytest.mark.parametrize(
    "text",
    ['{"mailboxes": [{"name": "a"}],\n"mailboxes": []}', '{"mailboxes": [{"a": 1, "a": 2}]}'],
)
def test_a_key_that_stands_twice_in_json_is_refused_too(text: str) -> None:
    with pytest.raises(SettingsError, match="has a key twice in line 1"):
        read(text.encode())


def test_what_several_entries_share_can_be_written_once() -> None:
    text = b"mailboxes:\n- &a {name: a, delete: never}\n- {<<: *a, name: b}\n"
    content = load(text)
    assert content == {
        "mailboxes": [{"name": "a", "delete": "never"}, {"name": "b", "delete": "never"}]
    }
