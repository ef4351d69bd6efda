"""No secret in what a run leaves: the filter by looks, and the search by heart."""

import base64
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from fixed import guide_topology
from made_histories import KILL, PHASES, asked
from stored_runs import TEXT

from lab.errors import LabError
from lab.failover import performing
from lab.failover.leaks import blotted, secrets_of
from lab.history import Recorder, read
from lab.invariants.answers import LongestOutage
from lab.invariants.terms import Question, Seconds
from lab.kubeconfig import kubeconfig
from lab.pki import Credentials
from lab.pki.store import load_or_create
from lab.plan import load_topology
from lab.report import write_run
from lab.scenario.judging import judged
from lab.scenario.loading import Scenario
from lab.scenario.plan import plan_of
from lab.secrecy import HIDDEN, harmless, hidden, names_secret

BODY = ["MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgsecretpart" + "A" * 5, "b" * 64, "c" * 36 + "=="]
PEM = "\n".join(["-----BEGIN PRIVATE KEY-----", *BODY, "-----END PRIVATE KEY-----"])
JOURNAL = [f"k8s-master1 etcd[7]: {line}" for line in PEM.splitlines()]


def leaks(told: Any) -> bool:
    text = json.dumps(told)
    return any(sign in text for sign in ("secretpart", "b" * 20, "c" * 20, "0123456789secret"))


@pytest.mark.parametrize(
    "text",
    [
        PEM,
        PEM.replace("\n", " "),
        PEM.replace("\n", "\\n"),
        PEM[:80],
        PEM[40:],
        PEM.replace("\n", "\\n")[40:],
        base64.b64encode(PEM.encode()).decode().replace("\n", ""),
        "Authorization: Bearer secretpart.abc",
        "curl -H 'authorization: bearer secretpart'",
        "kubectl --token secretpart get nodes",
        "token abcdef.0123456789secret",
        json.dumps({"users": [{"user": {"token": "secretpart"}}]}),
        json.dumps(json.dumps({"token": "secretpart and more"})),
        "client-key-data: LS0tLS1CRUdJTiBFQyBQUklWQVRFsecretpart",
        "client-key-data: QUJDsecretpart",
    ],
)
def test_a_secret_is_seen_whatever_stands_around_it(text: str) -> None:
    told = hidden(f"k8s-lb nginx[3]: before {text} after")
    assert not leaks(told)
    assert HIDDEN in told
    assert told.startswith("k8s-lb nginx[3]: before")


def test_a_key_is_seen_where_each_of_its_lines_is_a_text_of_its_own() -> None:
    journal = [[float(at), said] for at, said in enumerate(["before", *JOURNAL, "a line of words after it"])]
    told = harmless({"k8s-master1": journal})
    assert not leaks(told)
    assert [told["k8s-master1"][place][1] for place in (0, -1)] == ["before", "a line of words after it"]
    assert [each[0] for each in told["k8s-master1"]] == [each[0] for each in journal]


def test_a_key_that_never_ends_hides_no_more_than_a_key_is_long() -> None:
    told = harmless([JOURNAL[0], *["d" * 64] * 200])
    assert told[1] == HIDDEN
    assert told[-1] == "d" * 64


def test_one_list_is_none_of_another() -> None:
    assert harmless({"a": JOURNAL[:1], "b": ["d" * 64]})["b"] == ["d" * 64]


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("token", True), ("bootstrap-token", True), ("client-key-data", True), ("encryption_key", True),
     ("token-auth-file", False), ("key", False), ("kube-apiserver", False)],
)  # fmt: skip
def test_what_is_named_like_a_secret_is_one(name: str, is_one: bool) -> None:
    assert names_secret(name) is is_one
    assert (harmless({name: "x"}) == {name: HIDDEN}) is is_one


def test_what_is_no_secret_stays_as_it_is() -> None:
    told = {
        "said": "timed out in connect",
        "evidence": 'k8s-lb: token-revoked, secrets "x" is forbidden',
        "key": "abcd1234-etcd-1-000001",
        "refused": 'err="[invalid bearer token, service account token has been invalidated]"',
        "event": "/registry/events/thwlab-probes/ab-new-k8s-worker1-000012.18a0b1c2d3e4f506",
        "value": {"kube-scheduler": {"holder": "k8s-master1_0a1b", "transitions": 3}},
        "phases": [0.1, 0.2],
        "nothing": None,
        "yes": True,
    }
    assert harmless(told) == told


def test_every_scenario_is_remembered_as_it_is_written() -> None:
    """Its text is in the records, and a stored run is judged again by it."""
    for path in Path(__file__).parents[2].glob("scenarios/*.yaml"):
        assert hidden(path.read_text()) == path.read_text()
    assert hidden(TEXT + "# \r\n\x0c") == TEXT + "# \r\n\x0c"


def test_a_long_line_takes_no_long_time() -> None:
    """Names before a secret were looked for from every place to the line's end."""
    assert hidden("a-" * 20_000 + " token=x").endswith(HIDDEN)


# -- what a run leaves -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    """The credentials of a lab as a lab has them."""
    return load_or_create(guide_topology(), tmp_path_factory.mktemp("pki"))


def everything(known: Credentials) -> Iterator[tuple[str, str]]:
    """Each secret as it stands in files, by its name."""
    user = known.pair("user")
    yield "a key", user.key.decode()
    yield "the CA's key", known.ca_key("kubernetes").decode()
    yield "the service accounts' key", known.service_account.private.decode()
    yield "a bootstrap token", f"the kubelet shows {known.bootstrap_token.text}"
    yield "an encryption key", f"keys: [{{name: key1, secret: {known.encryption_key}}}]"
    yield "a bearer token", "Authorization: Bearer eyJhbGciOiJSUzI1NiJ9.secretpart.c2ln"
    config = kubeconfig("k", "https://192.168.100.100:6443", known.ca("kubernetes"), user="u", pair=user)
    yield "a kubeconfig", config.decode()


