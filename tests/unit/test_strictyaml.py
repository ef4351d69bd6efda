import time
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import Field

from lab.errors import ConfigError
from lab.strictyaml import Flag, Schema, Whole, load, read, read_file, shown, validate


class Probe(Schema):
    every: str = Field(examples=["500ms"])
    kind: Literal["api-read", "api-write"] = "api-read"
    count: Whole = 1


class Sample(Schema):
    title: str
    version: str | None = None
    fresh: Flag = False
    node_ports: str | None = None
    probes: dict[str, Probe | None] | None = None
    steps: tuple[Probe, ...] = ()


def problems(text: str | bytes) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        validate(read(text, "s.yaml"), Sample, {"ipvs": "ipvs is gone; write iptables"})
    return caught.value.problems


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("on", "on"),
        ("No", "No"),
        ("yes", "yes"),
        ("1:30", "1:30"),
        ("0644", "0644"),
        ("0o17", "0o17"),
        ("0x1f", "0x1f"),
        ("1_000", "1_000"),
        ("1.20", "1.20"),
        ("1e3", "1e3"),
        (".inf", ".inf"),
        ("2026-08-01", "2026-08-01"),
        ("=", "="),
        ("True", "True"),
        ("true", True),
        ("false", False),
        ("0", 0),
        ("-7", -7),
        ("+7", "+7"),
        ("9" * 5000, "9" * 5000),
        ("~", None),
        ("null", None),
        ("", None),
        ("'null'", "null"),
        ('"7"', "7"),
        ("''", ""),
        ("[a, 1, on]", ["a", 1, "on"]),
    ],
)
def test_plain_scalars_hold_no_yaml_1_1_surprise(written: str, value: object) -> None:
    assert load(f"key: {written}\n", "s.yaml").data == {"key": value}


def test_keys_stay_text() -> None:
    assert load("on: 1\n1: 2\n1.10: 3\n", "s.yaml").data == {"on": 1, "1": 2, "1.10": 3}


def test_each_value_has_its_line() -> None:
    document = load("a:\n  b: 1\n  c:\n  - x\n  - {d: 2,\n     e: 3}\n", "s.yaml")
    assert document.line(("a", "b")) == 2
    assert document.line(("a", "c", 0)) == 4
    assert document.line(("a", "c", 1, "e")) == 6
    assert document.line(("a", "c", 1, "not there")) == 5
    assert document.where(("a", "union-label", "b")) == "s.yaml:2"


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("", 1, "is empty"),
        ("# only a comment\n", 1, "is empty"),
        ("- a\n- b\n", 1, "does not start with a key"),
        ("just words", 1, "does not start with a key"),
        ("a: 1\n\tb: 2\n", 2, "tab"),
        ("a: [1\nb: 2\n", 2, "not readable"),
        ("a: 'x\n", 2, "not readable"),
        ("a: 1\n---\nb: 2\n", 2, "second document"),
        ("a: 1\nb: x\x00y\n", 2, "U+0000"),
        ("a: \ud800\n", 1, "U+D800"),
        ('a: 1\nb: "\\0"\n', 2, "U+0000"),
        ('a: "\\ud800"\n', 1, "U+D800"),
        ('"a\\e": 1\n', 1, "control character"),
        ('a: "\\UFFFFFFFF"\n', 1, "not readable"),
        ("%YAML 1." + "1" * 5000 + "\n---\na: 1\n", 1, "not readable"),
        ("a: " + "[" * 100_000, 1, "nested deeper"),
        ("a: 1\nb: 2\na: 3\n", 3, "'a' was already given in line 1"),
        ("a: &x 1\n", 1, "anchor &x"),
        ("a: 1\nb: *x\n", 2, "alias *x"),
        ("a: 1\n<<: {b: 2}\n", 2, "merge key <<"),
        ("a: !!int 1\n", 1, "tag tag:yaml.org,2002:int"),
        ("a: !!python/object/apply:os.system [id]\n", 1, "tag "),
        ("a: ! 1\n", 1, "tag !"),
        ("? [a, b]\n: 1\n", 1, "key must be a word"),
        ("a: 1\n'': 2\n", 2, "key must be a word"),
        ("x: " + "a" * 10_000_000, 1, "larger than 256 KiB"),
    ],
)
def test_what_is_no_yaml_is_refused_with_its_line(text: str, line: int, part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(text, "s.yaml")
    assert any(p.startswith(f"s.yaml:{line}: ") and part in p for p in caught.value.problems)


def test_bytes_are_utf8_with_or_without_mark() -> None:
    assert load(b"\xef\xbb\xbfa: \xc3\xa4\r\nb: 1\r\n", "s.yaml").data == {"a": "ä", "b": 1}
    assert problems(b"title: x\ny: \xff\n")[0].startswith("s.yaml:2: byte 0xff is not UTF-8")
    assert "not UTF-8" in problems("title: x".encode("utf-16"))[0]


def test_a_bomb_of_aliases_is_refused_quickly() -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40)]
    began = time.monotonic()
    with pytest.raises(ConfigError):
        load("\n".join(lines), "s.yaml")
    assert time.monotonic() - began < 2


