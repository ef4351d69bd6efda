"""Which packets say goodbye: those of connections that were to last, and only from the cut on."""

import pytest
from support_power import is_goodbye

LASTING = {"192.168.100.11.6443 > 192.168.100.100.43720:"}
LINE = "1795715136.359632 IP 192.168.100.11.6443 > 192.168.100.100.43720: Flags [F.], seq 1, ack 2, length 0"


@pytest.mark.parametrize(
    ("line", "since", "said"),
    [
        (LINE, 1795715136.0, True),
        (LINE, 1795715137.0, False),  # a request that took long had ended in good order
        (LINE.replace("43720", "43721"), 1795715136.0, False),
        ("reading from file /run/x.pcap", 0.0, False),
    ],
)
def test_a_goodbye_is_one_of_a_lasting_connection_after_the_cut(line: str, since: float, said: bool) -> None:
    assert is_goodbye(line, LASTING, since) is said


def test_what_a_machine_says_that_boots_again_is_no_goodbye() -> None:
    """It resets what it does not know any more."""
    assert is_goodbye(LINE, LASTING, 1795715136.0, until=1795715140.0)
    assert not is_goodbye(LINE, LASTING, 1795715100.0, until=1795715136.0)
