"""A libvirtd that somebody uses: its listing is the same before a lab and after it.

Where libvirtd is installed it is a real one, of an unprivileged user in a network namespace of its own, with
libvirt's own test driver in place of QEMU.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.providers.vagrant import shared
from lab.providers.vagrant.plan import Box, Project
from lab.providers.vagrant.virsh import NETWORK, POOL, Virsh
from lab.wait import NotYet, wait_until

BOX = "debian/bookworm64"
IMAGE = "debian-VAGRANTSLASH-bookworm64_vagrant_box_image_12.1_box.img"
NOBODY = "65534"
POOL_XML = "<pool type='dir'><name>{0}</name><target><path>/{0}</path></target></pool>"
NETWORK_XML = "<network><name>{0}</name><ip address='192.168.{1}.1' netmask='255.255.255.0'/></network>"
VOLUME_XML = "<volume><name>{0}</name><capacity>1048576</capacity>{1}</volume>"
LAYER_XML = "<backingStore><path>/{0}/{1}</path><format type='qcow2'/></backingStore>"
DOMAIN_XML = """<domain type='test'><name>{0}</name><memory>65536</memory><os><type>hvm</type></os><devices>
<disk type='file' device='disk'><source file='{1}'/><target dev='vda' bus='virtio'/></disk>
<interface type='network'><source network='{2}'/></interface></devices></domain>"""


class Libvirtd:
    """One that answers, by virsh; what Vagrant does at it is done here in the same way."""

    def __init__(self, uri: str, folder: Path) -> None:
        self.uri, self.folder = uri, folder
        self.virsh = Virsh(uri=uri)

    def says(self, *words: str) -> str:
        argv = ["virsh", "-q", "-c", self.uri, *words]
        return subprocess.run(argv, capture_output=True, text=True, timeout=20, check=True).stdout

    def defines(self, verb: str, xml: str, *words: str) -> None:
        path = self.folder / "xml"
        path.write_text(xml)
        self.says(verb, *words[:1], str(path), *words[1:])

    def pool(self, name: str) -> None:
        self.defines("pool-define", POOL_XML.format(name))
        self.says("pool-start", name)

    def network(self, name: str, number: int, *, runs: bool = True) -> None:
        self.defines("net-define", NETWORK_XML.format(name, number))
        if runs:
            self.says("net-start", name)

    def volume(self, pool: str, name: str, over: str = "") -> None:
        layer = LAYER_XML.format(pool, over) if over else ""
        self.defines("vol-create", VOLUME_XML.format(name, layer), pool)

    def domain(self, name: str, disk: str, network: str) -> None:
        self.defines("define", DOMAIN_XML.format(name, disk, network))

    def listing(self) -> list[str]:
        """All of everybody's, as virsh has it; numbers of running VMs count up and are left out."""
        pools = self.says("pool-list", "--all", "--name").split()
        told = [self.says(each, "--all") for each in ("pool-list", "net-list")]
        told += [self.says("list", "--all", "--name")]
        told += [self.says("vol-list", pool) for pool in pools]
        return sorted(" ".join(line.split()) for text in told for line in text.splitlines() if line.strip())

    def brings(self, lab: str) -> None:
        """As vagrant-libvirt does for one VM of a lab, where it finds nothing."""
        if POOL not in self.says("pool-list", "--all", "--name").split():
            self.pool(POOL)
        if IMAGE not in self.says("vol-list", POOL):
            self.volume(POOL, IMAGE)
        if NETWORK not in self.says("net-list", "--all", "--name").split():
            self.network(NETWORK, 121)
        elif NETWORK not in self.says("net-list", "--name").split():
            self.says("net-start", NETWORK)
        self.volume(POOL, f"thwlab_{lab}_a.img", over=IMAGE)
        self.domain(f"thwlab_{lab}_a", f"/{POOL}/thwlab_{lab}_a.img", NETWORK)

    def loses(self, lab: str) -> None:
        """What goes by the lab's own names."""
        self.says("undefine", f"thwlab_{lab}_a")
        self.says("vol-delete", f"thwlab_{lab}_a.img", "--pool", POOL)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Libvirtd]:
    """A libvirtd of nobody's."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("libvirtd", "virsh", "unshare", "setpriv"))):
        pytest.skip("root and libvirtd are needed")
    folder = Path("/tmp") / f"thwlab-test-{os.getpid()}"  # its socket's path must be short
    folder.mkdir()
    shutil.chown(folder, int(NOBODY), int(NOBODY))
    private = {"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder), "PATH": os.environ["PATH"]}
    argv = ["unshare", "--net", "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    argv += ["--pdeathsig", "TERM", shutil.which("libvirtd") or ""]
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen(argv, env=private, stdout=log, stderr=log)
    uri = f"test+unix:///default?socket={folder}/libvirt/libvirt-sock"
    made = Libvirtd(uri, tmp_path_factory.mktemp("of"))
    try:
        wait_until("libvirtd to answer", lambda: check_answers(made), timeout=30, every=0.1)
        yield made
    finally:
        running.terminate()
        running.wait(timeout=20)
        shutil.rmtree(folder)


@pytest.fixture
def libvirtd(daemon: Libvirtd) -> Iterator[Libvirtd]:
    """The daemon with somebody's pool, volume, network and VM in it, and nothing of another test's.

    libvirt's test driver remembers only as long as it has a client: the one that stays defines the pool
    itself, so a pool that others see is the proof that it is there.
    """
    shell = ["virsh", "-q", "-c", daemon.uri]
    first = daemon.folder / "first.xml"
    first.write_text(POOL_XML.format("mine"))
    held = subprocess.Popen(shell, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        assert held.stdin
        held.stdin.write(f"pool-define {first}\n")
        held.stdin.flush()
        wait_until("a client to stay", lambda: check_remembers(daemon), timeout=30, every=0.1)
        daemon.says("pool-start", "mine")
        daemon.volume("mine", "my disk.img")
        daemon.network("mine", 77)
        daemon.domain("my vm", "/mine/my disk.img", "mine")
        yield daemon
    finally:
        held.terminate()
        held.wait(timeout=20)
        wait_until("libvirtd to forget", lambda: check_forgot(daemon), timeout=30, every=0.1)


def check_answers(made: Libvirtd) -> None:
    try:
        made.says("version")
    except subprocess.CalledProcessError as error:
        raise NotYet(error.stderr) from error


def check_remembers(made: Libvirtd) -> None:
    if "mine" not in made.says("pool-list", "--all", "--name"):
        raise NotYet("it has not made its pool")


def check_forgot(made: Libvirtd) -> None:
    if "mine" in made.says("pool-list", "--all", "--name"):
        raise NotYet("it remembers the pool")


@pytest.fixture
def lab(tmp_path: Path) -> Callable[[str], Project]:
    def project(name: str) -> Project:
        made = Project(name, tmp_path / name / "vagrant", "libvirt", Box(BOX))
        made.folder.mkdir(parents=True, exist_ok=True)
        return made

    return project


Labs = Callable[[str], Project]


def test_what_the_lab_brought_goes_and_what_is_somebodys_stays(libvirtd: Libvirtd, lab: Labs) -> None:
    before = libvirtd.listing()
    assert any("my vm" in line for line in before)
    shared.note(lab("thw"), libvirtd.virsh)
    libvirtd.brings("thw")
    libvirtd.loses("thw")
    assert libvirtd.listing() != before, "a pool, a volume and a network are left"
    assert shared.remove_brought(lab("thw"), libvirtd.virsh) == []
    assert libvirtd.listing() == before


def test_what_was_there_before_stays_as_it_was(libvirtd: Libvirtd, lab: Labs) -> None:
    """Somebody has used Vagrant before: no VM of theirs is there, and their network did not run."""
    libvirtd.pool(POOL)
    libvirtd.volume(POOL, IMAGE)
    libvirtd.network(NETWORK, 121, runs=False)
    before = libvirtd.listing()
    shared.note(lab("thw"), libvirtd.virsh)
    libvirtd.brings("thw")
    assert libvirtd.listing() != before
    libvirtd.loses("thw")
    assert shared.remove_brought(lab("thw"), libvirtd.virsh) == []
    assert libvirtd.listing() == before


def test_what_somebody_uses_since_stays(libvirtd: Libvirtd, lab: Labs) -> None:
    """A VM that is off needs its network and its disk too."""
    shared.note(lab("thw"), libvirtd.virsh)
    libvirtd.brings("thw")
    libvirtd.volume(POOL, "theirs.img", over=IMAGE)
    libvirtd.domain("theirs", f"/{POOL}/theirs.img", NETWORK)
    libvirtd.loses("thw")
    before = libvirtd.listing()
    left = shared.remove_brought(lab("thw"), libvirtd.virsh)
    assert left == [f"volume {POOL}/{IMAGE}", f"pool {POOL}", f"running {NETWORK}", f"network {NETWORK}"]
    assert libvirtd.listing() == before


def test_of_two_labs_the_last_takes_it_along(libvirtd: Libvirtd, lab: Labs) -> None:
    before = libvirtd.listing()
    for name in ("one", "two"):
        shared.note(lab(name), libvirtd.virsh)
        libvirtd.brings(name)
    for name in ("one", "two"):
        libvirtd.loses(name)
        shared.remove_brought(lab(name), libvirtd.virsh)
        shutil.rmtree(lab(name).folder)
    assert libvirtd.listing() == before


def test_what_another_lab_found_there_is_left_to_it_though_nothing_of_it_shows_yet(
    libvirtd: Libvirtd, lab: Labs
) -> None:
    """Its Vagrant may just have found the box's disk, and lay its own over it next."""
    before = libvirtd.listing()
    shared.note(lab("one"), libvirtd.virsh)
    libvirtd.brings("one")
    shared.note(lab("two"), libvirtd.virsh)
    libvirtd.loses("one")
    brought = libvirtd.listing()
    assert f"volume {POOL}/{IMAGE}" in shared.remove_brought(lab("one"), libvirtd.virsh)
    assert libvirtd.listing() == brought
    shutil.rmtree(lab("one").folder)
    libvirtd.brings("two")
    libvirtd.loses("two")
    assert shared.remove_brought(lab("two"), libvirtd.virsh) == []
    assert libvirtd.listing() == before


def test_a_lab_that_noted_nothing_removes_nothing(libvirtd: Libvirtd, lab: Labs) -> None:
    libvirtd.brings("thw")
    libvirtd.loses("thw")
    before = libvirtd.listing()
    assert shared.remove_brought(lab("thw"), libvirtd.virsh) == []
    assert libvirtd.listing() == before
