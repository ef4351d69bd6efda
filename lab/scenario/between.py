"""How one scenario is kept from inheriting the damage of another: by proof, or by a snapshot."""

from dataclasses import dataclass
from enum import StrEnum

from lab.cluster import Cluster
from lab.errors import ClusterError, LabError
from lab.probes.fresh import insist_fresh_pods
from lab.providers.base import Capability
from lab.scenario.steadiness import insist_steady

SNAPSHOT = "thwlab-between"


class Policy(StrEnum):
    """`auto`: prove it, and go back where that fails; `verify`: prove it; `restore`: always go back."""

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
    _is_proven: bool = False

    def taken(self) -> bool:
        """Whether the lab was proven whole since it was last used; from now on it counts as used."""
        proven, self._is_proven = self._is_proven, False
        return proven

    def begin(self) -> None:
        """Keep what one can come back to; the lab must be whole."""
        insist_whole(self.cluster)
        self._is_proven = True
        if self.policy is Policy.VERIFY or not self._can():
            return
        self.cluster.lab.provider.forget_snapshot(SNAPSHOT)
        self.cluster.lab.provider.snapshot(SNAPSHOT)

    def after(self, *, destroyed: bool) -> str:
        """Have a whole lab for the next one; why it was taken back, or nothing.

        ``destroyed`` says that the scenario took data away on purpose.  Raises `LabError` or `ClusterError`
        if the lab is not whole and there is nothing to go back to.
        """
        back = self._whole_again(destroyed=destroyed)
        self._is_proven = True
        return back

    def _whole_again(self, *, destroyed: bool) -> str:
        why = "the scenario destroys data" if destroyed else ""
        if self.policy is Policy.RESTORE:
            why = why or "as asked"
        try:
            if not why:
                insist_whole(self.cluster)
                return ""
        except (ClusterError, LabError, BaseExceptionGroup) as error:
            if self.policy is Policy.VERIFY or not self._can():
                raise
            why = str(error).splitlines()[0]
        if self.policy is Policy.VERIFY or not self._can():
            insist_whole(self.cluster)
            return ""
        self.cluster.lab.close()
        self.cluster.lab.provider.restore(SNAPSHOT)
        insist_whole(self.cluster)
        return why

    def end(self) -> None:
        """Nothing is left of it."""
        if self.policy is not Policy.VERIFY and self._can():
            self.cluster.lab.provider.forget_snapshot(SNAPSHOT)

    def _can(self) -> bool:
        return Capability.SNAPSHOT in self.cluster.lab.provider.capabilities
