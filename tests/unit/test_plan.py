from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.errors import ConfigError
from lab.plan import DEFAULT, Given, effective, load_plan, load_topology
from lab.topology import ApiserverEtcd, Balancer, Cni, Profile, ProxyMode, Role, Topology, facts
from lab.versions import rows, skew

PLANS = Path(__file__).parents[2] / "docs" / "plans"

GOOD = """\
name: thw
network:
  cidr: 192.168.100.0/24
  pods: 10.10.0.0/16
  services: 10.0.0.0/24
  dns: 10.0.0.2
  domain: cluster.local
machines:
  m1: {address: 192.168.100.11, roles: [control-plane, etcd]}
  w1: {address: 192.168.100.21, roles: [worker]}
versions: "1.37"
"""


def problems(text: str, tmp_path: Path, **overrides: Any) -> list[str]:
    path = tmp_path / "p.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(ConfigError) as caught:
        load_topology(path, **overrides)
    return [p.replace(str(path), "p.yaml") for p in caught.value.problems]


def loaded(text: str, tmp_path: Path, **overrides: Any) -> Topology:
    path = tmp_path / "p.yaml"
    path.write_text(text, encoding="utf-8")
    return load_topology(path, **overrides)


def test_the_default_is_the_cluster_of_the_guide() -> None:
    plan = load_topology()
    assert {n.name: (str(n.address), sorted(n.roles)) for n in plan.nodes} == {
        "k8s-master1": ("192.168.100.11", ["control-plane", "etcd"]),
        "k8s-master2": ("192.168.100.12", ["control-plane", "etcd"]),
        "k8s-worker1": ("192.168.100.21", ["worker"]),
        "k8s-worker2": ("192.168.100.22", ["worker"]),
        "k8s-lb": ("192.168.100.100", ["admin", "etcd", "load-balancer"]),
    }
    assert plan.api_url == "https://192.168.100.100:6443"
    assert (plan.versions.kubernetes, plan.versions.etcd) == ("1.37.2", "3.7.3")
    assert (plan.profile, plan.load_balancer, plan.cni) == (Profile.HARDENED, Balancer.NGINX, Cni.ROUTED)
    assert (plan.proxy_mode, plan.addons, plan.networks.domain) == (
        ProxyMode.IPTABLES,
        ("coredns",),
        "cluster.local",
    )


def test_which_members_apiservers_ask_goes_by_the_profile_unless_the_plan_says_it(tmp_path: Path) -> None:
    asked = {}
    for profile in Profile:
        for line in ("", "apiserver-etcd: own\n", "apiserver-etcd: all\n", "apiserver-etcd: bound\n"):
            plan = tmp_path / "plan.yaml"
            plan.write_text(
                DEFAULT.read_text().replace("profile: hardened\n", f"profile: {profile}\n") + line
            )
            asked[profile, line.partition(" ")[2].strip()] = load_topology(plan).etcd_choice
    own, every, bound = ApiserverEtcd.OWN, ApiserverEtcd.ALL, ApiserverEtcd.BOUND
    assert asked == {
        (Profile.HARDENED, ""): bound,
        (Profile.HARDENED, "bound"): bound,
        (Profile.GUIDE, "bound"): bound,
        (Profile.HARDENED, "own"): own,
        (Profile.HARDENED, "all"): every,
        (Profile.GUIDE, ""): every,
        (Profile.GUIDE, "own"): own,
        (Profile.GUIDE, "all"): every,
    }


def test_numbers_of_the_profile_are_read_shown_and_part_of_the_plan(tmp_path: Path) -> None:
    path, plain = tmp_path / "plan.yaml", load_topology()
    path.write_text(
        f"{DEFAULT.read_text()}tuning: {{etcd-heartbeat: 250ms, etcd-election: 5s, idle-limit: 1m}}\n"
    )
    plan = load_plan(path)
    told = plan.topology.tuning
    assert (told.etcd_heartbeat, told.etcd_election, told.idle_limit) == (0.25, 5.0, 60.0)
    assert plan.topology.digest() != plain.digest()
    shown = {key: (value, origin.rpartition("/")[2]) for key, value, origin in effective(plan)}
    assert shown["tuning.etcd-election"] == ("5s", f"plan.yaml:{len(path.read_text().splitlines())}")
    assert shown["tuning.tcp-retries2"] == ("5", "default")
    assert "tuning.check-fall" not in shown, "nginx checks nobody"
    assert "tuning.idle-limit" not in {key for key, _, _ in effective(load_plan(profile="guide"))}


