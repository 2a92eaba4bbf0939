"""What may be in the values, what is said of them, and that both are true."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from helm_python import Chart, HelmError

import ingest
from ingest.bootstrap import MOST_BATCHES
from ingest.isolation import MEMORY_OCTETS, MOST_CHILDREN
from ingest.settings import Settings
from tests.chart.kinds import VERSIONS
from tests.chart.readme import README, readme
from tests.chart.render import (
    DIRECTORY,
    NAMESPACE,
    Values,
    chart,
    notes,
    only,
    overlaid,
    render,
    scenario,
)
from tests.chart.values import Documented, documented

# Settings that other values stand for.
ELSEWHERE = {
    *("home", "redis_url", "events_url", "keys", "keys_file", "concurrency"),
    *("metrics_port", "beat_port"),
    *("store", "s3_endpoint", "s3_region", "s3_path_style", "s3_sse", "s3_sse_kms_key_id"),
}
# What an example needs beside it.
COMPANIONS: dict[str, Values] = {
    "redis.url": {"redis": {"existingSecret": {"name": ""}}},
    "events.url": {"events": {"existingSecret": {"name": ""}}},
    "valkey.enabled": {"redis": {"existingSecret": {"name": ""}}},
    "mailboxes.declared": {"mailboxes": {"enabled": True}},
    "mailboxes.existingConfigMap.name": {"mailboxes": {"enabled": True}},
    "mailboxes.existingSecret.name": {"mailboxes": {"enabled": True}},
}

SECRET = "hunter2"
ORDERS = {"name": "orders", "address": "pop3s://orders@pop.example.org", "password": "env:ORDERS"}

every_key = [each for each in documented() if not each.parent]


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"storage": {}}, "additional properties 'storage' not allowed"),
        ({"store": {"bucket": "mail"}}, "at '/store': additional properties 'bucket' not allowed"),
        ({"workers": {"pool": {}}}, "at '/workers': additional properties 'pool' not allowed"),
        ({"workers": {"maintenance": {"autoscaling": {}}}}, "properties 'autoscaling' not allowed"),
        ({"workers": {"poll": {"replicas": "2"}}}, "replicas': got string, want integer"),
        ({"workers": {"poll": {"replicas": -1}}}, "replicas': minimum: got -1, want 0"),
        ({"workers": {"poll": {"autoscaling": {"minReplicas": 0}}}}, "minimum: got 0, want 1"),
        (
            {"autoscaling": {"engine": ["hpa", "keda"]}},
            "engine': value must be one of 'none', 'hpa'",
        ),
        (
            {"autoscaling": {"engine": "both"}},
            "engine': value must be one of 'none', 'hpa', 'keda'",
        ),
        ({"autoscaling": {"hpa": {}, "keda": {}}}, "additional properties 'hpa' not allowed"),
        ({"settings": {"INGEST_POLL_SECOND": 1}}, "'INGEST_POLL_SECOND' not allowed"),
        ({"settings": {"INGEST_REDIS_URL": "x"}}, "'INGEST_REDIS_URL' not allowed"),
        ({"settings": {"INGEST_POLL_SECONDS": "30"}}, "got string, want integer"),
        ({"settings": {"INGEST_POLL_SECONDS": 0}}, "minimum: got 0, want 1"),
        ({"settings": {"INGEST_LOG_LEVEL": "loud"}}, "value must be one of"),
        ({"settings": {"INGEST_GRACE_SECONDS": None}}, "missing property 'INGEST_GRACE_SECONDS'"),
        (
            {"extraEnv": [{"name": "INGEST_GRACE_SECONDS", "value": "9"}]},
            "/extraEnv/0/name': 'not'",
        ),
        ({"extraEnv": {"A": "b"}}, "'/extraEnv': got object, want array"),
        ({"store": {"url": "mail"}}, "/store/url': 'mail' does not match pattern"),
        ({"store": {"url": "gs://mail"}}, "/store/url': 'gs://mail' does not match pattern"),
        ({"store": {"sse": "aws"}}, "/store/sse': value must be one of '', 'AES256', 'aws:kms'"),
        ({"redis": {"url": "localhost"}}, "/redis/url': 'localhost' does not match pattern"),
        ({"redis": {"existingSecret": "redis"}}, "existingSecret': got string, want object"),
        ({"image": {"digest": "latest"}}, "/image/digest': 'latest' does not match pattern"),
        ({"image": {"pullPolicy": "always"}}, "pullPolicy': value must be one of 'Always'"),
        ({"podSecurity": {"runAsUser": 0}}, "/podSecurity/runAsUser': minimum: got 0, want 1"),
        ({"podSecurity": {"privileged": True}}, "additional properties 'privileged' not allowed"),
        ({"podDisruptionBudget": {"maxUnavailable": 0}}, "maxUnavailable"),
        ({"fullnameOverride": "Mail"}, "/fullnameOverride': 'Mail' does not match pattern"),
        ({"fullnameOverride": "m" * 41}, "maxLength: got 41, want 40"),
        ({"nodeSelector": {"disk": True}}, "/nodeSelector/disk': got boolean, want string"),
        ({"networkPolicy": {"egress": {"pop3": []}}}, "additional properties 'pop3' not allowed"),
        ({"valkey": {"enabled": "yes"}}, "/valkey/enabled': got string, want boolean"),
        ({"image": {"repository": ""}}, "image.repository is empty: build deploy/Dockerfile"),
        ({"store": {"url": ""}}, "store.url is empty: say where mail is kept"),
        ({"redis": {"url": ""}}, "there is no Redis: set redis.existingSecret.name or redis.url"),
        ({"valkey": {"enabled": True}}, "redis.url and valkey.enabled are set, but there is one"),
        (
            {"events": {"url": "redis://a", "existingSecret": {"name": "b"}}},
            "events.url and events.existingSecret.name are set: keep one of them",
        ),
        ({"store": {"sseKmsKeyId": "key"}}, "sseKmsKeyId is set, but store.sse is not aws:kms"),
        ({"autoscaling": {"engine": "keda"}}, "needs autoscaling.keda.serverAddress"),
        (
            {"authorities": {"existingConfigMap": {"name": "a"}, "existingSecret": {"name": "b"}}},
            "authorities.existingConfigMap.name and authorities.existingSecret.name are set",
        ),
        ({"authorities": {"trustedFor": "redis"}}, "trustedFor': value must be one of 'store'"),
        ({"extraManifests": [{"kind": "Secret"}]}, "/extraManifests/0': missing properties"),
        (
            {"workers": {"relay": {"autoscaling": {"minReplicas": 9}}}},
            "workers.relay.autoscaling.minReplicas is more than its maxReplicas",
        ),
    ],
)
def test_wrong_values_are_refused_and_named(values: Values, complaint: str) -> None:
    with pytest.raises(HelmError) as refused:
        render(scenario("default", values))
    assert complaint in str(refused.value)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"enabled": False}, "mailboxes.declared is set, but mailboxes.enabled is false"),
        ({"existingSecret": {"name": "a"}}, "declared and mailboxes.existingSecret.name are set"),
        ({"declared": {"orders": {}}}, "/mailboxes/declared': got object, want array"),
        ({"declared": [{"address": "pop3s://a@b"}]}, "missing property 'name'"),
        ({"declared": [ORDERS | {"pasword": "env:A"}]}, "properties 'pasword' not allowed"),
        ({"declared": [ORDERS | {"delete": "soon"}]}, "/declared/0/delete': 'soon' does not match"),
        ({"declared": [ORDERS | {"address": "imap://a@b"}]}, "address': 'imap://a@b' does not"),
        (
            {"declared": [ORDERS | {"address": f"pop3s://a:{SECRET}@b"}]},
            'the address of "orders" is not pop3s://USER@HOST or pop3://USER@HOST, without',
        ),
        ({"declared": [ORDERS | {"password": SECRET}]}, 'the password of "orders" is not env:NAME'),
        (
            {"declared": [ORDERS | {"passwordFrom": {"secret": "a", "key": "b"}}]},
            '"orders" needs one of password and passwordFrom',
        ),
        (
            {"declared": [{"name": "a", "address": "pop3s://a@b"}]},
            '"a" needs one of password and passwordFrom',
        ),
        ({"declared": [ORDERS, ORDERS | {"name": "Orders"}]}, '"Orders" stands there twice'),
    ],
)
def test_wrong_mailboxes_are_refused_and_named_without_what_may_be_a_password(
    change: Values, complaint: str
) -> None:
    with pytest.raises(HelmError) as refused:
        render(scenario("default", {"mailboxes": {"enabled": True, "declared": [ORDERS]} | change}))
    assert complaint in str(refused.value)
    assert SECRET not in str(refused.value)


def test_the_defaults_say_what_is_missing_all_at_once() -> None:
    with pytest.raises(HelmError) as refused:
        render({})
    assert str(refused.value).count("\n  - ") == 3


def test_a_chart_above_this_one_may_share_its_globals() -> None:
    assert render(scenario("default", {"global": {"region": "eu"}}))


@pytest.mark.parametrize("key", every_key, ids=lambda key: ".".join(key.path))
def test_every_value_is_explained_and_its_example_works(key: Documented) -> None:
    name = ".".join(key.path)
    assert len(key.prose) > 10
    assert key.prose.endswith((".", "KEY"))
    base = scenario("existing-secrets", scenario("keda"), {"redis": {"url": ""}})
    values = overlaid(overlaid(base, COMPANIONS.get(name, {})), key.example_values)

    render(values)

    given = key.example_values
    for step in key.path:
        given = given[step]
    assert given != key.default


def test_the_readme_is_current() -> None:
    assert README.read_text() == readme(), "make it anew: python -m tests.chart.readme"


def test_every_value_has_a_place_in_the_schema_and_nothing_else_has() -> None:
    schema = json.loads((DIRECTORY / "values.schema.json").read_text())
    keys = {".".join(each.path) for each in every_key}
    assert keys == set(_leaves(schema, schema)) - _undocumented(schema)


def _leaves(schema: Mapping[str, Any], root: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """The keys that the schema names, down to where the documentation has one example."""
    if reference := schema.get("$ref"):
        schema = root["$defs"][reference.rpartition("/")[2]]
    examples = {".".join(each.path) for each in every_key}
    if above in examples or not schema.get("properties"):
        yield above
        return
    for name, inner in schema["properties"].items():
        yield from _leaves(inner, root, f"{above}.{name}".strip("."))


def _undocumented(schema: Mapping[str, Any]) -> set[str]:
    """Settings are documented by the project, `global` by Helm."""
    settings = {f"settings.{name}" for name in schema["properties"]["settings"]["properties"]}
    return {"global", *settings - {"settings.INGEST_GRACE_SECONDS"}}


def test_settings_are_those_of_the_product() -> None:
    schema = json.loads((DIRECTORY / "values.schema.json").read_text())
    expected = {}
    for field in msgspec.structs.fields(Settings):
        if field.name not in ELSEWHERE:
            rules = msgspec.json.schema(field.type)
            kept = ("enum",) if "enum" in rules else ("type", "minimum", "maximum")
            expected[f"INGEST_{field.name.upper()}"] = {
                rule: rules[rule] for rule in kept if rule in rules
            }
    assert schema["properties"]["settings"]["properties"] == expected


def test_values_of_a_file_mean_the_same_as_those_given(tmp_path: Path) -> None:
    # Helm reads a file's numbers as floats, and large ones would print as 8.59e+09.
    given = scenario("existing-secrets")
    copied = shutil.copytree(DIRECTORY, tmp_path / "chart")
    (copied / "values.yaml").write_text(yaml.safe_dump(overlaid(chart().values, given)))
    with Chart.load(copied) as loaded:
        rendered = loaded.render({}, name="orders", namespace=NAMESPACE)

    settings = rendered["mail-ingest/templates/settings.yaml"]
    assert yaml.safe_load(settings) == only(render(given), "ConfigMap")
    assert "8589934592" in settings


@pytest.mark.parametrize(("given", "text"), [(0.25, "0.25"), (0, "0"), (1, "1")])
def test_a_share_is_passed_on_as_it_is(given: float, text: str) -> None:
    objects = render(scenario("default", {"settings": {"INGEST_LOG_SAMPLE": given}}))
    assert only(objects, "ConfigMap")["data"]["INGEST_LOG_SAMPLE"] == text


def test_defaults_agree_with_the_product() -> None:
    defaults = chart().values
    assert defaults["settings"] == {"INGEST_GRACE_SECONDS": Settings(home="").grace_seconds}
    assert defaults["workers"]["poll"]["concurrency"] == Settings(home="").concurrency
    assert chart().metadata["kubeVersion"] == f">={VERSIONS[0]}.0-0"
    assert chart().metadata["appVersion"] == ingest.__version__


def test_the_memory_limit_of_a_poll_worker_is_enough_for_the_worst() -> None:
    product, poll = Settings(home=""), chart().values["workers"]["poll"]
    worst = (
        128 * 2**20  # what a worker has at rest, threads and connections included
        + product.buffer_octets
        + (poll["concurrency"] + MOST_BATCHES) * product.batch_octets
        + MOST_CHILDREN * MEMORY_OCTETS
    )
    assert worst <= octets(poll["resources"]["limits"]["memory"]) < 1.25 * worst
    prose = next(each for each in every_key if each.path == ("workers", "poll", "resources")).prose
    for term in (
        f"INGEST_BUFFER_OCTETS ({product.buffer_octets // 2**20} MiB)",
        f"INGEST_BATCH_OCTETS ({product.batch_octets // 2**20} MiB) for each thread",
        f"{MOST_BATCHES} times more",
        f"{MEMORY_OCTETS // 2**20} MiB for each of the two processes",
    ):
        assert term in prose
    assert MOST_CHILDREN == 2


def octets(quantity: str) -> int:
    """A quantity of memory as Kubernetes writes it."""
    return int(quantity[:-2]) * {"Mi": 2**20, "Gi": 2**30}[quantity[-2:]]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("default", "There is nothing yet to seal passwords with"),
        ("existing-secrets", "deployment/orders-mail-ingest-poll -- \\\n       ingest mailbox add"),
        ("existing-secrets", "helm test orders --namespace mail --logs"),
        ("embedded-valkey", "The embedded Valkey is for trying things out"),
        ("hpa", "external.metrics.k8s.io"),
        ("declared-mailboxes", "kubectl --namespace mail logs job/orders-mail-ingest-apply"),
    ],
)
def test_notes_tell_what_to_do_next(name: str, told: str) -> None:
    assert told in notes(scenario(name))


def test_notes_show_how_to_use_a_password_that_is_a_file() -> None:
    told = notes(scenario("default", {"passwords": {"existingSecrets": ["orders-mailbox"]}}))
    assert "--password-ref file:/run/secrets/mailboxes/orders-mailbox/KEY" in told
