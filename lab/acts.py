"""What each stage does on machines and in the cluster; which stages there are is in `stages`."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from ipaddress import IPv4Network
from typing import Any

from lab.addons.base import apply, await_ready
from lab.addons.catalogue import access, chosen
from lab.artifacts.prepare import supplies_of
from lab.components.apiserver import ApiServer
from lab.components.base import Component, await_all, install, last_words, place_all
from lab.components.catalogue import balancer, pod_network
from lab.components.controller_manager import ControllerManager
from lab.components.kube_proxy import KubeProxy
from lab.components.kubelet import Kubelet
from lab.components.scheduler import Scheduler
from lab.errors import WaitExpired
from lab.furnishing.furnish import furnish
from lab.furnishing.identity import insist_sound
from lab.joining import NODES, await_joined, kubelets_last_words
from lab.kubeapi import Refused
from lab.laboratory import Laboratory
from lab.machine import Machine
from lab.providers.base import Capability
from lab.topology import Role
from lab.wait import NotYet, wait_until

Act = Callable[[Laboratory], Sequence[str] | None]
"""Gives back what it had to change, as far as it knows; see `Stage`."""

CONTROLLERS = (ControllerManager, Scheduler)
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"


def bring_programs(stage: str, lab: Laboratory) -> list[str]:
    """Where the provider's machines come without: all that run, for each is about to be needed.

    Those with a clock of their own are asked first who they are and what time it is: packages and
    certificates would be refused as of tomorrow.  How far it is, `Laboratory.tell` hears by the stage's name.
    """
    own_clock, furnished = Capability.OWN_CLOCK in lab.provider.capabilities, lab.provider.is_furnished
    if furnished and not own_clock:
        return []
    tell = partial(lab.tell, stage)
    states = lab.provider.states()
    running = [machine for name, machine in lab.machines.items() if states.get(name) == "running"]
    if own_clock:
        insist_sound(running)
    if furnished:
        return []
    given = furnish(running, partial(supplies_of, lab.topology, tell), tell)
    return [f"programs on {name}" for name in given]


def installing(*kinds: type[Component]) -> Act:
    """The act that installs these on their machines, and waits until each serves."""
    return lambda lab: _install_these(_components(kinds, lab), lab)


def awaiting(*kinds: type[Component]) -> Act:
    """The act that waits until these serve, wherever they were started."""

    def act(lab: Laboratory) -> None:
        components = _components(kinds, lab)
        await_all(components, _there(lab, components), lab.outside)

    return act


def install_balancer(lab: Laboratory) -> list[str]:
    """The program that the plan names."""
    return _install_these([balancer(lab.topology, lab.provider.platform)], lab)


def start_masters(lab: Laboratory) -> list[str]:
    """The apiservers of the masters that come first; nobody waits for them here."""
    return place_all(_components((ApiServer,), lab), _early(lab), lab.credentials)


def await_masters(lab: Laboratory) -> None:
    """Until each apiserver that was started says readyz."""
    await_all(_components((ApiServer,), lab), _early(lab), lab.outside)


def apply_access(lab: Laboratory) -> list[str]:
    """By the first master itself: there may be no balancer yet."""
    api = lab.api(_first_master(lab))
    return [each for addon in access(lab.topology) for each in apply(addon, api, lab.credentials)]


def start_controllers(lab: Laboratory) -> list[str]:
    """After the API has its roles, for without them they end at once."""
    return place_all(_components(CONTROLLERS, lab), _early(lab), lab.credentials)


def await_control_plane(lab: Laboratory) -> None:
    """Who leads is asked first, for the API tells it from here; each controller is asked on its machine."""
    wait_until("the API to answer at its address", lambda: _check_api(lab), timeout=60)
    _await_leaders(lab)
    await_all(_components(CONTROLLERS, lab), _early(lab), lab.outside)


def install_late_masters(lab: Laboratory) -> list[str]:
    """All that a master runs on those that did not come first; nothing where machines are not slow.

    There the controllers come once the apiserver serves: they ask it again and again meanwhile, and with
    what that costs it one apiserver in emulation did not come up within six minutes.
    """
    early = _early(lab)
    changed = []
    for kinds in ((ApiServer,), CONTROLLERS):
        components = _components(kinds, lab)
        late = [machine for machine in _there(lab, components) if machine not in early]
        changed += install(components, late, lab.credentials, lab.outside)
    return changed


def start_kubelets(lab: Laboratory) -> list[str]:
    """And what translates Services beside them, which where machines are slow comes with the pods' network.

    There it would take the processors from the kubelets, and from the controllers that are to sign for them.
    """
    kinds = (Kubelet,) if lab.provider.is_slow else (Kubelet, KubeProxy)
    return _place_these(_components(kinds, lab), lab)


def await_nodes(lab: Laboratory) -> None:
    """Until kubelets joined, and each answers that it is well."""
    await_joined(lab)
    awaiting(Kubelet)(lab)


def build_pod_network(lab: Laboratory) -> list[str]:
    """Where machines are slow kube-proxy comes along: files and units of one machine in one go."""
    cidrs = wait_until("every node to get its pod range", lambda: _pod_cidrs(lab), timeout=60)
    lab.state.note_pod_ranges({name: str(cidr) for name, cidr in cidrs.items()})
    network = pod_network(lab.topology, lab.provider.platform, cidrs)
    changed = _place_these([*network, *_components((KubeProxy,) if lab.provider.is_slow else (), lab)], lab)
    await_all(network, _there(lab, network), lab.outside)
    with kubelets_last_words(lab):
        wait_until("every node to be Ready", lambda: _check_ready(lab), timeout=90)
    return changed


def last_pod_network(lab: Laboratory) -> tuple[Component, ...]:
    """What connected pods when they were last seen connected, if that was noted of every worker."""
    with suppress(ValueError):
        cidrs = {name: IPv4Network(cidr) for name, cidr in lab.state.pod_ranges().items()}
        if cidrs.keys() == {node.name for node in lab.topology.of(Role.WORKER)}:
            return pod_network(lab.topology, lab.provider.platform, cidrs)
    return ()


def bring_addon(name: str, lab: Laboratory) -> list[str]:
    """Apply the objects of the addon of this name, and wait until it serves."""
    addon = next(each for each in chosen(lab.topology) if each.name == name)
    changed = apply(addon, lab.api(), lab.credentials)
    await_ready(addon, lab.api(), lab.of(Role.WORKER))
    return changed


def _install_these(components: Sequence[Component], lab: Laboratory) -> list[str]:
    return install(components, _there(lab, components), lab.credentials, lab.outside)


def _place_these(components: Sequence[Component], lab: Laboratory) -> list[str]:
    return place_all(components, _there(lab, components), lab.credentials)


def _components(kinds: Sequence[type[Component]], lab: Laboratory) -> list[Component]:
    return [kind(lab.topology, lab.provider.platform) for kind in kinds]


def _there(lab: Laboratory, components: Sequence[Component]) -> list[Machine]:
    """The components' machines, as far as somebody has asked for them."""
    nodes = {node.name for component in components for node in component.nodes()}
    return [machine for name, machine in lab.machines.items() if name in nodes]


