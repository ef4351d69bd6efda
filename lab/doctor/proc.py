"""What the texts below /proc and /etc say.  Pure: text in, data out."""

import re
from collections.abc import Collection, Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network

CONFIG = {
    "overlay": "OVERLAY_FS",
    "btrfs": "BTRFS_FS",
    "bridge": "BRIDGE",
    "veth": "VETH",
    "loop": "BLK_DEV_LOOP",
    "vxlan": "VXLAN",
}


def file_systems(text: str) -> frozenset[str]:
    """The names in /proc/filesystems."""
    return frozenset(line.split()[-1] for line in text.splitlines() if line.split())


def features(loaded: Collection[str], config: str | None, modules: str | None) -> Mapping[str, bool | None]:
    """Which features a kernel has: by what is loaded, its configuration, the list of its modules."""
    return {name: _feature(name, loaded, config, modules) for name in CONFIG}


def _feature(name: str, loaded: Collection[str], config: str | None, modules: str | None) -> bool | None:
    if name in loaded:
        return True
    if modules is not None and re.search(rf"/{name}\.ko", modules):
        return True
    if config is None:
        return None if modules is None else False
    value = re.search(rf"^CONFIG_{CONFIG[name]}=(.)", config, re.MULTILINE)
    return value is not None and (value[1] == "y" or modules is None)


def cgroup(mountinfo: str, v2_controllers: str) -> tuple[str, frozenset[str]]:
    """The version - "1", "hybrid", "2" or nothing - and the controllers that machines can have."""
    kinds = [(line.split()[4], *_kind(line)) for line in mountinfo.splitlines() if " - cgroup" in line]
    v1 = frozenset(name for _, kind, options in kinds if kind == "cgroup" for name in options.split(","))
    if v1:
        return ("hybrid" if any(kind == "cgroup2" for _, kind, _ in kinds) else "1"), v1
    return ("2", frozenset(v2_controllers.split())) if kinds else ("", frozenset())


def _kind(line: str) -> tuple[str, str]:
    kind, _, options = line.partition(" - ")[2].split(" ", 2)
    return kind, options


def routes(text: str) -> tuple[tuple[tuple[str, IPv4Network], ...], bool]:
    """Networks in /proc/net/route with their interface, and whether there is a default route."""
    rows = [line.split() for line in text.splitlines()[1:] if len(line.split()) > 7]
    found = [(row[0], _network(row[1], row[7])) for row in rows]
    return tuple(row for row in found if row[1].prefixlen), any(not net.prefixlen for _, net in found)


def _network(address: str, mask: str) -> IPv4Network:
    return IPv4Network(f"{_little_endian(address)}/{_little_endian(mask)}", strict=False)


def _little_endian(text: str) -> IPv4Address:
    return IPv4Address(int.from_bytes(bytes.fromhex(text), "little"))


def keys_in_use(key_users: str) -> int:
    """The most keys that any user but root has; root has a limit of its own, five thousand times higher."""
    found = re.findall(r"^\s*(\d+):\s+\d+ \d+/\d+ (\d+)/\d+", key_users, re.MULTILINE)
    return max((int(count) for uid, count in found if uid != "0"), default=0)


def os_release(text: str) -> tuple[str, frozenset[str]]:
    """Code name and family - ID and ID_LIKE - of /etc/os-release."""
    pairs = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    values = {key: value.strip("\"' ") for key, value in pairs.items()}
    family = f"{values.get('ID', '')} {values.get('ID_LIKE', '')}".split()
    return values.get("VERSION_CODENAME", ""), frozenset(family)


def has_sources(texts: Iterable[str]) -> bool:
    """Whether any file of apt's names an archive of Debian's or Ubuntu's."""
    lines = (line for text in texts for line in text.splitlines())
    return any(re.match(r"\s*(deb\s|URIs:)", line) for line in lines)
