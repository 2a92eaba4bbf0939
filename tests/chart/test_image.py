"""The image's Dockerfile, and that chart, compose file and product agree with it."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import ingest
from ingest.settings import Settings
from tests.chart.pods import COMPONENTS, pod_of
from tests.chart.render import ROOT, chart, render, scenario

DOCKERFILE = ROOT / "deploy" / "Dockerfile"


def instructions(stage: int = -1) -> list[tuple[str, str]]:
    """Names and arguments of a stage's instructions, lines joined."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    pairs = [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines)]
    starts = [number for number, (name, _) in enumerate(pairs) if name == "FROM"]
    end = starts[stage + 1] if stage + 1 < len(starts) and stage >= 0 else None
    return [pair for pair in pairs[starts[stage] : end] if pair[0]]


def last(name: str) -> str:
    """The last such instruction of the image itself."""
    return [rest for each, rest in instructions() if each == name][-1]


def test_hadolint_has_nothing_to_say_against_it() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [hadolint, "--failure-threshold", "style", DOCKERFILE],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_its_base_is_one_exact_release_that_can_be_replaced() -> None:
    (base,) = re.findall(r"^ARG BASE=(.*)$", DOCKERFILE.read_text(), re.MULTILINE)
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+(@sha256:[0-9a-f]{64})?", base)
    assert re.findall(r"^FROM (\S+)", DOCKERFILE.read_text(), re.MULTILINE) == ["${BASE}"] * 2


def test_all_that_is_installed_is_locked() -> None:
    installed = [rest for name, rest in instructions(0) if name == "RUN" and "pip install" in rest]
    for command in re.findall(r"pip install([^&]*)", " && ".join(installed)):
        words = shlex.split(command)
        assert "--require-hashes" in words or "--no-deps" in words


def test_it_runs_ingest_as_a_user_by_number_under_a_reaper() -> None:
    assert json.loads(last("ENTRYPOINT")) == ["tini", "--", "ingest"]
    defaults = chart().values["podSecurity"]
    assert last("USER") == f"{defaults['runAsUser']}:{defaults['runAsGroup']}"
    assert last("EXPOSE") == str(Settings(home="").metrics_port)


def test_pods_use_its_entry_point() -> None:
    objects = render(scenario("default"))
    for component in COMPONENTS:
        (main,) = pod_of(objects, component)["containers"]
        assert "command" not in main
        assert main["image"].endswith(f":{ingest.__version__}")


def test_its_labels_say_which_version_it_is() -> None:
    assert f"ARG VERSION={ingest.__version__}\n" in DOCKERFILE.read_text()
    assert 'org.opencontainers.image.version="${VERSION}"' in last("LABEL")
    assert 'org.opencontainers.image.licenses="Apache-2.0"' in last("LABEL")


def test_the_build_sees_what_it_copies_and_nothing_else() -> None:
    rules = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert rules[0] == "*"
    seen = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    copied = {
        source for name, rest in instructions(0) if name == "COPY" for source in rest.split()[:-1]
    }
    assert seen == copied
    assert all((ROOT / path).exists() for path in copied)
