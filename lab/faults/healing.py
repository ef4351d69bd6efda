"""Paying debts: a fault built again from its record, healed, and proven healed."""

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from lab.cluster import Cluster
from lab.debts import Damaged, Debt, examined, read
from lab.errors import FAILURES, LabError, WaitExpired
from lab.faults.base import Fault, rebuilt
from lab.faults.catalogue import FAULTS
from lab.machine import Machine, on_each
from lab.opening import reopened, state_of
from lab.wait import hopeful, wait_until

WITHIN = 90.0  # seconds for what was hit to serve again
COMMAND = 20.0


class Unhealed(LabError):
    """Something is broken that we broke; nothing measured on this lab means anything until it is whole."""


def arm(cluster: Cluster, fault: Fault, debt: Debt, seconds: float) -> None:
    """Set a timer on each victim that can undo it alone; it fires if nobody disarms it in time.

    On all at once: each runs from when it was set, and the fault begins only when all are.
    """
    texts = {script.machine: script.text for script in fault.undo()}
    # `--collect`, else a unit that failed would keep its name and the next could not be armed.
    argv = ("systemd-run", "--quiet", "--collect", f"--on-active={seconds:.0f}s", f"--unit={debt.name}")
    timing = "--timer-property=AccuracySec=100ms"

    def set_on(machine: Machine) -> None:
        machine.check(*argv, timing, "sh", "-c", texts[machine.name], timeout=COMMAND)

    on_each([cluster.machines[name] for name in texts], set_on)


def disarm(machines: Sequence[Machine], debt: Debt) -> None:
    """Stop the victims' timers; harmless where there is none any more."""
    for machine in machines:
        machine.run("systemctl", "stop", f"{debt.name}.timer", timeout=COMMAND)


def heal(
    cluster: Cluster, debt: Debt, *, within: float = WITHIN, undone: Callable[[], None] = lambda: None
) -> None:
    """Undo what the debt tells of, prove it, and pay.  Raises `Unhealed` with what was seen last.

    ``undone`` is called in between.  Ends where somebody else has paid meanwhile, who has proven it, or the
    lab was removed.
    """
    fault = _fault_of(debt)

    def healed() -> None:
        if debt.is_owed():
            _healed(cluster, fault)

    def proven() -> None:
        if debt.is_owed():
            _proven(cluster, fault)

    try:
        wait_until(f"healing {fault.word}", healed, timeout=within, every=0.2)
        undone()
        wait_until(f"{fault.word} to leave nothing", proven, timeout=within, every=0.1)
    except WaitExpired as error:
        raise Unhealed(
            f"{fault.word} on {', '.join(fault.machines)} is not healed: {error}",
            remedy=fault.remedy(cluster),
        ) from error
    if debt.is_owed():
        disarm([cluster.machines[name] for name in fault.machines if name in cluster.machines], debt)
        debt.pay()


def heal_all(cluster: Cluster, state: Path, *, within: float = WITHIN) -> list[str]:
    """Pay every debt of the lab, the newest first; what was healed, a line for each.

    Tries all of them, whatever fails, and raises the failures together; a file that tells of none is one.
    """
    return _pay(cluster, *examined(state), within)


def heal_due(cluster: Cluster, state: Path) -> list[str]:
    """The same for those that should have been paid by now."""
    owed, damaged = examined(state)
    return _pay(cluster, [debt for debt in owed if debt.due_for()], damaged)


def _pay(
    cluster: Cluster, owed: Sequence[Debt], damaged: Sequence[Damaged], within: float = WITHIN
) -> list[str]:
    done: list[str] = []
    failures: list[BaseException] = [*damaged]
    for debt in reversed(owed):
        try:
            heal(cluster, debt, within=within)
            done.append(str(debt))
        except FAILURES as error:
            failures.append(error)
    if failures:
        raise BaseExceptionGroup("not everything is healed", failures)
    return done


def heal_lab(name: str) -> list[str]:
    """Pay every debt of the lab of that name, if there is one that owes any; what was healed."""
    state = state_of(name)
    if not any(examined(state.path)):
        return []
    with closing(reopened(name)) as lab:
        return heal_all(Cluster(lab), state.path)


def heal_file(cluster: Cluster, path: Path) -> None:
    """Pay the debt in this file, if it is still owed."""
    try:
        debt = read(path)
    except FileNotFoundError:
        return
    heal(cluster, debt)


def _healed(cluster: Cluster, fault: Fault) -> None:
    """A victim that cannot be asked yet may be, once its link or its power is back."""
    with hopeful():
        fault.heal(cluster)


def _proven(cluster: Cluster, fault: Fault) -> None:
    """What was just started anew may answer with an error, or not at all, before it serves."""
    with hopeful():
        fault.check_healed(cluster)


def _fault_of(debt: Debt) -> Fault:
    try:
        return rebuilt(FAULTS, debt.record)
    except (KeyError, TypeError) as error:
        raise Unhealed(
            f"{debt.path} tells of a fault that this version does not know: {debt.record}",
            remedy="heal it with the version that made it, or thwlab down and up",
        ) from error
