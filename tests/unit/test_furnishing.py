"""A plain machine gets what its roles need, once, whole or again; and every reason why it cannot."""

import io
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from plain_guest import PlainGuest, archive, listening, supplies

from lab.artifacts.packages import Release
from lab.artifacts.supplies import Supplies
from lab.errors import LabError
from lab.furnishing import furnish as module
from lab.furnishing.furnish import furnish, furnish_argv
from lab.furnishing.guest import hindrances, parsed
from lab.furnishing.parcel import MASKED, SCRIPT, STAGING, Parcel
from lab.machine import Machine, Result
from lab.topology import Node, Role

MASTER, ETCD, WORKER, ADMIN = Role.CONTROL_PLANE, Role.ETCD, Role.WORKER, Role.ADMIN
XENIAL = """\
mark
kernel 4.4.0-210-generic
machine x86_64
systemd systemd 229
cgroup tmpfs
free 9000000
os NAME="Ubuntu"
os ID=ubuntu
os PRETTY_NAME="Ubuntu 16.04.7 LTS"
os UBUNTU_CODENAME=xenial
"""
Make = Callable[..., PlainGuest]


@pytest.fixture
def given(tmp_path: Path) -> Supplies:
    return supplies(tmp_path / "cache")


@pytest.fixture
def make(tmp_path: Path, given: Supplies, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setattr(module, "machine_arch", lambda: "amd64")

    def guest(name: str = "one", *roles: Role) -> PlainGuest:
        node = Node(name, IPv4Address("192.168.7.11"), frozenset(roles or {ETCD}))
        made = PlainGuest(node, tmp_path / name)
        made.take_programs_for_stand_ins(given.programs)
        return made

    return guest


def bring(given: Supplies, *machines: Machine) -> list[str]:
    told.clear()
    return furnish(machines, lambda _: given, told.append)


told: list[str] = []


def names(parcel: Parcel) -> list[str]:
    return [entry.name.removeprefix(f"{STAGING}/") for entry in parcel.entries()]


# -- what is sent ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("roles", "has", "lacks"),
    [
        ({ETCD}, {"opt/etcd/bin/etcd", "opt/etcd/bin/etcdctl"}, {"opt/kubernetes/bin/kubelet"}),
        ({MASTER}, {"opt/kubernetes/bin/kube-apiserver"}, {"opt/etcd/bin/etcd", "images/pause.tar"}),
        ({WORKER}, {"opt/kubernetes/bin/kubelet", "opt/cni/bin/bridge", "images/pause.tar"}, {"usr/bin/x"}),
        ({ADMIN}, {"usr/bin/kubectl", "usr/local/bin/etcdctl"}, {"opt/kubernetes/bin/kube-apiserver"}),
        ({Role.LOAD_BALANCER}, {"furnish"}, {"opt/kubernetes/bin/kubectl", "importer.toml"}),
    ],
)  # fmt: skip
def test_each_role_gets_its_own(given: Supplies, roles: set[Role], has: set[str], lacks: set[str]) -> None:
    sent = set(names(Parcel(frozenset(roles), given)))
    assert has <= sent
    assert not lacks & sent


def test_no_program_that_has_a_place_is_for_nobody(given: Supplies) -> None:
    sent = {Path(name).name for name in names(Parcel(frozenset(Role), given))}
    assert sent >= given.programs.keys() - {"pause", "coredns", "agnhost"}, "those are in images"


def test_the_same_parcel_has_the_same_bytes(given: Supplies) -> None:
    one = Parcel(frozenset({WORKER}), given).for_machine({"runc": "1.1"})
    for path in given.programs.values():
        path.touch()
    again = Parcel(frozenset({WORKER}), given).for_machine({"runc": "1.1"})
    assert one.packed() == again.packed()


