"""What Jepsen's histories mean: events of processes, paired into operations.

An event is a map with `:process`, `:type` and `:f`.  Time is the order of the events.  As in Jepsen:

- only whole numbers are clients; `:nemesis` and other names are not, and are skipped;
- a process has one operation at a time: `:invoke`, then `:ok`, `:fail` (not done) or `:info` (nobody knows);
- after `:info` a process is dead, and its operation may still take effect at any time;
- what is still open at the end is as unknown as after `:info`;
- the `:ok` of a read says what was read; that of a change may repeat what was asked.

Independent keys are recognised by their shape, for a register holds no vectors: the value of every
operation is a vector `[key value]` (`[key [old new]]` for `:cas`), or of none.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeGuard

from lab.errors import ConfigError
from lab.jepsen.edn import Form, Tagged, form_of, records
from lab.linearizability import APPEND, Action, Operation, Outcome, Word
from lab.linearizability.operation import Value, shown

PROCESS, TYPE, F, VALUE = Word(":process"), Word(":type"), Word(":f"), Word(":value")
INVOKE, OK, FAIL, INFO = (Word(f":{kind}") for kind in ("invoke", "ok", "fail", "info"))
ACTIONS = {
    "register": {":read": Action.READ, ":write": Action.WRITE, ":cas": Action.CAS},
    "append": {":read": Action.READ, ":write": Action.WRITE, ":append": Action.APPEND},
}
NO_MODEL = {
    ":txn": "a transaction: nothing here judges those, Elle does",
    ":acquire": "an operation on a lock: there is no model of locks here",
    ":release": "an operation on a lock: there is no model of locks here",
}


@dataclass
class History:
    """The operations of a file, in the order of their calls, and how many events there were."""

    operations: list[Operation] = field(default_factory=list)
    events: int = 0
    others: int = 0  # events of the nemesis and the like
    keyed: bool | None = None  # None: no operation that shows it

    def count(self, outcome: Outcome) -> int:
        """How many operations ended so."""
        return sum(operation.outcome is outcome for operation in self.operations)


class _Refused(Exception):
    """Why a line cannot be judged."""


@dataclass(frozen=True, slots=True)
class _Event:
    """One event of a client."""

    line: int
    process: int
    kind: Word
    f: Word
    value: Form


@dataclass(frozen=True, slots=True)
class _Asked:
    """An operation under way: where its question stands, and when it was asked."""

    event: _Event
    action: Action
    time: int
    place: int  # among the operations


def load(text: str, source: str, model: str) -> History:
    """Read a history for the model of that name.

    Raises `ConfigError` with the line of what is no EDN, no history, or cannot be judged by the model.
    """
    reading = _Reading(model)
    for line, form in records(text, source):
        try:
            reading.take(line, form)
        except _Refused as refused:
            raise ConfigError(source, [f"line {line}: {refused}"]) from None
    return reading.history


class _Reading:
    """Follows the processes through the events."""

    def __init__(self, model: str) -> None:
        self.history = History()
        self._model = model
        self._asked: dict[int, _Asked] = {}
        self._dead: dict[int, int] = {}  # process to the line that says so

    def take(self, line: int, form: Form) -> None:
        fields = _fields(form)
        self.history.events += 1
        process, kind = _required(fields, PROCESS), _required(fields, TYPE)
        if not isinstance(kind, Word) or kind not in (INVOKE, OK, FAIL, INFO):
            raise _Refused(f"`:type {_text(kind)}` is none of :invoke, :ok, :fail, :info")
        if isinstance(process, Word):
            self.history.others += 1
            return
        if not isinstance(process, int):
            raise _Refused(f"`:process {_text(process)}` is neither a number nor a name such as :nemesis")
        event = _Event(line, process, kind, _word(_required(fields, F)), _plain(fields.get(VALUE)))
        if kind == INVOKE:
            self._begin(event)
        else:
            self._end(event)

    def _begin(self, event: _Event) -> None:
        if earlier := self._asked.get(event.process):
            raise _Refused(f"process {event.process} is still at work on line {earlier.event.line}")
        if event.process in self._dead:
            raise _Refused(
                f"process {event.process} is dead since the :info on line {self._dead[event.process]}; "
                "Jepsen goes on with another number"
            )
        action = self._action(event)
        place, time = len(self.history.operations), self.history.events
        self._asked[event.process] = _Asked(event, action, time, place)
        # Until it is answered, this is all that is known.
        self.history.operations.append(self._operation(event, action, time))

    def _action(self, event: _Event) -> Action:
        known = ACTIONS[self._model]
        if action := known.get(event.f.text):
            return action
        if why := NO_MODEL.get(event.f.text):
            raise _Refused(f"`:f {event.f}` is {why}")
        other = next((name for name, fs in ACTIONS.items() if event.f.text in fs), "")
        hint = f"; --model {other} knows it" if other else ""
        raise _Refused(f"`:f {event.f}` is not known to the model {self._model} ({', '.join(known)}){hint}")

    def _end(self, event: _Event) -> None:
        asked = self._asked.pop(event.process, None)
        if asked is None:
            raise _Refused(f"{event.kind} of process {event.process}, which has nothing under way")
        if event.f != asked.event.f:
            raise _Refused(f"{event.f} ends what began as {asked.event.f} on line {asked.event.line}")
        operations = self.history.operations
        if event.kind == INFO:
            self._dead[event.process] = event.line
            operations[asked.place] = replace(operations[asked.place], line=event.line)
        elif event.kind == FAIL:
            operations[asked.place] = replace(
                operations[asked.place], line=event.line, outcome=Outcome.FAILED
            )
        else:
            operations[asked.place] = self._answered(event, asked)

    def _answered(self, event: _Event, asked: _Asked) -> Operation:
        if asked.action is not Action.READ and event.value not in (None, asked.event.value):
            raise _Refused(f"`:value {_text(event.value)}` is not what line {asked.event.line} asked for")
        is_read = asked.action is Action.READ
        done = self._operation(event if is_read else asked.event, asked.action, asked.time)
        was = self.history.operations[asked.place]
        if done.key != was.key:
            raise _Refused(f"an answer for key {done.key}, and line {was.asked_on} asked for {was.key}")
        if self._model == APPEND and done.value is None:
            done = replace(done, value="")  # what is not there yet is as good as empty
        return replace(
            done,
            answer=self.history.events,
            outcome=Outcome.OK,
            line=event.line,
            asked_on=asked.event.line,
        )

    def _operation(self, event: _Event, action: Action, time: int) -> Operation:
        key, value = self._key_and_value(event, action)
        expected: Value = None
        if action is Action.CAS:
            if not _is_pair(value):
                raise _Refused(f"`:value {_text(event.value)}` of a :cas must be [old new]")
            expected, value = (_scalar(each) for each in value)
        content = _scalar(value)
        if action is not Action.READ and self._model == APPEND and not isinstance(content, str):
            raise _Refused(f"{event.f} of {_text(value)}: the model append holds text in quotes")
        return Operation(
            action,
            content,
            call=time,
            outcome=Outcome.UNKNOWN,
            expected=expected,
            key=key,
            process=event.process,
            line=event.line,
            asked_on=event.line,
        )

    def _key_and_value(self, event: _Event, action: Action) -> tuple[Value, Form]:
        value = event.value
        keyed = _is_pair(value) and (action is not Action.CAS or _is_pair(value[1]))
        if self.history.keyed is None:
            self.history.keyed = keyed
        if keyed != self.history.keyed:
            said = "has a key" if keyed else "has no key"
            raise _Refused(f"`:value {_text(value)}` {said}, unlike the operations before it")
        if not keyed or not isinstance(value, tuple):
            return None, value
        key, content = value
        return _scalar(key), content


def _fields(form: Form) -> Mapping[Form, Form]:
    if isinstance(form, Tagged):
        form = form.form
    if isinstance(form, dict):
        return form
    hint = " (a history.txt or a log? Jepsen writes history.edn beside it)" if isinstance(form, Word) else ""
    raise _Refused(f"an event must be a map such as {{:process 0, :type :invoke, :f :read}}{hint}")


def _required(fields: Mapping[Form, Form], name: Word) -> Form:
    if name not in fields:
        raise _Refused(f"an event without {name}")
    return fields[name]


def _word(form: Form) -> Word:
    if isinstance(form, Word):
        return form
    raise _Refused(f"`:f {_text(form)}` must be a name such as :read")


def _plain(form: Form) -> Form:
    """A pair is a pair, whatever its tag."""
    return form.form if isinstance(form, Tagged) and isinstance(form.form, tuple) else form


def _is_pair(form: Form) -> TypeGuard[tuple[Form, Form]]:
    return isinstance(form, tuple) and len(form) == 2


def _scalar(form: Form) -> Value:
    if isinstance(form, float):
        return Word(repr(form))
    if form is None or isinstance(form, int | str | Word):
        return form
    raise _Refused(f"`:value {_text(form)}`: only numbers, text, nil and names are judged")


def _text(form: Form) -> str:
    """A form as it is written, shortened."""
    text = "".join(_pieces(form))
    return text if len(text) <= 60 else text[:59] + "…"


def _pieces(form: Form) -> Iterator[str]:
    if isinstance(form, tuple):
        yield "[" + " ".join(_text(each) for each in form[:8]) + "]"
    elif isinstance(form, dict):
        yield "{" + ", ".join(f"{_text(key)} {_text(value)}" for key, value in list(form.items())[:8]) + "}"
    elif isinstance(form, frozenset):
        yield "#{…}"
    elif isinstance(form, Tagged):
        yield f"#{form.tag} {_text(form.form)}"
    else:
        yield shown(form)


def initial_value(text: str, model: str) -> Value:
    """What the user says the object held at first; `ValueError` in words for whoever typed it."""
    if model == APPEND and not text.startswith('"'):
        return text
    form = form_of(text)
    if isinstance(form, Word) and not form.text.startswith(":") and form.text not in ("true", "false"):
        raise ValueError(f"{text} is neither number nor nil; text goes in quotes: '\"{text}\"'")
    try:
        return _scalar(form)
    except _Refused:
        raise ValueError("only a number, text in quotes, nil or a :name can be held at first") from None
