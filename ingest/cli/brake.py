"""`ingest brake`: stop all deletes, see why they are stopped, let them go on."""

from __future__ import annotations

from typing import Annotated

import typer

from ingest.cli import output
from ingest.cli.application import opened

app = typer.Typer(help="Stop all deletes of the fleet, and let them go on.", no_args_is_help=True)


@app.command()
def show(*, json: output.Json = False) -> None:
    """Say whether messages may be deleted, and why not.

    JSON: {"reason"}, empty where they may.
    """
    with opened() as application:
        _print(application.brake.reason(), json=json)


@app.command()
def pull(
    reason: Annotated[str, typer.Argument(help="Why, for whoever finds it.", show_default=False)],
    *,
    json: output.Json = False,
) -> None:
    """Stop all deletes, also those of sessions that run; mail is still ingested.

    JSON: {"reason"}.
    """
    if not reason.strip():
        raise typer.BadParameter("say why: somebody has to release it one day")
    with opened() as application:
        application.brake.pull(reason)
        _print(application.brake.reason(), json=json)


@app.command()
def release(*, json: output.Json = False) -> None:
    """Let deletes go on; for an hour, no number of them pulls the brake again.

    JSON: {"reason"}, that it was pulled for.
    """
    with opened() as application:
        reason = application.brake.release()
    if json:
        output.print_json({"reason": reason})
    elif reason:
        typer.echo(f"released; it was pulled for: {reason}")
    else:
        typer.echo("it was not pulled")


def _print(reason: str, *, json: bool) -> None:
    output.print_outcome(
        {"reason": reason},
        f"nothing is deleted: {reason}" if reason else "messages may be deleted",
        json=json,
    )
