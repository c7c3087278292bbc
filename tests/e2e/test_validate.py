"""Connections tested by a HEAD before they serve (B2): --validate, and "validate" in a line."""
import json

import pytest

from support.records import check_answered, check_complete, check_failed

FAST = ("--retry-delay", "5ms")
VALIDATE = ("--validate", "--attempt-log", *FAST)


def fetch(hotfleet, lines, *flags):
    records = check_complete(hotfleet(lines, *VALIDATE, *flags), len(lines))
    return [records[seq] for seq in sorted(records)]


def asked(server, conn_key="conn"):
    """(connection, method) of each request that the server saw."""
    return [(r[conn_key], r["method"]) for r in server.requests()]


@pytest.fixture(params=["http", "https", "h2"])
def either(request, origin, h2origin):
    """(origin, port) of HTTP/1.1 plain and over TLS, and of HTTP/2."""
    return (h2origin, "h2") if request.param == "h2" else (origin, request.param)


def test_the_server_sees_a_head_and_then_the_request_on_one_connection(hotfleet, either):
    server, port = either
    record = check_answered(fetch(hotfleet, [server.url("/ok?a=b", port)])[0])
    (head_conn, head), (get_conn, get) = asked(server)
    assert (head, get) == ("HEAD", "GET") and head_conn == get_conn
    assert {r["target"] for r in server.requests()} == {"/ok?a=b"}
    assert record["attempts"] == 1 and record["method"] == "GET" and not record["reused"]
    test, real = record["attempt_log"]
    assert test["validation"] and "validation" not in real
    assert test["layer"] == real["layer"] == "connection" and test["conn_id"] == real["conn_id"] == record["conn_id"]


def test_every_request_is_tested_on_its_own_connection(hotfleet, either):
    """Many at a time on few connections: each HEAD is followed by its GET, with nobody in between on HTTP/1.1."""
    server, port = either
    count = 120
    records = fetch(hotfleet, [server.url(f"/ok?{n}", port) for n in range(count)], "--max-conns-per-host", "4", "-w", "2")
    conns = {}
    for request in server.requests():
        conns.setdefault(request["conn"], []).append((request["method"], request["target"]))
    assert len(conns) <= 4
    for requests in conns.values():
        heads = [target for method, target in requests if method == "HEAD"]
        gets = [target for method, target in requests if method == "GET"]
        assert sorted(heads) == sorted(gets)
        if port != "h2":
            assert requests == [pair for target in heads for pair in (("HEAD", target), ("GET", target))]
    assert sum(len(r) for r in conns.values()) == 2 * count
    for record in records:
        check_answered(record)
        assert record["attempts"] == 1


def test_without_it_there_is_no_head(hotfleet, origin):
    check_complete(hotfleet([origin.url("/ok")]), 1)
    assert [r["method"] for r in origin.requests()] == ["GET"]


def test_a_line_can_ask_for_it_alone(hotfleet, origin):
    lines = [json.dumps({"url": origin.url(f"/ok?{n}"), **more})
             for n, more in enumerate([{}, {"validate": True}, {"validate": False}])]
    check_complete(hotfleet(lines), 3)
    methods = {n: [r["method"] for r in origin.requests(f"/ok?{n}")] for n in range(3)}
    assert methods == {0: ["GET"], 1: ["HEAD", "GET"], 2: ["GET"]}
    record = check_complete(hotfleet([json.dumps({"url": origin.url("/ok"), "validate": "yes"})]), 1)[1]
    assert "true or false" in check_failed(record, "invalid-url")["error"]


def test_a_bad_status_ends_with_its_own_error(hotfleet, either):
    server, port = either
    record = check_failed(fetch(hotfleet, [server.url("/no-such-path", port)])[0], "validation-failed")
    assert record["status_code"] == 404 and record["method"] == "GET" and "attempts" not in record
    assert [m for _, m in asked(server)] == ["HEAD"] * 3
    assert len({c for c, _ in asked(server)}) == 3
    assert [e["status_code"] for e in record["attempt_log"]] == [404] * 3
    assert all(e["validation"] for e in record["attempt_log"])


def test_a_line_does_not_fail_by_the_tests_of_others(hotfleet, h2origin):
    """Tests of many lines run side by side on one HTTP/2 connection, which ends with the first that fails: lines whose own
    test has passed begin anew, however often that happens to them."""
    bad = {n for n in range(240) if n % 4 == 0}
    lines = [h2origin.url("/no-such-path" if n in bad else f"/ok?{n}", "h2") for n in range(240)]
    records = fetch(hotfleet, lines, "--max-conns-per-host", "1", "-w", "1")
    for n, record in enumerate(records):
        if n in bad:
            assert check_failed(record, "validation-failed")["status_code"] == 404
        else:
            check_answered(record)


