"""What the chart makes of every scenario in helm/mail-ingest/ci."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from helm_python.chart import lint

from ingest.observability import metrics
from ingest.settings import from_environment
from ingest.tasks.app import MAINTENANCE, POLL, RELAY
from tests.chart.kinds import VERSIONS, check
from tests.chart.pods import COMPONENTS, WORKERS, components, container, pod_of
from tests.chart.render import (
    DIRECTORY,
    NAMESPACE,
    SCENARIOS,
    Object,
    only,
    pod_specs,
    render,
    scenario,
)
from tests.chart.selectors import COMPONENT, allowed_ports, of_kind, pod_labels, selected

WARNING = 2  # Helm's severities: 1 is a mere hint, as that an icon would be nice
LONGEST = "a-release-with-a-name-that-is-as-long-as-helm-permits"
INSTANCE = "app.kubernetes.io/instance"
DUE_LAG, OUTBOX = "mail_ingest_due_lag_seconds", "mail_ingest_outbox_depth"
WAITING = "mail_ingest_waiting_octets"

every_scenario = pytest.mark.parametrize("name", SCENARIOS)


@every_scenario
def test_helm_has_nothing_to_say_against_it(name: str) -> None:
    found = lint(DIRECTORY, scenario(name), strict=True, kube_version=f"v{VERSIONS[0]}.0")

    assert not found["errors"]
    assert not [each for each in found["messages"] if each["severity"] >= WARNING]


@every_scenario
def test_kubernetes_takes_every_object(name: str) -> None:
    for each in render(scenario(name)):
        for version in VERSIONS:
            check(each, version)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"kind": "Deploiment"}, "has no apps/v1 Deploiment"),
        ({"apiVersion": "apps/v3"}, "has no apps/v3 Deployment"),
        ({"spec": {}}, "is a required property"),
        ({"status": {"replica": 1}}, "'replica' was unexpected"),
    ],
)
def test_an_object_that_kubernetes_would_not_take_is_seen(
    change: dict[str, Any], complaint: str
) -> None:
    thing = only(render(scenario("default")), "Deployment", "-beat")
    check(thing, VERSIONS[0])
    with pytest.raises(AssertionError, match=complaint):
        check(thing | change, VERSIONS[0])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("keda", "ScaledObject"),
        ("keda", "PodMonitor"),
        ("external-secrets", "ExternalSecret"),
        ("own-authorities", "Certificate"),
        ("own-authorities", "Bundle"),
    ],
)
def test_a_misspelt_field_of_a_custom_resource_is_seen(name: str, kind: str) -> None:
    thing = of_kind(render(scenario(name)), kind)[0]
    with pytest.raises(AssertionError, match="pollingIntervall"):
        check({**thing, "spec": {**thing["spec"], "pollingIntervall": 1}}, VERSIONS[0])


@every_scenario
def test_every_container_is_restricted(name: str) -> None:
    for pod in pod_specs(render(scenario(name))).values():
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert security.get("runAsUser", 1) > 0
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"} & pod.keys()
        assert not any("hostPath" in volume for volume in pod.get("volumes", []))
        for each in pod["containers"]:
            assert each["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"cpu", "memory"} <= each["resources"]["requests"].keys()
            assert "memory" in each["resources"]["limits"]
            assert re.search(r"(:[0-9][\w.-]*|@sha256:[0-9a-f]{64})$", each["image"])


@every_scenario
def test_every_container_has_a_writable_tmp_and_only_volumes_that_are_there(name: str) -> None:
    objects = render(scenario(name))
    claims = {
        claim["metadata"]["name"]
        for each in of_kind(objects, "StatefulSet")
        for claim in each["spec"].get("volumeClaimTemplates", [])
    }
    for component, pod in ((each, pod_of(objects, each)) for each in pod_labels(objects)):
        volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
        mounts = {each["mountPath"]: each for each in pod["containers"][0]["volumeMounts"]}
        assert {each["name"] for each in mounts.values()} <= volumes.keys() | claims
        if component != "valkey":
            assert "emptyDir" in volumes[mounts["/tmp"]["name"]]  # noqa: S108 - a pod's own


@every_scenario
def test_the_product_takes_the_environment_that_every_pod_gets(name: str) -> None:
    objects = render(scenario(name))
    for component in components(objects):
        pod = container(objects, component)
        settings = from_environment(pod.environment)
        assert settings.redis_url.startswith(("redis://", "rediss://"))
        assert settings.store == scenario(name)["store"]["url"]
        assert settings.home.startswith("/tmp/")  # noqa: S108 - a pod's own
        if component == "beat":
            (port,) = pod.pod["containers"][0]["ports"]
            assert port == {"name": "health", "containerPort": settings.beat_port}
        if component in WORKERS:
            assert pod.pod["terminationGracePeriodSeconds"] == settings.grace_seconds + 15
            ports = {port["name"]: port for port in pod.pod["containers"][0]["ports"]}
            assert ports["metrics"]["containerPort"] == settings.metrics_port


def test_each_worker_has_a_lane_of_its_own_and_no_task_is_without_one() -> None:
    objects = render(scenario("default"))
    lanes = {each: container(objects, each).arguments for each in WORKERS}
    assert lanes == {each: ["worker", "--lanes", each] for each in WORKERS}
    assert set(WORKERS) == {POLL, RELAY, MAINTENANCE}


def test_probes_ask_what_the_product_answers() -> None:
    objects = render(scenario("default"))
    for component in (*WORKERS, "beat"):
        (main,) = pod_of(objects, component)["containers"]
        asked = {
            probe: main[probe]["httpGet"]["path"]
            for probe in ("startupProbe", "livenessProbe", "readinessProbe")
        }
        assert asked == {
            "startupProbe": "/healthz",
            "livenessProbe": "/healthz",
            "readinessProbe": "/readyz",
        }


def test_secrets_reach_only_those_who_use_them() -> None:
    objects = render(scenario("existing-secrets"))

    def used(component: str) -> set[str]:
        pod = pod_of(objects, component)
        text = repr([pod["containers"], pod["volumes"]])
        names = ("redis", "events", "s3", "keys")
        secrets = [*(f"mail-ingest-{name}" for name in names), "orders-mailbox", "support.mailbox"]
        return {name for name in secrets if repr(name) in text}

    store = {"mail-ingest-redis", "mail-ingest-events", "mail-ingest-s3"}
    assert used("beat") == {"mail-ingest-redis"}
    assert used("relay") == used("maintenance") == store
    assert used("poll") == store | {"mail-ingest-keys", "orders-mailbox", "support.mailbox"}


@every_scenario
def test_every_reference_leads_to_what_the_chart_made(name: str) -> None:
    objects = render(scenario(name))
    made = {(each["kind"], each["metadata"]["name"]) for each in objects}
    for component in pod_labels(objects):
        pod = pod_of(objects, component)
        account = pod["serviceAccountName"]
        assert account == "default" or ("ServiceAccount", account) in made
    for each in of_kind(objects, "HorizontalPodAutoscaler", "ScaledObject"):
        target = each["spec"]["scaleTargetRef"]
        assert (target["kind"], target["name"]) in made


@every_scenario
def test_every_selector_selects_pods_of_this_release_alone(name: str) -> None:
    objects = render(scenario(name))
    for each in of_kind(objects, "Deployment", "StatefulSet"):
        component = each["metadata"]["labels"][COMPONENT]
        assert selected(objects, each["spec"]["selector"]) == {component}
        for constraint in each["spec"]["template"]["spec"].get("topologySpreadConstraints", []):
            assert selected(objects, constraint["labelSelector"]) == {component}
    selectors = [each["spec"]["selector"] for each in of_kind(objects, "PodDisruptionBudget")]
    selectors += [each["spec"]["selector"] for each in of_kind(objects, "PodMonitor")]
    selectors += [each["spec"]["podSelector"] for each in of_kind(objects, "NetworkPolicy")]
    for selector in selectors:
        assert selected(objects, selector)
        assert selector["matchLabels"][INSTANCE] == "orders"


def test_every_deployment_has_a_budget_and_is_spread() -> None:
    objects = render(scenario("default"))
    budgets = [
        selected(objects, each["spec"]["selector"])
        for each in of_kind(objects, "PodDisruptionBudget")
    ]
    assert sorted(map(sorted, budgets)) == [["beat"], ["maintenance"], ["poll"], ["relay"]]
    for each in of_kind(objects, "Deployment"):
        spread = each["spec"]["template"]["spec"]["topologySpreadConstraints"]
        assert [constraint["topologyKey"] for constraint in spread] == [
            "topology.kubernetes.io/zone",
            "kubernetes.io/hostname",
        ]


@pytest.mark.parametrize(
    ("name", "kind"), [("hpa", "HorizontalPodAutoscaler"), ("keda", "ScaledObject")]
)
def test_one_engine_scales_poll_and_relay_workers(name: str, kind: str) -> None:
    objects = render(scenario(name))
    scalers = of_kind(objects, "HorizontalPodAutoscaler", "ScaledObject")
    assert {each["kind"] for each in scalers} == {kind}
    assert [each["spec"]["scaleTargetRef"]["name"] for each in scalers] == [
        "orders-mail-ingest-poll",
        "orders-mail-ingest-relay",
    ]
    replicas = {
        each["metadata"]["labels"][COMPONENT]
        for each in of_kind(objects, "Deployment")
        if "replicas" in each["spec"]
    }
    assert replicas == {"maintenance", "beat"}


def test_an_autoscaler_asks_for_the_lag_as_a_whole_and_for_the_rest_by_pod() -> None:
    objects = render(scenario("hpa"))
    asked = [
        metric["external"]
        for each in of_kind(objects, "HorizontalPodAutoscaler")
        for metric in each["spec"]["metrics"]
    ]
    assert asked == [
        {
            "metric": {"name": DUE_LAG, "selector": {"matchLabels": {"namespace": NAMESPACE}}},
            "target": {"type": "Value", "value": "120"},
        },
        {
            "metric": {"name": WAITING, "selector": {"matchLabels": {"namespace": NAMESPACE}}},
            "target": {"type": "AverageValue", "averageValue": "10000000000"},
        },
        {
            "metric": {"name": OUTBOX, "selector": {"matchLabels": {"namespace": NAMESPACE}}},
            "target": {"type": "AverageValue", "averageValue": "5000"},
        },
    ]


def test_keda_asks_prometheus_for_the_same() -> None:
    objects = render(scenario("keda"))
    asked = [
        (trigger["metricType"], trigger["metadata"]["query"], trigger["metadata"]["threshold"])
        for each in of_kind(objects, "ScaledObject")
        for trigger in each["spec"]["triggers"]
    ]
    assert asked == [
        ("Value", f'max({DUE_LAG}{{namespace="{NAMESPACE}"}})', "60"),
        ("AverageValue", f'sum({WAITING}{{namespace="{NAMESPACE}"}})', "10000000000"),
        ("AverageValue", f'max({OUTBOX}{{namespace="{NAMESPACE}"}})', "5000"),
    ]


def test_what_scales_is_measured() -> None:
    gauges = (metrics.due_lag, metrics.waiting_octets, metrics.outbox_depth)
    assert [each.name for gauge in gauges for each in gauge.collect()] == [DUE_LAG, WAITING, OUTBOX]


def test_network_policies_let_out_what_each_component_needs_and_nothing_else() -> None:
    objects = render(scenario("network-policy"))
    assert {each: allowed_ports(objects, each) for each in COMPONENTS} == {
        "poll": {53, 6380, 443, 995},
        "relay": {53, 6380, 443},
        "maintenance": {53, 6380, 443},
        "beat": {53, 6380},
        "demo": {53},
        "doctor": {53, 6380, 443},
    }


def test_only_the_metrics_and_the_embedded_valkey_can_be_reached() -> None:
    objects = render(scenario("embedded-valkey"))
    entrances = {
        (component, rule["ports"][0]["port"], repr(rule.get("from")))
        for each in of_kind(objects, "NetworkPolicy")
        for rule in each["spec"].get("ingress", [])
        for component in selected(objects, each["spec"]["podSelector"])
    }
    workers = {each for each in entrances if each[0] in WORKERS}
    assert workers == {(each, "metrics", "None") for each in WORKERS}
    ((component, port, source),) = entrances - workers
    assert (component, port) == ("valkey", "valkey")
    assert "'app.kubernetes.io/instance': 'orders'" in source
    assert allowed_ports(objects, "valkey") == {53}


def names(objects: list[Object]) -> Iterator[tuple[str, str]]:
    for each in objects:
        yield each["kind"], each["metadata"]["name"]


@pytest.mark.parametrize("name", ["embedded-valkey", "keda"])
@pytest.mark.parametrize("release", [LONGEST, "with.dots"])
def test_names_fit_whatever_the_release_is_called(name: str, release: str) -> None:
    objects = render(scenario(name), release=release)
    for kind, made in names(objects):
        # A StatefulSet's pods have a label with its name and a hash of eleven characters.
        assert len(made) <= (52 if kind == "StatefulSet" else 63)
        assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", made)
        check(next(each for each in objects if each["metadata"]["name"] == made), VERSIONS[0])
    for each in objects:
        for value in each["metadata"]["labels"].values():
            assert re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", value)


def test_two_long_names_stay_two() -> None:
    one, other = (
        set(names(render(scenario("default"), release=LONGEST[:-1] + last))) for last in "ab"
    )
    assert not one & other


def test_a_change_of_settings_replaces_the_pods_that_read_them() -> None:
    def metadata(change: dict[str, Any]) -> dict[str, Any]:
        objects = of_kind(render(scenario("embedded-valkey", change)), "Deployment", "StatefulSet")
        return {
            each["metadata"]["labels"][COMPONENT]: each["spec"]["template"]["metadata"]
            for each in objects
        }

    before, after = metadata({}), metadata({"settings": {"INGEST_POLL_SECONDS": 31}})
    replaced = {component for component in before if before[component] != after[component]}
    assert replaced == {*WORKERS, "beat"}
