"""The stage graph: what needs what, run in parallel, asked for by name."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from lab.background import start
from lab.carrying import Cargo, Load
from lab.components.base import Component, cargo_of
from lab.errors import ClusterError, LabError, WaitExpired
from lab.laboratory import Laboratory
from lab.rights import same_lab
from lab.signatures import recognised
from lab.topology import Node, Role, Topology
from lab.wait import NotYet, at_most, stretch

RECHECK_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Stage:
    """A step of bring-up: what it needs, on machines of which roles, and what is true afterwards.

    `act` gives back what it had to change, such as `nginx on k8s-lb`, as far as it knows.

    One that `serves` roles is for the machines that others ask for; only alone does it ask for those.
    On slow machines it comes after those in `after` too, as far as they are asked for: they are more urgent.
    On others it comes after those in `fast_after`, likewise; whether these went well is not its affair.
    The files of those in `carries` go to a machine with the first files that anybody brings it, and with
    them those of what it `recalls`: components that are only known once a cluster has been seen.
    Who asks for this one alone gets those in `along` as well: it works without them, and they are expected.
    """

    name: str
    truth: str
    act: Callable[[Laboratory], Sequence[str] | None] = field(repr=False)
    needs: tuple[str, ...] = ()
    roles: frozenset[Role] = frozenset()
    after: tuple[str, ...] = ()
    fast_after: tuple[str, ...] = field(default=(), kw_only=True)
    serves: frozenset[Role] = frozenset()
    carries: tuple[type[Component], ...] = ()
    recalls: Callable[[Laboratory], Sequence[Component]] = field(
        default=lambda _: (), kw_only=True, repr=False
    )
    along: tuple[str, ...] = field(default=(), kw_only=True)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a stage went; `error` is None if its truth holds."""

    stage: str
    seconds: float
    error: BaseException | None = None
    tolerated: bool = False  # it was true before: what broke it is for the tests to find
    mended: tuple[str, ...] = ()  # it was true before, and yet this had to be put right


class StageFailed(ClusterError):
    """A stage of the cluster under test did not come up."""


class Blocked(LabError):
    """A stage was not tried because one it needs had failed before; names that one."""


def mark(outcome: Outcome) -> str:
    """How a stage went, in one word."""
    if outcome.error is None:
        return "mended" if outcome.mended else "ok"
    if outcome.tolerated:
        return "BROKEN"
    return "blocked" if isinstance(outcome.error, Blocked) else "FAILED"


def remark(outcome: Outcome) -> str:
    """What was not as it had been left, or nothing."""
    changed = ", ".join(outcome.mended)
    return f"was not as it had been left, and is put right: {changed}" if changed else ""


Report = Callable[[str, Outcome | None], None]
"""Called with a stage's name when it starts (None) and when it ended."""


def _silent(_: str, __: Outcome | None) -> None:
    return