def test_healthy_status_says_what_passes(hotfleet, origin):
    check_answered(fetch(hotfleet, [origin.url("/status/404")], "--healthy-status", "200-299,404")[0], 404)
    record = fetch(hotfleet, [origin.url("/ok")], "--healthy-status", "204", "--healthy-status", "404")[0]
    assert check_failed(record, "validation-failed")["status_code"] == 200


@pytest.mark.parametrize("value", ["20", "200-", "300-200", "2xx", ""])
def test_a_bad_healthy_status_is_told(hotfleet, value):
    result = hotfleet(["http://127.0.0.1/"], "--healthy-status", value)
    assert result.exit == 2 and "healthy_status" in result.stderr, result.explain()


def test_not_with_a_raw_request(hotfleet, origin):
    path = hotfleet.write("raw", "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    result = hotfleet([origin.url("/ok")], "--raw-request", path, "--validate")
    assert result.exit == 2 and "validate" in result.stderr and not origin.requests(), result.explain()
    line = json.dumps({"url": origin.url("/ok"), "validate": True})
    record = check_complete(hotfleet([line], "--raw-request", path), 1)[1]
    assert "validate" in check_failed(record, "invalid-url")["error"]


@pytest.mark.parametrize("path, code", [("/flaky/none?how=rst&n=1", "connection-broken"),
                                        ("/flaky/head?how=fin&n=1", "connection-closed"),
                                        ("/limit/500?n=1", 500)])
def test_a_connection_that_fails_is_replaced(hotfleet, origin, path, code):
    record = check_answered(fetch(hotfleet, [origin.url(path)])[0])
    first, second, third = asked(origin)
    assert [first[1], second[1], third[1]] == ["HEAD", "HEAD", "GET"]
    assert first[0] != second[0] == third[0]
    assert record["attempts"] == 1
    assert (record["attempt_log"][0].get("error_code") or record["attempt_log"][0]["status_code"]) == code


def test_a_slow_test_fails_in_its_own_time(hotfleet, either):
    server, port = either
    record = fetch(hotfleet, [server.url("/slow?ms=3000", port)], "--test-timeout", "200ms")[0]
    assert "status_code" not in check_failed(record, "validation-failed")
    assert "test_timeout" in record["error"]
    assert [e["error_code"] for e in record["attempt_log"]] == ["request-timeout"] * 3
    assert all(e["ms"] >= 195 for e in record["attempt_log"])
    assert "GET" not in [m for _, m in asked(server)]


def test_a_connection_that_closes_after_each_answer_never_passes(hotfleet, origin):
    record = fetch(hotfleet, [origin.url("/last")])[0]
    assert check_failed(record, "validation-failed")["status_code"] == 200
    assert [m for _, m in asked(origin)] == ["HEAD"] * 3


@pytest.mark.parametrize("port", ["http", "https"])
def test_a_kept_connection_that_was_closed_does_not_count(hotfleet, origin, port):
    lines = [origin.url("/ok", port), origin.url("/flaky/none?how=rst&n=1", port)]
    first, second = fetch(hotfleet, lines, "-w", "1", "-c", "1", "--max-conns-per-host", "1")
    check_answered(first)
    check_answered(second)
    assert [e["layer"] for e in second["attempt_log"]] == ["pool", "connection", "connection"]


def test_a_body_is_sent_once_and_not_with_the_test(hotfleet, either):
    server, port = either
    check_answered(fetch(hotfleet, [server.url("/ok", port)], "-d", "a=b")[0])
    assert [(r["method"], r["body_len"]) for r in server.requests()] == [("HEAD", 0), ("POST", 3)]


def test_a_post_whose_test_failed_was_never_sent_and_may_go_on(hotfleet, origin):
    check_answered(fetch(hotfleet, [origin.url("/flaky/none?how=rst&n=2")], "-X", "POST", "-d", "x")[0])
    assert [m for _, m in asked(origin)] == ["HEAD", "HEAD", "HEAD", "POST"]


def test_each_hop_of_a_redirect_is_tested(hotfleet, origin):
    check_answered(fetch(hotfleet, [origin.url("/redirect/1")])[0])
    assert [(r["method"], r["target"]) for r in origin.requests()] == [
        ("HEAD", "/redirect/1"), ("GET", "/redirect/1"), ("HEAD", "/ok"), ("GET", "/ok")]


def test_nghttpd_serves_what_it_was_tested_for(hotfleet, nghttpd):
    records = fetch(hotfleet, [f"https://127.0.0.1:{nghttpd.port}/1k?{n}" for n in range(200)], "-w", "2")
    for record in records:
        check_answered(record)
        assert record["http_version"] == "2" and record["bytes_body"] == 1024
        assert [e.get("validation", False) for e in record["attempt_log"]] == [True, False]
