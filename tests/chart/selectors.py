"""Which pods the selectors of a release select, and what its policies let them do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.chart.render import Object

COMPONENT = "app.kubernetes.io/component"


def pod_labels(objects: list[Object]) -> dict[str, Mapping[str, str]]:
    """The labels of all pods, by component."""
    templates = (
        each if each["kind"] == "Pod" else each["spec"]["template"]
        for each in objects
        if each["kind"] in {"Pod", "Deployment", "StatefulSet", "Job"}
    )
    labels = (each["metadata"]["labels"] for each in templates)
    return {each[COMPONENT]: each for each in labels}


def selected(objects: list[Object], selector: Mapping[str, Any]) -> set[str]:
    """The components whose pods a selector selects."""

    def fits(labels: Mapping[str, str]) -> bool:
        expressions = selector.get("matchExpressions", [])
        assert all(each["operator"] == "In" for each in expressions)
        return selector["matchLabels"].items() <= labels.items() and all(
            labels.get(each["key"]) in each["values"] for each in expressions
        )

    return {component for component, labels in pod_labels(objects).items() if fits(labels)}


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    return [each for each in objects if each["kind"] in kinds]


def allowed_ports(objects: list[Object], component: str) -> set[int]:
    """Where the pods of a component may connect to."""
    policies = [
        each["spec"]
        for each in of_kind(objects, "NetworkPolicy")
        if component in selected(objects, each["spec"]["podSelector"])
    ]
    assert any("Egress" in each["policyTypes"] for each in policies)
    assert any("Ingress" in each["policyTypes"] for each in policies)
    return {
        port["port"]
        for policy in policies
        for rule in policy.get("egress", [])
        for port in rule["ports"]
    }
