"""The session's test pods, and quick ways into them: no kubectl, no apiserver, no kubelet between."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from typing import Any

from support_deadlines import whole
from support_pod_manifests import HTTP, manifests, path_of

from lab.cluster import Cluster
from lab.errors import ClusterError, WaitExpired
from lab.machine import Machine, Result, on_each
from lab.topology import Role
from lab.wait import NotYet, wait_until

CRI = "unix:///run/containerd/containerd.sock"
START_SECONDS, SETTLE_SECONDS, DELAY_SECONDS = 90, 8, 3
DRAWS = 12
Run = Callable[[str], Result]


@dataclass(frozen=True, slots=True)
class Pod:
    """A running pod, the worker it runs on, and where its worker keeps it."""

    name: str
    address: str
    machine: Machine
    pid: str

    def net(self, script: str, timeout: float = 30) -> Result:
        """A shell script with the worker's programs, in the pod's network."""
        return self._enter("--net", script=script, timeout=timeout)

    def inside(self, script: str, timeout: float = 30) -> Result:
        """A shell script in the pod itself, with its programs, files and name servers."""
        return self._enter("--mount", "--net", "--uts", "--ipc", "--pid", script=script, timeout=timeout)

    def _enter(self, *spaces: str, script: str, timeout: float) -> Result:
        argv = ("nsenter", f"--target={self.pid}", *spaces, "sh", "-c", script)
        return self.machine.run(*argv, timeout=timeout)


@dataclass(frozen=True, slots=True)
class PodSet:
    """A server and a client on every worker, by the worker's name, and Services before the servers."""

    namespace: str
    servers: Mapping[str, Pod]
    clients: Mapping[str, Pod]
    services: Mapping[str, Mapping[str, Any]]

    def ip(self, service: str) -> str:
        """The Service's ClusterIP."""
        return str(self.services[service]["clusterIP"])

    def node_port(self, service: str) -> int:
        """The Service's port for HTTP on every node."""
        return int(self.services[service]["ports"][0]["nodePort"])

    def own(self, worker: str) -> str:
        """The Service that leads to the worker's client only."""
        return self.clients[worker].name.replace("client-", "self-")

    def from_clients(self, act: Callable[[Pod], Any]) -> dict[str, Any]:
        """Act on every client at once; the results by the worker's name."""
        machines = [pod.machine for pod in self.clients.values()]
        return on_each(machines, lambda machine: act(self.clients[machine.name]))


def create(cluster: Cluster, namespace: str) -> PodSet:
    """Have the pods running, each answering on its own worker; Services get a moment to follow."""
    for manifest in manifests(cluster.topology, cluster.topology.of(Role.WORKER), namespace):
        cluster.api().post(path_of(manifest), manifest)
    found = find(cluster, namespace)
    _answering(found)
    _settle(cluster, found)
    return found


def find(cluster: Cluster, namespace: str) -> PodSet:
    """The pods as they are now, once all of them are ready and their Services know them."""
    listed = wait_until(
        f"test pods in {namespace}", lambda: _ready(cluster, namespace), timeout=START_SECONDS, every=0.1
    )
    by_name = {pod["metadata"]["name"]: pod for pod in listed}
    placed = on_each(cluster.of(Role.WORKER), lambda machine: _located(machine, by_name, namespace))
    pods = [pod for of_one in placed.values() for pod in of_one]
    services = cluster.api().items(f"/api/v1/namespaces/{namespace}/services")
    return PodSet(
        namespace,
        {pod.machine.name: pod for pod in pods if pod.name.startswith("web-")},
        {pod.machine.name: pod for pod in pods if pod.name.startswith("client-")},
        {each["metadata"]["name"]: each["spec"] for each in services},
    )


def ask(run: Run, urls: Sequence[str]) -> dict[str, str]:
    """What each URL says to a fresh connection, or curl's complaint; the same URL may not be asked twice."""
    return dict(ask_in_order(run, urls))


def ask_in_order(run: Run, urls: Sequence[str]) -> list[tuple[str, str]]:
    """Each URL with the first line of its answer, in the order asked; every one by a fresh connection."""
    curl = f"curl -sS --noproxy '*' -m {whole(DELAY_SECONDS)}"
    script = "\n".join(f"printf '%s ' '{url}'; {curl} '{url}' 2>&1 | head -n 1; echo" for url in urls)
    done = run(script)
    lines = [line.partition(" ") for line in done.stdout.splitlines() if line]
    said = {number: (url, answer) for number, (url, _, answer) in enumerate(lines)}
    lacking = f"no answer; the script ended with {done.status}: {done.stderr.strip()[-300:]}"
    return [said.get(number, (url, lacking)) for number, url in enumerate(urls)]


def shell(machine: Machine) -> Run:
    """A machine as something that runs scripts."""
    return lambda script: machine.run("sh", "-c", script, timeout=60)


def http(address: object, path: str, port: int = HTTP) -> str:
    """A URL of netexec."""
    return f"http://{address}:{port}/{path}"


def insist(wrong: list[str], remedy: str = "") -> None:
    """Fail with every finding, one a line."""
    if wrong:
        raise ClusterError("\n  ".join([*wrong, *([f"remedy: {remedy}"] if remedy else [])]))


