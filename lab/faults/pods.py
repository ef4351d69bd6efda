"""CoreDNS, whose process no unit owns: a kubelet starts it again, and the API makes its pods anew."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from lab.addons.coredns import CoreDns
from lab.cluster import Cluster
from lab.faults.api import answering, items
from lab.faults.shell import RUN, ShellFault, sh
from lab.machine import Machine
from lab.topology import Role
from lab.wait import NotYet

COREDNS = "coredns"
PODS = "/api/v1/namespaces/kube-system/pods"
LABEL = "k8s-app=kube-dns"


def coredns_pods(cluster: Cluster) -> list[dict[str, Any]]:
    """Its pods, as the API has them."""
    return items(cluster, PODS, labelSelector=LABEL)


def nodes_of(cluster: Cluster) -> tuple[str, ...]:
    """The machines on which it runs, in the order of the plan; `NotYet` while there is none."""
    running = {each["spec"].get("nodeName") for each in coredns_pods(cluster) if _runs(each)}
    found = tuple(node.name for node in cluster.topology.nodes if node.name in running)
    if not found:
        raise NotYet("no CoreDNS pod runs")
    return found


def replace_waiting(cluster: Cluster, machines: Sequence[str]) -> None:
    """Delete its pods there that do not run: a kubelet lets what fell over wait, but not a new pod."""
    api = answering(cluster)
    for each in coredns_pods(cluster):
        if each["spec"].get("nodeName") in machines and not _is_ready(each):
            api.delete(f"{PODS}/{each['metadata']['name']}")


def check_serving(cluster: Cluster) -> None:
    """Every replica is available, and every worker gets the right answer."""
    CoreDns(cluster.topology).check_ready(answering(cluster), cluster.of(Role.WORKER))


def _runs(pod: Mapping[str, Any]) -> bool:
    return pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]


def _is_ready(pod: Mapping[str, Any]) -> bool:
    told = {each["type"]: each["status"] for each in pod["status"].get("conditions", ())}
    return told.get("Ready") == "True"


@dataclass(frozen=True)
class PodDelete(ShellFault):
    """The CoreDNS pods on the victims are deleted through the API, with their grace period."""

    word: ClassVar[str] = "pod-delete"
    lasts: ClassVar[bool] = False

    def inject(self, cluster: Cluster) -> None:  # noqa: D102
        api = answering(cluster)
        for machine in self.victims(cluster):
            names = [
                each["metadata"]["name"]
                for each in coredns_pods(cluster)
                if each["spec"].get("nodeName") == machine.name
            ]
            sh(machine, _NOTE, *names)
            for name in names:
                api.delete(f"{PODS}/{name}")

    def in_force(self, cluster: Cluster) -> str:
        """None of the pods of before is there any more, or all are about to go."""
        lasting = {each["metadata"]["name"] for each in coredns_pods(cluster) if _runs(each)}

        def told(machine: Machine) -> str:
            names = machine.run("cat", f"{RUN}/pods").stdout.split()
            if not names:
                raise NotYet(f"{machine.name} had no CoreDNS pod")
            if left := lasting & set(names):
                raise NotYet(f"{machine.name}: {', '.join(sorted(left))} not deleted yet")
            return f"{machine.name}: {', '.join(names)} deleted"

        return self.on_victims(cluster, told)

    def heal(self, cluster: Cluster) -> None:
        """Its Deployment makes new ones by itself; only our note goes."""
        self.on_victims(cluster, lambda machine: sh(machine, f"rm -f {RUN}/pods"))

    def check_healed(self, cluster: Cluster) -> None:  # noqa: D102
        check_serving(cluster)


_NOTE = f"""\
mkdir -p -m 0700 {RUN}
echo "$@" >{RUN}/pods
"""
HEAD = f"""\
mkdir -p -m 0700 {RUN}
mark={RUN}/main-{COREDNS}
hold=thwlab-hold-{COREDNS}
main() {{ pgrep -ox {COREDNS} || echo 0; }}
# From a file, for systemd would take the dollars of a command line for its own.
keep() {{
  printf 'while :; do\n%s\nsleep 0.1\ndone\n' "$1" >{RUN}/$hold
  systemd-run --quiet --collect --unit=$hold sh {RUN}/$hold
}}
"""
_MARK = 'main >"$mark"\n'
# A second SIGTERM would cut short what the first began.
_TERMINATE = r"""
keep 'for pid in $(pgrep -x coredns); do
  case "$told" in *" $pid "*) ;; *) kill -TERM $pid; told="$told $pid ";; esac
done'
"""
SCRIPTS: Mapping[str, str] = {
    "kill": _MARK + f"pkill -KILL -x {COREDNS}",
    "kill-and-hold": f"keep 'pkill -KILL -x {COREDNS}'",
    "terminate": _TERMINATE,
    "stop": f"pkill -STOP -x {COREDNS}",
}
UNDO = f"""\
{HEAD}
systemctl stop $hold.service 2>/dev/null
pkill -CONT -x {COREDNS}
rm -f "$mark" {RUN}/$hold
"""
SEE = f"""
run=0; stop=0; active=inactive; held=0
for pid in $(pgrep -x {COREDNS}); do
  active=active
  case "$(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null)" in
    T*) stop=$((stop + 1));; Z*|'') ;; *) run=$((run + 1));;
  esac
done
systemctl is-active --quiet $hold.service && held=1
before=$(cat "$mark" 2>/dev/null)
echo $held $active "$(main)" $run $stop "${{before:-0}}"
"""

FAULTS = (PodDelete,)
