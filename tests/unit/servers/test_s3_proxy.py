"""The proxy that makes a store fail."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, ResponseStreamingError

from tests.servers.s3_proxy import Fault, S3Proxy, error, s3_proxy
from tests.servers.seaweedfs import BUCKET, SeaweedFs

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@pytest.fixture
def proxy(seaweedfs: SeaweedFs) -> Iterator[S3Proxy]:
    with s3_proxy(seaweedfs.endpoint) as made:
        yield made


@pytest.fixture
def client(seaweedfs: SeaweedFs, proxy: S3Proxy) -> Iterator[S3Client]:
    with contextlib.closing(seaweedfs._replace(endpoint=proxy.endpoint).client()) as made:
        yield made


def put(client: S3Client, key: str, body: bytes = b"x") -> str:
    return client.put_object(Bucket=BUCKET, Key=key, Body=body)["ETag"]


def read(client: S3Client, key: str) -> bytes:
    return client.get_object(Bucket=BUCKET, Key=key)["Body"].read()


def test_without_faults_all_goes_through_and_signatures_hold(
    client: S3Client, proxy: S3Proxy
) -> None:
    put(client, "proxied/a b", b"whole")
    assert read(client, "proxied/a b") == b"whole"
    assert client.list_objects_v2(Bucket=BUCKET, Prefix="proxied/a")["KeyCount"] == 1
    client.delete_object(Bucket=BUCKET, Key="proxied/a b")
    assert proxy.struck == 0


def test_a_fault_befalls_the_operation_and_the_key_as_often_as_it_should(
    client: S3Client, proxy: S3Proxy
) -> None:
    proxy.strike("put_object", error(503, "SlowDown"), key="mine", times=2)
    put(client, "proxied/other")
    for _ in range(2):
        with pytest.raises(ClientError, match="SlowDown"):
            put(client, "proxied/mine")
    assert put(client, "proxied/mine")
    assert proxy.struck == 2


def test_the_store_may_have_done_what_is_not_answered(client: S3Client, proxy: S3Proxy) -> None:
    proxy.strike("put_object", Fault(passed=True, reset=True))
    with pytest.raises(ConnectionClosedError):
        put(client, "proxied/done", b"done")
    proxy.strike("put_object", Fault(reset=True))
    proxy.heal()
    assert read(client, "proxied/done") == b"done"


def test_an_answer_may_break_off(client: S3Client, proxy: S3Proxy) -> None:
    put(client, "proxied/long", b"0123456789")
    proxy.strike("get_object", Fault(octets=4), times=1)
    with pytest.raises(ResponseStreamingError, match="4 bytes read, 6 more expected"):
        read(client, "proxied/long")
    assert read(client, "proxied/long") == b"0123456789"