def seen(said: str) -> str:
    """The address in netexec's `clientip`; `nobody` and whatever it said instead if there is none."""
    address, _, port = said.rpartition(":")
    return address if port.isdigit() and _is_address(address) else f"nobody, but said {said!r}"


def _is_address(text: str) -> bool:
    try:
        return bool(ip_address(text.strip("[]")))
    except ValueError:
        return False


def _ready(cluster: Cluster, namespace: str) -> list[dict[str, Any]]:
    wanted = 2 * len(cluster.topology.of(Role.WORKER))
    root = f"/namespaces/{namespace}"
    pods = cluster.api().items(f"/api/v1{root}/pods")
    waiting = [state(pod) for pod in pods if not _is_ready(pod)]
    if waiting or len(pods) < wanted:
        waiting += _warnings(cluster, root)
        raise NotYet(f"{len(pods)} of {wanted} pods are there; not ready: {'; '.join(waiting) or 'none'}")
    slices = cluster.api().items(f"/apis/discovery.k8s.io/v1{root}/endpointslices")
    known = {
        address
        for each in slices
        for end in each.get("endpoints") or ()
        if end.get("conditions", {}).get("ready")
        for address in end["addresses"]
    }
    if unknown := [pod["status"]["podIP"] for pod in pods if pod["status"]["podIP"] not in known]:
        raise NotYet(f"no EndpointSlice lists {', '.join(unknown)} as ready")
    return pods


def _warnings(cluster: Cluster, root: str) -> list[str]:
    """The last that kubelet or scheduler complained of, by what it was about."""
    events = [each for each in cluster.api().items(f"/api/v1{root}/events") if each["type"] == "Warning"]
    last = {each["involvedObject"]["name"]: each for each in events}
    return [f"{name}: {each['reason']}: {each['message'][:300]}" for name, each in last.items()]


def _is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def state(pod: Mapping[str, Any]) -> str:
    """Where a pod is, what it waits for, and how its containers ended last."""
    status = pod["status"]
    where = pod["spec"].get("nodeName", "no node")
    reasons = [each.get("message", "") for each in status.get("conditions", ()) if each["status"] != "True"]
    waits = [
        f"{each['state']['waiting'].get('reason')} {each['state']['waiting'].get('message', '')}"
        for each in status.get("containerStatuses", ())
        if "waiting" in each["state"]
    ]
    why = ", ".join(filter(None, [*waits, *reasons, *_ends(status)])) or "no reason given"
    return f"{pod['metadata']['name']} on {where} is {status.get('phase')}: {why}"


def _ends(status: Mapping[str, Any]) -> list[str]:
    ends = [each.get("lastState", {}).get("terminated") for each in status.get("containerStatuses", ())]
    return [
        f"it ended last with {end['exitCode']}: {end.get('message', '').strip()[-400:] or end.get('reason')}"
        for end in ends
        if end
    ]


def _located(machine: Machine, by_name: Mapping[str, Any], namespace: str) -> list[Pod]:
    """The pods of one worker with their processes, by one command."""
    form = '{{.info.pid}} {{index .status.labels "io.kubernetes.pod.name"}}'
    cri = f"crictl -r {CRI}"
    listing = f"{cri} ps -q --state Running --label io.kubernetes.pod.namespace={namespace}"
    lines = machine.check(
        "sh", "-c", f"for id in $({listing}); do {cri} inspect -o go-template --template '{form}' $id; done"
    )
    rows = [line.split() for line in lines.splitlines() if line.strip()]
    if bad := [row for row in rows if len(row) != 2]:
        raise ClusterError(f"{machine.name}: `crictl inspect` said {bad}, not a process and a pod's name")
    return [
        Pod(name, by_name[name]["status"]["podIP"], machine, pid) for pid, name in rows if name in by_name
    ]


def _answering(pods: PodSet) -> None:
    """Every pod answers its own worker."""
    for pod in (*pods.servers.values(), *pods.clients.values()):
        wait_until(f"{pod.name} on {pod.machine.name}", partial(_answers, pod), timeout=10, every=0.1)


def _answers(pod: Pod) -> None:
    url = http(pod.address, "hostname")
    said = ask(shell(pod.machine), [url])[url]
    if said != pod.name:
        raise NotYet(f"{pod.machine.name} got {said!r} from {url}")


def _settle(cluster: Cluster, pods: PodSet) -> None:
    """Give kube-proxies time to learn the new Services; whether they did is for the tests to say."""
    try:
        wait_until("Services", lambda: _programmed(cluster, pods), timeout=SETTLE_SECONDS, every=0.1)
    except WaitExpired:
        return


def _programmed(cluster: Cluster, pods: PodSet) -> None:
    names = {pod.name for pod in pods.servers.values()}
    url = http(pods.ip("web"), "hostname", 80)

    def draw(machine: Machine) -> set[str]:
        local = http(machine.node.address, "hostname", pods.node_port("local"))
        said = ask_in_order(shell(machine), [*[url] * DRAWS, local])
        return {answer for _, answer in said} ^ names

    for name, wrong in on_each(cluster.of(Role.WORKER), draw).items():
        if wrong:
            raise NotYet(f"{name}: {wrong}")
