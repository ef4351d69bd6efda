"""What the etcd tests conclude from members' answers."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from support_etcd import alarms, is_refusal, torn_words, unlike
from test_durability import Loss

from lab.cluster import Cluster
from lab.errors import ClusterError

A, B, C = (f"https://192.168.100.{n}:2379" for n in (11, 12, 100))


@pytest.mark.parametrize(
    ("hashes", "others"),
    [
        ({A: 7, B: 7, C: 7}, []),
        ({A: 7, B: 7, C: 8}, [C]),
        ({A: 6, B: 7, C: 7}, [A]),
        ({A: 6, B: 7}, [A, B]),
        ({A: 6, B: 7, C: 8}, [A, C, B]),
        ({A: 6}, []),
    ],
)
def test_the_member_that_differs_from_most_is_named(hashes: dict[str, int], others: list[str]) -> None:
    assert unlike(hashes) == sorted(others)


class Etcd:
    """One member, whose `member list` is given."""

    topology = SimpleNamespace(etcd_name=lambda node: f"etcd-{node}")

    def __init__(self, listed: str, ok: bool = True) -> None:
        self._listed = SimpleNamespace(ok=ok, stdout=listed)

    def of(self, role: object) -> list[Any]:
        return [SimpleNamespace(node="1", name="k8s-master1")]

    def etcdctl(self, *args: str) -> Any:
        return self._listed


def test_an_alarm_names_the_member_and_its_machine() -> None:
    etcd = cast(Cluster, Etcd('{"members": [{"ID": 18446744073709551615, "name": "etcd-1"}]}'))
    assert alarms(etcd, "memberID:18446744073709551615  alarm:NOSPACE") == [
        "NOSPACE of etcd-1 on k8s-master1"
    ]


def test_an_alarm_of_nobody_known_keeps_its_number() -> None:
    etcd = cast(Cluster, Etcd("", ok=False))
    assert alarms(etcd, "memberID:5  alarm:CORRUPT") == ["CORRUPT of 5 on ?"]


def test_a_caller_that_cut_its_connection_was_not_refused() -> None:
    """Seen once in some fifty bring-ups, of an apiserver; a wrong certificate is what is looked for."""
    own = ("127.", "192.168.100.11:")
    told = {"msg": "rejected connection on client endpoint", "remote-addr": "192.168.100.11:33824"}
    wrong = "tls: failed to verify certificate: x509: certificate signed by unknown authority"
    reset = "read tcp 192.168.100.11:2379->192.168.100.11:33824: read: connection reset by peer"
    assert is_refusal({**told, "error": wrong}, own)
    assert is_refusal({**told, "error": "EOF"}, own)
    assert not is_refusal({**told, "error": reset}, own)
    assert not is_refusal({**told, "error": wrong, "remote-addr": "192.168.100.12:1"}, own)
    assert not is_refusal({**told, "msg": "closed", "error": wrong}, own)


@pytest.mark.parametrize(
    "said",
    [
        '{"level":"fatal","msg":"failed to read WAL, cannot be repaired","error":"walpb: crc mismatch"}',
        "panic: tocommit(812) is out of range [lastIndex(640)]. Was the raft log corrupted, or lost?",
        "panic: failed to recover v3 backend from snapshot",
        "panic: failed to open database: file size too small 0",
    ],
)
def test_a_torn_log_or_database_is_known_by_etcds_own_words(said: str) -> None:
    assert torn_words(f'{{"level":"info","msg":"starting"}}\n{said}\n') == said


def test_a_member_that_is_late_or_away_is_none_with_torn_data() -> None:
    """Slowness, a lost quorum or a machine that does not boot proves no power cut."""
    late = '{"level":"warn","msg":"apply request took too long"}\n{"level":"error","msg":"no leader"}\n'
    assert torn_words(late) == ""
    away = Loss(40, [], ClusterError("2 of 3 healthy"), [])
    assert not away.is_shown
    assert "no member speaks of a torn log" in away.told()
    assert Loss(40, ["k8s-lb lacks w000039"], None, []).is_shown
    assert Loss(40, [], ClusterError("0 healthy"), ["k8s-lb: walpb: crc mismatch"]).is_shown