def test_the_tar_holds_what_it_lists(given: Supplies) -> None:
    parcel = Parcel(frozenset({ADMIN}), given).for_machine({})
    with tarfile.open(fileobj=io.BytesIO(parcel.packed())) as tar:
        assert tar.getnames() == [entry.name for entry in parcel.entries()]
        assert tar.getmember("usr/bin/kubectl").linkname == "/opt/kubernetes/bin/kubectl"
        assert tar.getmember("opt/kubernetes/bin/kubectl").mode == 0o755
        assert {(member.uid, member.mtime) for member in tar.getmembers()} == {(0, 0)}


def test_only_packages_that_are_lacking_are_sent(given: Supplies) -> None:
    parcel = Parcel(frozenset({ETCD}), given).for_machine({"runc": "1.1", "socat": "0.9"})
    assert [package.name for package in parcel.packages] == ["nginx", "socat"]
    index = next(entry.text for entry in parcel.entries() if entry.name.endswith("Packages"))
    assert "Package: nginx\n" in index
    assert "Package: runc\n" not in index


def test_the_mark_follows_what_is_brought_and_not_what_was_there(given: Supplies, tmp_path: Path) -> None:
    parcel = Parcel(frozenset({WORKER}), given)
    assert parcel.for_machine({"runc": "1.1"}).mark == parcel.mark
    others = [
        Parcel(frozenset({ETCD}), given),
        Parcel(frozenset({WORKER}), replace(given, archive=None)),
        Parcel(frozenset({WORKER}), replace(given, images=())),
        Parcel(frozenset({WORKER}), replace(given, archive=archive(tmp_path / "a", {"runc": "1.2"}))),
    ]
    assert len({parcel.mark, *(each.mark for each in others)}) == 5


# -- on the machine --------------------------------------------------------------------------------


def test_a_worker_gets_everything_and_the_mark_at_last(make: Make, given: Supplies) -> None:
    guest = make("worker", WORKER)
    assert bring(given, guest) == ["worker"]
    root = guest.root
    assert (root / "opt/kubernetes/bin/kubelet").read_text() == "#!/bin/sh\n# kubelet\n"
    for unit in MASKED:
        assert (root / "etc/systemd/system" / unit).readlink() == Path("/dev/null")
    assert ["-a", "overlay", "nf_conntrack"] in guest.tools["modprobe"].calls
    update, install = (" ".join(call) for call in guest.tools["apt-get"].calls)
    assert f"Dir::Etc::sourcelist={root}/{STAGING}/sources.list" in update
    assert install.endswith(" psmisc")
    assert "--no-upgrade" in install
    assert "busybox" not in install, "the machine would make its initrd anew"
    imported = (root.parent / "imported").read_text()
    assert imported.startswith(f"{root}/run/thwlab-import/s -n k8s.io images import ")
    assert 'root = "/var/lib/containerd"' in (root.parent / "containerd-config").read_text()
    assert guest.mark == Parcel(guest.node.roles, given).mark
    assert not (root / STAGING).exists(), "what was only carried is left there"
    assert not (root / "run/thwlab-import").exists()
    assert any("sending" in line for line in told)


def test_what_was_brought_is_not_brought_again(make: Make, given: Supplies) -> None:
    guest = make()
    assert bring(given, guest) == ["one"]
    assert bring(given, guest) == []
    assert len(guest.sent) == 1


def test_another_set_is_brought(make: Make, given: Supplies, tmp_path: Path) -> None:
    guest = make()
    bring(given, guest)
    newer = replace(given, archive=archive(tmp_path / "newer", {"runc": "1.2"}))
    assert bring(newer, guest) == ["one"]
    assert guest.mark == Parcel(guest.node.roles, newer).mark


def test_one_that_was_killed_is_done_again(make: Make, given: Supplies) -> None:
    guest = make()
    guest.tools["apt-get"].answer("install", err="Killed", status=137, once=True)
    with pytest.raises(LabError, match="exited 137 at: packages, from the archive"):
        bring(given, guest)
    assert guest.mark == ""
    guest.tools["dpkg"].answer("--audit", out="runc is half configured\n")
    assert bring(given, guest) == ["one"]
    assert ["--force-confold", "--configure", "-a"] in guest.tools["dpkg"].calls


