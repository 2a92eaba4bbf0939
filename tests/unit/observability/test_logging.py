from __future__ import annotations

import io
import json
import logging
import random
import warnings
from collections.abc import Iterator
from typing import Any, Literal

import pytest
import structlog
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased

from ingest.observability.logging import configure


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_stream_that_is_no_terminal_gets_one_json_object_a_line() -> None:
    stream = io.StringIO()
    configure("auto", "info", stream=stream)

    structlog.get_logger().info("session.completed", mailbox="01M", messages=3)

    (line,) = lines(stream)
    assert line["event"] == "session.completed"
    assert line["mailbox"] == "01M"
    assert line["messages"] == 3
    assert line["level"] == "info"
    assert line["timestamp"].endswith("Z")


def test_a_terminal_gets_readable_lines() -> None:
    stream = Terminal()
    configure("auto", "info", stream=stream)

    structlog.get_logger().info("session.completed", mailbox="01M")

    assert "session.completed" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


@pytest.mark.parametrize(
    ("log_format", "level", "told"),
    [("console", "info", 0), ("console", "debug", 1), ("json", "info", 1)],
)
def test_a_line_for_every_message_is_for_programs(
    log_format: Literal["console", "json"], level: str, told: int
) -> None:
    stream = io.StringIO()
    configure(log_format, level, stream=stream)

    structlog.get_logger().info("message_committed", record="r1")
    structlog.get_logger().info("session_completed")

    assert stream.getvalue().count("message_committed") == told
    assert "session_completed" in stream.getvalue()


def test_of_a_share_of_sessions_each_message_has_a_line_that_says_so() -> None:
    stream = io.StringIO()
    configure("json", sample=0.25, stream=stream)
    sessions = [f"{number:x}" * 32 for number in range(16)]
    for session in sessions:
        with structlog.contextvars.bound_contextvars(session=session):
            for _ in range(2):
                structlog.get_logger().info("message_committed")
            structlog.get_logger().warning("message_refused")
            structlog.get_logger().info("session_completed")

    told = lines(stream)
    details = [line for line in told if line["event"] == "message_committed"]
    assert [line["session"] for line in details] == [each for each in sessions[:4] for _ in "ab"]
    assert {line["sample_rate"] for line in details} == {0.25}
    others = [line for line in told if line not in details]
    assert len(others) == 2 * len(sessions)
    assert not [line for line in others if "sample_rate" in line]


@pytest.mark.parametrize(("sample", "told"), [(0.0, 0), (1.0, 16)])
def test_all_sessions_may_be_told_of_or_none(sample: float, told: int) -> None:
    stream = io.StringIO()
    configure("json", sample=sample, stream=stream)
    for number in range(16):
        with structlog.contextvars.bound_contextvars(session=f"{number:x}" * 32):
            structlog.get_logger().info("message_committed")
    assert [line.get("sample_rate") for line in lines(stream)] == [None] * told


def test_the_same_share_of_traces_is_that_of_the_same_sessions() -> None:
    stream, chance = io.StringIO(), random.Random(7)
    configure("json", sample=0.1, stream=stream)
    sessions = [chance.randbytes(16).hex() for _ in range(2000)]
    for session in sessions:
        with structlog.contextvars.bound_contextvars(session=session):
            structlog.get_logger().info("message_committed")
    sampler = TraceIdRatioBased(0.1)
    traced = [
        session
        for session in sessions
        if sampler.should_sample(None, int(session, 16), "session").decision
        is Decision.RECORD_AND_SAMPLE
    ]
    assert [line["session"] for line in lines(stream)] == traced
    assert 150 < len(traced) < 250


def test_lines_below_the_level_are_left_out() -> None:
    stream = io.StringIO()
    configure("json", "warning", stream=stream)

    structlog.get_logger().info("session.completed")
    structlog.get_logger().warning("session.failed")

    assert [line["event"] for line in lines(stream)] == ["session.failed"]


