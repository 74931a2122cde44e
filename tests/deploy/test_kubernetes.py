"""Each region's manifests are valid, fit together, and give each service what it needs and no more."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator

from common import embedded, topology
from services.cli.certificates import certificates
from tests.conftest import ROOT
from tests.deploy.manifests import (
    KUBERNETES,
    REGIONS,
    SCALED_OBJECT,
    VERSION,
    Manifest,
    environment,
    of,
    pods,
    rendered,
    secrets,
    selects,
)
from tests.deploy.variables import SETTINGS

SERVICES = ("puller", "scorer", "poster", "console")
SECRETS = {
    "setup": {"nats-operator", "nats-tls"},
    "puller": {"nats-puller", "nats-tls", "master-key", "quickbooks"},
    "scorer": {"nats-scorer", "nats-tls"},
    "poster": {"nats-poster", "nats-tls", "master-key", "qonto"},
    "console": {"nats-console", "nats-tls", "identity-provider"},
    "nats": {"nats-accounts", "nats-store", "nats-tls"},
}
"""All that each may see. A secret a service does not need is one it can lose."""

pytestmark = pytest.mark.parametrize("region", REGIONS)


def targets(region: str, name: str) -> list[Manifest]:
    """The network policies that hold for a service."""
    labels = pods(region)[name]["metadata"]["labels"]
    return [one for one in of(region, "NetworkPolicy").values() if selects(one["spec"]["podSelector"], labels)]


def ways_out(region: str, name: str) -> set[tuple[str, int]]:
    """Where a service may connect to: the kind of peer, and the port."""
    found = set()
    for policy in targets(region, name):
        for rule in policy["spec"].get("egress", []):
            for peer in rule["to"]:
                found |= {(_kind(peer), port["port"]) for port in rule["ports"]}
    return found


def _kind(peer: Manifest) -> str:
    if "ipBlock" in peer:
        return "outside"
    labels = peer["podSelector"]["matchLabels"]
    return "names" if labels == {"k8s-app": "kube-dns"} else str(labels["app.kubernetes.io/name"])


def test_every_object_is_what_kubernetes_takes(region: str) -> None:
    for one in rendered(region):
        if one["apiVersion"].startswith("keda.sh"):
            Draft202012Validator(SCALED_OBJECT).validate(one)
            continue
        kubernetes_validate.validate(one, VERSION, strict=True)


def test_everything_is_in_the_regions_namespace(region: str) -> None:
    assert {one["metadata"].get("namespace") for one in rendered(region) if one["kind"] != "Namespace"} == {
        f"weir-{region}"
    }
    assert set(of(region, "Namespace")) == {f"weir-{region}"}


def test_the_region_is_one_and_the_same_everywhere(region: str) -> None:
    at = topology.Topology(region)
    for name, pod in pods(region).items():
        if name == "nats":
            continue
        assert environment(region, pod)["WEIR_REGION"] == region
        assert environment(region, pod)["WEIR_PLACEMENT_TAGS"] == region
        assert environment(region, pod)["WEIR_REPLICAS"] == "3"
    placed = next(one for name, one in of(region, "ConfigMap").items() if name.startswith("region-"))
    assert placed["data"] == {"CLUSTER": f"weir-{region}", "SERVER_TAGS": region}
    trigger = of(region, "ScaledObject")["scorer"]["spec"]["triggers"][0]["metadata"]
    assert (trigger["stream"], trigger["consumer"]) == (at.scorer.stream, at.scorer.name)
    assert trigger["account"] == f"weir_{region}"
    assert trigger["natsServerMonitoringEndpoint"] == f"nats-headless.weir-{region}.svc.cluster.local:8222"
    others = [other for other in REGIONS if other != region]
    whole = yaml.safe_dump_all(rendered(region))
    assert not [other for other in others if re.search(rf"\b(weir-|RECORDS_|weir_){other}\b", whole)]


def test_a_scorer_always_runs(region: str) -> None:
    spec = of(region, "ScaledObject")["scorer"]["spec"]
    assert spec["scaleTargetRef"]["name"] in of(region, "Deployment")
    assert 1 <= spec["minReplicaCount"] < spec["maxReplicaCount"]
    assert "replicas" not in of(region, "Deployment")["scorer"]["spec"]  # an apply must not undo the scaling


def test_selectors_pick_what_they_are_for(region: str) -> None:
    templates = pods(region)
    for name, one in of(region, "Deployment", "StatefulSet").items():
        assert selects(one["spec"]["selector"], templates[name]["metadata"]["labels"])
    for name, service in of(region, "Service").items():
        picked = [
            pod
            for pod in templates.values()
            if selects({"matchLabels": service["spec"]["selector"]}, pod["metadata"]["labels"])
        ]
        assert len(picked) == 1, name
        named = {port["name"] for port in picked[0]["spec"]["containers"][0]["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= named
    budgets = of(region, "PodDisruptionBudget")
    assert set(budgets) == {*SERVICES, "nats"}
    for name, budget in budgets.items():
        assert selects(budget["spec"]["selector"], templates[name]["metadata"]["labels"])
        assert budget["spec"]["maxUnavailable"] == 1
    for policy in of(region, "NetworkPolicy").values():
        assert any(selects(policy["spec"]["podSelector"], pod["metadata"]["labels"]) for pod in templates.values())


def test_nothing_talks_but_where_it_is_said(region: str) -> None:
    everything = of(region, "NetworkPolicy")["nothing-else"]["spec"]
    assert everything == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    inside = {("names", 53), ("nats", 4222)}
    assert ways_out(region, "scorer") == inside
    assert ways_out(region, "setup") == inside
    for name in ("puller", "poster", "console"):
        assert ways_out(region, name) == inside | {("outside", 443)}
    assert ways_out(region, "nats") == {("names", 53), ("nats", 6222)}


def test_pods_have_no_rights(region: str) -> None:
    for name, pod in pods(region).items():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert of(region, "ServiceAccount")[name]["automountServiceAccountToken"] is False
        assert spec["serviceAccountName"] == name
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 10001
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        (container,) = spec["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
        assert "memory" in container["resources"]["limits"]


def test_each_sees_its_own_secrets_only(region: str) -> None:
    assert {name: set(secrets(pod)) for name, pod in pods(region).items()} == SECRETS
    told = (ROOT / "docs/deploy.md").read_text()
    assert {name for names in SECRETS.values() for name in names if f"`{name}`" not in told} == set()
    for name, pod in pods(region).items():
        paths = [mount["mountPath"] for mount in pod["spec"]["containers"][0]["volumeMounts"]]
        for variable, value in environment(region, pod).items():
            if variable.endswith(("_FILE", "_DIR", "_CA")):
                assert any(value == path or value.startswith(f"{path}/") for path in paths), (name, variable)


def test_variables_are_settings(region: str) -> None:
    for pod in pods(region).values():
        assert {name for name in environment(region, pod) if name.startswith("WEIR_")} <= SETTINGS


def test_services_are_asked_how_they_are_and_given_time_to_finish(region: str) -> None:
    for name in SERVICES:
        spec = pods(region)[name]["spec"]
        assert spec["terminationGracePeriodSeconds"] > topology.ACK_WAIT
        (container,) = spec["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert str(ports["ops"]) == environment(region, pods(region)[name])["WEIR_OPS_PORT"]
        probes = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
        assert {kind: probe["path"] for kind, probe in probes.items()} == {
            "startup": "/livez", "liveness": "/livez", "readiness": "/readyz"
        }  # fmt: skip
        assert {probe["port"] for probe in probes.values()} == {"ops"}


def test_every_image_has_a_tag_and_a_target(region: str) -> None:
    stages = set(re.findall(r"^FROM \S+ AS (\S+)", (ROOT / "deploy/Dockerfile").read_text(), re.MULTILINE))
    for pod in pods(region).values():
        image, _, tag = pod["spec"]["containers"][0]["image"].partition(":")
        assert tag
        assert tag != "latest"
        assert image == "nats" or image.removeprefix("weir-") in stages


def test_the_broker_goes_in_good_order(region: str) -> None:
    spec = of(region, "StatefulSet")["nats"]["spec"]
    text = next(one for name, one in of(region, "ConfigMap").items() if re.match(r"nats-[a-z0-9]{10}$", name))["data"][
        "nats.conf"
    ]
    lame = sum(int(found) for found in re.findall(r"^lame_duck_\w+: (\d+)s", text, re.MULTILINE))
    assert 0 < lame < spec["template"]["spec"]["terminationGracePeriodSeconds"]
    assert spec["replicas"] == 3 == text.count(".nats-headless:6222")
    given = set(environment(region, spec["template"]))
    assert set(re.findall(r"\$(\w+)", text)) <= given


def test_the_broker_takes_its_configuration(region: str, tmp_path: Path) -> None:
    certificates(tmp_path / "tls", name=["nats"])
    text = (KUBERNETES / "components/nats/nats.conf").read_text()
    text = text.replace("/etc/nats", str(tmp_path)).replace("/var/lib/nats", str(tmp_path / "store"))
    (tmp_path / "nats.conf").write_text(text)
    (tmp_path / "accounts").mkdir()
    (tmp_path / "accounts/accounts.conf").write_text(f"accounts {{ weir_{region} {{ jetstream: enabled }} }}\n")
    told = {"POD_NAME": "nats-0", "CLUSTER": f"weir-{region}", "SERVER_TAGS": region, "NATS_STORE_KEY": "k" * 44}
    checked = subprocess.run(
        [str(embedded.binary()), "-t", "-c", str(tmp_path / "nats.conf")],
        env={**os.environ, **told},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr


def test_files_parse_and_belong_together(region: str) -> None:
    named: set[Path] = set()
    for file in sorted(KUBERNETES.rglob("kustomization.yaml")):
        one: dict[str, Any] = yaml.safe_load(file.read_text())
        for resource in [*one.get("resources", []), *one.get("components", [])]:
            path = (file.parent / resource).resolve()
            assert path.exists(), f"{file} names {resource}"
            named.add(path)
    assert (KUBERNETES / "overlays" / region / "namespace.yaml").resolve() in named
    for file in sorted(KUBERNETES.rglob("*.yaml")):
        assert list(yaml.safe_load_all(file.read_text()))
        assert file.name == "kustomization.yaml" or file.resolve() in named, f"{file} belongs to nothing"
