"""VBoxManage and VBoxHeadless as one pretended VirtualBox 7.0: enough for Vagrant's provider and for ours.

State is a dictionary that the caller keeps (`fake_vms.World`).  Answers and refusals have the words and the
shape of real ones, taken from what people pasted:
  import -n            hashicorp/vagrant, test/unit/plugins/providers/virtualbox/driver/version_6_0_test.rb
  showvminfo           https://github.com/hashicorp/vagrant/issues/11174 and docker.machine/issues/2430
  list hostonlyifs     https://github.com/kubernetes/minikube/issues/12764, hostonlyif create too
  list hostonlynets    hashicorp/vagrant, test/unit/plugins/providers/virtualbox/driver/version_7_0_test.rb;
                       the empty line in the middle is VirtualBox' (VBoxManageList.cpp, listHostOnlyNetworks)
  unknown subcommand   https://github.com/RIPE-NCC/bgp-security-lab/issues/9
  list systemproperties  https://github.com/hashicorp/vagrant/issues/12968
  startvm              https://github.com/NixOS/nixops/issues/176
  snapshot list        https://github.com/Node-Virtualization/node-virtualbox/issues/50; of none, status 1:
                       https://github.com/dergachev/vagrant-vbox-snapshot/issues/24
  no such snapshot     https://github.com/cuckoosandbox/cuckoo/issues/2970
  no such machine      https://github.com/wazuh/wazuh-virtual-machines/issues/489
  wrong state          https://github.com/docker-archive/toolbox/issues/213, docker.machine/issues/2372
  locked after its end https://github.com/hashicorp/vagrant/issues/8104, https://github.com/hashicorp/packer/issues/184
  name taken           https://github.com/hashicorp/vagrant/issues/2813
  address not allowed  https://github.com/mail-in-a-box/mailinabox/issues/2062
"""

import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

Facts = dict[str, Any]
PROGRESS = "0%...10%...20%...30%...40%...50%...60%...70%...80%...90%...100%\n"
LIVE = ("running", "paused")
HOST_ONLY = """\
Name:            {name}
GUID:            786f6276-656e-4074-8000-0a0027000000
DHCP:            Disabled
IPAddress:       {address}
NetworkMask:     255.255.255.0
IPV6Address:     
IPV6NetworkMaskPrefixLength: 0
HardwareAddress: 0a:00:27:00:00:00
MediumType:      Ethernet
Wireless:        No
Status:          {status}
VBoxNetworkName: HostInterfaceNetworking-{name}

"""  # noqa: W291
NET = """\
Name:            {name}
GUID:            10000000-0000-0000-0000-000000000000

State:           Enabled
NetworkMask:     255.255.255.0
LowerIP:         {lower}
UpperIP:         {lower}
VBoxNetworkName: hostonly-{name}

"""
BRIDGED = """\
Name:            eth0
GUID:            30687465-0000-4000-8000-0242ac110002
DHCP:            Disabled
IPAddress:       10.9.8.7
NetworkMask:     255.255.255.0
IPV6Address:     
IPV6NetworkMaskPrefixLength: 0
HardwareAddress: 02:42:ac:11:00:02
MediumType:      Ethernet
Wireless:        No
Status:          Up
VBoxNetworkName: HostInterfaceNetworking-eth0

"""  # noqa: W291
# Only the lines that Vagrant reads.
DRY_RUN = """\
{progress}Interpreting {ovf}...
OK.

Virtual system 0:
 1: Suggested VM name "{name}"
    (change with "--vsys 0 --vmname <name>")
 3: Suggested VM settings file name "{folder}/{name}/{name}.vbox"
    (change with "--vsys 0 --settingsfile <filename>")
 9: Hard disk image: source image={disk}, target path={disk}, controller=8;port=0
    (change target path with "--vsys 0 --unit 9 --disk path";
    disable with "--vsys 0 --unit 9 --ignore")
"""
INFO = """\
name="{name}"
groups="/"
ostype="Debian (64-bit)"
UUID="{uuid}"
CfgFile="{folder}/{name}/{name}.vbox"
memory={memory}
rtcuseutc="{rtcuseutc}"
cpus={cpus}
VMState="{state}"
VMStateChangeTime="2026-08-01T10:00:00.000000000"
storagecontrollername0="SATA Controller"
"SATA Controller-0-0"="{folder}/{name}/disk.vmdk"
natnet1="nat"
"""


class Refusal(Exception):
    """What a program says before it exits 1: on standard error, or, for a few questions, as its output."""

    def __init__(self, err: str = "", *, out: str = "") -> None:
        super().__init__(err or out)
        self.err, self.out = err, out


