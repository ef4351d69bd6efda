"""docs/scenarios.md has every word with its fields, as it is read; THWLAB_GOLDEN=write writes them anew."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from test_scenario_files import known
from test_scenario_mistakes import scenario

from lab.invariants.catalogue import ALWAYS
from lab.invariants.finding import shown
from lab.scenario.file import ScenarioFile
from lab.scenario.schema import first_line
from lab.scenario.words import Word, words_of_fault, words_of_invariant

PAGE = Path(__file__).parents[2] / "docs/scenarios.md"


SHARED = ("of", "during", "lease", "unit")  # fields whose choices have a table of their own


def fields(words: tuple[Word, ...], without: tuple[str, ...] = ()) -> str:
    """The fields of an entry, with how each is written; those that may be left out in brackets."""
    own = [word for word in words if word.key not in without]
    told = [(f"`{word.key}: {written(word)}`", word.needed) for word in own]
    return ", ".join(text if must else f"[{text}]" for text, must in told) or "none of its own"


def written(word: Word) -> str:
    """The choices, if they are few, or an example."""
    choices = word.form.means.removeprefix("one of ").split(", ")
    few = word.form.means.startswith("one of ") and word.key not in SHARED
    return " or ".join(choices) if few else word.form.example


def faults() -> Iterator[str]:
    yield "| fault | | fields of its own |"
    yield "|---|---|---|"
    for word, kind in known().faults.items():
        own = fields(words_of_fault(kind, known()), ("on", "at", "for"))
        yield f"| `{word}` | {'lasts' if kind.lasts else 'done once'} | {own} |"


def targets() -> Iterator[str]:
    yield ", ".join(f"`{word}`" for word in known().targets)


def probes() -> Iterator[str]:
    yield "| probe | asks | how many, how often | gives up after |"
    yield "|---|---|---|---|"
    for word, question in known().questions.items():
        name = f"`{word}`" + (" (observer)" if question.observes else "")
        beat = f"{known().count(word)}, every {known().interval(word):g} s"
        yield f"| {name} | {question.about} | {beat} | {known().deadline(word):g} s |"


def invariants() -> Iterator[str]:
    yield "| invariant | judges | fields |"
    yield "|---|---|---|"
    for word, kind in known().invariants.items():
        yield f"| `{word}` | {first_line(kind.__doc__)} | {fields(words_of_invariant(kind, known()))} |"


def always() -> Iterator[str]:
    yield from (
        f"- `{each.title}`: {each.bound.replace('-', ' ')} {shown(each.limit, each.unit)}" for each in ALWAYS
    )


TABLES: Mapping[str, Callable[[], Iterator[str]]] = {
    each.__name__: each for each in (faults, targets, probes, invariants, always)
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_in_step_with_what_is_read(name: str) -> None:
    wanted = "\n".join([f"<!-- {name} -->", *TABLES[name](), "<!-- end -->"])
    found = re.compile(rf"<!-- {name} -->\n.*?<!-- end -->", re.DOTALL)
    if os.environ.get("THWLAB_GOLDEN") == "write":
        PAGE.write_text(found.sub(lambda _: wanted, PAGE.read_text()))
    assert found.search(PAGE.read_text())[0] == wanted  # type: ignore[index]


def test_every_key_of_a_file_is_explained() -> None:
    keys = [name.replace("_", "-") for name in ScenarioFile.model_fields]
    assert not [key for key in keys if f"| `{key}` |" not in PAGE.read_text()]


def test_the_example_is_a_scenario() -> None:
    example = PAGE.read_text().partition("```yaml\n")[2].partition("```")[0]
    assert scenario(example).name == "my-first"


def test_every_invariant_has_a_sentence() -> None:
    about = {word: first_line(kind.__doc__) for word, kind in known().invariants.items()}
    assert not [word for word, text in about.items() if not text.endswith(".")]
    assert len(set(about.values())) == len(about)
