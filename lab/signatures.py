"""Known words of programs that mean something else than they say, and what to do about it."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Signature:
    """What is printed, what it means, and what helps."""

    pattern: str
    cause: str
    remedy: str

    def remedy_on(self, machine: str) -> str:
        """The remedy, for who knows which machine said it."""
        return self.remedy.replace("MACHINE", machine) if machine else self.remedy


KNOWN = (
    # Containers share the host's limits, and systemd says "open files" when it means inotify instances:
    # https://github.com/lxc/incus-os/issues/693
    Signature(
        r"inotify.*Too many open files|Too many open files.*inotify|too many open files.*fsnotify",
        "this host's limit of inotify instances, which all machines of all labs share, is reached",
        "sudo sysctl -w fs.inotify.max_user_instances=1024; or end another lab",
    ),
    Signature(
        r"(?i)disk quota exceeded.*key|keyctl.*(quota|exceeded)|failed to (create|join) session keyring",
        "this host's limit of kernel keys, which all machines of all labs share, is reached",
        "sudo sysctl -w kernel.keys.maxkeys=2000 kernel.keys.maxbytes=2000000; or end another lab",
    ),
    Signature(
        r"NOSPACE",
        "etcd has reached its quota and refuses writes until the alarm is disarmed",
        "on a member: delete or compact, then etcdctl defrag, then etcdctl alarm disarm",
    ),
    Signature(
        r"No space left on device",
        "a disk is full",
        "df -h names it; `thwlab artifacts gc` frees the cache",
    ),
    Signature(
        r"certificate has expired or is not yet valid",
        "a certificate's time has passed, or the clocks of two machines differ",
        "thwlab status lists certificates that end soon; compare `date` on the machines",
    ),
    Signature(
        r"certificate signed by unknown authority|unable to get local issuer certificate"
        r"|self-signed certificate in certificate chain",
        "somebody shows a certificate of another CA than its peer trusts, if perhaps one of the same name",
        "compare both sides: openssl x509 -noout -issuer -ext authorityKeyIdentifier -in FILE; `thwlab up` "
        "writes the lab's own anew",
    ),
    Signature(
        r"certificate is valid for .*, not |no alternative certificate subject name matches"
        r"|certificate is not valid for '",
        "a server is called by a name or address that is not in its certificate",
        "openssl x509 -noout -ext subjectAltName -in FILE; call it by one of these, or issue it anew",
    ),
    Signature(
        r"permanently removed from the cluster",
        "the others have removed this etcd member, and know no way back for it",
        "thwlab rejoin MACHINE gives it a new member in its place, with the others' data",
    ),
    Signature(
        r"data dir(ectory)? used by this member must be removed|member .* has already been bootstrapped",
        "an etcd member lost its data, and the others take it for one that ran before",
        "thwlab rejoin MACHINE gives it a new member in its place, with the others' data",
    ),
    Signature(
        r"no matching prefix found|unable to transform key|output array was not large enough for encryption",
        "an apiserver cannot read what another has encrypted: their keys for secrets at rest differ",
        "compare encryption-config.yml on all masters; every key in use must be in each of them",
    ),
    Signature(
        r"invalid bearer token|square/go-jose: error in cryptographic primitive",
        "a token was signed by a key that this apiserver does not verify with",
        "compare sa.pub and sa.key on all masters; `thwlab up` writes the lab's own anew",
    ),
    Signature(
        r"is forbidden: User ",
        "somebody lacks a right: nobody is bound to the role, or the role has not the rule",
        "kubectl auth can-i VERB RESOURCE --as=USER; kubectl get clusterrolebinding -o wide",
    ),
    Signature(
        r"tls: internal error|no serving certificate available for the kubelet",
        "a kubelet has no serving certificate, for nobody has approved its request",
        "kubectl get csr; kubectl certificate approve NAME",
    ),
    Signature(
        r"cni plugin not initialized|failed to find plugin \S+ in path",
        "containerd has no pod network: no list in /etc/cni/net.d, or a program of it is not in /opt/cni/bin",
        "ls /etc/cni/net.d /opt/cni/bin on that worker; `thwlab up` writes both anew",
    ),
    Signature(
        r"[Uu]nit \S+ is masked",
        "somebody has forbidden systemd to start it",
        "systemctl unmask UNIT on that machine",
    ),
)


def recognised(text: str) -> Signature | None:
    """The first known signature in a program's output, if there is one."""
    return next((known for known in KNOWN if re.search(known.pattern, text)), None)
