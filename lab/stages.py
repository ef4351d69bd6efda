"""The stages of a cluster built the hard way, in the order of the guide."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Network

from lab.addons.base import apply, await_ready
from lab.addons.catalogue import access, chosen
from lab.artifacts.prepare import supplies_of
from lab.bringup import Stage
from lab.components.admin import Admin
from lab.components.apiserver import ApiServer
from lab.components.base import Component, await_all, install, last_words, place_all
from lab.components.catalogue import BALANCERS, balancer, pod_network
from lab.components.containerd import Containerd
from lab.components.controller_manager import ControllerManager
from lab.components.etcd import Etcd
from lab.components.kube_proxy import KubeProxy
from lab.components.kubelet import Kubelet
from lab.components.node_prep import Hosts, NodePrep
from lab.components.scheduler import Scheduler
from lab.errors import WaitExpired
from lab.furnishing.furnish import furnish
from lab.joining import NODES, await_joined, kubelets_last_words
from lab.kubeapi import Refused
from lab.laboratory import Laboratory
from lab.machine import Machine
from lab.topology import Role, Topology
from lab.wait import NotYet, wait_until

Act = Callable[[Laboratory], Sequence[str] | None]
PROGRAMS = "programs"
FIRST = (PROGRAMS,)
# What is needed much later, and would only take the processors from etcd where machines are slow.
AFTER_ETCD = ("etcd",)
ETCD = frozenset({Role.ETCD})
BALANCER = frozenset({Role.LOAD_BALANCER})
MASTERS = frozenset({Role.CONTROL_PLANE})
WORKERS = frozenset({Role.WORKER})
ADMINS = frozenset({Role.ADMIN})
CONTROLLERS = (ControllerManager, Scheduler)
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"


def stages_for(topology: Topology) -> list[Stage]:
    """The stages this plan needs, in an order in which each stands after those it needs."""
    addons = [_addon_stage(addon.name) for addon in chosen(topology)]
    last = tuple(addon.name for addon in addons)
    every = [*_ground(topology), *_control_plane_stages(last), *_worker_stages(), *addons]
    return [_without(stage, topology) for stage in every if _has_machines(stage, topology)]


def _ground(topology: Topology) -> list[Stage]:
    """What needs no API."""
    return [
        Stage(
            PROGRAMS, "each machine has the programs of its roles", _bring_programs, serves=frozenset(Role)
        ),
        Stage(
            "hosts",
            "each machine knows the others by name",
            _install(Hosts),
            FIRST,
            frozenset(Role),
            AFTER_ETCD,
            carries=(Hosts,),
        ),
        Stage("etcd", "every member commits", _install(Etcd), FIRST, ETCD, carries=(Etcd,)),
        Stage(
            "load-balancer",
            "the balancer accepts",
            _install_balancer,
            FIRST,
            BALANCER,
            AFTER_ETCD,
            carries=(BALANCERS[topology.load_balancer],),
        ),
    ]


def _control_plane_stages(addons: tuple[str, ...]) -> list[Stage]:
    """Masters, and who commands them."""
    return [
        Stage("masters", "apiservers are started", _start_masters, FIRST, MASTERS, carries=(ApiServer,)),
        Stage("apiserver", "they say readyz", _await_masters, ("etcd", "masters"), MASTERS),
        Stage("access", "the first kubelet may come", _apply_access, ("apiserver",), MASTERS),
        Stage(
            "controllers",
            "controllers and schedulers are started",
            _start_controllers,
            ("apiserver",),
            MASTERS,
            carries=CONTROLLERS,
        ),
        Stage(
            "control-plane",
            "controllers and schedulers answer and have leaders, and the API answers at its address",
            _control_plane,
            ("controllers", "load-balancer"),
            MASTERS,
        ),
        Stage(
            "every-master",
            "where machines are slow the first master is followed by the others",
            _late_masters,
            ("control-plane",),
            MASTERS,
            after=("nodes", *addons),
        ),
        Stage(
            "admin",
            "kubectl works on the admin machine",
            _install(Admin),
            ("hosts", "control-plane"),
            ADMINS,
            after=addons,
            carries=(Admin,),
        ),
    ]


def _worker_stages() -> list[Stage]:
    """Workers, until Services reach their pods."""
    return [
        Stage(
            "runtime",
            "workers can run containers",
            _install(NodePrep, Containerd),
            FIRST,
            WORKERS,
            AFTER_ETCD,
            carries=(NodePrep, Containerd),
        ),
        Stage(
            "kubelet",
            "kubelets ask to join",
            _start_kubelets,
            ("runtime", "access", "controllers", "load-balancer"),
            WORKERS,
            # One that asks before somebody signs asks again later and later, every 7 s in the end.  Where
            # machines are slow it takes longer than that to ask at all.
            fast_after=("control-plane",),
            carries=(Kubelet, KubeProxy),
        ),
        Stage(
            "nodes",
            "kubelets joined by their token and serve with certificates of the cluster's CA",
            _join,
            ("control-plane", "kubelet"),
            WORKERS,
        ),
        Stage(
            "network",
            "every node is Ready and knows the way to every pod",
            _pod_network,
            ("control-plane", "hosts", "kubelet"),
            WORKERS,
        ),
        Stage("proxy", "Services are translated on every worker", _await(KubeProxy), ("network",), WORKERS),
    ]


def _addon_stage(addon: str) -> Stage:
    """Not before the proxies: a pod that asks for the API meanwhile is not answered, and asks again late.

    The certificates that `nodes` is about are for those who ask kubelets, which no pod does.
    """
    truth, needs = f"{addon} serves", ("network", "proxy")
    return Stage(_name_of(addon), truth, partial(_addon, addon), needs, along=("nodes",))


def _name_of(addon: str) -> str:
    return {"coredns": "dns"}.get(addon, addon)


def _has_machines(stage: Stage, topology: Topology) -> bool:
    return not stage.roles or any(topology.of(role) for role in stage.roles)


def _without(stage: Stage, topology: Topology) -> Stage:
    """The stage less its need of a balancer where the plan has none."""
    if topology.balancer or "load-balancer" not in stage.needs:
        return stage
    needs = tuple(need for need in stage.needs if need != "load-balancer")
    return replace(stage, needs=needs)


def _bring_programs(lab: Laboratory) -> list[str]:
    """Where the provider's machines come without: all that run, for each is about to be needed."""
    if lab.provider.is_furnished:
        return []
    tell = partial(lab.tell, PROGRAMS)
    states = lab.provider.states()
    running = [machine for name, machine in lab.machines.items() if states.get(name) == "running"]
    given = furnish(running, partial(supplies_of, lab.topology, tell), tell)
    return [f"programs on {name}" for name in given]


