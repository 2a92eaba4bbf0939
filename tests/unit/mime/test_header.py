from __future__ import annotations

import pytest

from ingest.mime.charset import clean, decode_charset
from ingest.mime.header import decode_words, parameter_text, parameters, parse
from ingest.mime.text import preview


def test_fields_are_unfolded_and_stripped() -> None:
    block = parse(b"Subject : a\r\n b\r\n\tc \r\nX-Empty:\r\nTo:x@y\nFrom: z\n", 10)
    assert block.fields == (
        ("subject", b"a b\tc"),
        ("x-empty", b""),
        ("to", b"x@y"),
        ("from", b"z"),
    )
    assert block.invalid_lines == 0


def test_lines_that_are_no_field_are_counted_and_skipped() -> None:
    block = parse(b"From someone Mon Jan 1 00:00:00\nSubject: x\nno field\n: y\nTo: z", 10)
    assert [field.name for field in block.fields] == ["subject", "to"]
    assert block.invalid_lines == 3


def test_fields_over_the_limit_are_told_of() -> None:
    block = parse(b"A: 1\nB: 2\nC: 3\n", 2)
    assert [field.name for field in block.fields] == ["a", "b"]
    assert block.more
    assert not parse(b"A: 1\nB: 2\n", 2).more


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("=?utf-8?Q?a_b=C3=A4?=", "a bä"),
        ("=?UTF-8?B?w6Q=?=", "ä"),
        ("=?utf-8*de?b?w6Q?=", "ä"),
        ("a =?utf-8?q?b?= c", "a b c"),
        ("=?utf-8?q?a?= =?utf-8?q?b?=", "ab"),
        ("=?utf-8?q?=C3?=\t=?utf-8?q?=A4?=", "ä"),
        ("=?utf-8?q?a?= =?iso-8859-1?q?=e4?= c", "aä c"),
        ("=?utf-8?q?a?=x=?utf-8?q?b?=", "axb"),
        ("=?iso-8859-1?q?50%_=25?=", "50% %"),
        ("=?x-unknown?q?=C3=A4?=", "ä"),
        ("=?utf-8?q?=FF?=", "ÿ"),
        ("=?utf-8?b?Q?=", "Q"),
        ("=?utf-8?x?a?=", "=?utf-8?x?a?="),
        ("=?utf-8?q?a", "=?utf-8?q?a"),
        ("plain = text?", "plain = text?"),
        ("=?iso-2022-jp?B?GyRCJCIbKEI=?=", "あ"),
        ("=?gb2312?B?xOO6ww==?=", "你好"),
        ("=?ks_c_5601-1987?B?x9E=?=", "한"),
    ],
)
def test_encoded_words(text: str, expected: str) -> None:
    assert decode_words(text) == expected


@pytest.mark.parametrize(
    "charset",
    [
        "hex",
        "zlib",
        "rot13",
        "idna",
        "punycode",
        "unicode_escape",
        "undefined",
        "a\x00b",
        "",
        "utf-7",
    ],
)
def test_a_codec_that_is_no_charset_is_not_used(charset: str) -> None:
    assert decode_charset(b"+2AA-\\u0041 ok", charset) == "+2AA-\\u0041 ok"


def test_every_charset_decodes_any_octets_to_text_that_can_be_stored() -> None:
    from ingest.mime.charset import _CODECS  # noqa: PLC0415 - the table is the point

    for name in _CODECS:
        clean(decode_charset(bytes(range(256)) * 3, name), 10_000).encode()


@pytest.mark.parametrize(
    ("raw", "value", "expected"),
    [
        (b"Text/Plain; Charset=UTF-8", "text/plain", {"charset": "UTF-8"}),
        (b'a/b; name="x;y=z"; c=d', "a/b", {"name": "x;y=z", "c": "d"}),
        (rb'a/b; name="q\"\\w\e"', "a/b", {"name": r"q" + '"' + r"\w\e"}),
        (b"a/b; name=my file.pdf; x=y", "a/b", {"name": "my file.pdf", "x": "y"}),
        (b'a/b; name="unterminated', "a/b", {"name": "unterminated"}),
        (b"a/b;;; ;x = 1 ;;", "a/b", {"x": "1"}),
        (b"a/b (comment); x=1", "a/b", {"x": "1"}),
        (b"a/b; x=1; X=2", "a/b", {"x": "1"}),
        (b"a/b charset=x; y=z", "a/b", {"charset": "x", "y": "z"}),
        (b"a/b; x", "a/b", {}),
        (b"", "", {}),
        (b"; filename=x", "", {"filename": "x"}),
    ],
)
def test_parameters(raw: bytes, value: str, expected: dict[str, str]) -> None:
    assert parameters(raw, 10) == (value, expected)


def test_parameters_are_counted() -> None:
    _, found = parameters(b"a/b" + b"; x%d=1" * 1 + b"".join(b"; y%d=1" % i for i in range(50)), 7)
    assert len(found) == 7


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"x; name*=utf-8'en'%e2%82%ac%20rates", "€ rates"),
        (b"x; name*=iso-8859-1''%A3%20rates", "£ rates"),
        (b"x; name*=UTF-8''%E2%82; name=plain", "â\x82"),
        (b"x; name*=no-quotes%21", "no-quotes!"),
        (b"x; name*0=one; name*1=two", "onetwo"),
        (b"x; name*1=two; name*0=one; name*3=four", "onetwo"),
        (b"x; name*0*=utf-8''%e2%82; name*1*=%ac; name*2=.txt", "€.txt"),
        (b'x; name="=?utf-8?Q?=E2=82=AC?="', "€"),
        (b'x; name="\xe2\x82\xac"', "€"),
        (b'x; name="\xe4"', "ä"),
        (b"x", ""),
    ],
)
def test_parameter_text(raw: bytes, text: str) -> None:
    assert parameter_text(parameters(raw, 10)[1], "name")[0] == text


@pytest.mark.parametrize(
    "raw",
    [
        b"a/b" + b";" * 4_000_000,
        b"a/b; " + b" " * 4_000_000,
        b"a/b" + b"; x" * 1_000_000,
        b'a/b; x="' + b"\\" * 4_000_000,
        b"a/b; " + b"x" * 4_000_000,
        b"a/b; x" + b"= " * 2_000_000,
    ],
)
def test_hostile_parameters_end(raw: bytes) -> None:
    value, found = parameters(raw, 10)
    assert value == "a/b"
    assert len(found) <= 1


@pytest.mark.parametrize(
    "text", ["=?a?q?" * 500_000, "=?a?q?x?= " * 400_000, "=?" * 2_000_000, "?" * 4_000_000]
)
def test_hostile_encoded_words_end(text: str) -> None:
    assert len(decode_words(text)) <= len(text)


def test_a_preview_is_one_line_without_markup() -> None:
    octets = (
        b"<html><head><title>no</title></head><style>p {}</style><!-- x --><p>Gr&uuml;&szlig;e\r\n"
        b"an <b>alle</b><script>if (a < b) alert(1)</script> &lt;hier&gt;\x00\x1b"
    )
    assert preview(octets, "utf-8", is_html=True) == "Grüße an alle <hier>"
    assert preview(b" a \r\n\r\n b\x07 ", "") == "a b"
    assert preview("ä".encode() * 1000, "utf-8", 400) == "ä" * 400


def test_a_preview_does_not_end_in_half_a_character() -> None:
    assert preview("a€".encode("gb18030")[:2], "gb18030") == "a"
