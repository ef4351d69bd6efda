"""What Vagrant is told of a lab: a plan file of the lab's own, and the environment of every call."""

import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import lab as package
from lab.errors import LabError
from lab.topology import Topology

PREFIX = "thwlab_"  # neither a lab's name nor a machine's has "_": no lab's VMs begin like another's
UNSAID = IPv4Network("192.168.100.0/24")  # the Vagrantfile's own, of a plan that names no network
MORE = "LAB_VAGRANTFILE_MORE"  # files whose settings come on top, each on a line; the user's is the last
BOOT_TIMEOUT = "LAB_BOOT_TIMEOUT"  # seconds; the user's wins
DEFAULT_BOOT = 300.0  # the Vagrantfile's own
DEFAULT_BOX = "debian/bookworm64"  # the Vagrantfile's own, where the user names none
DAMAGE = (ValueError, KeyError, TypeError, AttributeError)  # what a plan that was cut off raises


@dataclass(frozen=True, slots=True)
class Box:
    """What the machines are made of; empty fields are the Vagrantfile's own choice."""

    name: str = ""
    version: str = ""
    url: str = ""
    sha256: str = ""

    @classmethod
    def chosen(cls, environ: Mapping[str, str]) -> "Box":
        """The one that the user names by the Vagrantfile's variables."""
        names = ("THWLAB_BOX", "THWLAB_BOX_VERSION", "THWLAB_BOX_URL", "THWLAB_BOX_SHA256")
        return cls(*(environ.get(name, "") for name in names))

    @classmethod
    def plain(cls, environ: Mapping[str, str]) -> "Box":
        """The one that plain machines are made of: the user's, else the Vagrantfile's own."""
        found = cls.chosen(environ)
        return found if found.name else replace(found, name=DEFAULT_BOX)

    def environment(self) -> dict[str, str]:
        """The variables by which the Vagrantfile takes it."""
        named = {
            "THWLAB_BOX": self.name,
            "THWLAB_BOX_VERSION": self.version,
            "THWLAB_BOX_URL": self.url,
            "THWLAB_BOX_SHA256": self.sha256,
        }
        return {name: value for name, value in named.items() if value}


@dataclass(frozen=True, slots=True)
class Project:
    """One lab as Vagrant sees it; everything it keeps lies in `folder`, but for the user's boxes."""

    lab: str
    folder: Path
    provider: str
    box: Box = Box()
    extra: tuple[tuple[str, str], ...] = ()
    vagrantfile: Path | None = None

    @property
    def prefix(self) -> str:
        """What the names of this lab's VMs begin with, and no other's."""
        return f"{PREFIX}{self.lab}_"

    @property
    def data(self) -> Path:
        """What Vagrant would keep in `.vagrant`."""
        return self.folder / "dot"

    @property
    def plan(self) -> Path:
        """The machines as the Vagrantfile reads them."""
        return self.folder / "plan.yaml"

    @property
    def log(self) -> Path:
        """All that Vagrant and the hypervisor's programs ever printed for this lab."""
        return self.folder / "vagrant.log"

    @property
    def at_work(self) -> Path:
        """The Vagrant that changes something just now; see `strays`."""
        return self.folder / "at-work"

    @property
    def networks_before(self) -> Path:
        """The hypervisor's networks that were there before the lab."""
        return self.folder / "networks-before"

    @property
    def shared_before(self) -> Path:
        """The box, and what the hypervisor had for all before the lab; see `shared`."""
        return self.folder / f"before-{self.provider}"

    def box_name(self) -> str:
        """The box as Vagrant will call it: this lab's, the user's, or the Vagrantfile's own."""
        named = self.box.name or os.environ.get("THWLAB_BOX", "")
        return named or DEFAULT_BOX

    def gateway(self) -> IPv4Address:
        """This host's address in the lab's network, as Vagrant chooses it."""
        return IPv4Network(self.network())[1]

    def domain(self, machine: str) -> str:
        """The name of a machine's VM."""
        return self.prefix + machine

    def machine_of(self, domain: str) -> str:
        """The machine whose VM has that name."""
        return domain.removeprefix(self.prefix)

    def write_plan(self, topology: Topology) -> None:
        """Write down the plan as it is after all options: JSON, which is YAML to Ruby."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = self.plan.with_suffix(".part")
        part.write_text(json.dumps(_told(topology), indent=1))
        part.replace(self.plan)

    def addresses(self) -> dict[str, IPv4Address]:
        """The planned address of each machine that `write_plan` wrote down."""
        try:
            machines = self._written()["machines"]
            return {name: IPv4Address(each["address"]) for name, each in machines.items()}
        except FileNotFoundError:
            return {}
        except DAMAGE as error:
            raise self._damaged(error) from error

    def network(self) -> str:
        """The planned network, as far as it was written down."""
        try:
            return str(IPv4Network(self._written()["network"]["cidr"]))
        except FileNotFoundError:
            return str(UNSAID)
        except DAMAGE as error:
            raise self._damaged(error) from error

    def _written(self) -> Any:
        return json.loads(self.plan.read_bytes())

    def _damaged(self, error: Exception) -> LabError:
        return LabError(
            f"{self.plan} is not what was written there: {type(error).__name__}: {error}",
            remedy="thwlab up writes it anew; to remove the lab, which needs it not: "
            f"rm {shlex.quote(str(self.plan))}, then thwlab down",
        )

    def environment(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of every call: the user's, with everything that is the lab's said plainly."""
        file = self.vagrantfile or vagrantfile()
        given = os.environ if base is None else base
        user = {
            name: value
            for name, value in given.items()
            if not name.startswith(("LAB_", "VAGRANT_DOTFILE", "VAGRANT_CWD", "VAGRANT_VAGRANTFILE"))
        }
        ours = {
            "VAGRANT_CWD": str(file.parent),
            "VAGRANT_VAGRANTFILE": file.name,
            "VAGRANT_DOTFILE_PATH": str(self.data),
            "VAGRANT_DEFAULT_PROVIDER": self.provider,
            "VAGRANT_CHECKPOINT_DISABLE": "1",
            "VAGRANT_NO_COLOR": "1",
            "LAB_PREFIX": self.prefix,
        }
        if self.plan.exists():  # questions such as for its plugins come before there is a plan
            ours["LAB_CONFIG"] = str(self.plan)
        return {**user, **self.box.environment(), **ours, **dict(self.extra), **self._handed_on(given)}

    def _handed_on(self, given: Mapping[str, str]) -> dict[str, str]:
        """What a user may tell the Vagrantfile through us."""
        found = {BOOT_TIMEOUT: given[BOOT_TIMEOUT]} if given.get(BOOT_TIMEOUT) else {}
        if given.get(MORE):
            files = (dict(self.extra).get(MORE), str(Path(given[MORE]).absolute()))
            found[MORE] = "\n".join(filter(None, files))
        return found


def vagrantfile() -> Path:
    """The Vagrantfile of a checkout, or the one in the installed package."""
    inside = Path(package.__file__).parent
    for folder in (inside, inside.parent):
        if (folder / "Vagrantfile").is_file():
            return folder / "Vagrantfile"
    raise LabError(f"there is no Vagrantfile in {inside} or beside it", remedy="install thwlab again")


def _told(topology: Topology) -> dict[str, object]:
    machines = {
        node.name: {
            "address": str(node.address),
            "memory": f"{node.memory_mib}MiB",
            "cpus": node.cpus,
            "roles": sorted(node.roles),
        }
        for node in topology.nodes
    }
    return {
        "name": topology.name,
        "network": {"cidr": str(topology.networks.nodes)},
        "machines": machines,
    }
