"""Who is who: pods by their tokens, the administrator, and the programs by their certificates."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import pytest
from support_certificate_uses import KUBELET_PORT, REVIEW, REVIEWS, call
from support_deadlines import whole
from support_eventually import eventually
from support_holdings import Holdings, holdings
from support_namespace import namespace
from support_pod_manifests import ACCOUNT
from support_pods import Pod, PodSet
from support_rights import RIGHTS, questions, use_of
from support_tokens import mint
from support_visits import visit
from support_ways import ways

from lab.cluster import Cluster
from lab.errors import ClusterError
from lab.topology import Role
from lab.wait import NotYet

pytestmark = pytest.mark.e2e
RBAC = "rbac.authorization.k8s.io"
REVIEWER = "/apis/authorization.k8s.io/v1/subjectaccessreviews"


def insist(complaints: list[str], remedy: str = "") -> None:
    """Fail with every complaint; each names the machine."""
    if complaints:
        raise ClusterError("; ".join(complaints) + (f"\n  remedy: {remedy}" if remedy else ""))


# -- pods ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def granted(lab_network: Cluster, pods: PodSet) -> Iterator[str]:
    """A namespace where the test pods' service account may read one ConfigMap, known to every master."""
    user = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": pods.namespace}
    rule = {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["own"], "verbs": ["get"]}
    with namespace(lab_network, "identity") as where:
        api, reader = lab_network.api(), {"apiGroup": RBAC, "kind": "Role", "name": "reader"}
        for name in ("own", "others"):
            api.apply(_object("v1", "ConfigMap", name, where, data={"is": name}))
        api.apply(_object(f"{RBAC}/v1", "Role", "reader", where, rules=[rule]))
        api.apply(_object(f"{RBAC}/v1", "RoleBinding", "reader", where, subjects=[user], roleRef=reader))
        review = _review(f"system:serviceaccount:{pods.namespace}:{ACCOUNT}", where)
        eventually("every master to know the grant", partial(_check_granted, lab_network, review), timeout=15)
        yield where


