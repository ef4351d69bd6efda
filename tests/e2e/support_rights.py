"""What the identities of the cluster's programs may do, and what belongs to another."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from support_certificate_uses import CLIENTS, ClientUse, call
from support_holdings import Holdings
from support_visits import Outcome, Visit

from lab.cluster import Cluster
from lab.topology import Node, Role

ACCESS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@dataclass(frozen=True, slots=True)
class Deed:
    """As `kubectl auth can-i` has it: a verb, and what it is done to, as RESOURCE[.GROUP][/SUB][ NAME]."""

    verb: str
    what: str
    namespace: str = ""

    @property
    def attributes(self) -> dict[str, str]:
        """As questions to the API have it."""
        kind, _, name = self.what.partition(" ")
        path, _, sub = kind.partition("/")
        resource, _, group = path.partition(".")
        attributes = {"verb": self.verb, "resource": resource, "group": group, "subresource": sub}
        return attributes | {"name": name, "namespace": self.namespace}

    @property
    def review(self) -> str:
        """The question to the API, from whoever asks it."""
        spec = {"resourceAttributes": self.attributes}
        return json.dumps(
            {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec}
        )

    def __str__(self) -> str:
        return f"{self.verb} {self.what}" + (f" in {self.namespace}" if self.namespace else "")


SYSTEM = "kube-system"
LEASE = "leases.coordination.k8s.io"
CSR = "certificatesigningrequests.certificates.k8s.io"
RIGHTS: Mapping[str, tuple[tuple[Deed, ...], tuple[Deed, ...]]] = {
    "kube-proxy": (
        (
            Deed("watch", "services"),
            Deed("watch", "endpointslices.discovery.k8s.io"),
            Deed("get", "nodes"),
            Deed("create", "events.events.k8s.io"),
        ),
        (
            Deed("get", "secrets"),
            Deed("list", "pods"),
            Deed("patch", "nodes"),
            Deed("create", "pods", SYSTEM),
            Deed("update", f"{LEASE} kube-scheduler", SYSTEM),
            Deed("create", "serviceaccounts/token", SYSTEM),
        ),
    ),
    "kube-scheduler": (
        (
            Deed("watch", "pods"),
            Deed("watch", "nodes"),
            Deed("create", "pods/binding"),
            Deed("update", f"{LEASE} kube-scheduler", SYSTEM),
        ),
        (
            Deed("get", "secrets"),
            Deed("delete", "nodes"),
            Deed("create", "deployments.apps", SYSTEM),
            Deed("update", f"{CSR}/approval"),
            Deed("create", "serviceaccounts/token", SYSTEM),
        ),
    ),
    "kube-controller-manager": (
        (
            Deed("watch", "pods"),
            Deed("get", "secrets"),
            Deed("create", "serviceaccounts/token", SYSTEM),
            Deed("update", f"{LEASE} kube-controller-manager", SYSTEM),
        ),
        (
            Deed("create", "pods/binding"),
            Deed("escalate", "clusterroles.rbac.authorization.k8s.io"),
            Deed("impersonate", "users"),
            Deed("create", "pods/exec", SYSTEM),
        ),
    ),
    "kube-apiserver to kubelets": (
        (Deed("create", "nodes/proxy"), Deed("get", "nodes/log"), Deed("get", "nodes/metrics")),
        (Deed("get", "secrets"), Deed("list", "pods"), Deed("delete", "nodes")),
    ),
}


@dataclass(frozen=True, slots=True)
class Question:
    """One deed, by whom, and the master that is asked whether it may be."""

    who: str
    deed: Deed
    allowed: bool
    master: Node
    visit: Visit

    def wrong(self, outcome: Outcome) -> str:
        """What is wrong with the answer, or nothing."""
        said = outcome.status == 201 and json.loads(outcome.body)["status"]["allowed"]
        if outcome.status == 201 and said == self.allowed:
            return ""
        answer = f"may {'' if said else 'not '}" if outcome.status == 201 else f"got {outcome} asking to "
        return f"{self.master.name}: {self.who} {answer}{self.deed}"


def use_of(program: str) -> ClientUse:
    """The program's use of a certificate, by the name in the table."""
    return next(use for use in CLIENTS if use.what == program)


def questions(cluster: Cluster, held: Mapping[str, Holdings], who: str) -> Iterator[Question]:
    """All that the program's identity is asked, of every master."""
    use, ca = use_of(who), cluster.credentials.ca("kubernetes")
    pair = use.pair(held[cluster.topology.of(use.holder)[0].name])
    for allowed, deeds in zip((True, False), RIGHTS[who], strict=True):
        for deed in deeds:
            for master in cluster.topology.of(Role.CONTROL_PLANE):
                visit = call(cluster, master, None, ca, pair, path=ACCESS, body=deed.review)
                yield Question(who, deed, allowed, master, visit)
