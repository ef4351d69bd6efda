"""What the daemon recorded of a command: two files beside the instance's own logs."""

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from lab.errors import LabError
from lab.providers.incus.api import Api, ApiError, Json

T = TypeVar("T")
ENDINGS = ("stdout", "stderr")
FOLDERS = ("logs", "logs/exec-output")  # LXD 5.0's; Incus's and a later LXD's


class Logs:
    """The recorded output of one command; while it runs, what it has printed so far."""

    def __init__(self, api: Api, instance: str, operation: str) -> None:
        self._api = api
        self._instance = instance
        self._name = f"exec_{operation}"
        self._folders: tuple[str, ...] = FOLDERS

    def told(self, done: Json) -> None:
        """Learn of the ended operation which folder the daemon uses; without, both are tried."""
        output = (done.get("metadata") or {}).get("output") or {}
        used = [each for each in FOLDERS if self._path(each, ENDINGS[0]) in output.values()]
        self._folders = tuple(used) or FOLDERS

    def read(self, limit: int, *, timeout: float = 10) -> list[tuple[bytes, int]]:
        """Of standard output and standard error the first `limit` bytes, and how many there are.

        Raises `ApiError` if the daemon has none.
        """
        return self._of_each(lambda path: self._api.beginning(path, limit, timeout=timeout))

    def size(self, *, timeout: float = 3) -> int:
        """How many bytes they have together; none while the daemon has not opened them."""
        try:
            return sum(size for _, size in self.read(0, timeout=timeout))
        except ApiError:
            return 0

    def delete(self) -> None:
        """Have the daemon delete them; if it does not, nobody has lost anything."""
        with suppress(LabError):
            self._of_each(lambda path: self._api.do("DELETE", path, timeout=10))

    def _of_each(self, act: Callable[[str], T]) -> list[T]:
        refusals = []
        for folder in self._folders:
            try:
                done = [act(self._path(folder, ending)) for ending in ENDINGS]
            except ApiError as error:
                refusals.append(error)
            else:
                self._folders = (folder,)
                return done
        raise refusals[0]

    def _path(self, folder: str, ending: str) -> str:
        return f"/1.0/instances/{self._instance}/{folder}/{self._name}.{ending}"