@pytest.mark.parametrize(
    ("tuning", "part"),
    [
        (
            "{etcd-election: 300ms}",
            "etcd-election 300ms is refused by etcd beside a heartbeat of 100ms; write 500ms",
        ),
        (
            "{check-fall: 2}",
            "check-fall is of haproxy, for nginx asks nobody; write `load-balancer: haproxy`",
        ),
        ("{http2-idle: 1500ms}", "http2-idle 1500ms is read in whole seconds; write 2s"),
        ("{idle-limit: 20}", "'20' is no time with its unit; write 20s"),
        ("{check-path: /metrics}", "is nothing that an apiserver tells everybody; write /readyz"),
        ("{tcp-retries2: 99}", "less than or equal to 15"),
        ("{chek-fall: 2}", "did you mean 'check-fall'?"),
    ],
)
def test_a_number_that_nothing_would_take_is_refused_with_its_line(
    tuning: str, part: str, tmp_path: Path
) -> None:
    (found,) = problems(f"{DEFAULT.read_text()}tuning: {tuning}\n", tmp_path)
    assert found.startswith(f"p.yaml:{len(DEFAULT.read_text().splitlines()) + 1}: ")
    assert part in found


def test_the_guide_has_numbers_of_its_own(tmp_path: Path) -> None:
    text = DEFAULT.read_text().replace("profile: hardened\n", "profile: guide\n")
    (found,) = problems(f"{text}tuning: {{idle-limit: 20s}}\n", tmp_path)
    assert "tuning is of the profile hardened" in found


def test_an_apiserver_without_a_balancer_is_not_bound_to_its_member() -> None:
    assert load_topology(PLANS / "small.yaml").etcd_choice is ApiserverEtcd.OWN


def test_a_small_plan_needs_no_load_balancer() -> None:
    plan = load_topology(PLANS / "small.yaml")
    assert plan.balancer is None
    assert plan.api_address == plan.node("k8s-master1").address
    assert [n.name for n in plan.of(Role.ADMIN)] == ["k8s-master1"]
    assert plan.node("k8s-worker1").memory_mib == 2048


def test_a_wide_plan_loads() -> None:
    plan = load_topology(PLANS / "wide.yaml")
    counts = [len(plan.of(role)) for role in (Role.CONTROL_PLANE, Role.ETCD, Role.WORKER)]
    assert counts == [3, 5, 4]
    assert (plan.load_balancer, plan.proxy_mode) == (Balancer.HAPROXY, ProxyMode.NFTABLES)
    assert plan.networks.node_ports == (30000, 31999)


