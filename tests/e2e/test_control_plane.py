"""Chapter "control nodes": every apiserver serves by itself, one controller of each kind leads, and all
masters agree on who somebody is."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support_deadlines import whole
from support_eventually import eventually
from support_namespace import namespace
from support_visits import Outcome, Visit, visit

from lab.cluster import Cluster
from lab.errors import LabError
from lab.kubeapi import KubeApi, Refused
from lab.machine import Machine, on_each
from lab.topology import Role
from lab.wait import NotYet

pytestmark = pytest.mark.e2e
CONTROLLERS = ("kube-controller-manager", "kube-scheduler")
FLAGS = 'pid=$(systemctl show -P MainPID "$0"); [ "$pid" = 0 ] || tr "\\0" "\\n" < "/proc/$pid/cmdline"'
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
WHO_AM_I = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
QUESTION = json.dumps({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"})
CALLS = 20


@pytest.fixture(scope="module")
def masters(lab_control_plane: Cluster) -> list[str]:
    return [node.name for node in lab_control_plane.topology.of(Role.CONTROL_PLANE)]


@pytest.fixture(scope="module")
def own(lab_control_plane: Cluster) -> Iterator[str]:
    with namespace(lab_control_plane, "control-plane") as name:
        yield name


# -- the guide's commands --------------------------------------------------------------------------


def test_kubectl_get_cs_calls_everything_healthy(lab_control_plane: Cluster) -> None:
    items = lab_control_plane.kubectl_json("get", "cs")["items"]
    seen = {each["metadata"]["name"]: each["conditions"] for each in items}
    assert {"scheduler", "controller-manager", "etcd-0"} <= seen.keys(), (
        f"kubectl get cs shows {sorted(seen)}"
    )
    ill = {name: said for name, said in seen.items() if not _healthy(said)}
    assert not ill, f"kubectl get cs: {ill}"


def test_every_master_calls_its_own_controllers_healthy(lab_control_plane: Cluster) -> None:
    """Through the balancer only one of them is asked, and the other's dead scheduler is not seen."""
    ill = [
        f"{node.name}: {each['metadata']['name']}: {each['conditions']}"
        for node in lab_control_plane.topology.of(Role.CONTROL_PLANE)
        for each in lab_control_plane.api(node.name).items("/api/v1/componentstatuses")
        if not _healthy(each["conditions"])
    ]
    assert not ill, "\n".join(ill)


def test_kubectl_cluster_info_shows_the_address_that_users_have(lab_control_plane: Cluster) -> None:
    said = lab_control_plane.kubectl("cluster-info")
    assert f"is running at {lab_control_plane.topology.api_url}" in said, said


# -- each apiserver, and the way through the balancer ----------------------------------------------


def test_every_check_of_readyz_is_ok_on_each_apiserver(
    lab_control_plane: Cluster, masters: list[str]
) -> None:
    for name in masters:
        _insist_on_readyz(name, lab_control_plane.api(name))


def test_every_check_of_readyz_is_ok_where_users_find_the_api(lab_control_plane: Cluster) -> None:
    _insist_on_readyz(str(lab_control_plane.topology.api_address), lab_control_plane.api())


def test_each_apiserver_has_the_planned_version(lab_control_plane: Cluster, masters: list[str]) -> None:
    planned = f"v{lab_control_plane.topology.versions.of('kube-apiserver')}"
    seen = {name: lab_control_plane.api(name).get("/version")["gitVersion"] for name in masters}
    assert seen == dict.fromkeys(masters, planned)


def test_what_one_master_writes_every_master_reads(
    lab_control_plane: Cluster, masters: list[str], own: str
) -> None:
    for writer in masters:
        where = f"/api/v1/namespaces/{own}/configmaps"
        name = f"written-by-{writer}"
        lab_control_plane.api(writer).post(where, {"metadata": {"name": name}, "data": {"by": writer}})
        seen = {reader: lab_control_plane.api(reader).get(f"{where}/{name}")["data"] for reader in masters}
        assert seen == {reader: {"by": writer} for reader in masters}


def test_the_kubernetes_service_leads_to_every_master(lab_control_plane: Cluster) -> None:
    plan = lab_control_plane.topology
    found = lab_control_plane.api().items(
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
        labelSelector="kubernetes.io/service-name=kubernetes",
    )
    listed = {a for each in found for e in each["endpoints"] if _is_ready(e) for a in e["addresses"]}
    by_address = {str(node.address): node.name for node in plan.of(Role.CONTROL_PLANE)}
    lacking = [name for address, name in by_address.items() if address not in listed]
    assert not lacking, f"the EndpointSlice of kubernetes lacks {lacking}; it lists {sorted(listed)}"
    assert listed <= by_address.keys(), f"nobody planned {sorted(listed - by_address.keys())}"
    ports = {port["port"] for each in found for port in each["ports"]}
    assert ports == {plan.networks.api_port}


# -- leaders ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_one_master_leads(lab_control_plane: Cluster, masters: list[str], controller: str) -> None:
    """One lease, held by a planned master, and renewed within its time."""
    lease = eventually(
        f"the lease of {controller} to be held",
        lambda: _held(lab_control_plane.api(), controller),
        timeout=20,
    )
    holder = lease["holderIdentity"].partition("_")[0]
    assert holder in masters, f"{controller}: {lease['holderIdentity']} leads, which is none of {masters}"
    age = datetime.now(UTC) - datetime.fromisoformat(lease["renewTime"])
    longest = timedelta(seconds=lease["leaseDurationSeconds"])
    assert age < longest, (
        f"{controller}: {holder} renewed its lease {age.total_seconds():.0f} s ago, not since"
    )


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_no_master_works_without_being_elected(lab_control_plane: Cluster, controller: str) -> None:
    """What the running process was told counts, whatever its file says."""
    said = on_each(lab_control_plane.of(Role.CONTROL_PLANE), lambda m: m.check("sh", "-c", FLAGS, controller))
    for master, flags in said.items():
        assert flags, f"{master}: {controller} does not run; `thwlab logs {master} {controller}`"
        told = [flag for flag in flags.splitlines() if flag.startswith("--leader-elect=")]
        assert told[-1:] == ["--leader-elect=true"], (
            f"{master}: {controller} was started with {told or 'no'} election"
        )


