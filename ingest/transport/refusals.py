"""What a server means by refusing a session (RFC 2449 section 8.1.1, RFC 3206)."""

from __future__ import annotations

import re

from ingest.errors import CommandRefused, MaildropBusy, SessionError, SignInRefused

_IN_USE = re.compile(r"\block|\bin use\b|\balready (open|logged|signed)", re.IGNORECASE)
_ACCOUNT = re.compile(r"\b(account|user)\b", re.IGNORECASE)
_TEMPORARY = re.compile(r"\btemporar|\btry again|\btoo many\b", re.IGNORECASE)


def refused(peer: str, code: str, text: str, *, signing_in: bool) -> SessionError:
    """The error for an -ERR before the session stands.

    `text` is quoted as it is; servers without response codes are understood by it.
    """
    what = f"{peer}: the server says {text!r}"
    match _meaning(code, text):
        case "IN-USE" | "LOGIN-DELAY" | "SYS/TEMP" as busy:
            return MaildropBusy(
                f"{what} [{busy}]", remedy="nothing to do: a later session tries again"
            )
        case "SYS/PERM":
            return CommandRefused(
                f"{what} [SYS/PERM]",
                remedy="ask the server's operator: this does not pass by itself",
            )
        case meaning if meaning == "AUTH" or signing_in:
            return SignInRefused(
                f"{what} to user name and password",
                remedy="check both; some providers want POP3 switched on, or an app password",
            )
    return CommandRefused(f"{what} instead of a greeting")


def _meaning(code: str, text: str) -> str:
    """The response code, as known or as the text suggests; empty: none."""
    match code.split("/"):
        case ["SYS", *rest]:
            return "SYS/PERM" if rest[:1] == ["PERM"] else "SYS/TEMP"
        case [known, *_] if known in {"IN-USE", "LOGIN-DELAY", "AUTH"}:
            return known
    if _IN_USE.search(text) and not _ACCOUNT.search(text):
        return "IN-USE"
    return "SYS/TEMP" if _TEMPORARY.search(text) else ""
