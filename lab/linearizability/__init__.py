"""Is a history linearizable?  Pure: records in, judgement out; imports nothing but errors and history.

Reading order: `operation` (what was done and when), `verdict`, `models` (what a register and an appended
string do), `course` (one key's history, ready to be searched), `tactics` (what a search may leave out, and
why that is exact), `search` (Wing, Gong and Lowe), `quick` (violations seen without a search), `culprit`
(the first operation that no order explains), `judge` (all keys).  `revisions` is a second judge that knows
etcd's revisions and shares nothing with the first but its verdicts.
"""

from lab.linearizability.judge import BUDGET, Judgement, KeyJudgement, judge
from lab.linearizability.models import APPEND, REGISTER, Model, append, register
from lab.linearizability.operation import Action, Operation, Outcome, Word
from lab.linearizability.verdict import Verdict, worst

__all__ = [
    "APPEND",
    "BUDGET",
    "REGISTER",
    "Action",
    "Judgement",
    "KeyJudgement",
    "Model",
    "Operation",
    "Outcome",
    "Verdict",
    "Word",
    "append",
    "judge",
    "register",
    "worst",
]
