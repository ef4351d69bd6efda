"""containerd: runs the pods of a worker, with runc from the distribution."""

from lab.components.base import Component
from lab.components.rendering import Service, render
from lab.machine import File
from lab.pki import Credentials
from lab.topology import Node, Role

SOCKET = "unix:///run/containerd/containerd.sock"
SECONDS = 10  # for an answer to crictl


class Containerd(Component):
    """Pulls nothing: the images are in the machine's image, under the names that manifests use."""

    name = "containerd"
    unit = "containerd.service"
    patience = 60

    def nodes(self) -> tuple[Node, ...]:
        """Wherever pods run."""
        return self.topology.of(Role.WORKER)

    def files(self, node: Node, credentials: Credentials) -> list[File]:
        """Its configuration, its unit, and where crictl finds it."""
        config = render(
            "containerd.toml.j2",
            container=self.platform.container,
            systemd_cgroup=self.platform.cgroup == 2,
            pause=self._pause,
        )
        # Its own limit is 2 s, which a busy machine takes to say which version it is.
        endpoints = f"runtime-endpoint: {SOCKET}\nimage-endpoint: {SOCKET}\ntimeout: {SECONDS}\n"
        return [
            File("/etc/containerd/config.toml", config),
            File("/etc/crictl.yaml", endpoints.encode()),
            self._service().file(self.unit),
        ]

    def probe(self, node: Node) -> str:
        """Its CRI answers, and has the image without which no pod starts."""
        endpoints = f"--runtime-endpoint {SOCKET} --image-endpoint {SOCKET}"
        crictl = f"/usr/local/bin/crictl --timeout {SECONDS}s {endpoints}"
        return f"{crictl} version && {crictl} inspecti -q {self._pause} >/dev/null"

    @property
    def _pause(self) -> str:
        return f"registry.k8s.io/pause:{self.topology.versions.pause}"

    def _service(self) -> Service:
        return Service(
            "containerd",
            ("/usr/local/bin/containerd",),
            type="notify",
            after=("network.target", "thwlab-node.service"),
            settings={
                "Restart": "always",
                "RestartSec": "0.5",
                # Its shims, and so the pods, outlive it.
                "KillMode": "process",
                "Delegate": "yes",
                "TasksMax": "infinity",
                "LimitNOFILE": "65536",
            },
        )
