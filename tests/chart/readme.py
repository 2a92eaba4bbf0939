"""Makes the chart's README.md from its values.yaml: python -m tests.chart.readme."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import yaml

from tests.chart.render import DIRECTORY
from tests.chart.values import Documented, documented

README = DIRECTORY / "README.md"

_SHORT = 60  # characters of a default that stands in its line

_HEAD = """\
# mail-ingest, the chart

<!-- Made from values.yaml by: python -m tests.chart.readme -->

Runs [mail-ingest](../../README.md) on Kubernetes 1.27 or newer: a Deployment of workers for each
lane, two beats, and what keeps them restricted, spread and scaled. Redis and the object store are
yours, and their credentials stay in Secrets of yours. [deploy/README.md](../../deploy/README.md)
has an installation step by step.

    helm install mail-ingest helm/mail-ingest --namespace mail \\
      --set image.repository=registry.example.org/mail-ingest \\
      --set redis.existingSecret.name=mail-ingest-redis \\
      --set store.url=s3://bucket/prefix
    helm test mail-ingest --namespace mail --logs

Mailboxes are added with `ingest mailbox add`, in a poll worker, as the notes after the installation
show, or are kept by the values (`mailboxes`): then a Job applies them after each installation,
upgrade and rollback, and `kubectl logs` of it says what it changed. A release of another name or
namespace is another source: what was taken out of the old one (without `mailboxes.prune`) goes on
where it was once the new one declares it.

A key that is not listed here is refused. [ci](ci) has whole examples: every secret from a vault by
External Secrets, authorities of cert-manager, a proxy, declared mailboxes, KEDA, and others.

## Upgrades

`helm upgrade` with your own values file, or with `--reset-then-reuse-values`: `--reuse-values`
leaves out the defaults of what is new, and is refused. Names, selectors and volumes stay what they
were in every released version. Workers of two versions may run side by side meanwhile.

## Values
"""


def readme() -> str:
    """The text of the README."""
    return "\n".join([_HEAD, *(line for each in documented() for line in _section(each))])


def _section(key: Documented) -> Iterator[str]:
    top = len(key.path) == 1
    if top:
        yield f"### {_name(key)}\n"
    if key.parent:
        if key.prose:
            yield _wrapped(key.prose if top else f"`{_name(key)}`: {key.prose}")
        return
    default = yaml.safe_dump(key.default, default_flow_style=True, width=1000)
    default = default.removesuffix("...\n").strip()
    short = len(default) <= _SHORT
    name = "" if top else f"**`{_name(key)}`** "
    text = f"{name}{key.prose} Default: " + (f"`{default}`." if short else "")
    one_line = short and "\n" not in key.example
    yield _wrapped(f"{text} Example: `{key.example}`." if one_line else text)
    if not short:
        yield _block(_nested(key, yaml.safe_dump(key.default, sort_keys=False).splitlines()))
    if not one_line:
        yield "Example:\n"
        yield _block(_nested(key, key.example.splitlines()))


def _name(key: Documented) -> str:
    return ".".join(key.path)


def _nested(key: Documented, lines: list[str]) -> str:
    """A value as it stands in a file of values."""
    for name in reversed(key.path):
        lines = [f"{name}:", *_indented(lines)]
    return "\n".join(lines)


def _indented(lines: list[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False) + "\n"


def _block(text: str) -> str:
    return f"```yaml\n{text.rstrip()}\n```\n"


if __name__ == "__main__":
    README.write_text(readme())