@pytest.mark.parametrize(
    ("old", "new", "line", "part"),
    [
        ("name: thw", "name: Thw_1", 1, "is no lab name: 1 to 20 of a-z, 0-9 and '-', for"),
        ("name: thw", f"name: {'a' * 21}", 1, f"write {'a' * 20}"),
        ("name: thw", "name: ''", 1, "is no lab name"),
        ("name: thw", "name: thw\nprofle: guide", 2, "unknown key 'profle'; did you mean 'profile'?"),
        ("name: thw", "name: thw\nregistry: reg", 2, "unknown key 'registry': no registry is needed"),
        ("name: thw", "name: thw\nloadbalancer: nginx", 2, "did you mean 'load-balancer'?"),
        ("name: thw", "name: thw\nprofile: hardend", 2, "did you mean 'hardened'?"),
        ("name: thw", "name: thw\nload-balancer: keepalived", 2, "no virtual address moves"),
        ("name: thw", "name: thw\ncni: rooted", 2, "did you mean 'routed'?"),
        ("name: thw", "name: thw\nproxy-mode: ipvs", 2, "ipvs mode is deprecated and not supported"),
        ("name: thw", "name: thw\naddons: [corends]", 2, "did you mean 'coredns'?"),
        ("name: thw", "name: thw\naddons: coredns", 2, "must be a list such as [a, b]"),
        ("name: thw", "name: thw\nname: x", 2, "'name' was already given in line 1"),
        ("name: thw\n", "", 1, "'name' is missing; write for example `name: thw`"),
        ('versions: "1.37"\n', "", 1, "'versions' is missing; write for example `versions: \"1.37\"`"),
        ("  cidr: 192.168.100.0/24\n", "", 2, "'cidr' is missing in network; write for example `cidr: 192"),
        ("192.168.100.0/24", "192.168.100.5/24", 3, "write 192.168.100.0/24"),
        ("192.168.100.0/24", "192.168.100.0", 3, "has no prefix length"),
        ("192.168.100.0/24", "192.168.100.0/33", 3, "has no prefix length"),
        ("192.168.100.0/24", "fd00::/64", 3, "has no prefix length"),
        ("192.168.100.0/24", "192.168.100.0/30", 3, "too small"),
        ("192.168.100.0/24", "192.168.100.0/32", 3, "too small"),
        ("192.168.100.0/24", "[a]", 3, "must be a single value"),
        ("10.10.0.0/16", "192.168.0.0/16", 4, "pods 192.168.0.0/16 overlaps cidr 192.168.100.0/24"),
        ("10.10.0.0/16", "10.0.0.0/8", 5, "services 10.0.0.0/24 overlaps pods 10.0.0.0/8"),
        ("10.10.0.0/16", "10.10.0.0/25", 4, "pods 10.10.0.0/25 is too small"),
        ("10.10.0.0/16", "127.0.0.0/16", 4, "is reserved"),
        ("10.0.0.0/24", "10.0.0.0/29", 5, "services 10.0.0.0/29 is too small"),
        ("10.0.0.2", "10.0.1.2", 6, "outside services 10.0.0.0/24; write for example 10.0.0.2"),
        ("10.0.0.2", "10.0.0.1", 6, "the first service address, which is the API's own"),
        ("10.0.0.2", "10.0.0.255", 6, "the first or last of services"),
        ("cluster.local", "Cluster.local", 7, "is no domain"),
        ("cluster.local", "cluster..local", 7, "is no domain"),
        ("cluster.local\n", "cluster.local\n  node-ports: 30000\n", 8, "is no range of ports"),
        ("cluster.local\n", "cluster.local\n  node-ports: 3000-2000\n", 8, "is no range of ports"),
        ("cluster.local\n", "cluster.local\n  node-ports: 2000-9000\n", 8, "holds 6443, 2379, 2380"),
        ("cluster.local\n", "cluster.local\n  api-port: '6443'\n", 8, "must be a whole number"),
        ("cluster.local\n", "cluster.local\n  api-port: 10250\n", 8, "is taken by another part"),
        ("cluster.local\n", "cluster.local\n  vip: 192.168.100.9\n", 8, "no virtual address moves"),
        ("  w1:", "  K8s-Worker2:", 10, "'K8s-Worker2' cannot be used; write k8s-worker2 (machine names are"),
        ("  w1:", "  k8s-w2.lab.example:", 10, "write k8s-w2 (machine"),
        ("  w1:", "  k8s_w2:", 10, "write k8s-w2 (machine"),
        ("  w1:", f"  {'w' * 64}:", 10, f"write {'w' * 63} (machine"),
        ("  w1:", "  localhost:", 10, "cannot be used"),
        ("  w1:", "  m1:", 10, "'m1' was already given in line 9"),
        ("100.21", "10.1010", 10, "'192.168.10.1010': it is no IPv4 address"),
        ("100.21", "100.021", 10, "is no IPv4 address"),
        ("192.168.100.21", "'fe80::1'", 10, "IPv6 is not supported"),
        ("100.21", "101.21", 10, "outside 192.168.100.0/24; write one of 192.168.100.2 to 192.168.100.254"),
        ("100.21", "100.0", 10, "the network's own address"),
        ("100.21", "100.1", 10, "the gateway"),
        ("100.21", "100.255", 10, "the broadcast address"),
        ("100.21", "100.11", 10, "already the address of m1"),
        ("[worker]", "[wroker]", 10, "did you mean 'worker'?"),
        ("[worker]", "[minion]", 10, "did you mean 'worker'?"),
        ("[worker]", "[]", 10, "has no role"),
        ("[worker]", "[worker, worker]", 10, "2 times"),
        ("[worker]", "[worker, registry]", 10, "'registry' is not known: no registry is needed"),
        (
            "[worker]}",
            "[worker], volumes: [{path: /data}]}",
            10,
            "unknown key 'volumes' in machines.w1: machines",
        ),
        ("[worker]}", "[worker], memory: 1024}", 10, "write 1024MiB"),
        ("[worker]}", "[worker], memory: 2GB}", 10, "write 2GiB"),
        ("[worker]}", "[worker], memory: 12MiB}", 10, "at least 256MiB"),
        ("[worker]}", "[worker], cpus: 0}", 10, "machines.w1.cpus"),
        ("[worker]}", "[worker], adress: 1}", 10, "did you mean 'address'? (valid: address, roles, memory"),
        (
            "roles: [worker]",
            "roles:",
            10,
            "'roles' is missing in machines.w1; write for example `roles: [worker]`",
        ),
        ("{address: 192.168.100.21, roles: [worker]}", "yes", 10, "must hold keys and values"),
        ("[control-plane, etcd]", "[control-plane]", 8, "etcd needs an odd number of members, not 0 (none)"),
        ("roles: [worker]", "roles: [worker, etcd]", 8, "odd number of members, not 2 (m1, w1)"),
        ("[control-plane, etcd]", "[etcd]", 8, "no machine has the role control-plane"),
        ("[control-plane, etcd]", "[control-plane, etcd, load-balancer]", 9, "both listen on the API's port"),
        ("roles: [worker]", "roles: [admin]", 8, "no worker for the addons"),
        (
            "roles: [worker]",
            "roles: [worker, control-plane]",
            8,
            "2 control planes (m1, w1) and no load-balancer",
        ),
        ("versions:", "api-server: 192.168.100.50\nversions:", 11, "a virtual address is not supported"),
        ("versions:", "api-server: w1\nversions:", 11, "is no control plane or load balancer"),
        ('"1.37"', "1.38", 11, "did you mean '1.37'?"),
        ('"1.37"', "1.33", 11, "did you mean '1.34', or the newest, '1.37'?"),
        ('"1.37"', "1.35.9", 11, "did you mean '1.35.4', or the newest, '1.37'?"),
        ('"1.37"', "latest", 11, "the newest is '1.37'"),
        ('"1.37"', "1.37.9", 11, "did you mean '1.37.2'?"),
        ('"1.37"', "[1]", 11, "must hold keys and values"),
        ('"1.37"', "{kubelet: 1.36.3}", 11, "'row' is missing in versions"),
        ('"1.37"', '{row: "1.36", kubelet: 1.37.2}', 11, "not newer than kube-apiserver and at most three"),
        ('"1.37"', '{row: "1.37", kube-scheduler: 1.35.4}', 11, "at most one minor version older"),
        ('"1.37"', '{row: "1.37", kubectl: 1.35.4}', 11, "within one minor version of kube-apiserver"),
        ('"1.37"', '{row: "1.37", kubelet: 1.36.9}', 11, "is not pinned here"),
        ('"1.37"', '{row: "1.37", etcd: 3.6.14}', 11, "Kubernetes 1.37 goes with etcd 3.7.3"),
        ('"1.37"', '{row: "1.37", kubelet: v1.36.3}', 11, "without the v"),
        ('"1.37"', '{row: "1.37", kublet: 1.36.3}', 11, "did you mean 'kubelet'?"),
    ],
)
def test_a_mistake_is_the_only_one_reported_and_has_its_line(
    old: str, new: str, line: int, part: str, tmp_path: Path
) -> None:
    assert old in GOOD
    (found,) = problems(GOOD.replace(old, new, 1), tmp_path)
    assert found.startswith(f"p.yaml:{line}: ")
    assert part in found


