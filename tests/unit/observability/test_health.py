from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from ingest.errors import SettingsError, StateUnavailable
from ingest.observability import metrics
from ingest.observability.health import HealthServer, Heartbeat


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def get(server: HealthServer, path: str, method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@contextmanager
def serving(
    heartbeat: Heartbeat | None = None, **checks: Callable[[], object]
) -> Iterator[HealthServer]:
    with HealthServer(
        "127.0.0.1", 0, heartbeat=heartbeat or Heartbeat(60), checks=checks
    ) as server:
        yield server


def fail(error: Exception) -> Callable[[], object]:
    def check() -> None:
        raise error

    return check


def test_a_heart_that_beats_is_healthy_and_one_that_stopped_is_not() -> None:
    clock = Clock()
    heartbeat = Heartbeat(60, clock)
    with serving(heartbeat) as server:
        clock.seconds += 50
        assert get(server, "/healthz") == (200, "ok\n")
        clock.seconds += 50
        assert get(server, "/healthz") == (503, "no task has been at work for 100 s (limit 60 s)\n")
        heartbeat.beat()
        assert get(server, "/healthz") == (200, "ok\n")


def test_what_stands_still_says_what_it_waits_for() -> None:
    clock = Clock()
    heartbeat = Heartbeat(60, clock, silence="nothing moved")
    heartbeat.doing = "it waits for rain"
    clock.seconds += 61
    assert heartbeat.complaint() == "nothing moved for 61 s (limit 60 s): it waits for rain"
    heartbeat.beat()
    clock.seconds += 61
    assert heartbeat.complaint() == "nothing moved for 61 s (limit 60 s)"


def test_a_failed_readiness_check_is_counted_by_its_name() -> None:
    def counted(check: str) -> float | None:
        name = "mail_ingest_readiness_failures_total"
        return metrics.registry.get_sample_value(name, {"check": check})

    with serving(shelf=lambda: True, cellar=fail(OSError("gone"))) as server:
        get(server, "/readyz")
        get(server, "/readyz")

    assert (counted("shelf"), counted("cellar")) == (0, 2)


def test_metrics_are_served_as_prometheus_reads_them() -> None:
    with serving() as server:
        status, text = get(server, "/metrics?name=x")

    assert status == 200
    assert "mail_ingest_deletes_without_evidence_total 0.0" in text


def test_ready_means_that_every_check_passes() -> None:
    with serving(redis=lambda: True, store=lambda: True) as server:
        assert get(server, "/readyz") == (200, "ok\n")


def test_an_unready_process_says_why_for_each_check_that_failed() -> None:
    with serving(
        redis=fail(StateUnavailable("Redis can't be reached")),
        store=fail(OSError("https://key:hunter2@store.example")),
        queue=lambda: True,
    ) as server:
        status, text = get(server, "/readyz")

    assert status == 503
    assert text == "redis: Redis can't be reached\nstore: OSError\n"


def test_a_check_that_hangs_does_not_use_up_the_threads_of_healthz() -> None:
    release = threading.Event()
    started = threading.Event()

    def hang() -> None:
        started.set()
        release.wait(30)

    with serving(store=hang) as server:
        first = threading.Thread(target=get, args=(server, "/readyz"))
        first.start()
        assert started.wait(10)
        for _ in range(20):
            assert get(server, "/readyz")[0] == 503
        assert get(server, "/healthz")[0] == 200
        release.set()
        first.join()


def test_an_unknown_path_is_not_found() -> None:
    with serving() as server:
        assert get(server, "/etc/passwd") == (404, "not found\n")


def test_head_is_answered_without_a_body() -> None:
    with serving() as server:
        assert get(server, "/healthz", "HEAD") == (200, "")


def test_a_method_that_changes_things_is_refused() -> None:
    with serving() as server:
        assert get(server, "/healthz", "POST")[0] == 501


def test_a_fault_of_our_own_shows_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.observability.metrics.exposition", fail(KeyError("inner")))
    with serving() as server:
        assert get(server, "/metrics") == (500, "internal error\n")


def test_more_connections_than_it_answers_at_a_time_are_closed() -> None:
    with serving() as server:
        held = []
        for _ in range(16):
            held.append(socket.create_connection(("127.0.0.1", server.port), timeout=10))
            held[-1].sendall(b"GET /hea")
        refused = socket.create_connection(("127.0.0.1", server.port), timeout=4)
        assert refused.recv(1) == b""
        refused.close()
        held.pop().close()
        for connection in held:
            connection.sendall(b"lthz HTTP/1.0\r\n\r\n")
            with connection.makefile("rb") as answer:
                assert answer.read().startswith(b"HTTP/1.0 200")
            connection.close()


def test_a_port_in_use_names_the_setting() -> None:
    with serving() as server, pytest.raises(SettingsError) as caught:
        HealthServer("127.0.0.1", server.port, heartbeat=Heartbeat(60), checks={})

    assert f"127.0.0.1:{server.port}" in str(caught.value)
    assert "INGEST_METRICS_PORT" in caught.value.remedy


def test_a_port_is_free_again_at_once_though_its_last_connections_linger() -> None:
    beat = Heartbeat(60)
    with HealthServer("127.0.0.1", 0, heartbeat=beat, checks={}) as server:
        port = server.port
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            while client.recv(4096):
                pass  # the server closes first, so the lingering end is its own
    with HealthServer("127.0.0.1", port, heartbeat=beat, checks={}):
        pass
