"""The units of a host without Kubernetes: systemd takes them, and what they run does the job."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from ingest.settings import Settings
from ingest.tasks.clock import HEARTBEAT_SECONDS
from ingest.tasks.pulse import _SECONDS as PULSE_SECONDS
from tests.e2e.fleet import Fleet, fleet
from tests.operations.guide import INSTALLATION, ROOT, block
from tests.operations.units import DIRECTORY, PROGRAM, Service, read, variables
from tests.servers import systemd
from tests.servers.dovecot import Dovecot, Maildrop
from tests.servers.ports import HOST, free_port
from tests.servers.seaweedfs import SeaweedFs
from tests.servers.valkey import Valkey

WORKER, BEAT = "mail-ingest-worker@.service", "mail-ingest-beat.service"
SERVICES = [WORKER, BEAT]
MOST_EXPOSURE = 1.5  # of 10, as systemd counts it


@pytest.fixture(scope="module")
def analyze() -> str:
    """systemd's own judge of units, for tests marked `systemd`."""
    return str(systemd.program())


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units as they are installed, where there is a program to run."""
    for file in DIRECTORY.glob("mail-ingest*"):
        if file.suffix in {".service", ".target"}:
            text = file.read_text().replace(PROGRAM, "/bin/true")
            (tmp_path / file.name.replace("@.", "@9308.")).write_text(text)
    return tmp_path


@pytest.mark.systemd
@pytest.mark.parametrize("name", [*SERVICES, "mail-ingest.target"])
def test_systemd_has_nothing_to_say_against_a_unit(analyze: str, units: Path, name: str) -> None:
    done = subprocess.run(
        [analyze, "verify", str(units / name.replace("@.", "@9308."))],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{units}:"},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.systemd
@pytest.mark.parametrize("name", SERVICES)
def test_a_service_can_do_little_besides_its_job(analyze: str, units: Path, name: str) -> None:
    said = subprocess.run(
        [analyze, "security", "--offline=true", str(units / name.replace("@.", "@9308."))],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (exposure,) = re.findall(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert float(exposure) <= MOST_EXPOSURE


def test_a_worker_has_its_grace_period_and_more_than_two_pulses() -> None:
    worker = read(WORKER)
    assert worker["TimeoutStopSec"] == [str(Settings(home="").grace_seconds + 15)]
    assert int(worker["WatchdogSec"][0]) > 2 * PULSE_SECONDS


def test_beat_is_given_more_than_what_makes_it_unhealthy_until_it_is_restarted() -> None:
    assert int(read(BEAT)["WatchdogSec"][0]) > HEARTBEAT_SECONDS


class Host(NamedTuple):
    """One host with a worker and a beat."""

    directory: Path
    worker: Service
    beat: Service
    port: int
    beat_port: int
    ours: Fleet  # the same fleet, to see what came of it

    def run(self, *arguments: str) -> str:
        """Run the command as root does on such a host; its standard output."""
        script = (self.directory / "usr/local/sbin/ingest").read_text()
        unprivileged = "--reuid=mail-ingest --regid=mail-ingest --init-groups "
        for installed, here in (
            ("/etc/", f"{self.directory}/etc/"),
            ("/var/", f"{self.directory}/var/"),
            (PROGRAM, f"{sys.executable} -m ingest.cli"),
            (unprivileged, ""),
        ):
            assert installed in script
            script = script.replace(installed, here)
        done = subprocess.run(
            ["sh", "-c", script, "ingest", *arguments],
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (arguments, done.returncode, done.stdout, done.stderr)
        return done.stdout


# What the installation calls for and a test's machine must not do; `python3 -m venv` makes a pip.
STAND_INS = {
    "systemd-sysusers": 'test -s "etc/sysusers.d/$1"',
    "python3": 'mkdir -p "$3/bin" && ln -s /bin/true "$3/bin/pip"',
}


def install(host: Path) -> None:
    """Do what the guide says, with the host's root directory in place of ours."""
    text = block(INSTALLATION, "systemd").replace("-o root -g mail-ingest ", "")
    text = re.sub(r"(?<=[ \n])/(opt|etc|usr)/", rf"{host}/\1/", f"\n{text}")
    text = re.sub(r"(?<= )(deploy|requirements)/", rf"{ROOT}/\1/", text)
    programs = host / "programs"
    for name in ("programs", "opt", "etc/systemd/system", "var/lib"):
        (host / name).mkdir(parents=True)
    for name, script in STAND_INS.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    subprocess.run(["sh", "-eu", "-c", text], env={"PATH": path}, cwd=host, check=True)


