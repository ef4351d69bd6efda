"""What every component is, and the one way to install it."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

from lab.carrying import Cargo
from lab.components.outside import Endpoint, Outside
from lab.components.readiness import UnitFailed, Watch, ask
from lab.errors import LabError, WaitExpired
from lab.machine import File, Machine, Platform, on_each
from lab.pki import Credentials
from lab.topology import Node, Profile, Topology
from lab.wait import NotYet, shortened, wait_until

LINGER = 3.0  # seconds
OFTEN = 0.1  # seconds between two questions that take no machine's time but for the answer


class Component(ABC):
    """A program run by systemd.  Subclasses describe; only `install` touches machines.

    `unit` is None for what is files only.  `on_change` is what systemctl does with the unit when its
    files changed; a changed unit file always means a restart.  `patience` are the seconds until it must
    serve, as `lab.wait.stretch` has them on slow machines.  `ends_for_good` is what its program writes into
    the journal where each further start would end as the last one did: nobody waits for it then.
    """

    name: str
    unit: str | None
    on_change: str = "restart"
    patience: float = 90
    ends_for_good: tuple[str, ...] = ()

    def __init__(self, topology: Topology, platform: Platform) -> None:
        self.topology = topology
        self.platform = platform

    @property
    def hardened(self) -> bool:
        """Whether the plan wants our settings and not those of the guide."""
        return self.topology.profile is Profile.HARDENED

    @abstractmethod
    def nodes(self) -> tuple[Node, ...]:
        """Where the plan wants it."""

    @abstractmethod
    def files(self, node: Node, credentials: Credentials) -> list[File]:
        """Every file the component needs on this node.  Pure: same input, same bytes."""

    @abstractmethod
    def probe(self, node: Node) -> str:
        """The shell command that ends with status 0 on the node if the component itself answers.  Pure."""

    def endpoint(self, node: Node) -> Endpoint | None:
        """Where this host itself may ask the same, if it may.  Pure."""
        return None

    def check_ready(self, machine: Machine, linger: float = 0, *, briefly: bool = False) -> None:
        """Return if the component answers on this machine, raise `NotYet` if it may still.

        It is asked again on the machine itself for ``linger`` seconds: a round trip less for each time.
        ``briefly`` asks for no more than that, and not for what its unit says meanwhile.
        """
        self._ask(machine, self.probe(machine.node), linger=linger, briefly=briefly)

    def words(self, machine: Machine) -> str:
        """What its unit says of itself; for who knows that the program would not answer."""
        try:
            self._ask(machine, "false")
        except NotYet as said:
            return str(said)
        return ""

    def _ask(self, machine: Machine, probe: str, *, linger: float = 0, briefly: bool = False) -> None:
        ends = self.ends_for_good
        ask(machine, self.unit, probe, linger=linger, briefly=briefly, ends_for_good=ends)


def place(components: Sequence[Component], machine: Machine, credentials: Credentials) -> list[str]:
    """Bring the machine's files to what its components describe; (re)start the units whose files changed.

    One stream of files and one command for all of them, or none where all is right and runs.  Does not wait
    for them to serve.  The names of those that changed, or did not run.
    """
    here = _on(components, machine)
    wanted = {c.name: c.files(machine.node, credentials) for c in here}
    _bring(machine, [file for files in wanted.values() for file in files])
    paths = {c.name: _news(c.name, wanted[c.name], machine) | _untold(c, machine) for c in here}
    right = machine.load.running if machine.load else frozenset()
    told = [c for c in here if c.unit is not None and (paths[c.name] or c.unit not in right)]
    jobs = [f"{_verb(c, paths[c.name])} {c.unit}" for c in told]
    if jobs and machine.load:
        machine.load.told()
    fresh = [c.unit for c in here if c.unit is not None and paths[c.name]]
    said = machine.check("sh", "-c", _JOBS, " ".join(fresh), *jobs) if jobs else ""
    wrong = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    return [
        name + ("" if paths[name] else f", which {wrong[unit]}")
        for name, unit in ((c.name, c.unit or "") for c in here)
        if paths[name] or unit in wrong
    ]


def _bring(machine: Machine, files: Sequence[File]) -> None:
    """By the machine's load where it has one: its first files bring all that are wanted of it."""
    if machine.load:
        machine.load.bring(files)
    else:
        machine.touched |= {path: set() for path in machine.apply(files)}


def cargo_of(
    components: Sequence[Component], node: Node, credentials: Credentials, *, probing: bool = False
) -> Cargo:
    """What these components need on the node; what a unit reads is for `place` to replace.  Pure.

    With ``probing`` those that can only be asked on their machine are asked along.
    """
    here = [component for component in components if node in component.nodes()]
    lacking = {_unit_path(c.unit): c.files(node, credentials) for c in here if c.unit is not None}
    read = {file.path for files in lacking.values() for file in files}
    free = {file.path: file for c in here if c.unit is None for file in c.files(node, credentials)}
    probes = {c.name: c.probe(node) for c in here if probing and c.endpoint(node) is None}
    return Cargo([file for path, file in free.items() if path not in read], lacking, probes)


def _unit_path(unit: str) -> str:
    return f"/etc/systemd/system/{unit}"


def _news(component: str, files: Sequence[File], machine: Machine) -> set[str]:
    """Which of the component's files have changed since it was last told, and that it is told now.

    Also by another's hand: a file that two read, such as a key, is right by the time the second one comes.
    """
    news = {file.path for file in files if component not in machine.touched.get(file.path, {component})}
    for path in news:
        machine.touched[path].add(component)
    return news


