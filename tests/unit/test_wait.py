"""Waiting: deadlines that hold, and what passes straight through."""

import time

import pytest

from lab.errors import LabError, WaitExpired
from lab.wait import NotYet, wait_until


def test_the_value_of_the_first_good_answer_comes_back() -> None:
    answers = iter([NotYet("no"), NotYet("no"), "yes"])

    def check() -> str:
        answer = next(answers)
        if isinstance(answer, NotYet):
            raise answer
        return answer

    assert wait_until("it", check, timeout=5, every=0.001) == "yes"


def never() -> None:
    raise NotYet("1 of 3 members")


def test_the_error_says_what_how_long_and_what_was_seen_last() -> None:
    with pytest.raises(
        WaitExpired, match=r"gave up on a quorum after 0\.\ds; last seen: 1 of 3 members"
    ) as caught:
        wait_until("a quorum", never, timeout=0.05, every=0.01)
    assert (caught.value.what, caught.value.last) == ("a quorum", "1 of 3 members")
    assert isinstance(caught.value.__cause__, NotYet)


def test_the_check_runs_once_even_without_any_time() -> None:
    assert wait_until("it", lambda: 1, timeout=0) == 1
    with pytest.raises(WaitExpired):
        wait_until("it", never, timeout=-1)


def test_a_pause_never_reaches_beyond_the_deadline_and_the_check_runs_at_it() -> None:
    seen: list[float] = []
    start = time.monotonic()

    def check() -> None:
        seen.append(time.monotonic() - start)
        raise NotYet("no")

    with pytest.raises(WaitExpired):
        wait_until("it", check, timeout=0.1, every=60)
    assert len(seen) == 2
    assert 0.1 <= seen[1] < 5


@pytest.mark.parametrize("error", [LabError("x"), ValueError("x"), KeyboardInterrupt()])
def test_any_other_error_passes_at_once(error: BaseException) -> None:
    calls = []

    def check() -> None:
        calls.append(1)
        raise error

    with pytest.raises(type(error)):
        wait_until("it", check, timeout=60)
    assert calls == [1]
