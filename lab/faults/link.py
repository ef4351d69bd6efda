"""A machine's interface that is down."""

from dataclasses import dataclass
from typing import ClassVar

from lab.cluster import Cluster
from lab.faults.base import Script
from lab.faults.machine import answers_at
from lab.faults.shell import ShellFault, sh
from lab.machine import Machine
from lab.wait import NotYet


@dataclass(frozen=True)
class InterfaceDown(ShellFault):
    """The victim's interface in the lab's network is down; the kernel forgets all routes through it."""

    word: ClassVar[str] = "interface-down"

    def unavailable(self, cluster: Cluster) -> str:
        """It must not cut those off who would heal it."""
        if cluster.lab.provider.platform.container:
            return ""
        return "machines are commanded by SSH over this very interface"

    def mending(self) -> tuple[Script, ...]:
        """Up again, and the routes that units and networkd had made."""
        return tuple(Script(name, f"set -- {name}\n{_DEVICE}{_UP}") for name in self.machines)

    def inject(self, cluster: Cluster) -> None:  # noqa: D102
        self.on_victims(
            cluster, lambda machine: sh(machine, f"{_DEVICE}ip link set dev $dev down", machine.name)
        )

    def in_force(self, cluster: Cluster) -> str:
        """The kernel says so, and nobody answers at its address."""

        def told(machine: Machine) -> str:
            device = _down(machine)
            if (said := answers_at(cluster, machine)) != "nobody":
                raise NotYet(f"{machine.name}: somebody at {machine.node.address} {said} connections")
            return f"{device}, nobody answers at its address"

        return self.on_victims(cluster, told)

    def still_in_force(self, cluster: Cluster) -> str:
        """The kernel's word."""
        return self.on_victims(cluster, _down)

    def check_healed(self, cluster: Cluster) -> None:
        """It is up, has its routes, and whoever is there takes or refuses connections."""

        def check(machine: Machine) -> str:
            if "state UP" not in (device := _device(machine)):
                raise NotYet(f"{machine.name}: {device}")
            if lacking := sh(machine, _LACKING).strip():
                raise NotYet(f"{machine.name}: no route to {lacking}")
            if answers_at(cluster, machine) == "nobody":
                raise NotYet(f"{machine.name}: nobody answers at {machine.node.address}")
            return ""

        self.on_victims(cluster, check)


def _down(machine: Machine) -> str:
    device = _device(machine)
    if "UP" in device.partition("<")[2].partition(">")[0].split(","):
        raise NotYet(f"{machine.name}: {device}")
    return f"{machine.name}: {device.split(':')[1].strip()} is down"


def _device(machine: Machine) -> str:
    return sh(machine, f"{_DEVICE}ip -o link show $dev", machine.name).strip()


# While it is down networkd takes its address away; only containers come here, and theirs has this name.
_DEVICE = """\
dev=$(ip -o -4 addr show to "$(getent ahostsv4 "$1" | awk '{print $1; exit}')" | awk '{print $2; exit}')
test -n "$dev" || dev=eth0
"""
_ROUTES = "thwlab-routes.service"
_UP = f"""\
ip link show "$dev" | grep -q '<.*[<,]UP[,>]' && exit 0
ip link set dev "$dev" up
networkctl reconfigure "$dev" 2>/dev/null
for turn in $(seq 50); do
  ip -4 -o addr show "$dev" | grep -q . && ip route show dev "$dev" scope link | grep -q . && break
  sleep 0.1
done
systemctl is-enabled --quiet {_ROUTES} 2>/dev/null && systemctl restart --no-block {_ROUTES}
true
"""
# What the unit sets, as the unit itself says it.
_LACKING = f"""\
sed -n 's/^ExecStart=.*route replace \\([^ ]*\\) .*/\\1/p' /etc/systemd/system/{_ROUTES} 2>/dev/null |
  while read -r range; do ip route show "$range" | grep -q via || echo "$range"; done
"""

FAULTS = (InterfaceDown,)
