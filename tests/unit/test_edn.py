"""The reader of EDN: what histories contain, and what is no EDN."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.errors import ConfigError
from lab.jepsen.edn import Form, Tagged, form_of, records
from lab.linearizability import Word
from lab.linearizability.operation import shown


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("nil", None),
        ("true", Word("true")),
        ("-12", -12),
        ("+7", 7),
        ("0", 0),
        ("12345678901234567890N", 12345678901234567890),
        ("1.5", 1.5),
        ("2.0M", 2.0),
        ("1e3", 1000.0),
        ("##Inf", float("inf")),
        ("1/3", Word("1/3")),
        ("0x1f", Word("0x1f")),
        ('"a\\n\\"\\\\\\u00e9"', 'a\n"\\é'),
        ('"over\ntwo lines; no comment"', "over\ntwo lines; no comment"),
        (":jepsen.core/read", Word(":jepsen.core/read")),
        ("a.b$c_1__2", Word("a.b$c_1__2")),
        ("-", Word("-")),
        ("\\newline", Word("\\newline")),
        ("[1 [2, 3] ()]", (1, (2, 3), ())),
        ("(1 2)", (1, 2)),
        ("#{1 2}", frozenset({1, 2})),
        ("{:a 1, {:b [1]} {}}", {Word(":a"): 1, Tagged("map", frozenset({(Word(":b"), (1,))})): {}}),
        ('#inst "2026-01-01"', Tagged("inst", "2026-01-01")),
        ("#a #b [1]", Tagged("a", Tagged("b", (1,)))),
        ("[1 #_ [2 #_ 3] 4 #_#_ 5 6]", (1, 4)),
        ("; one\n 1 ; two ;; three\n;four", 1),
        ("  ,, 1 ,", 1),
    ],
)
def test_forms_are_read(text: str, form: Form) -> None:
    assert form_of(text) == form


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[1 2", "[ is not closed"),
        ("#{1 2", "#{ is not closed"),
        ("1]", "] closes nothing"),
        ("[1)", ") closes nothing: [ came before it"),
        ('"abc', "text is not closed"),
        ('"\\q"', "unknown escape \\q"),
        ("{:a}", "a key and no value"),
        ("{:a 1 :a 2}", "the same key twice"),
        ("1x", "'1x' is no number"),
        ("007", "'007' is no number"),
        ("@a", "'@a' is not EDN"),
        ("#", "'#' is not EDN"),
        ("[" * 100, "more than 64 brackets"),
        ("#a " * 100 + "1", "more than 64 brackets"),
        ("9" * 4400, "a number of 4400 characters"),
        ("1 2", "one value was expected, not 2"),
        ("", "one value was expected, not 0"),
    ],
)
def test_what_is_no_form_is_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        form_of(text)
    assert says in str(refused.value)


@pytest.mark.parametrize("around", ["{}\n{}\n", "[{}\n{}]", "({}\n{}\n)", "; x\n#_ 3\n{}\n{}"])
def test_a_history_is_one_vector_or_one_map_after_another(around: str) -> None:
    one, two = "{:a 1}", "{:b\n 2}"
    found = list(records(around.format(one, two), "x"))
    assert [form for _, form in found] == [{Word(":a"): 1}, {Word(":b"): 2}]
    first = around.format(one, two).index(one)
    line = 1 + around.format(one, two)[:first].count("\n")
    assert [at for at, _ in found] == [line, line + 1]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[{} {}\n{}", "line 1: [ is not closed"),
        ("[{}]\n\n{}", "line 3: something follows the end"),
        ("[{}\n)", "line 2: ) closes nothing: [ came before it"),
        ("{}\n\n{:a 1 :b}", "line 3: a map with a key and no value"),
        ("{}\n{:a\n\n 1x}", "line 4: '1x' is no number"),
    ],
)
def test_a_mistake_has_its_line(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=r"^file: not usable") as refused:
        list(records(text, "file"))
    assert says in str(refused.value)


SCALARS = st.one_of(
    st.none(),
    st.integers(),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.text(string.ascii_letters, min_size=1).map(lambda text: Word(":" + text)),
)
FORMS = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4).map(tuple), max_leaves=12)


def spelled(form: Form) -> str:
    return f"[{' '.join(map(spelled, form))}]" if isinstance(form, tuple) else shown(form)  # type: ignore[arg-type]


@given(FORMS)
def test_what_was_written_is_read_again(form: Form) -> None:
    assert form_of(spelled(form)) == form


@given(st.text(st.sampled_from('{}[]()#_:"\\;,\n 1a.')))
def test_any_text_is_read_or_refused(text: str) -> None:
    refused = ""
    try:
        list(records(text, "x"))
    except ConfigError as error:
        refused = str(error)
    assert not refused or "line " in refused
