"""The disk of Incus' and LXD's VMs boots, by UEFI and in software, with a stand-in for their agent.

    sudo pytest tests/boxes/boots_vmdisk.py

It is run by hand: it takes minutes, and wants root, QEMU, OVMF, the programs that write disks, and in the
cache the base of such a VM and the programs (`thwlab --provider incus-vm artifacts fetch --image`).
"""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from support_tools import skip_without

from lab.artifacts import vmdisk
from lab.artifacts.cache import Cache
from lab.artifacts.debian import debian_suite
from lab.artifacts.fetch import fetch
from lab.artifacts.rootfs import base_name
from lab.errors import LabError
from lab.plan import load_topology
from lab.providers.incus import description
from lab.providers.incus.image import METADATA
from lab.wait import NotYet, wait_until

OVMF = Path("/usr/share/OVMF")
TOOLS = ("qemu-system-x86_64", "qemu-img", "mkfs.ext4", "sgdisk", "mformat", "mcopy")
BOOT, END = 600.0, 180.0  # seconds, on an emulated processor
NODE = "k8s-worker1"
PROMPT = b"(qemu)"
NETWORK_FILE = "/etc/systemd/network/10-eth0.network"
# What both agents do as far as the image has a part in it: files first, then ready, then they report.
AGENT = """\
#!/bin/sh
cd /run/incus_agent || exit 1
cp files/10-eth0.network /etc/systemd/network/
systemd-notify READY=1
exec >/dev/virtio-ports/org.linuxcontainers.incus 2>&1
echo STARTED
until ip -4 -o addr show to ADDRESS | grep -q . && systemctl -q is-active multi-user.target; do sleep 1; done
ip -4 -br addr show dev eth0
ls -d /sys/module/vsock /sys/module/vmw_vsock_virtio_transport
systemctl is-active thwlab-agent systemd-networkd systemd-logind
systemctl --failed --no-legend | sed 's/^/FAILED /'
echo SAID
exec sleep infinity
"""


@dataclass(frozen=True)
class Emulated:
    """A VM, and the files of this host's that it writes to."""

    process: subprocess.Popen[bytes]
    console: Path
    port: Path
    monitor: Path

    def press_power_button(self) -> None:
        """As a daemon does that wants it to shut down."""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(30)
            monitor.connect(str(self.monitor))
            prompts = iter(lambda: monitor.recv(4096), b"")
            next(said for said in prompts if PROMPT in said)
            monitor.sendall(b"system_powerdown\n")
            next(said for said in prompts if PROMPT in said)  # QEMU drops what a closed monitor has not read

    def await_text(self, path: Path, text: str, timeout: float) -> str:
        """The file, once this is in it."""

        def look() -> str:
            said = written(path)
            if text in said:
                return said
            last = written(self.console)[-1500:]
            if self.process.poll() is not None:
                raise LabError(f"QEMU exited {self.process.returncode}: {last}")
            raise NotYet(last)

        return wait_until(f"{text!r} in {path.name}", look, timeout=timeout, every=1, exactly=True)


def written(path: Path) -> str:
    """What QEMU wrote to the file so far."""
    return path.read_bytes().decode(errors="replace") if path.exists() else ""


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built anew in a folder of its own; of the cache only base and programs are used."""
    skip_without(TOOLS)
    if not (OVMF / "OVMF_CODE.fd").exists():
        pytest.skip("ovmf is not installed")
    cache, versions, own = Cache(), load_topology().versions, tmp_path_factory.mktemp("cache")
    base = cache.root / "bases" / base_name(debian_suite(), vmdisk.VM)
    if not base.exists():
        pytest.skip(f"there is no {base}")
    try:
        programs = fetch(versions, cache, offline=True)
    except LabError as error:
        pytest.skip(str(error))
    (own / "bases").mkdir()
    (own / "bases" / base.name).symlink_to(base)
    return vmdisk.build_disk(own, programs, versions)


@pytest.fixture(scope="module")
def layer(disk: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the VM writes to; the disk stays as it was built."""
    return layer_over(disk, tmp_path_factory.mktemp("vm") / "layer.qcow2")


def layer_over(disk: Path, path: Path) -> Path:
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(disk), str(path)]
    subprocess.run(argv, check=True, timeout=60)
    return path


def in_root(raw: Path, path: str) -> str:
    """A file of the root on the disk."""
    argv = ["debugfs", "-R", f"cat {path}", f"{raw}?offset={vmdisk.ROOT_AT}"]
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout


@contextmanager
def booted(layer: Path, folder: Path, share: Path | None, daemon: str = "incus") -> Iterator[Emulated]:
    """As a daemon starts it: q35, UEFI, virtio-scsi, a serial port, and the port and share of the agent's."""
    shutil.copyfile(OVMF / "OVMF_VARS.fd", folder / "vars.fd")
    vm = [
        "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-machine", "q35", "-cpu", "max",
        "-smp", "2", "-m", "1024", "-nodefaults", "-no-user-config", "-display", "none",
        "-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={OVMF / 'OVMF_CODE.fd'}",
        "-drive", f"if=pflash,unit=1,format=raw,file={folder / 'vars.fd'}",
        "-device", "virtio-scsi-pci", "-device", "scsi-hd,drive=root",
        "-drive", f"if=none,id=root,format=qcow2,cache=unsafe,file={layer}",
        "-serial", f"file:{folder / 'console'}", "-monitor", f"unix:{folder / 'monitor'},server=on,wait=off",
        "-nic", "user,restrict=on,model=virtio-net-pci", "-device", "virtio-rng-pci",
        "-device", "virtio-serial-pci", "-chardev", f"file,id=agent,path={folder / 'port'}",
        "-device", f"virtserialport,chardev=agent,name=org.linuxcontainers.{daemon}",
    ]  # fmt: skip
    offered = f"local,path={share},mount_tag=config,security_model=none,readonly=on"
    vm += ["-virtfs", offered] if share else []
    with (folder / "qemu.log").open("wb") as log:
        process = subprocess.Popen(vm, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield Emulated(process, folder / "console", folder / "port", folder / "monitor")
    finally:
        process.kill()
        process.wait(timeout=30)


@pytest.fixture
def lxd_share(tmp_path: Path) -> Path:
    """The daemon's share as LXD fills it: its agent, the image's templates as they came out, certificates."""
    if not (agent := shutil.which("lxd-agent")):
        pytest.skip("lxd-agent is not installed")
    plan, share = load_topology(), tmp_path / "share"
    config = description.vm_of(plan, plan.node(NODE), "f00", vmdisk.SIZE_GIB)["config"]
    (share / "files").mkdir(parents=True)
    (share / "files/metadata.yaml").write_text(METADATA.format(architecture="x86_64"))
    (share / "files/network.tpl.out").write_text(config["user.thwlab.network"])
    (share / "files/hostname.tpl.out").write_text(f"{NODE}\n")
    shutil.copy(agent, share / "lxd-agent")
    for name in ("agent", "server"):
        pair = ["-keyout", f"{share}/{name}.key", "-out", f"{share}/{name}.crt", "-subj", f"/CN={name}"]
        argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        subprocess.run([*argv, *pair], check=True, capture_output=True, timeout=60)
    return share


@pytest.fixture
def share(tmp_path: Path) -> Path:
    """The daemon's share, with the stand-in and the planned network file."""
    plan = load_topology()
    node = plan.node(NODE)
    config = description.vm_of(plan, node, "f00", vmdisk.SIZE_GIB)["config"]
    (tmp_path / "share/files").mkdir(parents=True)
    (tmp_path / "share/files/10-eth0.network").write_text(config["user.thwlab.network"])
    agent = tmp_path / "share/incus-agent"
    agent.write_text(AGENT.replace("ADDRESS", str(node.address)))
    agent.chmod(0o755)
    return tmp_path / "share"


def test_it_boots_becomes_the_agent_has_its_address_and_heeds_the_power_button(
    layer: Path, share: Path, tmp_path: Path
) -> None:
    with booted(layer, tmp_path, share) as vm:
        said = vm.await_text(vm.port, "SAID", BOOT)
        assert f"{load_topology().node(NODE).address}/24" in said
        assert said.count("\nactive") == 3, said
        assert "/sys/module/vmw_vsock_virtio_transport" in said
        assert "FAILED" not in said
        vm.press_power_button()
        assert vm.process.wait(timeout=END) == 0
    assert "Power down" in written(vm.console)


def test_debians_own_agent_of_lxd_begins_and_writes_the_files_of_our_templates(
    disk: Path, lxd_share: Path, tmp_path: Path
) -> None:
    own = layer_over(disk, tmp_path / "layer.qcow2")
    with booted(own, tmp_path, lxd_share, "lxd") as vm:
        vm.await_text(vm.port, "STARTED", BOOT)
        vm.await_text(vm.console, "Multi-User", BOOT)
        vm.press_power_button()
        assert vm.process.wait(timeout=END) == 0
    raw = tmp_path / "disk.raw"
    subprocess.run(["qemu-img", "convert", "-O", "raw", own, raw], check=True, timeout=300)
    assert in_root(raw, "/etc/hostname") == f"{NODE}\n"
    assert f"Address={load_topology().node(NODE).address}/24" in in_root(raw, NETWORK_FILE)


def test_without_a_share_it_boots_all_the_same_and_says_on_its_console_what_it_lacks(
    layer: Path, tmp_path: Path
) -> None:
    with booted(layer, tmp_path, None) as vm:
        vm.await_text(vm.console, "no share named config", BOOT)
        vm.await_text(vm.console, "multi-user.target", BOOT)