def _object(version: str, kind: str, name: str, where: str, **more: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": where}, **more}


def _review(user: str, where: str) -> dict[str, Any]:
    asked = {"verb": "get", "resource": "configmaps", "name": "own", "namespace": where}
    spec = {"user": user, "resourceAttributes": asked}
    return {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}


def _check_granted(cluster: Cluster, review: dict[str, Any]) -> None:
    for node in cluster.topology.of(Role.CONTROL_PLANE):
        answer = cluster.api(node.name).post(REVIEWER, review)["status"]
        if not answer["allowed"]:
            raise NotYet(f"{node.name}: {answer}")


def test_a_pods_token_is_good_for_what_it_was_granted_and_nothing_else(
    lab_network: Cluster, pods: PodSet, granted: str
) -> None:
    """Asked from a pod of each worker, of each apiserver and of the API's ClusterIP, by fresh connections."""
    inside = f"https://{lab_network.topology.networks.kubernetes_service}"
    urls = {**ways(lab_network), "the ClusterIP": inside}
    wanted = {
        f"/api/v1/namespaces/{granted}/configmaps/own": "200",
        f"/api/v1/namespaces/{granted}/configmaps/others": "403",
        f"/api/v1/namespaces/{granted}/configmaps": "403",
        f"/api/v1/namespaces/{granted}/secrets": "403",
        "/api/v1/namespaces/kube-system/configmaps/own": "403",
        "/api/v1/nodes": "403",
    }
    asked = [(way, path, f"{url}{path}") for way, url in urls.items() for path in wanted]
    heard = pods.from_clients(lambda pod: _statuses(pod, [url for *_, url in asked]))
    insist(
        [
            f"a pod on {worker}, through {way}, GET {path}: {said}, not {wanted[path]}"
            for worker, answers in heard.items()
            for (way, path, _), said in zip(asked, answers, strict=True)
            if said != wanted[path]
        ],
        "ask each apiserver by itself; all need the same service-account key, and RBAC",
    )


def _statuses(pod: Pod, urls: list[str]) -> list[str]:
    """The HTTP status of each URL, asked with the token in the pod; curl's complaint where there is none."""
    done = pod.inside(_ASK.format(urls="\n".join(urls), limit=whole(10)), timeout=90)
    lines = done.stdout.splitlines()
    lacking = f"no answer; the script ended with {done.status}: {done.stderr.strip()[-300:]}"
    return [*lines, *[lacking] * (len(urls) - len(lines))]


_ASK = """
cd /var/run/secrets/kubernetes.io/serviceaccount
while read -r url; do
    printf 'header = "Authorization: Bearer %s"\\n' "$(cat token)" |
        curl -sS --noproxy '*' -m {limit} --cacert ca.crt -K - -o /dev/null -w '%{{http_code}}\\n' "$url" 2>&1
done <<EOF
{urls}
EOF
"""


def test_a_token_dies_with_its_service_account(lab_control_plane: Cluster) -> None:
    """On every master, though each of them verifies signatures by itself."""
    api, masters = lab_control_plane.api(), lab_control_plane.topology.of(Role.CONTROL_PLANE)
    with namespace(lab_control_plane, "leaver") as where:
        for name in ("leaver", "stayer"):
            api.apply(_object("v1", "ServiceAccount", name, where))
        tokens = {
            name: mint(lab_control_plane, masters[0].name, where, name) for name in ("leaver", "stayer")
        }
        api.delete(f"/api/v1/namespaces/{where}/serviceaccounts/leaver")
        check = partial(_check_left, lab_control_plane, tokens)
        eventually("a deleted service account's token to be refused", check, timeout=20)


def _check_left(cluster: Cluster, tokens: Mapping[str, str]) -> None:
    ca, wanted = cluster.credentials.ca("kubernetes"), {"leaver": 401, "stayer": 201}
    rows = [(name, n) for name in wanted for n in cluster.topology.of(Role.CONTROL_PLANE)]
    asks = [
        call(cluster, n, None, ca, None, path=REVIEWS, body=REVIEW, token=tokens[name]) for name, n in rows
    ]
    seen = zip(rows, visit(cluster, asks), strict=True)
    if wrong := [f"{n.name}, the {name}: {o}" for (name, n), o in seen if o.status != wanted[name]]:
        raise NotYet("; ".join(wrong))


# -- the administrator -----------------------------------------------------------------------------


def test_the_administrator_is_one(lab_control_plane: Cluster) -> None:
    who = lab_control_plane.kubectl_json("auth", "whoami")["status"]["userInfo"]
    where = lab_control_plane.admin.name
    assert who["username"] == "k8s-admin", f"{where}: kubectl speaks for {who}"
    assert "system:masters" in who["groups"], f"{where}: kubectl speaks for {who}"
    for way, url in ways(lab_control_plane).items():
        asking = ("auth", "can-i", "*", "*", "--all-namespaces", "--server", url)
        said = lab_control_plane.try_kubectl(*asking)
        assert said.stdout.strip() == "yes", (
            f"{way}: `kubectl {' '.join(asking)}` on {where} says {said.stdout.strip()} {said.stderr.strip()}"
        )


def test_masters_are_administrators_by_the_predefined_binding(lab_control_plane: Cluster) -> None:
    """As the guide explains it; nobody but that group is bound to the role."""
    bindings = lab_control_plane.api().items(f"/apis/{RBAC}/v1/clusterrolebindings")
    admins = {
        f"{subject['kind']} {subject['name']}"
        for binding in bindings
        if binding["roleRef"]["name"] == "cluster-admin"
        for subject in binding.get("subjects", ())
    }
    assert admins == {"Group system:masters"}, f"cluster-admin is given to {', '.join(sorted(admins))}"


# -- programs --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def held(lab_workers: Cluster) -> Mapping[str, Holdings]:
    """What lies on every machine."""
    return holdings(lab_workers)


@pytest.mark.parametrize("who", RIGHTS)
def test_a_program_may_do_its_own_work_and_nothing_of_anothers(
    who: str, lab_workers: Cluster, held: Mapping[str, Holdings]
) -> None:
    """Each master's own judgement, asked by the program's certificate as it lies on the machine."""
    asked = list(questions(lab_workers, held, who))
    outcomes = visit(lab_workers, [question.visit for question in asked])
    insist(
        [
            wrong
            for question, outcome in zip(asked, outcomes, strict=True)
            if (wrong := question.wrong(outcome))
        ]
    )


def test_programs_read_what_they_work_with_and_no_secrets(
    lab_workers: Cluster, held: Mapping[str, Holdings]
) -> None:
    """Not by the API's judgement but by asking for the things."""
    wanted = {
        ("kube-proxy", "/api/v1/services"): 200,
        ("kube-proxy", "/apis/discovery.k8s.io/v1/endpointslices"): 200,
        ("kube-proxy", "/api/v1/secrets"): 403,
        ("kube-scheduler", "/api/v1/pods"): 200,
        ("kube-scheduler", "/api/v1/secrets"): 403,
        ("kube-controller-manager", "/api/v1/secrets"): 200,
        ("kube-apiserver to kubelets", "/api/v1/secrets"): 403,
    }
    ca, plan = lab_workers.credentials.ca("kubernetes"), lab_workers.topology
    pairs = {who: use_of(who).pair(held[plan.of(use_of(who).holder)[0].name]) for who in RIGHTS}
    rows = [(who, path, master) for who, path in wanted for master in plan.of(Role.CONTROL_PLANE)]
    asks = [call(lab_workers, m, None, ca, pairs[who], path=f"{path}?limit=1") for who, path, m in rows]
    insist(
        [
            f"{master.name}: {who}, GET {path}: {outcome}, not {wanted[who, path]}"
            for (who, path, master), outcome in zip(rows, visit(lab_workers, asks), strict=True)
            if outcome.status != wanted[who, path]
        ]
    )


@pytest.mark.guide_defect("D45", "kubelets sign their serving certificates themselves")
def test_kubelets_obey_the_apiserver_and_the_administrator_alone(
    lab_workers: Cluster, held: Mapping[str, Holdings]
) -> None:
    wanted = {"kube-apiserver to kubelets": 200, "the administrator": 200, "kube-proxy": 403,
              "kube-scheduler": 403, "kube-controller-manager": 403}  # fmt: skip
    ca, plan = lab_workers.credentials.ca("kubernetes"), lab_workers.topology
    pairs = {who: use_of(who).pair(held[plan.of(use_of(who).holder)[0].name]) for who in wanted}
    rows = [(who, worker) for who in wanted for worker in plan.of(Role.WORKER)]
    asks = [call(lab_workers, w, KUBELET_PORT, ca, pairs[who], path="/pods") for who, w in rows]
    insist(
        [
            f"{worker.name}: its kubelet, asked for its pods by {who}: {outcome}, not {wanted[who]}"
            for (who, worker), outcome in zip(rows, visit(lab_workers, asks), strict=True)
            if outcome.status != wanted[who]
        ]
    )