def refused(said: str, code: str = "", context: str = "") -> Refusal:
    """An error as VBoxManage prints it."""
    lines = [
        said,
        *([f"Details: code {code}"] if code else []),
        *([f"Context: {context}"] if context else []),
    ]
    return Refusal("\n".join(f"VBoxManage: error: {line}" for line in lines))


CALLEE = "callee nsISupports"
NOT_FOUND = f"VBOX_E_OBJECT_NOT_FOUND (0x80bb0001), component VirtualBoxWrap, interface IVirtualBox, {CALLEE}"
WRONG_STATE = f"VBOX_E_INVALID_VM_STATE (0x80bb0002), component ConsoleWrap, interface IConsole, {CALLEE}"
LOCKED = f"VBOX_E_INVALID_OBJECT_STATE (0x80bb0007), component MachineWrap, interface IMachine, {CALLEE}"
NO_SAVE = f"NS_ERROR_FAILURE (0x80004005), component SessionMachine, interface IMachine, {CALLEE}"


def new_vm(state: str = "running") -> Facts:
    """A VM with two adapters."""
    return {
        "state": state,
        "uuid": str(uuid.uuid4()),
        "snapshots": {},
        "cables": {"1": "on", "2": "on"},
        "nics": {"1": "nat", "2": "nat"},
        "forwards": {},
        "settings": {},
        "boots": 0,
    }


def vbox(facts: Facts, argv: list[str], _: Mapping[str, str]) -> str:
    """One call of VBoxManage."""
    if argv == ["--version"]:
        return f"{facts.get('virtualbox', '7.0.6')}r155176\n"
    if argv[0] == "list":
        return _list(facts, argv[1])
    if argv[0] == "hostonlyif":
        return _hostonlyif(facts, argv[1:])
    if argv[:3] == ["hostonlynet", "remove", "--name"]:
        del facts["nets"][argv[3]]
        return ""
    if argv[0] == "import":
        return _import(facts, argv[1:])
    words = argv[2:] if argv[0] == "guestproperty" else argv[1:]
    return ACTS[argv[0]](facts, _name(facts, words[0]), words[1:])


def headless(facts: Facts, argv: list[str], _: Mapping[str, str]) -> str:
    """One call of VBoxHeadless; the real one goes on for as long as the VM runs."""
    name = _name(facts, argv[argv.index("--startvm") + 1])
    _start(facts, name, [])
    if "--start-paused" in argv:
        facts["vms"][name]["state"] = "paused"
    return ""


def _name(facts: Facts, key: str) -> str:
    for name, vm in facts["vms"].items():
        if key in (name, vm["uuid"]):
            return str(name)
    raise refused(f"Could not find a registered machine named '{key}'", NOT_FOUND, '"FindMachine(...)"')


def _need(vm: Facts, *states: str) -> None:
    if vm["state"] not in states:
        word = {"poweroff": "PoweredOff"}.get(vm["state"], vm["state"].capitalize())
        raise refused(f"Invalid machine state: {word} (must be {' or '.join(states)})", WRONG_STATE)


def _unlocked(vm: Facts, said: str) -> None:
    """For a moment after its end a VM is still its session's; `locks` in the facts is for how many calls."""
    if vm.get("locked", 0) > 0:
        vm["locked"] -= 1
        raise refused(said, LOCKED)


def _off(facts: Facts, name: str) -> Facts:
    vm: Facts = facts["vms"][name]
    _unlocked(vm, f"The machine '{name}' is already locked for a session (or being unlocked)")
    return vm


def _folder(facts: Facts) -> Path:
    return Path(facts.get("folder", "/nonexistent/VMs"))


def _settings_file(facts: Facts, name: str) -> None:
    if "folder" in facts:
        (_folder(facts) / name).mkdir(parents=True)
        (_folder(facts) / name / f"{name}.vbox").touch()


def _list(facts: Facts, what: str) -> str:
    if what == "vms":
        return "".join(f'"{name}" {{{vm["uuid"]}}}\n' for name, vm in facts["vms"].items())
    if what == "hostonlyifs":
        there = facts.setdefault("networks", {"vboxnet0": "192.168.100.1"})
        return "".join(HOST_ONLY.format(name=n, address=a, status="Up") for n, a in there.items())
    if what == "hostonlynets":
        if "nets" not in facts:  # only macOS has them
            raise Refusal('VBoxManage: error: Unknown subcommand "hostonlynets".')
        return "".join(NET.format(name=n, lower=lower) for n, lower in facts["nets"].items())
    if what == "systemproperties":
        return f"API version:                     7_0\nDefault machine folder:          {_folder(facts)}\n"
    return BRIDGED if what == "bridgedifs" else ""


