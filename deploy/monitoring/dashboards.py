"""The Grafana dashboards, as code: python -m deploy.monitoring.dashboards writes them.

Every query names one fleet, the `job` that is chosen above the panels.
"""  # noqa: INP001 - a script beside what it makes

from __future__ import annotations

from pathlib import Path

from deploy.monitoring.grafana import RATE, Dashboard, Panel, as_json, of, quantiles, rate, stat

FOLDER = Path(__file__).parent / "grafana-dashboards"

_LATE = Panel(
    "Late messages",
    "Share of the messages that took more than 50 s from LIST to their commit, and more than 10 s "
    "from there to the slowest sink. Both together may be 1 %.",
    {"{{stage}}": 'job_stage:mail_ingest_late:ratio_rate1h{job="$job"}'},
    "percentunit",
    red=0.01,
)

_FLEET = Dashboard(
    "fleet",
    "mail-ingest: fleet",
    "Is mail coming in, on time, and safely?",
    (
        stat(
            "Workers",
            "That Prometheus can scrape.",
            "count(" + of("build_info") + ") or vector(0)",
        ),
        stat(
            "Mailboxes",
            "That are polled; paused ones are not.",
            f"max({of('mailboxes_scheduled')}) + max({of('mailboxes_leased')})",
        ),
        stat(
            "Late messages, 24 h",
            "Share that took over 60 s from LIST to their sink: 1 % may.",
            'job:mail_ingest_late:ratio_rate1d{job="$job"}',
            "percentunit",
            red=0.01,
        ),
        stat(
            "Due lag, p99 of 1 h",
            "Of the mailbox that was due longest: less than one poll interval.",
            'job:mail_ingest_due_lag_seconds:p99_1h{job="$job"}',
            "s",
        ),
        stat(
            "Deletes without evidence",
            "Withheld at the last moment: must stay 0.",
            f"sum({of('deletes_without_evidence_total')})",
            red=1,
        ),
        stat("Brake", "1 while nothing is deleted.", f"max({of('deletes_braked')})", red=1),
        Panel(
            "Messages",
            "What sessions did with them, per second.",
            {"{{outcome}}": rate("messages_total", "outcome")},
        ),
        Panel("Retrieved", "Octets per second.", {"octets": rate("octets_total")}, "Bps"),
        Panel(
            "Sessions",
            "How they ended, per second.",
            {"{{outcome}}": rate("sessions_total", "outcome")},
        ),
        Panel(
            "Due lag",
            "How long the mailbox that is due longest has been due, and the poll interval.",
            {
                "due lag": 'job:mail_ingest_due_lag_seconds:max{job="$job"}',
                "poll interval": f"max({of('poll_interval_seconds')})",
            },
            "s",
        ),
        Panel(
            "Mailboxes at work",
            "Due and waiting, and in a session.",
            {
                "due": f"max({of('mailboxes_due')})",
                "in a session": f"max({of('mailboxes_leased')})",
            },
        ),
        Panel(
            "Waiting",
            "What the sessions at work have yet to retrieve.",
            {"octets": f"sum({of('waiting_octets')})"},
            "bytes",
        ),
        _LATE,
        Panel("LIST to commit", "Time per message.", quantiles("commit_delay_seconds"), "s"),
        Panel(
            "Age at commit",
            "From a message's Date field, which senders may set to anything, to its commit.",
            quantiles("mail_age_at_commit_seconds"),
            "s",
        ),
        Panel(
            "Deletes",
            "What the servers answered, per second.",
            {"{{outcome}}": rate("deletes_total", "outcome")},
        ),
        Panel(
            "Idle since",
            "How long ago each worker was last seen at work. /healthz says 503 from 60 s on.",
            {"{{instance}}": of("heartbeat_age_seconds")},
            "s",
            red=60,
        ),
        Panel(
            "Memory",
            "Resident memory of each worker.",
            {"{{instance}}": 'process_resident_memory_bytes{job="$job"}'},
            "bytes",
        ),
        Panel(
            "CPU",
            "Cores that each worker uses.",
            {"{{instance}}": f'rate(process_cpu_seconds_total{{job="$job"}}{RATE})'},
        ),
    ),
)

