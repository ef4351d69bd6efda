"""All masters alike: what half of the requests would meet is asked of each apiserver by itself."""

import hashlib
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import pytest
from support_eventually import eventually
from support_holdings import Holdings, holdings
from support_namespace import namespace
from support_pods import insist

from lab.cluster import Cluster
from lab.kubeapi import KubeApi, Refused
from lab.topology import Role
from lab.wait import NotYet

pytestmark = pytest.mark.e2e
PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
SHARED = ("ca-file", "cafile", "certificate-authority", "-config", "-policy-file", "service-account-key-file",
          "signing-key-file", "signing-cert-file", "service-account-private-key-file")  # fmt: skip
Pod = Mapping[str, Any]


@pytest.fixture(scope="module")
def held(lab_control_plane: Cluster) -> Mapping[str, Holdings]:
    """What lies and runs on every master."""
    masters = lab_control_plane.of(Role.CONTROL_PLANE)
    if len(masters) < 2:
        pytest.skip("the plan has one master")
    return holdings(lab_control_plane, masters)


# -- as they were started --------------------------------------------------------------------------


@pytest.mark.parametrize("program", PROGRAMS)
def test_masters_run_a_program_by_the_same_flags(held: Mapping[str, Holdings], program: str) -> None:
    """But for their own addresses; what the running process was told counts, whatever its file says."""
    first, *others = held.values()
    right = _impersonal(first, program)
    assert right, f"{first.name}: {program} does not run"
    insist(
        [
            f"{other.name}: {program} has --{flag}={seen.get(flag)!r}, {first.name} {right.get(flag)!r}"
            for other in others
            for seen in [_impersonal(other, program)]
            for flag in sorted({flag for flag, _ in right.items() ^ seen.items()})
            if _flags(first, program).get(flag) != _flags(other, program).get(flag)  # a list of all of them
        ]
    )


def _impersonal(held: Holdings, program: str) -> dict[str, str]:
    own = {str(held.machine.node.address): "ADDRESS", held.name: "NAME"}
    flags = _flags(held, program)
    for personal, word in own.items():
        flags = {flag: value.replace(personal, word) for flag, value in flags.items()}
    return flags


def _flags(held: Holdings, program: str) -> dict[str, str]:
    return dict(held.flags.get(program, {}))


@pytest.mark.parametrize("program", PROGRAMS)
def test_masters_read_the_same_files(held: Mapping[str, Holdings], program: str) -> None:
    """CAs, policies, keys of tokens and of secrets at rest: by content, which is never shown."""
    first, *others = held.values()
    right = _digests(first, program)
    insist(
        [
            f"{other.name}: {path}, --{flag} of {program}, is another file than on {first.name}"
            for other in others
            for (flag, path), digest in _digests(other, program).items()
            if right.get((flag, path), digest) != digest
        ]
    )


def _digests(held: Holdings, program: str) -> dict[tuple[str, str], str]:
    flags = held.flags.get(program, {}).items()
    shared = [(flag, path) for flag, path in flags if flag.endswith(SHARED) and path.startswith("/")]
    return {each: hashlib.sha256(held.file(each[1])).hexdigest() for each in shared}


# -- as they admit ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(lab_control_plane: Cluster) -> Iterator[str]:
    """A namespace that forbids what is not restricted, and its service account."""
    with namespace(lab_control_plane, "guarded") as name:
        api = lab_control_plane.api()
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        api.post(f"/api/v1/namespaces/{name}/serviceaccounts", {"metadata": {"name": "tried"}})
        yield name


def test_every_master_admits_by_the_same_rules(lab_control_plane: Cluster, guarded: str) -> None:
    """Dry runs: pods get a token, tolerations and a priority; what breaks a rule is refused."""
    complaints = []
    for node in lab_control_plane.topology.of(Role.CONTROL_PLANE):
        api = lab_control_plane.api(node.name)
        eventually(f"{node.name} to know {guarded}", partial(_try, api, guarded, _modest()), timeout=10)
        complaints += [
            f"{node.name}: {each}" for each in (*_lacking(api, guarded), *_let_through(api, guarded))
        ]
    insist(complaints, "--disable-admission-plugins must name none of these on any master")


def _lacking(api: KubeApi, where: str) -> Iterator[str]:
    """What admission should have put into a pod."""
    spec = _try(api, where, _modest())
    if not any("projected" in volume for volume in spec.get("volumes", ())):
        yield "ServiceAccount gives a pod no token"
    if not any(each.get("key") == "node.kubernetes.io/not-ready" for each in spec.get("tolerations", ())):
        yield "DefaultTolerationSeconds gives a pod no tolerations"
    if "priority" not in spec:
        yield "Priority gives a pod none"


def _let_through(api: KubeApi, where: str) -> Iterator[str]:
    """What admission should have refused."""
    bold = {**_modest(), "hostNetwork": True}
    for plugin, place, spec in (
        ("PodSecurity", where, bold),
        ("NamespaceLifecycle", "no-such-place", _modest()),
    ):
        try:
            _try(api, place, spec)
        except Refused as refused:
            if refused.status not in (403, 404):
                raise
        else:
            yield f"{plugin} lets a pod of {place} through that breaks its rules: {sorted(spec)}"


def _try(api: KubeApi, where: str, spec: Pod) -> dict[str, Any]:
    try:
        made = api.post(
            f"/api/v1/namespaces/{where}/pods?dryRun=All", {"metadata": {"name": "tried"}, "spec": spec}
        )
    except Refused as refused:
        if "serviceaccount" in str(refused) and "not found" in str(refused):
            raise NotYet(str(refused)) from refused
        raise
    tried: dict[str, Any] = made["spec"]
    return tried


def _modest() -> dict[str, Any]:
    """A pod that every rule lets through."""
    security = {
        "allowPrivilegeEscalation": False,
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {"name": "tried", "image": "tried", "securityContext": security}
    return {"serviceAccountName": "tried", "containers": [container]}
