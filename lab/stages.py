"""The stages of a cluster built the hard way, in the order of the guide; what each does is in `acts`."""

from dataclasses import replace
from functools import partial

from lab import acts
from lab.addons.catalogue import chosen
from lab.bringup import Stage
from lab.components.admin import Admin
from lab.components.apiserver import ApiServer
from lab.components.catalogue import BALANCERS
from lab.components.containerd import Containerd
from lab.components.etcd import Etcd
from lab.components.kube_proxy import KubeProxy
from lab.components.kubelet import Kubelet
from lab.components.node_prep import Hosts, NodePrep
from lab.topology import Role, Topology

PROGRAMS = "programs"
FIRST = (PROGRAMS,)
# What is needed much later, and would only take the processors from etcd where machines are slow.
AFTER_ETCD = ("etcd",)
ETCD = frozenset({Role.ETCD})
BALANCER = frozenset({Role.LOAD_BALANCER})
MASTERS = frozenset({Role.CONTROL_PLANE})
WORKERS = frozenset({Role.WORKER})
ADMINS = frozenset({Role.ADMIN})


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
            PROGRAMS,
            "each machine has the programs of its roles",
            partial(acts.bring_programs, PROGRAMS),
            serves=frozenset(Role),
        ),
        Stage(
            "hosts",
            "each machine knows the others by name",
            acts.installing(Hosts),
            FIRST,
            frozenset(Role),
            AFTER_ETCD,
            carries=(Hosts,),
        ),
        Stage("etcd", "every member commits", acts.installing(Etcd), FIRST, ETCD, carries=(Etcd,)),
        Stage(
            "load-balancer",
            "the balancer accepts",
            acts.install_balancer,
            FIRST,
            BALANCER,
            AFTER_ETCD,
            carries=(BALANCERS[topology.load_balancer],),
        ),
    ]


def _control_plane_stages(addons: tuple[str, ...]) -> list[Stage]:
    """Masters, and who commands them."""
    return [
        Stage("masters", "apiservers are started", acts.start_masters, FIRST, MASTERS, carries=(ApiServer,)),
        Stage("apiserver", "they say readyz", acts.await_masters, ("etcd", "masters"), MASTERS),
        Stage("access", "the first kubelet may come", acts.apply_access, ("apiserver",), MASTERS),
        Stage(
            "controllers",
            "controllers and schedulers are started",
            acts.start_controllers,
            ("apiserver",),
            MASTERS,
            carries=acts.CONTROLLERS,
        ),
        Stage(
            "control-plane",
            "controllers and schedulers answer and have leaders, and the API answers at its address",
            acts.await_control_plane,
            ("controllers", "load-balancer"),
            MASTERS,
        ),
        Stage(
            "every-master",
            "where machines are slow the first master is followed by the others",
            acts.install_late_masters,
            ("control-plane",),
            MASTERS,
            after=("nodes", *addons),
        ),
        Stage(
            "admin",
            "kubectl works on the admin machine",
            acts.installing(Admin),
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
            acts.installing(NodePrep, Containerd),
            FIRST,
            WORKERS,
            AFTER_ETCD,
            carries=(NodePrep, Containerd),
        ),
        Stage(
            "kubelet",
            "kubelets ask to join",
            acts.start_kubelets,
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
            acts.await_nodes,
            ("control-plane", "kubelet"),
            WORKERS,
        ),
        Stage(
            "network",
            "every node is Ready and knows the way to every pod",
            acts.build_pod_network,
            ("control-plane", "hosts", "kubelet"),
            WORKERS,
            recalls=acts.last_pod_network,
        ),
        Stage(
            "proxy",
            "Services are translated on every worker",
            acts.awaiting(KubeProxy),
            ("network",),
            WORKERS,
        ),
    ]


def _addon_stage(addon: str) -> Stage:
    """Not before the proxies: a pod that asks for the API meanwhile is not answered, and asks again late.

    The certificates that `nodes` is about are for those who ask kubelets, which no pod does.
    """
    truth, needs = f"{addon} serves", ("network", "proxy")
    return Stage(_name_of(addon), truth, partial(acts.bring_addon, addon), needs, along=("nodes",))


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
