"""The rules and their tests, as values."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

MONITORING = Path(__file__).parents[2] / "deploy" / "monitoring"
RULES = MONITORING / "rules.yaml"
RULE_TESTS = sorted((MONITORING / "tests").glob("*.yaml"))


class Rule(msgspec.Struct, forbid_unknown_fields=True):
    """An alert, or a recording."""

    expr: str
    alert: str = ""
    record: str = ""
    wait: str = msgspec.field(name="for", default="0s")
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class Group(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    rules: list[Rule]


class Groups(msgspec.Struct, forbid_unknown_fields=True):
    groups: list[Group]


class Series(msgspec.Struct):
    series: str
    values: str


class Expected(msgspec.Struct):
    labels: str
    value: float


class Check(msgspec.Struct):
    expr: str
    exp_samples: list[Expected]


class RuleTest(msgspec.Struct):
    """One case: what was scraped, and what is to come of it."""

    name: str
    input_series: list[Series]
    promql_expr_test: list[Check]

    @property
    def alert(self) -> str:
        """The alert that it is about: the first word of its name."""
        return self.name.split()[0]

    @property
    def fires(self) -> bool:
        """Whether it expects its alert to fire."""
        return any(
            f'alertname="{self.alert}"' in sample.labels and 'alertstate="firing"' in sample.labels
            for check in self.promql_expr_test
            for sample in check.exp_samples
        )


class RuleTests(msgspec.Struct):
    tests: list[RuleTest]


def rules() -> list[Rule]:
    """All of them."""
    found = msgspec.yaml.decode(RULES.read_text(), type=Groups)
    return [rule for group in found.groups for rule in group.rules]


def alerts() -> list[Rule]:
    """Those that alert."""
    return [rule for rule in rules() if rule.alert]


def rule_tests() -> list[RuleTest]:
    """All cases of all files."""
    return [
        case
        for path in RULE_TESTS
        for case in msgspec.yaml.decode(path.read_text(), type=RuleTests).tests
    ]


def metrics_in(expression: str) -> set[str]:
    """The metrics, ours and recorded ones, that PromQL names."""
    return set(re.findall(r"\b(?:\w+:)?(?:mail_ingest|process)_\w+(?::\w+)?", expression))
