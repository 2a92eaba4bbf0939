"""From every released version of the chart to this one: its values still fit, its objects stay.

`released/` has each version as it was released, its scenarios included.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from helm_python import Chart, HelmError

from tests.chart.render import DIRECTORY, Object, Values, chart, objects_of, overlaid, render

RELEASED = sorted(Path(__file__).with_name("released").glob("*.tgz"))

# What a Kubernetes API lets nobody change of an object; of a StatefulSet it is all but these.
_IMMUTABLE = {
    "Deployment": ("selector",),
    "Service": ("clusterIP", "type", "selector"),  # the last one only moves traffic
    "PersistentVolumeClaim": ("accessModes", "storageClassName", "resources"),
}
_MUTABLE_OF_STATEFUL_SET = {
    *("replicas", "ordinals", "template", "updateStrategy", "minReadySeconds"),
    *("revisionHistoryLimit", "persistentVolumeClaimRetentionPolicy"),
}


def scenarios(old: Chart) -> Iterator[tuple[str, Values]]:
    """The values that a version was released with examples of."""
    for file in old.files:
        if file["name"].startswith("ci/"):
            yield file["name"], yaml.safe_load(file["data"])


every_scenario = pytest.mark.parametrize(
    ("archive", "values"),
    [
        pytest.param(archive, values, id=f"{archive.stem}-{name}")
        for archive in RELEASED
        for name, values in scenarios(Chart.load(archive))
    ],
)


def identities(objects: list[Object]) -> dict[tuple[str, str], Object]:
    """The objects that a release keeps, by kind and name; hooks are made anew each time."""
    return {
        (each["kind"], each["metadata"]["name"]): each
        for each in objects
        if "helm.sh/hook" not in each["metadata"].get("annotations", {})
    }


def immutable(thing: Object) -> Mapping[str, Any]:
    spec = thing.get("spec", {})
    if thing["kind"] == "StatefulSet":
        return {name: spec[name] for name in spec.keys() - _MUTABLE_OF_STATEFUL_SET}
    return {name: spec.get(name) for name in _IMMUTABLE.get(thing["kind"], ())}


@every_scenario
def test_values_of_an_older_version_fit_and_what_they_made_stays_in_place(
    archive: Path, values: Values
) -> None:
    before = identities(objects_of(Chart.load(archive), values))
    after = identities(render(values))
    assert before.keys() <= after.keys()
    for identity, thing in before.items():
        assert immutable(after[identity]) == immutable(thing), identity
        assert after[identity]["apiVersion"] == thing["apiVersion"], identity


@every_scenario
def test_pods_go_on_with_the_secrets_and_the_volumes_that_they_had(
    archive: Path, values: Values
) -> None:
    before = identities(objects_of(Chart.load(archive), values))
    after = identities(render(values))
    for identity, thing in before.items():
        if identity[0] in {"Deployment", "StatefulSet"}:
            assert sources(thing) <= sources(after[identity]), identity


def sources(thing: Object) -> set[str]:
    """The volumes, and where each variable of the containers comes from."""
    pod = thing["spec"]["template"]["spec"]
    (main,) = pod["containers"]
    return {repr(each) for each in (*pod.get("volumes", []), *main["env"])}


@pytest.mark.parametrize("archive", RELEASED, ids=lambda archive: archive.stem)
def test_reused_values_of_an_older_version_are_refused_with_what_helps(
    archive: Path, tmp_path: Path
) -> None:
    old = Chart.load(archive)
    # What `helm upgrade --reuse-values` does: the old defaults take the place of the new ones.
    values = overlaid(old.values, dict(scenarios(old))["ci/default-values.yaml"])
    copied = shutil.copytree(DIRECTORY, tmp_path / "chart")
    (copied / "values.yaml").write_text(yaml.safe_dump(values))
    with Chart.load(copied) as reused, pytest.raises(HelmError) as refused:
        objects_of(reused, {})
    assert "--reset-then-reuse-values" in str(refused.value)


def test_this_version_is_newer_than_every_released_one() -> None:
    versions = [Chart.load(archive).version for archive in RELEASED]
    assert versions
    assert max(map(numbers, versions)) < numbers(chart().version)


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