def _early(lab: Laboratory) -> list[Machine]:
    """The masters that come first: all, but where machines are slow the first alone.

    Two apiservers at once take the processors from the controllers until their leases are lost.
    """
    masters = _there(lab, _components((ApiServer,), lab))
    return masters[:1] if lab.provider.is_slow else masters


def _first_master(lab: Laboratory) -> str:
    return lab.topology.of(Role.CONTROL_PLANE)[0].name


def _check_api(lab: Laboratory) -> None:
    """A balancer that only sees connections gives some to an apiserver that is still starting."""
    try:
        lab.api().text("/readyz")
    except Refused as error:
        if error.status < 500:
            raise
        raise NotYet(str(error)) from error


def _await_leaders(lab: Laboratory) -> None:
    """Raises `WaitExpired` with who leads instead, and what the controllers say of themselves."""
    try:
        wait_until("controllers and schedulers to have leaders", lambda: check_leaders(lab), timeout=60)
    except WaitExpired as error:
        words = last_words(_components(CONTROLLERS, lab), _early(lab))
        raise WaitExpired(error.what, error.seconds, "; ".join([error.last, *words])) from error


def check_leaders(lab: Laboratory) -> dict[str, Mapping[str, Any]]:
    """The leases of the controllers, each with a holder that is a master's; else `NotYet`.

    A holder is named HOST_UUID; one of no master of the plan is a stranger, and then nobody works.
    """
    masters = {node.name for node in lab.topology.of(Role.CONTROL_PLANE)}
    there = {lease["metadata"]["name"]: lease["spec"] for lease in lab.api(_first_master(lab)).items(LEASES)}
    leases = {kind.name: there.get(kind.name, {}) for kind in CONTROLLERS}
    holders = {name: lease.get("holderIdentity") or "nobody" for name, lease in leases.items()}
    if strange := [_strange(what, who) for what, who in holders.items() if who.split("_")[0] not in masters]:
        raise NotYet("; ".join(strange))
    return leases


def _strange(what: str, who: str) -> str:
    told = f"{who} leads {what}"
    return told if who == "nobody" else f"{told}; `kubectl -n kube-system delete lease {what}` frees it"


def _pod_cidrs(lab: Laboratory) -> dict[str, IPv4Network]:
    given = {n["metadata"]["name"]: n["spec"].get("podCIDR") for n in lab.api().items(NODES)}
    lacking = [node.name for node in lab.topology.of(Role.WORKER) if not given.get(node.name)]
    if lacking:
        raise NotYet(f"no podCIDR yet for {', '.join(lacking)}; nodes: {given}")
    return {name: IPv4Network(cidr) for name, cidr in given.items()}


def _check_ready(lab: Laboratory) -> None:
    unready = [
        f"{node['metadata']['name']}: {condition.get('message', '')}"
        for node in lab.api().items(NODES)
        for condition in node["status"]["conditions"]
        if condition["type"] == "Ready" and condition["status"] != "True"
    ]
    if unready:
        raise NotYet("; ".join(unready))
