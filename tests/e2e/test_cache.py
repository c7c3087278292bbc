"""The last good answer of a URL in place of a failure, or before a wait (E7): --cache-fallback."""
import json
import time

import pytest

from support.origins import Origin
from support.records import TIMESTAMP, check_answered, check_complete, check_failed

CACHE = ("--cache-fallback", "--retry-delay", "5ms")


@pytest.fixture
def run(hotfleet, tmp_path):
    """run(lines, *flags): a run with one state directory for the whole test; its records in order."""
    def run(lines, *flags, cache=CACHE):
        records = check_complete(hotfleet(lines, "--state", str(tmp_path / "state"), *cache, *flags), len(lines))
        return [records[seq] for seq in sorted(records)]
    return run


@pytest.fixture
def mortal(certificates):
    """An origin of the test's own, to be stopped."""
    certificate, key = certificates.path("good")
    server = Origin("origin.py", "--cert", certificate, "--key", key)
    server.is_stopped = False

    def stop():
        if not server.is_stopped:
            server.is_stopped = True
            Origin.stop(server)

    server.stop = stop
    yield server
    stop()


def check_stale(record, reason, status=200):
    assert record["failed"] is False and record["stale"] is True, record
    assert record["stale_reason"] == reason and record["status_code"] == status, record
    assert TIMESTAMP.fullmatch(record["stale_since"]) and record["stale_since"] < record["timestamp"], record
    assert "error_code" not in record and "conn_id" not in record
    return record


def test_a_second_run_tells_of_a_dead_server_what_the_first_saw(run, mortal):
    lines = [mortal.url(f"/bytes/{n}", port) for n in range(5) for port in ("http", "https")]
    first = run(lines, "--hash")
    mortal.stop()
    second = run(lines, "--max-retries", "1")
    for before, after in zip(first, second):
        check_answered(before)
        assert "stale" not in before
        check_stale(after, "connection-refused")
        assert after["attempts"] == 2
        kept = ("url", "method", "status_code", "content_type", "content_length", "webserver", "host_ip", "http_version",
                "tls", "bytes_wire", "bytes_body", "hash")
        assert {k: before.get(k) for k in kept} == {k: after.get(k) for k in kept}
    third = run(lines[:1], "--max-retries", "1", cache=())
    check_failed(third[0], "connection-refused")


def test_the_record_is_this_lines_own_but_for_the_answer(run, mortal):
    url = mortal.url("/ok")
    run([json.dumps({"url": url, "tag": {"failed": False, "n": [1]}})], "--attempt-log", "--timings")
    mortal.stop()
    line = json.dumps({"url": url + "#part", "tag": ["another", {"attempt_log": []}]})
    other, record = run(["http://127.0.0.1:1/never-seen", line], "--attempt-log", "--timings", "--max-retries", "0")
    check_failed(other, "connection-refused")
    check_stale(record, "connection-refused")
    assert record["seq"] == 2 and record["input"] == line and record["tag"] == ["another", {"attempt_log": []}]
    assert record["url"] == url and record["attempts"] == 1
    assert [e["layer"] for e in record["attempt_log"]] == ["connection", "cache"]
    assert record["attempt_log"][1]["status_code"] == 200


@pytest.mark.parametrize("code", [503, 429])
def test_what_is_kept_comes_before_the_wait(run, origin, code):
    url = origin.url(f"/spoils/{code}?n=1&after=5")
    check_answered(run([url])[0])
    began = time.monotonic()
    record = check_stale(run([url], "--attempt-log")[0], "rate-limited")
    assert time.monotonic() - began < 4 and len(origin.requests()) == 2
    assert [(e["layer"], e["status_code"]) for e in record["attempt_log"]] == [("connection", code), ("cache", 200)]


def test_connections_and_addresses_are_tried_before_what_is_kept(run, origin):
    port = origin.port["http"]
    line, flags = f"http://two.test:{port}/spoils/rst?n=1", ("--resolve", f"two.test:{port}:127.0.0.1,127.0.0.2")
    check_answered(run([line], *flags)[0])
    record = check_stale(run([line], "--attempt-log", *flags)[0], "connection-broken")
    assert [e["layer"] for e in record["attempt_log"]] == ["connection"] * 4 + ["cache"]
    assert {e["host_ip"] for e in record["attempt_log"][:2]} == {"127.0.0.1", "127.0.0.2"}


@pytest.mark.parametrize("how, code, flags", [("silent", "request-timeout", ("--request-timeout", "200ms")),
                                              ("404", "validation-failed", ("--validate",))])
def test_other_faults_of_the_server(run, origin, how, code, flags):
    url = origin.url(f"/spoils/{how}?n=1")
    check_answered(run([url])[0])
    check_stale(run([url], *flags)[0], code)


