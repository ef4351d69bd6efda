"""The variants of a plan that settings.py sets side by side, as they stand in settings.yaml."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from pydantic import Field

from lab import strictyaml
from lab.planfile import TuningFile
from lab.strictyaml import Document, Schema
from lab.topology import ApiserverEtcd, Balancer, Topology, changes, facts
from lab.tuning import unfit

FILE = Path(__file__).with_name("settings.yaml")
AS_IS = "as-is"


class Variant(Schema):
    """One change, and from which variant; from none it is one of the plan itself."""

    about: str
    start: str | None = Field(default=None, alias="from")
    load_balancer: Balancer | None = None
    apiserver_etcd: ApiserverEtcd | None = None
    tuning: TuningFile = TuningFile()

    def on(self, plan: Topology) -> Topology:
        """The plan with this one change."""
        return replace(
            plan,
            load_balancer=self.load_balancer or plan.load_balancer,
            apiserver_etcd=self.apiserver_etcd or plan.apiserver_etcd,
            tuning=self.tuning.over(plan.tuning),
        )


class File(Schema):
    """The whole file."""

    variants: dict[str, Variant]


def plans_of(plan: Topology, path: Path = FILE) -> dict[str, Topology]:
    """The plan under each variant that differs from it, and as it is; `ConfigError` with every mistake."""
    document = strictyaml.read_file(path)
    found = strictyaml.validate(document, File).variants
    made: dict[str, Topology] = {}
    problems = [
        document.problem(("variants", name, key), text)
        for name, variant in found.items()
        for key, text in _made(name, variant, plan, made)
    ]
    strictyaml.refuse(document.source, [*problems, *_lacking(document, found)])
    return {name: each for name, each in made.items() if name == AS_IS or facts(each) != facts(plan)}


def _made(
    name: str, variant: Variant, plan: Topology, made: dict[str, Topology]
) -> Iterator[tuple[str, str]]:
    """Add the variant to those that are made; what is wrong with it, by its key."""
    start = plan if variant.start is None else made.get(variant.start)
    if start is None:
        yield "from", f"'{variant.start}' is no variant above {name}; write one of {', '.join(made)}"
        return
    made[name] = variant.on(start)
    yield from (("tuning", text) for _, text in unfit(made[name].tuning))


def _lacking(document: Document, found: Mapping[str, Variant]) -> Iterator[strictyaml.Problem]:
    if AS_IS not in found:
        yield document.problem(("variants",), f"no variant '{AS_IS}', beside which the others are set")


def told(plan: Topology, variant: Topology) -> str:
    """What a variant changes of the plan, in the words of a plan."""
    return "; ".join(changes(facts(plan), facts(variant))) or "nothing"
