"""What settings are set side by side: one change each, valid runs only, as many as the README says."""

import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fixed import guide_topology
from test_docs import ROOT

from lab.errors import ConfigError
from lab.topology import Balancer, changes, facts
from lab.tuning import Tuning

PLAN = guide_topology()
TIMERS = {"tuning.etcd-heartbeat", "tuning.etcd-election"}  # a pair: etcd refuses one without the other


@pytest.fixture(scope="module")
def settings() -> Iterator[ModuleType]:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        spec = importlib.util.spec_from_file_location("settings_benchmark", ROOT / "benchmarks/settings.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture
def variants(settings: ModuleType) -> ModuleType:
    return sys.modules["variants"]


def changed(before: Any, after: Any) -> set[str]:
    """The keys that differ; numbers of an active check come with the balancer that has one."""
    keys = {line.split(":")[0] for line in changes(facts(before), facts(after))}
    return {key for key in keys if "load-balancer" not in keys or not key.startswith("tuning.check-")}


def test_every_variant_is_one_change_of_the_plan_or_of_another_variant(variants: ModuleType) -> None:
    plans = variants.plans_of(PLAN)
    written = variants.strictyaml.validate(
        variants.strictyaml.read_file(variants.FILE), variants.File
    ).variants
    assert list(plans) == [name for name in written if name != "nginx"], "nginx is what the plan has"
    for name, plan in plans.items():
        start = plans[written[name].start] if written[name].start else PLAN
        keys = changed(start, plan)
        assert len(keys) == (name != "as-is") or keys == TIMERS, (name, keys)


def test_what_the_plan_has_already_is_left_out_and_what_it_had_is_not(variants: ModuleType) -> None:
    today = variants.plans_of(PLAN)["haproxy"]
    later = variants.plans_of(today)
    assert "haproxy" not in later
    assert later["nginx"].load_balancer is Balancer.NGINX
    assert changed(today, later["haproxy-livez"]) == {"tuning.check-path"}


def test_every_number_of_a_plan_is_tried_or_its_absence_has_a_reason(variants: ModuleType) -> None:
    tried = {key for plan in variants.plans_of(PLAN).values() for key in changed(PLAN, plan)}
    tried |= {
        key
        for plan in variants.plans_of(PLAN).values()
        for key in changed(variants.plans_of(PLAN)["haproxy"], plan)
    }
    numbers = {f"tuning.{each.name.replace('_', '-')}" for each in fields(Tuning)}
    # An idle limit costs watches and saves nothing of these faults; a ping waits on the silence before it.
    assert numbers - tried == {"tuning.idle-limit", "tuning.http2-ping"}


def test_mistakes_in_the_file_are_told_at_once_with_their_lines(variants: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "v.yaml"
    path.write_text(
        "variants:\n"
        "  one: {about: x, from: two}\n"
        "  two: {about: y, tuning: {etcd-election: 200ms}}\n"
        "  three: {about: z}\n"
    )
    with pytest.raises(ConfigError) as refused:
        variants.plans_of(PLAN, path)
    assert "v.yaml:2: 'two' is no variant above one" in str(refused.value)
    assert "v.yaml:3: etcd-election 200ms is refused by etcd beside a heartbeat of 100ms" in str(
        refused.value
    )
    assert "no variant 'as-is'" in str(refused.value)


def report(place: Path, *reasons: str) -> None:
    place.mkdir(parents=True)
    (place / "report.json").write_text(json.dumps({"reasons": reasons}))


def test_an_invalid_run_is_none_and_is_made_again(settings: ModuleType, tmp_path: Path) -> None:
    scenario = Path("x/freeze.yaml")
    report(tmp_path / "as-is/freeze/01")
    report(tmp_path / "as-is/freeze/02", "the prober itself was late")
    (tmp_path / "as-is/freeze/03").mkdir()
    todo = settings.missing(3, ["as-is"], [scenario], tmp_path)
    assert [place.name for _, _, place in todo] == ["02", "03"]
    names = sorted(path.name.split("-")[0] for path in (tmp_path / "as-is/freeze").iterdir())
    assert names == ["01", "cut", "invalid"]


def test_variants_take_turns_and_another_goes_first_in_each_round(settings: ModuleType) -> None:
    order = list(settings.turns(2, ["a", "b"], [Path("x")]))
    assert order == [("a", Path("x"), 1), ("b", Path("x"), 1), ("b", Path("x"), 2), ("a", Path("x"), 2)]


def test_the_readme_says_how_many_runs_there_are(settings: ModuleType, variants: ModuleType) -> None:
    runs = len(variants.plans_of(PLAN)) * len(settings.FILES) * 5
    said = re.search(r"benchmarks/settings\.py +# (\d+) runs", (ROOT / "benchmarks/README.md").read_text())
    assert said is not None
    assert int(said[1]) == runs
