"""check: is somebody's recorded history linearizable?"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from lab.cli.failures import CLUSTER_FAILED, LAB_FAILED
from lab.cli.options import LabCommand, examples
from lab.errors import ConfigError
from lab.jepsen import History, initial_value, load, text_of
from lab.linearizability import (
    APPEND,
    BUDGET,
    REGISTER,
    Judgement,
    KeyJudgement,
    Model,
    Outcome,
    Verdict,
    judge,
)
from lab.linearizability.operation import Word, shown

HELP = """\b
FILE is a history.edn: maps such as
  {:process 0, :type :invoke, :f :write, :value 3}
  {:process 0, :type :ok,     :f :write, :value 3}
one after another, or all in one vector.  Time is their order.
\b
Models:
  register   :read, :write, :cas [old new]; numbers, text, nil; nil at first
  append     :read, :write, :append; one string, empty at first
\b
Keys: where every value is [key value], each key is judged by itself.
Nemesis lines are skipped.  Transactions, locks and whatever else cannot be
judged are refused with their line.
\b
Exit codes: 0 held; 1 broken, also if some keys are undecided; 2 a bad option
or file; 3 undecided, or no operation was answered, which proves nothing.

"""


@dataclass(frozen=True, slots=True)
class Checked:
    """A judged file."""

    file: str
    model: Model
    budget: int
    history: History
    judgement: Judgement
    seconds: float


@click.command(
    cls=LabCommand,
    epilog=HELP
    + examples(
        "thwlab check store/latest/history.edn",
        "thwlab check history.edn --model append",
        "thwlab check history.edn --initial 0 --json | jq .broken",
    ),
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--model",
    type=click.Choice([REGISTER, APPEND]),
    default=REGISTER,
    show_default=True,
    help="What was tested.",
)
@click.option("--initial", metavar="VALUE", help="What each key held at first, as EDN: 0, nil, '\"text\"'.")
@click.option(
    "--budget",
    metavar="STEPS",
    type=click.IntRange(min=1),
    default=BUDGET,
    show_default=True,
    help="How long a key is searched; a million steps are about two seconds.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def check(file: Path, model: str, initial: str | None, budget: int, as_json: bool) -> None:
    """Judge a history that Jepsen recorded: is it linearizable?  Needs no lab.

    If not, the first operation is named that no order of the others explains.
    """
    checked = examine(file, _model(model, initial), budget)
    click.echo(json.dumps(as_data(checked), indent=2) if as_json else "\n".join(report(checked)))
    if code := exit_code(checked.judgement):
        raise click.exceptions.Exit(code)


def _model(name: str, initial: str | None) -> Model:
    if initial is None:
        return Model(name, "" if name == APPEND else None)
    try:
        return Model(name, initial_value(initial, name))
    except ValueError as error:
        raise ConfigError("--initial", [str(error)]) from None


def examine(file: Path, model: Model, budget: int) -> Checked:
    """Read a file and judge it.  Raises `ConfigError` if it is no history for the model."""
    began = time.monotonic()
    history = load(text_of(file), str(file), model.name)
    judgement = judge(history.operations, model, budget=budget)
    return Checked(str(file), model, budget, history, judgement, time.monotonic() - began)


def exit_code(judgement: Judgement) -> int:
    """0 held, 1 broken, 3 unknown or invalid.  Pure."""
    return {Verdict.HELD: 0, Verdict.BROKEN: CLUSTER_FAILED, Verdict.UNKNOWN: LAB_FAILED}[judgement.verdict]


def report(checked: Checked) -> list[str]:
    """The verdict, then keys broken, then keys undecided, then what was read.  Pure."""
    judgement = checked.judgement
    return [
        _headline(checked),
        *(line for key in judgement.broken for line in _broken(key, checked)),
        *_undecided(checked),
        _read(checked),
    ]


def _headline(checked: Checked) -> str:
    judgement, model = checked.judgement, checked.model
    if not judgement.usable:
        return f"invalid: {checked.file}: no operation was answered, so it proves nothing"
    keys = len(judgement.keys)
    told = {
        Verdict.HELD: f"an order explains every answer ({_keys(keys)})",
        Verdict.BROKEN: f"{len(judgement.broken)} of {_keys(keys)}: no order explains the answers",
        Verdict.UNKNOWN: f"{len(judgement.undecided)} of {_keys(keys)} undecided, none broken",
    }
    verdict = judgement.verdict
    return f"{verdict}: {checked.file}: {told[verdict]}; model {model.name}, {shown(model.initial)} at first"


def _keys(count: int) -> str:
    return "1 key" if count == 1 else f"{count} keys"


def _broken(key: KeyJudgement, checked: Checked) -> list[str]:
    culprit = key.culprit
    if culprit is None:
        return [f"  {_named(key, checked)}broken"]
    operation = culprit.operation
    where = f"line {operation.line}, asked on line {operation.asked_on}, process {operation.process}"
    states = ", ".join(map(shown, culprit.possible)) or "nothing that this budget could find"
    more = "" if culprit.all_told else " and perhaps others"
    first = (
        ""
        if culprit.first
        else "\n    an earlier one may be impossible too: the budget did not suffice to say"
    )
    return [
        f"  {_named(key, checked)}{operation} is impossible ({where}){first}",
        f"    possible: {states}{more}",
    ]


def _named(key: KeyJudgement, checked: Checked) -> str:
    return f"key {_shown_key(key.key)}: " if checked.history.keyed else ""


def _shown_key(key: Any) -> str:
    return shown(key)


def _undecided(checked: Checked) -> list[str]:
    keys = checked.judgement.undecided
    if not keys:
        return []
    named = f" ({', '.join(_shown_key(each.key) for each in keys)})" if checked.history.keyed else ""
    return [
        f"  undecided after {checked.budget} steps each: {_keys(len(keys))}{named}",
        f"    remedy: --budget {checked.budget * 10}",
    ]


def _read(checked: Checked) -> str:
    history = checked.history
    answered, failed, unknown = (history.count(outcome) for outcome in Outcome)
    return (
        f"read: {history.events} events, {history.others} of them not by clients; {answered} operations "
        f"answered, {failed} failed, {unknown} of unknown outcome; {checked.seconds:.1f} s"
    )


def as_data(checked: Checked) -> dict[str, Any]:
    """The same for programs.  Pure."""
    history, judgement = checked.history, checked.judgement
    return {
        "verdict": "invalid" if not judgement.usable else str(judgement.verdict),
        "file": checked.file,
        "model": checked.model.name,
        "initial": _plain(checked.model.initial),
        "budget": checked.budget,
        "keys": len(judgement.keys),
        "broken": [_key_as_data(each) for each in judgement.broken],
        "undecided": [{"key": _plain(each.key), "steps": each.steps} for each in judgement.undecided],
        "events": history.events,
        "others": history.others,
        **{str(outcome): history.count(outcome) for outcome in Outcome},
        "seconds": round(checked.seconds, 3),
    }


def _key_as_data(key: KeyJudgement) -> dict[str, Any]:
    culprit = key.culprit
    if culprit is None:
        return {"key": _plain(key.key)}
    operation = culprit.operation
    return {
        "key": _plain(key.key),
        "operation": {
            "action": str(operation.action),
            "value": _plain(operation.value),
            "expected": _plain(operation.expected),
            "process": operation.process,
            "line": operation.line,
            "asked-on": operation.asked_on,
        },
        "first": culprit.first,
        "possible": [_plain(each) for each in culprit.possible],
        "all-told": culprit.all_told,
    }


def _plain(value: Any) -> int | float | str | None:
    """What JSON has; names such as :red by their spelling."""
    return value.text if isinstance(value, Word) else value


COMMANDS = (check,)
