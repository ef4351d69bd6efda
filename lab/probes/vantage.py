"""Where a prober runs, and one that runs on this host: how it is started, ended and read.

Either way it ends by itself when we do: here its input closes, there its unit has a time limit.
"""

import shutil
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.cluster import Cluster
from lab.errors import LabError
from lab.probes import dialogues, prober
from lab.probes.hosted import GRACE, Hosted
from lab.probes.question import Probe
from lab.topology import Role


@dataclass
class Running(ABC):
    """One prober at work; what it has told is complete once it was stopped."""

    probe: Probe

    @property
    def bound(self) -> float:
        """By how many seconds the moments that it tells may be wrong; not at all by this host's own clock."""
        return 0.0

    @abstractmethod
    def trouble(self) -> str:
        """Why it is not at work; empty if it is, or if its machine cannot be asked just now."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether it has read its plan and begun."""

    @abstractmethod
    def stop(self) -> None:
        """Ask it to end; harmless if it has.  Does not wait."""

    @abstractmethod
    def told(self) -> list[dict[str, Any]]:
        """What it wrote, by this host's clock; waits for its end.  `LabError` if nothing can be had."""


@dataclass
class Here(Running):
    """A program of this host."""

    program: Hosted

    def trouble(self) -> str:  # noqa: D102
        trouble = self.program.trouble()
        return trouble and f"{self.probe.name}: the prober {trouble}"

    def stop(self) -> None:  # noqa: D102
        self.program.stop()

    def told(self) -> list[dict[str, Any]]:  # noqa: D102
        self.program.finish(self.probe.deadline + GRACE)
        if not self.is_ready():
            raise LabError(self.trouble())
        return self.program.lines()

    def is_ready(self) -> bool:  # noqa: D102
        output = self.program.output
        return output.exists() and b"\n" in output.read_bytes()[:400]


def start_here(cluster: Cluster, probe: Probe, folder: Path) -> Here:
    """Begin to ask from this host; ``folder`` is private and has the secrets."""
    plan = {**plan_of(probe, secrets_here(cluster, probe.secrets, folder)), "until-input-ends": True}
    return Here(probe, Hosted(cluster, prober, folder, probe.name, plan))


def secrets_here(cluster: Cluster, authority_of: str, folder: Path) -> dict[str, str] | None:
    """Files with the certificates to show to `etcd` or `kubernetes`; None if none are asked for."""
    if not authority_of:
        return None
    known = cluster.credentials
    if authority_of == "etcd":
        authority, pair = known.ca("etcd"), known.pair("etcd-client", cluster.topology.of(Role.ETCD)[0])
    else:
        authority, pair = known.ca("kubernetes"), known.pair("user")
    names = {name: folder / f"{authority_of}.{name}" for name in ("ca", "cert", "key")}
    for name, content in (("ca", authority), ("cert", pair.cert), ("key", pair.key)):
        if not names[name].exists():  # else it may be read by another prober this moment
            part = names[name].with_suffix(f".{threading.get_ident()}")
            part.touch(0o600)
            part.write_bytes(content)
            part.replace(names[name])
    return {name: str(path) for name, path in names.items()}


def private_folder(path: Path) -> Path:
    """An empty folder that only its owner may enter."""
    if path.exists():
        shutil.rmtree(path)
    path.mkdir(mode=0o700, parents=True)
    return path


def plan_of(probe: Probe, tls: Mapping[str, str] | None) -> dict[str, Any]:
    """What a prober reads of its probe."""
    if probe.secrets and not tls:
        raise LabError(
            f"{probe.name}: {probe.secrets} certificates are not given to {probe.at or 'this host'}"
        )
    more = {"module": dialogues.__file__} if probe.plan["ask"] in dialogues.ASK else {}
    return {**probe.plan, **more, "interval": probe.interval, "deadline": probe.deadline, "tls": tls}