_CHOSEN = 'provider=~"$provider"'
_WAY = f"sum by (le, provider) (rate({of('canary_seconds_bucket', _CHOSEN)}[1h]))"
_BAD = f'{_CHOSEN}, outcome=~"failed|busy|refused"'
_SERVER_CODES = "connection|tls|deadline|remote_protocol|refused|busy|sign_in|session"

_PROVIDERS = Dashboard(
    "providers",
    "mail-ingest: providers",
    "Which provider is in trouble? Each worker tells fifty hosts apart; the rest is `other`.",
    (
        Panel(
            "Sessions",
            "By provider, per second.",
            {"{{provider}}": rate("provider_sessions_total", "provider", _CHOSEN)},
            width=12,
        ),
        Panel(
            "Failing share",
            "Of each provider's sessions: failed, busy or refused. The ten worst.",
            {
                "{{provider}}": "topk(10, "
                + rate("provider_sessions_total", "provider", _BAD)
                + " / "
                + rate("provider_sessions_total", "provider", _CHOSEN)
                + ")"
            },
            "percentunit",
            width=12,
            red=0.5,
        ),
        Panel(
            "How sessions ended",
            "failed: cut, silent, or against the protocol. busy: asked to come back later. "
            "refused: not signed in.",
            {
                "{{provider}} {{outcome}}": rate(
                    "provider_sessions_total", "provider, outcome", _CHOSEN
                )
            },
            width=12,
        ),
        Panel(
            "Sign-ins refused",
            "Per second, by provider.",
            {
                "{{provider}}": rate(
                    "provider_sessions_total", "provider", f'{_CHOSEN}, outcome="refused"'
                )
            },
            width=12,
        ),
        Panel(
            "Errors that servers make",
            "By class, per second, over all providers.",
            {"{{code}}": rate("errors_total", "code", f'code=~"{_SERVER_CODES}"')},
        ),
        Panel(
            "Session length",
            "Of those that were completed, over all providers.",
            quantiles("session_seconds"),
            "s",
        ),
        Panel(
            "Way of probes",
            "From the sending of a canary's probe to its event, of those within the hour before. "
            "Empty where no mailbox is a canary.",
            {
                f"p{100 * quantile:.0f} {{{{provider}}}}": f"histogram_quantile({quantile}, {_WAY})"
                for quantile in (0.5, 0.99)
            },
            "s",
            red=600,
        ),
        Panel(
            "Probes",
            "What became of them within the hour before. missing: not home in fifteen minutes; "
            "late: home after that; stray: home twice, or forgotten.",
            {
                "{{provider}} {{outcome}}": "sum by (provider, outcome) (increase("
                + of("canary_probes_total", _CHOSEN)
                + "[1h]))"
            },
        ),
        Panel(
            "Last probe home",
            "How long ago the last probe was sent, and the event of one was confirmed. A probe is "
            "sent every five minutes.",
            {
                f"{what} {{{{provider}}}}": "time() - max by (provider) ("
                + of(f"canary_{what}_timestamp_seconds", _CHOSEN)
                + ")"
                for what in ("sent", "home")
            },
            "s",
            red=1200,
        ),
        Panel(
            "Mailboxes paused",
            "Within the hour before, since their servers kept refusing to sign us in.",
            {"paused": f"sum(increase({of('mailboxes_paused_total')}[1h]))"},
        ),
    ),
    by_provider=True,
)

_STORE = Dashboard(
    "store-and-redis",
    "mail-ingest: store and Redis",
    "Do the object store and Redis keep up?",
    (
        Panel(
            "Writing a batch",
            "Time that the store takes for a batch's last parts and its commit object.",
            quantiles("batch_write_seconds"),
            "s",
        ),
        Panel(
            "Commits and parts",
            "Batches made durable and parts extracted, per second.",
            {"commits": rate("commits_total"), "parts": rate("parts_total")},
        ),
        Panel(
            "Store errors",
            "By class, per second. buffers_taken is a lack of our own memory.",
            {"{{code}}": rate("errors_total", "code", 'code=~"store.*|buffers_taken"')},
        ),
        Panel(
            "Redis answers in",
            "Time per command or script.",
            quantiles("redis_call_seconds"),
            "s",
        ),
        Panel("Redis calls", "Per second.", {"calls": rate("redis_call_seconds_count")}, "ops"),
        Panel(
            "Redis errors",
            "By class, per second.",
            {"{{code}}": rate("errors_total", "code", 'code=~"state.*"')},
        ),
        Panel(
            "Not ready",
            "Times that /readyz found one of them not answering, within five minutes.",
            {"{{check}}": f"sum by (check) (increase({of('readiness_failures_total')}[5m]))"},
        ),
        Panel(
            "Audits",
            "Messages whose stored octets were proven, within two hours; all but proven stay 0.",
            {"{{outcome}}": f"sum by (outcome) (increase({of('audited_total')}[2h]))"},
        ),
        Panel(
            "Damage",
            "Objects that are missing, or not what was stored, per second. Must stay 0.",
            {"{{code}}": rate("errors_total", "code", 'code=~"object_missing|proof"')},
        ),
    ),
)

