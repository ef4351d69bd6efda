"""What has to be installed on this host before Vagrant can make a VM."""

import shutil

from lab.errors import LabError
from lab.providers.base import Missing
from lab.providers.vagrant.adapter import Adapter
from lab.rights import sudo

PROGRAMS = (("ssh", "openssh-client"), ("vagrant", "vagrant"))
PLUGIN = "vagrant-libvirt"
ELSEWHERE = {
    "vagrant": "https://developer.hashicorp.com/vagrant/install",
    PLUGIN: f"vagrant plugin install {PLUGIN}",
}


def lacking(adapter: Adapter) -> list[Missing]:
    """Programs that are not there; if all are, what Vagrant says of itself."""
    absent = [
        Missing(f"no {program}", installing(package), (package,))
        for program, package in PROGRAMS
        if shutil.which(program) is None
    ]
    return absent or _unusable(adapter)


def _unusable(adapter: Adapter) -> list[Missing]:
    try:
        adapter.version()
    except LabError as error:
        return [Missing(str(error).splitlines()[0], error.remedy or "update Vagrant")]
    if adapter.project.provider == "libvirt" and PLUGIN not in adapter.plugins():
        return [Missing("Vagrant has no plugin for libvirt", installing(PLUGIN), (PLUGIN,))]
    return []


def installing(package: str) -> str:
    """What installs it on Debian; then, apart from it, what does where there is no such package."""
    others = f"; elsewhere: {ELSEWHERE[package]}" if package in ELSEWHERE else ""
    return sudo(f"apt-get install {package}") + others