class Bringup:
    """Brings stages up on request.  The first failure is the answer to every later question.

    A ``lenient`` one goes on where the cluster fails in a stage that was true of this lab before, and
    waits at most `RECHECK_SECONDS` for it: not the bring-up failed, and tests shall find what broke.
    """

    def __init__(
        self,
        lab: Laboratory,
        stages: Sequence[Stage],
        report: Report = _silent,
        *,
        lenient: bool = False,
    ) -> None:
        self.lab = lab
        self._once_true = lab.state.proven(lab.topology.digest())
        self._lenient = lenient
        self.stages = {stage.name: stage for stage in stages}
        self.outcomes: dict[str, Outcome] = {}
        self._report = report

    def require(self, *names: str) -> None:
        """Have these stages true, and what they need.  Raises the failure of the first that is not."""
        self.attempt(*names)
        self.insist(*names)

    def attempt(self, *names: str) -> None:
        """Try these stages and what they need, as far as they were not tried yet; failures are kept."""
        wanted = ancestors(self.stages, names)
        if all(name in self.outcomes for name in wanted):
            return
        # Those that were only off have been measured; new ones are while they are created.
        stretch(self.lab.provider.slowness)
        self._create_machines(wanted)
        stretch(self.lab.provider.slowness)
        todo = [s for s in self.stages.values() if s.name in wanted and s.name not in self.outcomes]
        with self._loaded(todo):
            self._run(todo)
        self.lab.state.prove(self.lab.topology.digest(), self._true())

    @contextmanager
    def _loaded(self, todo: Sequence[Stage]) -> Iterator[None]:
        """Have each machine's files carried together, for this attempt: later they may have changed."""
        kinds = [kind for stage in todo for kind in stage.carries]

        def pack(node: Node) -> Cargo:
            components = [kind(self.lab.topology, self.lab.provider.platform) for kind in kinds]
            recalled = [each for stage in todo for each in stage.recalls(self.lab)]
            probing = not self.lab.provider.is_slow  # there each takes seconds, and is asked when it is due
            return cargo_of([*components, *recalled], node, self.lab.credentials, probing=probing)

        machines = [*self.lab.machines.values()] if kinds else []
        for machine in machines:
            machine.load = Load(machine, partial(pack, machine.node))
        try:
            yield
        finally:
            for machine in machines:
                machine.load = None

    def _true(self) -> set[str]:
        return {name for name, outcome in self.outcomes.items() if name in self.stages and not outcome.error}

    def insist(self, *names: str) -> None:
        """Raise the failure of the first of these stages that is not true."""
        for name in names:
            outcome = self.outcomes[name]
            if outcome.error and not outcome.tolerated:
                raise outcome.error

    def _create_machines(self, wanted: Collection[str]) -> None:
        names = machines_for(self.lab.topology, (self.stages[name] for name in wanted))
        lacking = self._not_running(names)
        if not lacking:
            return
        self.insist(*(["machines"] if "machines" in self.outcomes else []))
        self._once_true = frozenset()
        self.lab.state.disprove()
        self._report("machines", None)
        began = time.monotonic()
        try:
            self.lab.provider.create(self.lab.topology, lacking)
            self.lab.machines.update(self.lab.provider.attach(self.lab.topology))
        except Exception as error:
            self._finish(Outcome("machines", time.monotonic() - began, error))
            raise
        self._finish(Outcome("machines", time.monotonic() - began))
        self._forget(lacking)

    def _not_running(self, names: Sequence[str]) -> list[str]:
        """Those that were never created, and those that are off or paused."""
        states = self.lab.provider.states() if self.lab.machines else {}
        return [name for name in names if states.get(name) != "running"]

    def _forget(self, created: Collection[str]) -> None:
        """What was true of the machines before is not yet true of a new one."""
        roles = {role for name in created for role in self.lab.topology.node(name).roles}
        for stage in self.stages.values():
            outcome = self.outcomes.get(stage.name)
            if outcome and not outcome.error and (not stage.roles or stage.roles & roles):
                del self.outcomes[stage.name]

    def _run(self, todo: Sequence[Stage]) -> None:
        waiting = list(todo)
        names = {stage.name for stage in waiting}
        running: dict[Future[Outcome], Stage] = {}
        while waiting or running:
            for stage in [s for s in waiting if self._is_ready(s, names)]:
                waiting.remove(stage)
                running[start(partial(self._attempt, stage), stage.name)] = stage
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                del running[future]
                self._finish(future.result())

    def _is_ready(self, stage: Stage, asked: Collection[str]) -> bool:
        before = awaited_by(stage, asked, slow=self.lab.provider.is_slow)
        return all(name in self.outcomes for name in before)

    def _attempt(self, stage: Stage) -> Outcome:
        broken = next(filter(self._has_failed, stage.needs), None)
        if broken:
            return Outcome(
                stage.name, 0.0, Blocked(f"{stage.name} was not tried, it needs {self._root(broken)}")
            )
        self._report(stage.name, None)
        began = time.monotonic()
        known = stage.name in self._once_true
        lenient = known and self._lenient
        try:
            with at_most(RECHECK_SECONDS if lenient else float("inf")):
                changed = stage.act(self.lab)
        except BaseException as error:  # noqa: BLE001 - it is handed to whoever asks for the stage
            failure = _as_failure(stage, error)
            tolerated = lenient and _is_clusters(failure)
            return Outcome(stage.name, time.monotonic() - began, failure, tolerated)
        return Outcome(stage.name, time.monotonic() - began, mended=tuple(changed or ()) if known else ())

    def _finish(self, outcome: Outcome) -> None:
        self.outcomes[outcome.stage] = outcome
        self._report(outcome.stage, outcome)

    def _root(self, name: str) -> str:
        """The stage whose own failure blocks this one."""
        while isinstance(self.outcomes[name].error, Blocked):
            name = next(need for need in self.stages[name].needs if self._has_failed(need))
        return name

    def _has_failed(self, name: str) -> bool:
        outcome = self.outcomes.get(name)
        return outcome is not None and outcome.error is not None and not outcome.tolerated


def ancestors(stages: Mapping[str, Stage], names: Iterable[str]) -> frozenset[str]:
    """These stages and all they need, however far."""
    found: set[str] = set()
    left = list(names)
    while left:
        name = left.pop()
        if name not in stages:
            raise LabError(f"there is no stage {name!r}; the stages are {', '.join(stages)}")
        if name not in found:
            found.add(name)
            left += stages[name].needs
    return frozenset(found)


def awaited_by(stage: Stage, asked: Collection[str], *, slow: bool | None) -> tuple[str, ...]:
    """The stages that must have ended before this one begins, on machines that are slow or not.  Pure.

    Those that it needs, where it is not known whether they are.
    """
    more = {True: stage.after, False: stage.fast_after, None: ()}[slow]
    return (*stage.needs, *(name for name in more if name in asked))


def machines_for(topology: Topology, stages: Iterable[Stage]) -> list[str]:
    """The machines that these stages work on, in the order of the plan."""
    asked = list(stages)
    roles = {role for stage in asked for role in stage.roles} or {
        role for stage in asked for role in stage.serves
    }
    return [node.name for node in topology.nodes if node.roles & roles]


def _as_failure(stage: Stage, error: BaseException) -> BaseException:
    """Whatever kept a component from serving is the cluster's failure; the laboratory's stay its own."""
    if isinstance(error, BaseExceptionGroup):
        return error.derive([_as_failure(stage, each) for each in error.exceptions])
    if isinstance(error, WaitExpired | NotYet | ClusterError):
        failure = StageFailed(f"stage {stage.name}: {error}{_meaning(error)}")
        failure.__cause__ = error
        return failure
    return error


def _is_clusters(failure: BaseException) -> bool:
    if isinstance(failure, BaseExceptionGroup):
        return all(_is_clusters(each) for each in failure.exceptions)
    return isinstance(failure, StageFailed)


def _meaning(error: Exception) -> str:
    """Of what a known program's words mean; what was waited for is called by its name and machine."""
    known = recognised(str(error))
    if known is None:
        return ""
    machine = error.what.partition(" on ")[2] if isinstance(error, WaitExpired) else ""
    return f"\n  that means: {known.cause}\n  remedy: {same_lab(known.remedy_on(machine))}"
