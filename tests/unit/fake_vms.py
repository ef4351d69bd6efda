"""Vagrant, VBoxManage, VBoxHeadless and virsh as one pretended host whose VMs have states.

`install` puts them into a folder for PATH.  Each refuses what the real one refuses in that state, in its
words; all calls are written down in order.  VirtualBox's two programs are in `fake_virtualbox`.
"""

import fcntl
import json
import os
import stat
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fake_virtualbox import Refusal, headless, new_vm, vbox

PROGRAMS = ("vagrant", "VBoxManage", "VBoxHeadless", "virsh")
SHIM = """\
#!{python} -IS
import sys
sys.path.insert(0, {here!r})
import fake_vms
sys.exit(fake_vms.main({world!r}))
"""
INTERFACES = """\
 vnet0   network   vagrant-libvirt   virtio   52:54:00:aa:00:01
 -       network   {net}             virtio   52:54:00:aa:00:02

"""
BOX_IMAGE = "debian-VAGRANTSLASH-bookworm64_vagrant_box_image_12.1_box.img"
DOMAIN_XML = """\
<domain type='qemu' id='1'>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='none'/>
      <target dev='vdb' bus='virtio'/>
    </disk>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='unsafe'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <disk type='file' device='cdrom'>
      <target dev='sda' bus='sata'/>
    </disk>
  </devices>
</domain>

"""
VIRSH_STATES = {"start": "running", "resume": "running", "suspend": "paused", "destroy": "poweroff"}


class World:
    """What the test sees of the pretended host."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "world.json"
        self.bin = folder / "bin"
        self.before: Callable[[Mapping[str, Any]], None] = lambda _: None  # is told what is about to be so

    def install(self, **facts: Any) -> "World":
        self.bin.mkdir(parents=True)
        self.save({"vms": {}, "fail": {}, "ssh": {}, **facts})
        here = str(Path(__file__).parent)
        for name in PROGRAMS:
            path = self.bin / name
            path.write_text(SHIM.format(python=sys.executable, here=here, world=str(self.file)))
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return self

    @property
    def calls(self) -> list[list[str]]:
        log = self.folder / "calls"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    @property
    def vms(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = self.load()["vms"]
        return found

    def note(self, argv: Sequence[str]) -> None:
        with (self.folder / "calls").open("a") as log:
            log.write(json.dumps(list(argv)) + "\n")

    def forget_calls(self) -> None:
        (self.folder / "calls").unlink(missing_ok=True)

    def load(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.file.read_text())
        return found

    def save(self, facts: Mapping[str, Any]) -> None:
        self.before(facts)
        part = self.file.with_suffix(f".{id(facts)}.part")
        part.write_text(json.dumps(facts))
        part.replace(self.file)

    def change(self, **facts: Any) -> None:
        self.save({**self.load(), **facts})

    @contextmanager
    def locked(self) -> Iterator[dict[str, Any]]:
        """The facts, to be changed while no program of the pretended host's works."""
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            facts = self.load()
            yield facts
            self.save(facts)

    def fail(self, words: str, said: str = "it broke") -> None:
        """Let calls whose arguments contain these words fail."""
        facts = self.load()
        facts["fail"][words] = said
        self.save(facts)


def main(file: str) -> int:
    """As a program of its own."""
    status, out, err = answer(World(Path(file).parent), [Path(sys.argv[0]).name, *sys.argv[1:]], os.environ)
    sys.stdout.write(out)
    sys.stderr.write(err)
    return status


