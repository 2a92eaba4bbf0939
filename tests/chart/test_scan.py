"""What checkov says of the objects of every scenario and of the Dockerfile, in one run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.chart.render import NAMESPACE, ROOT, SCENARIOS, Object, overlaid, render, scenario

CHECKOV = Path(sys.prefix) / "checkov" / "bin" / "python"
SECONDS = 120
BROKEN = "broken"


class Finding(NamedTuple):
    check: str
    where: str  # "SCENARIO KIND NAME"; of the Dockerfile, the instruction


class Exempt(NamedTuple):
    check: str
    where: str  # a pattern
    why: str


PODS = ("* Deployment *", "* StatefulSet *", "* Job *", "* Pod *")
TESTS = ("* Pod *-doctor", "* Pod *-demo")

EXPLAINED = (
    ("CKV_DOCKER_2", ("Dockerfile",), "whether it is a worker or a command, who runs it knows"),
    ("CKV_DOCKER_7", ("Dockerfile FROM",), "the tag stands in ARG BASE, one exact release"),
    ("CKV_K8S_8", TESTS, "runs to its end, for `helm test`"),
    ("CKV_K8S_9", TESTS, "runs to its end, for `helm test`"),
    ("CKV_K8S_11", PODS, "a limit slows sessions down although the node has nothing else to do"),
    ("CKV_K8S_15", PODS, "a version's tag never changes: a node that has it need not ask"),
    ("CKV_K8S_35", PODS, "what is in URLs and for S3; keys and mailboxes' passwords are files"),
    ("CKV_K8S_40", ("embedded-valkey *",), "the scenario where the platform picks the users"),
    ("CKV_K8S_43", PODS, "the digest is that of the registry it was pushed to: image.digest"),
)
EXEMPT = [Exempt(check, where, why) for check, places, why in EXPLAINED for where in places]

UNRESTRICTED = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "unrestricted"},
    "spec": {
        "containers": [
            {"name": "it", "image": "it:1", "securityContext": {"privileged": True}},
        ]
    },
}


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> set[Finding]:
    directory = tmp_path_factory.mktemp("scan")
    for name in SCENARIOS:
        write(directory / f"{name}.yaml", render(scenario(name)))
    write(directory / f"{BROKEN}.yaml", [UNRESTRICTED])
    shutil.copy(ROOT / "deploy" / "Dockerfile", directory)
    return scan(directory)


def write(path: Path, objects: list[Object]) -> None:
    """As the server gets them: Helm puts them into the namespace of the release."""
    placed = [overlaid({"metadata": {"namespace": NAMESPACE}}, each) for each in objects]
    path.write_text(yaml.safe_dump_all(placed))


def scan(directory: Path) -> set[Finding]:
    """What checkov finds in a directory; it asks nobody else."""
    assert CHECKOV.exists(), "`make test` installs checkov"
    options = ["--framework", "kubernetes", "dockerfile", "--skip-download", "--output", "json"]
    done = subprocess.run(
        [CHECKOV, "-m", "checkov.main", "--directory", directory, "--compact", "--quiet", *options],
        env={"PATH": os.environ["PATH"], "HOME": str(directory)},
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    reports = json.loads(done.stdout)
    assert {each["check_type"] for each in reports} == {"kubernetes", "dockerfile"}
    assert not any(each["summary"]["parsing_errors"] for each in reports)
    return {
        finding(each["check_type"], failed)
        for each in reports
        for failed in each["results"]["failed_checks"]
    }


def finding(framework: str, failed: dict[str, Any]) -> Finding:
    path = Path(failed["file_path"])
    if framework == "dockerfile":
        return Finding(failed["check_id"], failed["resource"].strip("/.").replace(".", " "))
    kind, _, name = failed["resource"].split(".", 2)
    return Finding(failed["check_id"], f"{path.stem} {kind} {name}")


def fits(found: Finding, exempt: Exempt) -> bool:
    return found.check == exempt.check and fnmatchcase(found.where, exempt.where)


def ours(findings: set[Finding]) -> set[Finding]:
    return {each for each in findings if not each.where.startswith(f"{BROKEN} ")}


def test_nothing_is_found_that_is_not_explained(findings: set[Finding]) -> None:
    unexplained = {
        each for each in ours(findings) if not any(fits(each, exempt) for exempt in EXEMPT)
    }
    assert not unexplained, sorted(unexplained)


@pytest.mark.parametrize("exempt", EXEMPT, ids=lambda exempt: f"{exempt.check} {exempt.where}")
def test_no_exemption_outlives_what_it_explains(exempt: Exempt, findings: set[Finding]) -> None:
    assert any(fits(each, exempt) for each in ours(findings))


@pytest.mark.parametrize(
    "check",
    [
        "CKV_K8S_16",  # privileged
        "CKV_K8S_23",  # root
        "CKV_K8S_31",  # no seccomp profile
        "CKV_K8S_38",  # a token for the API
    ],
)
def test_a_pod_that_is_not_restricted_is_found(check: str, findings: set[Finding]) -> None:
    assert Finding(check, f"{BROKEN} Pod unrestricted") in findings