def _hostonlyif(facts: Facts, words: list[str]) -> str:
    there = facts.setdefault("networks", {})
    if words[0] == "create":
        name = next(f"vboxnet{n}" for n in range(100) if f"vboxnet{n}" not in there)
        there[name] = "0.0.0.0"
        return f"{PROGRESS}Interface '{name}' was successfully created\n"
    if words[0] == "ipconfig":
        address = words[words.index("--ip") + 1]
        allowed = facts.get("allowed", "192.168.56.0/21")
        if IPv4Address(address) not in IPv4Network(allowed):
            raise refused(
                "Code E_ACCESSDENIED (0x80070005) - Access denied (extended info not available)",
                context='"EnableStaticIPConfig(Bstr(pszIp).raw(), Bstr(pszNetmask).raw())" at line 242',
            )
        there[words[1]] = address
    if words[0] == "remove":
        del there[words[1]]
    return ""


def _import(facts: Facts, words: list[str]) -> str:
    ovf = next(word for word in words if word.endswith(".ovf"))
    disk = "".join(re.findall(r'href="([^"]+\.vmdk)"', Path(ovf).read_text()))
    text = DRY_RUN.format(progress=PROGRESS, ovf=ovf, disk=disk, name="tiny", folder=_folder(facts))
    if "-n" in words or "--dry-run" in words:
        return text
    name = words[words.index("--vmname") + 1]
    facts["vms"][name] = {**new_vm("poweroff"), "nics": {"1": "nat"}, "cables": {"1": "on"}}
    _settings_file(facts, name)
    return f"{text}{PROGRESS}Successfully imported the appliance.\n"


def _clone(facts: Facts, name: str, words: list[str]) -> str:
    made = words[words.index("--name") + 1]
    snapshot = words[words.index("--snapshot") + 1] if "--snapshot" in words else ""
    if snapshot and snapshot not in facts["vms"][name]["snapshots"]:
        raise refused(f"Could not find a snapshot named '{snapshot}'", NOT_FOUND)
    linked = {"linked_to": facts["vms"][name]["uuid"]} if snapshot and "link" in words else {}
    facts["vms"][made] = {**new_vm("poweroff"), "nics": {"1": "nat"}, "cables": {"1": "on"}, **linked}
    _settings_file(facts, made)
    return f'{PROGRESS}Machine has been successfully cloned as "{made}"\n'


def _info(facts: Facts, name: str, words: list[str]) -> str:
    vm = facts["vms"][name]
    settings = {"memory": 512, "cpus": 1, "rtcuseutc": "off", **vm["settings"]}
    head = INFO.format(name=name, uuid=vm["uuid"], state=vm["state"], folder=_folder(facts), **settings)
    return head + "".join(_adapters(vm))


def _adapters(vm: Facts) -> Iterator[str]:
    """As it prints them: the address and the cable before the kind, the forwardings after it."""
    for number in map(str, range(1, 9)):
        kind = vm["nics"].get(number, "none")
        if kind == "hostonly":
            yield f'hostonlyadapter{number}="{vm["settings"].get(f"hostonlyadapter{number}", "vboxnet0")}"\n'
        if kind != "none":
            yield f'macaddress{number}="080027{number:>06}"\n'
            yield f'cableconnected{number}="{vm["cables"][number]}"\n'
        yield f'nic{number}="{kind}"\n'
        rules = vm["forwards"].values() if number == "1" else ()
        yield from (f'Forwarding({n})="{rule}"\n' for n, rule in enumerate(rules))


def _modify(facts: Facts, name: str, words: list[str]) -> str:
    vm = _off(facts, name)
    _need(vm, "poweroff")
    rest = iter(words)
    for word in rest:
        key, value = word.removeprefix("--"), next(rest)
        number = key[-1]
        if key == "name":
            _rename(facts, name, value)
        elif key.startswith("natpf"):
            if value == "delete":
                del vm["forwards"][next(rest)]
            else:
                vm["forwards"][value.split(",")[0]] = value
        elif re.fullmatch(r"nic\d", key):
            vm["nics"][number] = value
            vm["cables"].setdefault(number, "on")
        elif re.fullmatch(r"cableconnected\d", key):
            vm["cables"][number] = value
        else:
            vm["settings"][key] = value
    return ""


def _rename(facts: Facts, name: str, wanted: str) -> None:
    folder = _folder(facts)
    if wanted != name and (wanted in facts["vms"] or (folder / wanted).exists()):
        raise refused(
            f"Could not rename the directory '{folder}/{name}' to '{folder}/{wanted}' "
            "to save the settings file (VERR_ALREADY_EXISTS)",
            NO_SAVE,
        )
    facts["vms"][wanted] = facts["vms"].pop(name)
    if (folder / name).exists():
        (folder / name).rename(folder / wanted)


