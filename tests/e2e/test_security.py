"""What must not be: open ports, plain secrets, keys in the wrong hands, callers without a name, proxies."""

import base64
import json
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from support_deadlines import whole
from support_eventually import eventually
from support_machines import (
    Found,
    Listener,
    Places,
    holders,
    in_sight,
    inherited,
    is_made_there,
    key_files,
    kubeconfigs,
    listeners,
    needed_keys,
    needed_secrets,
    secrets_of,
)
from support_namespace import namespace
from support_visits import Outcome, Visit, visit

from lab.cluster import Cluster
from lab.components.etcd import CLIENT_PORT, PEER_PORT
from lab.components.rendering import LOGS
from lab.kubeapi import KubeApi, Refused
from lab.machine import Machine, on_each
from lab.topology import Node, Profile, Role
from lab.wait import NotYet

pytestmark = pytest.mark.e2e
AUDIT_LOG = f"{LOGS}/k8s-audit.log"
KUBELET_PORT, SSH_PORT = 10250, 22
INSECURE = {8080: "the API without TLS", 10255: "the kubelet's read-only port"}
LOCAL = (10248, 10249, 10256, 10257, 10259)
ENCRYPTED = b"k8s:enc:secretbox:v1:key1:"
HEALTH = ("/healthz", "/livez", "/readyz")
NOT_FOR_ANYBODY = ("/", "/version", "/api", "/api/v1/nodes", "/api/v1/secrets", "/metrics", "/openapi/v2")
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ftp_proxy")


def hardened(cluster: Cluster) -> Cluster:
    if cluster.topology.profile is not Profile.HARDENED:
        pytest.skip("the profile `guide` leaves this open, as the guide does")
    return cluster


def api_call(cluster: Cluster, address: str, path: str, token: str = "") -> Visit:
    ca = cluster.credentials.ca("kubernetes").decode()
    return Visit(address, cluster.topology.networks.api_port, ca, path, token=token)


# -- ports -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def open_ports(lab: Cluster) -> Mapping[str, list[Listener]]:
    return listeners(lab)


def planned_ports(cluster: Cluster, node: Node) -> list[int]:
    """What the network may reach on that machine."""
    api = cluster.topology.networks.api_port
    by_role = {
        Role.CONTROL_PLANE: [api],
        Role.LOAD_BALANCER: [api],
        Role.ETCD: [CLIENT_PORT, PEER_PORT],
        Role.WORKER: [KUBELET_PORT],
    }
    return [port for role, ports in by_role.items() if role in node.roles for port in ports]


@pytest.mark.parametrize("port", list(INSECURE))
def test_nobody_listens_on_the_insecure_port(
    lab: Cluster, open_ports: Mapping[str, list[Listener]], port: int
) -> None:
    hardened(lab)
    found = [f"{name}: {each}" for name, seen in open_ports.items() for each in seen if each.port == port]
    assert not found, f"{INSECURE[port]}: {found}"


def test_the_insecure_ports_are_closed_to_the_network(lab: Cluster) -> None:
    """Asked from outside; a planned port of the same machine shows that it can be reached at all."""
    nodes = [node for node in hardened(lab).topology.nodes if planned_ports(lab, node)]
    ca = lab.credentials.ca("kubernetes").decode()
    asked = [(n, port) for n in nodes for port in (planned_ports(lab, n)[0], *INSECURE)]
    outcomes = visit(lab, [Visit(str(node.address), port, ca) for node, port in asked])
    wrong = [
        f"{node.name}:{port}: {outcome}"
        for (node, port), outcome in zip(asked, outcomes, strict=True)
        if ("ConnectionRefusedError" in outcome.reason) != (port in INSECURE)
    ]
    assert not wrong, "\n".join(wrong)


def test_health_and_metrics_of_controllers_and_proxies_are_for_their_own_machine_only(
    lab: Cluster, open_ports: Mapping[str, list[Listener]]
) -> None:
    hardened(lab)
    seen = [(name, each) for name, found in open_ports.items() for each in found if each.port in LOCAL]
    assert {each.port for _, each in seen} == set(LOCAL), f"nobody serves some of {LOCAL}: {seen}"
    wrong = [f"{name}: {each}" for name, each in seen if not each.is_local]
    assert not wrong, f"open to the network: {wrong}"