_OUTBOX = Dashboard(
    "outbox",
    "mail-ingest: outbox",
    "Do events reach every sink?",
    (
        Panel(
            "Waiting",
            "Events that wait for each sink. From a million on, no mailbox is polled.",
            {"{{sink}}": 'job_sink:mail_ingest_outbox_depth:max{job="$job"}'},
            width=12,
            red=1e6,
        ),
        Panel(
            "Oldest",
            "How long the oldest event has been waiting for each sink.",
            {"{{sink}}": f"max by (sink) ({of('outbox_age_seconds')})"},
            "s",
            width=12,
            red=60,
        ),
        Panel(
            "In and out",
            "Events put into the outbox, and confirmed by each sink, per second.",
            {"put": rate("events_total"), "{{sink}}": rate("events_published_total", "sink")},
        ),
        Panel(
            "Commit to sink",
            "From an event's commit to its confirmation.",
            quantiles("publish_delay_seconds", "sink"),
            "s",
        ),
        _LATE,
        stat(
            "Budget left, 30 d",
            "Of the 1 % of all messages that may be late. Below 0 the service level is missed.",
            '1 - avg_over_time(job:mail_ingest_late:ratio_rate1h{job="$job"}[30d]) / 0.01',
            "percentunit",
        ),
    ),
)

_ERRORS = Dashboard(
    "errors",
    "mail-ingest: errors",
    "What goes wrong, and whose doing is it?",
    (
        Panel(
            "Alerts",
            "That are pending or firing.",
            {"": 'ALERTS{alertname=~"MailIngest.*", job="$job"}'},
            kind="table",
            width=12,
            empty="there is nothing to alert of",
        ),
        Panel(
            "Errors",
            "By class, per second: sessions and tasks that failed.",
            {"{{code}}": rate("errors_total", "code") + " > 0"},
            width=12,
            empty="classes without errors are left out",
        ),
        Panel(
            "Bugs",
            "Errors that only mail-ingest itself can have made, within half an hour.",
            {
                "{{code}}": "sum by (code) (increase("
                + of("errors_total", 'code=~"unexpected|error|local_protocol|suspect_fatal"')
                + "[30m]))"
            },
            red=1,
        ),
        Panel(
            "Messages set aside",
            "Within the hour before. skipped ones are counted again by each session.",
            {
                "{{outcome}}": "sum by (outcome) (increase("
                + of("messages_total", 'outcome=~"skipped|quarantined|truncated|refused"')
                + "[1h]))"
            },
        ),
        Panel(
            "Failed tasks",
            "By name, per second.",
            {"{{task}}": rate("task_failures_total", "task")},
        ),
        Panel(
            "Starts of workers",
            "Within half an hour, by worker.",
            {"{{instance}}": 'changes(process_start_time_seconds{job="$job"}[30m])'},
        ),
        Panel(
            "Versions",
            "Workers by version.",
            {"{{version}}": f"count by (version) ({of('build_info')})"},
        ),
    ),
)

DASHBOARDS = (_FLEET, _PROVIDERS, _STORE, _OUTBOX, _ERRORS)


def main() -> None:
    """Write all of them."""
    FOLDER.mkdir(exist_ok=True)
    for dashboard in DASHBOARDS:
        (FOLDER / f"{dashboard.name}.json").write_text(as_json(dashboard))


if __name__ == "__main__":
    main()
