"""What Vagrant, VirtualBox and libvirt print when they cannot, what it means, and what helps.

The words are those of Vagrant's own messages (templates/locales/en.yml of 2.3.4) and of the issues named.
"""

import re

from lab.errors import LabError
from lab.providers.vagrant.libvirt.kvm import LOADING as LOADING_KVM
from lab.providers.vagrant.process import Call, Ended
from lab.signatures import Signature, recognised

KNOWN = (
    Signature(
        r"not within the\s+allowed ranges",
        "VirtualBox refuses host-only networks outside 192.168.56.0/21 unless a file of root's allows them",
        "sudo mkdir -p /etc/vbox && printf '\\n%s\\n' '* 192.168.56.0/21 {network}' | "
        "sudo tee -a /etc/vbox/networks.conf",
    ),
    Signature(
        r"The provider '?\S+?'? could not be found, but was requested|Unknown provider|"
        r"plugin '?vagrant-libvirt'? is not installed",
        "Vagrant has no such provider: its plugin is not installed",
        "on Debian: sudo apt-get install vagrant-libvirt; elsewhere: vagrant plugin install vagrant-libvirt",
    ),
    # https://github.com/hashicorp/vagrant/issues/13501
    Signature(
        r"version of VirtualBox installed\s+that is not supported",
        "this Vagrant is older than this VirtualBox",
        "update Vagrant: VirtualBox 7.0 needs 2.3.2, 7.1 needs 2.4.2, 7.2 needs 2.4.9",
    ),
    Signature(
        r"could not detect VirtualBox|VirtualBox is complaining that the (kernel module|installation)",
        "VirtualBox is not installed, or its kernel modules are not loaded",
        "`VBoxManage --version` says which; sudo modprobe vboxdrv vboxnetflt vboxnetadp",
    ),
    # https://github.com/kubernetes/minikube/issues/4913, https://github.com/VirtualBox/virtualbox/issues/180
    Signature(
        r"VERR_VMX_IN_VMX_ROOT_MODE|VERR_SVM_IN_USE|used by another hypervisor",
        "KVM holds the processor's virtualisation, and VirtualBox cannot share it",
        "end the KVM guests (virsh list --all), then sudo modprobe -r kvm_intel kvm_amd",
    ),
    # https://github.com/vagrant-libvirt/vagrant-libvirt/issues/1208, https://github.com/adrahon/vagrant-kvm/issues/20
    Signature(
        r"could not find capabilities for (arch=\S+ )?domaintype=kvm|Domain requires KVM, but it is not|"
        r"Could not access KVM kernel module|failed to initialize kvm|failed to initialize KVM",
        "libvirt would run the VMs by KVM, which this host has not",
        f"{LOADING_KVM}; where there is none, switch virtualisation on in the firmware; "
        "emulated VMs, as root: --lab-provider=vagrant:libvirt:private",
    ),
    # https://github.com/hashicorp/vagrant/issues/11325
    Signature(
        r"VERR_VMX_NO_VMX|VERR_SVM_NO_SVM|VERR_VMX_MSR_ALL_VMX_DISABLED|VERR_SVM_DISABLED|"
        r"VT-x is (not available|disabled)",
        "the processor's virtualisation is switched off, or this host is a VM without nested virtualisation",
        "switch on VT-x or AMD-V in the firmware, or use --lab-provider=incus here",
    ),
    Signature(
        r"box '[^']*'\s+(could not be found or\s+could not be accessed|does not exist|isn't installed)|"
        r"with provider '[^']*'\s+could not be found",
        "the box is neither installed nor to be found where Vagrant looked",
        "vagrant box list; set THWLAB_BOX and, offline, THWLAB_BOX_URL to a .box file",
    ),
    Signature(
        r"already in use on the host|[Ff]orwarded port to \d+ is already",
        "a port of this host that Vagrant wants for a machine is taken",
        "`ss -lptn` shows who has it; end it, or another lab (thwlab status)",
    ),
    # https://github.com/hashicorp/vagrant/issues/1198
    Signature(
        r"Could not rename the directory [^\n]*\(VERR_ALREADY_EXISTS\)",
        "a folder of that name is left in VirtualBox's folder of VMs, though no VM has it",
        "look into it, then remove the folder that VirtualBox names above (the second one)",
    ),
    Signature(
        r"machine with the name '[^']*' already exists|another VM with that name already exists|"
        r"Name `[^`]*` of domain about to create is already taken|domain '[^']*' already exists",
        "a VM of that name is there already, left by a run that was killed or made by somebody else",
        "thwlab down removes those of this lab; `VBoxManage list vms` or `virsh list --all` shows all",
    ),
    # vagrant-libvirt's locales/en.yml
    Signature(
        r"Volume for domain is already created",
        "a disk of that name is left in libvirt's pool by a run that was killed, and no VM has it",
        "thwlab down removes those of this lab; `virsh vol-list default` shows all",
    ),
    Signature(
        r"because it is locked|another process is already executing an action|"
        r"lock is being held by another instance of Vagrant",
        "another Vagrant works on the same machine",
        "let it finish, or find it with: pgrep -af vagrant",
    ),
    Signature(
        r"collides with a non-hostonly network",
        "the plan's network is in use on this host by another interface",
        "another `network: cidr` in the plan; `ip -4 addr` shows what is in use",
    ),
    Signature(
        r"Timed out while waiting for the machine to boot|invalid state while waiting for it\s+to boot",
        "the VM was started and never answered by SSH",
        "look at its console in the hypervisor while the next `thwlab up` boots it; memory may be short "
        "(thwlab doctor); LAB_BOOT_TIMEOUT=900 waits longer, in seconds; VMs of a box with a filled "
        "/etc/machine-id all get one address: thwlab down, and a box where it is empty",
    ),
    Signature(
        r"[Cc]hecksum (mismatch|of the downloaded box did not match)|checksum.*did not match",
        "the box that was downloaded is not the one THWLAB_BOX_SHA256 names",
        "fetch it again, or correct THWLAB_BOX_SHA256",
    ),
    Signature(
        r"VERR_NO_MEMORY|VERR_EM_NO_MEMORY|cannot set up guest memory|Cannot allocate memory",
        "this host has not the memory for one more VM",
        "end what else runs, or less `memory` in the plan",
    ),
    Signature(
        r"REMOTE HOST IDENTIFICATION HAS CHANGED|Host key verification failed",
        "the machine shows another SSH host key than when it was made",
        "if somebody built it anew by hand: thwlab down, then thwlab up",
    ),
    Signature(
        r"sudo: a password is required|sudo: (command )?not found",
        "the box's user cannot become root without a question",
        "a box whose user has NOPASSWD in sudoers, as Vagrant asks of every box; THWLAB_BOX names another",
    ),
    # Debian's libvirt only recommends them.
    Signature(
        r"Unable to find '(dnsmasq|iptables)' binary",
        "libvirt makes no network without dnsmasq and iptables",
        "sudo apt-get install dnsmasq-base iptables",
    ),
    Signature(
        r"[Ff]ailed to connect socket to '[^']*libvirt|error: failed to connect to the hypervisor",
        "libvirtd does not answer",
        "sudo systemctl start libvirtd; your user must be in the group libvirt",
    ),
)


class ProgramFailed(LabError):
    """Vagrant or a hypervisor's program ended badly; `said` is the end of what it printed."""

    def __init__(self, call: Call, ended: Ended, *, otherwise: str, network: str = "CIDR") -> None:
        """``otherwise`` is the remedy where the trouble is none that is known; ``network`` the plan's."""
        self.said = ended.tail
        trouble = known(ended.tail)
        meaning = f"\n  it means: {trouble.cause}" if trouble else ""
        super().__init__(
            f"`{call.line}` {_how(ended)}{meaning}\n  it said last:\n{_indented(ended.tail)}",
            remedy=(trouble.remedy if trouble else otherwise).replace("{network}", network),
        )


def _how(ended: Ended) -> str:
    if ended.status is None:
        return f"did not end within {ended.seconds:.0f}s and was killed"
    return f"exited {ended.status} after {ended.seconds:.1f}s"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines()) or "    (nothing)"


def known(text: str) -> Signature | None:
    """The first trouble of these programs', else of any, that the text shows."""
    mine = next((each for each in KNOWN if re.search(each.pattern, text)), None)
    return mine or recognised(text)
