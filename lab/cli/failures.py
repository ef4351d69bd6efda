"""Which exit code an error is, and the words it is told in.  Pure."""

from collections.abc import Iterator

from lab.errors import ClusterError, ConfigError, LabError
from lab.rights import as_thwlab
from lab.wait import NotYet

CLUSTER_FAILED, BAD_INPUT, LAB_FAILED, PIPE_CLOSED = 1, 2, 3, 141
EXIT_CODES = (
    "Exit codes: 0 done; 1 the cluster failed; 2 bad option, variable or file; 3 the laboratory failed; "
    "130 interrupted."
)
TOLD = (LabError, ClusterError, NotYet, OSError)


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The error itself, or all that a group holds, however deep."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from leaves(each)
    else:
        yield error


def is_told(error: BaseException) -> bool:
    """Whether it is told in its own words; everything else is a defect of ours and shows its traceback."""
    return all(isinstance(each, TOLD) for each in leaves(error))


def exit_code(error: BaseException) -> int:
    """A failed laboratory proves nothing about the cluster, so it beats a failed cluster."""
    every = list(leaves(error))
    if all(isinstance(each, ConfigError) for each in every):
        return BAD_INPUT
    return CLUSTER_FAILED if all(isinstance(each, ClusterError | NotYet) for each in every) else LAB_FAILED


def told(error: BaseException) -> str:
    """The error, or each of a group's once, as a reader of `thwlab` would type its options."""
    return as_thwlab("\n".join(dict.fromkeys(_line(each) for each in leaves(error))))


def _line(error: BaseException) -> str:
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"error: {where}{error.strerror or error}"
    kind = "cluster failed" if isinstance(error, ClusterError | NotYet) else "error"
    return f"{kind}: {error}"