CASE_C4 = """\
name: kubeasz
network: {cidr: 192.168.1.0/24, pods: 172.20.0.0/16, services: 10.68.0.0/16, dns: 10.68.0.2,
  domain: cluster.local., node-ports: 20000-40000, api-port: 8443}
machines:
  master-1: {address: 192.168.1.11, roles: [control-plane, etcd]}
  master-2: {address: 192.168.1.12, roles: [control-plane, etcd]}
  master-3: {address: 192.168.1.13, roles: [control-plane, etcd]}
  worker-1: {address: 192.168.1.21, roles: [worker]}
  lb-1: {address: 192.168.1.31, roles: [load-balancer]}
  lb-2: {address: 192.168.1.32, roles: [load-balancer]}
  reg: {address: 192.168.1.41, roles: [registry]}
versions: 1.36
api-server: 192.168.1.100
proxy-mode: ipvs
"""


def test_case_c4_everything_unsupported_is_named_with_its_line_at_once(tmp_path: Path) -> None:
    found = problems(CASE_C4, tmp_path)
    assert [p.split(": ")[0] for p in found] == [f"p.yaml:{line}" for line in (9, 10, 11, 13, 14)]
    assert "lb-1 is a load-balancer and so is lb-2; only one" in found[0]
    assert "lb-2 is a load-balancer and so is lb-1; only one" in found[1]
    assert "'registry'" in found[2]
    assert "192.168.1.100" in found[3]
    assert "ipvs" in found[4]


