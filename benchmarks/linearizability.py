"""How long the checker takes for a long history, and whether it finds what was broken in it.

``.venv/bin/python benchmarks/linearizability.py``; README.md beside this file says what is measured.
"""

import random
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import click

from lab.linearizability import Action, Judgement, Operation, Outcome, judge, register

OPERATIONS, KEYS, CLIENTS, UNKNOWN = 100_000, 1_000, 10, 0.05
BROKEN = 10
GOAL_SECONDS, GOAL_DECIDED = 60.0, 0.99


@dataclass(frozen=True, slots=True)
class Figures:
    """What came of one history."""

    name: str
    seconds: float
    judgement: Judgement
    seeded: frozenset[int]

    @property
    def decided(self) -> float:
        """The part of all keys with a verdict that is not unknown."""
        return 1 - len(self.judgement.undecided) / len(self.judgement.keys)

    @property
    def found(self) -> frozenset[object]:
        """The keys that are called broken."""
        return frozenset(each.key for each in self.judgement.broken)

    @property
    def is_good(self) -> bool:
        """Whether the goals are met."""
        return self.seconds <= GOAL_SECONDS and self.decided >= GOAL_DECIDED and self.found == self.seeded

    def __str__(self) -> str:
        return (
            f"{self.name:34} {self.seconds:6.1f} s {self.decided:8.2%} decided "
            f"{len(self.found & self.seeded):3} of {len(self.seeded)} found, "
            f"{len(self.found - self.seeded)} called broken that are not"
        )


def history(key: int, dice: random.Random, values: int | None) -> list[Operation]:
    """What ten clients see who work on one key at once: a true register, asked within each interval.

    `values` is how many values there are; None: every write has one of its own.
    """
    free = [0] * CLIENTS
    planned = []
    for number in range(OPERATIONS // KEYS):
        client = min(range(CLIENTS), key=lambda each: free[each])
        call = free[client] + dice.randint(1, 5)
        answer = call + dice.randint(1, 100)
        free[client] = answer
        planned.append((dice.randint(call, answer), number, client, call, answer))
    state: int | None = None
    operations = []
    for _, number, client, call, answer in sorted(planned):
        action = dice.choice([Action.READ, Action.READ, Action.WRITE, Action.CAS])
        fresh = number + 1 if values is None else dice.randint(1, values)
        known = dice.random() >= UNKNOWN
        outcome = Outcome.OK if known else Outcome.UNKNOWN
        value = state if action is Action.READ else fresh
        expected = state if action is Action.CAS else None
        operations.append(Operation(action, value, call, answer, outcome, expected, key, client))
        if action is not Action.READ and (known or dice.random() < 0.5):
            state = fresh
    return operations


def spoiled(operations: Sequence[Operation], dice: random.Random, values: int | None) -> list[Operation]:
    """The same with one read of a value that was overwritten long before; of few values, of another one."""
    reads = [each for each in operations if each.action is Action.READ and each.outcome is Outcome.OK]
    late = dice.choice(reads[len(reads) // 2 :])
    old = next(each for each in operations if each.changes and each.outcome is Outcome.OK)
    wrong = old.value if values is None else values + 1
    return [replace(each, value=wrong) if each is late else each for each in operations]


def measured(name: str, seed: int, values: int | None, broken: int) -> Figures:
    """Make a history, judge it, take the time of the judgement only."""
    dice = random.Random(seed)
    keys = [history(key, dice, values) for key in range(KEYS)]
    seeded = frozenset(dice.sample(range(KEYS), broken))
    for key in seeded:
        keys[key] = spoiled(keys[key], dice, values)
    operations = sorted((each for key in keys for each in key), key=lambda each: each.call)
    began = time.perf_counter()
    judgement = judge(operations, register())
    return Figures(name, time.perf_counter() - began, judgement, seeded)


@click.command()
@click.option("--seed", default=9, show_default=True, help="Of all choices.")
def main(seed: int) -> None:
    """Judge four histories of 100,000 operations; exit 1 if a goal is missed."""
    print(
        f"{OPERATIONS} operations, {KEYS} keys, {CLIENTS} clients on each, {UNKNOWN:.0%} unknown; seed {seed}"
    )
    good = True
    for name, values in (("own value for each write", None), ("five values", 5)):
        for broken in (0, BROKEN):
            figures = measured(f"{name}{', spoiled' if broken else ''}", seed, values, broken)
            print(figures, flush=True)
            good = good and figures.is_good
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"at most {peak:.0f} MiB; goal: {GOAL_SECONDS:.0f} s, {GOAL_DECIDED:.0%} decided, all found")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
