"""What the power-cut tests conclude from writes."""

import support_writer
from support_writes import Write, first_run


def writes(*outcomes: bool) -> list[Write]:
    words = {True: support_writer.OK, False: support_writer.UNKNOWN}
    return [Write(f"w{n}", "lb", float(n), n, n + 0.5, words[ok]) for n, ok in enumerate(outcomes)]


def test_the_first_row_begins_after_the_last_failure_before_it() -> None:
    first = first_run(writes(True, True, False, False, True, True, True, False), 3)
    assert first is not None
    assert first.key == "w4"


def test_a_row_that_is_too_short_is_none() -> None:
    assert first_run(writes(True, True, False, True, True), 3) is None
    assert first_run([], 1) is None


def test_a_row_may_be_the_whole() -> None:
    first = first_run(writes(True, True, True), 3)
    assert first is not None
    assert first.key == "w0"


def test_an_error_of_the_server_is_no_proof_that_nothing_was_written() -> None:
    assert [support_writer.judged(status) for status in (201, 403, 409, 429, 500, 504)] == [
        "ok",
        "failed",
        "failed",
        "failed",
        "unknown",
        "unknown",
    ]


def test_a_request_carries_its_key_and_closes_its_connection() -> None:
    plan = {"kind": "etcd", "where": "/root"}
    assert b'"key": "L3Jvb3QvdzE="' in support_writer.request(plan, "10.0.0.1", "w1")
    plan = {"kind": "configmap", "where": "space"}
    sent = support_writer.request(plan, "10.0.0.1", "w1")
    assert sent.startswith(b"POST /api/v1/namespaces/space/configmaps HTTP/1.1\r\n")
    assert b"\r\nConnection: close\r\n" in sent
