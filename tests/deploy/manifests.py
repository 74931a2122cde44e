"""The Kubernetes manifests of a region, as kubectl renders them, and the schemas they are held to."""

import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT

KUBERNETES = ROOT / "deploy/kubernetes"
REGIONS = tuple(sorted(path.name for path in (KUBERNETES / "overlays").iterdir()))
VERSION = "1.32"
"""The Kubernetes whose schemas the manifests are held to."""

Manifest = dict[str, Any]

_TEXT: Manifest = {"type": "string"}
_COUNT: Manifest = {"type": "integer", "minimum": 0}


def _of(required: tuple[str, ...] = (), **properties: Manifest) -> Manifest:
    return {"type": "object", "additionalProperties": False, "required": list(required), "properties": properties}


_SCALING = _of(
    stabilizationWindowSeconds={"type": "integer", "minimum": 0, "maximum": 3600},
    selectPolicy={"enum": ["Min", "Max", "Disabled"]},
    policies={
        "type": "array",
        "items": _of(
            ("type", "value", "periodSeconds"),
            type={"enum": ["Pods", "Percent"]},
            value={"type": "integer", "minimum": 1},
            periodSeconds={"type": "integer", "minimum": 1, "maximum": 1800},
        ),
    },
)
SCALED_OBJECT = _of(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "keda.sh/v1alpha1"},
    kind={"const": "ScaledObject"},
    metadata={"type": "object", "required": ["name"]},
    spec=_of(
        ("scaleTargetRef", "triggers"),
        scaleTargetRef=_of(("name",), name=_TEXT, kind=_TEXT, apiVersion=_TEXT),
        minReplicaCount=_COUNT,
        maxReplicaCount=_COUNT,
        pollingInterval=_COUNT,
        cooldownPeriod=_COUNT,
        advanced=_of(
            horizontalPodAutoscalerConfig=_of(behavior=_of(scaleUp=_SCALING, scaleDown=_SCALING)),
        ),
        triggers={
            "type": "array",
            "minItems": 1,
            "items": _of(
                ("type", "metadata"),
                type={"const": "nats-jetstream"},
                metadata=_of(
                    ("natsServerMonitoringEndpoint", "account", "stream", "consumer"),
                    natsServerMonitoringEndpoint={"type": "string", "pattern": r"^[a-z0-9.-]+:\d+$"},
                    account=_TEXT,
                    stream=_TEXT,
                    consumer=_TEXT,
                    lagThreshold={"type": "string", "pattern": r"^\d+$"},
                    activationLagThreshold={"type": "string", "pattern": r"^\d+$"},
                    useHttps={"enum": ["true", "false"]},
                ),
            ),
        },
    ),
)
"""What we use of KEDA's ScaledObject: config/crd/bases/keda.sh_scaledobjects.yaml of kedacore/keda, and the parameters
of its scaler "NATS JetStream" (keda.sh/docs/2.19/scalers/nats-jetstream), every value of which is text."""


@cache
def rendered(region: str) -> tuple[Manifest, ...]:
    """Every object of a region; the test is skipped where there is no kubectl."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl renders the manifests, and is not installed")
    done = subprocess.run(
        [kubectl, "kustomize", str(KUBERNETES / "overlays" / region)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return tuple(one for one in yaml.safe_load_all(done.stdout) if one)


def of(region: str, *kinds: str) -> dict[str, Manifest]:
    """The region's objects of these kinds, by name."""
    return {one["metadata"]["name"]: one for one in rendered(region) if one["kind"] in kinds}


def pods(region: str) -> dict[str, Manifest]:
    """The pod template of everything that runs, by name."""
    return {name: one["spec"]["template"] for name, one in of(region, "Deployment", "StatefulSet", "Job").items()}


def environment(region: str, pod: Manifest) -> dict[str, str]:
    """The variables a pod's container is given in clear."""
    maps = of(region, "ConfigMap")
    container = pod["spec"]["containers"][0]
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        found |= maps[source["configMapRef"]["name"]]["data"]
    return found | {one["name"]: one.get("value", "") for one in container.get("env", [])}


def secrets(pod: Manifest) -> Iterator[str]:
    """Names of the secrets a pod sees."""
    for volume in pod["spec"].get("volumes", []):
        if "secret" in volume:
            yield volume["secret"]["secretName"]
        for source in volume.get("projected", {}).get("sources", []):
            yield source["secret"]["name"]
    for container in pod["spec"]["containers"]:
        for one in container.get("env", []):
            if "secretKeyRef" in one.get("valueFrom", {}):
                yield one["valueFrom"]["secretKeyRef"]["name"]


def selects(selector: Manifest, labels: Manifest) -> bool:
    """Whether a label selector picks what has these labels; an empty one picks everything."""
    for wanted in selector.get("matchExpressions", []):
        assert wanted["operator"] == "In"
        if labels.get(wanted["key"]) not in wanted["values"]:
            return False
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
