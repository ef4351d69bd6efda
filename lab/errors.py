"""Everything the harness raises on purpose, sorted by whose fault it is."""

from collections.abc import Sequence

from lab.rights import same_lab


class LabError(Exception):
    """The laboratory could not do its work; says nothing about the cluster under test.

    `remedy` is what the reader can do about it, a command that can be pasted wherever there is one; those of
    `thwlab` are for the lab that this process was told of.
    """

    def __init__(self, message: str, *, remedy: str = "") -> None:
        self.remedy = same_lab(remedy)
        super().__init__(f"{message}\n  remedy: {self.remedy}" if remedy else message)


class ConfigError(LabError):
    """A file, option or variable of the user's is wrong.  Carries every problem, not only the first."""

    def __init__(self, source: str, problems: Sequence[str], *, remedy: str = "") -> None:
        self.source = source
        self.problems = list(problems)
        super().__init__("\n  - ".join([f"{source}: not usable:", *problems]), remedy=remedy)


class CommandFailed(LabError):
    """A command on a machine ended with a status nobody asked for."""

    def __init__(self, machine: str, command: str, status: int, output: str) -> None:
        self.status = status
        super().__init__(f"{machine}: `{command}` exited {status}: {output.strip()[-2000:] or '(no output)'}")


class CommandTimedOut(LabError):
    """A command on a machine did not end before its deadline; `output` is what it had printed.

    `plight` is what the machine was found in after it, such as paused; `seen` how it failed to answer.
    """

    def __init__(
        self, machine: str, command: str, seconds: float, output: str, *, plight: str = "", seen: str = ""
    ) -> None:
        told = [
            f"{machine}: `{command}` timed out after {seconds:.1f}s",
            *([f"{machine} is {plight}"] if plight else []),
            *([f"last seen: {seen}"] if seen else []),
            f"printed so far: {output.strip()[-2000:] or '(nothing)'}",
        ]
        super().__init__("; ".join(told), remedy="thwlab up" if plight else "thwlab status")


class OutputLost(LabError):
    """A command on a machine ended, and what it printed did not come to us, or not all of it."""


class WaitExpired(LabError):
    """A condition did not come true in time."""

    def __init__(self, what: str, seconds: float, last: str) -> None:
        self.what, self.seconds, self.last = what, seconds, last
        super().__init__(f"gave up on {what} after {seconds:.1f}s; last seen: {last}")


class ClusterError(AssertionError):
    """The cluster under test failed, and the laboratory did its work."""


# What fails of a lab without being a defect of ours: one machine, several at once, or the cluster on them.
FAILURES = (LabError, ClusterError, BaseExceptionGroup)


def flat(error: BaseException | None) -> str:
    """What went wrong, as text; of a group, each of its members."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(flat(each) for each in error.exceptions)
    return str(error or "")
