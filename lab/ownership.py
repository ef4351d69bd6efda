"""What a run as root creates inside somebody's checkout belongs to that somebody.

Else the next job, of the checkout's owner, cannot clean up.  It is given away as it is made, not at the
end: a run may be killed in between.
"""

import os
from pathlib import Path


def adopt(path: Path) -> None:
    """Give a file, folder or link just made to the owner of the nearest folder above it that exists.

    Does nothing unless this process is root's; what a link points to is left alone.
    """
    if os.geteuid() == 0:
        os.chown(path, *_owner(_nearest(path.parent)), follow_symlinks=False)


def make_folder(path: Path) -> Path:
    """Have the folder and all above it; each that had to be made is adopted."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        adopt(path)
    return path


def adopt_all(folder: Path) -> None:
    """Adopt what another writer has put below a folder, and the folder itself."""
    adopt(folder)
    for path in sorted(folder.rglob("*")):
        adopt(path)


def point(link: Path, target: str) -> None:
    """Make the link point to the target, in one step; what is no link there is left alone."""
    if link.exists() and not link.is_symlink():
        return
    part = link.with_name(f".{link.name}.{os.getpid()}")
    part.unlink(missing_ok=True)
    part.symlink_to(target)
    adopt(part)
    part.replace(link)


def _owner(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_uid, found.st_gid


def _nearest(path: Path) -> Path:
    return path if path.is_dir() else _nearest(path.parent)
