"""Defects of the laboratory itself, for a session of its own: `-p broken_lab` with THWLAB_DEFECT=NAME."""

import os
from collections.abc import Callable, Mapping

from lab.components.nginx import Nginx
from lab.providers.incus import IncusProvider, ending
from lab.providers.incus.machine import IncusMachine


def _instead(kind: type, name: str, method: Callable[..., object]) -> None:
    """From now on every object of this kind does this when called by that name."""
    setattr(kind, name, method)


def loud_power_cut() -> None:
    """The machine's init is killed while its link is up, as most would cut the power of a container."""
    _instead(IncusMachine, "pull_plug", lambda self: self._state("stop", force=True))


def no_pause() -> None:
    _instead(IncusMachine, "pause", lambda self: None)


def restarting_pause() -> None:
    resume = IncusMachine.resume

    def with_restart(self: IncusMachine) -> None:
        resume(self)
        self.check("systemctl", "try-restart", "etcd.service")

    _instead(IncusMachine, "resume", with_restart)


def idle_restore() -> None:
    _instead(IncusProvider, "restore", lambda self, name: None)


def rebooting_into_nothing() -> None:
    _instead(IncusMachine, "reboot", lambda self: None)


def leaving_children() -> None:
    ending._END_ALL = "true"


def restarting_balancer() -> None:
    Nginx.on_change = "restart"


DEFECTS: Mapping[str, Callable[[], None]] = {
    each.__name__: each
    for each in (
        loud_power_cut,
        no_pause,
        restarting_pause,
        idle_restore,
        rebooting_into_nothing,
        leaving_children,
        restarting_balancer,
    )
}


def pytest_configure() -> None:
    """Break what the environment names."""
    DEFECTS[os.environ["THWLAB_DEFECT"]]()
