"""A real Dovecot for tests: POP3 with STLS and POP3S on free loopback ports, stopped after."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.servers.certificates import make_certificates
from tests.servers.ports import HOST, free_ports

PACKAGE = "dovecot-pop3d"
PASSWORD = "correct horse"
START_SECONDS = 20.0

# Dovecot refuses to serve mail as root; this id needs no account.
MAIL_UID = 5000 if os.getuid() == 0 else os.getuid()
MAIL_GID = 5000 if os.getuid() == 0 else os.getgid()

CONFIGURATION = """\
base_dir = {directory}/run
state_dir = {directory}/state
log_path = {directory}/dovecot.log
instance_name = test
protocols = pop3
listen = {host}
ssl = yes
ssl_cert = <{directory}/cert.pem
ssl_key = <{directory}/key.pem
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_failure_delay = 0
first_valid_uid = {uid}
mail_location = maildir:~/Maildir
mail_fsync = never
pop3_uidl_format = %g
pop3_no_flag_updates = yes
mail_max_userip_connections = 1000
default_client_limit = 4000
default_process_limit = 1100
passdb {{
  driver = passwd-file
  # A file per user: of one that grows Dovecot notices new lines only a second later.
  args = scheme=PLAIN username_format=%u {directory}/users/%u
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={directory}/mail/%u
}}
service pop3-login {{
  inet_listener pop3 {{
    port = {pop3_port}
  }}
  inet_listener pop3s {{
    port = {pop3s_port}
    ssl = yes
  }}
  service_count = 0
  process_min_avail = 1
  {no_chroot}
}}
service pop3 {{
  service_count = 100
  process_limit = 1024
}}
service anvil {{
  # Without this, each failed login makes the next one slower.
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
  {no_chroot}
}}
"""
# Without root Dovecot runs as whoever runs the tests, and can't change its root directory.
ROOTLESS = """\
default_internal_user = {name}
default_internal_group = {group}
default_login_user = {name}
service stats {{
  chroot =
}}
"""


class Maildrop:
    """One user's maildrop, as its provider sees it."""

    def __init__(self, name: str, home: Path) -> None:
        self.name = name
        self.password = PASSWORD
        self._home = home
        self._numbers = itertools.count(1)
        self.clear()

    def deliver(self, octets: bytes) -> Path:
        """Put one message (CR LF line ends) behind those delivered before."""
        path = self._file(len(octets))
        path.write_bytes(octets)
        os.chown(path, MAIL_UID, MAIL_GID)
        return path

    def deliver_many(self, messages: Iterable[bytes]) -> None:
        """Put several, in this order."""
        for octets in messages:
            self.deliver(octets)

    def link(self, files: Iterable[Path]) -> None:
        """Put copies of files that `deliver` returned, as hard links: quick whatever their size."""
        for file in files:
            self._file(file.stat().st_size).hardlink_to(file)

    def messages(self) -> list[bytes]:
        """The octets of every message that is still there, in the order of delivery."""
        return [path.read_bytes() for path in self._paths()]

    def count(self) -> int:
        """How many messages are still there."""
        return len(self._paths())

    def clear(self) -> None:
        """Remove every message and what Dovecot remembers of them; no session may be open."""
        maildir = self._home / "Maildir"
        shutil.rmtree(maildir, ignore_errors=True)
        for path in (self._home, maildir, *(maildir / sub for sub in ("cur", "new", "tmp"))):
            path.mkdir(exist_ok=True)
            os.chown(path, MAIL_UID, MAIL_GID)

    def _file(self, octets: int) -> Path:
        # Dovecot orders new messages by the leading number. Both sizes in the name spare it from
        # reading the message for LIST: S on disk and W with CR LF are the same here.
        name = f"{next(self._numbers):010d}.M1P1.test,S={octets},W={octets}:2,"
        return self._home / "Maildir" / "cur" / name

    def _paths(self) -> list[Path]:
        maildir = self._home / "Maildir"
        return sorted([*maildir.glob("cur/*"), *maildir.glob("new/*")], key=lambda path: path.name)


