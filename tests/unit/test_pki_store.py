import os
import re
import shutil
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from fixed import guide_topology

from lab.pki import (
    USES,
    Credentials,
    Usage,
    expiring,
    issue,
    load_or_create,
)
from lab.pki.uses import planned
from lab.topology import Topology

DAY = timedelta(days=1)
PLAN = guide_topology()
MASTER1, LB, WORKER1 = PLAN.node("k8s-master1"), PLAN.node("k8s-lb"), PLAN.node("k8s-worker1")
USE = {use.name: use for use in USES}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of good credentials; read only by convention, copy it to do damage."""
    directory = tmp_path_factory.mktemp("lab") / "pki"
    load_or_create(PLAN, directory)
    return directory


@pytest.fixture
def directory(kept: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(kept, tmp_path / "pki"))


@pytest.fixture(scope="module")
def credentials(kept: Path) -> Credentials:
    return load_or_create(PLAN, kept)


def parsed(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem)


def names(certificate: x509.Certificate) -> set[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return set()
    return {str(name.value) for name in extension.value}


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def modes(directory: Path) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}


def test_files_are_for_the_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        load_or_create(PLAN, tmp_path / "pki")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "pki").stat().st_mode) == 0o700
    assert modes(tmp_path / "pki") == {0o600}


def test_loosened_modes_are_tightened_again(directory: Path) -> None:
    for path in (directory, *directory.iterdir()):
        path.chmod(0o755)
    (directory / ".lock").unlink()
    load_or_create(PLAN, directory)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert modes(directory) == {0o600}


def test_a_second_load_changes_nothing(directory: Path) -> None:
    before, first = files(directory), load_or_create(PLAN, directory)
    assert load_or_create(PLAN, directory) == first
    assert files(directory) == before
    assert first.reissued == {}


def test_new_nodes_are_added_and_old_ones_kept(tmp_path: Path) -> None:
    small: Topology = replace(PLAN, nodes=tuple(n for n in PLAN.nodes if not n.name.endswith("2")))
    first = load_or_create(small, tmp_path / "pki")
    both = load_or_create(PLAN, tmp_path / "pki")
    assert {owner for _, owner in both.pairs.keys() - first.pairs.keys()} == {"k8s-master2", "k8s-worker2"}
    assert both.pair("kubernetes", MASTER1) == first.pair("kubernetes", MASTER1)
    assert both.service_account == first.service_account
    assert set(both.reissued) == {"etcd-server@k8s-lb", "etcd-peer@k8s-lb"}  # etcd-2 is etcd-3 now


def test_a_removed_node_loses_its_pairs_and_not_its_files(directory: Path) -> None:
    before = files(directory)
    fewer = load_or_create(replace(PLAN, nodes=(MASTER1, LB)), directory)
    assert ("kube-proxy", "k8s-worker1") not in fewer.pairs
    assert files(directory).keys() == before.keys()


def test_a_moved_node_gets_new_certificates_and_the_reason_is_told(directory: Path) -> None:
    before = load_or_create(PLAN, directory)
    moved = replace(WORKER1, address=IPv4Address("192.168.100.31"))
    master = replace(MASTER1, address=IPv4Address("192.168.100.13"))
    nodes = {node.name: node for node in PLAN.nodes} | {moved.name: moved, master.name: master}
    after = load_or_create(replace(PLAN, nodes=tuple(nodes.values())), directory)
    assert set(after.reissued) == {f"{use}@k8s-master1" for use in USE if "{address}" in USE[use].sans}
    assert "192.168.100.13" in after.reissued["etcd-peer@k8s-master1"]
    assert after.pair("kube-proxy", WORKER1) == before.pair("kube-proxy", WORKER1)
    assert "192.168.100.13" in names(parsed(after.pair("kubernetes", MASTER1).cert))


@pytest.mark.parametrize(("days", "replaced"), [(357, False), (359, True), (400, True)])
def test_a_certificate_is_renewed_in_its_last_week(days: int, replaced: bool, directory: Path) -> None:
    now = datetime.now(UTC) + days * DAY
    after = load_or_create(PLAN, directory, now=now)
    assert ("etcd-server@k8s-master1" in after.reissued) is replaced
    assert load_or_create(PLAN, directory, now=now).reissued == {}


def test_renewal_spares_cas_and_keys_of_the_cluster(directory: Path) -> None:
    before = load_or_create(PLAN, directory)
    now = datetime.now(UTC) + 400 * DAY
    after = load_or_create(PLAN, directory, now=now)
    begin = parsed(after.pair("user").cert).not_valid_before_utc
    assert timedelta(minutes=5) <= now - begin < timedelta(minutes=5, seconds=1)
    assert after.authorities == before.authorities
    assert after.service_account == before.service_account
    assert after.encryption_key == before.encryption_key


def test_a_token_is_replaced_in_its_last_hour_only(directory: Path) -> None:
    token = load_or_create(PLAN, directory).bootstrap_token
    soon, late = (token.expires - timedelta(minutes=minutes) for minutes in (61, 59))
    assert load_or_create(PLAN, directory, now=soon).bootstrap_token == token
    after = load_or_create(PLAN, directory, now=late)
    assert after.bootstrap_token.secret != token.secret
    assert set(after.reissued) == {"bootstrap-token"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"cn": "system:kube-scheduler"}, "CN system:kube-scheduler, planned system:kube-proxy"),
        ({"o": "system:masters"}, "O system:masters, planned system:node-proxier"),
        ({"sans": ["k8s-worker1"]}, r"names \['k8s-worker1'\], planned \[\]"),
        ({"usages": {Usage.SERVER, Usage.CLIENT}}, "usages"),
        ({"not_before": datetime.now(UTC) + DAY}, "not valid before"),
        ({"not_after": datetime.now(UTC) + DAY}, "ends at"),
    ],
    ids=["CN", "O", "names", "usages", "early", "late"],
)
def test_what_the_plan_did_not_ask_for_is_replaced(
    change: dict[str, Any], reason: str, directory: Path
) -> None:
    ca = load_or_create(PLAN, directory).authorities["kubernetes"]
    good: dict[str, Any] = {
        "cn": "system:kube-proxy",
        "o": "system:node-proxier",
        "usages": {Usage.CLIENT},
    }
    wrong = issue(ca, **good | change)
    (directory / "kube-proxy@k8s-worker1.pem").write_bytes(wrong.cert + wrong.key)
    reissued = load_or_create(PLAN, directory).reissued
    assert reissued.keys() == {"kube-proxy@k8s-worker1"}
    assert re.search(reason, reissued["kube-proxy@k8s-worker1"])


def test_two_at_once_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(max_workers=4) as pool:
        runs = [pool.submit(load_or_create, PLAN, tmp_path / "pki") for _ in range(4)]
    first, *rest = (run.result() for run in runs)
    assert all(other == first for other in rest)


def test_two_labs_share_nothing(credentials: Credentials, tmp_path: Path) -> None:
    other = load_or_create(PLAN, tmp_path / "pki")
    assert not {pair.key for pair in other.pairs.values()} & {p.key for p in credentials.pairs.values()}
    assert other.encryption_key != credentials.encryption_key
    assert other.bootstrap_token.secret != credentials.bootstrap_token.secret


def test_expiring_counts_days(directory: Path) -> None:
    now = datetime.now(UTC)
    assert expiring(directory, 30 * DAY, now=now) == []
    soon = expiring(directory, 30 * DAY, now=now + 340 * DAY)
    assert {name for name, _ in soon} == {plan.name for plan in planned(PLAN)}
    assert all(24 < left < 26 for _, left in soon)
    ended = expiring(directory, 30 * DAY, now=now + 3655 * DAY)
    assert ended[-1][1] > ended[0][1]
    assert dict(ended)["etcd-ca"] == pytest.approx(-5, abs=0.1)


def test_a_whole_lab_takes_no_time(tmp_path: Path) -> None:
    def seconds(attempt: int) -> float:
        began = time.process_time()
        load_or_create(PLAN, tmp_path / str(attempt))
        return time.process_time() - began

    assert min(seconds(attempt) for attempt in range(3)) < 0.15


def test_leaves_of_a_vanished_ca_are_issued_again(directory: Path) -> None:
    (directory / "front-proxy-ca.pem").unlink()
    after = load_or_create(PLAN, directory)
    assert set(after.reissued) == {"front-proxy-client@k8s-master1", "front-proxy-client@k8s-master2"}
