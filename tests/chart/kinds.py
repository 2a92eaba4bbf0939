"""Whether an object is one that a Kubernetes API takes: strictly, misspelt fields included."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from kubernetes_validate import utils

VERSIONS = ("1.27", "1.32", "1.37")  # the oldest that the chart takes, the newest, one between


def check(thing: Mapping[str, Any], version: str) -> None:
    """Compare it with the schema of its kind.

    Raises:
        AssertionError: it has no schema, or does not fit it.
    """
    kind = f"{thing['apiVersion']} {thing['kind']}"
    try:
        if model := _CUSTOM.get(kind):
            msgspec.convert(thing, model)
        else:
            utils.validate(thing, version, strict=True)
    except utils.SchemaNotFoundError:
        raise AssertionError(f"Kubernetes {version} has no {kind}") from None
    except utils.ValidationError as error:
        where = ".".join(str(step) for step in error.path)
        raise AssertionError(f"Kubernetes {version}, {kind}: {where}: {error.message}") from None
    except msgspec.ValidationError as error:
        raise AssertionError(f"{kind}: {error}") from None


class _Fields(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Part of a custom resource, as far as the chart uses it."""


class _Metadata(_Fields):
    name: str
    labels: dict[str, str]


class _Target(_Fields):
    api_version: Literal["apps/v1"]
    kind: Literal["Deployment"]
    name: str


class _Reference(_Fields):
    name: str


class _PrometheusQuery(_Fields):
    """Of https://keda.sh/docs/latest/scalers/prometheus: all of them are texts."""

    server_address: str
    query: str
    threshold: str
    ignore_null_values: Literal["true", "false"]


class _Trigger(_Fields):
    type: Literal["prometheus"]
    metric_type: Literal["Value", "AverageValue"]
    metadata: _PrometheusQuery
    authentication_ref: _Reference | None = None


class _HpaConfig(_Fields):
    behavior: dict[str, Any]  # the same text as in a HorizontalPodAutoscaler, whose schema knows it


class _Advanced(_Fields):
    horizontal_pod_autoscaler_config: _HpaConfig


class _ScaledObjectSpec(_Fields):
    scale_target_ref: _Target
    min_replica_count: int
    max_replica_count: int
    polling_interval: int
    triggers: list[_Trigger]
    advanced: _Advanced | None = None


class _ScaledObject(_Fields):
    api_version: str
    kind: str
    metadata: _Metadata
    spec: _ScaledObjectSpec


class _Expression(_Fields):
    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: list[str]


class _Selector(_Fields):
    match_labels: dict[str, str]
    match_expressions: list[_Expression]


class _Endpoint(_Fields):
    port: str
    interval: str


class _PodMonitorSpec(_Fields):
    selector: _Selector
    pod_target_labels: list[str]
    pod_metrics_endpoints: list[_Endpoint]


class _PodMonitor(_Fields):
    api_version: str
    kind: str
    metadata: _Metadata
    spec: _PodMonitorSpec


class _SecretStore(_Fields):
    name: str
    kind: Literal["SecretStore", "ClusterSecretStore"] = "SecretStore"


class _RemoteRef(_Fields):
    key: str
    property: str = ""


class _RemoteSecret(_Fields):
    secret_key: str
    remote_ref: _RemoteRef


class _Extract(_Fields):
    extract: _RemoteRef


class _SecretTemplate(_Fields):
    data: dict[str, str]


class _SecretTarget(_Fields):
    name: str
    template: _SecretTemplate | None = None


class _ExternalSecretSpec(_Fields):
    """Of https://external-secrets.io/latest/api/externalsecret."""

    secret_store_ref: _SecretStore
    target: _SecretTarget
    refresh_interval: str = "1h"
    data: list[_RemoteSecret] = []
    data_from: list[_Extract] = []


class _Named(_Fields):
    """Metadata of what only stands in the values."""

    name: str


class _ExternalSecret(_Fields):
    api_version: str
    kind: str
    metadata: _Named
    spec: _ExternalSecretSpec


class _Issuer(_Fields):
    name: str
    kind: Literal["Issuer", "ClusterIssuer"] = "Issuer"


class _CertificateSpec(_Fields):
    """Of https://cert-manager.io/docs/reference/api-docs."""

    secret_name: str
    issuer_ref: _Issuer
    common_name: str
    is_ca: bool = msgspec.field(name="isCA", default=False)


class _Certificate(_Fields):
    api_version: str
    kind: str
    metadata: _Named
    spec: _CertificateSpec


class _KeyOf(_Fields):
    name: str
    key: str


class _BundleSource(_Fields):
    """One of them."""

    use_default_cas: bool | None = msgspec.field(name="useDefaultCAs", default=None)
    secret: _KeyOf | None = None


class _BundleKey(_Fields):
    key: str


class _BundleTarget(_Fields):
    config_map: _BundleKey


class _BundleSpec(_Fields):
    """Of https://cert-manager.io/docs/trust/trust-manager/api-reference."""

    sources: list[_BundleSource]
    target: _BundleTarget


class _Bundle(_Fields):
    api_version: str
    kind: str
    metadata: _Named
    spec: _BundleSpec


_CUSTOM: dict[str, type[_Fields]] = {
    "keda.sh/v1alpha1 ScaledObject": _ScaledObject,
    "monitoring.coreos.com/v1 PodMonitor": _PodMonitor,
    "external-secrets.io/v1 ExternalSecret": _ExternalSecret,
    "cert-manager.io/v1 Certificate": _Certificate,
    "trust.cert-manager.io/v1alpha1 Bundle": _Bundle,
}
