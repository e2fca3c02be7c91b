"""The Helm chart, rendered by Helm's own engine and held against Kubernetes' own schemas; no cluster is asked."""

import functools
import json
from pathlib import Path
from typing import Any

import helm_python as helm
import kubernetes_validate
import pytest
import yaml

from deploy.secrets import SIGNERS, manifests
from services.chassis.settings import SERVICES, QueueType, Settings, read_secret_files

CHART = Path(__file__).resolve().parents[3] / "deploy/helm/gonghai"
# The oldest that the chart asks for, and the newest whose schemas are at hand.
VERSIONS = ("1.27", "1.37")
FULL: dict[str, Any] = {
    "image": {"repository": "registry.example/gonghai", "tag": "1.2", "pullSecrets": ["pull"]},
    "databases": {
        "main": {"secret": "databases", "key": "main"},
        "south": {"secret": "databases", "key": "south"},
    },
    "temporal": {"address": "tls://temporal:7233?cafile=/run/gonghai/tls/ca.crt", "namespace": "crm"},
    "tls": {"internalSecret": "mutual"},
    "pbx": [
        {
            "name": "pbx1",
            "address": "10.0.0.5:5038",
            "user": "gonghai",
            "secret": "ami",
            "recordings": "spool",
        }
    ],
    "modems": [
        {
            "name": "rack1",
            "node": "edge-1",
            "ports": [{"name": "modem0", "port": "/dev/serial/by-id/usb-one"}],
            "resource": "smarter-devices/ttyUSB2",
            "deviceGroup": 20,
        }
    ],
    "recordings": {"claim": "recordings"},
    "ingress": {"enabled": True, "host": "crm.example.com", "tlsSecret": "certificate", "className": "nginx"},
    "networkPolicy": {
        "gatewayFrom": [{"namespaceSelector": {"matchLabels": {"name": "ingress"}}}],
        "metricsFrom": [{"namespaceSelector": {}}],
    },
    "env": {"LOG_LEVEL": "WARNING"},
    "secretEnv": {"SMTP_URL": {"secret": "mail", "key": "url"}},
}
SITES: dict[str, dict[str, Any]] = {"plain": {}, "full": FULL}


@functools.cache
def rendered(site: str) -> list[dict[str, Any]]:
    """Return every object of a site."""
    with helm.Chart.load(CHART) as chart:
        texts = chart.render(SITES[site], name="crm", namespace="prod")
    documents = (yaml.safe_load_all(text) for path, text in texts.items() if path.endswith(".yaml"))
    return [item for items in documents for item in items if item]


def of_kind(site: str, kind: str) -> dict[str, dict[str, Any]]:
    """Return a site's objects of a kind, by name."""
    return {item["metadata"]["name"]: item for item in rendered(site) if item["kind"] == kind}


def pods(site: str) -> dict[str, dict[str, Any]]:
    """Return the pods' specifications of a site, by the name of what makes them."""
    makers = of_kind(site, "Deployment") | of_kind(site, "Job")
    return {name: item["spec"]["template"]["spec"] for name, item in makers.items()}


def environment(pod: dict[str, Any]) -> dict[str, str]:
    """Return the variables of a pod's only container."""
    (container,) = pod["containers"]
    return {item["name"]: item["value"] for item in container["env"]}


@pytest.mark.parametrize("site", SITES)
def test_every_object_is_one_that_kubernetes_takes(site: str) -> None:
    """Unknown fields are errors here, as they are with `kubectl apply --validate=strict`."""
    for item in rendered(site):
        for version in VERSIONS:
            kubernetes_validate.validate(item, version, strict=True)


