"""Every wait has an end, each with its own error code (A4, A5, A6)."""
import time

import pytest

from support.records import check_answered, check_complete, check_failed

SHORT = "400ms"
SHORT_SECONDS = 0.4
# What a loaded or sanitized machine may add to a wait.
SLACK_SECONDS = 2.5


def fetch_in_time(hotfleet, url, *flags):
    record = check_complete(hotfleet([url], "--retry", "0", *flags), 1)[1]
    took = float(record["time"].removesuffix("ms")) / 1000
    assert SHORT_SECONDS * 0.9 <= took < SHORT_SECONDS + SLACK_SECONDS, record
    return record


@pytest.mark.parametrize("flag", ["--conn-timeout", "--connect-timeout"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_dropped_syn_is_a_connection_timeout(hotfleet, origin, scheme, flag):
    url = f"{scheme}://127.0.0.1:{origin.port['syn_drop']}/"
    check_failed(fetch_in_time(hotfleet, url, flag, SHORT), "connection-timeout")


@pytest.mark.parametrize("port", ["silence", "tls_stall"])
def test_stalled_handshake_is_a_tls_timeout(hotfleet, origin, port):
    url = f"https://127.0.0.1:{origin.port[port]}/"
    check_failed(fetch_in_time(hotfleet, url, "--tls-timeout", SHORT), "tls-timeout")


@pytest.mark.parametrize("path, port", [
    ("/", "silence"), ("/silent", "http"), ("/silent", "https"), ("/stall/head", "http"), ("/stall/body", "http"),
    ("/stall/body", "https"), ("/drip/100?ms=100", "http"), ("/drip/100?ms=100", "https"), ("/head-drip?ms=50", "http"),
])
def test_answer_that_does_not_end_is_a_request_timeout(hotfleet, origin, path, port):
    check_failed(fetch_in_time(hotfleet, origin.url(path, port), "--request-timeout", SHORT), "request-timeout")


@pytest.mark.parametrize("flag", ["--total-timeout", "--max-time"])
@pytest.mark.parametrize("path, port", [("/silent", "http"), ("/", "syn_drop"), ("/", "tls_stall"),
                                        ("/drip/100?ms=100", "https")])
def test_total_timeout_ends_everything(hotfleet, origin, path, port, flag):
    check_failed(fetch_in_time(hotfleet, origin.url(path, port), flag, SHORT), "deadline")


def test_total_timeout_covers_all_redirects(hotfleet, origin):
    record = check_complete(hotfleet([origin.url("/redirect/9?ms=200")], "--total-timeout", "700ms"), 1)[1]
    check_failed(record, "deadline")
    assert 2 <= len(origin.requests()) <= 4


def test_total_timeout_covers_all_retries(hotfleet, origin):
    """The server asks for a second before each try; there is time for two."""
    url = origin.url("/limit/503?n=100&after=1")
    result = hotfleet([url], "--total-timeout", "1500ms", "--retry", "20")
    record = check_complete(result, 1)[1]
    if record["failed"]:
        check_failed(record, "deadline", "rate-limited")
    assert result.seconds < 1.5 + SLACK_SECONDS
    assert len(origin.requests()) <= 2


def test_four_stalling_servers_hold_nobody_else_up(hotfleet, origin):
    urls = [origin.url("/", "syn_drop"), origin.url("/", "silence"), origin.url("/", "tls_stall"),
            origin.url("/drip/100?ms=1000")] * 3 + [origin.url(f"/bytes/{n}") for n in range(20)]
    flags = ("--retry", "0", "--conn-timeout", "3s", "--tls-timeout", "3s", "--request-timeout", "3s")
    running = hotfleet.start(*flags)
    running.feed(*urls)
    done_first = running.wait_for_records(20, seconds=10)
    assert sum(not r["failed"] for r in done_first) == 20
    records = check_complete(running.finish(), len(urls))
    codes = [records[n]["error_code"] for n in (1, 2, 3, 4)]
    assert codes == ["connection-timeout", "request-timeout", "tls-timeout", "request-timeout"]


def test_dripping_server_is_left_for_good(hotfleet, origin):
    fetch_in_time(hotfleet, origin.url("/drip/100?ms=50"), "--request-timeout", SHORT)
    assert origin.wait_for(lambda o: o.open_now("http") == 0)


def test_idle_connection_is_closed_after_idle_timeout(hotfleet, origin):
    running = hotfleet.start("-w", "1", "--idle-timeout", "600ms")
    running.feed(origin.url("/ok"))
    running.wait_for_records(1)
    idle_since = time.monotonic()
    assert origin.open_now("http") == 1
    assert origin.wait_for(lambda o: o.open_now("http") == 0, 5)
    assert 0.5 <= time.monotonic() - idle_since < 0.6 + SLACK_SECONDS
    running.feed(origin.url("/ok"))
    running.wait_for_records(2)
    records = check_complete(running.finish(), 2)
    assert records[2]["reused"] is False


def test_connection_in_use_is_not_idle(hotfleet, origin):
    record = check_complete(hotfleet([origin.url("/slow?ms=900")], "--idle-timeout", "300ms"), 1)[1]
    check_answered(record)


def test_connection_above_its_lifetime_takes_no_new_request(hotfleet, origin):
    running = hotfleet.start("-w", "1", "--max-lifetime", "500ms")
    for count in (1, 2):
        running.feed(origin.url("/ok"))
        running.wait_for_records(count)
    time.sleep(0.6)
    running.feed(origin.url("/ok"))
    records = check_complete(running.finish(), 3)
    assert [records[n]["reused"] for n in (1, 2, 3)] == [False, True, False]


def test_body_that_outlives_the_lifetime_is_finished(hotfleet, origin):
    running = hotfleet.start("-w", "1", "--max-lifetime", "300ms")
    running.feed(origin.url("/drip/10?ms=100"))
    assert check_answered(running.wait_for_records(1)[0])["bytes_body"] == 10
    assert origin.wait_for(lambda o: o.open_now("http") == 0), "the connection is too old to be kept"
    check_complete(running.finish(), 1)


def test_busy_host_past_acquire_timeout_still_gives_each_line_its_record(hotfleet, origin):
    urls = [origin.url(f"/slow?ms=400&n={n}") for n in range(4)]
    flags = ("-w", "1", "--max-conns-per-host", "1", "--acquire-timeout", "200ms", "--retry", "0")
    for record in check_complete(hotfleet(urls, *flags), 4).values():
        if record["failed"]:
            check_failed(record, "acquire-timeout")


def test_request_that_finds_no_connection_in_time_says_so(hotfleet, origin):
    result = hotfleet([origin.url("/slow?ms=1500"), origin.url("/ok")], "-w", "1", "--max-conns-per-host", "1",
                      "--acquire-timeout", "200ms")
    records = check_complete(result, 2)
    check_answered(records[1])
    assert records[2]["failed"] and records[2]["error_code"] == "acquire-timeout"
    assert "host_ip" not in records[2] and float(records[2]["time"].removesuffix("ms")) >= 200
    assert [n["target"] for n in origin.requests()] == ["/slow?ms=1500"]


def test_requests_behind_slow_answers_go_where_a_connection_is_free(hotfleet, origin):
    """Three of four connections are busy for long. Requests that were given to their workers ahead of time do not wait for
    them while the fourth, another worker's, has nothing to do."""
    running = hotfleet.start("-w", "4", "--max-conns-per-host", "4")
    running.feed(*[origin.url(f"/slow?ms=300&n={n}") for n in range(4)])
    running.wait_for_records(4)
    running.feed(*[origin.url(f"/slow?ms=6000&n={n}") for n in range(3)])
    assert origin.wait_for(lambda o: len(o.requests()) == 7)
    running.feed(*[origin.url(f"/bytes/{n}") for n in range(40)])
    running.wait_for_records(44, seconds=4)
    running.finish()
