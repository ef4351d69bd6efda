"""What every addon is, and the one way to install it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from lab.kubeapi import KubeApi, path_of
from lab.machine import Machine
from lab.pki import Credentials
from lab.topology import Profile, Topology
from lab.wait import wait_until

Manifest: TypeAlias = dict[str, Any]

_TEMPLATES = Environment(
    loader=PackageLoader("lab.addons"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    autoescape=False,
    auto_reload=False,
)


class Addon(ABC):
    """Objects applied by the server side.  Subclasses describe; only `install` touches the cluster."""

    name: str
    ready_timeout: float = 120

    def __init__(self, topology: Topology) -> None:
        self.topology = topology

    @property
    def hardened(self) -> bool:
        """Whether the plan wants our settings and not those of the guide."""
        return self.topology.profile is Profile.HARDENED

    @abstractmethod
    def manifests(self, credentials: Credentials) -> list[Manifest]:
        """Its objects in the order to apply them.  Pure: same input, same objects."""

    @abstractmethod
    def check_ready(self, api: KubeApi, workers: Sequence[Machine]) -> None:
        """Return if it serves, as seen by the API and from the workers; raise `NotYet` if it may still."""

    def settle(self, api: KubeApi, changed: Sequence[str]) -> None:
        """Do what it takes after these objects, as KIND NAME, had to change; nothing by itself."""
        return


class Rights(Addon):
    """Objects that serve by being there."""

    def check_ready(self, api: KubeApi, workers: Sequence[Machine]) -> None:
        """Nothing is left to wait for once they are applied."""
        return


def apply(addon: Addon, api: KubeApi, credentials: Credentials) -> list[str]:
    """Have the addon's objects in the cluster as described; those that had to change, as KIND NAME."""
    changed = []
    for manifest in addon.manifests(credentials):
        ensure = partial(api.ensure, manifest)
        if wait_until(f"applying {path_of(manifest)}", ensure, timeout=addon.ready_timeout):
            changed.append(f"{manifest['kind']} {manifest['metadata']['name']}")
    addon.settle(api, changed)
    return changed


def install(addon: Addon, api: KubeApi, credentials: Credentials, workers: Sequence[Machine]) -> None:
    """Apply the addon and wait until it serves, as seen from the ``workers``."""
    apply(addon, api, credentials)
    await_ready(addon, api, workers)


def await_ready(addon: Addon, api: KubeApi, workers: Sequence[Machine]) -> None:
    """Wait until the addon serves; raises `WaitExpired` with what was seen last."""
    wait_until(f"addon {addon.name}", lambda: addon.check_ready(api, workers), timeout=addon.ready_timeout)


def rendered(template: str, **values: object) -> list[Manifest]:
    """The objects of a YAML template, filled in."""
    return list(yaml.safe_load_all(_TEMPLATES.get_template(template).render(values)))


def cluster_role_binding(name: str, role: str, kind: str, subject: str) -> Manifest:
    """A ClusterRole given to a User or Group."""
    group = "rbac.authorization.k8s.io"
    return {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": group, "kind": kind, "name": subject}],
    }


def cluster_role(name: str, rules: Sequence[Mapping[str, Sequence[str]]]) -> Manifest:
    """A ClusterRole with these rules."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name},
        "rules": [dict(rule) for rule in rules],
    }
