"""Gather a host's facts: the only part of doctor that looks.  Reads; changes and starts nothing."""

import gzip
import importlib.util
import os
import platform
import shutil
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

from lab.artifacts.box import BuiltBox, box_key
from lab.artifacts.cache import Cache
from lab.artifacts.fetch import fetch
from lab.artifacts.network import Proxy
from lab.artifacts.rootfs import root_key
from lab.artifacts.vmdisk import disk_in, disk_key
from lab.choice import LIBVIRT_PRIVATE, Made, decided, is_stale, is_vagrants, made_of
from lab.disks import MIB, nearest, why_unwritable
from lab.doctor import proc
from lab.doctor.facts import Disk, Facts
from lab.doctor.kernel import INSTANCES, KEYS
from lab.doctor.programs import DISK_PROGRAMS, PROGRAMS, VM_PROGRAMS
from lab.errors import LabError
from lab.providers.incus.daemon import closed_socket, running_socket
from lab.providers.incus.description import bridge_of
from lab.providers.memory import available_mib
from lab.rights import group_of
from lab.state import Intent, StateFolder, labs, state_root
from lab.topology import Cni, Topology

SBIN = ":/usr/sbin:/sbin:/usr/libexec/incus:/opt/incus/bin"
PROXIES = ("http_proxy", "https_proxy", "all_proxy")
MOST_FILES = 50_000


def gather(
    topology: Topology,
    provider: str = "auto",
    *,
    root: Path = Path("/"),
    environ: Mapping[str, str] | None = None,
) -> Facts:
    """This host, as far as the plan depends on it.  What cannot be read is left out, never an error."""
    env = os.environ if environ is None else environ
    facts = _of_kernel(root, platform.system())
    codename, family = proc.os_release(_read(root / "etc/os-release"))
    word = decided(provider, StateFolder(state_root() / topology.name))
    vms = is_vagrants(word)
    cached = image_is_cached(topology, codename, made_of(word))
    daemon, closed = running_socket(), closed_socket()
    if vms:
        daemon, closed = (None if word == LIBVIRT_PRIVATE else Path(word)), None
    checkout = Path(__file__).parents[2]
    status = checkout.stat()
    return replace(
        facts,
        codename=codename,
        family=family,
        uid=os.geteuid(),
        programs=frozenset(_programs(env)),
        ci=env.get("CI") == "true",
        pip=importlib.util.find_spec("pip") is not None,
        daemon=str(daemon) if daemon else None,
        closed_to=group_of(closed) if closed and not daemon else "",
        wants_private=provider.partition(":")[2] in ("private", "lxd", "incusd"),
        vms=vms,
        virtualbox=word == "vagrant:virtualbox",
        root_is_cached=cached,
        running=_is_running(topology.name),
        state=_disk(state_root()),
        cache=_disk(Cache().root),
        networks=_others(facts, topology.name, provider),
        taken_ports=tuple(_taken_ports(StateFolder(state_root() / topology.name))),
        stale=tuple(_stale()),
        checkout=checkout,
        owner=(status.st_uid, status.st_gid),
        foreign=tuple(_foreign(checkout, status.st_uid)) if (checkout / ".git").exists() else (),
        proxies=tuple(str(Proxy(name, env[name])) for name in _proxy_variables(env)),
        encoding=getattr(sys.stdout, "encoding", None) or "ascii",
        sources=proc.has_sources(_apt_files(root)),
        kvm=(root / "dev/kvm").exists(),
    )


