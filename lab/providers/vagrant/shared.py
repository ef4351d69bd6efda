"""What Vagrant makes at a hypervisor for VMs of every project and never removes: the last lab takes it along.

Only what was not there before the lab, and only if nobody uses it: a network for SSH, a pool for disks, the
box's disk in it.  A lab that began while another one's were there would take them for somebody's; so a lab
that ends while others live leaves its own to them.
"""

from collections.abc import Iterator
from pathlib import Path

from lab.providers.vagrant.hypervisor import Hypervisor
from lab.providers.vagrant.plan import Project


def note(project: Project, hypervisor: Hypervisor) -> None:
    """Write down the lab's box, and what there was before the lab; harmless when that was done.

    What a daemon of the lab's own has ends with it.
    """
    if hypervisor.network is None and not project.shared_before.exists():
        box = project.box_name()
        _write(project.shared_before, [box, *hypervisor.shared(box)])


def remove_brought(project: Project, hypervisor: Hypervisor) -> list[str]:
    """Remove what came since; what was left because somebody uses it.  Nothing if nothing was noted."""
    noted = project.shared_before.read_text().splitlines() if project.shared_before.exists() else []
    if not noted:  # or cut by a full disk: then what was there before is not known
        return []
    box, *before = noted
    brought = [each for each in hypervisor.shared(box) if each not in before]
    others = list(_others(project))
    for note_of in others:
        _write(note_of, [line for line in note_of.read_text().splitlines() if line not in brought])
    return brought if others else [each for each in brought if not hypervisor.remove_shared(each)]


def _others(project: Project) -> Iterator[Path]:
    """What other labs of the same hypervisor's wrote down."""
    for path in sorted(project.folder.parent.parent.glob(f"*/vagrant/{project.shared_before.name}")):
        if path != project.shared_before:
            yield path


def _write(path: Path, lines: list[str]) -> None:
    part = path.with_suffix(".part")
    part.write_text("\n".join(lines))
    part.replace(path)
