"""A stored run of a scenario, made by hand: thirty seconds in which the API failed as told."""

from pathlib import Path

from lab.history import Recorder

TEXT = """\
name: made
about: Made for a test.
phases: {steady: 10s, fault: 10s, recovery: 10s}
faults: []
invariants:
  - {invariant: availability, of: api, at-least: 99%, during: fault}
"""


def stored(folder: Path, failing: int) -> Path:
    """A run whose API failed so many times, one after the other, in the fault phase."""
    recorder = Recorder(folder / "records.jsonl")
    recorder.write("scenario", name="made", source="made.yaml", text=TEXT, seed="1")
    recorder.write("fact", name="plan", value={"profile": "hardened"})
    for number, phase in enumerate(("steady", "fault", "recovery")):
        recorder.write("phase", phase=phase, begin=10.0 * number, end=10.0 * number + 10)
    probe = {"name": "api", "question": "api", "vantage": "", "target": "", "interval": 0.1, "deadline": 5.0}
    recorder.write("probe", **probe, began=0.0, ended=30.0, lost="")
    samples = [
        {
            "probe": "api",
            "scheduled": beat / 10,
            "sent": beat / 10,
            "answered": beat / 10 + 0.01,
            "outcome": "failed" if 100 <= beat < 100 + failing else "ok",
            "said": "",
            "phases": [],
            "key": "",
            "acked": False,
            "value": None,
        }
        for beat in range(300)
    ]
    recorder.write_all("sample", samples)
    return folder
