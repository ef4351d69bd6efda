"""Debian as this host knows it: its release, its own package sources, and a root bootstrapped from them."""

import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.errors import LabError

OS_RELEASE = Path("/etc/os-release")
APT = Path("/etc/apt")
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/i18n/*")


def os_release(text: str) -> dict[str, str]:
    """What an os-release file says, by its own names.  Pure."""
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line and line[0] != "#")
    return {name.strip(): value.strip().strip("\"'") for name, value in pairs}


def host_release() -> dict[str, str]:
    """This host's os-release; empty where it has none."""
    return os_release(OS_RELEASE.read_text()) if OS_RELEASE.exists() else {}


def debian_suite() -> str:
    """The release this host runs; the machines run the same, from the same mirrors."""
    suite = host_release().get("VERSION_CODENAME", "")
    if not suite or not shutil.which("apt-get"):
        raise LabError(
            "the machines' root is built from Debian packages, and this host has no apt sources",
            remedy="build it once on a Debian or Ubuntu host and copy that cache folder here",
        )
    return suite


def sources() -> list[Path]:
    """The files that name the distribution's own archives."""
    found = [
        *sorted((APT / "sources.list.d").glob("*.sources")),
        *sorted((APT / "sources.list.d").glob("*.list")),
    ]
    if (legacy := APT / "sources.list").exists():
        found.append(legacy)
    return [path for path in found if is_debian_source(path)]


def is_debian_source(path: Path) -> bool:
    """Only the distribution's own archives: a third party's would bring other packages, or none.

    Vendors name the distribution in their addresses too, but have no component `main` beside it.
    """
    lines = path.read_text(errors="replace").splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    return ("debian" in text or "ubuntu" in text) and "main" in text.split()


def bootstrap(suite: str, target: Path, packages: Sequence[str], early: Mapping[str, str]) -> list[str]:
    """The command that makes a root of these packages.

    ``early`` are files that must be there before packages are configured, by path.
    """
    return [
        "mmdebstrap",
        "--variant=minbase",
        f"--include={','.join(packages)}",
        *(f"--essential-hook={_written(path, text)}" for path, text in early.items()),
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT),
        "--aptopt=Acquire::Retries 3",
        suite,
        str(target),
        *map(str, sources()),
    ]


def _written(path: str, text: str) -> str:
    """A shell line that writes a file into the root that mmdebstrap names as its first argument."""
    folder = shlex.quote(str(Path(path).parent))
    return f'mkdir -p "$1"/{folder} && printf %s {shlex.quote(text)} > "$1"/{shlex.quote(path)}'
