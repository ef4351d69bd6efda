"""Known words of programs are recognised by what they print, and nothing else is."""

import pytest

from lab.bringup import Outcome
from lab.signatures import KNOWN, recognised


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("Failed to create control group inotify object: Too many open files", "inotify"),
        ("alarm:NOSPACE", "quota"),
        ("write /var/x: No space left on device", "disk"),
        ("x509: certificate has expired or is not yet valid", "time has passed"),
    ],
)
def test_what_programs_say_gets_its_meaning(text: str, cause: str) -> None:
    known = recognised(text)
    assert known is not None
    assert cause in known.cause
    assert known.remedy


def test_ordinary_output_means_nothing_else() -> None:
    assert recognised("connection refused") is None
    assert Outcome("etcd", 0.0).error is None
    assert all(known.cause and known.remedy for known in KNOWN)
