"""Waiting: deadlines that hold, and what passes straight through."""

import time
from collections.abc import Iterator

import pytest

from lab.background import start
from lab.errors import LabError, WaitExpired
from lab.wait import MOST, NotYet, at_most, dwell, shortened, stretch, stretched, telling, wait_until


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


@pytest.fixture
def fast_again() -> Iterator[None]:
    yield
    stretch(1.0)


@pytest.mark.usefixtures("fast_again")
def test_waits_for_slow_machines_last_longer_up_to_a_limit() -> None:
    stretch(5.0)
    with pytest.raises(WaitExpired) as caught:
        wait_until("it", never, timeout=0.04, every=0.01)
    assert 0.2 <= caught.value.seconds < 2
    stretch(1000.0)
    assert stretched(1.0) == MOST
    stretch(0.1)
    assert stretched(1.0) == 1.0


@pytest.mark.usefixtures("fast_again")
def test_a_limit_on_waits_is_stretched_as_they_are() -> None:
    stretch(5.0)
    with at_most(0.04), pytest.raises(WaitExpired) as caught:
        wait_until("it", never, timeout=60, every=0.01)
    assert 0.2 <= caught.value.seconds < 2


@pytest.mark.usefixtures("fast_again")
def test_slow_machines_are_asked_less_often_and_for_less_long() -> None:
    stretch(10.0)
    calls: list[float] = []

    def check() -> None:
        calls.append(time.monotonic())
        raise NotYet("no")

    with pytest.raises(WaitExpired):
        wait_until("it", check, timeout=0.05, every=0.02)
    assert len(calls) <= 4  # 0.5 s by pauses of 0.2; without the stretch there would be 25
    assert shortened(3.0) == pytest.approx(0.3)


def test_a_phase_lasts_as_long_as_it_should_and_ends_at_once_with_what_watches_it() -> None:
    began = time.monotonic()
    dwell(0.12, lambda: None, every=0.05)
    assert time.monotonic() - began >= 0.12

    def broken() -> None:
        raise LabError("a prober has ended")

    with pytest.raises(LabError, match="a prober has ended"):
        dwell(60, broken)
    dwell(-1, broken)


@pytest.mark.usefixtures("fast_again")
def test_what_no_machine_has_to_do_with_is_waited_for_exactly_so_long() -> None:
    stretch(20.0)
    with pytest.raises(WaitExpired) as caught:
        wait_until("a lock", never, timeout=0.1, every=0.02, exactly=True)
    assert caught.value.seconds < 1


def test_a_wait_that_lasts_says_what_for_and_what_it_saw_last_and_a_short_one_nothing() -> None:
    said: list[str] = []
    with telling(said.append, silence=0.1):
        with pytest.raises(WaitExpired):
            wait_until("a quorum", never, timeout=0.05, every=0.01)
        assert said == []
        with pytest.raises(WaitExpired):
            wait_until("a quorum", never, timeout=0.4, every=0.01)
    assert 1 <= len(said) <= 4
    assert set(said) == {"  ...    waiting 0 s for a quorum: 1 of 3 members"}
    with pytest.raises(WaitExpired):
        wait_until("a quorum", never, timeout=0.2, every=0.01)
    assert len(said) <= 4


def test_waits_of_many_threads_share_one_word() -> None:
    said: list[str] = []
    silence, begun = 0.1, time.monotonic()

    def wait() -> None:
        with pytest.raises(WaitExpired):
            wait_until("a quorum", never, timeout=0.5, every=0.01)

    with telling(said.append, silence=silence):
        for task in [start(wait, f"waiter {each}") for each in range(5)]:
            task.result()
    assert 1 <= len(said) <= (time.monotonic() - begun) / silence, "threads begin late on a busy machine"