def _install(*kinds: type[Component]) -> Act:
    return lambda lab: _install_these(_components(kinds, lab), lab)


def _start_kubelets(lab: Laboratory) -> list[str]:
    """And what translates Services beside them, which where machines are slow comes with the pods' network.

    There it would take the processors from the kubelets, and from the controllers that are to sign for them.
    """
    kinds = (Kubelet,) if lab.provider.is_slow else (Kubelet, KubeProxy)
    return _place_these(_components(kinds, lab), lab)


def _await(*kinds: type[Component]) -> Act:
    def act(lab: Laboratory) -> None:
        components = _components(kinds, lab)
        await_all(components, _there(lab, components), lab.outside)

    return act


def _early(lab: Laboratory) -> list[Machine]:
    """The masters that come first: all, but where machines are slow the first alone.

    Two apiservers at once take the processors from the controllers until their leases are lost.
    """
    masters = _there(lab, _components((ApiServer,), lab))
    return masters[:1] if lab.provider.is_slow else masters


def _late_masters(lab: Laboratory) -> list[str]:
    """All that a master runs on those that did not come first; nothing where machines are not slow."""
    early = _early(lab)
    components = _components((ApiServer, *CONTROLLERS), lab)
    late = [machine for machine in _there(lab, components) if machine not in early]
    return install(components, late, lab.credentials, lab.outside)


