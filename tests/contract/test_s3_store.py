"""What only S3 has: credentials, buckets, prefixes, checksums. Held against SeaweedFS."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest

from ingest.errors import StoreRefused
from ingest.objects.budget import BLOCK, Budget
from ingest.objects.open import open_store
from ingest.objects.options import S3Options
from ingest.objects.probe import Store
from tests.servers.seaweedfs import SeaweedFs


@pytest.fixture
def opened(seaweedfs: SeaweedFs, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Store]]:
    for name, value in seaweedfs.environment.items():
        monkeypatch.setenv(name, value)
    stores: list[Store] = []

    def opened(place: str, **options: str) -> Store:
        reached = S3Options(endpoint=seaweedfs.endpoint, path_style=True, deadline=0, **options)  # type: ignore[arg-type]  # texts only
        stores.append(open_store(f"s3://{place}", Budget(2 * BLOCK), reached))
        return stores[-1]

    yield opened
    for store in stores:
        store.close()


def prefix(seaweedfs: SeaweedFs) -> str:
    return f"{seaweedfs.bucket}/{uuid.uuid4().hex}"


def test_a_store_that_refuses_wrong_checksums_is_known_by_its_probe(
    seaweedfs: SeaweedFs, opened: Callable[..., Store]
) -> None:
    probe = opened(prefix(seaweedfs)).probe()
    assert probe.checksums is True
    assert probe.usable


def test_a_wrong_secret_key_is_said(
    seaweedfs: SeaweedFs, opened: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    store = opened(prefix(seaweedfs))
    with pytest.raises(StoreRefused, match="secret key does not fit"):
        store.put("checkpoint.json", b"{}")
    assert not store.probe().usable


def test_an_unknown_access_key_is_said(
    seaweedfs: SeaweedFs, opened: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "unknown")
    with pytest.raises(StoreRefused, match="access key is unknown"):
        opened(prefix(seaweedfs)).put("checkpoint.json", b"{}")


def test_a_missing_bucket_is_said(opened: Callable[..., Store]) -> None:
    with pytest.raises(StoreRefused, match="no such bucket"):
        list(opened("no-such-bucket").list(""))


def test_prefixes_of_one_bucket_are_apart(
    seaweedfs: SeaweedFs, opened: Callable[..., Store]
) -> None:
    shared = prefix(seaweedfs)
    one, other = opened(shared + "/one"), opened(shared + "/one-more")
    one.put("part-1", b"1")
    other.put("part-2", b"2")
    assert [found.key for found in one.list("")] == ["part-1"]
    assert [found.key for found in other.list("")] == ["part-2"]
    with other.create("part-3") as writer:
        writer.write(bytes(BLOCK + 1))
        writer.write(b"x")
        assert one.abort_uploads(one.now().replace(year=2100)) == 0


def test_an_object_is_where_its_address_says(
    seaweedfs: SeaweedFs, opened: Callable[..., Store]
) -> None:
    store = opened(prefix(seaweedfs), sse="AES256")
    with store.create("part-1", "image/png") as writer:
        writer.write(b"octets")
        writer.commit().result(30)
    key = store.uri("part-1").removeprefix(f"s3://{seaweedfs.bucket}/")
    answer = seaweedfs.client().get_object(Bucket=seaweedfs.bucket, Key=key)
    assert answer["Body"].read() == b"octets"
    assert answer["ContentType"] == "image/png"
    assert answer["ServerSideEncryption"] == "AES256"
