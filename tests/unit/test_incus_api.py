"""The API that Incus and LXD have in common, against a small daemon on a real socket."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_daemon import Asked, Daemon, Silence, begun, done, ok, refused, running

from lab.errors import LabError
from lab.providers.incus.api import Api, ApiError, NoAnswer, Upload, ignoring


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with running(tmp_path) as started:
        yield started


@pytest.fixture
def api(daemon: Daemon) -> Iterator[Api]:
    made = Api(daemon.socket, "thwlab-x")
    yield made
    made.close()


def silent(_: Asked) -> None:
    raise Silence


def test_a_get_is_in_the_labs_project_unless_told(api: Api, daemon: Daemon) -> None:
    daemon.replies["GET /1.0/instances"] = ok([1])
    assert api.get("/1.0/instances", query_recursion=1) == [1]
    api.get("/1.0/instances", query_project="default")
    assert [each.query for each in daemon.asked] == [
        {"project": "thwlab-x", "recursion": "1"},
        {"project": "default"},
    ]


def test_proxies_are_ignored(api: Api, daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    daemon.replies["GET /1.0"] = ok({"api": "1.0"})
    assert Api(daemon.socket, "x").get("/1.0") == {"api": "1.0"}


def test_a_refusal_keeps_status_and_words(api: Api) -> None:
    with pytest.raises(ApiError, match=r"refused GET /1.0/x \(404\): not found") as caught:
        api.get("/1.0/x")
    assert caught.value.status == 404


def test_doing_waits_for_the_operation(api: Api, daemon: Daemon) -> None:
    daemon.replies |= {"POST /1.0/instances": begun(), "GET /1.0/operations/op/wait": done(x=1)}
    assert api.do("POST", "/1.0/instances", {"name": "a"}, timeout=30)["metadata"] == {"x": 1}
    assert daemon.asked[0].body == {"name": "a"}
    assert int(daemon.asked[1].query["timeout"]) in (29, 30)


def test_doing_what_is_done_at_once_waits_for_nothing(api: Api, daemon: Daemon) -> None:
    daemon.replies["POST /1.0/projects"] = ok()
    api.do("POST", "/1.0/projects", {})
    assert len(daemon.asked) == 1


def test_an_operation_that_failed_says_what_was_wanted_and_the_daemons_words(
    api: Api, daemon: Daemon
) -> None:
    daemon.replies |= {
        "PUT /1.0/instances/a/state": begun(),
        "GET /1.0/operations/op/wait": done(400, "Failure", "no cgroup"),
    }
    with pytest.raises(ApiError, match=r"refused PUT /1.0/instances/a/state \(400\): no cgroup"):
        api.do("PUT", "/1.0/instances/a/state", {})


def test_an_operation_that_does_not_end_is_no_success(api: Api, daemon: Daemon) -> None:
    daemon.replies |= {
        "PUT /1.0/x": begun(),
        "GET /1.0/operations/op/wait": done(103, "Running"),
    }
    with pytest.raises(LabError, match=r"did not finish PUT /1.0/x within .*Running"):
        api.do("PUT", "/1.0/x", {}, timeout=1)


def test_a_silent_daemon_costs_the_deadline(api: Api, daemon: Daemon) -> None:
    daemon.replies["GET /1.0"] = silent
    start = time.monotonic()
    with pytest.raises(NoAnswer, match=r"did not answer GET /1.0 within 0\.1s"):
        api.get("/1.0", timeout=0.1)
    assert time.monotonic() - start < 3


def test_nobody_there_is_told_with_the_socket_and_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"/gone did not answer GET /1.0[\s\S]*thwlab down"):
        Api(tmp_path / "gone", "x").get("/1.0")


def test_an_answer_that_is_no_json_is_shown(api: Api, daemon: Daemon) -> None:
    daemon.replies["GET /1.0"] = b"<html>"
    with pytest.raises(LabError, match=r"answered GET /1.0 with '<html>'"):
        api.get("/1.0")


def test_the_beginning_of_a_file_comes_with_the_size_of_all_of_it(api: Api, daemon: Daemon) -> None:
    daemon.replies |= {
        "GET /1.0/log": b"\xff\x00abc",
        "GET /1.0/empty": b"",
        "GET /1.0/no": refused(403, "no"),
    }
    assert [api.beginning("/1.0/log", limit) for limit in (0, 2, 5, 9)] == [
        (b"", 5),
        (b"\xff\x00", 5),
        (b"\xff\x00abc", 5),
        (b"\xff\x00abc", 5),
    ]
    assert api.beginning("/1.0/empty", 9) == (b"", 0)
    with pytest.raises(ApiError, match=r"/1.0/no \(403\)"):
        api.beginning("/1.0/no", 9)
    assert {each.query["project"] for each in daemon.asked} == {"thwlab-x"}


class Vast(bytes):
    """Says that more will come than anybody can send."""

    def __len__(self) -> int:
        return 1 << 40


def test_no_more_of_a_file_is_read_than_is_wanted(api: Api, daemon: Daemon) -> None:
    daemon.replies["GET /1.0/log"] = Vast(b"y" * 100)
    assert api.beginning("/1.0/log", 50, timeout=2) == (b"y" * 50, 1 << 40)
    with pytest.raises(NoAnswer):
        api.beginning("/1.0/log", 101, timeout=0.2)


def test_a_file_that_does_not_come_costs_the_deadline(api: Api, daemon: Daemon) -> None:
    daemon.replies["GET /1.0/log"] = silent
    with pytest.raises(NoAnswer, match=r"GET /1.0/log within 0\.1s"):
        api.beginning("/1.0/log", 9, timeout=0.1)


def test_raw_is_bytes_and_a_refusal_is_none(api: Api, daemon: Daemon) -> None:
    daemon.replies |= {"GET /1.0/log": b"\xff\x00", "GET /1.0/no": refused(403, "no")}
    assert api.raw("/1.0/log") == b"\xff\x00"
    with pytest.raises(ApiError):
        api.raw("/1.0/no")


def test_existing_is_true_false_or_an_error(api: Api, daemon: Daemon) -> None:
    daemon.replies |= {"GET /1.0/a": ok(), "GET /1.0/broken": refused(500, "database is locked")}
    assert api.exists("/1.0/a")
    assert not api.exists("/1.0/b")
    with pytest.raises(ApiError, match="locked"):
        api.exists("/1.0/broken")


def test_ignoring_takes_one_status_for_done(api: Api, daemon: Daemon) -> None:
    ignoring(404, lambda: api.do("DELETE", "/1.0/gone"))
    daemon.replies["DELETE /1.0/used"] = refused(400, "in use")
    with pytest.raises(ApiError, match="in use"):
        ignoring(404, lambda: api.do("DELETE", "/1.0/used"))


def test_an_upload_is_sent_as_it_is_read(api: Api, daemon: Daemon) -> None:
    daemon.replies["POST /1.0/images"] = ok()
    parts = (bytes([n]) * 100_000 for n in range(5))
    api.do("POST", "/1.0/images", Upload(parts), headers={"Content-Length": "500000", "Content-Type": "a/b"})
    assert daemon.asked[0].body == b"".join(bytes([n]) * 100_000 for n in range(5))
    assert daemon.asked[0].headers["content-type"] == "a/b"
