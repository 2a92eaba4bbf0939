import pytest

from ingest.errors import RemoteProtocolError
from ingest.pop3.replies import (
    read_capabilities,
    read_drop_listing,
    read_scan_listing,
    read_status,
    read_unique_id_listing,
)


@pytest.mark.parametrize(
    ("line", "code", "text"),
    [
        (b"-ERR [IN-USE] Do you have another session?", "IN-USE", "Do you have another session?"),
        (b"-ERR [sys/temp]", "SYS/TEMP", ""),
        (b"-ERR []", "", "[]"),
        (b"-ERR [not a code] x", "", "[not a code] x"),
        (b"-ERR no [AUTH] here", "", "no [AUTH] here"),
        (b"-ERR \xff", "", "\ufffd"),
    ],
)
def test_a_response_code_opens_the_text_rfc_2449_section_8(
    line: bytes, code: str, text: str
) -> None:
    assert read_status(line) == ("-ERR", text, code)


def test_capabilities_are_keywords_with_arguments_rfc_2449_section_5() -> None:
    lines = [b"TOP", b"sasl PLAIN XOAUTH2", b"", b"LOGIN-DELAY 900 USER", b"\xff"]
    assert read_capabilities(lines) == {
        "TOP": (),
        "SASL": ("PLAIN", "XOAUTH2"),
        "LOGIN-DELAY": ("900", "USER"),
        "\ufffd": (),
    }


def test_a_drop_listing_is_two_numbers() -> None:
    assert read_drop_listing("2 320") == (2, 320)
    assert read_drop_listing("2 320 and more") == (2, 320)
    for text in ("", "2", "two 320", "-1 320", "2 -1", "\u0662 320", "1" * 11 + " 1"):
        with pytest.raises(RemoteProtocolError):
            read_drop_listing(text)


@pytest.mark.parametrize(
    ("line", "listing"),
    [
        (b"1 120", (1, 120)),
        (b"1  120 extra", (1, 120)),
        (b"1", (1, 0)),
        (b"1 -2147483648", (1, 0)),
        (b"1 many", (1, 0)),
        (b"1 " + b"9" * 18, (1, 10**18 - 1)),
    ],
)
def test_octets_that_can_not_be_read_count_as_none(line: bytes, listing: tuple[int, int]) -> None:
    assert read_scan_listing(line) == listing


@pytest.mark.parametrize("line", [b"", b"x", b"0 12", b"-1 12", b" 1 2", b"12345678901 1"])
def test_a_scan_listing_without_a_message_number_is_an_error(line: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        read_scan_listing(line)


def test_a_unique_id_is_1_to_70_printable_octets_rfc_1939_section_7() -> None:
    assert read_unique_id_listing(b"1 whqtswO00WBw418f9t5JxYwZ") == (1, "whqtswO00WBw418f9t5JxYwZ")
    assert read_unique_id_listing(b"2  ~!  ") == (2, "~!")
    assert read_unique_id_listing(b"3 " + b"x" * 70) == (3, "x" * 70)
    for line in (
        b"",
        b"0 a",
        b"1",
        b"1 ",
        b"x y",
        b"1 a b",
        b"1 \xe4",
        b"1 a\tb",
        b"1 " + b"x" * 71,
    ):
        assert read_unique_id_listing(line) is None