def _of_kernel(root: Path, system: str) -> Facts:
    if not (root / "proc/self").exists():
        return Facts(system)
    networks, ipv4 = proc.routes(_read(root / "proc/net/route"))
    v2 = _read(root / "sys/fs/cgroup/cgroup.controllers")
    version, controllers = proc.cgroup(_read(root / "proc/self/mountinfo"), v2)
    return Facts(
        system,
        kernel=_features(root),
        cgroup=version,
        controllers=controllers,
        memory_mib=available_mib(_read(root / "proc/meminfo")),
        limits=dict(_limits(root)),
        in_use={
            INSTANCES: _instances_in_use(root / "proc"),
            KEYS: proc.keys_in_use(_read(root / "proc/key-users")),
        },
        networks=networks,
        ipv4=ipv4,
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _features(root: Path) -> Mapping[str, bool | None]:
    loaded = proc.file_systems(_read(root / "proc/filesystems"))
    loaded |= {path.name for path in _children(root / "sys/module")}
    modules = root / "lib/modules" / platform.release()
    lists = [modules / "modules.dep", modules / "modules.builtin"]
    known = "\n".join(map(_read, lists)) if modules.is_dir() else None
    return proc.features(loaded, _configuration(root), known)


def _configuration(root: Path) -> str | None:
    packed = root / "proc/config.gz"
    if packed.exists():
        return gzip.decompress(packed.read_bytes()).decode(errors="replace")
    return _read(root / f"boot/config-{platform.release()}") or None


def _children(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _limits(root: Path) -> Iterator[tuple[str, int]]:
    for name in (INSTANCES, KEYS):
        text = _read(root / "proc/sys" / name.replace(".", "/")).strip()
        if text.isdigit():
            yield name, int(text)


def _instances_in_use(processes: Path) -> int:
    """How many inotify instances root has, who would run the daemon; others' are not counted."""
    folders = (p / "fd" for p in _children(processes) if p.name.isdigit() and _is_of_root(p))
    return sum(_links_to(fd) == "anon_inode:inotify" for folder in folders for fd in _children(folder))


def _is_of_root(process: Path) -> bool:
    try:
        return process.stat().st_uid == 0
    except OSError:
        return False


def _links_to(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""


def _programs(env: Mapping[str, str]) -> Iterator[str]:
    wanted = {name for program in (*PROGRAMS, *VM_PROGRAMS, *DISK_PROGRAMS) for name in program.names} | {
        "go"
    }
    path = env.get("PATH", os.defpath) + SBIN
    return (name for name in wanted if shutil.which(name, path=path))


def image_is_cached(topology: Topology, codename: str, made: Made = Made.ROOT) -> bool:
    """Whether a lab of this plan needs nothing built or fetched."""
    cache = Cache()
    also = ("flannel",) if topology.cni is Cni.FLANNEL else ()
    try:
        programs = fetch(topology.versions, cache, offline=True, also=also)
    except (LabError, OSError):
        return False
    if made is Made.DISK:
        return disk_in(cache.root, disk_key(codename, programs, topology.versions)).exists()
    if made is Made.BOX:
        return BuiltBox(cache.root / "boxes" / box_key(codename, programs, topology.versions)).box.exists()
    key = root_key(codename, programs, topology.versions)
    return (cache.root / "roots" / key / "root.squashfs").exists()


def _disk(folder: Path) -> Disk | None:
    """The disk the folder is on, or its nearest ancestor that is there already."""
    there = nearest(folder)
    try:
        free = shutil.disk_usage(there).free // MIB
        return Disk(folder, free, there.stat().st_dev, why_unwritable(folder))
    except OSError:
        return None


def _others(facts: Facts, name: str, provider: str) -> tuple[tuple[str, IPv4Network], ...]:
    """The host's networks less the lab's own bridge."""
    return tuple((interface, net) for interface, net in facts.networks if interface != bridge_of(name))


def _is_running(name: str) -> bool:
    return any(lab.name == name and (found := _intent(lab)) and not is_stale(lab, found) for lab in labs())


def _stale() -> list[str]:
    return [lab.name for lab in labs() if (found := _intent(lab)) and is_stale(lab, found)]


def _intent(lab: StateFolder) -> Intent | None:
    try:
        return lab.intent()
    except (LabError, OSError):
        return None


def _taken_ports(state: StateFolder) -> Iterator[int]:
    """Ports that this lab's forwarders had, whose forwarder ended, and that somebody listens on."""
    for record in _children(state.path / "forward"):
        words = _read(record).split()
        if len(words) != 2 or not all(map(str.isdigit, words)) or Path(f"/proc/{words[0]}").exists():
            continue
        if _listens(int(words[1])):
            yield int(words[1])


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=0.5).close()
    except OSError:
        return False
    return True


def _foreign(checkout: Path, owner: int) -> list[str]:
    """The uppermost paths in the checkout that belong to somebody else."""
    found: list[str] = []
    for seen, (folder, folders, files) in enumerate(os.walk(checkout)):
        if seen > MOST_FILES:
            break
        wrong = [name for name in (*folders, *files) if _owner(Path(folder, name)) not in (owner, None)]
        found += [str(Path(folder, name)) for name in wrong]
        folders[:] = [name for name in folders if name not in wrong]
    return sorted(found)


def _owner(path: Path) -> int | None:
    try:
        return path.lstat().st_uid
    except OSError:
        return None


def _proxy_variables(env: Mapping[str, str]) -> list[str]:
    return [name for each in PROXIES for name in (each, each.upper()) if env.get(name)]


def _apt_files(root: Path) -> Iterator[str]:
    folder = root / "etc/apt"
    for path in (folder / "sources.list", *_children(folder / "sources.list.d")):
        if path.suffix in (".list", ".sources"):
            yield _read(path)
