"""The README tells the truth about the settings."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from ingest.settings import Settings

README = Path(__file__).parents[2] / "README.md"


def test_the_readme_lists_every_setting_with_its_default() -> None:
    rows = re.findall(r"^\| `INGEST_(\w+)` \| (?:`([^`]*)`)? \|", README.read_text(), re.MULTILINE)
    expected = [
        (field.name.upper(), str(field.default).lower() if field.type is bool else field.default)
        for field in msgspec.structs.fields(Settings)
        if field.name != "home"
    ]
    assert rows[1:] == [(name, str(default)) for name, default in expected]