def test_what_is_half_is_never_taken_for_what_was_whole(make: Make, given: Supplies, tmp_path: Path) -> None:
    """A transfer that breaks leaves programs of two sets: the old mark must not be there then."""
    guest = make()
    bring(given, guest)
    newer = replace(given, archive=archive(tmp_path / "newer", {"runc": "1.2"}))
    content = Parcel(guest.node.roles, newer).for_machine({}).packed()
    broken = guest.run("sh", "-c", module.UNPACK, "sh", "", module.MARK, stdin=content[: len(content) // 2])
    assert not broken.ok
    assert guest.mark == ""
    assert bring(given, guest) == ["one"]


def test_the_labs_own_unit_is_not_masked(make: Make, given: Supplies) -> None:
    guest = make("balancer", Role.LOAD_BALANCER)
    own = guest.root / "etc/systemd/system/nginx.service"
    own.parent.mkdir(parents=True)
    own.write_text("[Service]\n")
    bring(given, guest)
    assert own.read_text() == "[Service]\n"
    assert ["stop", "nginx.service"] not in guest.tools["systemctl"].calls
    assert ["stop", "haproxy.service"] in guest.tools["systemctl"].calls


def test_a_containerd_that_runs_imports_itself(make: Make, given: Supplies) -> None:
    """Two of them cannot have one folder."""
    guest = make("w", WORKER)
    with listening(guest.root / "run/containerd/containerd.sock"):
        bring(given, guest)
    assert (guest.root.parent / "imported").read_text().startswith(
        f"{guest.root}/run/containerd/containerd.sock "
    )  # fmt: skip
    assert not (guest.root.parent / "containerd-config").exists()


def test_a_containerd_that_ends_at_once_is_no_hang(make: Make, given: Supplies) -> None:
    guest = make("w", WORKER)
    given.programs["containerd"].write_text("#!/bin/sh\necho no such filesystem >&2\nexit 1\n")
    with pytest.raises(LabError, match=r"at: container images\n(.*\n)*.*no such filesystem"):
        bring(given, guest)


def test_machines_that_are_alike_share_what_is_packed(make: Make, given: Supplies) -> None:
    one, two, three = make("a", ETCD), make("b", ETCD), make("c", WORKER)
    assert bring(given, one, two, three) == ["a", "b", "c"]
    assert one.sent[0] is two.sent[0]
    assert one.sent[0] != three.sent[0]


def test_each_release_is_asked_for_once(make: Make, given: Supplies) -> None:
    asked: list[Release] = []

    def supply(release: Release) -> Supplies:
        asked.append(release)
        return given

    furnish([make("a"), make("b")], supply, told.append)
    assert asked == [Release("debian", "bookworm", "amd64")]


def test_without_an_archive_the_machine_installs_by_itself_and_that_is_said(
    make: Make, tmp_path: Path
) -> None:
    own = supplies(tmp_path / "own", why="this host has no apt")
    guest = make()
    bring(own, guest)
    assert "this host has no apt: machines install packages through their own network" in told
    update, install = guest.tools["apt-get"].calls
    assert not [word for word in (*update, *install) if "sourcelist" in word]
    assert guest.mark == Parcel(guest.node.roles, own).mark


def test_the_script_is_plain_shell() -> None:
    subprocess.run(["dash", "-n", str(SCRIPT)], check=True, timeout=10) if shutil.which("dash") else None
    subprocess.run(["bash", "--posix", "-n", str(SCRIPT)], check=True, timeout=10)


def test_the_script_gets_as_many_words_as_it_takes(given: Supplies) -> None:
    argv = furnish_argv(Parcel(frozenset({WORKER}), given))
    assert argv[:3] == ["sh", f"/{STAGING}/furnish", ""]
    assert argv[4] == "archive"
    assert argv[8:] == ["/usr/local/bin/ctr", "-n", "k8s.io", "images", "import"]


# -- why not ---------------------------------------------------------------------------------------


def test_the_guides_box_is_refused_with_every_reason() -> None:
    found = "\n".join(hindrances(parsed(XENIAL), "amd64"))
    for reason in ("kernel is 4.4; 5.10", "systemd is 229; 247", "cgroup v1"):
        assert reason in found
    assert parsed(XENIAL).release == Release("ubuntu", "xenial", "amd64")


def test_a_debian_of_today_is_not_refused(make: Make, given: Supplies) -> None:
    guest = make()
    guest.installed = {"runc": "1.1"}
    seen = module.ask(guest)
    assert hindrances(seen, "amd64") == []
    assert (seen.installed, seen.free_mib, seen.kernel) == ({"runc": "1.1"}, 4096, (6, 1))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("ID=debian", "ID=fedora", "none of debian, ubuntu"),
        ("machine x86_64", "machine aarch64", "architecture is arm64, and the programs here are for amd64"),
        ("cgroup2fs", "tmpfs", "cgroup v1"),
    ],
)
def test_a_machine_that_cannot_be_used_is_refused_before_anything_is_sent(
    make: Make, given: Supplies, old: str, new: str, reason: str
) -> None:
    guest = make()
    guest.questions = guest.questions.replace(old, new)
    with pytest.raises(LabError, match=rf"one .*cannot be a machine of the lab:[^$]*{reason}[^$]*THWLAB_BOX"):
        bring(given, guest)
    assert guest.sent == []


