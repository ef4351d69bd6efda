"""Which packets say goodbye, and which show that the capture looked where the machine's packets pass."""

from types import SimpleNamespace

import pytest
import support_power
import test_power_cut as judged
from support_power import Cut, goodbyes, heard

LASTING = {"192.168.100.11.6443 > 192.168.100.100.43720:"}
CUT = 1795715136.0
LINE = "1795715136.359632 IP 192.168.100.11.6443 > 192.168.100.100.43720: Flags [F.], seq 1, ack 2, length 0"
BEFORE = LINE.replace("1795715136.", "1795715135.").replace("[F.]", "[P.]")


@pytest.mark.parametrize(
    ("line", "since", "said"),
    [
        (LINE, CUT, True),
        (LINE.replace("[F.]", "[R]"), CUT, True),
        (LINE.replace("[F.]", "[P.]"), CUT, False),  # it was on its way when the link was cut
        (LINE, CUT + 1, False),  # a request that took long had ended in good order
        (LINE.replace("43720", "43721"), CUT, False),
        ("reading from file /run/x.pcap", 0.0, False),
    ],
)
def test_a_goodbye_is_one_of_a_lasting_connection_after_the_cut(line: str, since: float, said: bool) -> None:
    assert goodbyes([line], LASTING, since) == [line] * said


def test_a_capture_is_of_the_right_link_if_it_has_packets_from_before_the_cut() -> None:
    pong = "1795715135.1 IP 192.168.100.11 > 192.168.100.100: ICMP echo reply, id 1, seq 1, length 64"
    assert heard(["reading from file /run/x.pcap", pong, BEFORE, LINE], CUT) == [pong, BEFORE]


def test_the_capture_looks_at_the_interface_in_the_labs_network(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []
    shown = iter(
        ["3: eth1    inet 192.168.100.100/24", "", "", *["0 0 192.168.100.100:1 192.168.100.11:2"] * 2]
    )
    watcher = SimpleNamespace(
        name="k8s-lb",
        node=SimpleNamespace(address="192.168.100.100"),
        check=lambda *argv, **_: asked.append(argv) or next(shown),
    )
    support_power.capturing(
        watcher, SimpleNamespace(name="m", node=SimpleNamespace(address="192.168.100.11"))
    )  # type: ignore[arg-type]
    assert asked[1][3:6] == (support_power.CAPTURE, "eth1", "src host 192.168.100.11")
    assert asked[2][0] == "ping", "somebody has to say something before the cut"
    assert '-i "$1"' in asked[1][2]


def test_silence_on_a_link_where_nobody_ever_spoke_proves_nothing() -> None:
    """As on the first interface of a VM, where no packet of the lab ever passes."""
    flows = {"k8s-lb": LASTING}
    cut = Cut("m", lasting=flows, goodbyes={"k8s-lb": []}, still_open={"k8s-lb": 1}, heard={"k8s-lb": 0})
    with pytest.raises(AssertionError, match="captured no packet of m before the cut"):
        judged.test_a_power_cut_is_silent(lambda _: cut, "m")
    cut.heard["k8s-lb"] = 3
    judged.test_a_power_cut_is_silent(lambda _: cut, "m")


def test_what_a_machine_says_that_boots_again_is_no_goodbye() -> None:
    """It resets what it does not know any more."""
    assert goodbyes([LINE], LASTING, 1795715136.0, until=1795715140.0) == [LINE]
    assert goodbyes([LINE], LASTING, 1795715100.0, until=1795715136.0) == []
