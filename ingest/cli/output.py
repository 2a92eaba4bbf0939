"""What commands print: tables and sentences for people, JSON for programs.

Results go to standard output, errors and progress to standard error.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import typer

from ingest.errors import IngestError

if TYPE_CHECKING:
    from rich.console import Console

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]

_PIPE_WIDTH = 1000  # columns where no terminal limits them
_UNITS = ("B", "kB", "MB", "GB", "TB")
_THOUSAND = 1000


def print_json(document: object) -> None:
    """One JSON document on one line, in UTF-8 whatever the terminal's encoding."""
    sys.stdout.flush()
    sys.stdout.buffer.write(msgspec.json.encode(document) + b"\n")
    sys.stdout.buffer.flush()


def print_outcome(document: object, sentence: str, *, json: bool) -> None:
    """What a command did: as JSON for programs, or in a sentence for people."""
    if json:
        print_json(document)
    else:
        typer.echo(sentence)


def print_error(error: IngestError) -> None:
    """The one line that says what happened, and the one that says what to do."""
    sys.stderr.write(f"error: {visible(str(error))}\n")
    if error.remedy:
        sys.stderr.write(f"  → {visible(error.remedy)}\n")


def say(sentence: str) -> None:
    """A sentence for people, on standard error: it never gets into a program's input."""
    sys.stderr.write(f"{visible(sentence)}\n")
    sys.stderr.flush()


def console(*, stderr: bool = False) -> Console:
    """A console as wide as the terminal, or as wide as needed in a pipe."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _PIPE_WIDTH
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Sequence[str] = (),
    wrapped: Sequence[str] = (),
) -> None:
    """An aligned table, its cells made safe.

    Args:
        columns: the names on top.
        rows: the cells.
        right: columns that hold numbers.
        wrapped: columns that take more lines where the terminal is narrow; others are cut.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in right else "left"
        wraps = column in wrapped
        overflow: Literal["fold", "ellipsis"] = "fold" if wraps else "ellipsis"
        table.add_column(column, justify=justify, no_wrap=not wraps, overflow=overflow)
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in row))
    out = console()
    with out.capture() as captured:
        out.print(table)
    for line in captured.get().splitlines():
        sys.stdout.write(f"{line.rstrip()}\n")


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Names and values, one pair a line, the values aligned."""
    pairs = [(name, visible(value)) for name, value in facts]
    width = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        sys.stdout.write(f"{name:<{width}}  {value}\n")


def visible(text: str) -> str:
    """The text without what could move the cursor, hide or reorder other text."""
    return "".join(map(_visible, text))


def _visible(character: str) -> str:
    if character in "\n\t\r":
        return " "
    # Cc: controls, escapes. Cf: bidi overrides, zero-width. Zl, Zp: line breaks. Cs: half pairs.
    category = unicodedata.category(character)
    return "\N{REPLACEMENT CHARACTER}" if category in ("Cc", "Cf", "Zl", "Zp", "Cs") else character


def fitted(text: str, width: int) -> str:
    """The text, made safe, in exactly so many columns of a terminal."""
    from rich.cells import cell_len, set_cell_size

    text = visible(text)
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    return set_cell_size(text, width - 1) + "…"


def octets(number: float) -> str:
    """A size for people: 31.5 MB."""
    for unit in _UNITS:
        if number < _THOUSAND or unit == _UNITS[-1]:
            break
        number /= _THOUSAND
    return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"


def counted(number: int, one: str, many: str = "") -> str:
    """A number and its noun: 1 message, 2 messages, 1,000 messages."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def moment(when: datetime) -> str:
    """A point in time in the local time zone, to the second."""
    return when.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def confirm(question: str, *, yes: bool) -> None:
    """Ask, unless told not to.

    Raises:
        typer.Abort: the answer is no, or nobody is there to answer.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter("nobody is at the terminal to confirm: add --yes")
    if not typer.confirm(question, err=True):
        raise typer.Abort


def choose(text: str, parse: Callable[[str], object]) -> str:
    """The text itself, where `parse` takes it; a usage error with its message otherwise."""
    try:
        parse(text)
    except IngestError as error:
        remedy = f": {error.remedy}" if error.remedy else ""
        raise typer.BadParameter(f"{error}{remedy}") from None
    return text