def test_bound_context_is_in_every_line() -> None:
    stream = io.StringIO()
    configure("json", stream=stream)

    with structlog.contextvars.bound_contextvars(mailbox="01M"):
        structlog.get_logger().info("session.started")

    assert lines(stream)[0]["mailbox"] == "01M"


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "DB_PASSWD",
        "client_secret",
        "token",
        "refresh_token",
        "Authorization",
        "api_key",
    ],
)
def test_a_field_with_the_name_of_a_secret_is_redacted(name: str) -> None:
    stream = io.StringIO()
    configure("json", stream=stream)

    structlog.get_logger().info("signed_in", **{name: "hunter2"}, nested=[{name: "hunter2"}])

    assert "hunter2" not in stream.getvalue()
    assert lines(stream)[0][name] == "[redacted]"


def test_subjects_and_user_names_are_redacted_but_object_keys_are_not() -> None:
    stream = io.StringIO()
    configure("json", stream=stream)

    structlog.get_logger().info("part.stored", subject="Offer", username="jo", key="mail/part-1")

    (line,) = lines(stream)
    assert (line["subject"], line["username"]) == ("[redacted]", "[redacted]")
    assert line["key"] == "mail/part-1"


def test_the_password_in_a_url_is_redacted_wherever_it_stands() -> None:
    stream = io.StringIO()
    configure("json", stream=stream)

    structlog.get_logger().info("redis.lost", url="redis://me:hunter2@redis.example/0")
    logging.getLogger("celery").error("lost %s", "redis://:hunter2@redis.example/0")
    try:
        raise ConnectionError("no route to rediss://me:hunter2@redis.example")  # noqa: TRY301 - the point
    except ConnectionError:
        structlog.get_logger().exception("redis.lost")

    assert "hunter2" not in stream.getvalue()
    assert "redis.example" in stream.getvalue()


def test_an_exception_is_one_field_without_local_variables() -> None:
    stream = io.StringIO()
    configure("json", stream=stream)

    def sign_in() -> None:
        phrase = "hunter" + "2"
        raise ValueError(len(phrase))

    try:
        sign_in()
    except ValueError:
        structlog.get_logger().exception("session.failed")

    (line,) = lines(stream)
    assert line["exception"][0]["exc_type"] == "ValueError"
    assert line["exception"][0]["frames"][-1]["name"] == "sign_in"
    assert "hunter2" not in stream.getvalue()
    assert "exc_info" not in line


def test_an_exception_on_a_terminal_is_a_traceback() -> None:
    stream = Terminal()
    configure("auto", stream=stream)

    try:
        raise ValueError("broken")  # noqa: TRY301 - the point
    except ValueError:
        structlog.get_logger().exception("session.failed")

    assert "ValueError: broken" in stream.getvalue()


def test_libraries_come_through_the_same_renderer_from_warning_up() -> None:
    stream = io.StringIO()
    logging.getLogger("celery.worker").setLevel(logging.NOTSET)
    configure("json", "debug", stream=stream)

    logging.getLogger("celery.worker").info("chatter")
    logging.getLogger("botocore").warning("slow down")

    (line,) = lines(stream)
    assert line["event"] == "slow down"
    assert line["logger"] == "botocore"
    assert line["level"] == "warning"


def test_a_handler_that_a_library_brought_does_not_double_its_lines() -> None:
    stream = io.StringIO()
    foreign = logging.StreamHandler(stream)
    logging.getLogger("celery").addHandler(foreign)
    configure("json", stream=stream)

    logging.getLogger("celery").warning("once")

    assert len(lines(stream)) == 1


def test_python_warnings_are_log_lines() -> None:
    stream = io.StringIO()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        configure("json", stream=stream)
        warnings.warn("old", UserWarning, stacklevel=1)

    assert "UserWarning: old" in lines(stream)[0]["event"]


def test_an_overlong_text_is_cut_in_its_middle() -> None:
    stream = io.StringIO()
    configure("json", stream=stream)

    structlog.get_logger().info("refused", text="a" * 50_000 + "end")

    text = lines(stream)[0]["text"]
    assert len(text) < 5000
    assert text.endswith("aend")


def test_deep_and_wide_values_are_cut_and_octets_are_never_shown() -> None:
    stream = io.StringIO()
    configure("json", stream=stream)
    deep: list[Any] = []
    for _ in range(50):
        deep = [deep]

    structlog.get_logger().info("odd", deep=deep, wide=list(range(5000)), block=b"Subject: hi")

    (line,) = lines(stream)
    assert len(line["wide"]) == 100
    assert line["block"] == "[11 octets]"
    assert "..." in json.dumps(line["deep"])
