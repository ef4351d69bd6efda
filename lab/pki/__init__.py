"""Certificates, keys and secrets of one lab: what the plan needs, who gets it, where it is kept.

Reading order: `uses` (the table), `issuing` (how one is made), `credentials` (what components are
handed), `store` (how they survive on disk).
"""

from lab.pki.credentials import Credentials, KeyPair, Pair, Token
from lab.pki.issuing import Usage, foreign_ca, issue
from lab.pki.store import expiring, load_or_create
from lab.pki.uses import CA_FILES, USES, Use, grants, paths

__all__ = [
    "CA_FILES",
    "USES",
    "Credentials",
    "KeyPair",
    "Pair",
    "Token",
    "Usage",
    "Use",
    "expiring",
    "foreign_ca",
    "grants",
    "issue",
    "load_or_create",
    "paths",
]
