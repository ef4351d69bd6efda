"""Findings about VirtualBox and libvirt: on sample files and stand-in programs, each with its remedy."""

import subprocess
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from fake_vms import World, new_vm
from stand_in import on_path

from lab.doctor import hypervisors, vmhost
from lab.doctor.finding import Finding, Verdict
from lab.doctor.hypervisors import CHECKS, diagnose
from lab.plan import load_topology
from lab.providers.vagrant import host as here
from lab.providers.vagrant import needs, obstacles
from lab.providers.vagrant.libvirt.kvm import Kvm
from lab.providers.vagrant.needs import VmHost, best_for
from lab.providers.vagrant.obstacles import allowed_ranges
from lab.providers.vagrant.plan import Project
from lab.topology import Topology

PLAN = load_topology()
VBOX = VmHost(
    "virtualbox",
    vagrant=(2, 3, 4),
    virtualbox=(7, 0, 6),
    networks_conf="* 192.168.0.0/16\n",
    virtualisation=True,
    modules=frozenset(needs.MODULES),
    memory_mib=16000,
    cpus=4,
)
KVM = replace(
    VBOX, kind="libvirt", virtualbox=None, networks_conf=None, plugins=frozenset({"vagrant-libvirt"})
)
OURS = "thwlab_thw_k8s-lb"

