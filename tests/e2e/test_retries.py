"""Retries by the outcome table, with backoff, and the server's own wishes (A12, E2, E4-E6)."""
import json
import time

import pytest

from support.records import check_answered, check_complete, check_failed

FAST = ("--retry-delay", "5ms")


def fetch(hotfleet, line, *flags):
    return check_complete(hotfleet([line], *flags), 1)[1]


@pytest.mark.parametrize("how", ["rst", "fin"])
@pytest.mark.parametrize("part", ["none", "head", "body"])
def test_broken_connection_is_tried_again(hotfleet, origin, how, part):
    record = check_answered(fetch(hotfleet, origin.url(f"/flaky/{part}?how={how}&n=2"), *FAST))
    assert record["attempts"] == 3 and len(origin.requests()) == 3
    assert len({r["conn"] for r in origin.requests()}) == 3


def test_four_attempts_in_all_by_default(hotfleet, origin):
    record = check_failed(fetch(hotfleet, origin.url("/rst/none"), *FAST), "connection-broken", "retries-exhausted")
    assert record["attempts"] == 4 and len(origin.requests()) == 4


@pytest.mark.parametrize("flag", ["--retry", "--max-retries"])
@pytest.mark.parametrize("retries", [0, 1, 2])
def test_max_retries_sets_the_attempts(hotfleet, origin, flag, retries):
    record = fetch(hotfleet, origin.url("/fin/none"), flag, str(retries), *FAST)
    check_failed(record, "connection-closed", "retries-exhausted")
    assert record["attempts"] == retries + 1 == len(origin.requests())


def test_refused_connection_is_tried_again_and_counted(hotfleet, origin):
    record = check_failed(fetch(hotfleet, origin.url("/", "refused"), *FAST), "connection-refused", "retries-exhausted")
    assert record["attempts"] == 4


@pytest.mark.parametrize("path, code", [("/chunks/size-letters", "protocol-error"), ("/head/garbage", "protocol-error"),
                                        ("/head-giant", "too-large")])
def test_faults_of_the_server_are_not_tried_again(hotfleet, origin, path, code):
    assert check_failed(fetch(hotfleet, origin.url(path), *FAST), code)["attempts"] == 1
    assert len(origin.requests()) == 1


def test_request_timeout_is_not_tried_again(hotfleet, origin):
    record = fetch(hotfleet, origin.url("/silent"), "--request-timeout", "300ms", *FAST)
    assert check_failed(record, "request-timeout")["attempts"] == 1 and len(origin.requests()) == 1


@pytest.mark.parametrize("status", [400, 404, 500, 502])
def test_plain_error_status_is_an_answer(hotfleet, origin, status):
    assert check_answered(fetch(hotfleet, origin.url(f"/status/{status}"), *FAST), status)["attempts"] == 1


@pytest.mark.parametrize("path", ["/rst/none", "/fin/none", "/rst/body"])
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_post_arrives_once(hotfleet, origin, method, path):
    line = json.dumps({"url": origin.url(path), "method": method, "body": "once"})
    check_failed(fetch(hotfleet, line, *FAST), "connection-closed", "connection-broken")
    assert len(origin.requests()) == 1


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "OPTIONS"])
def test_idempotent_methods_are_tried_again(hotfleet, origin, method):
    line = json.dumps({"url": origin.url("/flaky/none?n=1"), "method": method})
    check_answered(fetch(hotfleet, line, *FAST))
    assert [r["method"] for r in origin.requests()] == [method, method]


def test_post_to_a_refused_port_may_be_tried_again(hotfleet, origin):
    """Nothing of it was sent: either way is right, but it must end as refused."""
    line = json.dumps({"url": origin.url("/", "refused"), "method": "POST", "body": "x"})
    check_failed(fetch(hotfleet, line, *FAST), "connection-refused", "retries-exhausted")


def test_backoff_waits_between_tries(hotfleet, origin):
    """Full jitter: three waits up to 200, 400 and 800 ms; all of them near nothing is one in many thousands."""
    fetch(hotfleet, origin.url("/rst/none"), "--retry-delay", "200ms")
    times = [r["at"] for r in origin.requests()]
    gaps = [b - a for a, b in zip(times, times[1:])]
    assert len(gaps) == 3 and sum(gaps) > 0.02
    assert gaps[0] < 0.2 + 0.5 and gaps[1] < 0.4 + 0.5 and gaps[2] < 0.8 + 0.5


# 429 and 503


@pytest.mark.parametrize("status", [429, 503])
def test_wait_and_come_back(hotfleet, origin, status):
    record = check_answered(fetch(hotfleet, origin.url(f"/limit/{status}?n=2"), *FAST))
    assert record["attempts"] == 3 and len(origin.requests()) == 3


