"""The alert rules in a time that runs faster, so that a drill takes minutes and not days."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from tests.monitoring.rules import RULES, Groups

SPEED = 60  # a minute is a second

_SECONDS = {"m": 60, "h": 3600, "d": 86400}

# Durations that are plain numbers, by what is compared with them.
_THRESHOLDS = {
    "due_lag_seconds:max > 1800": "due_lag_seconds:max > 30",
    "outbox_age_seconds) > 900": "outbox_age_seconds) > 15",
    "outbox_age_seconds) > 60": "outbox_age_seconds) > 1",
    "outbox_depth:max > 20000": "outbox_depth:max > 333",
    "canary_sent_timestamp_seconds) > 1200": "canary_sent_timestamp_seconds) > 20",
    'canary_seconds_bucket{le="600.0"}': 'canary_seconds_bucket{le="10.0"}',
    # A process starts as slowly as ever.
    "process_start_time_seconds[30m]": "process_start_time_seconds[120s]",
    "mail_ingest_build_info[30m]": "mail_ingest_build_info[120s]",
    # A worker that consumes is up to 15 s old, however time runs.
    "heartbeat_age_seconds > 300": "heartbeat_age_seconds > 25",
    "heartbeat_age_seconds) > 120": "heartbeat_age_seconds) > 20",
    "heartbeat_age_seconds) < 120": "heartbeat_age_seconds) < 20",
}


def hurried(path: Path) -> Path:
    """Write the rules to a file, every duration and every count in a duration so much smaller."""
    groups = msgspec.yaml.decode(RULES.read_text(), type=Groups)
    used: set[str] = set()
    for group in groups.groups:
        for rule in group.rules:
            expr = " ".join(rule.expr.split())
            for slow, fast in _THRESHOLDS.items():
                used |= {slow} & {slow if slow in expr else ""}
                expr = expr.replace(slow, fast)
            rule.expr = _durations(_counts(expr))
            rule.wait = _durations(rule.wait)
    assert used == set(_THRESHOLDS), set(_THRESHOLDS) - used
    path.write_bytes(msgspec.yaml.encode(groups))
    return path


def _durations(text: str) -> str:
    def shorter(found: re.Match[str]) -> str:
        return f"{int(found[1]) * _SECONDS[found[2]] // SPEED}s"

    return re.sub(r"(?<!\w)(\d+)([mhd])\b", shorter, text)


def _counts(expr: str) -> str:
    """What happens so often within a minute happens less often within a second."""
    return re.sub(
        r"(increase\([^()]*\)\)) > (\d+(?:\.\d+)?)",
        lambda found: f"{found[1]} > {float(found[2]) / SPEED:g}",
        expr,
    )
