"""What has to be installed on this host before Vagrant can make a VM."""

import shutil
from collections.abc import Mapping

from lab.errors import LabError
from lab.providers.base import Missing
from lab.providers.vagrant.adapter import OLDEST, Adapter

PROGRAMS = (("ssh", "openssh-client"), ("vagrant", "vagrant"))
PLUGIN = "vagrant-libvirt"
# The doctor's words too.
NEEDED = f"{'.'.join(map(str, OLDEST))} or later"
REMEDIES: Mapping[str, str] = {
    "vagrant": "apt-get install vagrant, or https://developer.hashicorp.com/vagrant/install",
    PLUGIN: f"apt-get install {PLUGIN}, or vagrant plugin install {PLUGIN}",
}


def lacking(adapter: Adapter) -> list[Missing]:
    """Programs that are not there; and if Vagrant is, what it says of itself."""
    absent = [name for name, _ in PROGRAMS if shutil.which(name) is None]
    found = [_absent(name, package) for name, package in PROGRAMS if name in absent]
    return found if "vagrant" in absent else [*found, *_unusable(adapter)]


def _absent(name: str, package: str) -> Missing:
    needed = f"; needed: {NEEDED}" if name == "vagrant" else ""
    remedy = REMEDIES.get(name, f"apt-get install {package}")
    return Missing(f"{name}: not installed{needed}", remedy, (package,))


def _unusable(adapter: Adapter) -> list[Missing]:
    try:
        adapter.version()
    except LabError as error:
        return [Missing(str(error).splitlines()[0], error.remedy or "update Vagrant")]
    if adapter.project.provider == "libvirt" and PLUGIN not in adapter.plugins():
        return [_absent(PLUGIN, PLUGIN)]
    return []
