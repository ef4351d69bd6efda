"""From a plan to a lab one can work on: programs, image, provider, state."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lab.artifacts.building import sweep
from lab.artifacts.cache import Cache
from lab.automatic import AUTO, CONTAINERS
from lab.choice import decided, is_stale, kept_for, provider_of, same_kind, why_of
from lab.debts import forgive, insist_none
from lab.errors import LabError
from lab.growth import hindrances
from lab.laboratory import Laboratory
from lab.plan import DEFAULT, Given, load_plan
from lab.providers.base import Provider
from lab.rights import as_root
from lab.state import Intent, StateFolder, state_root
from lab.topology import Facts, Topology, changes, facts
from lab.users import insist_unused
from lab.wait import stretch

Report = Callable[[str], None]


def state_of(name: str) -> StateFolder:
    """The folder of the lab with this name, whether it exists or not."""
    return StateFolder(state_root() / name)


def open_lab(
    topology: Topology,
    word: str,
    report: Report,
    *,
    grow: bool = False,
    asked: Mapping[str, str] | None = None,
) -> Laboratory:
    """A lab to bring stages up in: attached to if it runs with this plan, else about to be created.

    ``asked`` are the settings that named the plan, kept for those who come later without them.
    With ``grow`` it may run with a plan to which this one only adds machines and roles.  Writes down the
    intent; creates no machine.  Raises `Quarantined` where something is broken on purpose: a bring-up would
    put right what somebody measures, or take for sound what is not.
    """
    state = state_of(topology.name)
    why = why_of(word, state)
    word = _word_for(state, word)
    _refuse_another(state, topology, grow=grow)
    insist_none(state)
    if why:
        report(f"provider {word}, by itself: {why}")
    provider = provider_of(word, topology.name)
    missing = provider.preflight(topology)
    if missing:
        lines = [f"{each.what}: {each.remedy}" for each in missing]
        if why and word != CONTAINERS:
            lines.append(f"nobody named the provider {word}: --lab-provider={CONTAINERS} are containers")
        fix = as_root("thwlab doctor --fix") if any(each.packages for each in missing) else ""
        raise LabError("\n  - ".join(["this host cannot run the lab:", *lines]), remedy=fix)
    provider.prepare(topology, report)
    plan = {".".join(path): value for path, value in facts(topology).items()}
    state.intend(word, topology.digest(), plan, dict(asked or {}))
    lab = Laboratory(topology, provider, state)
    lab.machines.update(provider.attach(topology))
    return lab


def reopened(name: str) -> Laboratory:
    """The lab of that name as it was brought up, for whoever knows nothing but its name."""
    state = state_of(name)
    intent = state.intent()
    if intent is None:
        raise LabError(f"there is no lab {name}", remedy="thwlab up")
    topology = plan_again(intent)
    if topology is None:
        raise LabError(
            f"the plan that lab {name} was brought up with has changed", remedy=f"thwlab --name {name} down"
        )
    lab = Laboratory(topology, provider_of(intent.provider, name), state)
    lab.machines.update(lab.provider.attach(topology))
    stretch(lab.provider.slowness)
    return lab


def plan_again(intent: Intent) -> Topology | None:
    """The plan that a lab was brought up with, read once more; None if its file says something else now."""
    known = intent.asked or {}
    again = load_plan(
        Path(known["config"]) if "config" in known else DEFAULT,
        name=Given(intent.name, "the running lab"),
        versions=known.get("versions"),
        profile=known.get("profile"),
    ).topology
    return again if again.digest() == intent.digest else None


def remove_lab(name: str, *, word: str = "auto", force: bool = False) -> bool:
    """Remove everything the lab ever created; False if there was nothing to remove.

    ``word`` is the provider where the lab's folder does not tell.  Unless `force` it raises `InUse` if
    another run works with it, and `LabError` if machines of that name were begun by somebody else.
    Works from what the kernel and the daemon list, so a lost state folder or a killed run hides nothing.
    """
    state = state_of(name)
    with state.locked():
        if not force:
            insist_unused(state.path, f"thwlab --name {name} down --force")
        provider = _to_remove(state, word)
        there = state.path.exists() or provider.is_there()
        if there and not force:
            provider.insist_ours()
        if there:
            forgive(state.path)  # else a watchdog boots what is being removed, or the next lab's machines
            provider.destroy()
            state.forget()
    with Cache().place.naming_trouble():
        sweep(cache_root())
    return there


def made_with(state: StateFolder, word: str) -> str:
    """The provider the lab was made with, or ``word`` where there is none.

    A state file that cannot be read is no reason to leave a lab.
    """
    try:
        intent = state.intent()
    except LabError:
        intent = None
    return intent.provider if intent else kept_for(state) or word


def _to_remove(state: StateFolder, word: str) -> Provider:
    """The provider of what is to be removed: where nothing tells, and none was named, the one that has it."""
    word = made_with(state, word)
    meant = decided(word, state)
    provider = provider_of(meant, state.name)
    if word != AUTO or meant == CONTAINERS or state.path.exists() or provider.is_there():
        return provider
    return provider_of(CONTAINERS, state.name)


def _word_for(state: StateFolder, word: str) -> str:
    """The provider of the lab that runs, where none was named; `LabError` where another was."""
    intent = state.intent()
    if intent is None:
        return decided(word, state)
    if word != AUTO and not same_kind(word, made := decided(intent.provider, state)):
        raise LabError(
            f"lab {state.name} runs with provider {made}, not {word}",
            remedy="thwlab down removes that lab; or give yours another name (--lab-name)",
        )
    return intent.provider


def _refuse_another(state: StateFolder, topology: Topology, *, grow: bool) -> None:
    intent = state.intent()
    if intent is None:
        return
    if is_stale(state, intent):
        raise LabError(
            f"lab {state.name} was built before this host's last boot and its machines are gone",
            remedy="thwlab down, then thwlab up",
        )
    if intent.digest == topology.digest():
        return
    before = {tuple(path.split(".")): value for path, value in (intent.plan or {}).items()}
    more = hindrances(before, facts(topology)) if before else ["its plan was not written down"]
    if more or not grow:
        raise LabError(_another(state.name, topology, before, more if grow else []), remedy=_way_out(more))


def _another(name: str, topology: Topology, before: Facts, hindering: Sequence[str]) -> str:
    head = f"lab {name} runs with another plan than {topology.origin}"
    if hindering:
        return "\n  - ".join([f"{head}, which does not only add to it:", *hindering])
    return "\n  - ".join([f"{head}:", *(changes(before, facts(topology)) if before else [])])


def _way_out(more: Sequence[str]) -> str:
    other = "thwlab down removes that lab; or give yours another name (--lab-name)"
    return other if more else f"thwlab up --grow adds to that lab; {other}"


def cache_root() -> Path:
    """Where verified programs and images are kept for all labs of this user."""
    return Cache().root
