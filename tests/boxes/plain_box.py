"""A plain box for libvirt, as anybody might have one: Debian's packages, its own boot loader, nothing else.

    sudo python tests/boxes/plain_box.py FOLDER

It is for the proof that a lab can be made of such a box: GRUB from the disk, Debian's cloud kernel without an
argument of ours, networkd with DHCP, OpenSSH, and the user `vagrant` with the key that everybody knows.
"""

import struct
import sys
import uuid
from pathlib import Path

from lab.artifacts.building import run, working_folder
from lab.artifacts.debian import bootstrap, debian_suite
from lab.artifacts.diskimage import pack, write_filesystem

PACKAGES = (
    "linux-image-cloud-amd64 initramfs-tools grub-common grub-pc-bin systemd systemd-sysv dbus udev kmod "
    "iproute2 openssh-server sudo ca-certificates procps"
).split()
GRUB_MODULES = "biosdisk part_msdos ext2 normal linux search search_fs_uuid configfile".split()
GIB = 16
SECTOR = 512
FIRST = 2048  # sectors before the one partition, where the boot loader lies
LINUX = 0x83
NAME = "plain/debian"
NETWORK = "[Match]\nName=en* eth*\n\n[Network]\nDHCP=ipv4\n"
GRUB = """\
search --no-floppy --fs-uuid --set=root {uuid}
linux /boot/{kernel} root=UUID={uuid} ro quiet
initrd /boot/{initrd}
boot
"""
KEY = next(Path("/usr/share").glob("**/vagrant*/keys/vagrant.pub"), None)


def build(folder: Path) -> Path:
    """The box in this folder, made anew; needs root."""
    folder.mkdir(parents=True, exist_ok=True)
    with working_folder(folder) as work:
        run(*bootstrap(debian_suite(), work / "base.tar", PACKAGES, {}), timeout=1800)
        root = work / "root"
        root.mkdir()
        run("tar", "-xpf", str(work / "base.tar"), "-C", str(root), "--numeric-owner", "--exclude=./dev/*")
        identity = str(uuid.uuid4())
        settle(root, identity)
        core = boot_loader(root, identity)
        disk = work / "disk.raw"
        write_filesystem(root, disk, GIB, offset=FIRST * SECTOR, uuid=identity)
        write_boot(disk, (root / "usr/lib/grub/i386-pc/boot.img").read_bytes(), core)
        run("qemu-img", "convert", "-O", "qcow2", str(disk), str(work / "box.img"))
        pack(work / "box.img", work / "plain.box", GIB)
        (work / "plain.box").rename(folder / "plain.box")
    return folder / "plain.box"


def settle(root: Path, identity: str) -> None:
    """What an installer asks: host name, file systems, network, a user."""
    texts = {
        "etc/hostname": "debian\n",
        "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 debian\n",
        "etc/fstab": f"UUID={identity} / ext4 defaults 0 1\n",
        "etc/machine-id": "",
        "etc/systemd/network/80-dhcp.network": NETWORK,
        "etc/sudoers.d/vagrant": "vagrant ALL=(ALL) NOPASSWD: ALL\n",
    }
    for name, text in texts.items():
        (root / name).unlink(missing_ok=True)
        (root / name).write_text(text)
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    (root / "etc/resolv.conf").write_text("")
    wanted = root / "etc/systemd/system/multi-user.target.wants"
    wanted.mkdir(parents=True, exist_ok=True)
    (wanted / "systemd-networkd.service").symlink_to("/lib/systemd/system/systemd-networkd.service")
    run("chroot", str(root), "useradd", "-m", "-s", "/bin/bash", "vagrant")
    ssh = root / "home/vagrant/.ssh"
    ssh.mkdir(mode=0o700)
    assert KEY is not None, "vagrant's insecure public key is not on this host"
    (ssh / "authorized_keys").write_text(KEY.read_text())
    run("chroot", str(root), "chown", "-R", "vagrant:vagrant", "/home/vagrant/.ssh")


def boot_loader(root: Path, identity: str) -> bytes:
    """GRUB for the sectors before the partition, with the modules it needs to read the rest there."""
    (kernel,) = (root / "boot").glob("vmlinuz-*")
    (initrd,) = (root / "boot").glob("initrd.img-*")
    (root / "boot/grub").mkdir(exist_ok=True)
    config = GRUB.format(uuid=identity, kernel=kernel.name, initrd=initrd.name)
    (root / "boot/grub/grub.cfg").write_text(config)
    argv = ["grub-mkimage", "-O", "i386-pc", "-o", "/boot/grub/core.img", "-p", "(hd0,msdos1)/boot/grub"]
    run("chroot", str(root), *argv, *GRUB_MODULES)
    return (root / "boot/grub/core.img").read_bytes()


def write_boot(disk: Path, boot: bytes, core: bytes) -> None:
    """The master boot record, with one partition, and GRUB behind it; as grub-bios-setup would."""
    assert len(core) <= (FIRST - 1) * SECTOR
    assert struct.unpack_from("<Q", boot, 0x5C) == (1,), "boot.img looks for its second part elsewhere"
    length = disk.stat().st_size // SECTOR - FIRST
    anywhere = b"\xfe\xff\xff"  # too far for heads and cylinders
    entry = b"\x80" + anywhere + bytes([LINUX]) + anywhere + struct.pack("<II", FIRST, length)
    record = boot[:440] + b"thwl\0\0" + entry.ljust(64, b"\0") + b"\x55\xaa"
    with disk.open("r+b") as file:
        file.write(record)
        file.seek(SECTOR)
        file.write(core)


if __name__ == "__main__":
    made = build(Path(sys.argv[1]))
    sys.stdout.write(f"export THWLAB_BOX={NAME} THWLAB_BOX_URL={made.absolute()}\n")
