"""A report from nothing but the records of a run, as the harness writes them."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from made_histories import KILL, PHASES, asked

from lab.history import Recorder, read
from lab.invariants.answers import Availability, LongestOutage
from lab.invariants.terms import Question, Seconds, Share
from lab.report import facts_of, write_run
from lab.scenario.judging import judged
from lab.scenario.loading import Scenario
from lab.topology import Profile

API = Question("api")
OUTAGE = LongestOutage(of=API, at_most=Seconds(1))
PLAN = {"profile": "guide", "load-balancer": "nginx", "versions.etcd": "3.7.3", "versions.coredns": "1.14.7"}
SCENARIO = Scenario(
    name="apiserver-gone",
    about="One apiserver is gone.",
    phases={name: span.seconds for name, span in PHASES.items()},
    faults=(),
    probes=("api",),
    invariants=(Availability(of=API, at_least=Share(0.9)), OUTAGE),
    expect={Profile.GUIDE: (OUTAGE.title,)},
)
LOGS = {
    "k8s-master1": [[4.0, "too early"], [9.0, "before the fault"], [31.0, "while it is healed"]],
    "k8s-master2": [[58.0, "much later"]],
}


def records(folder: Path, **facts: Any) -> list[dict[str, Any]]:
    """A run whose API was away for 2 s, as `lab.scenario.running` and `lab.probes.watching` write it."""
    recorder = Recorder(folder / "records.jsonl")
    recorder.write("scenario", name=SCENARIO.name, source="x.yaml", seed="42", text="")
    known = {"plan": PLAN, "host": {"provider": "incus", "cores": 2}, "logs": LOGS, **facts}
    for name, value in known.items():
        recorder.write("fact", name=name, value=value)
    for name, span in PHASES.items():
        recorder.write("phase", phase=name, begin=span.begin, end=span.end)
    recorder.write("injection", **asdict(KILL))
    probe, samples = asked(failing=[(10, 12)])
    told = asdict(probe)
    recorder.write("probe", vantage=told.pop("at"), **told)
    recorder.write("prober", probe="api", priority="real time", cpu=1.5)
    recorder.write_all("sample", [asdict(sample) for sample in samples])
    recorder.write("note", text="a note")
    return read(recorder.path)


def test_records_tell_what_a_report_needs(tmp_path: Path) -> None:
    facts = facts_of(records(tmp_path), SCENARIO)
    assert (facts["scenario"], facts["about"]) == (SCENARIO.name, SCENARIO.about)
    assert facts["expected"] == (OUTAGE.title,)
    assert facts["versions"] == {"etcd": "3.7.3", "coredns": "1.14.7"}
    assert facts["settings"]["load-balancer"] == "nginx"
    assert "versions.etcd" not in facts["settings"]
    assert facts["run"]["seed"] == "42"
    assert facts["run"]["provider"] == "incus"
    assert facts["probers"] == {"api": {"priority": "real time", "cpu": 1.5}}
    assert facts["notes"][0]["text"] == "a note"


def test_without_its_scenario_the_records_still_have_a_name(tmp_path: Path) -> None:
    assert facts_of(records(tmp_path))["scenario"] == SCENARIO.name


def test_log_lines_belong_to_the_fault_that_was_near(tmp_path: Path) -> None:
    logs = facts_of(records(tmp_path), SCENARIO)["logs"]
    assert [(log["machine"], log["incident"], len(log["lines"])) for log in logs] == [
        ("k8s-master1", 1, 2),
        ("k8s-master1", None, 1),
        ("k8s-master2", None, 1),
    ]
    assert logs[0]["lines"][0].split() == ["9.000", "before", "the", "fault"]


def test_the_report_of_records_agrees_with_their_judgement(tmp_path: Path) -> None:
    told = records(tmp_path)
    judgement = judged(told, SCENARIO)
    document = write_run(tmp_path, told, SCENARIO, judgement)
    assert json.loads((tmp_path / "report.json").read_text()) == document
    assert [f["value"] for f in document["findings"]] == [f.value for f in judgement.findings]
    assert document["reasons"] == list(judgement.invalid)
    assert document["why"] == list(judgement.why)
    outage = next(f for f in document["findings"] if f["invariant"] == OUTAGE.title)
    assert (outage["verdict"], outage["counts"], outage["expected"]) == ("broken", "held", True)
    assert document["sentence"] in (tmp_path / "report.html").read_text()


def test_the_report_links_to_the_records_and_not_to_itself(tmp_path: Path) -> None:
    told = records(tmp_path)
    for _ in range(2):
        document = write_run(tmp_path, told, SCENARIO, judged(told, SCENARIO))
    assert [file["name"] for file in document["files"]] == ["records.jsonl"]


def test_records_with_odd_facts_have_a_report_all_the_same(tmp_path: Path) -> None:
    told = records(tmp_path, plan={}, host=3, logs={"m": "no list", "n": [["soon", "x"], [1], [2.0, "kept"]]})
    assert [log["lines"] for log in facts_of(told, SCENARIO)["logs"]] == [["   2.000  kept"]]
    write_run(tmp_path, told, SCENARIO, judged(told, SCENARIO))
