"""The mailboxes that values keep: what the Job applies, with which secrets, and when."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from ingest.cli.declared import read
from ingest.errors import RegistryError, SettingsError, SignInRefused, StateError, StoreError
from tests.chart.pods import APPLY, container, pod_of
from tests.chart.render import Object, Values, only, render, scenario
from tests.chart.selectors import allowed_ports

SECRETS = "/run/secrets/mailboxes"


def mailboxes(change: dict[str, Any]) -> Values:
    return scenario("declared-mailboxes", {"mailboxes": change})


def mounts(objects: list[Object], component: str) -> dict[str, Object]:
    """The volumes of a pod's container, by where they are mounted."""
    pod = pod_of(objects, component)
    volumes = {each["name"]: each for each in pod["volumes"]}
    (main,) = pod["containers"]
    return {each["mountPath"]: volumes[each["name"]] for each in main["volumeMounts"]}


def test_the_job_runs_after_every_installation_upgrade_and_rollback() -> None:
    job = only(render(scenario("declared-mailboxes")), "Job")
    assert job["metadata"]["annotations"] == {
        "helm.sh/hook": "post-install,post-upgrade,post-rollback",
        "helm.sh/hook-delete-policy": "before-hook-creation",
    }
    assert job["spec"]["activeDeadlineSeconds"] == 1800


def test_without_mailboxes_there_is_no_job() -> None:
    assert not [each for each in render(scenario("default")) if each["kind"] == "Job"]


def test_the_product_understands_what_the_values_declare() -> None:
    objects = render(scenario("declared-mailboxes"))
    text = only(objects, "ConfigMap", "-mailboxes")["data"]["mailboxes.json"]
    wanted, wrong = read(text.encode())
    assert not wrong
    assert [(each.name, each.username, each.tls, each.port) for each in wanted] == [
        ("orders", "orders@example.org", "implicit", 995),
        ("support", "support", "starttls", 1110),
        ("legacy", "legacy", "none", 110),
    ]
    orders, support, legacy = wanted
    assert (orders.password, orders.delete, orders.tenant) == (
        f"file:{SECRETS}/mailbox-passwords/orders",
        "after 7d",
        "shop",
    )
    assert support.ca_file == "/etc/mail-ingest/authorities/ca.crt"
    assert (legacy.password, legacy.paused) == ("env:LEGACY_PASSWORD", "moving house")


def test_the_job_reads_what_it_is_given_and_says_whose_it_is() -> None:
    objects = render(scenario("declared-mailboxes"))
    arguments = list(container(objects, APPLY).arguments)
    assert arguments == [
        *("mailbox", "apply", "/etc/mail-ingest/declared/mailboxes"),
        *("--source", "release mail/orders", "--prune", "--test"),
    ]
    assert mounts(objects, APPLY)["/etc/mail-ingest/declared"]["configMap"] == {
        "name": "orders-mail-ingest-mailboxes",
        "items": [{"key": "mailboxes.json", "path": "mailboxes"}],
    }


def test_a_file_of_ones_own_is_applied_instead() -> None:
    objects = render(scenario("external-secrets"))
    assert mounts(objects, APPLY)["/etc/mail-ingest/declared"]["secret"] == {
        "secretName": "mail-ingest-mailboxes",
        "defaultMode": 0o440,
        "items": [{"key": "mailboxes.yaml", "path": "mailboxes"}],
    }
    assert container(objects, APPLY).arguments[-1] == "--adopt"
    values = mailboxes({"declared": [], "existingConfigMap": {"name": "ours", "key": "all.json"}})
    assert mounts(render(values), APPLY)["/etc/mail-ingest/declared"]["configMap"] == {
        "name": "ours",
        "items": [{"key": "all.json", "path": "mailboxes"}],
    }


def test_poll_workers_get_each_secret_with_passwords_once_and_the_job_only_if_it_signs_in() -> None:
    def secrets(test: bool, component: str) -> set[str]:  # noqa: FBT001 - of the values
        objects = render(mailboxes({"test": test}))
        found = mounts(objects, component).items()
        return {volume["secret"]["secretName"] for at, volume in found if at.startswith(SECRETS)}

    both = {"mailbox-passwords", "by-hand"}
    assert secrets(True, "poll") == secrets(False, "poll") == secrets(True, APPLY) == both
    assert secrets(False, APPLY) == secrets(True, "relay") == set()


def test_the_last_mailbox_can_be_taken_out() -> None:
    objects = render(mailboxes({"declared": []}))
    text = only(objects, "ConfigMap", "-mailboxes")["data"]["mailboxes.json"]
    assert json.loads(text) == {"mailboxes": []}


def test_the_job_is_tried_again_only_where_that_can_help() -> None:
    (rule,) = only(render(scenario("declared-mailboxes")), "Job")["spec"]["podFailurePolicy"][
        "rules"
    ]
    final = set(rule["onExitCodes"]["values"])
    assert {each.exit_code for each in (SettingsError, RegistryError, SignInRefused)} <= final
    assert not {each.exit_code for each in (StateError, StoreError)} & final


@pytest.mark.parametrize(
    ("test", "ports"), [(True, {53, 6379, 443, 110, 995}), (False, {53, 6379, 443})]
)
def test_the_job_may_connect_to_what_it_needs(test: bool, ports: set[int]) -> None:  # noqa: FBT001 - of the values
    objects = render(mailboxes({"test": test}))
    assert allowed_ports(objects, APPLY) == ports


def test_declarations_of_many_mailboxes_fit_into_a_config_map() -> None:
    declared = [
        {
            "name": f"mailbox-{number}",
            "address": f"pop3s://mailbox-{number}%40customers.example.org@pop.example.org",
            "passwordFrom": {"secret": "mailbox-passwords", "key": f"mailbox-{number}"},
        }
        for number in range(4000)
    ]
    objects = render(mailboxes({"declared": declared}))
    assert len(yaml.safe_dump(only(objects, "ConfigMap", "-mailboxes"))) < 2**20
