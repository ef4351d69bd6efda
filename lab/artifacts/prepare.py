"""What a plan's machines are made of: its programs, and the root file system that holds them."""

from collections.abc import Callable
from pathlib import Path

from lab.artifacts import vmdisk
from lab.artifacts.box import VM, BuiltBox, build_box, unneeded_boxes
from lab.artifacts.cache import Cache
from lab.artifacts.debian import debian_suite
from lab.artifacts.fetch import Programs, Progress, fetch
from lab.artifacts.packages import Release, insist_cached, unneeded_archives
from lab.artifacts.rootfs import base_name, build_root, unneeded
from lab.artifacts.supplies import Supplies, release_here, supply, unneeded_sets
from lab.artifacts.vmdisk import build_disk
from lab.errors import LabError
from lab.topology import Cni, Topology

Report = Callable[[str], None]


def programs_of(topology: Topology, report: Report) -> Programs:
    """Every program of the plan, verified; fetched or built as far as the cache lacks it."""
    return fetch(topology.versions, Cache(), report=lambda p: report(_told(p)), also=_also(topology))


def root_of(topology: Topology, report: Report) -> Path:
    """The root file system of the plan's machines; builds whatever the cache lacks of base and root."""
    cache, programs = Cache(), programs_of(topology, report)
    with cache.place.naming_trouble():
        return build_root(cache.root, programs, topology.versions, report)


def box_of(topology: Topology, report: Report) -> BuiltBox:
    """The box of the plan's VMs, for a libvirtd of the lab's own; builds whatever the cache lacks."""
    cache, programs = Cache(), programs_of(topology, report)
    with cache.place.naming_trouble():
        return build_box(cache.root, programs, topology.versions, report)


def disk_of(topology: Topology, report: Report) -> Path:
    """The disk of the plan's VMs, for Incus or LXD; builds whatever the cache lacks."""
    cache, programs = Cache(), programs_of(topology, report)
    with cache.place.naming_trouble():
        return build_disk(cache.root, programs, topology.versions, report)


def supplies_of(
    topology: Topology, report: Report, release: Release | None = None, *, offline: bool = False
) -> Supplies:
    """What machines of a plain box are given; by default for this host's release.

    Offline nothing is fetched: `LabError` if packages that this host could fetch are not in the cache.
    """
    cache, programs = Cache(), programs_of(topology, report)
    with cache.place.naming_trouble():
        if offline:
            insist_cached(cache.root, release or release_here())
        return supply(cache.root, release or release_here(), programs, topology.versions, report)


def unneeded_images(topology: Topology) -> list[Path]:
    """What the cache holds of images that this plan does not need; nothing if its programs are not there."""
    cache = Cache()
    try:
        programs = fetch(topology.versions, cache, also=_also(topology), offline=True)
    except LabError:
        return []
    boxes = unneeded_boxes(cache.root, programs, topology.versions)
    bases = [base_name(debian_suite(), kind) for kind in (VM, vmdisk.VM)]
    given = [*unneeded_archives(cache.root), *unneeded_sets(cache.root, programs, topology.versions)]
    disks = vmdisk.unneeded_disks(cache.root, programs, topology.versions)
    return [*unneeded(cache.root, programs, topology.versions, bases), *boxes, *disks, *given]


def _also(topology: Topology) -> tuple[str, ...]:
    return ("flannel",) if topology.cni is Cni.FLANNEL else ()


def _told(progress: Progress) -> str:
    left = f", about {progress.seconds_left:.0f} s left" if progress.seconds_left else ""
    return f"programs: {progress.item} ({progress.number}/{progress.total}) {progress.phase}{left}"