BROKEN: dict[str, tuple[Callable[..., Finding], VmHost, str, str]] = {
    "no Vagrant": (
        hypervisors.check_vagrant,
        replace(VBOX, vagrant=None),
        "not installed",
        "apt-get install",
    ),
    "an old Vagrant": (
        hypervisors.check_vagrant,
        replace(VBOX, vagrant=(2, 2, 19)),
        "2.2.19",
        "update Vagrant",
    ),
    "the guide's box": (
        hypervisors.check_box,
        replace(VBOX, box="ubuntu/xenial64"),
        "kernel 4.4, systemd 229, cgroup v1",
        "name a Debian 12",
    ),
    "a libvirtd that does not answer": (
        hypervisors.check_answers,
        replace(KVM, silence="`virsh list` exited 1 after 0.0s"),
        "`virsh list` exited 1",
        "--lab-provider=vagrant:libvirt:private",
    ),
    "no VirtualBox": (
        hypervisors.check_pair,
        replace(VBOX, virtualbox=None),
        "no VBoxManage answers",
        "install VirtualBox",
    ),
    "VirtualBox is too old": (
        hypervisors.check_pair,
        replace(VBOX, virtualbox=(6, 0, 24)),
        "VirtualBox 6.0.24",
        "install VirtualBox 7.0",
    ),
    "VirtualBox 7.0 is too new": (
        hypervisors.check_pair,
        replace(VBOX, vagrant=(2, 3, 1)),
        "VirtualBox 7.0.6 with Vagrant 2.3.1",
        "install VirtualBox 6.1",
    ),
    "VirtualBox 7.1 is too new": (
        hypervisors.check_pair,
        replace(VBOX, virtualbox=(7, 1, 4)),
        "VirtualBox 7.1.4 with Vagrant 2.3.4",
        "install VirtualBox 7.0",
    ),
    "VirtualBox 7.2 is too new": (
        hypervisors.check_pair,
        replace(VBOX, vagrant=(2, 4, 8), virtualbox=(7, 2, 0)),
        "VirtualBox 7.2.0 with Vagrant 2.4.8",
        "install VirtualBox 7.1",
    ),
    "no plugin": (
        hypervisors.check_plugin,
        replace(KVM, plugins=frozenset()),
        "not installed",
        "vagrant plugin install vagrant-libvirt",
    ),
    "no networks.conf": (
        hypervisors.check_host_only,
        replace(VBOX, networks_conf=None),
        "allowed: 192.168.56.0/21",
        "printf '\\n%s\\n' '* 192.168.56.0/21 192.168.100.0/24' | sudo tee -a /etc/vbox/networks.conf",
    ),
    "another networks.conf": (
        hypervisors.check_host_only,
        replace(VBOX, networks_conf="# mine\n* 10.0.0.0/8 fe80::/10\n"),
        "allowed: 10.0.0.0/8",
        "printf '\\n%s\\n' '* 192.168.100.0/24' | sudo tee -a /etc/vbox/networks.conf",
    ),
    "a networks.conf that Vagrant cannot read": (
        hypervisors.check_host_only,
        replace(VBOX, networks_conf="# mine\n* 192.168.0.0/16\n* 192.168.100.0/33 fe80::/10 300.1.1.1"),
        "/etc/vbox/networks.conf:3: '192.168.100.0/33' is no network; "
        "/etc/vbox/networks.conf:3: '300.1.1.1' is no network",
        "sudoedit /etc/vbox/networks.conf",
    ),
    "part of the network allowed": (
        hypervisors.check_host_only,
        replace(VBOX, networks_conf="* 192.168.100.0/25"),
        "allowed: 192.168.100.0/25",
        "* 192.168.100.0/24",
    ),
    "KVM in the way": (
        hypervisors.check_kvm,
        replace(VBOX, kvm="kvm_intel", kvm_holds=True),
        "kvm_intel holds the processor",
        "modprobe -r kvm_intel",
    ),
    "a libvirtd that runs, without a KVM that works": (
        hypervisors.check_guests,
        replace(KVM, probed=Kvm(False, "there is no /dev/kvm")),
        "there is no /dev/kvm",
        "modprobe kvm_intel",
    ),
    "KVM runs guests beside a VirtualBox that asks it": (
        hypervisors.check_kvm,
        replace(VBOX, virtualbox=(7, 2, 14), kvm="kvm_amd", kvm_holds=True, kvm_guests=True),
        "kvm_amd runs guests",
        "end KVM's guests",
    ),
    "no module for host-only networks": (
        hypervisors.check_modules,
        replace(VBOX, modules=frozenset({"vboxdrv", "vboxnetflt"})),
        "not loaded: vboxnetadp",
        "sudo modprobe -a vboxnetadp",
    ),
    "libvirt's own bridge has the subnet": (
        hypervisors.check_subnet,
        replace(VBOX, networks=(("virbr0", IPv4Network("192.168.100.0/24")),)),
        "192.168.100.0/24 of virbr0",
        "another `network: cidr`",
    ),
    "no virtualisation": (
        hypervisors.check_kvm,
        replace(VBOX, virtualisation=False),
        "offers none",
        "--lab-provider=incus",
    ),
    "too little memory": (
        hypervisors.check_memory,
        replace(VBOX, memory_mib=4000),
        "4000 MiB available",
        "less `memory`",
    ),
    "a VM with more processors than there are": (
        hypervisors.check_cpus,
        replace(VBOX, cpus=0),
        "0 here",
        "at most `cpus: 0`",
    ),
    "another user's lab has the name": (
        hypervisors.check_namesakes,
        replace(VBOX, vms={OURS: "running"}, strange=frozenset({OURS})),
        f"{OURS} (running), begun by another user or with another THWLAB_STATE",
        "another name: --lab-name",
    ),
    "another lab has the addresses": (
        hypervisors.check_others,
        replace(
            VBOX,
            vms={"thwlab_two_k8s-lb": "running", OURS: "running"},
            labs={"two": IPv4Network("192.168.100.0/24"), "thw": IPv4Network("192.168.100.0/24")},
        ),
        "lab two runs 1 VMs in 192.168.100.0/24",
        "thwlab down --name two",
    ),
    "VMs of `vagrant up` alone": (
        hypervisors.check_others,
        replace(VBOX, vms={"thw-k8s-lb": "running"}),
        "thw-k8s-lb run, made from a plan of this name by `vagrant up` alone",
        "vagrant destroy",
    ),
    "VMs that another plan's `vagrant up` alone may have made": (
        hypervisors.check_others,
        replace(VBOX, vms={"mine-k8s-lb": "running", "mine-k8s-worker1": "stopped"}),
        "mine-k8s-lb run; by `vagrant up` alone they are in 192.168.100.0/24",
        "another `network: cidr` in the plan",
    ),
    "a libvirt network of the user's has the subnet": (
        hypervisors.check_subnet,
        replace(
            KVM,
            networks=(("virbr1", IPv4Network("192.168.100.0/24")), ("eth0", IPv4Network("192.168.0.0/23"))),
            bridges={"virbr0": "thwlab_thw_net", "virbr1": "mine"},
        ),
        "192.168.100.0/24 of virbr1, libvirt's network mine",
        "another `network: cidr` in the plan, such as 192.168.2.0/24",
    ),
    "the subnet is another interface's": (
        hypervisors.check_subnet,
        replace(VBOX, networks=(("eth0", IPv4Network("192.168.100.0/22")),)),
        "192.168.100.0/22 of eth0",
        "another `network: cidr`",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_each_trouble_is_found_with_its_remedy(case: str) -> None:
    check, host, found, remedy = BROKEN[case]
    finding = check(host, PLAN)
    assert finding.verdict is Verdict.MISSING
    assert found in finding.found
    assert remedy in finding.remedy


@pytest.mark.parametrize("host", [VBOX, KVM], ids=lambda host: host.kind)
def test_a_host_that_can_has_no_finding(host: VmHost) -> None:
    assert {each.verdict for each in diagnose(host, PLAN)} == {Verdict.GOOD}


ELSEWHERE = replace(PLAN, networks=replace(PLAN.networks, nodes=IPv4Network("10.77.0.0/24")))


def test_a_name_like_a_machines_is_no_address_and_only_the_doctor_warns_of_it() -> None:
    host = replace(VBOX, vms={"prod-k8s-lb": "running", "prod-db": "running", "old-k8s-lb": "saved"})
    assert obstacles.of_others(host, ELSEWHERE) is None
    finding = hypervisors.check_others(host, ELSEWHERE)
    assert (finding.verdict, finding.needed) == (Verdict.WARNING, "10.77.0.0/24 free")
    assert finding.found == "prod-k8s-lb run, called like this plan's machines"
    calm = replace(host, vms={"prod-db": "running"})
    assert hypervisors.check_others(calm, ELSEWHERE).verdict is Verdict.GOOD


def test_what_a_remedy_says_helps() -> None:
    """Another network where another plan's VMs run; where this plan's own do, only their end."""
    theirs, own = {"mine-k8s-lb": "running"}, {"a-lab-k8s-lb": "running"}
    assert obstacles.of_others(replace(VBOX, vms=theirs), PLAN)
    assert obstacles.of_others(replace(VBOX, vms=theirs), ELSEWHERE) is None
    plan = replace(ELSEWHERE, name="a-lab")
    found = obstacles.of_others(replace(VBOX, vms=own), plan)
    assert found is not None
    assert "cidr" not in found.remedy
    assert obstacles.of_others(replace(VBOX, vms={"a-lab-k8s-lb": "stopped"}), plan) is None


def test_every_check_is_tried_on_something_broken() -> None:
    tried = {check for check, *_ in BROKEN.values()}
    assert {check.__name__ for check in CHECKS if check not in tried} == {"check_nat"}


def test_what_up_refuses_by_is_what_the_doctor_calls_missing() -> None:
    """Each in the doctor's words; but for Vagrant itself and its plugin, which `programs` looks for."""
    others = {hypervisors.check_vagrant, hypervisors.check_plugin}
    refused = set()
    for check, host, _, _ in BROKEN.values():
        if check in others:
            continue
        judged = [each(host, PLAN) for each in CHECKS if each not in others]
        missing = {
            (each.what, each.found, each.needed, each.remedy)
            for each in judged
            if each.verdict is Verdict.MISSING
        }
        found = needs.hindering(host, PLAN)
        assert {(each.what, each.found, each.needed, each.remedy) for each in found} == missing
        refused |= {each.what for each in found}
    assert refused == {each.what for each in diagnose(VBOX, PLAN)} - {
        "vagrant",
        "vagrant-libvirt",
        "NAT network",
    }


def test_vms_of_the_lab_that_run_are_in_no_way_of_the_rest() -> None:
    """A second `up` is refused nothing that its own VMs have, of whatever daemon they are."""
    states = {f"thwlab_thw_{node.name}": "running" for node in PLAN.nodes}
    host = replace(VBOX, memory_mib=100, kvm="kvm_intel", kvm_holds=True)
    assert len(needs.hindering(host, PLAN)) == 2
    assert needs.hindering(replace(host, vms=states), PLAN) == []
    assert needs.hindering(replace(host, enclosed=states), PLAN) == []


def test_memory_is_reckoned_for_those_that_are_not_on() -> None:
    states = {f"thwlab_thw_{node.name}": "running" for node in PLAN.nodes[:3]}
    host = replace(VBOX, vms={**states, f"thwlab_thw_{PLAN.nodes[3].name}": "stopped"})
    planned = sum(map(needs.memory_of, PLAN.nodes[3:]))
    assert needs.of_memory(replace(host, memory_mib=planned), PLAN) is None
    found = needs.of_memory(replace(host, memory_mib=planned - 1), PLAN)
    assert found is not None
    assert found.needed.startswith(f"{planned} MiB for 2 VMs; ")


@pytest.mark.parametrize(
    ("host", "said"),
    [
        (VBOX, "not needed here"),
        (replace(KVM, private=True), "found out by `up`, which does without"),
        (replace(KVM, probed=Kvm(True, "it counted")), "it counted"),
        (replace(KVM, probed=Kvm(False, "it did not"), more="/x.rb"), "it did not; /x.rb decides"),
    ],
)
def test_kvm_is_insisted_on_only_for_who_cannot_do_without(host: VmHost, said: str) -> None:
    """A file of the user's may have the VMs emulated; one of the lab's own libvirtd does so by itself."""
    finding = hypervisors.check_guests(host, PLAN)
    assert (finding.verdict, finding.found) == (Verdict.GOOD, said)


@pytest.mark.parametrize(
    ("host", "part", "said"),
    [
        (VBOX, {"pods": "10.0.0.0/8"}, "pods 10.0.0.0/8 overlaps 10.0.2.0/24"),
        (VBOX, {"services": "10.0.2.0/24"}, "services 10.0.2.0/24 overlaps 10.0.2.0/24"),
        (VBOX, {"services": "10.0.0.0/22"}, "services 10.0.0.0/22 overlaps 10.0.2.0/24"),
        (VBOX, {"nodes": "10.0.2.128/25"}, "nodes 10.0.2.128/25 overlaps 10.0.2.0/24"),
        (KVM, {"nodes": "192.168.121.0/24"}, "nodes 192.168.121.0/24 overlaps 192.168.121.0/24"),
    ],
)
def test_a_range_that_nat_hides_is_named(host: VmHost, part: dict[str, str], said: str) -> None:
    networks = replace(PLAN.networks, **{name: IPv4Network(net) for name, net in part.items()})
    finding = hypervisors.check_nat(host, replace(PLAN, networks=networks))
    assert finding.verdict is Verdict.MISSING
    assert said in finding.found
    assert "another range" in finding.remedy


@pytest.mark.parametrize(
    "part", [{}, {"services": "10.0.0.0/23"}, {"services": "10.0.3.0/24"}, {"pods": "10.10.0.0/16"}]
)
def test_a_range_beside_the_nat_is_no_trouble(part: dict[str, str]) -> None:
    """The guide's 10.0.0.0/24 and 10.10.0.0/16 lie beside VirtualBox' 10.0.2.0/24."""
    networks = replace(PLAN.networks, **{name: IPv4Network(net) for name, net in part.items()})
    assert hypervisors.check_nat(VBOX, replace(PLAN, networks=networks)).verdict is Verdict.GOOD


def test_libvirt_does_not_mind_virtualboxs_nat() -> None:
    networks = replace(PLAN.networks, pods=IPv4Network("10.0.0.0/8"))
    assert hypervisors.check_nat(KVM, replace(PLAN, networks=networks)).verdict is Verdict.GOOD


@pytest.mark.parametrize(
    ("system", "version", "verdict"),
    [
        ("Linux", (6, 1, 27), Verdict.GOOD),
        ("Linux", (6, 1, 28), Verdict.MISSING),
        ("Darwin", (6, 1, 40), Verdict.MISSING),
        ("Darwin", (7, 0, 0), Verdict.GOOD),
        ("Windows", (7, 0, 6), Verdict.GOOD),
    ],
)
def test_virtualbox_insists_only_where_and_since_it_does(
    system: str, version: tuple[int, ...], verdict: Verdict
) -> None:
    host = replace(VBOX, system=system, virtualbox=version, networks_conf=None)
    assert hypervisors.check_host_only(host, PLAN).verdict is verdict


@pytest.mark.parametrize(
    ("vagrant", "virtualbox", "verdict"),
    [
        ((2, 3, 0), (6, 1, 50), Verdict.GOOD),
        ((2, 3, 2), (7, 0, 0), Verdict.GOOD),
        ((2, 4, 2), (7, 1, 0), Verdict.GOOD),
        ((2, 4, 9), (7, 2, 4), Verdict.GOOD),
        ((2, 4, 9), (7, 3, 0), Verdict.WARNING),
        ((2, 4, 1), (7, 1, 0), Verdict.MISSING),
        ((2, 3, 4), (6, 0, 24), Verdict.MISSING),
        ((2, 4, 9), (5, 2, 44), Verdict.MISSING),
    ],
)
def test_pairs_of_versions(vagrant: tuple[int, ...], virtualbox: tuple[int, ...], verdict: Verdict) -> None:
    host = replace(VBOX, vagrant=vagrant, virtualbox=virtualbox)
    assert hypervisors.check_pair(host, PLAN).verdict is verdict


@pytest.mark.parametrize(
    ("host", "said"),
    [
        (replace(VBOX, box="debian/bookworm64"), "debian/bookworm64"),
        (VBOX, "the Vagrantfile's"),
        (replace(KVM, private=True), "built here"),
    ],
)
def test_which_box_is_told(host: VmHost, said: str) -> None:
    assert (hypervisors.check_box(host, PLAN).verdict, hypervisors.check_box(host, PLAN).found) == (
        Verdict.GOOD,
        said,
    )


def test_the_box_is_the_one_the_user_names(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THWLAB_BOX", "ubuntu/xenial64")
    assert vmhost.gather("libvirt", root=root).box == "ubuntu/xenial64"


def test_what_a_vagrant_can_best_have() -> None:
    assert [best_for(v) for v in ((2, 3, 0), (2, 3, 4), (2, 4, 5), (3, 0))] == ["6.1", "7.0", "7.1", "7.2"]


def test_networks_conf_is_read_as_virtualbox_reads_it() -> None:
    text = "# * 1.0.0.0/8\n\n  * 10.0.0.0/8 192.168.100.7/24 2001::/64\n* 172.16.0.1\n"
    expected = ["10.0.0.0/8", "192.168.100.0/24", "172.16.0.1/32"]
    assert [str(net) for net in allowed_ranges(text)] == expected
    assert allowed_ranges("") == []
    assert obstacles.mistakes_in(text) == []
    assert obstacles.mistakes_in("\n* /33\nany.thing\n*mine") == [
        "/etc/vbox/networks.conf:2: '/33' is no network",
        "/etc/vbox/networks.conf:4: 'mine' is no network",
    ]


def test_a_line_is_added_also_to_a_file_whose_last_line_has_no_end(tmp_path: Path) -> None:
    conf = tmp_path / "networks.conf"
    conf.write_text("* 10.0.0.0/8")
    found = obstacles.of_host_only(replace(VBOX, networks_conf=conf.read_text()), PLAN)
    assert found is not None
    line = found.remedy.partition("&& ")[2].replace("sudo ", "").replace(obstacles.NETWORKS_CONF, str(conf))
    subprocess.run(["sh", "-c", line], capture_output=True, check=True, timeout=10)
    assert conf.read_text().splitlines() == ["* 10.0.0.0/8", "* 192.168.100.0/24"]


@pytest.mark.parametrize(
    ("at_load", "verdict"), [(True, Verdict.GOOD), (None, Verdict.GOOD), (False, Verdict.WARNING)]
)
def test_a_virtualbox_that_asks_kvm_wants_it_to_have_the_processor(
    at_load: bool | None, verdict: Verdict
) -> None:
    host = replace(VBOX, virtualbox=(7, 2, 10), kvm="kvm_intel", kvm_holds=bool(at_load), kvm_at_load=at_load)
    finding = hypervisors.check_kvm(host, PLAN)
    assert finding.verdict is verdict
    assert ("remove `options kvm enable_virt_at_load=0`" in finding.remedy) is (verdict is Verdict.WARNING)


def test_an_older_virtualbox_wants_kvm_to_leave_it() -> None:
    host = replace(
        VBOX, virtualbox=(7, 2, 8), vagrant=(2, 4, 9), kvm="kvm_intel", kvm_holds=True, kvm_at_load=True
    )
    assert hypervisors.check_kvm(host, PLAN).verdict is Verdict.MISSING


def test_modules_are_asked_for_only_where_there_are_some() -> None:
    for host in (replace(VBOX, modules=None), replace(KVM, modules=frozenset())):
        assert hypervisors.check_modules(host, PLAN).verdict is Verdict.GOOD


def test_kvm_that_only_lies_there_is_in_nobodys_way() -> None:
    assert hypervisors.check_kvm(replace(VBOX, kvm="kvm_amd"), PLAN).verdict is Verdict.GOOD


def test_virtualbox_vms_beside_kvm_are_told() -> None:
    finding = hypervisors.check_kvm(replace(KVM, vbox_runs=("my vm",)), PLAN)
    assert finding.verdict is Verdict.WARNING
    assert finding.remedy == "VBoxManage controlvm 'my vm' savestate"


def test_the_biggest_machine_is_named_where_memory_is_short() -> None:
    nodes = tuple(replace(n, memory_mib=32768 if n.name == "k8s-worker2" else 1024) for n in PLAN.nodes)
    finding = hypervisors.check_memory(VBOX, replace(PLAN, nodes=nodes))
    assert finding.verdict is Verdict.MISSING
    assert "k8s-worker2 alone 32768 MiB" in finding.needed


def test_a_lab_that_runs_has_its_memory_already() -> None:
    states = {f"thwlab_thw_{node.name}": "running" for node in PLAN.nodes}
    host = replace(VBOX, memory_mib=100, vms=states)
    assert hypervisors.check_memory(host, PLAN).verdict is Verdict.GOOD


def test_many_processors_on_few_are_told() -> None:
    assert hypervisors.check_cpus(replace(VBOX, cpus=1), PLAN).verdict is Verdict.WARNING


def test_labs_that_are_off_or_elsewhere_are_in_nobodys_way() -> None:
    off = {"thwlab_two_k8s-lb": "saved", "thw-k8s-lb": "stopped", "somebody-elses": "running"}
    assert hypervisors.check_others(replace(VBOX, vms=off), PLAN).verdict is Verdict.GOOD
    host = replace(VBOX, vms={"thwlab_two_k8s-lb": "running"}, labs={"two": IPv4Network("192.168.101.0/24")})
    assert hypervisors.check_others(host, PLAN).verdict is Verdict.GOOD


def test_the_hypervisors_own_interfaces_are_no_strangers() -> None:
    wanted = IPv4Network("192.168.100.0/24")
    host = replace(VBOX, networks=(("vboxnet0", wanted),))
    assert hypervisors.check_subnet(host, PLAN).verdict is Verdict.GOOD
    host = replace(KVM, networks=(("virbr4", wanted),), bridges={"virbr4": "thwlab_thw_net"})
    assert hypervisors.check_subnet(host, PLAN).verdict is Verdict.GOOD
    other = hypervisors.check_subnet(host, replace(PLAN, name="two"))
    assert other.verdict is Verdict.MISSING, "another lab's is somebody's too"


def test_what_a_system_does_not_tell_is_not_tried() -> None:
    host = replace(VBOX, memory_mib=None, cpus=None, virtualisation=None)
    found = {each.what: each.verdict for each in diagnose(host, PLAN)}
    assert found["memory"] is found["processors"] is Verdict.UNTRIED
    assert found["KVM and VirtualBox"] is Verdict.GOOD


@pytest.fixture(autouse=True)
def kvm(monkeypatch: pytest.MonkeyPatch) -> Kvm:
    """Nobody tries this host's."""
    seen = Kvm(False, "a guest did not count")
    monkeypatch.setattr(here, "tried", lambda: seen)
    return seen


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host with VirtualBox 7.1.4, KVM with a guest, and a lab of VMs, in files and stand-ins."""
    world = World(tmp_path / "world").install(
        virtualbox="7.1.4", vms={OURS: new_vm(), "x": new_vm("poweroff")}
    )
    monkeypatch.setenv("PATH", on_path(world.bin))
    monkeypatch.setenv("THWLAB_STATE", str(tmp_path / "labs"))
    host = tmp_path / "root"
    write(host / "etc/vbox/networks.conf", "* 10.0.0.0/8\n")
    write(host / "sys/module/kvm_intel/refcnt", "3\n")
    write(host / "sys/module/vboxdrv/refcnt", "0\n")
    write(host / "proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu vmx sse\n")
    write(host / "proc/meminfo", "MemTotal: 9 kB\nMemAvailable:   8192000 kB\n")
    return host


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def lab_on(folder: Path, topology: Topology) -> None:
    Project(topology.name, folder / topology.name / "vagrant", "virtualbox").write_plan(topology)


def test_a_virtualbox_host_is_gathered(root: Path, tmp_path: Path) -> None:
    lab_on(tmp_path / "labs", PLAN)
    write(tmp_path / "labs" / "odd" / "vagrant" / "plan.yaml", "no json")
    host = vmhost.gather("virtualbox", root=root)
    assert (host.vagrant, host.virtualbox) == ((2, 3, 4), (7, 1, 4))
    assert host.networks_conf == "* 10.0.0.0/8\n"
    assert (host.kvm, host.kvm_holds, host.virtualisation) == ("kvm_intel", True, True)
    assert (host.kvm_guests, host.kvm_at_load) == (True, None)
    assert host.modules == {"vboxdrv"}
    assert host.memory_mib == 8000
    assert host.vms == {OURS: "running", "x": "stopped"}
    assert host.labs == {"thw": IPv4Network("192.168.100.0/24")}


def test_kvm_is_tried_only_for_a_libvirtd_that_runs_and_as_it_makes_vms_by_itself(
    root: Path, kvm: Kvm, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert vmhost.gather("libvirt", root=root).probed == kvm
    assert vmhost.gather("libvirt", private=True, root=root).probed is None
    assert vmhost.gather("virtualbox", root=root).probed is None
    monkeypatch.setenv("LAB_VAGRANTFILE_MORE", "/x.rb")
    assert vmhost.gather("libvirt", root=root).probed is None


def test_a_libvirt_host_is_gathered(root: Path) -> None:
    host = vmhost.gather("libvirt", root=root)
    assert host.plugins == {"vagrant-libvirt"}
    assert host.virtualbox is None
    assert host.vms == {OURS: "running", "x": "stopped"}
    assert host.vbox_runs == (OURS,)


def test_a_host_without_any_of_it_is_gathered_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("THWLAB_STATE", str(tmp_path / "labs"))
    for kind in ("virtualbox", "libvirt"):
        host = vmhost.gather(kind, root=tmp_path)
        assert (host.vagrant, host.virtualbox, host.networks_conf) == (None, None, None)
        assert (dict(host.vms), dict(host.labs), host.plugins) == ({}, {}, frozenset())
        assert (host.kvm, host.virtualisation, host.memory_mib) == ("", None, None)
        told = hypervisors.check_answers(host, PLAN)
        assert (told.verdict is Verdict.MISSING) is (kind == "libvirt")


@pytest.mark.parametrize("left", ["plan.yaml", "whole/k8s-lb"])
def test_vms_are_strange_unless_a_folder_here_began_them(root: Path, tmp_path: Path, left: str) -> None:
    """What a killed run left has a plan; a log alone proves nothing."""
    write(tmp_path / "labs/thw/vagrant/vagrant.log", "$ vagrant --version")
    assert vmhost.gather("virtualbox", root=root).strange == {OURS}
    write(tmp_path / "labs/thw/vagrant" / left, "cut o")
    assert vmhost.gather("virtualbox", root=root).strange == set()


@pytest.mark.parametrize(
    ("at_load", "users", "holds"), [("Y", "0", True), ("N", "0", False), ("N", "2", True), (None, "0", False)]
)
def test_a_new_kernels_kvm_holds_the_processor_without_a_guest(
    tmp_path: Path, at_load: str | None, users: str, holds: bool
) -> None:
    write(tmp_path / "module/kvm_amd/refcnt", users)
    if at_load:
        write(tmp_path / "module/kvm/parameters/enable_virt_at_load", at_load)
    assert here.kvm_holds(tmp_path, "kvm_amd") is holds


def test_a_processor_without_the_word_offers_none() -> None:
    assert here.virtualisation("flags\t\t: fpu sse svml\n") is False
    assert here.virtualisation("flags\t\t: fpu svm\n") is True
    assert here.virtualisation("Features : fp asimd\n") is None
