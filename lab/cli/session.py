"""One call of `thwlab`: its settings, its plan, and the lab they name.  Touches nothing until asked."""

import difflib
import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import click

from lab.choice import is_stale, provider_of
from lab.errors import LabError
from lab.laboratory import Laboratory
from lab.machine import Machine
from lab.opening import plan_again, state_of
from lab.plan import DEFAULT, Given, Overrides, Plan, load_plan
from lab.providers.base import Gone, Provider
from lab.providers.enclosed import DEFAULT_ROOT
from lab.rights import OPTIONS, as_root, flags_of
from lab.settings import Effective, asked, resolve
from lab.state import Intent, StateFolder, labs
from lab.topology import Topology
from lab.wait import stretch


class Session:
    """Options are collected while the command line is read; all else follows from them."""

    def __init__(self) -> None:
        self.options: dict[str, str | None] = {}

    @cached_property
    def settings(self) -> Mapping[str, Effective]:
        """Every setting with its origin.  Raises `ConfigError` with every mistake."""
        return resolve(self.options, {})

    @cached_property
    def plan(self) -> Plan:
        """The plan, with what the settings replace.  Raises `ConfigError` with every mistake."""
        config = self.settings["config"].value
        return load_plan(Path(config) if config else DEFAULT, **self._overrides())

    @property
    def topology(self) -> Topology:
        """The plan's machines and networks."""
        return self.plan.topology

    @property
    def provider(self) -> str:
        """The provider as the user named it."""
        return self.settings["provider"].value

    @property
    def name(self) -> str:
        """The lab's name; the plan is read only if no setting gives one."""
        return self.settings["name"].value or self.topology.name

    @property
    def state(self) -> StateFolder:
        """The lab's folder, whether it is there or not."""
        return state_of(self.name)

    @property
    def flags(self) -> str:
        """The options that name the same lab again, for commands in messages."""
        given = {name: self.settings[name] for name in OPTIONS}
        return flags_of({name: each.value for name, each in given.items() if each.origin != "default"})

    def attached(self) -> Laboratory:
        """The running lab.  `LabError` if there is none, a stale one, or one of another plan."""
        intent = self.state.intent()
        if intent is None:
            remedy = "" if self._is_roots() else f"thwlab{self.flags} up"
            raise LabError(f"there is no lab {self.name}{self.other_labs()}", remedy=remedy)
        if is_stale(self.state, intent):
            raise LabError(
                f"lab {self.name} was built before this host's last boot and its machines are gone",
                remedy=f"thwlab{self.flags} down, then thwlab{self.flags} up",
            )
        topology = self._plan_of(intent)
        lab = Laboratory(topology, provider_of(intent.provider, self.name), self.state)
        lab.machines.update(lab.provider.attach(topology))
        stretch(lab.provider.slowness)
        if not lab.machines:
            self._insist_alive(lab.provider)
        return lab

    def _insist_alive(self, provider: Provider) -> None:
        """Machines that nobody created are no mistake; those that nothing runs any more are."""
        try:
            provider.states()
        except Gone as error:
            up, down = (f"`thwlab{self.flags} {word}`" for word in ("up", "down"))
            remedy = f"{up} starts it again and boots the machines anew; {down} removes the lab"
            raise LabError(f"lab {self.name}: {error}", remedy=remedy) from error

    @property
    def known_plan(self) -> Topology:
        """The running lab's plan, or where there is no lab, the one named now."""
        intent = self.state.intent()
        return self._plan_of(intent) if intent else self.topology

    def _plan_of(self, intent: Intent) -> Topology:
        """The plan of the running lab: the one named now, or if none is, the one it was brought up with."""
        known = intent.asked or {}
        if intent.digest == self.topology.digest():
            return self.topology
        if not asked(self.settings) and known and (again := plan_again(intent)):
            return again
        options = flags_of(known).strip()
        raise LabError(
            f"lab {self.name} was brought up with another plan than {self.topology.origin}",
            remedy=f"give it what it was brought up with ({options or 'the default plan'}), file unchanged; "
            f"or remove it: thwlab down --name {self.name}",
        )

    def machine(self, name: str) -> tuple[Laboratory, Machine]:
        """A live machine of the running lab.  A name that the plan lacks is the user's mistake."""
        planned = [node.name for node in self.known_plan.nodes]
        if name not in planned:
            raise click.BadParameter(no_such("machine", name, planned), param_hint="MACHINE")
        lab = self.attached()
        return lab, lab.machine(name)

    def _is_roots(self) -> bool:
        return os.geteuid() != 0 and (DEFAULT_ROOT / self.name).exists()

    def other_labs(self) -> str:
        """The lab that was probably meant, or those that are there, as the end of a sentence."""
        if self._is_roots():
            return f"; root has one: `{as_root(f'thwlab --name {self.name} status')}`"
        names = [lab.name for lab in labs() if lab.name != self.name]
        if close := difflib.get_close_matches(self.name, names, n=1):
            return f"; did you mean --name {close[0]}?"
        return f"; there are {', '.join(names)}" if names else ""

    def _overrides(self) -> Overrides:
        def given(name: str) -> Given | None:
            chosen = self.settings[name]
            return Given(chosen.value, chosen.origin.replace("--lab-", "--")) if chosen.value else None

        return {"name": given("name"), "versions": given("versions"), "profile": given("profile")}


def no_such(kind: str, word: str, known: list[str]) -> str:
    """That there is no such thing, what was probably meant, and what there is.  Pure."""
    close = difflib.get_close_matches(word, known, n=1)
    meant = f" Did you mean {close[0]!r}?" if close else ""
    return f"there is no {kind} {word!r}.{meant} There are: {', '.join(known) or 'none'}"
