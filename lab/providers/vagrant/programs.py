"""What has to be installed on this host before Vagrant can make a VM."""

import shutil
from collections.abc import Mapping

from lab.errors import LabError
from lab.providers.base import Missing
from lab.providers.vagrant.adapter import OLDEST, Adapter
from lab.rights import sudo

PROGRAMS = (("ssh", "openssh-client"), ("vagrant", "vagrant"))
PLUGIN = "vagrant-libvirt"
NEEDED = f"{'.'.join(map(str, OLDEST))} or later"  # the doctor's words too
ELSEWHERE: Mapping[str, str] = {
    "vagrant": "https://developer.hashicorp.com/vagrant/install",
    PLUGIN: f"vagrant plugin install {PLUGIN}",
}


def lacking(adapter: Adapter) -> list[Missing]:
    """Programs that are not there; and if Vagrant is, what it says of itself."""
    absent = [name for name, _ in PROGRAMS if shutil.which(name) is None]
    found = [_absent(name, package) for name, package in PROGRAMS if name in absent]
    return found if "vagrant" in absent else [*found, *_unusable(adapter)]


def _absent(name: str, package: str) -> Missing:
    needed = f"; needed: {NEEDED}" if name == "vagrant" else ""
    return Missing(f"{name}: not installed{needed}", installing(package), (package,))


def _unusable(adapter: Adapter) -> list[Missing]:
    try:
        adapter.version()
    except LabError as error:
        return [Missing(str(error).splitlines()[0], error.remedy or "update Vagrant")]
    if adapter.project.provider == "libvirt" and PLUGIN not in adapter.plugins():
        return [_absent(PLUGIN, PLUGIN)]
    return []


def installing(package: str) -> str:
    """What installs it on Debian; then, apart from it, what does where there is no such package."""
    others = f"; elsewhere: {ELSEWHERE[package]}" if package in ELSEWHERE else ""
    return sudo(f"apt-get install {package}") + others
