"""Going back to a snapshot with all machines, or saying that it was only some."""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lab.errors import LabError, flat

log = logging.getLogger(__name__)


@contextmanager
def all_back(name: str, go_on: Callable[[], object]) -> Iterator[None]:
    """Where machines go back to the snapshot in here and one fails, let the others go on, and say so.

    Raises `LabError` with what failed; that they cannot go on either is written down.
    """
    try:
        yield
    except (LabError, ExceptionGroup) as error:
        try:
            go_on()
        except (LabError, ExceptionGroup):
            log.warning("after a restore that failed not all machines go on", exc_info=True)
        why = re.sub(r"\n  remedy: [^\n]*", "", flat(error))
        raise LabError(
            f"not all machines went back to {name!r}; the lab is neither there nor where it was: {why}",
            remedy=f"thwlab restore {name}",
        ) from error
