"""Two sets of runs: a difference is one only where no run of either lies among those of the other."""

from lab.failover.comparing import apart, compared, only_in_one
from lab.invariants.finding import Finding, Unit, Verdict
from lab.scenario.judging import Judgement

OUTAGE, SHARE = "longest-outage of api", "availability of api"


def runs(scenario: str, title: str, *values: float | None, bound: str = "at-most") -> list[Judgement]:
    unit = Unit.SECONDS if bound == "at-most" else Unit.SHARE
    found = [Finding(title, Verdict.HELD, value, 1.0, unit, None, "", bound) for value in values]
    return [Judgement(scenario, (each,), Verdict.HELD, (), ()) for each in found]


def test_sets_that_overlap_do_not_differ_however_their_medians_do() -> None:
    seen = compared(runs("crash", OUTAGE, 1, 2, 9), runs("crash", OUTAGE, 3, 4, 5))[0]
    assert (seen.first.median, seen.second.median) == (2, 4)
    assert (seen.differs, seen.better) == (False, "")
    assert "no difference beyond the spread" in seen.line()


def test_less_is_better_of_an_outage_and_more_of_availability() -> None:
    assert compared(runs("crash", OUTAGE, 1, 2, 2), runs("crash", OUTAGE, 3, 4, 3))[0].better == "A"
    low, high = (
        runs("crash", SHARE, *some, bound="at-least") for some in ((0.8, 0.85, 0.9), (0.97, 0.98, 0.99))
    )
    seen = compared(low, high)[0]
    assert seen.better == "B"
    assert seen.line() == (
        "crash: availability of api: A median 85 %, worst 80 %, spread 10 % (n=3);"
        " B median 98 %, worst 97 %, spread 2 % (n=3); B is better"
    )


def test_what_one_set_did_not_measure_is_not_better_or_worse() -> None:
    seen = compared(runs("crash", OUTAGE, None, None), runs("crash", OUTAGE, 3))[0]
    assert (seen.comparable, seen.better) == (False, "")
    assert seen.line().endswith("A nothing in 2 runs; B 3.00 s; measured in one set only")


def test_scenarios_that_only_one_set_has_are_named() -> None:
    first, second = runs("crash", OUTAGE, 1), runs("freeze", OUTAGE, 1)
    assert compared(first, second) == []
    assert list(only_in_one(first, second)) == ["only in A: crash", "only in B: freeze"]


def test_what_the_sets_were_run_on_is_named_with_every_difference() -> None:
    mine = {"name": "a", "profile": "hardened", "host.provider": "incus", "load-balancer": "nginx"}
    other = {**mine, "name": "b", "load-balancer": "haproxy", "tuning.check-fall": "3"}
    told = list(apart([mine, mine], [mine, other]))
    assert told[0].startswith("A on profile hardened, host.provider incus, ")
    assert told[0].endswith("load-balancer nginx")
    assert told[1].endswith("load-balancer haproxy and nginx")
    assert told[2:] == [
        "differs: load-balancer: A nginx; B haproxy and nginx",
        "differs: tuning.check-fall: A (none); B (none) and 3",
    ]


def never(scenario: str, title: str, times: int, bound: str = "at-most") -> list[Judgement]:
    """Runs that ended before it did."""
    found = Finding(title, Verdict.BROKEN, None, 1.0, Unit.SECONDS, None, "", bound)
    return [Judgement(scenario, (found,), Verdict.BROKEN, (), ())] * times


def test_what_never_came_is_worse_than_whatever_came() -> None:
    first = [*runs("crash", "recovery of api", 1, 1.1), *never("crash", "recovery of api", 3)]
    second = runs("crash", "recovery of api", 2, 2.2, 2.4)
    seen = compared(first, second)[0]
    assert seen.better == ""
    assert "A median never, worst never, spread endless (n=5)" in seen.line()
    assert compared(never("crash", "recovery of api", 3), second)[0].better == "B"
    assert compared(never("crash", "recovery of api", 3, "at-least"), second)[0].better == "B"


def test_a_run_or_two_say_nothing_of_how_runs_scatter() -> None:
    seen = compared(runs("crash", OUTAGE, 1.00), runs("crash", OUTAGE, 1.01))[0]
    assert seen.better == ""
    assert seen.line().endswith("fewer than 3 runs on a side, too few to tell")