def answer(world: World, argv: Sequence[str], env: Mapping[str, str]) -> tuple[int, str, str]:
    """Status, output and errors of one call; one at a time, whoever calls."""
    line = " ".join(argv)
    world.note(argv)
    with (world.folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        facts = world.load()
        try:
            for words, said in facts["fail"].items():
                if words in line:
                    raise Refusal(said)
            out = ACTS[argv[0]](facts, list(argv[1:]), env)
        except Refusal as error:
            world.save(facts)
            return 1, error.out, f"{error.err}\n" if error.err else ""
        world.save(facts)
    return 0, out, ""


def vagrant(facts: dict[str, Any], argv: list[str], env: Mapping[str, str]) -> str:
    if argv[0] == "--version":
        return f"Vagrant {facts.get('vagrant', '2.3.4')}\n"
    if argv[0] == "plugin":
        plugins = facts.get("plugins", {"vagrant-libvirt": "0.11.2"})
        return "".join(f"1,,plugin-name,{n}\n1,{n},plugin-version,{v}\n" for n, v in plugins.items())
    if argv[:2] == ["box", "list"]:
        boxes = facts.get("boxes", {})
        return "".join(f"1,,box-name,{n}\n1,,box-provider,{p}\n1,,box-version,0\n" for n, p in boxes.items())
    if argv[:2] == ["box", "add"]:
        return "added\n"
    dot, prefix = Path(env["VAGRANT_DOTFILE_PATH"]), env["LAB_PREFIX"]
    plan = json.loads(Path(env["LAB_CONFIG"]).read_text())
    provider = env["VAGRANT_DEFAULT_PROVIDER"]
    names = [word for word in argv[1:] if word in plan["machines"]] or list(plan["machines"])
    if argv[0] == "up":
        for name in names:
            if prefix + name in facts["vms"]:
                raise Refusal(f"A VirtualBox machine with the name '{prefix}{name}' already exists.")
            if name == facts.get("breaks"):
                facts["vms"][prefix + name] = new_vm()
                raise Refusal("Timed out while waiting for the machine to boot. This means that")
            identity = dot / "machines" / name / provider / "id"
            identity.parent.mkdir(parents=True)
            identity.write_text(name)
            if provider == "libvirt":
                _make_beside(facts, prefix, name)
            facts["vms"][prefix + name] = new_vm()
        if provider == "virtualbox" and "nets" in facts:
            if "192.168.100.0" not in facts["nets"].values():
                facts["nets"][f"vagrantnet-vbox{len(facts['nets']) + 1}"] = "192.168.100.0"
        elif provider == "virtualbox" and "192.168.100.1" not in facts["networks"].values():
            facts["networks"]["vboxnet7"] = "192.168.100.1"
        return "up\n"
    if argv[0] == "ssh-config":
        return "".join(
            f"Host {name}\n  HostName {facts['ssh']['host']}\n  User {facts['ssh']['user']}\n"
            f"  Port {facts['ssh']['port']}\n  IdentityFile {facts['ssh']['key']}\n\n"
            for name in names
        )
    if argv[0] == "destroy":
        for name in names:
            identity = dot / "machines" / name / provider / "id"
            if identity.exists():
                identity.unlink()
                identity.parent.rmdir()
                identity.parent.parent.rmdir()
                facts["vms"].pop(prefix + name, None)
                facts.get("volumes", {}).pop(f"{prefix}{name}.img", None)
        if provider == "libvirt" and not any(name.startswith(prefix) for name in facts["vms"]):
            facts.get("nets_of_libvirt", {}).pop(f"{prefix}net", None)
        return "destroyed\n"
    raise Refusal(f"no such command: {argv}")


def _make_beside(facts: dict[str, Any], prefix: str, name: str) -> None:
    """As vagrant-libvirt does before it makes the domain."""
    volumes = facts.setdefault("volumes", {})
    if f"{prefix}{name}.img" in volumes:
        raise Refusal("Volume for domain is already created. Please run 'vagrant destroy' first.")
    volumes[f"{prefix}{name}.img"] = "default"
    nets = facts.setdefault("nets_of_libvirt", {})
    nets[f"{prefix}net"] = "active"
    if facts.get("unused"):  # nobody used Vagrant here before
        volumes[BOX_IMAGE] = "default"
        nets["vagrant-libvirt"] = "active"


def _delete_volume(facts: dict[str, Any], words: list[str]) -> str:
    if facts["volumes"].get(words[0]) != words[words.index("--pool") + 1]:
        raise Refusal(f"error: failed to get vol '{words[0]}'")
    if words[0].removesuffix(".img") in facts["vms"]:
        raise Refusal(f"error: Failed to delete vol {words[0]}: it is in use")
    del facts["volumes"][words[0]]
    return f"Vol {words[0]} deleted\n\n"


def _networks(facts: dict[str, Any]) -> dict[str, str]:
    """With the one for SSH, unless nobody used Vagrant here before."""
    before = {} if facts.get("unused") else {"vagrant-libvirt": "active"}
    return {**before, **facts.get("nets_of_libvirt", {})}


def _network_of(domain: str) -> str:
    return f"{domain.rpartition('_')[0]}_net"


def _insist_networks(facts: dict[str, Any], domain: str) -> None:
    for name in ("vagrant-libvirt", _network_of(domain)):
        if _networks(facts).get(name) != "active":
            raise Refusal(f"error: Requested operation is not valid: network '{name}' is not active")


def _tell_network(facts: dict[str, Any], words: list[str]) -> str:
    number = list(_networks(facts)).index(words[0])
    return f"Name:           {words[0]}\nActive:         yes\nBridge:         virbr{number}\n\n"


def _start_network(facts: dict[str, Any], words: list[str]) -> str:
    if words[0] not in _networks(facts):
        raise Refusal(f"error: failed to get network '{words[0]}'")
    if _networks(facts)[words[0]] == "active":
        raise Refusal("error: Requested operation is not valid: network is already active")
    facts["nets_of_libvirt"][words[0]] = "active"
    return ""


def _list_networks(facts: dict[str, Any], words: list[str]) -> str:
    there = _networks(facts)
    return "".join(f"{n}\n" for n, state in there.items() if "--all" in words or state == "active") + "\n"


def _end_network(facts: dict[str, Any], words: list[str]) -> str:
    if facts["nets_of_libvirt"][words[0]] != "active":
        raise Refusal("error: Requested operation is not valid: network is not active")
    facts["nets_of_libvirt"][words[0]] = "inactive"
    return ""


def _undefine_network(facts: dict[str, Any], words: list[str]) -> str:
    del facts["nets_of_libvirt"][words[0]]
    return ""


def _list_volumes(facts: dict[str, Any], words: list[str]) -> str:
    """As virsh 9.0 has it, with -q; padded to the longest."""
    mine = [name for name, pool in facts.get("volumes", {}).items() if pool == words[0]]
    width = max(map(len, mine), default=0)
    return "".join(f" {name:{width}}   /var/lib/libvirt/images/{name}\n" for name in mine) + "\n"


BESIDE = {
    "dumpxml": lambda facts, words: DOMAIN_XML.replace("<devices>", f"<name>{words[0]}</name><devices>"),
    "vol-path": lambda facts, words: f"/var/lib/libvirt/images/{words[0]}\n",
    "vol-dumpxml": lambda facts, words: f"<volume><name>{words[0]}</name></volume>\n",
    "pool-list": lambda facts, _: "".join(
        f"{pool:20}\n" for pool in sorted({"default", *facts.get("volumes", {}).values()})
    ),
    "vol-list": _list_volumes,
    "vol-delete": _delete_volume,
    "net-list": _list_networks,
    "net-info": _tell_network,
    "net-start": _start_network,
    "net-destroy": _end_network,
    "net-undefine": _undefine_network,
}


def _row(number: int, name: str, state: str, *, tells_saved: bool) -> str:
    """As virsh 9.0 has it, tried with its driver `test:///default`."""
    if state in ("poweroff", "saved"):
        return f" -   {name}   {'saved' if tells_saved and state == 'saved' else 'shut off'}\n"
    return f" {number}   {name}   {state}\n"


def virsh(facts: dict[str, Any], argv: list[str], _: Mapping[str, str]) -> str:
    words = argv[argv.index("-c") + 2 :]
    if words[0] == "list" and "--name" in words:
        return "\n".join(facts["vms"]) + "\n\n"
    if words[0] == "list":
        listed = enumerate(facts["vms"].items(), 1)
        told = "--managed-save" in words
        rows = (_row(number, name, vm["state"], tells_saved=told) for number, (name, vm) in listed)
        return "".join(rows) + "\n"
    if words[0] in BESIDE:
        return BESIDE[words[0]](facts, words[1:])
    if words[1] not in facts["vms"]:
        raise Refusal(f"error: failed to get domain '{words[1]}'")
    vm = facts["vms"][words[1]]
    if words[0] == "domiflist":
        return INTERFACES.format(net=_network_of(words[1]))
    if words[0] == "domif-setlink":
        vm["cables"][words[2]] = words[3]
    if words[0] == "domif-getlink":
        return f"{words[2]} {vm['cables'].get(words[2], 'up')}\n"
    if words[0] in ("start", "snapshot-revert"):
        _insist_networks(facts, words[1])
    if words[0] == "start":
        vm["cables"].clear()
    if words[0] in ("start", "destroy", "suspend", "resume"):
        if words[0] == "destroy" and vm["state"] in ("poweroff", "saved"):
            raise Refusal("error: Requested operation is not valid: domain is not running")
        vm["state"] = VIRSH_STATES[words[0]]
    if words[0] == "snapshot-create-as":
        vm["snapshots"][words[2]] = {"at": "2026-08-01 12:00:00 +0200", "state": vm["state"]}
    if words[0] == "snapshot-list":
        return "".join(f" {n}   {s['at']}   {s['state']}\n" for n, s in vm["snapshots"].items()) + "\n"
    if words[0] == "snapshot-revert":
        vm["state"] = "paused" if "--paused" in words else "running"
    if words[0] == "snapshot-delete":
        del vm["snapshots"][words[2]]
    if words[0] == "undefine":
        if vm["state"] == "saved" and "--managed-save" not in words:
            raise Refusal("error: Refusing to undefine while domain managed save image exists")
        if "--storage" in words:
            facts.get("volumes", {}).pop(f"{words[1]}.img", None)
        if vm["snapshots"] and "--snapshots-metadata" not in words:
            raise Refusal(f"error: cannot delete inactive domain with {len(vm['snapshots'])} snapshots")
        del facts["vms"][words[1]]
    return ""


ACTS = {"vagrant": vagrant, "VBoxManage": vbox, "VBoxHeadless": headless, "virsh": virsh}