def test_machines_listen_to_the_network_only_where_their_roles_say(
    lab: Cluster, open_ports: Mapping[str, list[Listener]]
) -> None:
    hardened(lab)
    wrong = []
    for node in lab.topology.nodes:
        outer = [each for each in open_ports[node.name] if not each.is_local and each.port != SSH_PORT]
        planned = set(planned_ports(lab, node))
        wrong += [
            f"{node.name}: {each}, which no role of it needs" for each in outer if each.port not in planned
        ]
        wrong += [f"{node.name}: nobody on {port}" for port in planned - {each.port for each in outer}]
    assert not wrong, "\n".join(wrong)


# -- secrets at rest -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own(lab: Cluster) -> Iterator[str]:
    with namespace(lab, "security") as name:
        yield name


@pytest.fixture(scope="module")
def marked(lab: Cluster, own: str) -> Mapping[str, str]:
    """A secret's value, by the master that was asked directly to store it."""
    values = {node.name: uuid.uuid4().hex for node in lab.topology.of(Role.CONTROL_PLANE)}
    for name, value in values.items():
        secret = {"metadata": {"name": f"by-{name}"}, "stringData": {"word": value}}
        lab.api(name).post(f"/api/v1/namespaces/{own}/secrets", secret)
    return values


def test_every_master_stores_secrets_encrypted(lab: Cluster, own: str, marked: Mapping[str, str]) -> None:
    hardened(lab)
    for name, value in marked.items():
        done = lab.etcdctl("get", f"/registry/secrets/{own}/by-{name}", "--print-value-only")
        assert done.ok, done.stderr
        assert done.out, f"etcd has no secret that {name} stored"
        assert value.encode() not in done.out, f"{name} stores secrets as plain text"
        assert done.out.startswith(ENCRYPTED), f"{name} stores a secret that begins {done.out[:30]!r}"


def test_every_master_reads_what_another_has_encrypted(
    lab: Cluster, own: str, marked: Mapping[str, str]
) -> None:
    wrong = []
    for writer, value in marked.items():
        for reader in marked:
            seen = lab.api(reader).get(f"/api/v1/namespaces/{own}/secrets/by-{writer}")["data"]["word"]
            if base64.b64decode(seen).decode() != value:
                wrong.append(f"{reader} reads something else than {writer} has written")
    assert not wrong, "\n".join(wrong)


def test_no_secret_in_etcd_is_plain(lab: Cluster, marked: Mapping[str, str]) -> None:
    """Also those of the bring-up, as the bootstrap token."""
    hardened(lab)
    done = lab.etcdctl("get", "/registry/secrets/", "--prefix", "-w", "json", timeout=30)
    assert done.ok, done.stderr
    stored = {base64.b64decode(kv["key"]).decode(): kv["value"] for kv in json.loads(done.stdout)["kvs"]}
    assert any("/bootstrap-token-" in key for key in stored), f"no bootstrap token among {sorted(stored)}"
    plain = [key for key, value in stored.items() if not base64.b64decode(value).startswith(ENCRYPTED)]
    assert not plain, f"stored as plain text: {plain}"


# -- the audit log ---------------------------------------------------------------------------------


def audited(lab: Cluster, own: str) -> Mapping[str, list[dict[str, Any]]]:
    """By master, what its log says about a request that only this master was asked."""
    marker = f"marked-{uuid.uuid4().hex}"

    def ask(machine: Machine) -> list[dict[str, Any]]:
        path = f"/api/v1/namespaces/{own}/configmaps/{marker}-{machine.name}"
        _expect_nothing(lab.api(machine.name), path)
        return eventually(
            f"the audit log of {machine.name} to have {path}", lambda: _logged(machine, marker), timeout=10
        )

    return on_each(lab.of(Role.CONTROL_PLANE), ask)


@pytest.mark.guide_defect("D42", "an audit log without a policy stays empty")
def test_every_master_records_who_asked_what(lab: Cluster, own: str) -> None:
    for name, events in audited(lab, own).items():
        seen = {(each["user"]["username"], each["verb"], each["responseStatus"]["code"]) for each in events}
        assert seen == {("k8s-user", "get", 404)}, f"{name}: {seen}"
        foreign = [each["requestURI"] for each in events if not each["requestURI"].endswith(name)]
        assert not foreign, f"{name} recorded what another master was asked: {foreign}"


def test_the_audit_log_holds_no_bodies(lab: Cluster, own: str) -> None:
    hardened(lab)
    levels = {name: {each["level"] for each in events} for name, events in audited(lab, own).items()}
    assert levels == {name: {"Metadata"} for name in levels}


