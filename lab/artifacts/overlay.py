"""Files of ours that lie over Debian's in a machine's root, as they are."""

from collections.abc import Mapping
from pathlib import Path


def files_in(folder: Path) -> list[Path]:
    """What lies in such a folder."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def texts_in(folder: Path) -> dict[str, str]:
    """The same, by its path in the root: what a key depends on."""
    return {str(path.relative_to(folder)): path.read_text() for path in files_in(folder)}


def lay_over(root: Path, folder: Path, enabled: Mapping[str, str]) -> None:
    """The folder's files into the root, and the units that a machine starts by itself.

    ``enabled`` are links below /etc/systemd/system.
    """
    for source in files_in(folder):
        target = root / source.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
        target.chmod(0o644)
    for link, target_of in enabled.items():
        path = root / "etc/systemd/system" / link
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(target_of)
