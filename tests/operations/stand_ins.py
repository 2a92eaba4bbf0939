"""Programs that a guide uses and that a test's machine may lack, as far as the guide uses them.

    python -m tests.operations.stand_ins redis-cli -u URL [--scan --pattern PATTERN | COMMAND ...]
    python -m tests.operations.stand_ins aws s3 sync [--delete] SOURCE TARGET

`aws` finds the store by boto3's own variables.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
from redis import Redis

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectTypeDef


def redis_cli(option: str, url: str, *command: str) -> None:
    """What it prints where its output is no terminal."""
    assert option == "-u"
    with Redis.from_url(url) as client:
        if command[0] == "--scan":
            _, pattern = command[1:]
            for key in client.scan_iter(pattern):
                print(key.decode())  # noqa: T201 - what it is for
        else:
            answer: Any = client.execute_command(*command)
            print(answer.decode() if isinstance(answer, bytes) else answer)  # noqa: T201 - likewise


def aws(service: str, command: str, *arguments: str) -> None:
    """Copy what the target lacks, or has with another size or from before."""
    assert (service, command) == ("s3", "sync")
    client = boto3.client("s3")
    source, target = (urlsplit(place) for place in arguments[-2:])
    here = dict(_listed(client, source.netloc, source.path.strip("/")))
    there = dict(_listed(client, target.netloc, target.path.strip("/")))
    for key, each in here.items():
        old = there.get(key)
        if old and old["Size"] == each["Size"] and old["LastModified"] >= each["LastModified"]:
            continue
        client.copy_object(
            Bucket=target.netloc,
            Key=f"{target.path.strip('/')}/{key}",
            CopySource={"Bucket": source.netloc, "Key": f"{source.path.strip('/')}/{key}"},
        )
    for key in (there.keys() - here.keys()) if "--delete" in arguments else ():
        client.delete_object(Bucket=target.netloc, Key=f"{target.path.strip('/')}/{key}")


def _listed(client: S3Client, bucket: str, prefix: str) -> list[tuple[str, ObjectTypeDef]]:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/")
    return [
        (item["Key"].removeprefix(f"{prefix}/"), item)
        for page in pages
        for item in page.get("Contents", ())
    ]


if __name__ == "__main__":
    {"redis-cli": redis_cli, "aws": aws}[sys.argv[1]](*sys.argv[2:])
