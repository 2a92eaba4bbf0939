"""What a pod of the chart would run, and with which environment, as a kubelet puts it together."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from tests.chart.render import Object, only

COMPONENTS = ("poll", "relay", "maintenance", "beat", "demo", "doctor")
WORKERS = COMPONENTS[:3]
APPLY = "apply"  # the Job's, where there is one

Secret = Callable[[str, str], str]  # the text in a Secret of the namespace, by its name and key


def some_url(name: str, key: str) -> str:
    """For whom any URL is a secret good enough."""
    return f"redis://{name}.example:6379/{key}"


class Container(NamedTuple):
    """The one container of a pod that runs ingest."""

    arguments: Sequence[str]
    environment: Mapping[str, str]
    pod: Object  # its spec


def container(objects: list[Object], component: str, secret: Secret = some_url) -> Container:
    """What the Deployment or Pod of that component runs."""
    pod = pod_of(objects, component)
    (main,) = pod["containers"]
    environment: dict[str, str] = {}
    for source in main["envFrom"]:
        environment |= only(objects, "ConfigMap", source["configMapRef"]["name"])["data"]
    made = _made(objects)
    for variable in main["env"]:
        if "value" in variable:
            text = variable["value"]
        else:
            where = variable["valueFrom"]["secretKeyRef"]
            ours = made.get(where["name"])
            text = ours[where["key"]] if ours else secret(where["name"], where["key"])
        # What stands before it can be referred to.
        environment[variable["name"]] = re.sub(r"\$\((\w+)\)", lambda m: environment[m[1]], text)
    return Container(main["args"], environment, pod)


def components(objects: list[Object]) -> tuple[str, ...]:
    """Those whose pods run ingest."""
    return (*COMPONENTS, APPLY) if any(each["kind"] == "Job" for each in objects) else COMPONENTS


def pod_of(objects: list[Object], component: str) -> Object:
    """The spec of the pods of that component."""
    (found,) = (
        each["spec"] if each["kind"] == "Pod" else each["spec"]["template"]["spec"]
        for each in objects
        if each["kind"] in {"Deployment", "StatefulSet", "Job", "Pod"}
        and each["metadata"]["labels"]["app.kubernetes.io/component"] == component
    )
    return dict(found)


def _made(objects: list[Object]) -> dict[str, dict[str, str]]:
    """The texts in those Secrets that are among the objects."""
    return {
        each["metadata"]["name"]: each.get("stringData", {})
        | {key: base64.b64decode(text).decode() for key, text in each.get("data", {}).items()}
        for each in objects
        if each["kind"] == "Secret"
    }
