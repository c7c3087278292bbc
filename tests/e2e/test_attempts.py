"""The log of attempts (E7): each layer as it is used, in its order, told by `--attempt-log`."""
import os
import signal
import time

import pytest

from support.records import check_answered, check_complete, check_failed

FAST = ("--retry-delay", "5ms")
LAYERS = {"pool", "connection", "address", "cache", "retry"}


def fetch(hotfleet, lines, *flags):
    """The records of the lines, their logs checked for form."""
    records = check_complete(hotfleet(lines, "--attempt-log", *FAST, *flags), len(lines))
    for record in records.values():
        for entry in record["attempt_log"]:
            check_entry(entry)
        counted = [e for e in record["attempt_log"] if "validation" not in e and e["layer"] != "cache"]
        assert len(counted) >= record.get("attempts", 0), record
    return [records[seq] for seq in sorted(records)]


def check_entry(entry):
    assert entry["layer"] in LAYERS, entry
    assert ("status_code" in entry) != ("error_code" in entry), entry
    assert entry["ms"] >= 0 and entry["wait_ms"] >= 0, entry
    assert ("conn_id" in entry) == ("reused" in entry), entry


def layers(record):
    return [e["layer"] for e in record["attempt_log"]]


def ends(record):
    return [e.get("status_code") or e["error_code"] for e in record["attempt_log"]]


def test_no_log_unless_asked(hotfleet, origin):
    record = check_complete(hotfleet([origin.url("/flaky/none?how=rst&n=1")], *FAST), 1)[1]
    assert record["attempts"] == 2 and "attempt_log" not in record


def test_first_is_a_connection_and_the_next_from_the_pool(hotfleet, origin):
    lines = [origin.url("/ok"), origin.url("/ok?second")]
    records = fetch(hotfleet, lines, "-w", "1", "-c", "1", "--max-conns-per-host", "1")
    assert [layers(r) for r in records] == [["connection"], ["pool"]]
    first, second = (r["attempt_log"][0] for r in records)
    assert not first["reused"] and second["reused"] and first["conn_id"] == second["conn_id"]
    assert first["status_code"] == 200 and first["host_ip"] == "127.0.0.1"


@pytest.mark.parametrize("how, code", [("rst", "connection-broken"), ("fin", "connection-closed")])
@pytest.mark.parametrize("workers", [1, 4])
def test_a_broken_connection_is_followed_by_another(hotfleet, origin, how, code, workers):
    record = fetch(hotfleet, [origin.url(f"/flaky/none?how={how}&n=2")], "-w", workers)[0]
    check_answered(record)
    assert layers(record) == ["connection"] * 3 and ends(record) == [code, code, 200]
    assert len({e["conn_id"] for e in record["attempt_log"]}) == 3
    assert record["attempts"] == 3


def test_a_refused_address_is_followed_by_another(hotfleet, nginx):
    """Two of three addresses refuse: whoever's turn it is, the good one is reached."""
    port = nginx.port["http"]
    record = fetch(hotfleet, [f"http://three.test:{port}/1k"], "--resolve",
                   f"three.test:{port}:127.0.0.2,127.0.0.3,127.0.0.1")[0]
    check_answered(record)
    assert layers(record) == ["connection", "address", "address"], record
    assert ends(record) == ["connection-refused", "connection-refused", 200]
    assert [e["host_ip"] for e in record["attempt_log"]] == ["127.0.0.2", "127.0.0.3", "127.0.0.1"]


@pytest.mark.parametrize("workers", [1, 4])
def test_no_address_is_tried_again_while_another_has_not_been(hotfleet, origin, workers):
    """Nothing listens at any of four addresses: each URL tries each of them once, however many take turns. (At a
    limit on connections any address is better than none.)"""
    port = origin.port["refused"]
    four = [f"127.0.0.{n}" for n in range(1, 5)]
    records = fetch(hotfleet, [f"http://many.test:{port}/{n}" for n in range(40)], "--resolve",
                    f"many.test:{port}:{','.join(four)}", "-w", workers, "--breaker-failures", "0",
                    "--max-conns-per-host", "100", "--max-connections", "200")
    for record in records:
        check_failed(record, "connection-refused")
        assert sorted(e["host_ip"] for e in record["attempt_log"]) == four, record
        assert layers(record) == ["connection", "address", "address", "address"]


