"""Identities that nobody should accept any more: expired, of a foreign CA, revoked.

A certificate is not replaced but covered: another is mounted over it, so that the right bytes stay where they
are, nothing secret is copied, and a reboot ends the fault.  Its program is started anew, for that closes the
connections that stand.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Literal

from lab.addons.bootstrap import token_secret
from lab.cluster import Cluster
from lab.components.etcd import PEER_PORT
from lab.components.kubelet import BOOTSTRAP
from lab.errors import LabError
from lab.faults.api import answering
from lab.faults.base import Fault, Script
from lab.faults.serving import check_unit
from lab.faults.shell import LONG, RUN, ShellFault, sh
from lab.kubeapi import path_of
from lab.machine import File, Machine
from lab.pki import CA_FILES, Pair, Usage, foreign_ca, issue, paths
from lab.pki.credentials import Authority
from lab.pki.uses import KUBERNETES_SSL, planned
from lab.topology import Node, Profile, Role
from lab.wait import NotYet

Holder = Literal["kube-apiserver", "etcd", "kubelet"]
KNOWN = ("200", "403")  # statuses for somebody whose name is known
COVERS = f"{RUN}/certificates"
KUBELET_CLIENT = f"{KUBERNETES_SSL}/kubelet-client-current.pem"
USES: Mapping[str, tuple[str, ...]] = {
    "kube-apiserver": ("kubernetes",),
    "etcd": ("etcd-server", "etcd-peer"),
    "kubelet": (),
}
ROLES: Mapping[str, Role] = {
    "kube-apiserver": Role.CONTROL_PLANE,
    "etcd": Role.ETCD,
    "kubelet": Role.WORKER,
}


@dataclass(frozen=True)
class _BadCertificate(ShellFault):
    """Another certificate in the place of the right one, until healed."""

    unit: Holder

    def certificate(self, cluster: Cluster, node: Node, use: str) -> Pair:
        """What is put in the place of the one for this use; of a kubelet's own where the use is empty."""
        raise NotImplementedError

    def unavailable(self, cluster: Cluster) -> str:
        """A machine without that program."""
        role = ROLES[self.unit]
        lacking = [m.name for m in self.victims(cluster) if role not in m.node.roles]
        return f"{', '.join(lacking)} has no {self.unit}, which needs the role {role}" if lacking else ""

    def mending(self) -> tuple[Script, ...]:
        """The covers go, and the program starts anew with what was below them."""
        return tuple(Script(name, _UNCOVER.format(unit=self.unit)) for name in self.machines)

    def inject(self, cluster: Cluster) -> None:
        def act(machine: Machine) -> str:
            machine.apply(self.covers(cluster, machine.node))
            return sh(machine, _COVER.format(unit=self.unit), *_covered(self.unit), timeout=LONG)

        self.on_victims(cluster, act)

    def covers(self, cluster: Cluster, node: Node) -> list[File]:
        """What is mounted over the right files, by number: certificate and key of each use in turn."""
        if self.unit == "kubelet":  # has both in one file
            pair = self.certificate(cluster, node, "")
            return [File(f"{COVERS}/{self.unit}/0", pair.cert + pair.key, mode=0o600)]
        pairs = [self.certificate(cluster, node, use) for use in USES[self.unit]]
        bodies = [body for pair in pairs for body in (pair.cert, pair.key)]
        return [File(f"{COVERS}/{self.unit}/{n}", body, mode=0o600) for n, body in enumerate(bodies)]

    def in_force(self, cluster: Cluster) -> str:
        """Who is shown the certificate refuses it, and what it said."""
        return self.on_victims(cluster, lambda machine: _refused(cluster, machine, self.unit))

    def still_in_force(self, cluster: Cluster) -> str:
        """The covers are there: whoever is started anew reads them, too."""
        return self.on_victims(cluster, lambda m: f"{m.name}: still covered: {_insist_covered(m, self.unit)}")

    def check_healed(self, cluster: Cluster) -> None:
        """Nothing covers the right files, they are as issued, and the program serves with them."""

        def check(machine: Machine) -> str:
            if left := sh(machine, _STILL_COVERED, self.unit).strip():
                raise NotYet(f"{machine.name}: still covered: {left}")
            _check_files(cluster, machine, self.unit)
            check_unit(cluster, machine, self.unit)
            return ""

        self.on_victims(cluster, check)


