"""Faults of an S3 store that no real one can be made to show."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from ulid import ULID

from ingest.errors import (
    BuffersTaken,
    ObjectMissing,
    SessionStopped,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
)
from ingest.intake.ports import PartWriter
from ingest.objects import bucket, multipart
from ingest.objects.budget import BLOCK, Budget, limit_group
from ingest.objects.open import open_store
from ingest.objects.options import S3Options
from ingest.objects.probe import Store
from tests.fakes.s3_server import Fault, S3Server, s3_server
from tests.servers.certificates import make_certificates

SLOW_DOWN = Fault(503, "SlowDown")
LOST = Fault()
LARGE = bytes(range(256)) * (BLOCK // 256) + b"the second part"


class World(NamedTuple):
    server: S3Server
    budget: Budget
    store: Store
    stopping: threading.Event


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """One for all tests, because a client takes a third of a second to make."""
    budget = Budget(4 * BLOCK, patience=30)
    stopping = threading.Event()
    with s3_server() as server, pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-secret")
        monkeypatch.setattr(bucket, "_FIRST_PAUSE", 0.001)
        monkeypatch.setattr(bucket, "_LONGEST_PAUSE", 0.002)
        options = S3Options(endpoint=server.endpoint, path_style=True, deadline=20)
        store = open_store("s3://bucket/pre", budget, options, stopping.is_set)
        yield World(server, budget, store, stopping)
        store.close()


@pytest.fixture
def server(world: World) -> S3Server:
    world.server.forget()
    return world.server


@pytest.fixture
def stopping(world: World) -> Iterator[threading.Event]:
    yield world.stopping
    world.stopping.clear()


@pytest.fixture
def budget(world: World) -> Iterator[Budget]:
    yield world.budget
    assert world.budget.free == world.budget.octets, "a buffer was not given back"


@pytest.fixture
def store(world: World, server: S3Server, budget: Budget) -> Store:  # noqa: ARG001 - both check
    return world.store


def write(store: Store, octets: bytes) -> BaseException | None:
    with store.create("part-1") as writer:
        writer.write(octets)
        durable = writer.commit()
    return durable.exception(30)


def test_a_small_object_is_one_request(store: Store, server: S3Server) -> None:
    assert write(store, LARGE[:BLOCK]) is None
    assert server.operations == ["PutObject"]
    assert server.objects == {"pre/part-1": LARGE[:BLOCK]}


def test_a_large_object_is_an_upload_of_parts(store: Store, server: S3Server) -> None:
    assert write(store, LARGE) is None
    assert server.operations == [
        "CreateMultipartUpload",
        "UploadPart",
        "UploadPart",
        "CompleteMultipartUpload",
    ]
    assert server.objects == {"pre/part-1": LARGE}


@pytest.mark.parametrize("fault", [SLOW_DOWN, LOST, Fault(500, "InternalError", after=True)])
@pytest.mark.parametrize(
    "operation", ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "PutObject"]
)
def test_a_store_that_stumbles_is_asked_again(
    store: Store, server: S3Server, operation: str, fault: Fault
) -> None:
    server.fail(operation, fault, fault)
    octets = LARGE[:5] if operation == "PutObject" else LARGE
    assert write(store, octets) is None
    assert server.objects == {"pre/part-1": octets}


def test_a_complete_whose_answer_was_lost_is_settled_by_the_object(
    store: Store, server: S3Server
) -> None:
    server.fail("CompleteMultipartUpload", Fault(after=True))
    assert write(store, LARGE) is None
    assert server.operations[-2:] == ["CompleteMultipartUpload", "HeadObject"]


def test_an_upload_that_vanished_without_its_object_is_no_success(
    store: Store, server: S3Server
) -> None:
    server.fail("CompleteMultipartUpload", Fault(404, "NoSuchUpload"))
    assert isinstance(write(store, LARGE), StoreUnavailable)


def test_an_object_of_another_size_does_not_settle_a_lost_complete(
    store: Store, server: S3Server
) -> None:
    server.objects["pre/part-1"] = b"another"
    server.fail("CompleteMultipartUpload", Fault(404, "NoSuchUpload"))
    assert isinstance(write(store, LARGE), StoreUnavailable)


def test_an_error_in_an_answer_of_200_is_an_error(store: Store, server: S3Server) -> None:
    server.fail("CompleteMultipartUpload", Fault(200, "InternalError"))
    assert write(store, LARGE) is None
    assert server.operations.count("CompleteMultipartUpload") == 2
    assert server.objects == {"pre/part-1": LARGE}


def test_a_refused_complete_aborts_the_upload(store: Store, server: S3Server) -> None:
    server.fail("CompleteMultipartUpload", Fault(200, "AccessDenied"))
    assert isinstance(write(store, LARGE), StoreRefused)
    assert server.operations[-1] == "AbortMultipartUpload"
    assert (server.objects, server.uploads) == ({}, {})


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (Fault(403, "AccessDenied"), StoreRefused, "access denied"),
        (Fault(403, "InvalidAccessKeyId"), StoreRefused, "access key is unknown"),
        (Fault(403, "SignatureDoesNotMatch"), StoreRefused, "secret key does not fit"),
        (Fault(404, "NoSuchBucket"), StoreRefused, "no such bucket"),
        (Fault(403, "RequestTimeTooSkewed"), StoreRefused, "clock is wrong"),
        (Fault(400, "KMS.NotFoundException"), StoreRefused, "encryption key is unknown"),
        (Fault(501, "NotImplemented"), StoreRefused, "refuses it"),
        (Fault(418, "Whatever"), StoreRefused, "(Whatever)"),
        (Fault(403, "QuotaExceeded"), StoreFull, "no space or quota"),
        (Fault(507, "Anything"), StoreFull, "no space or quota"),
        (Fault(507, "XMinioStorageFull"), StoreFull, "no space or quota"),
        (Fault(404, "NoSuchKey"), ObjectMissing, "not there"),
        (Fault(400, "evil\ncode"), StoreRefused, "unknown code"),
    ],
)
def test_a_refusal_is_said_in_one_line_with_a_remedy_and_not_repeated(
    store: Store, server: S3Server, fault: Fault, error: type[Exception], words: str
) -> None:
    server.fail("PutObject", fault)
    with pytest.raises(error) as raised:
        store.put("checkpoint.json", b"{}")
    line = str(raised.value)
    assert words in line
    assert "checkpoint.json in bucket bucket" in line
    assert "\n" not in line
    assert raised.value.remedy  # type: ignore[attr-defined]  # a StoreError
    assert len(server.operations) == 1


def test_the_deadline_ends_the_repetitions(server: S3Server, budget: Budget) -> None:
    options = S3Options(endpoint=server.endpoint, path_style=True, deadline=0)
    store = open_store("s3://bucket", budget, options)
    server.fail("PutObject", SLOW_DOWN, SLOW_DOWN)
    with pytest.raises(StoreUnavailable, match="SlowDown"):
        store.put("checkpoint.json", b"{}")
    assert len(server.operations) == 1
    store.close()


def test_a_shutdown_ends_the_repetitions(
    store: Store, server: S3Server, stopping: threading.Event
) -> None:
    server.fail("PutObject", *[SLOW_DOWN] * 1000)
    stopping.set()
    with pytest.raises(StoreUnavailable):
        store.put("checkpoint.json", b"{}")
    assert len(server.operations) == 1


def test_a_shutdown_ends_the_wait_for_a_buffer(
    store: Store, budget: Budget, stopping: threading.Event
) -> None:
    share = budget.share()
    held = [share.acquire_block(lambda: False) for _ in range(2)]
    stopping.set()
    with pytest.raises(SessionStopped):
        store.create("part-1")
    for block in held:
        share.release_block(block)


def test_a_host_that_sends_in_drops_leaves_buffers_to_others(server: S3Server) -> None:
    budget = Budget(4 * BLOCK, patience=0)
    options = S3Options(endpoint=server.endpoint, path_style=True)
    store = open_store("s3://bucket", budget, options)

    def begin(host: str) -> PartWriter:
        limit_group.set(host)
        return store.create(f"part-{ULID()}")

    with ExitStack() as stack:
        # Each in a thread of its own, as sessions are.
        threads = [stack.enter_context(ThreadPoolExecutor(1)) for _ in range(4)]
        for thread in threads[:2]:
            stack.enter_context(thread.submit(begin, "slow").result()).write(b"a drop")
        with pytest.raises(BuffersTaken):
            threads[2].submit(begin, "slow").result()
        stack.enter_context(threads[3].submit(begin, "other").result())
    store.close()


def test_a_failed_part_is_told_at_a_later_write_and_the_upload_aborted(
    store: Store, server: S3Server
) -> None:
    server.fail("UploadPart", Fault(403, "AccessDenied"))
    with store.create("part-1") as writer, pytest.raises(StoreRefused):
        writer.write(LARGE * 4)
    assert server.uploads == {}


def test_a_failed_part_is_told_by_the_commit(store: Store, server: S3Server) -> None:
    server.fail("UploadPart", Fault(403, "AccessDenied"))
    assert isinstance(write(store, LARGE), StoreRefused)
    assert server.uploads == {}


def test_leaving_does_not_wait_for_repetitions(store: Store, server: S3Server) -> None:
    server.fail("UploadPart", *[SLOW_DOWN] * 100_000)
    with store.create("part-1") as writer:
        writer.write(LARGE)
    assert server.operations[-1] == "AbortMultipartUpload"


def test_an_upload_that_can_not_be_aborted_is_left_to_the_sweep(
    store: Store, server: S3Server
) -> None:
    server.fail("AbortMultipartUpload", LOST)
    with store.create("part-1") as writer:
        writer.write(LARGE)
    assert len(server.uploads) == 1


def test_an_object_is_written_with_one_block_where_there_is_no_second(server: S3Server) -> None:
    budget = Budget(BLOCK)
    options = S3Options(endpoint=server.endpoint, path_style=True)
    store = open_store("s3://bucket", budget, options)
    whole = LARGE[:BLOCK] * 3 + b"end"
    assert write(store, whole) is None
    assert server.objects == {"part-1": whole}
    store.close()
    assert budget.free == BLOCK


def test_messages_that_write_two_objects_at_a_time_do_not_stop_each_other(
    store: Store, server: S3Server
) -> None:
    together = threading.Barrier(3)

    def message(number: int) -> None:
        limit_group.set(f"group {number}")
        with store.create(f"part-{number}-skeleton") as skeleton:
            skeleton.write(b"x")
            together.wait(30)
            with store.create(f"part-{number}") as part:
                part.write(LARGE)
                part.commit().result(30)
            skeleton.commit().result(30)

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(message, range(3)))
    assert len(server.objects) == 6


def test_blocks_grow_so_that_the_number_of_parts_suffices(
    server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multipart, "_PARTS_PER_SIZE", 2)
    budget = Budget(16 * BLOCK)
    options = S3Options(endpoint=server.endpoint, path_style=True)
    store = open_store("s3://bucket", budget, options)
    whole = LARGE[:BLOCK] * 7
    assert write(store, whole) is None
    store.close()
    assert budget.free == budget.octets
    sizes = [
        int(headers["Content-Length"]) // BLOCK
        for operation, headers in server.headers
        if operation == "UploadPart"
    ]
    assert sizes == [1, 1, 1, 2, 2]
    assert server.objects == {"part-1": whole}


def test_an_object_with_too_many_parts_is_refused(
    store: Store, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multipart, "MAX_PARTS", 2)
    with store.create("part-1") as writer, pytest.raises(StoreRefused, match="too large"):
        writer.write(LARGE * 4)
    assert server.uploads == {}


def test_a_broken_answer_is_taken_up_again_where_it_broke(store: Store, server: S3Server) -> None:
    server.objects["pre/part-1"] = LARGE
    server.fail("GetObject", Fault(cut=1_000_000), Fault(cut=0), LOST, SLOW_DOWN)
    assert b"".join(store.read("part-1", 3)) == LARGE[3:]
    asked = [headers for operation, headers in server.headers if operation == "GetObject"]
    assert asked[0]["Range"] == "bytes=3-"
    assert "If-Match" not in asked[0]
    assert int(asked[-1]["Range"][6:-1]) > 700_000
    assert asked[-1]["If-Match"] == '"e"'


def test_an_answer_that_breaks_without_progress_is_given_up(store: Store, server: S3Server) -> None:
    server.objects["pre/part-1"] = LARGE
    server.fail("GetObject", *[Fault(cut=0)] * 100)
    with pytest.raises(StoreUnavailable, match="broke 5 times at octet 0"):
        b"".join(store.read("part-1"))


def test_each_body_carries_its_checksum_as_a_header(store: Store, server: S3Server) -> None:
    write(store, LARGE)
    store.put("checkpoint.json", b"{}")
    bodies = [h for operation, h in server.headers if operation in {"UploadPart", "PutObject"}]
    assert len(bodies) == 3
    assert all("x-amz-checksum-crc32" in headers for headers in bodies)
    assert not any("aws-chunked" in str(headers) for headers in bodies)


def test_a_type_that_is_none_reaches_no_header(store: Store, server: S3Server) -> None:
    for content_type in ("text/plain", "text/plain\r\nx-amz-acl: public-read", "no type"):
        with store.create("part-1", content_type) as writer:
            writer.commit().result(30)
    types = [headers["Content-Type"] for _, headers in server.headers]
    assert types == ["text/plain", *["application/octet-stream"] * 2]


def test_encryption_is_asked_for_at_every_object(server: S3Server, budget: Budget) -> None:
    options = S3Options(
        endpoint=server.endpoint, path_style=True, sse="aws:kms", sse_kms_key_id="key-1"
    )
    store = open_store("s3://bucket", budget, options)
    write(store, LARGE)
    store.put("checkpoint.json", b"{}")
    store.close()
    encrypted = {
        operation
        for operation, headers in server.headers
        if headers.get("x-amz-server-side-encryption") == "aws:kms"
        and headers.get("x-amz-server-side-encryption-aws-kms-key-id") == "key-1"
    }
    assert encrypted == {"CreateMultipartUpload", "PutObject"}


def test_a_store_that_nobody_answers_for_is_unavailable(budget: Budget) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    options = S3Options(endpoint=f"http://user:the-secret@127.0.0.1:{port}", deadline=0)
    store = open_store("s3://bucket", budget, options)
    with pytest.raises(StoreUnavailable, match=f"no connection to 127.0.0.1:{port}") as raised:
        store.put("checkpoint.json", b"{}")
    assert "the-secret" not in str(raised.value)
    store.close()


def test_missing_credentials_are_said(
    server: S3Server, budget: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    store = open_store("s3://bucket", budget, S3Options(endpoint=server.endpoint))
    with pytest.raises(StoreRefused, match="no credentials") as raised:
        store.put("checkpoint.json", b"{}")
    assert "AWS_ACCESS_KEY_ID" in raised.value.remedy
    store.close()


def test_half_of_the_credentials_are_said_at_once(
    budget: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StoreRefused, match="no credentials"):
        open_store("s3://bucket", budget, S3Options(endpoint="http://127.0.0.1:1"))


def test_a_store_without_tls_where_https_is_asked_for_is_unavailable(
    server: S3Server, budget: Budget
) -> None:
    endpoint = server.endpoint.replace("http:", "https:")
    store = open_store("s3://bucket", budget, S3Options(endpoint=endpoint, deadline=0))
    with pytest.raises(StoreUnavailable, match="SSLError"):
        store.put("checkpoint.json", b"{}")
    store.close()


def test_a_certificate_that_does_not_verify_is_refused(budget: Budget, tmp_path: Path) -> None:
    with s3_server(make_certificates(tmp_path)) as server:
        store = open_store("s3://bucket", budget, S3Options(endpoint=server.endpoint))
        with pytest.raises(StoreRefused, match="does not verify") as raised:
            store.put("checkpoint.json", b"{}")
        assert "AWS_CA_BUNDLE" in raised.value.remedy
        store.close()


def test_objects_go_over_tls_with_their_checksums_in_headers(
    budget: Budget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates = make_certificates(tmp_path)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificates.ca_file))
    with s3_server(certificates) as server:
        options = S3Options(endpoint=server.endpoint, path_style=True)
        store = open_store("s3://bucket", budget, options)
        assert write(store, LARGE) is None
        assert b"".join(store.read("part-1")) == LARGE
        store.close()
        parts = [headers for operation, headers in server.headers if operation == "UploadPart"]
    assert all("x-amz-checksum-crc32" in headers for headers in parts)
    assert not any("aws-chunked" in str(headers) for headers in parts)


def test_an_answer_that_is_none_of_s3_is_unavailable(store: Store, server: S3Server) -> None:
    server.fail("PutObject", *[Fault(502, "<html>")] * 2)
    store.put("checkpoint.json", b"{}")
    assert len(server.operations) == 3


def test_the_clock_of_a_store_that_was_never_asked_is_asked_for(
    server: S3Server, budget: Budget
) -> None:
    store = open_store("s3://bucket", budget, S3Options(endpoint=server.endpoint))
    assert abs(store.now() - datetime.now(UTC)) < timedelta(minutes=1)
    assert len(server.operations) == 1
    store.close()


def test_a_clock_that_can_not_be_asked_is_unavailable(budget: Budget) -> None:
    store = open_store("s3://bucket", budget, S3Options(endpoint="http://127.0.0.1:1", deadline=0))
    with pytest.raises(StoreUnavailable):
        store.now()
    assert store.probe().clock_skew == 0
    store.close()


def test_the_stores_clock_is_known_from_any_answer(store: Store, server: S3Server) -> None:
    store.put("checkpoint.json", b"{}")
    before = len(server.operations)
    store.now()
    assert len(server.operations) == before


class Answers:
    """A bucket that is answered at times of the test's choice, by a clock in whole seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
        self.seconds = 1000.0
        self.clock = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)  # by the store, at 1000 s of ours
        monkeypatch.setattr(bucket, "time", SimpleNamespace(monotonic=lambda: self.seconds))
        self.bucket = bucket.Bucket("b", S3Options(endpoint="http://127.0.0.1:1"), lambda: False)

    def told(self, after: float, late: float = 0.0) -> datetime:
        """The store's clock as it is told by an answer that much later, which took so long."""
        self.seconds += after
        dated = self.truth() - timedelta(seconds=late)
        headers = {"date": format_datetime(dated, usegmt=True)}
        self.bucket._note_date({"ResponseMetadata": {"HTTPHeaders": headers}})
        return self.bucket.now()

    def truth(self) -> datetime:
        return self.clock + timedelta(seconds=self.seconds - 1000)