class Dovecot(NamedTuple):
    """A running server. It offers STLS on `pop3_port` and accepts plain logins there."""

    directory: Path
    host: str
    pop3_port: int
    pop3s_port: int
    ca_file: Path

    def add_user(self, name: str) -> Maildrop:
        """A new user (lower case) with an empty maildrop and the password `PASSWORD`."""
        if name != name.lower():
            raise ValueError("Dovecot lowers user names")
        (self.directory / "users" / name).write_text(f"{name}:{{PLAIN}}{PASSWORD}\n")
        return Maildrop(name, self.directory / "mail" / name)

    def log(self) -> str:
        """What Dovecot logged so far."""
        return (self.directory / "dovecot.log").read_text()


def program() -> str | None:
    """Where Dovecot is, or None: the package is not installed."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which("dovecot", path=path)
    return found if found and Path("/usr/lib/dovecot/pop3-login").exists() else None


@contextlib.contextmanager
def dovecot_server(parent: Path | None = None) -> Iterator[Dovecot]:
    """Start Dovecot with nobody's mail, and stop it at the end of the block.

    Its files lie in a new directory under `parent` (the system's temporary directory otherwise),
    which the mail user must be able to enter: pytest's tmp_path is closed to others.

    Raises:
        RuntimeError: it is not installed or did not start; with what it logged.
    """
    dovecot = program()
    if dovecot is None:
        raise RuntimeError(f"the system package {PACKAGE} is not installed")
    with tempfile.TemporaryDirectory(
        prefix="dovecot-", dir=parent, ignore_cleanup_errors=True
    ) as temporary:
        server = _prepared(Path(temporary))
        running = subprocess.Popen(
            [dovecot, "-F", "-c", str(server.directory / "dovecot.conf")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            _wait_until_it_greets(running, server)
            yield server
        finally:
            _stop(running)


def _prepared(directory: Path) -> Dovecot:
    directory.chmod(0o755)
    for name in ("run", "state", "users", "mail"):
        (directory / name).mkdir()
    certificates = make_certificates(directory)
    pop3_port, pop3s_port = free_ports(2)
    rootless = os.getuid() != 0
    configuration = CONFIGURATION.format(
        directory=directory,
        host=HOST,
        pop3_port=pop3_port,
        pop3s_port=pop3s_port,
        uid=MAIL_UID,
        gid=MAIL_GID,
        no_chroot="chroot =" if rootless else "",
    )
    if rootless:
        import grp  # noqa: PLC0415 - only needed, and only sure to know us, on this path
        import pwd  # noqa: PLC0415 - likewise

        configuration += ROOTLESS.format(
            name=pwd.getpwuid(MAIL_UID).pw_name, group=grp.getgrgid(MAIL_GID).gr_name
        )
    (directory / "dovecot.conf").write_text(configuration)
    return Dovecot(directory, HOST, pop3_port, pop3s_port, certificates.ca_file)


def _wait_until_it_greets(running: subprocess.Popen[bytes], server: Dovecot) -> None:
    deadline = time.monotonic() + START_SECONDS
    while running.poll() is None and time.monotonic() < deadline:
        with (
            contextlib.suppress(OSError),
            socket.create_connection((server.host, server.pop3_port), timeout=1) as connection,
        ):
            if connection.recv(64).startswith(b"+OK"):
                return
        time.sleep(0.02)
    errors = _stop(running)
    log = server.log() if (server.directory / "dovecot.log").exists() else ""
    raise RuntimeError(f"Dovecot did not start: {errors}{log}")


def _stop(running: subprocess.Popen[bytes]) -> str:
    """End Dovecot and its children at once: asked politely it waits for open sessions."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(running.pid, signal.SIGKILL)
    return running.communicate()[1].decode()