@pytest.fixture
def host(tmp_path: Path, valkey: Valkey, seaweedfs: SeaweedFs) -> Iterator[Host]:
    root, port, beat_port = tmp_path / "root", free_port(), free_port()
    root.mkdir()
    install(root)
    etc = root / "etc" / "mail-ingest"
    store = {
        "INGEST_STORE": f"s3://{seaweedfs.bucket}/{tmp_path.name}",
        "INGEST_S3_ENDPOINT": seaweedfs.endpoint,
        "INGEST_S3_REGION": "us-east-1",
        "INGEST_S3_PATH_STYLE": "true",
    }
    settings = {**store, "INGEST_POLL_SECONDS": "1", "INGEST_BEAT_PORT": str(beat_port)}
    _fill_in(etc / "settings.env", settings)
    _fill_in(etc / "secrets.env", {"INGEST_REDIS_URL": valkey.url})
    (etc / "aws").write_text(
        f"[default]\naws_access_key_id = {seaweedfs.access_key}\n"
        f"aws_secret_access_key = {seaweedfs.secret_key}\n"
    )
    same = {**store, **seaweedfs.environment, "INGEST_KEYS": (etc / "keys").read_text().strip()}
    worker, beat = Service(WORKER, root, str(port)), Service(BEAT, root)
    with fleet(tmp_path, valkey.url, same) as ours:
        try:
            yield Host(root, worker, beat, port, beat_port, ours)
        finally:
            worker.kill()
            beat.kill()


def _fill_in(path: Path, given: dict[str, str]) -> None:
    """Complete a file as it is installed."""
    filled = {**variables(path), **given}
    path.write_text("".join(f'{name}="{value}"\n' for name, value in filled.items()))


def test_the_services_of_a_host_do_the_job_and_say_how_they_are(
    host: Host, dovecot: Dovecot, maildrop: Maildrop
) -> None:
    octets = [f"Subject: {number}\r\n\r\nHello\r\n".encode() for number in range(20)]
    maildrop.deliver_many(octets)
    (host.directory / "password").write_text(maildrop.password)
    assert "WRONG" not in host.run("doctor")
    host.worker.start()
    assert host.worker.heard("READY=1", 30), host.worker.log.read_text()
    host.beat.start()
    assert host.beat.heard("READY=1", 30), host.beat.log.read_text()
    host.run(
        *("mailbox", "add", "orders", f"pop3s://{maildrop.name}@localhost:{dovecot.pop3s_port}"),
        f"--password-ref=file:{host.directory / 'password'}",
        *(f"--ca-file={dovecot.ca_file}", "--yes"),
    )
    host.ours.wait(lambda: maildrop.count() == 0)

    hashes = {hashlib.sha256(each).hexdigest() for each in octets}
    host.ours.wait(lambda: {event.data.sha256 for event in host.ours.events()} == hashes)
    assert "WRONG" not in host.run("doctor")
    for port in (host.port, host.beat_port):
        with urllib.request.urlopen(f"http://{HOST}:{port}/healthz", timeout=5) as answer:
            assert answer.status == 200
    for service in (host.worker, host.beat):
        assert service.heard("WATCHDOG=1", 2 * PULSE_SECONDS)
    for service in (host.worker, host.beat):
        code, left = service.stop()
        assert code == 0, service.log.read_text()
        assert left > 0
        assert service.heard("STOPPING=1", 1)
