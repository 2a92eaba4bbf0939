"""What happens where something that a test needs is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import conftest
from tests.servers import dovecot as dovecot_package
from tests.servers import prometheus as prometheus_package
from tests.servers.dovecot import Dovecot


@pytest.mark.dovecot
def test_without_the_package_a_test_skips_and_names_it(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(dovecot_package, "program", lambda: None)
    with pytest.raises(pytest.skip.Exception, match="dovecot-pop3d"):
        conftest.pytest_runtest_setup(request.node)


@pytest.mark.dovecot
def test_without_the_package_a_test_fails_where_ci_is_true(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    monkeypatch.setattr(dovecot_package, "program", lambda: None)
    with pytest.raises(pytest.fail.Exception, match="dovecot-pop3d"):
        conftest.pytest_runtest_setup(request.node)


def test_using_the_server_marks_a_test(request: pytest.FixtureRequest, dovecot: Dovecot) -> None:
    assert dovecot.pop3_port
    assert request.node.get_closest_marker("dovecot")


@pytest.mark.corpus
def test_without_the_corpora_a_test_skips_even_where_ci_is_true(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    monkeypatch.setattr(conftest, "CORPORA", Path("no-such-folder"))
    with pytest.raises(pytest.skip.Exception, match="shared/corpora"):
        conftest.pytest_runtest_setup(request.node)


@pytest.mark.prometheus
@pytest.mark.parametrize("ci", ["true", "false"])
def test_without_prometheus_a_test_fails_where_ci_is_true_and_skips_elsewhere(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, ci: str
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(prometheus_package, "program", lambda: None)
    expected = pytest.fail.Exception if ci == "true" else pytest.skip.Exception
    with pytest.raises(expected, match="system package prometheus"):
        conftest.pytest_runtest_setup(request.node)
