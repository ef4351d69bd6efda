"""Settings that experts look for, and plans other than the guide's."""

import json
import re
import shlex
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest
import yaml
from component_files import CONTAINER, NODES, VM, everything, files_of
from fixed import fixed_credentials, guide_topology
from jinja2 import UndefinedError

from lab.components.apiserver import ApiServer
from lab.components.catalogue import components, pod_network
from lab.components.cni import CniRouted
from lab.components.etcd import Etcd
from lab.components.rendering import options, render
from lab.machine import Platform, Substrate
from lab.topology import ApiserverEtcd, Balancer, Cni, Node, Profile, ProxyMode, Role, Topology
from lab.tuning import Tuning

PLAN = guide_topology()
GRACE, LEASE_RENEWED = 50, 10  # seconds: node-monitor-grace-period, and a quarter of a lease of 40
GUIDE = replace(PLAN, profile=Profile.GUIDE)
CGROUP2 = Platform(Substrate.CONTAINER, 2)


def text(topology: Topology, name: str, path: str, platform: Platform = CONTAINER) -> str:
    return files_of(topology, platform, topology.node(name))[path].content.decode()


def flags(topology: Topology, name: str, program: str) -> dict[str, str]:
    """The command line as systemd will split it."""
    variable, value = text(topology, name, f"/opt/kubernetes/cfg/{program}.conf").split("=", 1)
    assert variable == f"{program.upper().replace('-', '_')}_OPTS"
    words = shlex.split(value.replace("\\\n", ""))[0].split()
    assert all(word.startswith("--") for word in words)
    return dict(word.removeprefix("--").split("=", 1) for word in words)


def config(topology: Topology, name: str, file: str, platform: Platform = CONTAINER) -> dict:
    return yaml.safe_load(text(topology, name, f"/opt/kubernetes/cfg/{file}", platform))


def without(topology: Topology, *names: str) -> Topology:
    return replace(topology, nodes=tuple(node for node in topology.nodes if node.name not in names))


def test_a_controller_talks_to_its_own_master() -> None:
    for name, address in (("k8s-master1", "192.168.100.11"), ("k8s-master2", "192.168.100.12")):
        for program in ("kube-controller-manager", "kube-scheduler"):
            server = config(PLAN, name, f"{program}.kubeconfig")["clusters"][0]["cluster"]["server"]
            assert server == f"https://{address}:6443"


def test_workers_go_through_the_balancer() -> None:
    for file in ("bootstrap.kubeconfig", "kube-proxy.kubeconfig"):
        server = config(PLAN, "k8s-worker2", file)["clusters"][0]["cluster"]["server"]
        assert server == "https://192.168.100.100:6443"


def test_the_apiservers_differ_in_their_address_and_their_etcd_member_only() -> None:
    first, second = (flags(PLAN, name, "kube-apiserver") for name in ("k8s-master1", "k8s-master2"))
    assert {key for key in first if first[key] != second[key]} == {"advertise-address", "etcd-servers"}


def test_the_hardened_apiserver() -> None:
    has = flags(PLAN, "k8s-master1", "kube-apiserver")
    assert has["authorization-mode"] == "Node,RBAC"
    assert has["kubelet-certificate-authority"] == "/opt/kubernetes/ssl/ca.pem"
    assert has["kubelet-preferred-address-types"] == "InternalIP"
    assert has["profiling"] == "false"
    assert "token-auth-file" not in has
    assert "anonymous-auth" not in has  # it must not stand beside an authentication configuration
    assert has["service-account-key-file"] != has["client-ca-file"]


def test_whoever_is_nobody_may_ask_for_health_only() -> None:
    anonymous = config(PLAN, "k8s-master1", "authentication-config.yml")["anonymous"]
    assert {condition["path"] for condition in anonymous["conditions"]} == {"/livez", "/readyz", "/healthz"}


def test_secrets_are_encrypted_by_the_first_provider() -> None:
    (rule,) = config(PLAN, "k8s-master1", "encryption-config.yml")["resources"]
    assert rule["resources"] == ["secrets"]
    assert list(rule["providers"][0]) == ["secretbox"]
    assert rule["providers"][0]["secretbox"]["keys"][0]["secret"] == fixed_credentials().encryption_key