def test_helm_itself_has_nothing_to_say() -> None:
    found = helm.lint(CHART, FULL, strict=True)
    assert found["errors"] == []
    assert [each["error"] for each in found["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize(
    "values",
    [
        {"databases": {"main": "postgresql://user:password@host/db"}},
        {"processes": {"gatway": {"replicas": 1}}},
        {"ingress": {"enabled": True, "host": "crm.example.com", "tlsSecret": ""}},
        {"modems": [{"name": "m", "node": "n", "ports": [{"name": "modem0", "port": "ttyUSB2"}]}]},
        {"secretEnv": {"PASSWORD": {"secret": "s", "key": "k"}}},
        {"nonsense": 1},
    ],
)
def test_values_that_cannot_be_meant_are_refused(values: dict[str, Any]) -> None:
    """A secret as a value, a typing error, an open gateway without TLS."""
    with helm.Chart.load(CHART) as chart, pytest.raises(helm.HelmError):
        chart.validate_schema(values)


@pytest.mark.parametrize("site", SITES)
def test_no_process_is_root_or_writes_where_it_was_not_told_to(site: str) -> None:
    found = pods(site)
    assert len(found) >= len(SERVICES) + 4
    for pod in found.values():
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["requests"]
        assert container["resources"]["limits"]["memory"]
        written = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
        assert written <= {"/tmp", "/recordings"}  # noqa: S108 - a path in a container


@pytest.mark.parametrize("site", SITES)
def test_secrets_come_as_files_and_each_process_has_only_its_own_keys(site: str) -> None:
    made = {item["metadata"]["name"] for item in manifests()["items"] if item["kind"] == "Secret"}
    for name, pod in pods(site).items():
        (container,) = pod["containers"]
        assert all("value" in item and "@" not in item["value"] for item in container["env"])
        mounted = {volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume}
        process = name.removeprefix("crm-").partition("-")[0]
        signer = {"pbx": "telephony", "modem": "telephony"}.get(process, process)
        wanted = {f"gonghai-key-{signer}"} if signer in SIGNERS else set()
        assert {secret for secret in mounted if secret.startswith("gonghai-key-")} == wanted <= made


def test_a_pod_has_the_settings_that_its_process_reads(tmp_path: Path) -> None:
    """The variables of the chart are read as a process reads them, its mounts laid out below a folder."""
    variables = environment(pods("full")["crm-customers"])
    for name, path in variables.items():
        if name.endswith("_FILE"):
            file = tmp_path / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps({"customers": "key"}) if "keys" in path else f"of {name}\n")
            variables[name] = str(file)
    settings = Settings.read(read_secret_files(variables))
    assert settings.database_urls == {"main": "of DATABASE_URL_FILE", "south": "of DATABASE_URL_SOUTH_FILE"}
    assert settings.signing_keys == {"customers": "key"}
    assert settings.queue_type is QueueType.QUORUM
    assert {name: settings.addresses[name] for name in SERVICES} == {
        name: f"dns:///crm-{name}.prod.svc:7000" for name in SERVICES
    }
    assert (settings.bind_address, settings.port, settings.metrics_port) == ("0.0.0.0", 7000, 9000)  # noqa: S104 - in a container


def test_what_may_go_away_at_once_is_bounded_and_every_service_is_found() -> None:
    processes = {*SERVICES, "gateway", "events", "worker"}
    names = {f"crm-{name}" for name in processes}
    assert set(of_kind("plain", "PodDisruptionBudget")) == names
    assert all(
        item["spec"]["maxUnavailable"] == 1 for item in of_kind("plain", "PodDisruptionBudget").values()
    )
    assert set(of_kind("plain", "Service")) == {f"crm-{name}" for name in (*SERVICES, "gateway")}
    scaled = of_kind("plain", "HorizontalPodAutoscaler")
    for name, item in of_kind("plain", "Deployment").items():
        labels = item["spec"]["template"]["metadata"]["labels"]
        assert item["spec"]["selector"]["matchLabels"].items() <= labels.items()
        assert ("replicas" in item["spec"]) is (name not in scaled)
        assert item["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
        (container,) = item["spec"]["template"]["spec"]["containers"]
        assert {"startupProbe", "livenessProbe", "readinessProbe"} <= container.keys()


def test_modems_stay_where_they_are_plugged_in() -> None:
    pod = pods("full")["crm-modem-rack1"]
    assert pod["nodeSelector"] == {"kubernetes.io/hostname": "edge-1"}
    assert pod["securityContext"]["supplementalGroups"] == [20]
    (container,) = pod["containers"]
    assert container["resources"]["limits"]["smarter-devices/ttyUSB2"] == 1
    assert json.loads(environment(pod)["MODEMS"]) == FULL["modems"][0]["ports"]
    maker = of_kind("full", "Deployment")["crm-modem-rack1"]
    assert maker["spec"]["strategy"] == {"type": "Recreate"}


def test_nothing_is_open_but_what_is_named() -> None:
    closed, gateway = of_kind("full", "NetworkPolicy").values()
    assert closed["spec"]["podSelector"]["matchLabels"] == {
        "app.kubernetes.io/name": "gonghai",
        "app.kubernetes.io/instance": "crm",
    }
    assert [rule["ports"] for rule in closed["spec"]["ingress"]] == [[{"port": 7000}], [{"port": 9000}]]
    assert gateway["spec"]["ingress"] == [
        {"from": FULL["networkPolicy"]["gatewayFrom"], "ports": [{"port": 8080}]}
    ]


def test_the_schemas_are_brought_up_before_anything_new_runs() -> None:
    (job,) = of_kind("plain", "Job").values()
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == ["services", "migrate"]
