"""`thwlab check`: verdicts, exit codes and words, on histories of our own below golden/histories."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lab.cli.app import cli

HISTORIES = Path(__file__).parent / "golden/histories"
ENV = {name: None for name in os.environ if name.startswith("LAB_") or name == "CI"}


def check(name: str | Path, *args: str) -> Result:
    path = name if isinstance(name, Path) else HISTORIES / f"{name}.edn"
    result = CliRunner(env=ENV).invoke(cli, ["check", str(path), *args])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "history.edn"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def event(process: int | str, kind: str, f: str, value: str = "nil") -> str:
    return f"{{:process {process}, :type :{kind}, :f :{f}, :value {value}}}\n"


@pytest.mark.parametrize(("name", "model"), [("held", "register"), ("append-held", "append")])
def test_what_an_order_explains_is_held(name: str, model: str) -> None:
    result = check(name, "--model", model)
    assert (result.exit_code, result.output.split(":")[0]) == (0, "held")


@pytest.mark.parametrize(
    ("name", "args", "operation", "line", "possible"),
    [
        ("lost-write", [], "read 1", 7, [2]),
        ("stale-read", [], "read 1", 8, [2]),
        ("reordered-cas", [], "cas 1 to 3", 9, [3]),
        ("phantom", [], "read 7", 5, [None, 1]),
        ("failed-write", [], "read 2", 7, [1]),
        ("keyed", [], "read 2", 9, [1]),
        ("append-lost", ["--model", "append"], 'read "x 1 0 y"', 10, ["x 0 1 yx 1 0 y", "x 1 0 yx 0 1 y"]),
        ("held", ["--initial", "7"], "read nil", 3, [7]),
    ],
)
def test_each_violation_is_found_where_it_is(
    name: str, args: list[str], operation: str, line: int, possible: list[int | str | None]
) -> None:
    result = check(name, *args)
    assert (result.exit_code, result.output.split(":")[0]) == (1, "broken")
    assert f"{operation} is impossible (line {line}, asked on line " in result.output
    told = json.loads(check(name, *args, "--json").output)
    (broken,) = told["broken"]
    assert (told["verdict"], broken["operation"]["line"], broken["first"]) == ("broken", line, True)
    assert sorted(broken["possible"], key=str) == sorted(possible, key=str)
    assert broken["all-told"]


def test_the_broken_key_is_named_and_no_other() -> None:
    assert "key 7: read 2 is impossible" in check("keyed").output
    assert 'key "2": read' in check("append-lost", "--model", "append").output
    assert [each["key"] for each in json.loads(check("keyed", "--json").output)["broken"]] == [7]


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("only-nemesis", "register"),
        ("only-nemesis", "append"),
        ("only-failures", "register"),
        ("only-unknown", "register"),
    ],
)
def test_a_history_without_an_answer_is_invalid_and_no_pass(name: str, model: str) -> None:
    result = check(name, "--model", model)
    assert (result.exit_code, result.output.split(":")[0]) == (3, "invalid")
    assert json.loads(check(name, "--model", model, "--json").output)["verdict"] == "invalid"


@pytest.mark.parametrize(
    ("name", "args", "says"),
    [
        ("lock", [], "line 2: `:f :acquire` is an operation on a lock: there is no model of locks here"),
        ("lock", ["--model", "append"], "line 2: `:f :acquire` is an operation on a lock"),
        ("transactions", [], "line 1: `:f :txn` is a transaction"),
        ("append-held", [], "line 1: `:f :append` is not known to the model register"),
        ("append-held", [], "--model append knows it"),
        ("reordered-cas", ["--model", "append"], "line 2: :write of 1: the model append holds text"),
    ],
)
def test_what_cannot_be_judged_is_refused_with_its_line(name: str, args: list[str], says: str) -> None:
    result = check(name, *args)
    assert result.exit_code == 2
    assert says in result.output


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\x7fELF\x02\x01\x01\x00\x00", "NUL bytes"),
        (b"; one\n\xff\xfe", "line 2: byte 0xff is no UTF-8 text"),
        (b"[{:process 0,\n :type :invoke", "line 1: { is not closed"),
        (b"{:process 0, :type :invoke, :f :read]\n", "line 1: ] closes nothing: { came before it"),
        (b"0\t:invoke\t:read\tnil\n", "an event must be a map"),
        (b"{:process 0, :type :invoke, :f :read}\n{:type :ok}\n", "line 2: an event without :process"),
        (b"(" * 100_000, "more than 64 brackets"),
        (b'{:process 0, :f "' + b"a" * 1_000_000, "text is not closed"),
        (
            b"{:process 0, :type :invoke, :f :write, :value " + b"9" * 5000 + b"}",
            "a number of 5000 characters",
        ),
    ],
)
def test_what_is_no_history_is_refused_without_a_traceback(tmp_path: Path, content: bytes, says: str) -> None:
    result = check(written(tmp_path, content))
    assert result.exit_code == 2
    assert says in result.output


@pytest.mark.parametrize("path", ["/no/such.edn", ".", "/proc/self/mem"])
def test_a_path_that_is_no_file_is_bad_input(path: str) -> None:
    assert check(Path(path)).exit_code == 2


def test_an_empty_file_proves_nothing(tmp_path: Path) -> None:
    assert check(written(tmp_path, b"")).exit_code == 3
    assert check(written(tmp_path, b"[]\n")).exit_code == 3


def undecidable(key: int) -> str:
    """Twelve writes at once, each read once again in a way that only a long search rules out."""
    asked = "".join(event(100 * key + n, "invoke", "write", f"[{key} {n % 3}]") for n in range(12))
    reads = "".join(
        event(100 * key + 50, kind, "read", f"[{key} {value}]")
        for n in range(14)
        for kind, value in (("invoke", "nil"), ("ok", n % 3))
    )
    return asked + reads + "".join(event(100 * key + n, "ok", "write", f"[{key} {n % 3}]") for n in range(12))


def test_a_spent_budget_is_undecided_and_broken_beats_it(tmp_path: Path) -> None:
    result = check(written(tmp_path, undecidable(1)), "--budget", "5")
    assert (result.exit_code, result.output.split(":")[0]) == (3, "unknown")
    assert "undecided after 5 steps each: 1 key (1)" in result.output
    assert "--budget 50" in result.output
    phantom = event(1, "invoke", "read", "[2 nil]") + event(1, "ok", "read", "[2 9]")
    both = check(written(tmp_path, undecidable(1) + phantom), "--budget", "5")
    assert (both.exit_code, both.output.split(":")[0]) == (1, "broken")
    assert "key 2: read 9 is impossible" in both.output
    assert "undecided after 5 steps each: 1 key (1)" in both.output


@pytest.mark.parametrize(
    ("initial", "model", "says"),
    [
        ("abc", "register", "text goes in quotes"),
        ("[1", "register", "--initial"),
        ("[1 2]", "register", "only a"),
    ],
)
def test_an_initial_value_that_is_none_is_refused(initial: str, model: str, says: str) -> None:
    result = check("held", "--initial", initial, "--model", model)
    assert result.exit_code == 2
    assert says in result.output


def test_an_initial_value_is_edn_and_of_a_string_its_text(tmp_path: Path) -> None:
    read = written(tmp_path, event(0, "invoke", "read") + event(0, "ok", "read", '"a b"'))
    assert check(read, "--initial", '"a b"').exit_code == 0
    assert check(read, "--model", "append", "--initial", "a b").exit_code == 0
    assert check(read, "--model", "append").exit_code == 1


def test_a_value_cannot_drive_the_terminal(tmp_path: Path) -> None:
    text = event(0, "invoke", "read") + event(0, "ok", "read", '"\x1b[31m"')
    result = check(written(tmp_path, text))
    assert result.exit_code == 1
    assert "\x1b" not in result.output


@pytest.mark.parametrize("args", [("--model", "lock"), ("--budget", "0"), ("--budget", "many")])
def test_a_wrong_option_is_bad_input(args: tuple[str, ...]) -> None:
    assert check("held", *args).exit_code == 2