def test_every_mistake_is_reported_together_in_the_order_of_lines() -> None:
    found = problems(
        "title: x\n"
        "titel: y\n"
        "fresh: on\n"
        "version: &v 1.20\n"
        "probes:\n"
        "  one: {evry: 1s, kind: ipvs}\n"
        "  two: {every: 1s, kind: api-wirte, count: '3'}\n"
        "  two: {every: 2s}\n"
        "steps:\n"
        "- {every: 1s}\n"
        "- {every: [1]}\n"
        "- 7\n"
    )
    assert [p.split(": ", 1)[0] for p in found] == [
        f"s.yaml:{line}" for line in (2, 3, 4, 6, 6, 6, 7, 7, 8, 11, 12)
    ]
    text = "\n".join(found)
    assert "unknown key 'titel'; did you mean 'title'? (valid: title, version" in text
    assert "fresh: 'on' must be true or false" in text
    assert "'every' is missing in probes.one; write for example `every: 500ms`" in text
    assert "unknown key 'evry' in probes.one; did you mean 'every'?" in text
    assert "'ipvs' is not known: ipvs is gone; write iptables" in text
    assert "probes.two.kind: 'api-wirte' is not known; did you mean 'api-write'?" in text
    assert "probes.two.count: '3' must be a whole number" in text
    assert "steps: '7' must hold keys and values" in text


def test_text_is_taken_as_written_where_the_schema_wants_text() -> None:
    model = validate(load("title: 007\nversion: 1.20\nnode-ports: 30000\n", "s.yaml"), Sample)
    assert (model.title, model.version, model.node_ports) == ("007", "1.20", "30000")


def test_python_names_are_no_keys() -> None:
    assert "did you mean 'node-ports'?" in problems("title: x\nnode_ports: 1-2\n")[0]


def test_a_flood_of_mistakes_is_cut() -> None:
    found = problems("title: x\n" + "".join(f"k{n}: 1\n" for n in range(200)))
    assert len(found) == 61
    assert found[-1] == "… and 140 more"


def test_an_override_is_named_in_place_of_a_line() -> None:
    document = load("title: x\nversion: {a: 1}\n", "s.yaml").override("version", "[", "--lab-version")
    assert document.where(("version", "a")) == "--lab-version"
    assert document.line(("version",)) == 0
    assert document.data["version"] == "["


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "no.yaml", tmp_path, tmp_path / "a\0b"):
        with pytest.raises(ConfigError, match="cannot be read"):
            read_file(path)


yamlish = st.text(
    st.sampled_from(list("ab1:-[]{},&*!|>'\"%@`?#~<. \n\t\\xuU0é\x85\u2028\ufeff")), max_size=60
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(yamlish, st.text(max_size=40), st.binary(max_size=40)))
@example("? &a\n: *a")
@example("!<")
@example("--- !%ff\n")
def test_nothing_but_config_error_ever_leaves_the_loader(text: str | bytes) -> None:
    found = reported(text)
    assert all(p.startswith(("s.yaml:", "…")) for p in found)
    assert "\n".join(found).encode()


def reported(text: str | bytes) -> list[str]:
    try:
        validate(read(text, "s.yaml"), Sample)
    except ConfigError as error:
        return error.problems
    return ["s.yaml:"]


words = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=9
)


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(words, words, min_size=1, max_size=4))
def test_quoted_text_comes_back_as_written(data: dict[str, str]) -> None:
    printable = {k: v for k, v in data.items() if all(ord(c) < 0xFFFE and c != "\ufeff" for c in k + v)}
    text = "x: 1\n" + "".join(f"{quoted('k' + k)}: {quoted(v)}\n" for k, v in printable.items())
    assert load(text, "s.yaml").data == {"x": 1, **{"k" + k: v for k, v in printable.items()}}


def test_a_path_can_be_printed_wherever_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    assert shown(gone / "p.yaml") == "p.yaml"
    gone.rmdir()
    assert shown(tmp_path / "p.yaml") == str(tmp_path / "p.yaml")
    assert shown(Path("a\udcff.yaml")) == "a?.yaml"
