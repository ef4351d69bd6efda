"""A command of the daemon's: how it begins, and how it ended."""

import math
import time
from dataclasses import dataclass

from lab.errors import LabError
from lab.providers.commands import ENVIRONMENT, MARK
from lab.providers.incus.api import Api, ApiError, Json, NoAnswer
from lab.wait import NotYet

GRACE = 3.0  # seconds granted to a loaded machine to end what the deadline cut
KILLED = 128 + 9
STREAMED: Json = {"wait-for-websocket": True}
RECORDED: Json = {"wait-for-websocket": False, "record-output": True}


@dataclass(frozen=True, slots=True)
class Command:
    """What is to be run, where, and until when: `deadline` is on the monotonic clock."""

    api: Api
    instance: str
    argv: tuple[str, ...]
    deadline: float
    mark: str = ""
    patient: bool = True  # whether to wait for a frozen machine to be resumed

    @property
    def left(self) -> float:
        """Seconds until the deadline; after it just enough to ask once."""
        return max(0.05, self.deadline - time.monotonic())

    def begin(self, how: Json, *, timeout: float) -> Json:
        """Have the daemon begin it; the operation.

        Raises `NotYet` if the machine is frozen, or `NoAnswer` if nobody is to wait for that.
        """
        path = f"/1.0/instances/{self.instance}/exec"
        try:
            return self.api.begin("POST", path, self._request() | how, timeout=timeout)
        except ApiError as error:
            if "frozen" in str(error):
                raise (NotYet if self.patient else NoAnswer)(str(error)) from error
            raise

    def _request(self) -> Json:
        return {
            "command": list(self.argv),
            "environment": {**ENVIRONMENT, **({MARK: self.mark} if self.mark else {})},
            "interactive": False,
            "cwd": "/root",
        }


def await_end(api: Api, operation: str, deadline: float) -> Json | None:
    """How the command ended, or None if it did not.

    Where a command could not be run LXD ends the wait with the operation, Incus with a refusal.
    """
    left = max(0.05, deadline - time.monotonic())
    path = f"/1.0/operations/{operation}"
    try:
        done: Json = api.get(f"{path}/wait", timeout=left, query_timeout=math.ceil(left) + 1)
    except NoAnswer:
        return None
    except ApiError as error:
        if error.status != 400:
            raise
        done = api.get(path, timeout=left)
    return done if done["status_code"] >= 200 else None


NEVER_BEGAN = "Failed to retrieve PID of executing child process"


class NeverBegan(LabError):
    """The daemon's helper ended without telling the command's process: in all likelihood there was none.

    LXD's helper tells it right after it has entered the machine; one that is killed between the two would
    leave a command that runs, which nobody has seen.
    """


def status_of(done: Json | None) -> tuple[int | None, bytes]:
    """The status and what the daemon says of it; `LabError` if it could not run the command."""
    if done is None:
        return None, b""
    ended = (done.get("metadata") or {}).get("return")
    if ended is None:
        said = done.get("err") or done["status"]
        kind = NeverBegan if NEVER_BEGAN in said else LabError
        raise kind(f"the daemon could not run the command: {said}")
    return int(ended), str(done.get("err") or "").encode()
