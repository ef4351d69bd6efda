"""A machine that is a VM of Incus or LXD; its agent takes commands and files as a container would."""

import time

from lab.errors import LabError, WaitExpired
from lab.providers.incus.api import ApiError
from lab.providers.incus.machine import IncusMachine

BOOT_TIMEOUT = 180.0  # firmware, boot loader, kernel, and an agent that has to be fetched
CLOCK_TIMEOUT = 30.0


class IncusVm(IncusMachine):
    """A VM of the lab's project.  What is not said here it has in common with a container."""

    boot_timeout = BOOT_TIMEOUT

    def pull_plug(self) -> None:
        """End its QEMU.  Its kernel ends with it, so nothing is flushed and no FIN or RST can leave.

        Unlike a container's, its link is not taken first: of that a guest is told, and has to agree.
        """
        if self.status() != "Stopped":
            self._state("stop", force=True)

    def resume(self) -> None:
        """Let it go on, its clock set: it stood still, which a container's does not."""
        if self.status() == "Frozen":
            self._state("unfreeze")
            self.check("date", "-u", "-s", f"@{time.time():.3f}", timeout=CLOCK_TIMEOUT)

    def await_boot(self) -> None:
        """See `IncusMachine.await_boot`; of one that does not come up the console tells the most."""
        try:
            super().await_boot()
        except WaitExpired as error:
            raise LabError(f"{error}\nits console ends with:\n{self.last_words()}") from error

    def flush(self) -> None:
        """See `IncusMachine.flush`; what its own kernel holds back no snapshot of its disk has."""
        self.check("sync", timeout=120)

    def last_words(self) -> str:
        """The end of its console, or of QEMU's log where the daemon keeps no console of a VM's."""
        for path in ("console", "logs/qemu.log"):
            try:
                said = self._api.raw(f"{self._path}/{path}").decode(errors="replace")
            except ApiError:
                continue
            except LabError as error:
                return str(error)
            if lines := [line.strip() for line in said.splitlines() if line.strip()]:
                return "\n".join(lines)[-1500:]
        live = f"incus or lxc console {self.name} --project {self._api.project}"
        return f"the daemon keeps no console of it; live it is shown by: {live}"