def test_the_audit_log_is_roots_alone(lab: Cluster) -> None:
    done = on_each(lab.of(Role.CONTROL_PLANE), lambda m: m.run("stat", "-c", "%a %U", AUDIT_LOG))
    seen = {name: (each.stdout or each.stderr).strip() for name, each in done.items()}
    assert seen == dict.fromkeys(seen, "600 root")


# -- callers without a name ------------------------------------------------------------------------


def test_anybody_may_ask_an_apiserver_for_its_health(lab: Cluster) -> None:
    asked = [(node, path) for node in lab.topology.of(Role.CONTROL_PLANE) for path in HEALTH]
    outcomes = visit(lab, [api_call(lab, str(node.address), path) for node, path in asked])
    wrong = [f"{n.name}{path}: {o}" for (n, path), o in zip(asked, outcomes, strict=True) if o.status != 200]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("token", ["", "no-such-token"], ids=["anonymous", "unknown-token"])
def test_an_apiserver_tells_nothing_else_to(lab: Cluster, token: str) -> None:
    hardened(lab)
    asked = [(node, path) for node in lab.topology.of(Role.CONTROL_PLANE) for path in NOT_FOR_ANYBODY]
    outcomes = visit(lab, [api_call(lab, str(node.address), path, token) for node, path in asked])
    assert not (told := _told(asked, outcomes)), "\n".join(told)


@pytest.mark.guide_defect("D45", "kubelets sign their serving certificates themselves")
def test_a_kubelet_tells_nothing_to_a_client_without_certificate(lab: Cluster) -> None:
    ca = lab.credentials.ca("kubernetes").decode()
    asked = [
        (node, path) for node in lab.topology.of(Role.WORKER) for path in ("/pods", "/metrics", "/healthz")
    ]
    outcomes = visit(lab, [Visit(str(node.address), KUBELET_PORT, ca, path) for node, path in asked])
    assert not (told := _told(asked, outcomes)), "\n".join(told)


def test_controllers_tell_their_metrics_to_nobody_without_a_name(lab: Cluster) -> None:
    said = on_each(
        lab.of(Role.CONTROL_PLANE), lambda m: m.check("sh", "-c", _METRICS, whole(5), timeout=20).split()
    )
    wrong = [f"{name}: {codes}" for name, codes in said.items() if not {*codes} <= {"401", "403"}]
    assert not wrong, f"/metrics on 10257 and 10259 answer {wrong}"


# -- keys and secrets on machines ------------------------------------------------------------------


@pytest.fixture(scope="module")
def keys(lab: Cluster) -> Mapping[str, list[Found]]:
    return key_files(lab)


@pytest.fixture(scope="module")
def held(lab: Cluster) -> Places:
    """By machine, the files that hold each secret of the lab."""
    return holders(lab, secrets_of(lab))


def test_no_private_key_is_readable_by_others(keys: Mapping[str, list[Found]]) -> None:
    wrong = [f"{name}: {each}" for name, found in keys.items() for each in found if not each.is_roots_alone]
    assert not wrong, "\n".join(wrong)


@pytest.mark.guide_defect("D45", "kubelets make a key for a certificate that nobody signed")
def test_private_keys_lie_where_the_plan_puts_them_and_nowhere_else(
    lab: Cluster, keys: Mapping[str, list[Found]]
) -> None:
    wrong = []
    for node in lab.topology.nodes:
        paths = {each.path for each in keys[node.name]}
        needed = needed_keys(lab, node)
        strays = {path for path in paths - needed if not is_made_there(node, path)}
        wrong += [f"{node.name} has {path}, which none of its roles needs" for path in sorted(strays)]
        wrong += [f"{node.name} lacks {path}" for path in sorted(needed - paths)]
    assert not wrong, "\n".join(wrong)


def test_no_machine_holds_a_secret_it_does_not_need(lab: Cluster, held: Places) -> None:
    """By content, under whatever name and in whatever file."""
    wrong = []
    for node in lab.topology.nodes:
        needed, has = needed_secrets(lab, node), held[node.name]
        wrong += [f"{node.name} has {what} in {places}" for what, places in has.items() if what not in needed]
        wrong += [f"{node.name} lacks {what}" for what in sorted(needed - has.keys())]
    assert not wrong, "\n".join(wrong)