@pytest.mark.parametrize("path, attempts, failed", [
    ("/limit/429?n=99", 4, True), ("/limit/503?n=99", 4, False), ("/limit/503?n=99&after=0", 4, True),
])
def test_used_up_tries(hotfleet, origin, path, attempts, failed):
    record = fetch(hotfleet, origin.url(path), *FAST)
    assert record["attempts"] == attempts == len(origin.requests())
    assert record["failed"] is failed and record["status_code"] == int(path.split("/")[2][:3])
    if failed:
        check_failed(record, "rate-limited")


@pytest.mark.parametrize("path, failed", [("/limit/429?n=9", True), ("/limit/503?n=9", False),
                                          ("/limit/503?n=9&after=1", True)])
def test_without_retries_the_first_answer_counts(hotfleet, origin, path, failed):
    record = fetch(hotfleet, origin.url(path), "--retry", "0")
    assert record["failed"] is failed and len(origin.requests()) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_obeyed(hotfleet, origin, status):
    check_answered(fetch(hotfleet, origin.url(f"/limit/{status}?n=1&after=1"), *FAST))
    first, second = [r["at"] for r in origin.requests()]
    assert 0.95 <= second - first < 3


def test_retry_after_as_a_date_is_obeyed(hotfleet, origin):
    date = time.strftime("%a,%%20%d%%20%b%%20%Y%%20%H:%M:%S%%20GMT", time.gmtime(time.time() + 2))
    check_answered(fetch(hotfleet, origin.url(f"/limit/429?n=1&after={date}"), *FAST))
    first, second = [r["at"] for r in origin.requests()]
    assert 0.5 <= second - first < 4


@pytest.mark.parametrize("after", ["soon", "-5", "1e3", "99999999999999999999", ""])
def test_nonsense_in_retry_after_harms_nothing(hotfleet, origin, after):
    """It is passed over, or taken for more than there is patience for."""
    flags = (*FAST, "--retry-delay-max", "50ms")
    result = hotfleet([origin.url(f"/limit/429?n=1&after={after}")], *flags)
    record = check_complete(result, 1)[1]
    assert result.seconds < 2
    if record["failed"]:
        check_failed(record, "rate-limited")


def test_server_that_asks_for_more_than_retry_delay_max_is_not_waited_for(hotfleet, origin):
    record = fetch(hotfleet, origin.url("/limit/429?n=1&after=3600"), *FAST, "--retry-delay-max", "300ms")
    assert check_failed(record, "rate-limited")["attempts"] == 1
    assert len(origin.requests()) == 1


def test_retry_after_holds_the_whole_fleet_back(hotfleet, origin):
    """One worker is told to wait; none of the four asks that host again before, while another host goes on."""
    running = hotfleet.start("-w", "4", *FAST)
    limited = origin.url("/limit/429?n=1&after=1")
    running.feed(limited)
    assert origin.wait_for(lambda o: o.requests())
    time.sleep(0.1)
    running.feed(*[origin.url(f"/bytes/{n}") for n in range(20)])
    running.feed(*[origin.url(f"/bytes/{n}", host="127.0.0.2") for n in range(5)])
    other = running.wait_for_records(5)
    assert {r["host"] for r in other[:5]} == {"127.0.0.2"}
    check_complete(running.finish(), 26)
    requests = origin.requests()
    early = [r["target"] for r in requests[1:] if r["at"] - requests[0]["at"] < 0.95 and r["local"] == "127.0.0.1"]
    assert early == []


# Addresses


@pytest.mark.parametrize("addresses", ["[::1],127.0.0.1", "127.0.0.1,[::1]"])
def test_address_that_refuses_is_left_for_another(hotfleet, nginx, addresses):
    """nginx listens on 127.0.0.1 alone: on ::1 the same port refuses."""
    port = nginx.port["http"]
    urls = [f"http://two.test:{port}/1k?{n}" for n in range(8)]
    flags = ("--resolve", f"two.test:{port}:{addresses}", "--max-conns-per-host", "2", *FAST)
    for record in check_complete(hotfleet(urls, *flags), 8).values():
        assert check_answered(record)["host_ip"] == "127.0.0.1"


def test_address_that_drops_is_left_for_another(hotfleet, origin):
    """127.0.0.1 drops on this port, 127.0.0.2 refuses: the drop is not waited for twice."""
    port = origin.port["syn_drop"]
    flags = ("--resolve", f"two.test:{port}:127.0.0.1,127.0.0.2", "--conn-timeout", "400ms", "--retry", "1", *FAST)
    result = hotfleet([f"http://two.test:{port}/"], *flags)
    record = check_failed(check_complete(result, 1)[1], "connection-timeout", "connection-refused", "retries-exhausted")
    assert record["attempts"] == 2 and float(record["time"].removesuffix("ms")) < 800
