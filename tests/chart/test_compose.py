"""Whether the compose file is one, and whether the product takes what it gives."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import ingest
from ingest.settings import Settings, from_environment
from tests.chart.compose import FILE, SECRETS, Compose, filled
from tests.chart.render import ROOT


@pytest.fixture(scope="module")
def compose() -> Compose:
    return filled()


def test_every_variable_must_be_given_and_is_explained() -> None:
    text = FILE.read_text()
    needed = set(re.findall(r"\$\{(\w+):\?", text))
    assert needed == set(re.findall(r"\$\{(\w+)", text)) == SECRETS.keys()
    guide = (ROOT / "deploy" / "README.md").read_text()
    assert all(f"{name}=" in guide for name in needed)


def test_every_service_is_restricted_and_pinned(compose: Compose) -> None:
    for service in compose.services.values():
        assert service.read_only
        assert service.cap_drop == ["ALL"]
        assert service.security_opt == ["no-new-privileges:true"]
        assert re.search(r":v?\d+\.\d+", service.image)


def test_every_name_leads_somewhere(compose: Compose) -> None:
    for service in compose.services.values():
        for name, each in service.depends_on.items():
            checked = compose.services[name].healthcheck is not None
            assert each.condition != "service_healthy" or checked
        for volume in service.volumes:
            source = volume.partition(":")[0]
            assert source in compose.volumes or (FILE.parent / source).exists()
        assert all(mount.source in compose.configs for mount in service.configs)
        assert (
            not service.build
            or (FILE.parent / service.build.context / "deploy/Dockerfile").exists()
        )


@pytest.mark.parametrize("role", ["worker", "beat"])
def test_the_product_takes_what_it_gets(compose: Compose, role: str) -> None:
    service = compose.services[role]
    settings = from_environment(service.environment)
    assert service.command == [role]
    assert service.image == f"mail-ingest:{ingest.__version__}"
    assert settings.redis_url == "redis://:secret@valkey:6379/0"
    assert settings.s3_endpoint == "http://seaweedfs:8333"
    assert settings.keys == "secret"


@pytest.mark.parametrize(("role", "setting"), [("worker", "metrics_port"), ("beat", "beat_port")])
def test_its_health_is_asked_for_where_it_is_served(
    compose: Compose, role: str, setting: str
) -> None:
    service = compose.services[role]
    assert service.healthcheck
    port = getattr(from_environment(service.environment), setting)
    assert f"http://127.0.0.1:{port}/healthz" in service.healthcheck.test[-1]


def test_a_worker_has_its_grace_period(compose: Compose) -> None:
    grace = Settings(home="").grace_seconds
    assert compose.services["worker"].stop_grace_period == f"{grace + 15}s"


def test_only_what_watches_can_be_reached_and_only_from_this_machine(compose: Compose) -> None:
    ports = {name: each.ports for name, each in compose.services.items() if each.ports}
    assert ports == {"prometheus": ["127.0.0.1:9090:9090"], "grafana": ["127.0.0.1:3000:3000"]}


def test_grafana_has_the_dashboards_and_where_they_look(compose: Compose) -> None:
    grafana = compose.services["grafana"]
    (source,) = yaml.safe_load(compose.configs["grafana-source"].content)["datasources"]
    host, port = source["url"].removeprefix("http://").split(":")
    assert compose.services[host].ports == [f"127.0.0.1:{port}:{port}"]
    (provider,) = yaml.safe_load(compose.configs["grafana-dashboards"].content)["providers"]
    (mounted,) = grafana.volumes
    kept, there, _ = mounted.split(":")
    assert provider["options"]["path"] == there
    home = Path(str(grafana.environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]))
    assert (FILE.parent / kept / home.relative_to(there)).is_file()


def test_nobody_can_sign_in_to_grafana_with_a_password_that_all_know(compose: Compose) -> None:
    environment = compose.services["grafana"].environment
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"


def test_prometheus_scrapes_every_worker(compose: Compose) -> None:
    content = yaml.safe_load(compose.configs["prometheus"].content)
    (job,) = content["scrape_configs"]
    (found,) = job["dns_sd_configs"]
    assert found["names"] == ["worker"]
    assert found["port"] == Settings(home="").metrics_port
    mounted = [volume.split(":")[1] for volume in compose.services["prometheus"].volumes]
    assert [f"/etc/prometheus/{name}" for name in content["rule_files"]] == mounted[:1]
