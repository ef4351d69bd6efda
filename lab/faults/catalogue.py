"""Every fault there is, by the word that a scenario file uses for it."""

from collections.abc import Mapping

from lab.faults import network, process
from lab.faults.base import Fault

FAULTS: Mapping[str, type[Fault]] = {each.word: each for each in (*process.FAULTS, *network.FAULTS)}