def test_no_ca_key_is_on_a_machine_that_is_no_master(lab: Cluster, held: Places) -> None:
    """And of etcd's and the front proxy's CA not even there."""
    masters = {node.name for node in lab.topology.of(Role.CONTROL_PLANE)}
    found = {
        f"{name}: {what} in {places}"
        for name, has in held.items()
        for what, places in has.items()
        if what.endswith(" CA") and not (name in masters and what == "key of the kubernetes CA")
    }
    assert not found, "\n".join(found)


def test_every_kubeconfig_is_roots_alone(lab: Cluster) -> None:
    found = kubeconfigs(lab)
    lacking = [node.name for node in lab.topology.nodes if _has_clients(node) and not found[node.name]]
    assert not lacking, f"no kubeconfig was found on {lacking}, so nothing is proven"
    wrong = [f"{name}: {each}" for name, seen in found.items() for each in seen if each.mode != 0o600]
    assert not wrong, "\n".join(wrong)


def test_no_secret_shows_in_arguments_environments_journals_or_the_audit_log(
    lab: Cluster, marked: Mapping[str, str]
) -> None:
    secrets = {**secrets_of(lab), **{f"the secret stored by {name}": [word] for name, word in marked.items()}}
    seen = in_sight(lab, secrets, canary := f"canary-{uuid.uuid4().hex}")
    for name, found in seen.items():
        places = {place.split(" of ")[0] for place in found.pop("canary", [])}
        expected = {"arguments", "environment", "the journal"}
        assert places >= expected, f"{name}: the search missed {canary} in {expected - places}"
    wrong = [
        f"{name} shows {what} in {where}" for name, found in seen.items() for what, where in found.items()
    ]
    assert not wrong, "\n".join(wrong)


# -- proxies ---------------------------------------------------------------------------------------


def test_no_unit_and_no_process_inherits_a_proxy(lab: Cluster) -> None:
    words = {name: [f"{name}=", f"{name.upper()}="] for name in PROXIES}
    seen = inherited(lab, words, f"canary-{uuid.uuid4().hex}")
    unsearched = [
        name for name, found in seen.items() if not any("environment" in p for p in found["canary"])
    ]
    assert not unsearched, f"the search found no environment on {unsearched}"
    wrong = [
        f"{name}: {what} in {place}"
        for name, found in seen.items()
        for what, places in found.items()
        for place in places
        if what != "canary" and place.startswith(("environment", "the units"))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("exceptions", ["", "192.168.100.*"], ids=["no-exceptions", "wildcard"])
def test_a_dead_proxy_in_this_hosts_environment_is_not_asked(
    lab: Cluster, monkeypatch: pytest.MonkeyPatch, exceptions: str
) -> None:
    for name in PROXIES:
        value = exceptions if name == "no_proxy" else "http://127.0.0.1:9"
        monkeypatch.setenv(name, value)
        monkeypatch.setenv(name.upper(), value)
    known = lab.api()
    api = KubeApi(known.url, lab.credentials.ca("kubernetes"), lab.credentials.pair("user"))
    try:
        assert api.get("/version")["gitVersion"], "the API did not tell its version"
    finally:
        api.close()
    assert lab.kubectl("get", "--raw", "/readyz") == "ok"
    done = lab.etcdctl("endpoint", "health")
    assert done.ok, done.stderr
    (outcome,) = visit(lab, [api_call(lab, str(lab.topology.api_address), "/readyz")])
    assert outcome.status == 200, str(outcome)


def _expect_nothing(api: KubeApi, path: str) -> None:
    with pytest.raises(Refused) as refusal:
        api.get(path)
    assert refusal.value.status == 404, str(refusal.value)


def _logged(machine: Machine, marker: str) -> list[dict[str, Any]]:
    done = machine.run("grep", "-F", marker, AUDIT_LOG, timeout=20)
    if not done.ok:
        raise NotYet(done.stderr.strip() or "no such line")
    return [json.loads(line) for line in done.stdout.splitlines()]


def _told(asked: list[tuple[Node, str]], outcomes: list[Outcome]) -> list[str]:
    return [
        f"{node.name}{path}: {outcome} {outcome.body[:80]}"
        for (node, path), outcome in zip(asked, outcomes, strict=True)
        if outcome.status not in (401, 403)
    ]


def _has_clients(node: Node) -> bool:
    return bool(node.roles & {Role.CONTROL_PLANE, Role.WORKER, Role.ADMIN})


_METRICS = """\
for port in 10257 10259; do
    curl --noproxy '*' -sk -m "$0" -o /dev/null -w '%{http_code}\\n' "https://127.0.0.1:$port/metrics"
done
"""
