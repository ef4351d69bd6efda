"""The pages in a real browser without any network: no error, the findings' figures, and they can be used.

Needs Debian's chromium; skipped where there is none, and an error in CI, which installs it.  The browser is
steered by its own debugging protocol on a port of loopback that it chooses itself.
"""

import itertools
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from made_histories import asked, made
from test_report import entries
from test_report_histories import ALL, hostile, judged, many, silent_master
from websockets.sync.client import ClientConnection, connect

from lab.report import as_json, write_html, write_index
from lab.wait import NotYet, wait_until

CHROMIUM = next((path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), "")
INSTALL = "apt-get install --no-install-recommends chromium"
SECONDS = 60.0  # for each answer of a browser that shares two cores with others
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--proxy-server=http://127.0.0.1:9",
    "--remote-debugging-port=0",
    "--window-size=1280,1000",
)


@dataclass
class Tab:
    """One page in the browser, and all that it did: errors it told, addresses it asked for."""

    line: ClientConnection
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    errors: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    loaded: bool = False

    def do(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and wait for its answer; events that come meanwhile are kept."""
        number = next(self.numbers)
        self.line.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            told = json.loads(self.line.recv(timeout=SECONDS))
            if told.get("id") == number:
                assert "error" not in told, told
                found: dict[str, Any] = told["result"]
                return found
            self.note(told.get("method", ""), told.get("params", {}))

    def note(self, event: str, told: dict[str, Any]) -> None:
        if event == "Runtime.exceptionThrown":
            self.errors.append(str(told["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
            self.errors.append(str(told["args"]))
        elif event == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.errors.append(told["entry"]["text"])
        elif event == "Network.requestWillBeSent":
            self.asked.append(told["request"]["url"])
        elif event == "Page.loadEventFired":
            self.loaded = True

    def open(self, path: Path) -> None:
        """Load a file, and forget what was before."""
        self.do("Page.navigate", url="about:blank")
        self.errors, self.asked, self.loaded = [], [], False
        self.do("Page.navigate", url=path.as_uri())

        def is_loaded() -> None:
            self.do("Runtime.evaluate", expression="0")
            if not self.loaded:
                raise NotYet(f"{path.name} is loading")

        wait_until(f"{path.name} to be loaded", is_loaded, timeout=SECONDS, every=0.05)
        self.js("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")

    def js(self, expression: str) -> Any:
        """What an expression comes to in the page."""
        told = self.do("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def shown(self) -> tuple[float, float]:
        """Which seconds the timeline shows."""
        first, last = self.js("[view.from, view.to]")
        return first, last

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        self.do("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def key(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            self.do("Input.dispatchKeyEvent", type=kind, key=key)

    def place(self, selector: str) -> tuple[float, float, float]:
        """An element's left edge, the middle of its height, and its width, once it can be seen."""
        left, top, width = self.js(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect();"
            " return [r.left, r.top + r.height / 2, r.width]; })()"
        )
        return left, top, width


def insist(program: str, *, in_ci: bool) -> None:
    """Skip where there is no browser; in CI an error: a report that nobody opened is not proven."""
    if program:
        return
    if in_ci:
        pytest.fail("CI=true and no chromium, so nobody opened the report: thwlab doctor --fix")
    pytest.skip(f"no chromium here: {INSTALL}")


def end_of(program: str, *, in_ci: bool) -> str:
    """How a test of this file would end; a skip that went on upwards would skip whoever asks."""
    try:
        insist(program, in_ci=in_ci)
    except pytest.skip.Exception as why:
        return f"skipped: {why}"
    except pytest.fail.Exception as why:
        return f"failed: {why}"
    return "run"


def test_a_missing_browser_is_an_error_in_ci_and_else_a_skip() -> None:
    assert end_of("/usr/bin/chromium", in_ci=True) == "run"
    assert end_of("", in_ci=True).startswith("failed: CI=true and no chromium")
    assert end_of("", in_ci=False).startswith("skipped: no chromium here")


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    """A browser with one tab, ended with the tests of this file."""
    insist(CHROMIUM, in_ci=os.environ.get("CI") == "true")
    profile = tmp_path_factory.mktemp("chromium")
    environment = {**os.environ, "HOME": str(profile), "DBUS_SESSION_BUS_ADDRESS": "disabled:"}
    with (profile / "log").open("wb") as log:
        browser = subprocess.Popen(
            [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    try:
        with connect(address_of_page(profile, browser), max_size=None, open_timeout=SECONDS) as line:
            found = Tab(line)
            for part in ("Page", "Runtime", "Log", "Network"):
                found.do(f"{part}.enable")
            yield found
    finally:
        os.killpg(browser.pid, signal.SIGKILL)
        browser.wait(timeout=SECONDS)


def address_of_page(profile: Path, browser: subprocess.Popen[bytes]) -> str:
    """The debugging address of the browser's only page."""

    def port() -> str:
        assert browser.poll() is None, (profile / "log").read_text()[-2000:]
        try:
            return (profile / "DevToolsActivePort").read_text().split()[0]
        except (OSError, IndexError) as error:
            raise NotYet("the browser has no port yet") from error

    root = wait_until("the browser's port", port, timeout=SECONDS, every=0.05)
    browser_path = (profile / "DevToolsActivePort").read_text().split()[1]
    with connect(f"ws://127.0.0.1:{root}{browser_path}", max_size=None, open_timeout=SECONDS) as line:
        pages = Tab(line).do("Target.getTargets")["targetInfos"]
    page = next(each["targetId"] for each in pages if each["type"] == "page")
    return f"ws://127.0.0.1:{root}/devtools/page/{page}"


def page_of(name: str, folder: Path) -> Path:
    run = {**ALL, "many": many}[name]()
    path = folder / f"{name}.html"
    write_html(run.history, run.findings, run.facts, path)
    return path


def test_an_error_and_a_fetch_would_be_noticed(tab: Tab, tmp_path: Path) -> None:
    path = tmp_path / "bad.html"
    path.write_text(
        "<img src='http://127.0.0.1:64999/x.png'><script>console.error('oops'); nothing.at.all</script>"
    )
    tab.open(path)
    tab.js("0")
    assert any("oops" in error for error in tab.errors)
    assert any("nothing" in error for error in tab.errors)
    assert "http://127.0.0.1:64999/x.png" in tab.asked


@pytest.mark.parametrize("name", ALL)
def test_the_page_has_no_error_asks_nothing_and_shows_the_findings(
    name: str, tab: Tab, tmp_path: Path
) -> None:
    path = page_of(name, tmp_path)
    tab.open(path)
    rows = tab.js(
        "[...document.querySelectorAll('#findings tr[data-invariant]')].map(row => [row.dataset.invariant,"
        " row.dataset.value, ...['.measured', '.wanted'].map(each => row.querySelector(each).textContent)])"
    )
    run = ALL[name]()
    told = as_json(run.history, run.findings, run.facts)
    wanted = {f["invariant"]: [f["value"], f["measured"], f["wanted"]] for f in told["findings"]}
    assert {row[0]: [float(row[1]) if row[1] else None, row[2], row[3]] for row in rows} == wanted
    assert tab.js("document.getElementById('sentence').textContent") == told["sentence"]
    assert tab.js("report.findings.length") == len(run.findings)
    assert tab.errors == []
    assert tab.asked == [path.as_uri()]


def test_the_index_has_no_error_and_can_be_narrowed(tab: Tab, tmp_path: Path) -> None:
    write_index(entries(), tmp_path / "index.html")
    tab.open(tmp_path / "index.html")
    count = "[...document.querySelectorAll('#runs tbody tr')].filter(row => !row.hidden).length"
    assert tab.js(count) == 3
    tab.js("document.querySelector('input[data-verdict=held]').click()")
    assert tab.js(count) == 2
    assert (tab.errors, len(tab.asked)) == ([], 1)


def test_hostile_texts_do_nothing(tab: Tab, tmp_path: Path) -> None:
    tab.open(page_of("hostile", tmp_path))
    assert tab.js("document.querySelectorAll('img, b').length") == 0
    assert tab.js("document.title") == f"broken: {as_json(*hostile_parts())['scenario']}"
    left, middle, width = tab.place("canvas[data-lane]")
    tab.mouse("mouseMoved", left + width / 2, middle)
    assert tab.js("document.querySelectorAll('#tip *').length") == 0
    assert tab.errors == []


def hostile_parts() -> tuple[Any, Any, Any]:
    run = hostile()
    return run.history, run.findings, run.facts


def test_no_program_but_the_pages_own_can_run(tab: Tab, tmp_path: Path) -> None:
    tab.open(page_of("nothing", tmp_path))
    tab.js("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.evil=1\">')")
    tab.js("new Promise(done => setTimeout(done, 50))")
    assert tab.js("window.evil === undefined")
    assert any("Content Security Policy" in error for error in tab.errors)


COLOUR = """(() => {
  const lane = lanes.find(each => each.told.name === NAME), ratio = devicePixelRatio;
  const x = (AT - view.from) / (view.to - view.from) * lane.canvas.clientWidth;
  const data = lane.canvas.getContext('2d').getImageData(x * ratio, lane.canvas.height / 2, 1, 1).data;
  return '#' + [...data].slice(0, 3).map(each => each.toString(16).padStart(2, '0')).join('');
})()"""


# How many pixels of the API's lane are those of a failure.
REDDISH = """(() => {
  const { canvas } = lanes.find(each => each.told.name === 'api');
  const { data } = canvas.getContext('2d').getImageData(0, canvas.height / 2, canvas.width, 1);
  const wanted = paint.colour('failed').match(/\\w\\w/g).map(each => parseInt(each, 16));
  const is = n => wanted.every((each, part) => data[4 * n + part] === each);
  return [...Array(canvas.width).keys()].filter(is).length;
})()"""


@pytest.mark.parametrize(
    ("at", "tone"), [(10.0, "ok"), (60.0, "failed"), (110.0, "ok")], ids=["before", "meanwhile", "after"]
)
def test_what_is_drawn_is_what_happened(at: float, tone: str, tab: Tab, tmp_path: Path) -> None:
    tab.open(page_of("silent-master", tmp_path))
    expression = COLOUR.replace("NAME", "'api@k8s-master1'").replace("AT", str(at))
    assert tab.js(expression) == tab.js(f"paint.colour('{tone}')")


def test_one_failure_among_thousands_can_be_seen(tab: Tab, tmp_path: Path) -> None:
    run = judged(made(asked(every=0.01, failing=[(30.0, 30.005)])))
    assert sum(not sample.ok for sample in run.history.samples["api"]) == 1
    write_html(run.history, run.findings, run.facts, tmp_path / "one.html")
    tab.open(tmp_path / "one.html")
    assert tab.js(REDDISH) >= 3


def test_wheel_keys_drag_and_buttons_zoom(tab: Tab, tmp_path: Path) -> None:
    tab.open(page_of("silent-master", tmp_path))
    assert tab.shown() == (0, 120)
    left, middle, width = tab.place("#axis")
    tab.mouse("mouseWheel", left + width / 2, middle, deltaX=0, deltaY=-400)
    first, last = tab.shown()
    assert 0 < first < 60 < last < 120

    tab.js("document.querySelector('#lanes').focus({preventScroll: true})")
    tab.key("+")
    assert tab.shown()[0] > first
    before = tab.shown()
    tab.key("ArrowLeft")
    assert tab.shown()[0] < before[0]
    tab.key("0")
    assert tab.shown() == (0, 120)

    left, middle, width = tab.place("#axis")
    tab.mouse("mousePressed", left + width / 4, middle, button="left", clickCount=1)
    tab.mouse("mouseMoved", left + width / 2, middle, button="left", buttons=1)
    tab.mouse("mouseReleased", left + width / 2, middle, button="left", clickCount=1)
    assert tab.shown() == pytest.approx((30, 60), abs=0.5)

    tab.js("document.querySelector('button[data-do=reset]').click()")
    assert tab.shown() == (0, 120)
    tab.js("document.querySelector('button[data-fault]').click()")
    assert tab.shown() == pytest.approx((22.77, 104.53), abs=0.1)
    assert tab.js("document.getElementById('shown').textContent").endswith(" s")
    assert tab.errors == []


def test_a_window_of_a_finding_can_be_shown(tab: Tab, tmp_path: Path) -> None:
    tab.open(page_of("vantage-lost", tmp_path))
    tab.js("document.querySelector('button[data-from=\"10\"]').click()")
    first, last = tab.shown()
    assert first < 10
    assert last == 60


def test_the_wheel_over_lanes_scrolls_the_page(tab: Tab, tmp_path: Path) -> None:
    tab.open(page_of("silent-master", tmp_path))
    left, middle, width = tab.place("canvas[data-lane]")
    tab.mouse("mouseWheel", left + width / 2, middle, deltaX=0, deltaY=100)
    assert tab.shown() == (0, 120)
    tab.mouse("mouseWheel", left + width / 2, middle, deltaX=0, deltaY=-100, modifiers=2)
    assert tab.shown() != (0, 120)


def test_the_pointer_tells_what_was_there(tab: Tab, tmp_path: Path) -> None:
    tab.open(page_of("silent-master", tmp_path))
    names = tab.js("lanes.map(lane => lane.told.name)")
    tab.js(f"lanes[{names.index('api@k8s-master1')}].canvas.id = 'aim'")
    left, middle, width = tab.place("#aim")
    tab.mouse("mouseMoved", left + width / 2, middle)
    said = tab.js("document.getElementById('tip').textContent")
    assert "api@k8s-master1" in said
    assert "failed, 337 times" in said
    assert "timed out in connect" in said
    assert "after a fault began" in said


def test_another_probes_latencies_can_be_chosen(tab: Tab, tmp_path: Path) -> None:
    tab.open(page_of("silent-master", tmp_path))
    tab.js("choice.value = '4'; choice.dispatchEvent(new Event('change'))")
    run = silent_master()
    name, samples = list(run.history.samples.items())[4]
    assert tab.js("plot.shown.told.name") == name
    assert tab.js("plot.shown.beats.length") == len(samples)
    assert tab.js("plot.shown.beats[100]") == pytest.approx(samples[100].scheduled, abs=1e-4)
    assert tab.js("plot.shown.seconds(100)") == pytest.approx(
        samples[100].answered - samples[100].sent, abs=1e-4
    )
    assert tab.errors == []


def test_on_paper_all_is_open_and_afterwards_as_before(tab: Tab, tmp_path: Path) -> None:
    tab.open(page_of("silent-master", tmp_path))
    opened = "[...document.querySelectorAll('details:not(.log)')].map(each => each.open)"
    before = tab.js(opened)
    tab.js("view.show(30, 60); dispatchEvent(new Event('beforeprint'))")
    assert all(tab.js(opened))
    assert tab.shown() == (0, 120)
    assert tab.js("document.querySelector('details.log').open") is False
    tab.js("dispatchEvent(new Event('afterprint'))")
    assert tab.js(opened) == before
    assert not all(before)


def test_100000_samples_are_drawn_quickly(tab: Tab, tmp_path: Path) -> None:
    tab.open(page_of("many", tmp_path))
    took = tab.js(
        "(() => { const times = []; for (let n = 0; n < 9; n++) { const began = performance.now();"
        " view.draw(); times.push(performance.now() - began); } return times.sort((a, b) => a - b)[4]; })()"
    )
    assert took < 500, f"a drawing took {took:.0f} ms in the middle"
    assert tab.errors == []
