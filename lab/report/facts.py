"""What is known of a run beside its history: names, versions, settings, logs, why it proves nothing.

A mapping, for it comes from records; every entry may be missing, and a report then says so.

| name | what it is |
|---|---|
| `scenario`, `about` | its name, and a sentence on what it breaks |
| `run` | what else identifies it, by name: profile, provider, seed, beginning, command to run it again |
| `reasons` | why the run proves nothing, as `lab.invariants.validity` says; else empty |
| `expected` | the titles of invariants that must break |
| `versions`, `settings` | by name; a setting may be `{value, origin}`, and both may be grouped by machine |
| `logs` | excerpts: `{machine, source, incident, begin, end, lines, file}`; `incident`: a fault's number |
| `probers` | what each probe's program cost, by probe: `{priority, cpu}` (seconds) |
| `notes` | `{at, text}`, in seconds of the stream's clock |
| `files` | raw files, relative to the report; if not given, what lies beside it |
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lab.report.plain import unless_secret

Record = Mapping[str, Any]
MOST_FILES = 200
MOST_LINES, LONGEST_LINE = 200, 500  # of an excerpt


def mapping(facts: Record, name: str) -> Mapping[str, Any]:
    """That entry if it is a mapping, else an empty one: a report is made whatever a record holds."""
    found = facts.get(name)
    return found if isinstance(found, Mapping) else {}


def sequence(facts: Record, name: str) -> Sequence[Any]:
    """That entry if it is a list, else an empty one."""
    found = facts.get(name)
    return found if isinstance(found, list | tuple) else ()


def rows(values: Mapping[str, Any], above: str = "") -> list[dict[str, Any]]:
    """A row for each value: its name with those of its groups before it, value, origin."""
    found: list[dict[str, Any]] = []
    for name, value in values.items():
        path = f"{above} / {name}" if above else str(name)
        if isinstance(value, Mapping) and "value" not in value:
            found += rows(value, path)
            continue
        grouped = value if isinstance(value, Mapping) else {"value": value}
        given, origin = grouped["value"], grouped.get("origin", "")
        found.append({"name": path, "value": unless_secret(str(name), given), "origin": origin})
    return found


def excerpts(facts: Record) -> list[dict[str, Any]]:
    """The log excerpts, each one text; what is too long is cut, and said to be."""
    return [_excerpt(each) for each in sequence(facts, "logs") if isinstance(each, Mapping)]


def _excerpt(told: Record) -> dict[str, Any]:
    lines = [str(line) for line in sequence(told, "lines")]
    kept = [line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]} …" for line in lines[:MOST_LINES]]
    names = ("machine", "source", "incident", "begin", "end")
    return {
        **{name: told.get(name) for name in names},
        "text": "\n".join(kept),  # one text, for a key in PEM is seen as one only as a whole
        "left_out": len(lines) - len(kept),
        "file": link(str(told["file"])) if told.get("file") else None,
    }


def links(files: Iterable[Any]) -> list[dict[str, str]]:
    """A link for each raw file, none of which leads elsewhere than below the report's folder."""
    found = (link(str(name)) for name in files)
    return [each for each in found if each is not None]


def link(name: str) -> dict[str, str] | None:
    """Where a file is, as a browser finds it beside the report; None if it is not below it."""
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        return None
    return {"name": name, "href": f"./{quote(path.as_posix(), safe='/', errors='replace')}"}


def beside(folder: Path, report: str) -> list[str]:
    """The files below a folder, without the report itself; not more than `MOST_FILES`."""
    if not folder.is_dir():
        return []
    found = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file())
    return [name for name in found if name != report][:MOST_FILES]