def test_case_c4_a_virtual_address_alone_is_refused_too(tmp_path: Path) -> None:
    kept = [line for line in CASE_C4.splitlines() if not line.strip().startswith(("lb-", "reg", "proxy"))]
    (found,) = problems("\n".join(kept), tmp_path)
    assert found.startswith("p.yaml:10: api-server 192.168.1.100 is no control plane")
    assert found.endswith("one of master-1, master-2, master-3")


def test_case_c4_what_is_supported_is_expressible(tmp_path: Path) -> None:
    kept = [
        line
        for line in CASE_C4.splitlines()
        if not line.strip().startswith(("lb-2", "reg", "proxy", "api-s"))
    ]
    plan = loaded("\n".join(kept), tmp_path)
    assert (plan.networks.node_ports, plan.api_url) == ((20000, 40000), "https://192.168.1.31:8443")
    assert plan.networks.domain == "cluster.local"
    assert plan.versions == rows()["1.36"]
    assert [n.name for n in plan.of(Role.ADMIN)] == ["lb-1"]


def test_several_control_planes_may_choose_where_the_api_is(tmp_path: Path) -> None:
    text = GOOD.replace("[worker]", "[worker, control-plane]")
    assert str(loaded(text + "api-server: w1\n", tmp_path).api_address) == "192.168.100.21"
    assert str(loaded(text + "api-server: 192.168.100.11\n", tmp_path).api_address) == "192.168.100.11"


def test_no_workers_are_fine_without_addons(tmp_path: Path) -> None:
    plan = loaded(GOOD.replace("[worker]", "[admin]") + "addons: []\n", tmp_path)
    assert (plan.addons, plan.of(Role.WORKER)) == ((), ())


