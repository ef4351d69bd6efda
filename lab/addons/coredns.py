"""CoreDNS: names for Services, on two workers if there are two; one replica as the guide has it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import zip_longest

from lab.addons.base import Addon, Manifest, rendered
from lab.kubeapi import KubeApi
from lab.machine import Machine, on_each
from lab.pki import Credentials
from lab.topology import Role
from lab.wait import NotYet

DEPLOYMENT = "/apis/apps/v1/namespaces/kube-system/deployments/coredns"
QUERY_SECONDS = 20


class CoreDns(Addon):
    """Ready when every replica is, and every worker gets the right answer through the Service."""

    name = "coredns"
    ready_timeout = 180

    @property
    def replicas(self) -> int:
        """Two, each on a worker of its own, so that the loss of one worker leaves one; the guide has one."""
        if not self.hardened:
            return 1
        return max(1, min(2, len(self.topology.of(Role.WORKER))))

    def manifests(self, credentials: Credentials) -> list[Manifest]:
        """Identity, configuration, Deployment, disruption budget and Service."""
        return rendered(
            "coredns.yaml.j2",
            networks=self.topology.networks,
            replicas=self.replicas,
            version=self.topology.versions.coredns,
            hardened=self.hardened,
        )

    def settle(self, api: KubeApi, changed: Sequence[str]) -> None:
        """Pods that have read another Corefile are replaced; those that only now come read the right one."""
        if "ConfigMap coredns" in changed and "Deployment coredns" not in changed:
            live = api.get(DEPLOYMENT)
            template = live["spec"]["template"]["metadata"]
            template.setdefault("annotations", {})["thwlab/restarted"] = datetime.now(UTC).isoformat()
            api.put(DEPLOYMENT, live)

    def check_ready(self, api: KubeApi, workers: Sequence[Machine]) -> None:
        """A name is resolved from each worker by UDP and by TCP; a Running pod would prove nothing."""
        available = api.get(DEPLOYMENT).get("status", {}).get("availableReplicas", 0)
        if available < self.replicas:
            raise NotYet(f"{available} of {self.replicas} CoreDNS pods are available")
        on_each(workers, self._resolve)

    def _resolve(self, machine: Machine) -> None:
        """Both ways in one command: a round trip to a machine takes longer than the answer."""
        networks = self.topology.networks
        name, right = f"kubernetes.default.svc.{networks.domain}", str(networks.kubernetes_service)
        digs = [f"dig +short +time=3 +tries=1 {way} @{networks.dns} {name}" for way in ("+notcp", "+tcp")]
        script = "".join(f"echo $({dig} 2>&1)\n" for dig in digs)
        seen = machine.run("sh", "-c", script, timeout=QUERY_SECONDS)
        answers = seen.stdout.splitlines()
        for dig, answer in zip_longest(digs, answers[: len(digs)], fillvalue=seen.stderr.strip()):
            if answer != right:
                raise NotYet(f"{machine.name}: `{dig}` said {answer or 'nothing'}, not {right}")