def test_no_master_leads_by_a_lease_of_its_own(lab_control_plane: Cluster, masters: list[str]) -> None:
    """Two controllers that look at different leases would both be at work."""
    leases = lab_control_plane.api().items(LEASES)
    names = {
        each["metadata"]["name"]: each["spec"].get("holderIdentity", "")
        for each in leases
        if each["spec"].get("holderIdentity", "").partition("_")[0] in masters
    }
    assert names.keys() <= set(CONTROLLERS), f"leases held by masters: {names}"


# -- identity across masters -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokens(lab_control_plane: Cluster, masters: list[str], own: str) -> Mapping[str, str]:
    """A token of the same service account, minted by each master."""
    account = f"/api/v1/namespaces/{own}/serviceaccounts"
    lab_control_plane.api().post(account, {"metadata": {"name": "caller"}})
    wish = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": 600},
    }
    return {
        name: lab_control_plane.api(name).post(f"{account}/caller/token", wish)["status"]["token"]
        for name in masters
    }


def test_every_master_accepts_the_tokens_of_every_master(
    lab_control_plane: Cluster, masters: list[str], tokens: Mapping[str, str], own: str
) -> None:
    """Each is asked directly and both ways; through the balancer half of the calls would hide it."""
    plan = lab_control_plane.topology
    pairs = [(minter, node) for minter in masters for node in plan.of(Role.CONTROL_PLANE)]
    asked = [_who(lab_control_plane, str(node.address), tokens[minter]) for minter, node in pairs]
    wrong = [
        f"{node.name} answers {outcome.status or outcome} to a token minted by {minter}"
        for (minter, node), outcome in zip(pairs, visit(lab_control_plane, asked), strict=True)
        if not _is_caller(outcome, own)
    ]
    assert not wrong, "\n".join([*wrong, "  the masters disagree on the service accounts' key pair"])


def test_no_call_through_the_service_is_refused(
    lab_network: Cluster, tokens: Mapping[str, str], masters: list[str]
) -> None:
    """From a worker by the ClusterIP, over fresh connections; not one of the calls is retried."""
    worker = lab_network.of(Role.WORKER)[0]
    seen = {minter: _through_the_service(lab_network, worker, tokens[minter]) for minter in masters}
    wrong = [
        f"{worker.name}: of {CALLS} calls with a token minted by {minter}, by status: {dict(statuses)}"
        for minter, statuses in seen.items()
        if statuses != {"201": CALLS}
    ]
    assert not wrong, "\n".join(wrong)


def _healthy(conditions: list[dict[str, Any]]) -> bool:
    return any(each["type"] == "Healthy" and each["status"] == "True" for each in conditions)


def _is_ready(endpoint: dict[str, Any]) -> bool:
    return endpoint.get("conditions", {}).get("ready") is not False


def _insist_on_readyz(where: str, api: KubeApi) -> None:
    try:
        said = api.text("/readyz?verbose")
    except (Refused, NotYet) as error:
        raise AssertionError(f"{where}: {error}") from error
    checks = [line for line in said.splitlines() if line.startswith("[")]
    assert "[+]etcd ok" in checks, f"{where}: /readyz?verbose says nothing about etcd: {said[-600:]}"
    assert said.rstrip().endswith("readyz check passed"), f"{where}: {said[-600:]}"
    ill = [line for line in checks if not line.startswith("[+]")]
    assert not ill, f"{where}: {ill}"


def _held(api: KubeApi, controller: str) -> dict[str, Any]:
    try:
        spec: dict[str, Any] = api.get(f"{LEASES}/{controller}")["spec"]
    except Refused as error:
        raise NotYet(str(error)) from error
    if not spec.get("holderIdentity"):
        raise NotYet(f"nobody holds it: {spec}")
    return spec


def _who(cluster: Cluster, address: str, token: str) -> Visit:
    port, ca = cluster.topology.networks.api_port, cluster.credentials.ca("kubernetes").decode()
    return Visit(address, port, ca, WHO_AM_I, method="POST", body=QUESTION, token=token)


def _is_caller(outcome: Outcome, namespace: str) -> bool:
    return outcome.status == 201 and f'"system:serviceaccount:{namespace}:caller"' in outcome.body


def _through_the_service(cluster: Cluster, worker: Machine, token: str) -> Counter[str]:
    networks = cluster.topology.networks
    url = f"https://{networks.kubernetes_service}:443{WHO_AM_I}"
    each = f'url = "{url}"\noutput = /dev/null\n'
    quoted = QUESTION.replace('"', '\\"')
    config = (
        'silent\nshow-error\nnoproxy = "*"\nhttp1.1\n'
        f"max-time = {whole(10)}\n"
        'write-out = "%{http_code}\\n"\n'
        'cacert = "/opt/kubernetes/ssl/ca.pem"\nheader = "Connection: close"\n'
        f'header = "Content-Type: application/json"\nheader = "Authorization: Bearer {token}"\n'
        f'data = "{quoted}"\n' + each * CALLS
    )
    done = worker.run("curl", "-K", "-", stdin=config.encode(), timeout=60)
    if done.timed_out:
        raise LabError(f"{worker.name}: curl did not end; so far {done.stdout!r}")
    return Counter(done.stdout.split())