def test_the_controller_manager_ends_tokens_and_signs_for_a_year() -> None:
    has = flags(PLAN, "k8s-master2", "kube-controller-manager")
    assert has["controllers"] == "*,bootstrapsigner,tokencleaner"
    assert has["cluster-signing-duration"] == "8760h"
    assert has["cluster-cidr"] == "10.10.0.0/16"


@pytest.mark.parametrize("name", NODES)
def test_a_unit_never_gives_up_and_pauses_before_it_tries_again(name: str) -> None:
    for plan in (PLAN, GUIDE):
        units = {
            p: f for p, f in files_of(plan, CONTAINER, plan.node(name)).items() if p.endswith(".service")
        }
        for path, file in units.items():
            lines = file.content.decode().splitlines()
            assert "StartLimitIntervalSec=0" in lines
            assert "TimeoutStartSec=infinity" in lines
            assert any(line.startswith("RestartSec=") for line in lines) or "oneshot" in file.content.decode()
            assert path.startswith("/etc/systemd/system/")


def test_programs_that_can_say_so_are_up_when_they_say_so() -> None:
    for program in ("etcd", "kube-apiserver"):
        assert "Type=notify" in text(PLAN, "k8s-master1", f"/etc/systemd/system/{program}.service")


def test_an_apiserver_asks_its_own_member_and_stops_before_it() -> None:
    unit = text(PLAN, "k8s-master2", "/etc/systemd/system/kube-apiserver.service")
    assert "After=network.target etcd.service" in unit
    assert flags(PLAN, "k8s-master2", "kube-apiserver")["etcd-servers"] == "https://192.168.100.12:2379"


def test_an_apiserver_without_a_member_or_in_the_guide_asks_all_and_waits_for_none() -> None:
    roles = {"k8s-master2": {Role.CONTROL_PLANE}, "k8s-worker1": {Role.WORKER, Role.ETCD}}
    nodes = (replace(n, roles=frozenset(roles.get(n.name, n.roles))) for n in PLAN.nodes)
    for plan in (replace(PLAN, nodes=tuple(nodes)), GUIDE):
        assert "etcd.service" not in text(plan, "k8s-master2", "/etc/systemd/system/kube-apiserver.service")
        assert flags(plan, "k8s-master2", "kube-apiserver")["etcd-servers"].count("https://") == 3


def test_kubelet_and_containerd_agree_on_the_cgroup_driver() -> None:
    for platform, driver in ((CONTAINER, "cgroupfs"), (CGROUP2, "systemd"), (VM, "systemd")):
        toml = text(PLAN, "k8s-worker1", "/etc/containerd/config.toml", platform)
        kubelet = config(PLAN, "k8s-worker1", "kubelet-config.yml", platform)
        assert kubelet["cgroupDriver"] == driver
        assert ("SystemdCgroup = true" in toml) == (driver == "systemd")
        assert ("failCgroupV1" in kubelet) == (platform.cgroup == 1)


def test_only_a_container_with_the_old_cgroups_remounts_them() -> None:
    for platform, mounts in ((CONTAINER, True), (CGROUP2, False), (VM, False)):
        script = text(PLAN, "k8s-worker1", "/usr/local/lib/thwlab/prepare-node", platform)
        assert ("mount -o remount,rw" in script) == mounts


def test_only_a_kernel_of_its_own_gets_modules() -> None:
    for platform, loads in ((CONTAINER, False), (VM, True)):
        script = text(PLAN, "k8s-worker1", "/usr/local/lib/thwlab/prepare-node", platform)
        assert ("modprobe" in script) == loads


def test_kube_proxy_bears_the_name_of_its_node_and_knows_the_pods_range() -> None:
    for name in ("k8s-worker1", "k8s-worker2"):
        proxy = config(PLAN, name, "kube-proxy-config.yml")
        assert proxy["hostnameOverride"] == flags(PLAN, name, "kubelet")["hostname-override"] == name
        assert proxy["clusterCIDR"] == "10.10.0.0/16"
        assert proxy["metricsBindAddress"].startswith("127.0.0.1:")