def everywhere(folder: Path, text: str) -> Scenario:
    """A run in whose every free text that stands, one line or all of it."""
    recorder = Recorder(folder / "records.jsonl")
    recorder.write("scenario", name="x", source="x.yaml", seed="1", text=text)
    lines = [[9.0 + at / 100, f"k8s-master1 x[1]: {line}"] for at, line in enumerate(text.splitlines())]
    recorder.write("fact", name="logs", value={"k8s-master1": lines})
    recorder.write("fact", name="plan", value={"profile": "hardened", "free": text})
    recorder.write("fact", name="idle", value={"exec": {"lived": 1.0, "cut": True, "said": text}})
    for name, span in PHASES.items():
        recorder.write("phase", phase=name, begin=span.begin, end=span.end)
    recorder.write("injection", **{**asdict(KILL), "evidence": text, "trouble": text})
    probe, samples = asked(failing=[(10, 12)], said=" ".join(text.split())[:200])
    told = asdict(probe)
    recorder.write("probe", vantage=told.pop("at"), **{**told, "lost": text})
    recorder.write_all("sample", [asdict(sample) for sample in samples])
    recorder.write("trouble", text=f"m: `cat x` exited 1: {text[-2000:]}")
    recorder.write("note", text=text)
    outage = LongestOutage(of=Question("api"), at_most=Seconds(1))
    phases = {name: span.seconds for name, span in PHASES.items()}
    return Scenario("x", text, phases, (), ("api",), (outage,))


def test_whatever_is_said_no_secret_is_in_what_a_run_leaves(tmp_path: Path, known: Credentials) -> None:
    for number, (name, text) in enumerate(everything(known)):
        folder = tmp_path / str(number)
        scenario = everywhere(folder, text)
        told = read(folder / "records.jsonl")
        write_run(folder, told, scenario, judged(told, scenario))
        assert blotted(folder, secrets_of(known)) == [], name
        left = "".join(
            (folder / file).read_text() for file in ("records.jsonl", "report.html", "report.json")
        )
        assert "secretpart" not in left, name
        assert base64.b64encode(known.pair("user").key).decode()[30:60] not in left, name
        assert HIDDEN in left, name


@pytest.mark.parametrize("file", ["records.jsonl", "report.html", "report.json"])
def test_a_secret_that_got_past_the_filter_is_found_by_heart(
    tmp_path: Path, known: Credentials, file: str
) -> None:
    line = known.pair("user").key.split(b"\n")[1]
    (tmp_path / file).write_bytes(b"a line " + line[:64] + b" and " + known.bootstrap_token.secret.encode())
    assert blotted(tmp_path, secrets_of(known)) == [
        f"{file} held the key of user; it was made unreadable",
        f"{file} held the bootstrap token; it was made unreadable",
    ]
    assert (tmp_path / file).read_text() == f"a line {HIDDEN} and {HIDDEN}"
    assert blotted(tmp_path, secrets_of(known)) == []


def test_every_key_of_a_lab_is_known_by_heart(known: Credentials) -> None:
    found = secrets_of(known)
    assert all(found.values())
    assert all(len(sign) >= 16 for signs in found.values() for sign in signs)
    assert {"the key of the etcd CA", "the key of etcd-peer of k8s-lb", "the bootstrap token"} < set(found)


class Lab:
    """Nothing of a cluster but its credentials and its plan."""

    topology = load_topology()

    def __init__(self, known: Credentials) -> None:
        self.credentials = known


def performed(monkeypatch: pytest.MonkeyPatch, folder: Path, known: Credentials, leak: str, file: str) -> Any:
    """A run of nothing, in the course of which something writes past the filter."""
    scenario = everywhere(folder / "made", "nothing")

    def past(path: Path) -> None:
        with path.open("a") as stream:
            stream.write(json.dumps({"at": 1.0, "kind": "note", "text": leak}) + "\n")

    def go(run: performing.Run) -> None:
        if file == "records.jsonl":
            past(folder / "run" / file)

    def write(where: Path, *rest: Any) -> Any:
        document = write_run(where, *rest)
        if file != "records.jsonl":
            past(where / file)
        return document

    monkeypatch.setattr(performing.Run, "go", go)
    monkeypatch.setattr(performing, "write_run", write)
    cluster: Any = Lab(known)
    return performing.perform(cluster, scenario, plan_of(scenario, "1"), folder / "run", lambda _: None)


def test_a_run_whose_records_held_a_secret_proves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: Credentials
) -> None:
    done = performed(monkeypatch, tmp_path, known, known.bootstrap_token.secret, "records.jsonl")
    assert "records.jsonl held the bootstrap token; it was made unreadable" in done.judgement.invalid
    assert known.bootstrap_token.secret not in (tmp_path / "run" / "records.jsonl").read_text()


def test_a_report_that_held_a_secret_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: Credentials
) -> None:
    with pytest.raises(LabError, match=r"report\.html held the bootstrap token"):
        performed(monkeypatch, tmp_path, known, known.bootstrap_token.secret, "report.html")


def test_a_run_without_a_secret_is_said_to_hold_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: Credentials
) -> None:
    done = performed(monkeypatch, tmp_path, known, "nothing", "records.jsonl")
    assert not [reason for reason in done.judgement.invalid if "held" in reason]