def test_one_whose_disk_is_too_small_is_told_before_it_is_full(make: Make, given: Supplies) -> None:
    guest = make()
    guest.free_mib = -1
    with pytest.raises(LabError, match=r"-1 MiB are free on its disk.*\n  remedy: a box with a larger disk"):
        bring(given, guest)
    assert guest.sent == []


@pytest.mark.parametrize(
    ("said", "meaning", "remedy"),
    [
        ("tar: opt/etcd: Cannot write: No space left on device", "disk is full", "larger disk"),
        ("Err: Temporary failure resolving 'archive.example'", "reaches no package archive", "cache folder"),
        ("modprobe: FATAL: Module overlay not found", "kernel lacks", "linux-image-amd64"),
        ("E: Could not get lock /var/lib/dpkg/lock-frontend", "another apt", "thwlab up once more"),
        ("E: Unable to locate package runc", "do not fit together", "thwlab artifacts gc"),
        ("sh: 1: exec: tar: not found", "neither tar nor gzip", "THWLAB_BOX"),
        ("something nobody knows", "", "thwlab shell one"),
    ],
)
def test_what_went_wrong_on_a_machine_is_explained(
    make: Make, given: Supplies, said: str, meaning: str, remedy: str
) -> None:
    guest = make()
    guest.instead = Result(1, b"furnish: packages, from the archive\n", said.encode())
    with pytest.raises(LabError) as raised:
        bring(given, guest)
    text = str(raised.value)
    assert "one: unpacking its programs exited 1 at: packages, from the archive" in text
    assert said in text
    assert meaning in text
    assert remedy in raised.value.remedy


def test_one_that_does_not_end_says_where_it_was(make: Make, given: Supplies) -> None:
    guest = make()
    guest.instead = Result(None, b"furnish: container images\n")
    with pytest.raises(LabError, match=r"did not end within 900s at: container images"):
        bring(given, guest)


def test_all_that_fail_are_told_together(make: Make, given: Supplies) -> None:
    one, two, three = make("a"), make("b"), make("c")
    one.instead = two.instead = Result(1, b"", b"no")
    with pytest.raises(ExceptionGroup) as raised:
        bring(given, one, two, three)
    assert len(raised.value.exceptions) == 2
    assert three.mark, "the third was not kept from its programs"