def test_the_mode_of_kube_proxy_is_always_said() -> None:
    for mode in ProxyMode:
        assert config(replace(PLAN, proxy_mode=mode), "k8s-worker1", "kube-proxy-config.yml")["mode"] == mode


def test_a_pod_range_is_what_the_api_gave_the_node() -> None:
    cidrs = {"k8s-worker1": IPv4Network("10.10.7.0/24"), "k8s-worker2": IPv4Network("10.10.4.0/24")}
    routed = CniRouted(PLAN, CONTAINER, cidrs)
    conflist, unit = routed.files(PLAN.node("k8s-worker1"), fixed_credentials())
    plugin = json.loads(conflist.content)["plugins"][0]
    assert plugin["ipam"]["ranges"] == [[{"subnet": "10.10.7.0/24"}]]
    assert "10.10.4.0/24 via 192.168.100.22" in unit.content.decode()
    assert "10.10.7.0/24" not in unit.content.decode()


def test_masters_and_balancer_have_routes_to_all_pods() -> None:
    for name in ("k8s-master1", "k8s-master2", "k8s-lb"):
        unit = text(PLAN, name, "/etc/systemd/system/thwlab-routes.service")
        assert len(re.findall(r"ip route replace 10\.10\.\d\.0/24 via", unit)) == 2


def test_with_flannel_the_routes_are_for_machines_without_pods() -> None:
    plan = replace(PLAN, cni=Cni.FLANNEL)
    where = {
        name
        for name in NODES
        if "/etc/systemd/system/thwlab-routes.service" in files_of(plan, VM, plan.node(name))
    }
    assert where == {"k8s-master1", "k8s-master2", "k8s-lb"}
    assert "br_netfilter" in text(plan, "k8s-worker1", "/usr/local/lib/thwlab/prepare-node", VM)


def test_a_single_worker_has_no_routes_and_still_a_unit_that_starts() -> None:
    plan = without(PLAN, "k8s-worker2")
    routed = CniRouted(plan, CONTAINER, {"k8s-worker1": IPv4Network("10.10.0.0/24")})
    *_, unit = routed.files(plan.node("k8s-worker1"), fixed_credentials())
    assert "ExecStart=/bin/true" in unit.content.decode()


def test_either_balancer_knows_every_apiserver() -> None:
    for choice, path in (
        (Balancer.NGINX, "/etc/nginx/nginx.conf"),
        (Balancer.HAPROXY, "/etc/haproxy/haproxy.cfg"),
    ):
        content = text(replace(PLAN, load_balancer=choice), "k8s-lb", path)
        assert "192.168.100.11:6443" in content
        assert "192.168.100.12:6443" in content


def test_nginx_notices_a_dead_apiserver_after_a_second_and_cuts_no_watch() -> None:
    content = text(PLAN, "k8s-lb", "/etc/nginx/nginx.conf")
    for setting in ("proxy_connect_timeout 1s", "max_fails=1 fail_timeout=2s", "zone ", "proxy_timeout 24h"):
        assert setting in content