def test_a_broken_connection_is_followed_by_one_to_another_address(hotfleet, origin):
    port = origin.port["http"]
    records = fetch(hotfleet, [f"http://two.test:{port}/rst/none?{n}" for n in range(20)], "--resolve",
                    f"two.test:{port}:127.0.0.1,127.0.0.2", "--max-retries", "1", "-w", "4", "--breaker-failures", "0")
    for record in records:
        assert ends(record) == ["connection-broken"] * 2
        assert {e["host_ip"] for e in record["attempt_log"]} == {"127.0.0.1", "127.0.0.2"}, record


def test_what_a_circuit_ends_keeps_its_log(hotfleet, origin):
    """fetch() holds each log against the number of attempts."""
    records = fetch(hotfleet, [f"http://127.0.0.1:{origin.port['refused']}/{n}" for n in range(40)],
                    "--breaker-failures", "5", "--breaker-delay", "50ms")
    ended = [r for r in records if "circuit" in r["error"]]
    assert any(r.get("attempts", 0) for r in ended) and any(not r["attempt_log"] for r in ended)


def test_a_wait_that_the_server_asks_for_is_a_retry(hotfleet, origin):
    record = fetch(hotfleet, [origin.url("/limit/503?after=1&n=1")])[0]
    check_answered(record)
    assert layers(record) == ["connection", "retry"] and ends(record) == [503, 200]
    assert record["attempt_log"][1]["wait_ms"] >= 1000
    assert record["attempt_log"][1]["reused"]


def test_a_kept_connection_that_was_closed_shows_and_is_no_attempt(hotfleet, origin):
    lines = [origin.url("/ok"), origin.url("/flaky/none?how=rst&n=1")]
    first, second = fetch(hotfleet, lines, "-w", "1", "-c", "1", "--max-conns-per-host", "1")
    check_answered(second)
    assert second["attempts"] == 1
    assert layers(second) == ["pool", "connection"] and ends(second) == ["connection-broken", 200]
    assert second["attempt_log"][0]["conn_id"] == first["conn_id"]


def test_redirects_stand_in_one_log(hotfleet, origin):
    record = fetch(hotfleet, [origin.url("/redirect/2")])[0]
    check_answered(record)
    assert ends(record) == [302, 302, 200] and record["attempts"] == 3


def test_attempts_that_time_out_tell_how_long_they_took(hotfleet, origin):
    record = fetch(hotfleet, [origin.url("/", "syn_drop")], "--conn-timeout", "200ms")[0]
    check_failed(record, "connection-timeout")
    assert ends(record) == ["connection-timeout"] * 3
    assert all(e["ms"] >= 195 for e in record["attempt_log"])


def test_a_line_that_was_never_tried_has_an_empty_log(hotfleet, name_server):
    server = name_server({})
    record = fetch(hotfleet, ["http://nobody.test/"], "--resolvers", server.resolver)[0]
    check_failed(record, "dns-nxdomain")
    assert record["attempt_log"] == []


def test_a_log_survives_the_worker_that_dies(hotfleet, origin):
    running = hotfleet.start("--attempt-log", "-w", "1", "--retry-delay-max", "10s")
    running.feed(origin.url("/limit/503?after=2&n=1"))
    assert origin.wait_for(lambda o: o.requests())
    time.sleep(0.5)  # until the coordinator has the answer, which asks for 2 s
    for pid in running.workers():
        os.kill(pid, signal.SIGKILL)
    record = running.finish().record
    check_answered(record)
    assert [e.get("status_code") for e in record["attempt_log"]] == [503, 200], record
