"""A second judge for registers in etcd, by its revisions; it knows nothing of the first and searches nothing.

etcd numbers its changes: every write gets a `mod_revision` of its own, larger than those before, and counts
its key's `version` up by one.  An answer also tells the store's revision at that moment.  So there is an
order to compare with, and what is linearizable must agree with it:

- `unique`: no two acknowledged writes have the same revision;
- `order`: a write that was called after an answer was there has a larger revision than that answer told;
- `version`: along the revisions of a key its version grows by one for each write; writes whose outcome is not
  known may lie between, as many as there are;
- `monotone`: who asks after an answer was there sees no smaller revision than that answer told;
- `latest`: a read shows the key's last acknowledged change up to its revision, or an unknown one after that;
- `value`: a read shows what was written with its revision, be it by a write whose outcome is not known;
- `swap`: a compare-and-swap found what the version before it had written.

Keys are never deleted and begin empty; writes are not of one transaction.  O(n log n).
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lab.linearizability.operation import Action, Operation, Outcome, shown
from lab.linearizability.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Revised:
    """An operation and what etcd said of it.

    `revision` is the store's when it answered, `mod_revision` and `version` are the key's: of a write as it
    left them, of a read as it found them, 0 for a key that is not there.  All three mean nothing where the
    outcome is unknown.
    """

    operation: Operation
    revision: int = 0
    mod_revision: int = 0
    version: int = 0


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A rule, by its name above, and the operations that break it."""

    rule: str
    what: str
    operations: tuple[Operation, ...]


def check_revisions(records: Iterable[Revised]) -> list[Disagreement]:
    """Everything in the records that breaks a rule; nothing if revisions and real time agree.  Pure."""
    known = [each for each in records if each.operation.outcome is not Outcome.FAILED]
    answered = [each for each in known if each.operation.outcome is Outcome.OK]
    writes = sorted((each for each in answered if each.operation.changes), key=lambda each: each.mod_revision)
    unknown = [each for each in known if each.operation.outcome is Outcome.UNKNOWN and each.operation.changes]
    return [
        *_unique(writes),
        *_in_real_time("order", answered, writes, strictly=True),
        *_in_real_time("monotone", answered, answered, strictly=False),
        *_by_key(answered, unknown),
    ]


def verdict_of(records: Sequence[Revised]) -> Verdict:
    """Broken if anything disagrees, unknown if nothing was answered, else held."""
    if not any(each.operation.outcome is Outcome.OK for each in records):
        return Verdict.UNKNOWN
    return Verdict.BROKEN if check_revisions(records) else Verdict.HELD


def _unique(writes: Sequence[Revised]) -> Iterator[Disagreement]:
    for one, next_one in pairwise(writes):
        if one.mod_revision == next_one.mod_revision:
            yield _wrong("unique", f"both have mod_revision {one.mod_revision}", one, next_one)


def _in_real_time(
    rule: str, answered: Sequence[Revised], later: Sequence[Revised], *, strictly: bool
) -> Iterator[Disagreement]:
    """Who was called after an answer must tell a revision no smaller (strictly: a larger one) than it did."""
    ended = sorted(answered, key=lambda each: each.operation.answer)
    highest: Revised | None = None
    place = 0
    for record in sorted(later, key=lambda each: each.operation.call):
        while place < len(ended) and ended[place].operation.answer < record.operation.call:
            if highest is None or ended[place].revision > highest.revision:
                highest = ended[place]
            place += 1
        if highest is not None and record.revision < highest.revision + strictly:
            told = f"revision {record.revision} after {highest.revision} was told"
            yield _wrong(rule, told, highest, record)


def _by_key(answered: Sequence[Revised], unknown: Sequence[Revised]) -> Iterator[Disagreement]:
    of_key: dict[object, list[Revised]] = defaultdict(list)
    for record in answered:
        of_key[record.operation.key].append(record)
    open_of_key: dict[object, list[Revised]] = defaultdict(list)
    for record in unknown:
        open_of_key[record.operation.key].append(record)
    for key, records in of_key.items():
        open_yet = open_of_key[key]
        writes = sorted(
            (each for each in records if each.operation.changes), key=lambda each: each.mod_revision
        )
        yield from _versions(writes, len(open_yet))
        yield from _swaps(writes)
        reads = [each for each in records if each.operation.action is Action.READ]
        yield from _latest(reads, writes)
        yield from _values(reads, writes, open_yet)


def _versions(writes: Sequence[Revised], unknown: int) -> Iterator[Disagreement]:
    missing = 0
    before = Revised(Operation(Action.READ, None, 0))
    for write in writes:
        step = write.version - before.version
        missing += step - 1
        if step < 1 or missing > unknown:
            told = f"version {write.version} after {before.version}, with {unknown} writes of unknown outcome"
            yield _wrong("version", told, *([before] if before.version else []), write)
        before = write


def _swaps(writes: Sequence[Revised]) -> Iterator[Disagreement]:
    for before, swap in pairwise(writes):
        if swap.operation.action is not Action.CAS or swap.version != before.version + 1:
            continue
        if swap.operation.expected != before.operation.value:
            yield _wrong("swap", "the version before had another value", before, swap)


def _latest(reads: Sequence[Revised], writes: Sequence[Revised]) -> Iterator[Disagreement]:
    numbers = [write.mod_revision for write in writes]
    for read in reads:
        place = bisect_right(numbers, read.mod_revision)
        if place < len(numbers) and numbers[place] <= read.revision:
            told = f"mod_revision {read.mod_revision} at revision {read.revision}"
            yield _wrong("latest", told, writes[place], read)


def _values(
    reads: Sequence[Revised], writes: Sequence[Revised], unknown: Sequence[Revised]
) -> Iterator[Disagreement]:
    """Each read shows what its revision holds; of an unknown write, what the first read of it saw."""
    holds = {write.mod_revision: write for write in writes}
    began: dict[object, int] = {}
    for each in unknown:
        value = each.operation.value
        began[value] = min(each.operation.call, began.get(value, each.operation.call))
    for read in reads:
        value = read.operation.value
        if read.mod_revision == 0:
            if value is not None or read.version:
                yield _wrong("value", "a value of a key that is not there", read)
            continue
        held = holds.setdefault(read.mod_revision, read)
        if held is read and (value not in began or began[value] > read.operation.answer):
            told = f"nobody is known to have written {shown(value)} as mod_revision {read.mod_revision}"
            yield _wrong("value", told, read)
        if (value, read.version) != (held.operation.value, held.version):
            yield _wrong("value", f"mod_revision {read.mod_revision} holds something else", held, read)


def _wrong(rule: str, what: str, *records: Revised) -> Disagreement:
    return Disagreement(rule, what, tuple(record.operation for record in records))
