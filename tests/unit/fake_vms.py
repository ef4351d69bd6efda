"""Vagrant, VBoxManage, VBoxHeadless and virsh as one pretended host whose VMs have states.

`install` puts them into a folder for PATH.  Each refuses what the real one refuses in that state, in its
words; all calls are written down in order.  Words and shapes: see `lab/providers/vagrant/virtualbox.py`.
"""

import fcntl
import json
import os
import stat
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PROGRAMS = ("vagrant", "VBoxManage", "VBoxHeadless", "virsh")
SHIM = """\
#!{python} -IS
import sys
sys.path.insert(0, {here!r})
import fake_vms
sys.exit(fake_vms.main({world!r}))
"""
HOST_ONLY = """\
Name:            {name}
GUID:            786f6276-656e-4074-8000-0a0027000000
DHCP:            Disabled
IPAddress:       {address}
NetworkMask:     255.255.255.0

"""
INTERFACES = """\
 vnet0   network   vagrant-libvirt   virtio   52:54:00:aa:00:01
 -       network   lab0              virtio   52:54:00:aa:00:02

"""
VIRSH_STATES = {"start": "running", "resume": "running", "suspend": "paused", "destroy": "poweroff"}


class World:
    """What the test sees of the pretended host."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "world.json"
        self.bin = folder / "bin"

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

    def forget_calls(self) -> None:
        (self.folder / "calls").unlink(missing_ok=True)

    def load(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.file.read_text())
        return found

    def save(self, facts: Mapping[str, Any]) -> None:
        part = self.file.with_suffix(f".{id(facts)}.part")
        part.write_text(json.dumps(facts))
        part.replace(self.file)

    def change(self, **facts: Any) -> None:
        self.save({**self.load(), **facts})

    def fail(self, words: str, said: str = "it broke") -> None:
        """Let calls whose arguments contain these words fail."""
        facts = self.load()
        facts["fail"][words] = said
        self.save(facts)


class Refusal(Exception):
    """What a program prints on standard error before it exits 1."""


def main(file: str) -> int:
    """As a program of its own."""
    status, out, err = answer(World(Path(file).parent), [Path(sys.argv[0]).name, *sys.argv[1:]], os.environ)
    sys.stdout.write(out)
    sys.stderr.write(err)
    return status


def answer(world: World, argv: Sequence[str], env: Mapping[str, str]) -> tuple[int, str, str]:
    """Status, output and errors of one call; one at a time, whoever calls."""
    with (world.folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with (world.folder / "calls").open("a") as log:
            log.write(json.dumps(list(argv)) + "\n")
        facts = world.load()
        try:
            for words, said in facts["fail"].items():
                if words in " ".join(argv):
                    raise Refusal(said)
            out = ACTS[argv[0]](facts, list(argv[1:]), env)
        except Refusal as error:
            world.save(facts)
            return 1, "", f"{error}\n"
        world.save(facts)
    return 0, out, ""


def new_vm(state: str = "running") -> dict[str, Any]:
    return {"state": state, "snapshots": {}, "cables": {"1": "on", "2": "on"}, "saved": {}}


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
            facts["vms"][prefix + name] = new_vm()
        if provider == "virtualbox" and "192.168.100.1" not in facts["networks"].values():
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
        return "destroyed\n"
    raise Refusal(f"no such command: {argv}")


def _vm(facts: dict[str, Any], name: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = facts["vms"][name]
    except KeyError:
        raise Refusal(
            f"VBoxManage: error: Could not find a registered machine named '{name}'\n"
            "VBoxManage: error: Details: code VBOX_E_OBJECT_NOT_FOUND (0x80bb0001)"
        ) from None
    return found


def _need(vm: dict[str, Any], *states: str) -> None:
    if vm["state"] not in states:
        word = {"poweroff": "PoweredOff"}.get(vm["state"], vm["state"].capitalize())
        raise Refusal(f"VBoxManage: error: Invalid machine state: {word}")


def vbox(facts: dict[str, Any], argv: list[str], _: Mapping[str, str]) -> str:
    if argv == ["--version"]:
        return f"{facts.get('virtualbox', '7.0.6')}r155176\n"
    if argv == ["list", "vms"]:
        return "".join(f'"{n}" {{{abs(hash(n)):032x}}}\n' for n in facts["vms"])
    if argv == ["list", "hostonlyifs"]:
        there = facts.setdefault("networks", {"vboxnet0": "192.168.100.1"})
        return "".join(HOST_ONLY.format(name=n, address=a) for n, a in there.items())
    if argv == ["list", "systemproperties"]:
        return "API version:                     7_0\nDefault machine folder:          /nonexistent/VMs\n"
    if argv[:2] == ["hostonlyif", "remove"]:
        del facts["networks"][argv[2]]
        return ""
    vm = _vm(facts, argv[1])
    if argv[0] == "showvminfo":
        nics = "".join(f'nic{n}="nat"\ncableconnected{n}="{v}"\n' for n, v in vm["cables"].items())
        state = f'name="{argv[1]}"\nUUID="1"\nVMState="{vm["state"]}"\n'
        return f'{state}{nics}nic3="none"\n"SATA-0-0"="/a=b.vmdk"\n'
    if argv[0] == "startvm":
        _need(vm, "poweroff", "saved")
        vm["state"] = "running"
    if argv[0] == "modifyvm":
        _need(vm, "poweroff")
        vm["cables"][argv[2].removeprefix("--cableconnected")] = argv[3]
    if argv[0] == "controlvm":
        return _control(vm, argv[2:])
    if argv[0] == "snapshot":
        return _snapshot(vm, argv[1], argv[2:])
    if argv[0] == "discardstate":
        vm["state"] = "poweroff"
    if argv[0] == "unregistervm":
        _need(vm, "poweroff")
        del facts["vms"][argv[1]]
    return ""


def _control(vm: dict[str, Any], words: list[str]) -> str:
    if words[0].startswith("setlinkstate"):
        _need(vm, "running", "paused")
        vm["cables"][words[0].removeprefix("setlinkstate")] = words[1]
    elif words[0] == "poweroff":
        _need(vm, "running", "paused")
        vm["state"] = "poweroff"
    elif words[0] == "pause":
        _need(vm, "running")
        vm["state"] = "paused"
    elif words[0] == "resume":
        _need(vm, "paused")
        vm["state"] = "running"
    return ""


def _snapshot(vm: dict[str, Any], name: str, words: list[str]) -> str:
    if words[0] == "take":
        vm["snapshots"][words[1]] = {"at": words[3], "state": vm["state"]}
    elif words[1:2] and words[1] not in vm["snapshots"] and words[0] != "list":
        raise Refusal("VBoxManage: error: Could not find a snapshot named '" + words[1] + "'")
    elif words[0] == "restore":
        _need(vm, "poweroff", "saved")
        vm["state"] = "saved"
    elif words[0] == "delete":
        del vm["snapshots"][words[1]]
    elif words[0] == "list":
        if not vm["snapshots"]:
            raise Refusal("This machine does not have any snapshots")
        lines = []
        for depth, (each, facts) in enumerate(vm["snapshots"].items()):
            place = "-1" * depth
            lines += [f'SnapshotName{place}="{each}"', f'SnapshotUUID{place}="u"']
            lines += [f'SnapshotDescription{place}="{facts["at"]}"']
        last = list(vm["snapshots"])[-1]
        return "\n".join([*lines, f'CurrentSnapshotName="{last}"', 'CurrentSnapshotUUID="u"', ""])
    return ""


def headless(facts: dict[str, Any], argv: list[str], _: Mapping[str, str]) -> str:
    vm = _vm(facts, argv[argv.index("--startvm") + 1])
    _need(vm, "poweroff", "saved")
    vm["state"] = "paused" if "--start-paused" in argv else "running"
    return ""


def _row(number: int, name: str, state: str) -> str:
    return f" -   {name}   shut off\n" if state == "poweroff" else f" {number}   {name}   {state}\n"


def virsh(facts: dict[str, Any], argv: list[str], _: Mapping[str, str]) -> str:
    words = argv[argv.index("-c") + 2 :]
    if words[0] == "list":
        listed = enumerate(facts["vms"].items(), 1)
        return "".join(_row(number, name, vm["state"]) for number, (name, vm) in listed) + "\n"
    if words[1] not in facts["vms"]:
        raise Refusal(f"error: failed to get domain '{words[1]}'")
    vm = facts["vms"][words[1]]
    if words[0] == "domiflist":
        return INTERFACES
    if words[0] == "domif-setlink":
        vm["cables"][words[2]] = words[3]
    if words[0] in ("start", "destroy", "suspend", "resume"):
        if words[0] == "destroy" and vm["state"] == "poweroff":
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
        if vm["snapshots"] and "--snapshots-metadata" not in words:
            raise Refusal(f"error: cannot delete inactive domain with {len(vm['snapshots'])} snapshots")
        del facts["vms"][words[1]]
    return ""


ACTS = {"vagrant": vagrant, "VBoxManage": vbox, "VBoxHeadless": headless, "virsh": virsh}