@dataclass(frozen=True)
class CertificateExpired(_BadCertificate):
    """A certificate by the lab's own CA that ended yesterday.

    `unit`: whose; the serving one of kube-apiserver, those of an etcd member as server and peer, the one by
    which a kubelet is a node.  A kubelet asks for a new one by its bootstrap token: with the token revoked
    too, it stays away.
    """

    word: ClassVar[str] = "certificate-expired"

    def certificate(self, cluster: Cluster, node: Node, use: str) -> Pair:  # noqa: D102
        now = datetime.now(UTC)
        return _issued(
            cluster, node, use, by=None, begin=now - timedelta(days=2), end=now - timedelta(days=1)
        )


@dataclass(frozen=True)
class ForeignCa(_BadCertificate):
    """A certificate with the right names, by a CA of the right name that nobody knows.

    `unit`: whose; the serving one of kube-apiserver, those of an etcd member as server and peer, the one by
    which a kubelet is a node.
    """

    word: ClassVar[str] = "foreign-ca"

    def certificate(self, cluster: Cluster, node: Node, use: str) -> Pair:  # noqa: D102
        return _issued(cluster, node, use, by=foreign_ca(_authority(use)))


@dataclass(frozen=True)
class TokenRevoked(Fault):
    """The bootstrap token is deleted from the cluster; the victims, masters, refuse it from then on."""

    word: ClassVar[str] = "token-revoked"

    def unavailable(self, cluster: Cluster) -> str:
        """The guide has its token in a file of each apiserver."""
        if cluster.topology.profile is Profile.GUIDE:
            return "with profile guide the token is in a file of the apiservers, not in the cluster"
        if not cluster.topology.of(Role.WORKER):
            return "the plan has no worker that would join by the token"
        others = [n for n in self.machines if Role.CONTROL_PLANE not in cluster.topology.node(n).roles]
        return f"{', '.join(others)} does not judge tokens: aim at control-plane" if others else ""

    def inject(self, cluster: Cluster) -> None:  # noqa: D102
        answering(cluster).delete(path_of(token_secret(cluster.credentials.bootstrap_token)))

    def in_force(self, cluster: Cluster) -> str:
        """What each victim says to a worker that shows the token."""
        said = _shown_token(cluster, self.machines)
        if kept := [f"{name} says {status} to it" for name, status in said.items() if status != "401"]:
            raise NotYet(f"the bootstrap token: {', '.join(kept)}")
        return f"{', '.join(said)} says 401 to the bootstrap token"

    def still_in_force(self, cluster: Cluster) -> str:
        """Who is known for it has it back; a master that answers nobody tells nothing."""
        said = _shown_token(cluster, self.machines)
        if known := [f"{name} says {status} to it" for name, status in said.items() if status in KNOWN]:
            raise NotYet(f"the bootstrap token: {', '.join(known)}")
        if mute := [f"{name} says {status}" for name, status in said.items() if status != "401"]:
            raise LabError(f"the bootstrap token: {', '.join(mute)}")
        return f"{', '.join(said)} says 401 to the bootstrap token"

    def heal(self, cluster: Cluster) -> None:
        """The lab's own token is put into the cluster again."""
        answering(cluster).apply(token_secret(cluster.credentials.bootstrap_token))

    def check_healed(self, cluster: Cluster) -> None:
        """Every victim knows whose token it is, whether or not its holder may do what is asked."""
        said = _shown_token(cluster, self.machines)
        if lost := [f"{name} says {status} to it" for name, status in said.items() if status not in KNOWN]:
            raise NotYet(f"the bootstrap token: {', '.join(lost)}")


def _issued(
    cluster: Cluster,
    node: Node,
    use: str,
    *,
    by: Pair | None,
    begin: datetime | None = None,
    end: datetime | None = None,
) -> Pair:
    ca = by or cluster.credentials.authorities[_authority(use)]
    if not use:
        identity = {"cn": f"system:node:{node.name}", "o": "system:nodes"}
        return issue(ca, **identity, usages={Usage.CLIENT}, not_before=begin, not_after=end)
    plan = next(p for p in planned(cluster.topology) if p.use.name == use and p.node == node.name)
    names = {"cn": plan.cn, "o": plan.use.o}
    return issue(ca, **names, sans=plan.sans, usages=plan.use.usages, not_before=begin, not_after=end)


def _authority(use: str) -> Authority:
    return "etcd" if use.startswith("etcd") else "kubernetes"


def _covered(unit: str) -> list[str]:
    """The files that are covered, in the order of their covers."""
    if unit == "kubelet":
        return [KUBELET_CLIENT]
    return [path for use in USES[unit] for path in paths(use)]


def _insist_covered(machine: Machine, unit: str) -> str:
    if not (covered := sh(machine, _STILL_COVERED, unit).strip()):
        raise NotYet(f"{machine.name}: no certificate of {unit} is covered")
    return ", ".join(covered.split())


