"""Histories that Jepsen wrote, as operations: `file` reads text, `edn` notation, `history` meaning."""

from lab.jepsen.file import text_of
from lab.jepsen.history import History, initial_value, load

__all__ = ["History", "initial_value", "load", "text_of"]
