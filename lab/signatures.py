"""Known words of programs that mean something else than they say, and what to do about it."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Signature:
    """What is printed, what it means, and what helps."""

    pattern: str
    cause: str
    remedy: str


KNOWN = (
    # Containers share the host's limits, and systemd says "open files" when it means inotify instances:
    # https://github.com/lxc/incus-os/issues/693
    Signature(
        r"inotify.*Too many open files|Too many open files.*inotify|too many open files.*fsnotify",
        "this host's limit of inotify instances, which all machines of all labs share, is reached",
        "sysctl -w fs.inotify.max_user_instances=1024, or end another lab",
    ),
    Signature(
        r"(?i)disk quota exceeded.*key|keyctl.*(quota|exceeded)|failed to (create|join) session keyring",
        "this host's limit of kernel keys, which all machines of all labs share, is reached",
        "sysctl -w kernel.keys.maxkeys=2000 kernel.keys.maxbytes=2000000, or end another lab",
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
)


def recognised(text: str) -> Signature | None:
    """The first known signature in a program's output, if there is one."""
    return next((known for known in KNOWN if re.search(known.pattern, text)), None)
