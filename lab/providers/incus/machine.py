"""A machine that is an Incus or LXD instance."""

import json
from functools import partial
from typing import Any

from lab.errors import LabError
from lab.machine import Machine, Result
from lab.providers.incus.api import Api, ApiError
from lab.providers.incus.execute import execute
from lab.signatures import recognised
from lab.topology import Node
from lab.wait import NotYet, wait_until

BOOT_TIMEOUT = 60.0
GONE = {"type": "none"}
NIC = "user.thwlab.nic"  # what the interface is, while it is taken away
STOP_TIMEOUT = 120  # systemd kills what does not stop within 90 s


class IncusMachine(Machine):
    """An instance of the lab's project; all of it goes through the daemon's API."""

    boot_timeout = BOOT_TIMEOUT

    def __init__(self, node: Node, api: Api) -> None:
        super().__init__(node)
        self._api = api
        self._path = f"/1.0/instances/{node.name}"

    def run(self, *argv: str, stdin: bytes = b"", timeout: float = 60) -> Result:  # noqa: D102
        try:
            return execute(self._api, self.name, argv, stdin=stdin, timeout=timeout)
        except ApiError as error:
            if "is not running" in str(error):
                raise LabError(f"{self.name} is not running", remedy="thwlab up boots it again") from error
            raise

    def pull_plug(self) -> None:
        """Take the interface away, then kill; the interface comes back for the next boot.

        The daemon keeps what it was, so that whoever boots the machine finds it, also if we are killed.
        """
        nic = self._nic()
        self._change({"devices": {"eth0": GONE}, "config": {NIC: json.dumps(nic)}})
        self._state("stop", force=True)
        self._change({"devices": {"eth0": nic}})

    def boot(self) -> None:  # noqa: D102
        self.end_cut()
        if self.status() == "Stopped":
            self._state("start")
        self.await_boot()

    def end_cut(self) -> bool:
        """Bring a power cut that was interrupted to its end; False if there was none."""
        if self._api.get(self._path)["devices"]["eth0"] != GONE:
            return False
        self._change({"devices": {"eth0": self._nic()}})
        if self.status() == "Running":
            self._state("stop", force=True)
        return True

    def reboot(self) -> None:  # noqa: D102
        self._state("stop", force=False)
        self.boot()

    def pause(self) -> None:  # noqa: D102
        if self.status() != "Frozen":
            self._state("freeze")

    def resume(self) -> None:  # noqa: D102
        if self.status() == "Frozen":
            self._state("unfreeze")

    def await_boot(self) -> None:
        """Return once the machine's systemd takes jobs and its planned address is up."""
        wait_until(f"{self.name} to boot", partial(_check_booted, self), timeout=self.boot_timeout, every=0.1)

    def flush(self) -> None:
        """Have everything on its disk that it believes to have written.

        A container has nothing to do for it: its writes are with the daemon's kernel, which takes snapshots.
        """

    def last_words(self) -> str:
        """The end of what it printed on its console."""
        try:
            said = self._api.raw(f"{self._path}/console").decode(errors="replace")
        except LabError as error:
            return str(error)
        return "\n".join(line.strip() for line in said.splitlines() if line.strip())[-1500:]

    def status(self) -> str:
        """The daemon's word for it: Running, Stopped, Frozen, …"""
        return str(self._api.get(self._path)["status"])

    def plight(self) -> str:
        """See `Machine.plight`."""
        try:
            status = self.status()
        except LabError:
            return ""
        return {"Running": "", "Frozen": "paused"}.get(status, status.lower())

    def _state(self, action: str, *, force: bool = False) -> None:
        wish = {"action": action, "force": force, "timeout": STOP_TIMEOUT}
        self._api.do("PUT", f"{self._path}/state", wish, timeout=STOP_TIMEOUT + 10)

    def _nic(self) -> dict[str, str]:
        """Its interface as it was planned, also while that is taken away."""
        seen = self._api.get(self._path)
        now: dict[str, str] = seen["devices"]["eth0"]
        return json.loads(seen["config"][NIC]) if now == GONE else now

    def _change(self, wish: dict[str, dict[str, Any]]) -> None:
        self._api.do("PATCH", self._path, wish)


def _check_booted(machine: IncusMachine) -> None:
    script = 'systemctl list-jobs >/dev/null && ip -4 -o addr show to "$1" | grep -q . || exit 1'
    try:
        seen = machine.run("sh", "-c", script, "sh", str(machine.node.address), timeout=5)
    except LabError as error:
        if machine.status() != "Running":
            raise _ended(machine) from error
        raise NotYet(str(error)) from error
    if not seen.ok:
        raise NotYet(seen.stderr.strip() or f"no {machine.node.address} on any interface yet")


def _ended(machine: IncusMachine) -> LabError:
    """Why a machine that was started does not run; waiting longer would not help."""
    said = machine.last_words()
    known = recognised(said)
    cause = f"{known.cause}\n" if known else ""
    return LabError(
        f"{machine.name} ended while it booted: {cause}{said}",
        remedy=known.remedy if known else "thwlab doctor",
    )
