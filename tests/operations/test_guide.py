"""What the guides say can be typed: every command is one, and every disaster's are rehearsed."""

from __future__ import annotations

import ast
import contextlib
import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer._click.exceptions import BadOptionUsage, MissingParameter
from typer.core import TyperGroup

from ingest import __version__
from ingest.cli.app import app
from tests.operations import test_disasters
from tests.operations.guide import INSTALLATION, OPERATIONS, ROOT, blocks
from tests.servers.seaweedfs import SeaweedFs

GUIDES = [
    ROOT / "README.md",
    *sorted((ROOT / "deploy").glob("*.md")),
    *sorted((ROOT / "deploy" / "runbooks").glob("*.md")),
]
# In fences, in indented blocks and in the text: from the command on to the end of the line or span.
COMMAND = re.compile(
    r"(?:^(?: {4}|```sh\n)?(?:[\w$=]+=\S+ )*(?:docker compose exec \w+ |venv/bin/)?|`)"
    r"ingest ((?:mailbox|message|events|brake|quarantine|canary|poll|doctor|audit|reconcile|worker"
    r"|beat|up|demo)\b[^`\n]*)",
    re.MULTILINE,
)


def commands(guide: Path) -> Iterator[list[str]]:
    """The arguments of every `ingest` that a guide shows."""
    for found in COMMAND.findall(guide.read_text()):
        text = re.split(r" [|>#] | >|  +#| \.\.\.|\n", found)[0].rstrip(".,:")
        yield shlex.split(text)


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_every_command_of_ours_in_a_guide_is_one(guide: Path) -> None:
    """An option that is none of a command's raises."""
    for arguments in commands(guide):
        command, rest = typer.main.get_command(app), list(arguments)
        while isinstance(command, TyperGroup) and rest:
            command = command.commands[rest.pop(0)]
        if isinstance(command, TyperGroup):
            continue  # it is mentioned, not typed; so is what lacks an argument
        with contextlib.suppress(MissingParameter, BadOptionUsage):
            command.make_context("ingest", rest)


@pytest.mark.parametrize("guide", [OPERATIONS, INSTALLATION], ids=lambda guide: guide.stem)
def test_every_block_of_commands_is_one_for_a_shell(guide: Path) -> None:
    found = list(blocks(guide))
    assert found
    for block in found:
        subprocess.run(["sh", "-n", "-c", block.text], check=True)


def test_every_block_of_the_guide_to_operations_is_rehearsed() -> None:
    tree = ast.parse(Path(test_disasters.__file__).read_text())
    typed = {
        tuple(ast.literal_eval(argument) for argument in call.args)
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr == "types"
    }
    rehearsed = {(*each, 0)[:2] for each in typed}
    assert {block[:2] for block in blocks(OPERATIONS)} == rehearsed


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_every_link_of_a_guide_leads_somewhere(guide: Path) -> None:
    for target, heading in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", guide.read_text()):
        file = guide.parent / target if target else guide
        assert file.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
            assert heading in {each.lower().replace(" ", "-").replace(",", "") for each in headings}


def test_the_guide_to_installing_names_this_version() -> None:
    named = re.findall(r"mail-ingest[:-](\d+\.\d+\.\d+)", INSTALLATION.read_text())
    assert set(named) == {__version__}


def test_the_lifecycle_rules_are_ones_for_a_store(seaweedfs: SeaweedFs) -> None:
    (block,) = blocks(OPERATIONS, "json")
    client = seaweedfs.client()
    client.create_bucket(Bucket="lifecycle")
    client.put_bucket_lifecycle_configuration(
        Bucket="lifecycle", LifecycleConfiguration=json.loads(block.text)
    )
    kept = client.get_bucket_lifecycle_configuration(Bucket="lifecycle")["Rules"]
    assert len(kept) == len(json.loads(block.text)["Rules"])