def _refused(cluster: Cluster, machine: Machine, unit: str) -> str:
    covered = _insist_covered(machine, unit)
    if unit == "kubelet":
        return _refused_kubelet(cluster, machine, covered)
    port = PEER_PORT if unit == "etcd" else cluster.topology.networks.api_port
    ca = CA_FILES["etcd" if unit == "etcd" else "kubernetes"]
    url = f"https://{machine.node.address}:{port}/version"
    done = machine.run("sh", "-c", _CURL, "sh", ca, url, timeout=20)
    said = done.stderr.strip()
    if "(60)" not in said:  # curl's own word for a certificate that it does not accept
        raise NotYet(f"{machine.name}: {url} said {done.stdout.strip() or said}")
    return f"{machine.name}: new handshakes with port {port} are refused: {said}"


def _refused_kubelet(cluster: Cluster, machine: Machine, covered: str) -> str:
    url = f"{cluster.topology.api_url}/api"
    cover = f"{COVERS}/kubelet/0"
    args = (CA_FILES["kubernetes"], url, "--cert", cover, "--key", cover)
    done = machine.run("sh", "-c", _CURL, "sh", *args, timeout=20)
    status = done.stdout.strip()
    if status != "401":
        raise NotYet(
            f"{machine.name}: the API said {status or done.stderr.strip()} to the kubelet's certificate"
        )
    uses = machine.run("readlink", "-f", KUBELET_CLIENT).stdout.strip()
    now = (
        "it is what the kubelet has" if uses in covered.split(", ") else "the kubelet has got a new one since"
    )
    return f"{machine.name}: the API says 401 to the kubelet's certificate, and {now}"


def _check_files(cluster: Cluster, machine: Machine, unit: str) -> None:
    for use in USES[unit]:
        pair = cluster.credentials.pair(use, machine.node)
        for path, right in zip(paths(use), (pair.cert, pair.key), strict=True):
            if machine.run("cmp", "-s", path, "-", stdin=right).status != 0:
                raise NotYet(f"{machine.name}: {path} is not what was issued")
    if unit == "kubelet" and not machine.run("openssl", "x509", "-checkend", "0", "-in", KUBELET_CLIENT).ok:
        raise NotYet(f"{machine.name}: {KUBELET_CLIENT} has ended")


def _shown_token(cluster: Cluster, masters: tuple[str, ...]) -> dict[str, str]:
    """What each of these masters says to a worker that comes with its token: a status, or no answer."""
    worker, port = cluster.of(Role.WORKER)[0], cluster.topology.networks.api_port

    def ask(name: str) -> str:
        url = f"https://{cluster.topology.node(name).address}:{port}/api"
        done = worker.run("sh", "-c", _WITH_TOKEN, "sh", CA_FILES["kubernetes"], url, timeout=20)
        return done.stdout.strip() if done.ok else done.stderr.strip() or "nothing"

    return {name: ask(name) for name in masters}


# Each file by its own name, as a link may have another target by the time of the undoing.
_COVER = f"""\
folder={COVERS}/{{unit}}
n=0
for path; do
  place=$(readlink -f "$path")
  mountpoint -q "$place" || mount --bind "$folder/$n" "$place" || exit
  n=$((n + 1))
done
systemctl restart --no-block {{unit}}.service
"""
_COVERED = """\
covered() { awk -v from="/thwlab/certificates/$1/" 'index($4, from) == 1 { print $5 }' /proc/self/mountinfo; }
"""
_STILL_COVERED = _COVERED + 'covered "$1"\n'
_UNCOVER = f"""\
{_COVERED.replace("{", "{{").replace("}", "}}")}
test -d {COVERS}/{{unit}} || exit 0
for place in $(covered {{unit}}); do umount -l "$place" || exit; done
rm -rf {COVERS}/{{unit}}
systemctl restart --no-block {{unit}}.service
"""
_CURL = """\
ca=$1 url=$2; shift 2
curl --noproxy '*' -sS -m 5 -o /dev/null -w '%{http_code}' --cacert "$ca" "$@" "$url"
"""
# The token comes from its file and stays out of the command line, which others may see.
_WITH_TOKEN = f"""\
sed -n 's/^ *token: *\\(.*\\)$/header = "Authorization: Bearer \\1"/p' {BOOTSTRAP} | tr -d "'" |
  curl --noproxy '*' -sS -m 5 -o /dev/null -w '%{{http_code}}' --cacert "$1" -K - "$2"
"""

FAULTS: tuple[type[Fault], ...] = (CertificateExpired, ForeignCa, TokenRevoked)
