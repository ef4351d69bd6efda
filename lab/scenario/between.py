"""How one scenario is kept from inheriting the damage of another: by proof, or by a snapshot."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from lab.cluster import Cluster
from lab.errors import FAILURES, flat
from lab.probes.fresh import insist_fresh_pods
from lab.providers.base import Capability
from lab.scenario.fitness import heal_left, make_fit
from lab.scenario.spent import RESTORE, Spent
from lab.scenario.steadiness import insist_steady
from lab.wait import telling

SNAPSHOT = "thwlab-between"


class Policy(StrEnum):
    """`auto`: prove it, and go back where that fails; `verify`: prove it; `restore`: always go back.

    A lab of slow machines does not come to rest by itself after a fault that let its leases go: it goes back
    with `auto` too, which takes half the time of a proof.
    """

    AUTO = "auto"
    VERIFY = "verify"
    RESTORE = "restore"


def insist_whole(cluster: Cluster) -> None:
    """Return once all serve, members agree and a new pod on every worker answered; else `ClusterError`."""
    insist_steady(cluster)
    insist_fresh_pods(cluster)


@dataclass
class Between:
    """One lab between the scenarios of one run."""

    cluster: Cluster
    policy: Policy
    tell: Callable[[str], None] = lambda _: None
    spent: Spent = field(default_factory=Spent)
    _is_proven: bool = False

    def taken(self) -> bool:
        """Whether the lab was proven whole since it was last used; from now on it counts as used."""
        proven, self._is_proven = self._is_proven, False
        return proven

    def unused(self) -> None:
        """Nothing was done to the lab after all, so what was proven of it is so still."""
        self._is_proven = True

    def begin(self) -> None:
        """Keep what one can come back to; `NotFit` unless the lab is whole once what was left is healed."""
        with self.spent.on("proof"), telling(self.tell):
            make_fit(self.cluster, self.tell, insist_whole)
        self._is_proven = True
        if self.policy is Policy.VERIFY or not self._can():
            return
        with self.spent.on("snapshot"):
            self.cluster.lab.provider.forget_snapshot(SNAPSHOT)
            self.cluster.lab.provider.snapshot(SNAPSHOT)

    def after(self, *, destroyed: bool, steady: bool = False) -> str:
        """Have a whole lab for the next one; why it was taken back, or nothing.

        ``destroyed`` says that the scenario took data away on purpose, ``steady`` that its run has just seen
        all serve and agree, which is then not asked again.  Raises `LabError` or `ClusterError`
        if the lab is not whole and there is nothing to go back to.
        """
        back = self._whole_again(destroyed=destroyed, steady=steady)
        self._is_proven = True
        return back

    def _whole_again(self, *, destroyed: bool, steady: bool) -> str:
        why = self._why_back(destroyed=destroyed)
        if self.policy is Policy.VERIFY or not self._can():
            self._prove(steady=steady)
            return ""
        try:
            if not why:
                self._prove(steady=steady)
                return ""
        except FAILURES as error:
            why = flat(error).partition("\n")[0]
        with self.spent.on(RESTORE):
            self.cluster.lab.close()
            self.cluster.lab.provider.restore(SNAPSHOT)
            self._insist()
        return why

    def _why_back(self, *, destroyed: bool) -> str:
        """Why no proof would do; nothing where one is enough."""
        if destroyed:
            return "the scenario destroys data"
        if self.policy is Policy.RESTORE:
            return "as asked"
        return "its machines are slow" if self.cluster.lab.provider.is_slow else ""

    def _prove(self, *, steady: bool) -> None:
        with self.spent.on("proof"):
            self._insist(insist_fresh_pods if steady else insist_whole)

    def _insist(self, prove: Callable[[Cluster], None] | None = None) -> None:
        """What is broken on purpose may hide from all that is asked, so debts come first."""
        with telling(self.tell):
            heal_left(self.cluster, self.tell)
            (prove or insist_whole)(self.cluster)

    def end(self) -> None:
        """Nothing is left of it."""
        if self.policy is not Policy.VERIFY and self._can():
            self.cluster.lab.provider.forget_snapshot(SNAPSHOT)

    def _can(self) -> bool:
        return Capability.SNAPSHOT in self.cluster.lab.provider.capabilities
