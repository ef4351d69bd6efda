"""Records: one JSON object a line, on disk at once, readable whatever broke off."""

import json
import threading
from pathlib import Path

from lab.errors import LabError
from lab.history import SCHEMA, Recorder, read


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