def test_every_number_of_a_plan_is_in_the_file_of_the_part_it_is_about() -> None:
    tuning = Tuning(
        check_path="/livez",
        check_every=1.0,
        check_fall=7,
        idle_limit=20.0,
        tcp_retries2=9,
        http2_idle=31.0,
        http2_ping=6.0,
        etcd_heartbeat=0.25,
        etcd_election=2.5,
    )
    plan = replace(PLAN, tuning=tuning)
    asking = text(replace(plan, load_balancer=Balancer.HAPROXY), "k8s-lb", "/etc/haproxy/haproxy.cfg")
    for setting in ("uri /livez ver", "inter 1s fall 7 rise", "timeout client 20s", "timeout server 20s"):
        assert setting in asking
    assert "proxy_timeout 20s;" in text(plan, "k8s-lb", "/etc/nginx/nginx.conf")
    assert "net.ipv4.tcp_retries2=9\n" in text(plan, "k8s-lb", "/etc/systemd/system/etcd.service")
    told = text(plan, "k8s-lb", "/opt/etcd/cfg/etcd.conf")
    assert 'ETCD_HEARTBEAT_INTERVAL="250"\nETCD_ELECTION_TIMEOUT="2500"\n' in told
    for program in ("kubelet", "kube-proxy"):
        unit = text(plan, "k8s-worker1", f"/etc/systemd/system/{program}.service")
        assert "READ_IDLE_TIMEOUT_SECONDS=31 HTTP2_PING_TIMEOUT_SECONDS=6\n" in unit
    guide = replace(plan, profile=Profile.GUIDE)
    for name in ("k8s-master1", "k8s-worker1", "k8s-lb"):
        before = files_of(replace(guide, tuning=Tuning()), CONTAINER, guide.node(name))
        assert files_of(guide, CONTAINER, guide.node(name)) == before, "the guide has numbers of its own"


@pytest.mark.parametrize("program", ["kubelet", "kube-proxy"])
def test_a_worker_gives_up_a_silent_apiserver_before_its_nodes_grace_is_over(program: str) -> None:
    unit = f"/etc/systemd/system/{program}.service"
    told = dict(re.findall(r"HTTP2_(READ_IDLE|PING)_TIMEOUT_SECONDS=(\d+)", text(PLAN, "k8s-worker1", unit)))
    assert sum(map(int, told.values())) + LEASE_RENEWED < GRACE
    assert "HTTP2" not in text(GUIDE, "k8s-worker1", unit)


def test_an_apiserver_that_is_bound_is_killed_with_its_member_and_waits_for_it() -> None:
    bound, free = PLAN, replace(PLAN, apiserver_etcd=ApiserverEtcd.OWN)
    etcd, apiserver = (f"/etc/systemd/system/{unit}.service" for unit in ("etcd", "kube-apiserver"))
    assert "ExecStopPost=-/bin/systemctl kill --signal=SIGKILL kube-apiserver" in text(
        bound, "k8s-master1", etcd
    )
    assert "until : >/dev/tcp/192.168.100.11/2379" in text(bound, "k8s-master1", apiserver)
    assert "ExecStopPost" not in text(free, "k8s-master1", etcd)
    assert text(bound, "k8s-lb", etcd) == text(bound, "k8s-master1", etcd), "growth would start etcd again"
    assert "/dev/tcp" not in text(free, "k8s-master1", apiserver)


def test_haproxy_asks_about_etcd_only_where_each_apiserver_has_a_member_of_its_own() -> None:
    """Else one silent member makes all apiservers say no, and all would be taken out at once."""
    plan = replace(PLAN, load_balancer=Balancer.HAPROXY)
    assert "uri /readyz ver" in text(plan, "k8s-lb", "/etc/haproxy/haproxy.cfg")
    apart = replace(plan.nodes[1], roles=frozenset({Role.CONTROL_PLANE}))
    shared = replace(plan, nodes=(plan.nodes[0], apart, *plan.nodes[2:]))
    assert "exclude=etcd&exclude=etcd-readiness" in text(shared, "k8s-lb", "/etc/haproxy/haproxy.cfg")


def test_a_balancer_on_a_masters_machine_leaves_the_apiserver_its_address() -> None:
    both = Node(
        "k8s-master1", IPv4Address("192.168.100.11"), frozenset({Role.CONTROL_PLANE, Role.LOAD_BALANCER})
    )
    plan = replace(PLAN, nodes=(both, *PLAN.nodes[1:4]), api_server=IPv4Address("192.168.100.50"))
    assert flags(plan, "k8s-master1", "kube-apiserver")["bind-address"] == "192.168.100.11"
    assert "listen 192.168.100.50:6443" in text(plan, "k8s-master1", "/etc/nginx/nginx.conf")


