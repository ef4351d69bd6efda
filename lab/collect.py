"""What a machine can tell after something failed: journals, units, network, configuration; no secrets."""

import logging
import tarfile
from collections.abc import Mapping
from functools import partial
from io import BytesIO
from pathlib import Path

from lab.errors import LabError
from lab.machine import Machine, on_each
from lab.ownership import adopt_all, make_folder

log = logging.getLogger(__name__)
SECONDS = 30.0

# Keys, tokens and kubeconfigs stay where they are: only what is named here is taken.
_COLLECT = r"""
mkdir -p "$0" && cd "$0" || exit 1
journalctl -b -o short-iso-precise --no-pager -n 20000 > journal.txt 2>&1
for u in etcd nginx haproxy kube-apiserver kube-controller-manager kube-scheduler containerd kubelet kube-proxy flanneld; do
  [ -e /etc/systemd/system/$u.service ] || continue
  { systemctl status --no-pager -n 30 $u; echo; cat /etc/systemd/system/$u.service; } > unit-$u.txt 2>&1
done
for f in /opt/etcd/cfg/etcd.conf /opt/kubernetes/cfg/*.conf /opt/kubernetes/cfg/*-config.yml /etc/nginx/nginx.conf \
         /etc/haproxy/haproxy.cfg /etc/containerd/config.toml /etc/cni/net.d/*.conflist /etc/hosts; do
  case $f in *encryption*) continue;; esac
  [ -f "$f" ] && cp "$f" "config-$(basename "$f")"
done
{ ip -d addr; ip route; ss -tanp; } > network.txt 2>&1
{ iptables-save; nft list ruleset; } > rules.txt 2>&1
{ date -u; uptime; ps axfwwo pid,ppid,etimes,pcpu,rss,args; df -h; free -m; } > system.txt 2>&1
tar -cf - . && cd / && rm -rf "$0"
"""


def collect(machines: Mapping[str, Machine], folder: Path) -> list[str]:
    """Bring every machine's report below the folder, one sub-folder each; what could not be had, as text.

    Never raises for a machine that is dead, paused or silent: its absence is part of the picture.
    """
    missing = on_each(list(machines.values()), partial(_collect_one, folder))
    return [each for each in missing.values() if each]


def _collect_one(folder: Path, machine: Machine) -> str:
    try:
        done = machine.run("sh", "-c", _COLLECT, "/tmp/thwlab-report", timeout=SECONDS)
    except LabError as error:
        return f"{machine.name}: {error}"
    if not done.ok:
        how = f"no answer within {SECONDS:.0f}s" if done.timed_out else done.stderr[-300:]
        return f"{machine.name}: {how}"
    target = make_folder(folder / machine.name)
    try:
        with tarfile.open(fileobj=BytesIO(done.out)) as tar:
            tar.extractall(target, filter="data")
    except tarfile.TarError as error:
        return f"{machine.name}: its report broke off ({error}; {done.cut} bytes were cut)"
    finally:
        adopt_all(target)
    return ""
