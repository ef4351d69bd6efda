"""The stages of a cluster built the hard way, in the order of the guide."""

from collections.abc import Callable
from functools import partial

from lab.bringup import Stage
from lab.components.apiserver import ApiServer
from lab.components.base import Component, install
from lab.components.controller_manager import ControllerManager
from lab.components.etcd import Etcd
from lab.components.nginx import Nginx
from lab.components.scheduler import Scheduler
from lab.laboratory import Laboratory
from lab.topology import Role, Topology

Act = Callable[[Laboratory], None]


def stages_for(topology: Topology) -> list[Stage]:
    """The stages this plan needs; a stage that others need stands before them."""
    return [
        Stage("etcd", "every member commits", _install(Etcd), roles=frozenset({Role.ETCD})),
        Stage(
            "load-balancer", "the balancer accepts", _install(Nginx), roles=frozenset({Role.LOAD_BALANCER})
        ),
        Stage(
            "apiserver", "each says readyz", _install(ApiServer), ("etcd",), frozenset({Role.CONTROL_PLANE})
        ),
        Stage(
            "control-plane",
            "controllers",
            _install(ControllerManager, Scheduler),
            ("apiserver",),
            frozenset({Role.CONTROL_PLANE}),
        ),
    ]


def _install(*kinds: type[Component]) -> Act:
    return partial(_install_all, kinds)


def _install_all(kinds: tuple[type[Component], ...], lab: Laboratory) -> None:
    for kind in kinds:
        component = kind(lab.topology, lab.provider.platform)
        install(component, lab.at(component.nodes()), lab.credentials)
