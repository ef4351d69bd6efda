"""The HTML page of one run: one file, no network, everything in it escaped.

The frame and all figures are written here, from the JSON document that the page also has inside; the page's
own program only draws.  It draws on canvases, for an SVG would need an element for each run of equal answers:
100,000 of them, where every second question fails, are more than a browser moves smoothly.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lab.history import History
from lab.invariants.finding import Finding
from lab.ownership import adopt, make_folder
from lab.report.document import as_json
from lab.report.facts import beside
from lab.report.observed import SECTIONS
from lab.report.picture import picture_of

STYLES = ("style.css",)
PROGRAM = ("view.js", "paint.js", "timeline.js", "latency.js", "page.js")
GRAVITY = ("broken", "unknown", "not-judged", "held")  # the order of the table of findings
MARKS = {"held": "✓", "broken": "✗", "unknown": "?", "invalid": "!", "not-judged": "–"}


def write_html(
    history: History, findings: Sequence[Finding], facts: Mapping[str, Any] | None, path: Path
) -> None:
    """The report on one run; ``facts`` as `lab.report.facts` says, links to files relative to ``path``."""
    known = {"files": beside(path.parent, path.name), **(facts or {})}
    document = as_json(history, findings, known)
    order = sorted(document["findings"], key=lambda finding: GRAVITY.index(finding["counts"]))
    content = rendered(
        "run.html.j2",
        PROGRAM,
        document=document,
        picture=picture_of(history),
        findings=order,
        incidents=_incidents(document),
        stepped=[each for each in document["probes"] if each["steps"] and each["question"] not in SECTIONS],
    )
    write(path, content)


def _incidents(document: dict[str, Any]) -> list[tuple[str, list[dict[str, Any]]]]:
    """The log excerpts by fault, and those that belong to none; a fault without any is named too."""
    logs = document["logs"]
    numbers = [fault["number"] for fault in document["faults"]]
    each = [
        (f"{fault['number']}: {fault['fault']}", [log for log in logs if log["incident"] == fault["number"]])
        for fault in document["faults"]
    ]
    rest = [log for log in logs if log["incident"] not in numbers]
    return [*each, ("Elsewhere", rest)] if rest else each


def rendered(template: str, program: tuple[str, ...], **values: Any) -> str:
    """A page with styles and program inside, which may do nothing but what they say."""
    style, script = _joined(STYLES), _joined(program)
    policy = f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; base-uri 'none'"
    page = _templates().get_template(template)
    return page.render(values, style=Markup(style), script=Markup(script), policy=policy, marks=MARKS)


def write(path: Path, content: str) -> None:
    """The page at that place, in a folder of its own if need be."""
    make_folder(path.parent)
    path.write_text(content, encoding="utf-8")
    adopt(path)


@cache
def _joined(names: tuple[str, ...]) -> str:
    folder = files("lab.report") / "templates"
    return "\n" + "\n".join((folder / name).read_text(encoding="utf-8") for name in names)


def _hash(text: str) -> str:
    """What the page's policy lets in, and nothing else, so that markup in a text could not run either."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("lab.report"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
    )
    environment.filters |= {"embedded": embedded, "seconds": seconds, "milliseconds": milliseconds}
    return environment


def embedded(value: Any) -> Markup:
    """JSON that can stand inside a script element: nothing in it ends that."""
    told = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    for sign in "<>&":
        told = told.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(told)


def milliseconds(value: float | None) -> str:
    """A time that is mostly a small part of a second, given in seconds."""
    return "–" if value is None else f"{value * 1000:.1f}" if value < 1 else f"{value * 1000:.0f}"


def seconds(value: float | None) -> str:
    """An instant or a time, to the hundredth of a second."""
    return "–" if value is None else f"{value:.2f} s"