def _start(facts: Facts, name: str, _: list[str]) -> str:
    vm = _off(facts, name)
    _need(vm, "poweroff", "saved")
    if said := facts.get("breaks_at_start", {}).get(name):
        raise Refusal(said)
    vm["boots"] += vm["state"] == "poweroff"
    vm["state"] = "running"
    return f'Waiting for VM "{name}" to power on...\nVM "{name}" has been successfully started.\n'


def _control(facts: Facts, name: str, words: list[str]) -> str:
    vm = facts["vms"][name]
    if words[0].startswith("setlinkstate"):
        _need(vm, *LIVE)
        vm["cables"][words[0].removeprefix("setlinkstate")] = words[1]
        return ""
    needed, after = {
        "poweroff": (LIVE, "poweroff"),
        "savestate": (LIVE, "saved"),
        "pause": (("running",), "paused"),
        "resume": (("paused",), "running"),
    }[words[0]]
    _need(vm, *needed)
    vm["state"] = after
    if after in ("poweroff", "saved"):
        vm["locked"] = facts.get("locks", 0)
    return PROGRESS if words[0] in ("poweroff", "savestate") else ""


def _snapshot(facts: Facts, name: str, words: list[str]) -> str:
    vm = facts["vms"][name]
    if words[0] == "list":
        return _snapshots(vm)
    if words[0] == "take":
        at = words[words.index("--description") + 1] if "--description" in words else ""
        vm["snapshots"][words[1]] = {"at": at, "state": vm["state"], "boots": vm["boots"]}
        return f"{PROGRESS}Snapshot taken. UUID: {uuid.uuid4()}\n"
    if words[1] not in vm["snapshots"]:
        raise refused(f"Could not find a snapshot named '{words[1]}'", NOT_FOUND)
    if words[0] == "restore":
        _off(facts, name)
        _need(vm, "poweroff", "saved")
        then = vm["snapshots"][words[1]]
        vm["state"] = "saved" if then["state"] in LIVE else "poweroff"
        vm["boots"] = then["boots"]
        vm["locked"] = facts.get("locks_after_restore", 0)
        return f"Restoring snapshot '{words[1]}' (786f6276-656e-4074-8000-0a0027000000)\n{PROGRESS}"
    del vm["snapshots"][words[1]]
    return PROGRESS


def _snapshots(vm: Facts) -> str:
    if not vm["snapshots"]:
        raise Refusal(out="This machine does not have any snapshots\n")
    lines: list[str] = []
    for depth, (each, facts) in enumerate(vm["snapshots"].items()):
        place = "-1" * depth
        lines += [f'SnapshotName{place}="{each}"', f'SnapshotUUID{place}="{vm["uuid"]}"']
        lines += [f'SnapshotDescription{place}="{facts["at"]}"'] if facts["at"] else []
    last = list(vm["snapshots"])[-1]
    now = [f'CurrentSnapshotName="{last}"', f'CurrentSnapshotUUID="{vm["uuid"]}"']
    return "\n".join(
        [*lines, *now, f'CurrentSnapshotNode="SnapshotName{"-1" * (len(vm["snapshots"]) - 1)}"', ""]
    )


def _discard(facts: Facts, name: str, _: list[str]) -> str:
    vm = _off(facts, name)
    _need(vm, "saved")
    vm["state"] = "poweroff"
    return ""


def _unregister(facts: Facts, name: str, _: list[str]) -> str:
    vm = facts["vms"][name]
    still = f"Cannot unregister the machine '{name}' while it is locked"
    if vm["state"] in LIVE:
        raise refused(still, LOCKED)
    _unlocked(vm, still)
    del facts["vms"][name]
    if (_folder(facts) / name).is_dir():
        shutil.rmtree(_folder(facts) / name)
    return PROGRESS


def _property(facts: Facts, name: str, words: list[str]) -> str:
    """`guestproperty set VM KEY VALUE` or `get VM KEY`: what stands behind the VM."""
    if len(words) < 2:
        return "No value set!\n"
    facts["vms"][name]["settings"][words[0]] = words[1]
    return ""


ACTS: Mapping[str, Callable[[Facts, str, list[str]], str]] = {
    "showvminfo": _info,
    "clonevm": _clone,
    "modifyvm": _modify,
    "startvm": _start,
    "controlvm": _control,
    "snapshot": _snapshot,
    "discardstate": _discard,
    "unregistervm": _unregister,
    "guestproperty": _property,
}
