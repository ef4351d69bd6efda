"""Whether a lab may be broken: what earlier faults left is healed first, then the lab is proven whole."""

from collections.abc import Callable

from lab.cluster import Cluster
from lab.debts import REMEDY, examined
from lab.errors import FAILURES, LabError, flat
from lab.faults.healing import heal_all

Tell = Callable[[str], None]
SICK = "thwlab up puts right what it can; thwlab status shows the rest"


class NotFit(LabError):
    """The lab was not whole before anything was done to it, so nothing was."""


def make_fit(cluster: Cluster, tell: Tell, prove: Callable[[Cluster], None]) -> None:
    """Heal what earlier runs left, then ``prove`` that the lab is whole; `NotFit` with what it lacks.

    In this order, for what is broken on purpose does not become whole by waiting for it.
    """
    try:
        heal_left(cluster, tell)
        prove(cluster)
    except FAILURES as error:
        raise NotFit(
            f"the lab is not whole, so it is not broken any further: {flat(error)}",
            remedy=REMEDY if any(examined(cluster.lab.state.path)) else SICK,
        ) from error


def heal_left(cluster: Cluster, tell: Tell) -> None:
    """Heal whatever is broken on purpose, and tell it; raises together what cannot be healed."""
    for done in heal_all(cluster, cluster.lab.state.path):
        tell(f"  healed what an earlier run left: {done}")