def test_a_name_that_is_gone(run, name_server, origin):
    url = f"http://gone.test:{origin.port['http']}/ok"
    server = name_server({"gone.test": {"A": ["127.0.0.1"]}})
    check_answered(run([url], "--resolvers", server.resolver, "--dns-update-interval", "1s", "--dns-ttl-min", "0s")[0])
    time.sleep(1.1)
    record = run([url], "--resolvers", name_server({}).resolver, "--attempt-log")[0]
    check_stale(record, "dns-nxdomain")
    assert "attempts" not in record and [e["layer"] for e in record["attempt_log"]] == ["cache"]


def test_a_newer_answer_takes_the_place_of_the_older(run, mortal):
    url = mortal.url("/status/200")
    lines = [url, mortal.url("/redirect/1")]
    run(lines)
    before = run(lines)
    mortal.stop()
    record, redirected = run(lines, "--max-retries", "0")
    assert record["stale_since"] > before[0]["timestamp"]
    check_stale(redirected, "connection-refused")
    assert redirected["final_url"] == mortal.url("/ok") and redirected["chain_status_codes"] == [302, 200]


@pytest.mark.parametrize("line, flags", [
    ({}, ("-X", "HEAD")), ({}, ("-d", "x")), ({"method": "POST"}, ()), ({"body": "x", "method": "GET"}, ()),
    ({"headers": {"Authorization": "Basic eDp5"}}, ()), ({"ip": "127.0.0.1"}, ()), ({"path": "/status/404"}, ()),
    ({"path": "/status/500"}, ()),
])
def test_what_is_not_kept(run, mortal, line, flags):
    line = dict(line)
    url = mortal.url(line.pop("path", "/ok"))
    run([json.dumps({"url": url, **line})], *flags)
    mortal.stop()
    check_failed(run([url], "--max-retries", "0")[0], "connection-refused")


def test_what_is_kept_is_for_plain_lines_alone(run, mortal):
    url = mortal.url("/ok")
    run([url])
    mortal.stop()
    own = [json.dumps({"url": url, **more}) for more in ({"method": "HEAD"}, {"headers": {"Cookie": "a=b"}})]
    for record in run(own, "--max-retries", "0"):
        check_failed(record, "connection-refused")
    check_stale(run([json.dumps({"url": url, "method": "GET"})], "--max-retries", "0")[0], "connection-refused")


def test_reasons_of_policy_and_input_are_told(run, hotfleet, tmp_path, origin):
    url = origin.url("/ok")
    run([url])
    result = hotfleet([url], "--state", str(tmp_path / "state"), *CACHE, allow_private=False)
    check_failed(check_complete(result, 1)[1], "address-denied")


def test_nothing_secret_is_written(run, origin, tmp_path):
    url = origin.url("/ok").replace("http://", "http://user:hunter2@")
    run([json.dumps({"url": url, "tag": "hunter3"})], "-H", "Authorization: hunter4")
    for path in (tmp_path / "state").iterdir():
        data = path.read_bytes()
        assert b"hunter" not in data, path
        if path.name == "data.mdb":
            assert b'"status_code":200' in data


def test_old_answers_are_not_told(run, mortal):
    url = mortal.url("/ok")
    run([url], "--cache-ttl", "1s")
    mortal.stop()
    time.sleep(1.2)
    check_failed(run([url], "--max-retries", "0", "--cache-ttl", "1s")[0], "connection-refused")
    # Purged at that start.
    check_failed(run([url], "--max-retries", "0")[0], "connection-refused")


def test_a_full_table_keeps_what_it_has_and_says_so_once(hotfleet, mortal, tmp_path):
    lines = [mortal.url(f"/ok?{n}") for n in range(6)]
    flags = ("--state", str(tmp_path / "state"), *CACHE, "--cache-max", "2", "-w", "1", "-c", "1")
    first = hotfleet(lines, *flags)
    check_complete(first, 6)
    assert first.stderr.count("answers-full") == 1, first.explain()
    mortal.stop()
    records = check_complete(hotfleet(lines, *flags, "--max-retries", "0"), 6)
    assert [seq for seq in sorted(records) if records[seq].get("stale")] == [1, 2]


def test_it_counts_as_answered(hotfleet, mortal, tmp_path):
    flags = ("--state", str(tmp_path / "state"), *CACHE, "--max-retries", "0", "--fail-on-error")
    lines = [mortal.url("/ok")]
    check_complete(hotfleet(lines, *flags), 1)
    mortal.stop()
    check_complete(hotfleet(lines, *flags), 1)
    check_complete(hotfleet([*lines, mortal.url("/other")], *flags), 2, exit_code=8)


def test_a_damaged_answer_is_as_good_as_none(run, mortal, tmp_path):
    url = mortal.url("/ok")
    run([url])
    mortal.stop()
    path = tmp_path / "state" / "data.mdb"
    data = path.read_bytes()
    assert b'"status_code":200' in data
    path.write_bytes(data.replace(b'"status_code":200', b'"status_code":2}0'))
    check_failed(run([url], "--max-retries", "0")[0], "connection-refused")
