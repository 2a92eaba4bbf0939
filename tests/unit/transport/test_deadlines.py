import pytest

from ingest.errors import DeadlineExceeded
from ingest.transport.deadlines import Deadlines, Patience

LIMITS = Deadlines(idle_seconds=60, minimum_rate=100, window_seconds=10)


@pytest.fixture
def patience() -> Patience:
    return Patience(LIMITS, "mailbox m1 at pop.example.org:995", lambda: None)


def test_silence_adds_up_until_the_server_makes_progress(patience: Patience) -> None:
    patience.waited(59)
    patience.progress()
    patience.waited(59)
    patience.check()
    patience.waited(1)
    with pytest.raises(DeadlineExceeded, match=r"m1 at pop\.example\.org:995: .* idle for 60 s"):
        patience.check()


def test_a_message_slower_than_the_minimum_rate_over_a_window_ends_it(patience: Patience) -> None:
    for _ in range(9):
        patience.received(99, 1)
    with pytest.raises(DeadlineExceeded, match="99 octets per second for 10 s, less than 100"):
        patience.received(99, 1)


def test_every_window_counts_for_itself(patience: Patience) -> None:
    patience.received(1_000_000, 10)
    with pytest.raises(DeadlineExceeded):
        patience.received(10, 10)


def test_a_large_message_at_the_minimum_rate_may_take_for_ever(patience: Patience) -> None:
    for _ in range(10_000):
        patience.received(1000, 10)