def test_mistakes_of_all_kinds_come_together(tmp_path: Path) -> None:
    text = (
        GOOD.replace("name: thw", "name: &n Thw")
        .replace("10.0.0.2", "10.0.0.1")
        .replace("[worker]", "[wroker]")
        .replace("m1:", "M1:")
        .replace('"1.37"', "1.39")
    )
    found = problems(text + "prfile: x\nname: y\n", tmp_path, cni=Given("calico", "LAB_CNI"))
    places = ["LAB_CNI", *(f"p.yaml:{line}" for line in (1, 1, 6, 9, 10, 11, 12, 13))]
    assert [p.split(": ")[0] for p in found] == places


def test_services_may_not_be_larger_than_the_apiserver_takes(tmp_path: Path) -> None:
    text = GOOD.replace("10.0.0.0/24", "172.0.0.0/11").replace("10.0.0.2", "172.0.0.2")
    assert (
        "services 172.0.0.0/11 is too large; write a prefix length of 12 to 28" in problems(text, tmp_path)[0]
    )


def test_each_worker_needs_a_range_of_pods(tmp_path: Path) -> None:
    more = (
        "  w2: {address: 192.168.100.22, roles: [worker]}\n  w3: {address: 192.168.100.23, roles: [worker]}\n"
    )
    text = GOOD.replace("versions:", more + "versions:")
    (found,) = problems(text.replace("10.10.0.0/16", "10.10.0.0/23"), tmp_path)
    assert found.startswith(
        "p.yaml:4: pods 10.10.0.0/23 has room for 2 workers, one /24 each, and 3 are planned"
    )
    assert found.endswith("write a range of /22 or larger")


def test_a_machine_without_anything_lacks_both(tmp_path: Path) -> None:
    found = problems(GOOD.replace("{address: 192.168.100.21, roles: [worker]}", "~"), tmp_path)
    assert [p.split(" in ")[0] for p in found] == [
        "p.yaml:10: 'address' is missing",
        "p.yaml:10: 'roles' is missing",
    ]


def test_the_rule_for_names_is_stated_once(tmp_path: Path) -> None:
    found = problems(GOOD.replace("m1:", "M1:").replace("w1:", "W1:"), tmp_path)
    assert [p.count("machine names are host names") for p in found] == [1, 0]


def test_overrides_win_and_say_where_they_came_from() -> None:
    plan = load_plan(versions=Given("1.36.3", "LAB_VERSIONS"), profile="guide", cni=None)
    assert plan.topology.versions == rows()["1.36"]
    origins = {key: (value, origin) for key, value, origin in effective(plan)}
    assert origins["profile"] == ("guide", "--lab-profile")
    assert origins["versions.etcd"][0] == "3.6.14"
    assert origins["versions.etcd"][1].endswith("a row chosen by LAB_VERSIONS")
    assert origins["proxy-mode"] == ("iptables", "default")
    lines = DEFAULT.read_text().splitlines()
    line = 1 + next(n for n, text in enumerate(lines) if text.lstrip().startswith("k8s-lb:"))
    assert origins["machines.k8s-lb.address"][1].endswith(f"default.yaml:{line}")


def test_wrong_overrides_are_named_and_the_file_is_not_blamed() -> None:
    with pytest.raises(ConfigError) as caught:
        load_plan(versions="1.38", load_balancer=Given("traefik", "LAB_LOAD_BALANCER"))
    assert sorted(p.split(": ")[0] for p in caught.value.problems) == ["--lab-versions", "LAB_LOAD_BALANCER"]
    assert "default.yaml" not in str(caught.value)


@pytest.mark.parametrize("wish", ["1.34", "1.34.4", "1.35", "1.35.4", "1.36", "1.36.3", "1.37", "1.37.2"])
def test_every_row_can_be_chosen_by_its_name_or_version(wish: str) -> None:
    assert load_topology(versions=wish).versions.kubernetes.startswith(wish)


def test_a_plan_may_change_parts_of_a_row(tmp_path: Path) -> None:
    text = GOOD.replace('"1.37"', '{row: "1.37", kubelet: 1.34.4, coredns: 1.14.2}')
    versions = loaded(text, tmp_path).versions
    assert (versions.of("kubelet"), versions.kubernetes, versions.coredns) == ("1.34.4", "1.37.2", "1.14.2")