def test_a_plan_without_balancer_needs_none_and_asks_the_first_master() -> None:
    plan = without(PLAN, "k8s-lb")
    assert not {"nginx", "haproxy", "admin"} & {component.name for component in components(plan, CONTAINER)}
    server = config(plan, "k8s-worker1", "bootstrap.kubeconfig")["clusters"][0]["cluster"]["server"]
    assert server == "https://192.168.100.11:6443"


def test_a_master_that_is_no_member_still_trusts_etcd() -> None:
    bare = Node("k8s-master3", IPv4Address("192.168.100.13"), frozenset({Role.CONTROL_PLANE}))
    plan = replace(PLAN, nodes=(*PLAN.nodes, bare))
    there = files_of(plan, CONTAINER, bare)
    assert flags(plan, "k8s-master3", "kube-apiserver")["etcd-cafile"] in there
    assert "/opt/etcd/ssl/server-key.pem" not in there


def test_every_file_a_flag_names_is_there() -> None:
    for plan in (PLAN, GUIDE):
        for name, program in (
            ("k8s-master1", p) for p in ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
        ):
            there = files_of(plan, CONTAINER, plan.node(name))
            named = {
                v
                for v in flags(plan, name, program).values()
                if v.startswith("/opt/kubernetes/") and "/logs/" not in v
            }
            assert named <= set(there)


def test_a_member_that_joins_is_told_so_and_no_other() -> None:
    etcd = Etcd(PLAN, CONTAINER, joining=frozenset({"k8s-master2"}))
    states = {node.name: etcd.files(node, fixed_credentials())[0].content for node in etcd.nodes()}
    joining = {name for name, content in states.items() if b'CLUSTER_STATE="existing"' in content}
    assert joining == {"k8s-master2"}


def test_nothing_is_set_for_etcd_both_as_flag_and_as_variable() -> None:
    variables = set(re.findall(r"^ETCD_(\w+)=", text(PLAN, "k8s-lb", "/opt/etcd/cfg/etcd.conf"), re.M))
    given = re.findall(r"--([\w-]+)=", text(PLAN, "k8s-lb", "/etc/systemd/system/etcd.service"))
    assert not variables & {flag.upper().replace("-", "_") for flag in given}


def test_the_guides_profile_is_as_written_there() -> None:
    api = flags(GUIDE, "k8s-master1", "kube-apiserver")
    assert api["authorization-mode"] == "RBAC,Node"
    assert api["bind-address"] == "192.168.100.11"
    assert api["token-auth-file"] == "/opt/kubernetes/cfg/token.csv"
    assert not {"encryption-provider-config", "audit-policy-file", "kubelet-certificate-authority"} & set(api)
    assert config(GUIDE, "k8s-worker1", "kubelet-config.yml")["readOnlyPort"] == 10255
    assert config(GUIDE, "k8s-worker1", "kube-proxy-config.yml")["clusterCIDR"] == "10.0.0.0/24"
    assert "proxy_connect_timeout" not in text(GUIDE, "k8s-lb", "/etc/nginx/nginx.conf")


def test_no_configuration_file_has_the_guides_long_dashes() -> None:
    for name in NODES:
        for path, file in files_of(PLAN, CONTAINER, PLAN.node(name)).items():
            assert not re.search("[\u2013\u2014]", file.content.decode()), path


def test_a_missing_value_is_an_error_and_not_an_empty_string() -> None:
    with pytest.raises(UndefinedError, match="pause"):
        render("containerd.toml.j2", container=True, systemd_cgroup=True)


def test_flags_are_one_line_each() -> None:
    assert options("X", {"a": "1", "b": "2"}) == b'X="--a=1 \\\n--b=2"\n'


def test_components_come_in_an_order_in_which_they_may_start() -> None:
    names = [component.name for component in everything(PLAN, CONTAINER)]
    order = [
        "etcd",
        "kube-apiserver",
        "kube-controller-manager",
        "containerd",
        "kubelet",
        "kube-proxy",
        "cni",
    ]
    assert [name for name in names if name in order] == order
    assert isinstance(components(PLAN, CONTAINER)[4], ApiServer)
    assert [c.name for c in pod_network(replace(PLAN, cni=Cni.FLANNEL), VM, {})] == ["flannel", "pod-routes"]
