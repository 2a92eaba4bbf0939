import pytest

from ingest.pop3.headers import HeaderBlock


def block(octets: bytes, chunk: int = 1000, limit: int = 1000) -> bytes | None:
    collecting = HeaderBlock(limit)
    for at in range(0, len(octets), chunk):
        collecting.feed(memoryview(octets)[at : at + chunk])
    return collecting.octets()


@pytest.mark.parametrize("chunk", [1, 2, 3, 4, 1000])
@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"A: b\r\nC: d\r\n\r\nbody\r\n\r\n", b"A: b\r\nC: d\r\n\r\n"),
        (b"A: b\n\nbody\n\n", b"A: b\n\n"),
        (b"\r\nbody\r\n\r\n", b"\r\n"),
        (b"A: b\r\n", b"A: b\r\n\r\n"),
        (b"", b"\r\n"),
        (b"A: b\r\n \r\nC: d\r\n\r\n", b"A: b\r\n \r\nC: d\r\n\r\n"),
    ],
)
def test_a_block_ends_with_the_first_empty_line(octets: bytes, expected: bytes, chunk: int) -> None:
    assert block(octets, chunk) == expected


@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_an_answer_to_top_without_the_empty_line_gives_what_retr_gives(chunk: int) -> None:
    assert block(b"A: b\r\n", chunk) == block(b"A: b\r\n\r\nbody\r\n", chunk)


@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_a_block_over_the_limit_is_none_and_no_more_is_kept(chunk: int) -> None:
    assert block(b"A: b\r\n\r\n", chunk, limit=8) == b"A: b\r\n\r\n"
    assert block(b"A: bc\r\n\r\n", chunk, limit=8) is None
    assert block(b"A: bcdef", chunk, limit=8) is None
    collecting = HeaderBlock(8)
    for _ in range(100):
        collecting.feed(b"x" * 100)
    assert len(collecting._collected) == 9