@pytest.mark.parametrize(
    ("program", "version", "allowed"),
    [
        ("kubelet", "1.37.9", True),
        ("kubelet", "1.34.0", True),
        ("kube-proxy", "1.33.9", False),
        ("kubelet", "1.38.0", False),
        ("kube-scheduler", "1.36.0", True),
        ("kube-controller-manager", "1.38.0", False),
        ("kubectl", "1.38.0", True),
        ("kubectl", "1.39.0", False),
        ("kubelet", "2.37.0", False),
    ],
)
def test_the_skew_policy_is_upstreams(program: str, version: str, allowed: bool) -> None:
    assert (skew(program, version, "1.37.2") == "") is allowed


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_topology(tmp_path / "none.yaml")


def as_file(topology: Topology) -> str:
    """The plan as a file, from nothing but its facts."""
    tree: dict[str, Any] = {"machines": {}, "network": {}, "versions": {}}
    for path, value in facts(topology).items():
        _put(tree, path, value)
    pinned = tree.pop("versions")
    return str(yaml.safe_dump({**tree, "versions": pinned.pop("kubernetes")}, sort_keys=False))


def _put(tree: dict[str, Any], path: tuple[str, ...], value: str) -> None:
    *way, key = path
    for step in way:
        tree = tree.setdefault(step, {})
    if key in ("roles", "addons"):
        tree[key] = [] if value == "(none)" else value.split(", ")
    elif key in ("cpus", "api-port", "tcp-retries2", "check-fall"):
        tree[key] = int(value)
    elif path != ("machines",):
        tree[key] = value


@st.composite
def plans(draw: st.DrawFn) -> str:
    workers = draw(st.integers(1, 4))
    members = draw(st.sampled_from([1, 3]))
    third = draw(st.integers(1, 250))
    machines: dict[str, Any] = {}
    for place in range(members):
        roles = ["etcd", "control-plane"] if place == 0 else ["etcd"]
        machines[f"m{place}"] = {"address": f"10.{third}.0.{10 + place}", "roles": roles}
    for place in range(workers):
        memory = f"{draw(st.integers(256, 9999))}MiB"
        machines[f"w{place}"] = {
            "address": f"10.{third}.0.{50 + place}",
            "roles": ["worker"],
            "memory": memory,
        }
    network: Mapping[str, Any] = {
        "cidr": f"10.{third}.0.0/{draw(st.integers(16, 25))}",
        "pods": f"172.16.0.0/{draw(st.integers(14, 22))}",
        "services": f"192.168.0.0/{draw(st.integers(18, 28))}",
        "dns": f"192.168.0.{draw(st.integers(2, 14))}",
        "domain": draw(st.sampled_from(["cluster.local", "lab.example."])),
    }
    versions = draw(st.sampled_from(sorted(rows())))
    return str(yaml.safe_dump({"name": "x", "network": network, "machines": machines, "versions": versions}))


@settings(max_examples=60, deadline=None)
@given(plans())
def test_a_plan_written_from_its_facts_is_the_same_plan(tmp_path_factory: Any, text: str) -> None:
    folder = tmp_path_factory.mktemp("plan")
    plan = loaded(text, folder)
    again = loaded(as_file(plan), folder)
    assert again.digest() == plan.digest()


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(GOOD.split()),
    st.sampled_from(
        ["", "~", "[]", "{}", "[a, {b: c}]", "{a: 1}", "true", "-1", "0x1", "1.5", "é", "'", "a\tb", "&a 1"]
    ),
)
def test_no_damage_to_a_plan_ends_in_a_traceback(tmp_path_factory: Any, word: str, damage: str) -> None:
    path = tmp_path_factory.mktemp("plan") / "p.yaml"
    path.write_text(GOOD.replace(word, damage))
    assert outcome(path) in ("loaded", "refused")


def outcome(path: Path) -> str:
    try:
        load_topology(path)
    except ConfigError:
        return "refused"
    return "loaded"
