import gzip
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from fixed import guide_topology

from lab import choice, doctor
from lab.doctor import (
    CHECKS,
    Facts,
    Finding,
    Verdict,
    diagnose,
    kernel,
    missing,
    proc,
    programs,
    surroundings,
)
from lab.doctor.__main__ import one_line
from lab.doctor.facts import Disk
from lab.doctor.finding import good
from lab.doctor.fix import carry_out, repair_for
from lab.doctor.gather import gather
from lab.errors import LabError
from lab.providers.base import Missing
from lab.providers.vagrant.needs import VmHost
from lab.topology import Cni

NEEDED = [program for program in programs.PROGRAMS if not program.testing]
EVERY = frozenset(name for program in programs.PROGRAMS for name in program.names) | {"go"}
DISK = Disk(Path("/var/lib/thwlab"), 50_000, 1)
FINE = Facts(
    "Linux",
    codename="bookworm",
    family=frozenset({"debian"}),
    programs=EVERY,
    pip=True,
    kernel=dict.fromkeys(kernel.FEATURES, True),
    cgroup="2",
    controllers=frozenset({"cpu", "memory", "pids"}),
    memory_mib=8000,
    state=DISK,
    cache=DISK,
    limits={kernel.INSTANCES: 512, kernel.KEYS: 200},
    in_use={kernel.INSTANCES: 20, kernel.KEYS: 0},
    ipv4=True,
    sources=True,
)
RUNNING = {"daemon": "/run/incus/unix.socket"}
LAN = (("eth0", IPv4Network("192.168.100.0/22")),)
BROKEN: dict[str, tuple[Callable[..., Finding], dict[str, object], str]] = {
    "macOS": (kernel.check_system, {"system": "Darwin"}, "Linux VM"),
    "no btrfs": (kernel.check_features, {"kernel": {"btrfs": False}}, "modprobe -a btrfs"),
    "no cgroup": (kernel.check_cgroup, {"cgroup": ""}, "mount -t cgroup2"),
    "no pids controller": (kernel.check_cgroup, {"controllers": frozenset({"cpu", "memory"})}, "pids"),
    "new systemd on v1": (
        kernel.check_cgroup,
        {"cgroup": "1", "controllers": frozenset(kernel.CONTROLLERS["1"]), "codename": "trixie"},
        "unified_cgroup_hierarchy",
    ),
    "memory": (kernel.check_memory, {"memory_mib": 1500}, "small.yaml"),
    "inotify": (kernel.check_limits, {"limits": {kernel.INSTANCES: 64}}, f"sysctl -w {kernel.INSTANCES}=256"),
    "keys": (kernel.check_limits, {"limits": {kernel.KEYS: 10}}, f"sysctl -w {kernel.KEYS}=64"),
    "no root": (surroundings.check_rights, {"uid": 1000}, 'sudo -E env "PATH=$PATH" thwlab up'),
    "not of the group": (
        surroundings.check_rights,
        {"uid": 1000, "closed_to": "incus-admin"},
        "sudo usermod -aG incus-admin $USER; log in again after that; or sudo -E ",
    ),
    "no root to build": (
        surroundings.check_rights,
        {**RUNNING, "uid": 1000, "root_is_cached": False},
        "fetch --image",
    ),
    "no sources": (surroundings.check_sources, {"sources": False}, "THWLAB_CACHE"),
    "disk": (surroundings.check_disks, {"state": Disk(Path("/s"), 100, 2)}, "artifacts gc"),
    "one disk for both": (
        surroundings.check_disks,
        {"state": replace(DISK, free_mib=7000), "cache": replace(DISK, free_mib=7000)},
        "THWLAB_STATE",
    ),
    "no right to write": (
        surroundings.check_disks,
        {"cache": replace(DISK, path=Path("/nonexistent/c"), trouble="/nonexistent: Permission denied")},
        'export THWLAB_CACHE="$(mktemp -d)"',
    ),
    "subnet": (surroundings.check_subnet, {**RUNNING, "networks": LAN}, "192.168.0.0/24"),
    "own stale lab": (surroundings.check_stale, {"stale": ("thw",)}, "thwlab down --name thw"),
    "double quote": (surroundings.check_paths, {"checkout": Path('/tmp/my "lab"')}, "move"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_missing_is_found_with_its_remedy(name: str) -> None:
    check, change, remedy = BROKEN[name]
    found = check(replace(FINE, **change), guide_topology())
    assert found.verdict is Verdict.MISSING
    assert found.needed
    assert remedy in found.remedy


@pytest.mark.parametrize("name", BROKEN)
def test_the_same_check_is_content_with_a_good_host(name: str) -> None:
    assert BROKEN[name][0](FINE, guide_topology()).verdict is Verdict.GOOD


def test_a_good_host_lacks_nothing() -> None:
    assert missing(diagnose(FINE, guide_topology())) == []


@pytest.mark.parametrize("name", ["chromium", "vagrant", "ruby"])
def test_what_only_tests_want_is_asked_for_in_ci_and_keeps_no_lab_from_running(name: str) -> None:
    wanted = next(each for each in programs.PROGRAMS if each.names == (name,))
    without = replace(FINE, programs=EVERY - {name})
    assert programs.check_program(wanted, without, guide_topology()).verdict is Verdict.GOOD
    found = programs.check_program(wanted, replace(without, ci=True), guide_topology())
    assert (found.verdict, found.packages) == (Verdict.WARNING, wanted.packages)


def test_what_only_tests_want_is_installed_by_commands_of_their_own() -> None:
    """A release that has one of them not must not keep a lab, or the others, from being installed."""
    facts = replace(FINE, ci=True, programs=EVERY - {"ip", "vagrant"})
    repair = repair_for(diagnose(facts, guide_topology()), facts)
    assert [command[-1] for command in repair.commands] == ["update", "iproute2"]
    assert [command[-1] for command in repair.wished] == ["vagrant"]
    only = replace(facts, programs=EVERY - {"ruby"})
    repair = repair_for(diagnose(only, guide_topology()), only)
    assert [command[-1] for command in (*repair.commands, *repair.wished)] == ["update", "ruby"]


def test_every_unit_test_that_is_skipped_is_shown_with_its_reason() -> None:
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    assert "tests/unit -n 2 -rs" in makefile


@pytest.mark.parametrize("program", NEEDED, ids=lambda p: p.names[0])
def test_each_program_is_missed_with_its_package(program: programs.Program) -> None:
    topology = replace(guide_topology(), cni=Cni.FLANNEL)
    found = programs.check_program(program, replace(FINE, programs=EVERY - set(program.names)), topology)
    assert found.verdict is Verdict.MISSING
    assert found.packages
    assert found.remedy == f"apt-get install -y --no-install-recommends {' '.join(found.packages)}"


def test_the_daemon_is_lxd_on_bookworm_and_incus_elsewhere() -> None:
    daemon = programs.PROGRAMS[0]
    assert programs.packages_of(daemon, FINE) == ("lxd", "lxd-client")
    assert programs.packages_of(daemon, replace(FINE, codename="noble")) == ("incus",)


def test_a_cached_image_needs_nothing_to_build_one() -> None:
    bare = replace(FINE, programs=EVERY - {"mmdebstrap", "mksquashfs", "go"}, pip=False, sources=False)
    assert {each.what for each in missing(diagnose(bare, guide_topology()))} == {
        "mmdebstrap",
        "mksquashfs",
        "go",
        "package sources",
    }
    assert missing(diagnose(replace(bare, root_is_cached=True), guide_topology())) == []


def test_a_running_daemon_needs_no_daemon_program_and_no_root() -> None:
    facts = replace(FINE, uid=1000, root_is_cached=True, programs=EVERY - {"lxd", "incusd"}, **RUNNING)
    assert missing(diagnose(facts, guide_topology())) == []


def test_unknown_is_neither_good_nor_missing() -> None:
    assert kernel.check_features(replace(FINE, kernel={}), guide_topology()).verdict is Verdict.UNTRIED
    assert kernel.check_memory(replace(FINE, memory_mib=None), guide_topology()).verdict is Verdict.UNTRIED


def test_limits_count_what_is_in_use_and_print_both_lines() -> None:
    facts = replace(
        FINE, limits={kernel.INSTANCES: 128, kernel.KEYS: 20}, in_use={kernel.INSTANCES: 87, kernel.KEYS: 5}
    )
    found = kernel.check_limits(facts, guide_topology())
    assert len(found.sysctls) == 2
    assert "87 in use" in found.found
    assert kernel.check_limits(replace(facts, running=True), guide_topology()).verdict is Verdict.GOOD


def test_many_leftovers_are_counted_and_not_listed() -> None:
    many = tuple(f"/src/{number}" for number in range(2000))
    facts = replace(FINE, owner=(1000, 1000), foreign=many, checkout=Path("/src"))
    found = surroundings.check_leftovers(facts, guide_topology())
    assert found.found == "not owned by 1000: /src/0, /src/1, /src/2 and 1997 more"
    assert found.remedy == "sudo find /src -not -user 1000 -exec chown -h 1000:1000 {} +"


def test_leftovers_name_the_command_with_paths_quoted() -> None:
    facts = replace(FINE, owner=(1000, 1000), foreign=("/src/a b",))
    assert (
        surroundings.check_leftovers(facts, guide_topology()).remedy
        == "sudo chown -hR 1000:1000 -- '/src/a b'"
    )


def test_another_stale_lab_is_a_warning_only() -> None:
    assert (
        surroundings.check_stale(replace(FINE, stale=("old",)), guide_topology()).verdict is Verdict.WARNING
    )


def test_a_full_range_has_no_free_network() -> None:
    busy = [IPv4Network("10.0.0.0/8"), IPv4Network("172.16.0.0/12"), IPv4Network("192.168.0.0/16")]
    assert surroundings.free_network(24, busy) is None


def test_a_host_without_proc_is_judged_and_never_crashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    monkeypatch.setenv("THWLAB_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("THWLAB_CACHE", str(tmp_path / "cache"))
    facts = gather(
        guide_topology(),
        root=tmp_path / "nothing",
        environ={"PATH": "/nonexistent", "HTTP_PROXY": "http://u:pw@x:1"},
    )
    assert missing(diagnose(facts, guide_topology()))[0].what == "system"
    assert facts.memory_mib is None
    assert facts.proxies == ("HTTP_PROXY=http://u:***@x:1",)


def test_a_kernel_is_read_from_a_host(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/filesystems").write_text("nodev\toverlay\n\tbtrfs\n")
    (tmp_path / "proc/config.gz").write_bytes(gzip.compress(b"CONFIG_VETH=y\nCONFIG_BRIDGE=m\n"))
    facts = gather(guide_topology(), root=tmp_path, environ={})
    assert facts.kernel["btrfs"] is True
    assert facts.kernel["veth"] is True
    assert facts.kernel["vxlan"] is False


def test_cgroup_versions_are_told_apart() -> None:
    v1 = "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu"
    v2 = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw"
    assert proc.cgroup(v1, "")[0] == "1"
    assert proc.cgroup(f"{v1}\n{v2}", "")[0] == "hybrid"
    assert proc.cgroup(v2, "cpu memory") == ("2", frozenset({"cpu", "memory"}))
    assert proc.cgroup("", "")[0] == ""


def test_routes_are_networks_and_a_default() -> None:
    head = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
    lan = "eth0 000200C0 00000000 0001 0 0 0 00FFFFFF 0 0 0\n"
    assert proc.routes(head + lan) == ((("eth0", IPv4Network("192.0.2.0/24")),), False)
    assert proc.routes(head + lan + "eth0 00000000 010200C0 0003 0 0 0 00000000 0 0 0\n")[1]


def test_keys_of_root_do_not_count() -> None:
    text = "    0:   105 104/104 99/1000000 2094/25000000\n  998:     5 5/5 5/200 45/20000\n"
    assert proc.keys_in_use(text) == 5


def test_the_repair_installs_packages_and_leaves_sysctls_to_the_reader() -> None:
    facts = replace(FINE, programs=EVERY - {"nft", "ip"}, limits={kernel.INSTANCES: 10})
    repair = repair_for(diagnose(facts, guide_topology()), facts)
    assert [command[2] for command in repair.commands] == ["update", "install"]
    assert repair.commands[1][-2:] == ("nftables", "iproute2")
    assert not any("sysctl" in word for command in repair.commands for word in command)
    assert any("sysctl" in line for line in repair.by_hand)


def test_other_systems_get_commands_to_type() -> None:
    facts = replace(FINE, family=frozenset({"fedora"}), programs=EVERY - {"ip"})
    repair = repair_for(diagnose(facts, guide_topology()), facts)
    assert repair.commands == ()
    assert "dnf install iproute" in repair.by_hand


def test_nothing_missing_repairs_nothing() -> None:
    assert repair_for([good("x", "y")], FINE).commands == ()


def test_a_failed_installation_shows_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="exited 7") as error:
        carry_out([("sh", "-c", "echo no such package; exit 7")], tmp_path / "log")
    assert "no such package" in str(error.value)


def test_an_installation_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.doctor.fix.UPDATE_TIMEOUT", 0.2)
    with pytest.raises(LabError, match="did not end within"):
        carry_out([("sleep", "60")], tmp_path / "log")


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="no-such-program"):
        carry_out([("no-such-program",)], tmp_path / "log")


def test_can_host_is_empty_or_says_what_and_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "gather", lambda *_: FINE)
    assert doctor.can_host(guide_topology()) == []
    monkeypatch.setattr(doctor, "gather", lambda *_: replace(FINE, programs=EVERY - {"ip"}))
    assert [each.packages for each in doctor.can_host(guide_topology())] == [("iproute2",)]


def test_why_not_is_one_line() -> None:
    line = one_line([Missing("ip: not installed", "apt-get install iproute2", ("iproute2",))])
    assert "doctor --fix" in line
    assert "no root" in one_line([Missing("no root", "sudo")])


def test_checks_are_not_two_of_a_name() -> None:
    names = [check(FINE, guide_topology()).what for check in CHECKS]
    assert len(set(names)) == len(names)


# -- VMs -------------------------------------------------------------------------------------------

EVERY_VM = frozenset(name for program in programs.VM_PROGRAMS for name in program.names) | {"go"}
VMS = replace(FINE, vms=True, programs=EVERY_VM)


def vm_findings(facts: Facts) -> list[Finding]:
    checks = (*surroundings.VM_CHECKS, *programs.VM_CHECKS)
    return [check(facts, guide_topology()) for check in checks]


def test_vms_need_nothing_of_what_containers_need() -> None:
    assert missing(vm_findings(VMS)) == []
    assert {each.what for each in vm_findings(VMS)}.isdisjoint({"incusd or lxd", "mkfs.btrfs", "unsquashfs"})


def test_every_program_that_is_missing_for_vms_comes_in_one_install() -> None:
    repair = repair_for(vm_findings(replace(VMS, programs=frozenset({"go"}))), VMS)
    wanted = {"libvirt-daemon-system", "libvirt-clients", "qemu-system-x86", "qemu-utils", "dnsmasq-base"}
    assert wanted <= set(repair.commands[1])
    assert repair.by_hand == ()


def test_a_hypervisor_that_is_there_needs_neither_root_nor_programs_of_a_private_one() -> None:
    theirs = replace(VMS, uid=1000, daemon="vagrant:virtualbox", sources=False)
    assert missing(vm_findings(theirs)) == []
    found = vm_findings(replace(theirs, programs=frozenset({"go", "ip", "nsenter", "ssh", "virsh", "gcc"})))
    assert missing(found) == []


def test_virtualbox_asks_for_no_program_of_libvirts_nor_of_linux() -> None:
    """On macOS there is neither virsh nor ip."""
    theirs = replace(
        VMS, uid=1000, daemon="vagrant:virtualbox", virtualbox=True, programs=frozenset({"ssh", "go"})
    )
    assert missing(vm_findings(theirs)) == []
    of_libvirts = replace(theirs, daemon="vagrant:libvirt", virtualbox=False)
    assert [each.what for each in missing(vm_findings(of_libvirts))] == ["virsh"]


def test_a_private_libvirtd_needs_root() -> None:
    (lacking,) = missing(vm_findings(replace(VMS, uid=1000)))
    assert lacking.what == "rights"


def test_the_word_decides_what_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THWLAB_STATE", str(tmp_path))
    asked: list[tuple[str, bool]] = []

    def host(kind: str, *, private: bool) -> VmHost:
        asked.append((kind, private))
        return VmHost(kind, private=private)

    monkeypatch.setattr(doctor.vmhost, "gather", host)
    monkeypatch.setattr(choice, "running_socket", lambda: None)
    names = {each.what for each in doctor.examine(guide_topology(), "vagrant:libvirt")}
    assert {"libvirtd", "vagrant", "vagrant-libvirt"} <= names
    assert "vagrant-libvirt" not in {each.what for each in doctor.examine(guide_topology(), "incus:private")}
    doctor.examine(guide_topology(), "vagrant:virtualbox")
    assert asked == [("libvirt", True), ("virtualbox", False)]


def test_whose_libvirtd_the_word_says_is_whose_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether one runs or not."""
    monkeypatch.setenv("THWLAB_STATE", str(tmp_path))
    asked: list[bool] = []

    def host(kind: str, *, private: bool) -> VmHost:
        asked.append(private)
        return VmHost(kind, private=private)

    monkeypatch.setattr(doctor.vmhost, "gather", host)
    for socket in (None, tmp_path):
        monkeypatch.setattr(choice, "running_socket", lambda said=socket: said)
        for word in ("vagrant:libvirt:private", "vagrant:libvirt:running", "vagrant:libvirt"):
            doctor.examine(guide_topology(), word)
    assert asked == [True, False, True, True, False, False]


def test_a_lab_of_a_private_libvirtd_that_runs_has_its_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its VMs are in no listing that this user gets by asking libvirt."""
    monkeypatch.setenv("THWLAB_STATE", str(tmp_path))
    gather_module = import_module("lab.doctor.gather")
    monkeypatch.setattr(choice, "running_socket", lambda: None)
    monkeypatch.setattr(
        doctor.vmhost, "gather", lambda kind, private: VmHost(kind, private=private, memory_mib=9)
    )

    def memory() -> Verdict:
        findings = doctor.examine(guide_topology(), "vagrant:libvirt")
        return next(each.verdict for each in findings if each.what == "memory")

    assert memory() is Verdict.MISSING
    monkeypatch.setattr(gather_module, "_is_running", lambda _: True)
    assert memory() is Verdict.GOOD


def test_a_folder_that_cannot_be_written_is_no_good_disk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("THWLAB_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("THWLAB_CACHE", "/proc/thwlab/cache")
    facts = gather(guide_topology(), "incus:private")
    found = surroundings.check_disks(facts, guide_topology())
    assert found.verdict is Verdict.MISSING
    assert "/proc/thwlab/cache cannot be written (/proc: " in found.found
    assert str(tmp_path) not in found.found
    assert not (tmp_path / "state").exists()
