"""A lab in the libvirtd that somebody runs already, of a plain box, with their network and VM beside it.

    sudo pytest tests/boxes/libvirtd_running.py

Everything is in namespaces of its own, which end with the proof: in them a libvirtd is the system's, and has
a pool, a network and a VM of somebody's.  `thwlab up --until etcd` and then `up` make a small lab of a box
that is Debian's packages and nothing of ours (`plain_box`), and `thwlab down` removes it; the daemon's own
listing before and after is compared.  Nothing is there but what this host's cache has.

It is run by hand: emulated it takes a quarter of an hour.  It wants root, vagrant-libvirt, QEMU, mmdebstrap,
apt's sources, and a cache that has the programs (`thwlab artifacts fetch`).
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import plain_box
import pytest
from support_said import around, verdicts
from support_tools import skip_without

from lab.artifacts.building import working_folder
from lab.artifacts.cache import Cache
from lab.providers.vagrant.libvirt.daemon import ARGV
from lab.providers.vagrant.libvirt.kvm import probe
from lab.providers.vagrant.libvirt.settings import MADE, OWN, Surroundings

ROOT = Path(__file__).parents[2]
TOOLS = "libvirtd virsh vagrant qemu-system-x86_64 qemu-img mkfs.ext4 mmdebstrap unshare".split()
ENCLOSED = "unshare --net --mount --pid --fork --kill-child --mount-proc".split()
NAME = "guest"
UP = "thwlab up --until etcd && thwlab up && thwlab status && thwlab kubectl get nodes"
ALL = 3600.0  # seconds, on emulated processors
NETWORK = """\
<network><name>mine</name><bridge name='mine0'/><ip address='10.77.0.1' netmask='255.255.255.0'/>
</network>
"""
DOMAIN = """\
<domain type='{kind}'><name>mine</name><memory unit='MiB'>64</memory><os><type>hvm</type></os><devices>
<disk type='volume' device='disk'>
<source pool='theirs' volume='mine.img'/><target dev='vda' bus='virtio'/></disk>
<interface type='network'><source network='mine'/></interface></devices></domain>
"""
POOL = "<pool type='dir'><name>theirs</name><target><path>{path}</path></target></pool>"
# What a user without KVM says; who has it needs no such file.
EMULATED = """\
Vagrant.configure("2") do |config|
  config.vm.provider "libvirt" do |libvirt|
    libvirt.driver = "qemu"
    libvirt.cpu_mode = "custom"
    libvirt.cpu_model = "qemu64"
  end
end
"""


def script(folder: Path) -> str:
    """What is done in there, with a word for each step.  Pure.

    Numbers of running VMs count up and are left out; the states of VMs and networks are listed.
    """
    return f"""\
set -u
v() {{ virsh -q "$@"; }}
listing() {{
    for kind in net-list pool-list; do v "$kind" --all | sed "s/^/$kind /;s/  */ /g"; done
    for vm in $(v list --all --name); do echo "vm $vm $(v domstate "$vm")"; done
    for pool in $(v pool-list --name); do v vol-list "$pool" | sed "s/^/volume /;s/  */ /g"; done
    ip -brief link | sed 's/[ @].*//;s/^/link /'
}}
thwlab() {{ {sys.executable} -m lab.cli --name {NAME} --provider vagrant:libvirt:running "$@"; }}
mount -t sysfs sysfs /sys; ip link set lo up
{" ".join(ARGV)} & daemon=$!
for try in $(seq 300); do v version --daemon >/dev/null 2>&1 && break; sleep 0.2; done
v version --daemon >/dev/null; echo "DAEMON $?"
cd {folder}
v pool-define pool.xml && v pool-start theirs && v vol-create-as theirs mine.img 1M &&
    v net-define mine.xml && v net-start mine && v define domain.xml && v start mine; echo "THEIRS $?"
v list --all; v net-list --all
cd {ROOT}
{around(UP, folder)}kill "$daemon"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The box, and what the daemon and its user have."""
    skip_without(TOOLS)
    with working_folder(tmp_path_factory.mktemp("host")) as work:
        plain_box.build(work)
        for name in (*(f"of/{each}" for each in (*OWN, *MADE)), "theirs"):
            (work / name).mkdir(parents=True, exist_ok=True)
        yield work


def surrounded(folder: Path) -> Surroundings:
    """A daemon that is the system's to whoever is in there with it, and what it reads."""
    found = probe()
    surroundings = Surroundings(folder / "of", None, found.works)
    for path, text in surroundings.files().items():
        path.write_text(text)
        path.chmod(0o755)
    kind = "kvm" if found.works else "qemu"
    (folder / "domain.xml").write_text(DOMAIN.format(kind=kind))
    (folder / "mine.xml").write_text(NETWORK)
    (folder / "pool.xml").write_text(POOL.format(path=folder / "theirs"))
    (folder / "emulated.rb").write_text("" if found.works else EMULATED)
    (folder / "script").write_text(script(folder))
    return surroundings


def environment(folder: Path) -> dict[str, str]:
    """This user's, with another home for Vagrant and the lab, and the box."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "HOME") if name in os.environ}
    return {
        **kept,
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LAB_CONFIG": str(ROOT / "docs/plans/small.yaml"),
        "LAB_VAGRANTFILE_MORE": str(folder / "emulated.rb"),
        "THWLAB_CACHE": str(Cache().root),
        "THWLAB_STATE": str(folder / "labs"),
        "THWLAB_BOX": plain_box.NAME,
        "THWLAB_BOX_URL": str(folder / "plain.box"),
        "LAB_BOOT_TIMEOUT": "900",
        "VAGRANT_HOME": str(folder / "vagrant.d"),
    }


def test_a_lab_of_a_plain_box_comes_and_goes_in_a_libvirtd_with_somebodys_things_in_it(folder: Path) -> None:
    inner = surrounded(folder).script(["bash", str(folder / "script")])
    limit = ["timeout", "-s", "KILL", f"{ALL:.0f}"]  # what it said until then is the verdict's
    argv = [*limit, *ENCLOSED, "bash", "-c", inner]
    log = folder / "said"
    with log.open("wb") as said:
        subprocess.run(argv, env=environment(folder), stdout=said, stderr=said, timeout=ALL + 60, check=False)
    text = log.read_text(errors="replace")
    assert verdicts(text) == [], text
