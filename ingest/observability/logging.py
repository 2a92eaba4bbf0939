"""Structured logs on standard error: static event names, identifiers as fields, no secrets.

    log = structlog.get_logger()
    log.info("session_completed", messages=12)

Context that a whole session shares is bound with `structlog.contextvars.bound_contextvars`. What
Celery, boto and redis-py log comes through the same renderer, from warning up. deploy/logs.md lists
every event and field.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from itertools import islice
from typing import Any, Literal, TextIO

import structlog
from structlog.tracebacks import ExceptionDictTransformer

# What there is a line of for every message.
_DETAILS = frozenset({"message_committed"})

_REDACTED = "[redacted]"
_MAX_TEXT = 4096  # characters of one field; a server's text or an exception may be any length
_MAX_DEPTH = 6  # nested containers
_MAX_ITEMS = 100  # of one container

# Parts of a field's name that mark a secret ...
_SECRET = re.compile(
    r"passw|passphrase|secret|token|authoriz|credential|cookie|api_?key|access_?key|private_?key"
)
# ... and whole names that mark what is personal: addresses and subjects.
_PERSONAL = frozenset({"username", "subject", "sender", "recipient", "recipients", "address"})
_USERINFO = re.compile(r"(?<=://)[^/@\s]{0,512}@")


def configure(
    log_format: Literal["auto", "json", "console"] = "auto",
    level: str = "info",
    sample: float = 1.0,
    *,
    stream: TextIO | None = None,
) -> None:
    """Send our logs and those of our libraries to `stream` (standard error).

    Calling it again replaces what an earlier call, or Celery, has set up.

    Args:
        log_format: `auto` writes JSON lines unless the stream is a terminal.
        level: the least to write; of libraries never less than `warning`.
        sample: the share of sessions, from 0 to 1, whose lines for every message are written.
        stream: where to.
    """
    stream = stream or sys.stderr
    as_json = log_format == "json" or (log_format == "auto" and not stream.isatty())
    threshold = logging.getLevelNamesMapping()[level.upper()]
    common = _common(as_json=as_json)
    renderer = _renderer(as_json=as_json, colors=stream.isatty())
    selected = [_sampler(sample)] if as_json or level == "debug" else [_without_details]
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, *selected, *common, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    _route_libraries(stream, common, renderer, max(threshold, logging.WARNING))


def without_secrets(
    _logger: Any,  # noqa: ANN401 - structlog's signature of a processor
    _method: str,
    event_dict: MutableMapping[str, Any],
) -> MutableMapping[str, Any]:
    """Redact secrets and what is personal, by field name and in URLs; cut what is overlong."""
    return {name: _safe(name, value) for name, value in event_dict.items()}


def _without_details(
    _logger: Any,  # noqa: ANN401 - structlog's signature of a processor
    _method: str,
    event_dict: MutableMapping[str, Any],
) -> MutableMapping[str, Any]:
    """Drop what only programs read, one line for every message, from what people watch."""
    if event_dict["event"] in _DETAILS:
        raise structlog.DropEvent
    return event_dict


def _sampler(rate: float) -> structlog.typing.Processor:
    """Keep details of so many sessions: of each all or none, and the same ones in every process.

    A session's id is random already, so that it needs no hash. OpenTelemetry's sampler by ratio
    decides by the same octets of it, and at the same rate keeps the same sessions.
    """

    def sampled(
        _logger: Any,  # noqa: ANN401 - structlog's signature of a processor
        _method: str,
        event_dict: MutableMapping[str, Any],
    ) -> MutableMapping[str, Any]:
        if rate < 1 and event_dict["event"] in _DETAILS:
            if int(event_dict.get("session", "0")[-16:], 16) >= round(rate * 2**64):
                raise structlog.DropEvent
            event_dict["sample_rate"] = rate
        return event_dict

    return sampled


def _safe(name: str, value: object, depth: int = 0) -> object:
    if _is_private(name):
        return _REDACTED
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return _cut(_USERINFO.sub(f"{_REDACTED}@", value) if "://" in value else value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"[{len(value)} octets]"  # content has no place in a log
    if isinstance(value, Mapping | Sequence):
        return _safe_items(value, depth + 1)
    return _safe("", repr(value))


def _safe_items(container: Mapping[object, object] | Sequence[object], depth: int) -> object:
    if depth > _MAX_DEPTH:
        return "..."
    if isinstance(container, Mapping):
        pairs = islice(container.items(), _MAX_ITEMS)
        return {str(key): _safe(str(key), value, depth) for key, value in pairs}
    return [_safe("", value, depth) for value in container[:_MAX_ITEMS]]


def _cut(text: str) -> str:
    if len(text) <= _MAX_TEXT:
        return text
    half = _MAX_TEXT // 2  # a traceback says the most at its end
    return f"{text[:half]} ... {text[-half:]}"


def _is_private(name: str) -> bool:
    lowered = name.lower()
    return lowered in _PERSONAL or _SECRET.search(lowered) is not None


def _common(*, as_json: bool) -> list[structlog.typing.Processor]:
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if as_json:
        # Locals would show passwords and mail.
        transform = ExceptionDictTransformer(show_locals=False, max_frames=20)
        processors.append(structlog.processors.ExceptionRenderer(transform))
    else:
        processors.append(structlog.processors.ExceptionRenderer())
    processors.append(without_secrets)
    return processors


def _renderer(*, as_json: bool, colors: bool) -> structlog.typing.Processor:
    if as_json:
        return structlog.processors.JSONRenderer()
    return structlog.dev.ConsoleRenderer(
        colors=colors, exception_formatter=structlog.dev.plain_traceback
    )


def _route_libraries(
    stream: TextIO,
    common: Sequence[structlog.typing.Processor],
    renderer: structlog.typing.Processor,
    threshold: int,
) -> None:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.contextvars.merge_contextvars,
                structlog.stdlib.add_logger_name,
            ],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *common,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)
    for name in ("celery", "kombu", "boto3", "botocore", "redis"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
        library.setLevel(logging.NOTSET)
    logging.captureWarnings(capture=True)
