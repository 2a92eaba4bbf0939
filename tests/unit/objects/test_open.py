from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ingest.errors import SettingsError
from ingest.objects.budget import BLOCK, Budget
from ingest.objects.directory import DirectoryStore
from ingest.objects.open import open_store
from ingest.objects.options import S3Options


@pytest.fixture
def budget() -> Budget:
    return Budget(BLOCK)


def test_a_file_url_opens_a_directory(budget: Budget, tmp_path: Path) -> None:
    store = open_store((tmp_path / "a store").as_uri(), budget)
    assert isinstance(store, DirectoryStore)
    assert store.uri("checkpoint.json") == (tmp_path / "a store" / "checkpoint.json").as_uri()


def test_an_s3_url_opens_a_bucket_with_a_prefix(budget: Budget) -> None:
    store = open_store("s3://bucket/a/b/", budget, S3Options(endpoint="http://127.0.0.1:1"))
    assert store.uri("checkpoint.json") == "s3://bucket/a/b/checkpoint.json"
    store.close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/directory",
        "file://",
        "file:///",
        "file://otherhost/directory",
        "s3://",
        "s3:///prefix",
        "s3://Bucket",
        "s3://user:word@bucket",
        "s3://bucket/pre fix",
        "s3://bucket/../x",
        "s3://bucket?region=x",
        "s3://[x",
        "file:///a%00b",
        "https://bucket.host",
    ],
)
def test_other_urls_are_wrong_settings(budget: Budget, url: str) -> None:
    with pytest.raises(SettingsError, match="INGEST_STORE") as raised:
        open_store(url, budget)
    assert raised.value.remedy
    assert "word" not in str(raised.value)


def test_an_endpoint_that_is_none_is_a_wrong_setting(budget: Budget) -> None:
    with pytest.raises(SettingsError, match="can't be addressed"):
        open_store("s3://bucket", budget, S3Options(endpoint="no url"))


def test_a_directory_store_loads_no_boto3() -> None:
    script = (
        "import sys; from ingest.objects.open import open_store; "
        "from ingest.objects.budget import Budget, BLOCK; "
        "open_store('file:///nowhere', Budget(BLOCK)); "
        "sys.exit('boto3' in sys.modules or 'botocore' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