def test_the_stores_clock_does_not_go_back_with_each_answers_whole_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = Answers(monkeypatch)
    told = [answers.told(after) for after in (0.9, 0.004, 0.09, 0.01, 0.9, 0.05, 0.2)]
    told.append(answers.told(31, late=20))
    assert told == sorted(set(told))
    assert timedelta() <= answers.truth() - told[-1] < timedelta(seconds=0.1)


def test_a_clock_that_the_store_set_back_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = Answers(monkeypatch)
    answers.told(1)
    answers.clock -= timedelta(days=30)
    assert abs(answers.told(1) - answers.truth()) < timedelta(seconds=1)


def test_a_stores_clock_that_runs_slower_than_ours_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = Answers(monkeypatch)
    answers.told(0)
    answers.clock -= timedelta(seconds=5)
    assert answers.told(500) > answers.truth()
    assert answers.told(500) <= answers.truth()


def test_a_probe_of_a_store_that_does_not_answer_waits_for_it_once(budget: Budget) -> None:
    store = open_store("s3://bucket", budget, S3Options(endpoint="http://127.0.0.1:1", deadline=0))
    probe = store.probe()
    assert list(probe.steps) == ["write"]
    assert probe.checksums is None
    assert isinstance(probe.steps["write"], StoreUnavailable)
    assert not probe.usable
    store.close()


def test_a_probe_of_a_store_that_takes_wrong_checksums_says_so(
    store: Store, server: S3Server
) -> None:
    probe = store.probe()
    assert probe.checksums is False
    assert server.objects == {}


def test_checksums_are_left_out_as_long_as_probes_find_them_refused(
    store: Store, server: S3Server
) -> None:
    server.fail("PutObject", Fault(501, "NotImplemented"))
    assert store.probe().steps["write"] is None
    server.headers.clear()
    write(store, LARGE)
    assert not any("checksum" in str(headers).lower() for _, headers in server.headers)
    assert store.probe().steps["write"] is None
    server.headers.clear()
    write(store, LARGE)
    assert any("checksum" in str(headers).lower() for _, headers in server.headers)


def test_a_probe_names_what_is_not_allowed(store: Store, server: S3Server) -> None:
    server.fail("DeleteObject", Fault(403, "AccessDenied"))
    probe = store.probe()
    assert not probe.usable
    assert isinstance(probe.steps["delete"], StoreRefused)
    assert probe.steps["write"] is None