def _start_masters(lab: Laboratory) -> list[str]:
    return place_all(_components((ApiServer,), lab), _early(lab), lab.credentials)


def _await_masters(lab: Laboratory) -> None:
    await_all(_components((ApiServer,), lab), _early(lab), lab.outside)


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


def _install_balancer(lab: Laboratory) -> list[str]:
    return _install_these([balancer(lab.topology, lab.provider.platform)], lab)


def _apply_access(lab: Laboratory) -> list[str]:
    api = lab.api(_first_master(lab))
    return [each for addon in access(lab.topology) for each in apply(addon, api, lab.credentials)]


def _start_controllers(lab: Laboratory) -> list[str]:
    """After the API has its roles, for without them they end at once."""
    return place_all(_components(CONTROLLERS, lab), _early(lab), lab.credentials)


def _control_plane(lab: Laboratory) -> None:
    """Who leads is asked first, for the API tells it from here; each controller is asked on its machine."""
    wait_until("the API to answer at its address", lambda: _check_api(lab), timeout=60)
    _await_leaders(lab)
    await_all(_components(CONTROLLERS, lab), _early(lab), lab.outside)


def _await_leaders(lab: Laboratory) -> None:
    """Raises `WaitExpired` with who leads instead, and what the controllers say of themselves."""
    try:
        wait_until("controllers and schedulers to have leaders", lambda: _check_leaders(lab), timeout=60)
    except WaitExpired as error:
        words = last_words(_components(CONTROLLERS, lab), _early(lab))
        raise WaitExpired(error.what, error.seconds, "; ".join([error.last, *words])) from error


def _check_api(lab: Laboratory) -> None:
    """A balancer that only sees connections gives some to an apiserver that is still starting."""
    try:
        lab.api().text("/readyz")
    except Refused as error:
        if error.status < 500:
            raise
        raise NotYet(str(error)) from error


def _check_leaders(lab: Laboratory) -> None:
    """A holder is named HOST_UUID; one of no master of the plan is a stranger, and then nobody works."""
    masters = {node.name for node in lab.topology.of(Role.CONTROL_PLANE)}
    held = {
        lease["metadata"]["name"]: lease["spec"].get("holderIdentity") or "nobody"
        for lease in lab.api(_first_master(lab)).items(LEASES)
    }
    holders = {kind.name: held.get(kind.name, "nobody") for kind in CONTROLLERS}
    if strange := [_strange(what, who) for what, who in holders.items() if who.split("_")[0] not in masters]:
        raise NotYet("; ".join(strange))


def _strange(what: str, who: str) -> str:
    told = f"{who} leads {what}"
    return told if who == "nobody" else f"{told}; `kubectl -n kube-system delete lease {what}` frees it"


def _first_master(lab: Laboratory) -> str:
    return lab.topology.of(Role.CONTROL_PLANE)[0].name


def _join(lab: Laboratory) -> None:
    await_joined(lab)
    _await(Kubelet)(lab)


def _pod_network(lab: Laboratory) -> list[str]:
    """Where machines are slow kube-proxy comes along: files and units of one machine in one go."""
    cidrs = wait_until("every node to get its pod range", lambda: _pod_cidrs(lab), timeout=60)
    network = pod_network(lab.topology, lab.provider.platform, cidrs)
    changed = _place_these([*network, *_components((KubeProxy,) if lab.provider.is_slow else (), lab)], lab)
    await_all(network, _there(lab, network), lab.outside)
    with kubelets_last_words(lab):
        wait_until("every node to be Ready", lambda: _check_ready(lab), timeout=90)
    return changed


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


def _addon(name: str, lab: Laboratory) -> list[str]:
    addon = next(each for each in chosen(lab.topology) if each.name == name)
    changed = apply(addon, lab.api(), lab.credentials)
    await_ready(addon, lab.api(), lab.of(Role.WORKER))
    return changed
