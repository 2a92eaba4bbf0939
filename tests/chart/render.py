"""The chart, rendered by Helm's own engine, as the Kubernetes objects that it makes."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from helm_python import Chart

ROOT = Path(__file__).parents[2]
DIRECTORY = ROOT / "helm" / "mail-ingest"
SCENARIOS = {
    path.name.removesuffix("-values.yaml"): path
    for path in sorted((DIRECTORY / "ci").glob("*-values.yaml"))
}
NAMESPACE = "mail"

Values = dict[str, Any]
Object = dict[str, Any]  # of the Kubernetes API


def scenario(name: str, *more: Mapping[str, Any]) -> Values:
    """The values of `ci/NAME-values.yaml`, and more laid over them as Helm does it."""
    values: Values = yaml.safe_load(SCENARIOS[name].read_text())
    for each in more:
        values = overlaid(values, each)
    return values


def overlaid(below: Mapping[str, Any], above: Mapping[str, Any]) -> Values:
    """Maps join, everything else is replaced."""
    joined = copy.deepcopy(dict(below))
    for key, value in above.items():
        both = isinstance(value, Mapping) and isinstance(joined.get(key), Mapping)
        joined[key] = overlaid(joined[key], value) if both else copy.deepcopy(value)
    return joined


def render(values: Mapping[str, Any], *, release: str = "orders") -> list[Object]:
    """The objects of a release; nobody changes them, for others get the same ones.

    Raises:
        HelmError: the values don't fit.
    """
    return _rendered(json.dumps(values), release)


@cache
def _rendered(values: str, release: str) -> list[Object]:
    return objects_of(chart(), json.loads(values), release)


def objects_of(some: Chart, values: Mapping[str, Any], release: str = "orders") -> list[Object]:
    """The objects that a chart makes.

    Raises:
        HelmError: the values don't fit.
    """
    return [each for _, text in _templates(some, values, release) for each in _objects(text)]


def notes(values: Mapping[str, Any]) -> str:
    """What Helm tells after an installation."""
    texts = dict(_templates(chart(), values, "orders", hidden=True))
    return texts["mail-ingest/templates/NOTES.txt"]


def only(objects: list[Object], kind: str, suffix: str = "") -> Object:
    """The one object of that kind whose name ends so."""
    found = [
        each
        for each in objects
        if each["kind"] == kind and each["metadata"]["name"].endswith(suffix)
    ]
    assert len(found) == 1, (kind, suffix, [each["metadata"]["name"] for each in found])
    return found[0]


def pod_specs(objects: list[Object]) -> dict[str, Object]:
    """The specs of all pods that these objects are or make, by the name of what makes them."""
    specs = {}
    for each in objects:
        if each["kind"] == "Pod":
            specs[each["metadata"]["name"]] = each["spec"]
        elif "template" in each.get("spec", {}):
            specs[each["metadata"]["name"]] = each["spec"]["template"]["spec"]
    return specs


@cache
def chart() -> Chart:
    """The chart, loaded once."""
    return Chart.load(DIRECTORY)


def _templates(
    some: Chart, values: Mapping[str, Any], release: str, *, hidden: bool = False
) -> Iterator[tuple[str, str]]:
    some.validate_schema(dict(values))
    rendered = some.render(dict(values), name=release, namespace=NAMESPACE, is_install=True)
    for name, text in rendered.items():
        if hidden or name.endswith(".yaml"):
            yield name, text


class _Strict(yaml.CSafeLoader):
    """As YAML wants it: no key twice in one map."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML's
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"a key stands twice: {keys}"
        return super().construct_mapping(node, deep)


def _objects(text: str) -> list[Object]:
    return [each for each in yaml.load_all(text, _Strict) if each]