def _untold(component: Component, machine: Machine) -> frozenset[str]:
    """What it had not been told of when this attempt began, for it to be told of once."""
    return machine.load.untold.pop(component.unit or "", frozenset()) if machine.load else frozenset()


def _verb(component: Component, changed: Collection[str]) -> str:
    if not changed:
        return "start"
    anew = component.unit is not None and _unit_path(component.unit) in changed
    return "restart" if anew else component.on_change


def install(
    components: Sequence[Component],
    machines: Sequence[Machine],
    credentials: Credentials,
    outside: Outside | None = None,
) -> list[str]:
    """Bring machines to what the components describe, each where the plan wants it; what was changed.

    Everywhere is started before anywhere is awaited: a member of a quorum is not ready alone.
    """
    changed = place_all(components, machines, credentials)
    await_all(components, machines, outside)
    return changed


def place_all(
    components: Sequence[Component], machines: Sequence[Machine], credentials: Credentials
) -> list[str]:
    """`place` on every machine at once; what changed and where, such as `nginx on k8s-lb`."""
    changed = on_each(machines, lambda machine: place(components, machine, credentials))
    return [f"{component} on {machine}" for machine, names in changed.items() for component in names]


def await_all(
    components: Sequence[Component], machines: Sequence[Machine], outside: Outside | None = None
) -> None:
    """Wait until every component serves wherever the plan wants it."""

    def await_here(machine: Machine) -> None:
        known = machine.load.served if machine.load else frozenset()
        here = [each for each in _on(components, machine) if each.name not in known]
        asked = [each for each in here if not (outside and each.endpoint(machine.node))]
        served = asked if len(asked) > 1 and _serve(asked, machine) else []
        for component in here:
            if component not in served:
                await_ready(component, machine, outside)

    on_each(machines, await_here)


def _serve(components: Sequence[Component], machine: Machine) -> bool:
    """Whether all of them answer on their machine soon, in one round trip; who does not is asked apart."""
    probes = (component.probe(machine.node) for component in components)
    try:
        ask(machine, None, " &&\n".join(f"(\n{probe}\n)" for probe in probes), linger=shortened(LINGER))
    except NotYet:
        return False
    return True


def last_words(components: Sequence[Component], machines: Sequence[Machine]) -> list[str]:
    """What those that do not serve say of themselves, and where; or why they cannot be asked."""

    def ask_here(machine: Machine) -> list[str]:
        return [words for component in _on(components, machine) if (words := _said(component, machine))]

    told = on_each(machines, ask_here)
    return [f"{machine.name}: {words}" for machine in machines for words in told[machine.name]]


def _said(component: Component, machine: Machine) -> str:
    """Nothing if it serves."""
    try:
        component.check_ready(machine)
    except (NotYet, LabError) as error:
        return str(error)
    return ""


def _on(components: Sequence[Component], machine: Machine) -> list[Component]:
    return [component for component in components if machine.node in component.nodes()]


def await_ready(component: Component, machine: Machine, outside: Outside | None = None) -> None:
    """Wait until the component serves on this machine; raises `WaitExpired` with what it said last.

    With ``outside`` this host asks itself where it can.  The wait ends early where the unit failed for good.
    """
    what, began = f"{component.name} on {machine.name}", time.monotonic()
    try:
        with _question(component, machine, outside) as (question, every):
            here = partial(component.check_ready, machine, briefly=True)
            watch = Watch(machine, component.unit, question, here, component.ends_for_good)
            wait_until(what, watch.check, timeout=component.patience, every=every)
    except UnitFailed as error:
        last = f"{error}; {component.words(machine)}"
        raise WaitExpired(what, time.monotonic() - began, last) from error
    except WaitExpired as error:
        try:
            component.check_ready(machine)
        except NotYet as seen:
            raise WaitExpired(what, time.monotonic() - began, str(seen)) from error


@contextmanager
def _question(
    component: Component, machine: Machine, outside: Outside | None
) -> Iterator[tuple[Callable[[], None], float]]:
    """What to ask until the answer is good, and how many seconds apart.

    Where there is no way from this host, the machine itself is asked: what serves is ready all the same.
    """
    endpoint, question = component.endpoint(machine.node), None
    with ExitStack() as stack:
        if outside and endpoint:
            with suppress(LabError):
                question = stack.enter_context(outside.asking(machine.node, endpoint))
        if question:
            yield question, OFTEN
        else:
            yield partial(component.check_ready, machine, shortened(LINGER), briefly=True), 0.2


# $0: units whose files changed.  Each further argument is a verb and its unit.  Prints what was wrong.
# One that runs is not asked to start: each call takes 10 ms, and in a lab that is whole all are such.
# One that does not may never have been enabled: whoever brought its files was killed before he came to it.
# And one that runs may have been disabled by hand: it would not come back with its machine.
_JOBS = """\
[ -z "$0" ] || { systemctl enable --quiet --no-reload $0 && systemctl daemon-reload; } || exit
for job; do
  case "$(systemctl is-active "${job#* }") ${job%% *}" in
    inactive* | failed*)
      echo "${job#* }=did not run"
      case " $0 " in *" ${job#* } "*) ;; *) systemctl enable --quiet "${job#* }" || exit ;; esac ;;
    "active start")
      systemctl is-enabled --quiet "${job#* }" && continue
      echo "${job#* }=would not have come back with its machine"
      systemctl enable --quiet "${job#* }" || exit
      continue ;;
  esac
  systemctl "${job%% *}" --no-block "${job#* }" || exit
done
"""
