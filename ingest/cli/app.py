"""The `ingest` command: its groups, its exit codes, and how errors look.

Commands import what they need when they run, so that `ingest --help` is quick.
"""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
from types import FrameType
from typing import Annotated, NoReturn

import typer

from ingest import __version__, memory
from ingest.cli import (
    audit,
    brake,
    canary,
    doctor,
    events,
    fleet,
    isolate,
    mailbox,
    message,
    output,
    poll,
    quarantine,
    reconcile,
)
from ingest.errors import IngestError

_SIGNALLED = 128  # plus the signal's number: what shells make of it

_EPILOG = """
Settings are environment variables named INGEST_*. Without any, all lives in one home directory.

Exit codes: 0 all went well, 1 something failed, 2 wrong usage,
3 a setting is wrong, 4 the mailbox is unknown or can't be used,
5 the POP3 session failed, 6 the server refused to sign us in,
7 the object store failed, or can't prove a message, 8 Redis failed.
"""

app = typer.Typer(
    name="ingest",
    help="Ingest mail from POP3 mailboxes into object storage and events, and lose nothing.",
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(mailbox.app, name="mailbox")
app.add_typer(message.app, name="message")
app.add_typer(events.app, name="events")
app.add_typer(brake.app, name="brake")
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(canary.app, name="canary")
for command in (fleet.demo, fleet.up, fleet.worker, fleet.beat, poll.poll, doctor.doctor):
    app.command()(command)
app.command()(reconcile.reconcile)
app.command()(audit.audit)
app.command(hidden=True)(isolate.isolate)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mail-ingest {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Options that stand before any command."""


def main() -> None:
    """Run the command line and exit with its code."""
    memory.tune()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # mail has characters that a terminal may lack
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup means it
            signal.signal(number, _end)
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output has gone; Python would complain once more at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    gc.freeze()  # or Python looks for garbage once more, of which the system gets all in a moment
    sys.exit(code)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    """End by a signal as by an error: what was started on the way is stopped."""
    sys.exit(_SIGNALLED + number)


def run(arguments: list[str]) -> int:
    """Run the command line; its exit code. Errors are printed, ours as one line."""
    try:
        code = typer.main.get_command(app).main(
            args=arguments, prog_name="ingest", standalone_mode=False
        )
    except IngestError as error:
        output.print_error(error)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("\nstopped\n")
        return _SIGNALLED + signal.SIGINT
    except typer.TyperException as error:
        if message := error.format_message():  # none where the help was printed instead
            output.print_error(_wrong_usage(error, message))
        return error.exit_code
    except BrokenPipeError:
        return 0
    return code if isinstance(code, int) else 0


def _wrong_usage(error: typer.TyperException, message: str) -> IngestError:
    """A usage error, to be printed like all others."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "ingest"
    return IngestError(message.removeprefix("Invalid value: "), remedy=f"{command} --help")
