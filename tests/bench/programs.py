"""The programs that are compared: each empties one maildrop, as one whole process."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.servers.dovecot import Dovecot, Maildrop

INGEST = str(Path(sys.executable).with_name("ingest"))
POPLIB_LOOP = Path(__file__).with_name("poplib_loop.py")
DISCARD = Path(__file__).with_name("discard.py")


class Command(NamedTuple):
    """What to run, and the variables it needs beside ours."""

    arguments: list[str]
    environment: dict[str, str]


class Program(NamedTuple):
    """One of those compared."""

    name: str
    prepare: Callable[[Dovecot, Maildrop, Path], Command]
    executable: str
    package: str = ""  # of Debian

    def is_installed(self) -> bool:
        """Whether it can be run."""
        return shutil.which(self.executable) is not None


def ingest(dovecot: Dovecot, maildrop: Maildrop, directory: Path) -> Command:
    """To a directory store, synced to disk, with its state in an embedded Valkey."""
    environment = {"INGEST_HOME": str(directory / "home"), "BENCH_PASSWORD": maildrop.password}
    address = f"pop3://{maildrop.name}@{dovecot.host}:{dovecot.pop3_port}"
    added = [INGEST, "mailbox", "add", "bench", address, "--plaintext", "--yes"]
    subprocess.run(
        [*added, "--password-ref", "env:BENCH_PASSWORD"],
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
    )
    return Command([INGEST, "poll", "bench", "--json"], environment)


def mpop(dovecot: Dovecot, maildrop: Maildrop, directory: Path) -> Command:
    """To a maildir."""
    maildir = _maildir(directory)
    configuration = _private(
        directory / "mpoprc",
        "account default",
        f"host {dovecot.host}",
        f"port {dovecot.pop3_port}",
        f"user {maildrop.name}",
        f'password "{maildrop.password}"',
        "tls off",
        "auth user",
        "keep off",
        f"uidls_file {directory / 'uidls'}",
        f"delivery maildir {maildir}",
    )
    return Command(["mpop", "--quiet", f"--file={configuration}"], {})


def getmail(dovecot: Dovecot, maildrop: Maildrop, directory: Path) -> Command:
    """To a maildir; it does not deliver as root."""
    maildir = _maildir(directory)
    user = getpass.getuser()
    if user == "root":
        user = "nobody"
        directory.chmod(0o711)
        for path in (maildir, *maildir.iterdir()):
            shutil.chown(path, user)
    configuration = _private(
        directory / "getmailrc",
        "[retriever]",
        "type = SimplePOP3Retriever",
        f"server = {dovecot.host}",
        f"port = {dovecot.pop3_port}",
        f"username = {maildrop.name}",
        f"password = {maildrop.password}",
        "[destination]",
        "type = Maildir",
        f"path = {maildir}/",
        f"user = {user}",
        "[options]",
        "delete = true",
        "read_all = true",
        "delivered_to = false",
        "received = false",
        "verbose = 0",
    )
    return Command(["getmail", f"--getmaildir={directory}", f"--rcfile={configuration}"], {})


def fetchmail(dovecot: Dovecot, maildrop: Maildrop, directory: Path) -> Command:
    """To a program that throws it away: it hands mail over, and stores none itself."""
    configuration = _private(
        directory / "fetchmailrc",
        "set no bouncemail",
        f"poll {dovecot.host} service {dovecot.pop3_port} protocol pop3 uidl auth password no dns",
        f'  username "{maildrop.name}" password "{maildrop.password}" is {getpass.getuser()} here',
        '  nokeep fetchall sslproto "" mda "cat >/dev/null"',
    )
    files = ["-i", str(directory / "ids"), "--pidfile", str(directory / "pid")]
    return Command(["fetchmail", "--silent", "--fetchmailrc", str(configuration), *files], {})


def poplib_loop(dovecot: Dovecot, maildrop: Maildrop, directory: Path) -> Command:
    """Attachments to files."""
    return Command([*_session(POPLIB_LOOP, dovecot, maildrop), str(directory)], {})


def durable_poplib_loop(dovecot: Dovecot, maildrop: Maildrop, directory: Path) -> Command:
    """Messages and attachments to files, each synced before the DELE."""
    command = poplib_loop(dovecot, maildrop, directory)
    return command._replace(arguments=[*command.arguments, "--durable"])


def discard(dovecot: Dovecot, maildrop: Maildrop, _directory: Path) -> Command:
    """To nowhere: how long the server takes, and so the limit of all others."""
    return Command(_session(DISCARD, dovecot, maildrop), {})


OURS = Program("mail-ingest", ingest, INGEST)
PEERS = (
    Program("mpop", mpop, "mpop", "mpop"),
    Program("fetchmail", fetchmail, "fetchmail", "fetchmail"),
    Program("getmail6", getmail, "getmail", "getmail6"),
    Program("poplib + email", poplib_loop, sys.executable),
    Program("poplib + email, durable", durable_poplib_loop, sys.executable),
    Program("(read and discard)", discard, sys.executable),
)


def _session(script: Path, dovecot: Dovecot, maildrop: Maildrop) -> list[str]:
    session = [dovecot.host, str(dovecot.pop3_port), maildrop.name, maildrop.password]
    return [sys.executable, str(script), *session]


def _maildir(directory: Path) -> Path:
    for sub in ("cur", "new", "tmp"):
        (directory / "Maildir" / sub).mkdir(parents=True)
    return directory / "Maildir"


def _private(file: Path, *lines: str) -> Path:
    """A configuration file that nobody else may read: fetchmail insists on that."""
    file.touch(mode=0o600)
    file.write_text("\n".join([*lines, ""]))
    return file
