"""Records: one JSON object a line, on disk at once, readable whatever broke off."""

import json
import threading
from dataclasses import asdict
from pathlib import Path

from lab.errors import LabError
from lab.history import SCHEMA, Outcome, Probed, Recorder, Sample, Span, history, read


def test_a_stream_begins_with_its_schema_and_keeps_the_order(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "run/records.jsonl")
    recorder.write("stage", stage="etcd", seconds=1.5, error=None)
    records = read(recorder.path)
    assert [each["kind"] for each in records] == ["run", "stage"]
    assert records[0]["schema"] == SCHEMA
    assert (records[1]["stage"], records[1]["seconds"], records[1]["error"]) == ("etcd", 1.5, None)
    assert 0 <= records[0]["at"] <= records[1]["at"]


def test_a_record_is_on_disk_when_write_returns(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "r.jsonl")
    recorder.write("x")
    assert recorder.path.read_bytes().endswith(b"\n")
    assert recorder.path.read_bytes().count(b"\n") == 2


def test_what_is_no_json_is_written_as_text(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "r.jsonl")
    recorder.write("x", error=LabError("no room"), path=Path("/a"), text="ü\ud800\n\u2028 \x1b[31m")
    last = read(recorder.path)[-1]
    assert (last["error"], last["path"]) == ("no room", "/a")
    assert last["text"].startswith("ü")
    assert recorder.path.read_bytes().isascii()


def test_a_last_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "r.jsonl")
    recorder.write("whole")
    with recorder.path.open("a") as stream:
        stream.write('{"at": 3, "kind": "hal')
    assert [each["kind"] for each in read(recorder.path)] == ["run", "whole"]


def test_writers_in_many_threads_do_not_mix_their_lines(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "r.jsonl")
    threads = [
        threading.Thread(target=lambda n=n: [recorder.write("x", n=n, pad="y" * 999) for _ in range(20)])
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = recorder.path.read_text().splitlines()
    assert len([json.loads(line) for line in lines]) == 161


def test_a_second_process_appends_to_the_same_run(tmp_path: Path) -> None:
    Recorder(tmp_path / "r.jsonl").write("one")
    Recorder(tmp_path / "r.jsonl").write("two")
    assert [each["kind"] for each in read(tmp_path / "r.jsonl")] == ["run", "one", "run", "two"]


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    """`at` is every record's own time, so a probe's vantage point goes by another name."""
    recorder = Recorder(tmp_path / "records.jsonl")
    probed = Probed("api", "api", "k8s-worker1", 0.05, 5.0, "k8s-master1", 1.0, 9.0, "freeze", 0.02)
    told = {name: value for name, value in asdict(probed).items() if name != "at"}
    recorder.write("probe", **told, vantage=probed.at)
    sample = Sample(
        "api", 1.0, 1.1, 1.2, Outcome.UNKNOWN, "timed out", (0.1, 0.2), "k-1", acked=True, value={"a": 1}
    )
    recorder.write_all("sample", [asdict(sample)])
    recorder.write("phase", phase="fault", begin=1.0, end=9.0)
    first = {"number": 1, "fault": "kill", "asked": "etcd:leader", "machines": ("a",), "begun": 2.0}
    recorder.write("injection", **first)
    recorder.write("injection", **first, in_force=2.5, evidence="gone", heal_begun=3.0, healed=3.5)
    recorder.write("fact", name="hash-kv", value={"a": 7})
    recorder.write("trouble", text="a prober has ended")
    seen = history(read(recorder.path))
    assert seen.probes == {"api": probed}
    assert seen.samples == {"api": (sample,)}
    assert seen.phases == {"fault": Span(1.0, 9.0)}
    assert [each.span for each in seen.injections] == [Span(2.5, 3.5)]
    assert (seen.facts, seen.troubles) == ({"hash-kv": {"a": 7}}, ("a prober has ended",))
