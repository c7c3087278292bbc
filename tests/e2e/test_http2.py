"""HTTP/2: many requests on one connection, and servers that break RFC 9113 or just stop."""
import json

import pytest

from support.fleet import memory_limit_mib
from support.records import check_answered, check_complete, check_failed
from support.servers import Nghttpd

LOST = ("connection-closed", "connection-broken", "protocol-error")


def fetch(hotfleet, url, *flags):
    return check_complete(hotfleet([url], "--retry", "0", *flags), 1)[1]


@pytest.mark.parametrize("path, size", [
    ("/ok", 2), ("/bytes/300000", 300000), ("/no-length/100000", 100000), ("/trailers", 4), ("/interim/3", 2),
    ("/padded", 4), ("/unknown-frame", 2), ("/empty-data", 4), ("/ping-flood", 2), ("/settings-flood", 2),
    ("/goaway-then-answer", 2), ("/slow?ms=100", 2),
])
def test_odd_and_yet_right_answers(hotfleet, h2origin, path, size):
    record = check_answered(fetch(hotfleet, h2origin.url(path, "h2")))
    assert record["bytes_body"] == size and record["http_version"] == "2"


@pytest.mark.parametrize("status", [204, 304, 404, 500])
def test_any_status_is_an_answer(hotfleet, h2origin, status):
    check_answered(fetch(hotfleet, h2origin.url(f"/status/{status}", "h2")), status)


def test_request_is_well_formed(hotfleet, h2origin):
    line = {"url": h2origin.url("/echo?a=1", "h2"), "method": "PUT", "headers": {"X-One": "1"}, "body": "hello"}
    check_answered(fetch(hotfleet, json.dumps(line)))
    request = h2origin.requests()[0]
    names = [name for name, _ in request["headers"]]
    fields = dict(request["headers"])
    assert names[:4] and all(n.startswith(":") for n in names[:4]) and not any(n.startswith(":") for n in names[4:])
    assert fields[":authority"] == f"127.0.0.1:{h2origin.port['h2']}" and fields[":scheme"] == "https"
    assert (fields[":method"], fields[":path"], fields["x-one"]) == ("PUT", "/echo?a=1", "1")
    assert names == [n.lower() for n in names]
    assert not {"connection", "host", "transfer-encoding", "keep-alive"} & set(names)
    assert request["body_len"] == 5
    assert h2origin.log("client-error") == []


def test_head_answer_has_no_body(hotfleet, h2origin):
    assert check_answered(fetch(hotfleet, h2origin.url("/bytes/5000", "h2"), "-X", "HEAD"))["bytes_body"] == 0


def test_many_requests_share_few_connections(hotfleet, nghttpd):
    urls = [f"https://127.0.0.1:{nghttpd.port}/1k?{n}" for n in range(2000)]
    records = check_complete(hotfleet(urls, "-w", "2", "--max-conns-per-host", "4"), 2000)
    assert all(check_answered(r)["bytes_body"] == 1024 for r in records.values())
    assert len({(r["worker"], r["conn_id"]) for r in records.values()}) <= 4
    assert sum(r["reused"] for r in records.values()) >= 1996


def test_nginx_limit_on_streams_is_kept(hotfleet, nginx):
    urls = [f"https://127.0.0.1:{nginx.port['h2']}/64k?{n}" for n in range(600)]
    records = check_complete(hotfleet(urls, "-w", "1", "--max-conns-per-host", "2"), 600)
    assert all(check_answered(r)["bytes_body"] == 65536 for r in records.values())
    assert {row["status"] for row in nginx.requests()} == {"200"}


def test_large_bodies_side_by_side_are_whole(hotfleet, nginx):
    urls = [f"https://127.0.0.1:{nginx.port['h2']}/1m?{n}" for n in range(30)]
    records = check_complete(hotfleet(urls, "-w", "1", "--max-conns-per-host", "1", "--hash"), 30)
    assert {r["bytes_body"] for r in records.values()} == {1 << 20}
    assert len({r["hash"]["body_sha256"] for r in records.values()}) == 1


@pytest.mark.parametrize("allowed", [1, 5])
def test_nghttpd_limit_on_streams_is_kept(hotfleet, certificates, start_server, allowed):
    server = start_server(Nghttpd, certificates, allowed)
    urls = [f"https://127.0.0.1:{server.port}/1k?{n}" for n in range(100)]
    records = check_complete(hotfleet(urls, "-w", "1", "--max-conns-per-host", "1"), 100)
    assert all(check_answered(r) for r in records.values())


def test_one_stream_at_a_time_when_the_server_says_so(hotfleet, h2origin):
    urls = [h2origin.url(f"/slow?ms=5&n={n}", "h2_one") for n in range(30)]
    records = check_complete(hotfleet(urls, "-w", "1", "--max-conns-per-host", "1", "--retry-delay", "1ms"), 30)
    assert all(check_answered(r) for r in records.values())
    assert h2origin.peak("streams") == 1 and h2origin.log("client-error") == []


def test_server_that_allows_no_stream_at_first_is_waited_for(hotfleet, h2origin):
    record = check_complete(hotfleet([h2origin.url("/ok", "h2_zero")], "--retry-delay", "500ms", "--retry", "9"), 1)[1]
    check_answered(record)


def test_max_streams_per_conn_is_our_own_limit(hotfleet, h2origin):
    urls = [h2origin.url(f"/slow?ms=20&n={n}", "h2") for n in range(40)]
    flags = ("-w", "1", "--max-conns-per-host", "1", "--max-streams-per-conn", "8")
    records = check_complete(hotfleet(urls, *flags), 40)
    assert all(check_answered(r) for r in records.values())
    assert h2origin.peak("streams") == 8 and h2origin.peak("h2") == 1


def test_settings_without_ack_do_not_hold_requests_up(hotfleet, h2origin):
    check_answered(fetch(hotfleet, h2origin.url("/ok", "h2_no_ack")))


def test_upload_through_a_tiny_window(hotfleet, h2origin):
    line = json.dumps({"url": h2origin.url("/echo", "h2_tiny"), "method": "POST", "body": "x" * 2000})
    check_answered(fetch(hotfleet, line))
    assert h2origin.requests()[0]["body_len"] == 2000 and h2origin.log("client-error") == []


def test_upload_without_window_ends_in_time(hotfleet, h2origin):
    line = json.dumps({"url": h2origin.url("/upload-stall", "h2"), "method": "POST", "body": "x" * 60000 * 8})
    result = hotfleet([line], "--retry", "0", "--request-timeout", "500ms", "--max-line", "1M")
    check_failed(check_complete(result, 1)[1], "request-timeout")


# Streams and connections that end before their time


@pytest.mark.parametrize("path", ["/cut", "/cut/no-length", "/close", "/reset", "/rst-in-body?code=2"])
def test_answer_broken_off_is_never_whole(hotfleet, h2origin, path):
    record = fetch(hotfleet, h2origin.url(path, "h2"))
    assert record["failed"] or record["truncated"] is True, record
    if record["failed"]:
        check_failed(record, *LOST)


@pytest.mark.parametrize("code", [0, 1, 2, 3, 5, 6, 8, 11, 12, 99])
def test_reset_stream_fails_that_request_alone(hotfleet, h2origin, code):
    urls = [h2origin.url(f"/rst?code={code}", "h2"), h2origin.url("/slow?ms=50", "h2"), h2origin.url("/ok", "h2")]
    records = check_complete(hotfleet(urls, "--retry", "0", "-w", "1", "--max-conns-per-host", "1"), 3)
    check_failed(records[1], *LOST, "rate-limited")
    check_answered(records[2])
    check_answered(records[3])


def test_refused_stream_is_sent_again(hotfleet, h2origin):
    urls = [h2origin.url(f"/rst?code=7&n=1&k={k}", "h2") for k in range(10)]
    records = check_complete(hotfleet(urls, "--retry-delay", "1ms"), 10)
    assert all(check_answered(r) for r in records.values())
    assert len(h2origin.requests()) == 20


@pytest.mark.parametrize("code", [0, 2])
def test_goaway_with_last_stream_0_is_sent_again(hotfleet, h2origin, code):
    record = check_complete(hotfleet([h2origin.url(f"/goaway?n=1&code={code}", "h2")], "--retry-delay", "1ms"), 1)[1]
    check_answered(record)
    first, second = h2origin.requests()
    assert first["conn"] != second["conn"]


def test_goaway_before_any_request_is_dialled_again(hotfleet, h2origin):
    record = check_complete(hotfleet([h2origin.url("/ok", "h2_goaway_first")], "--retry-delay", "1ms"), 1)[1]
    check_answered(record)
    assert len(h2origin.log("open")) == 2


def test_goaway_for_ever_ends_with_an_error(hotfleet, h2origin):
    record = check_complete(hotfleet([h2origin.url("/goaway?n=1000", "h2")], "--retry-delay", "1ms"), 1)[1]
    check_failed(record, *LOST, "retries-exhausted")
    assert len(h2origin.requests()) <= 10


def test_goaway_lets_the_answer_finish_and_takes_no_further_request(hotfleet, h2origin):
    running = hotfleet.start("-w", "1")
    running.feed(h2origin.url("/goaway-then-answer", "h2"))
    running.wait_for_records(1)
    running.feed(h2origin.url("/ok", "h2"))
    records = check_complete(running.finish(), 2)
    assert check_answered(records[1]) and check_answered(records[2])["reused"] is False
    first, second = h2origin.requests()
    assert first["conn"] != second["conn"]


def test_post_refused_by_goaway_arrives_once_whole(hotfleet, h2origin):
    """GOAWAY says that nothing was done with it, so that even a POST may go again."""
    line = json.dumps({"url": h2origin.url("/goaway?n=1", "h2"), "method": "POST", "body": "once"})
    record = check_complete(hotfleet([line], "--retry-delay", "1ms"), 1)[1]
    if record["failed"]:
        check_failed(record, *LOST)
    assert len(h2origin.requests()) <= 2


# Silence


@pytest.mark.parametrize("path", ["/silent", "/stall", "/drip?ms=100", "/empty-flood"])
def test_stream_without_progress_ends_in_time(hotfleet, h2origin, path):
    result = hotfleet([h2origin.url(path, "h2")], "--retry", "0", "--request-timeout", "500ms")
    check_failed(check_complete(result, 1)[1], "request-timeout", "protocol-error", "too-large")
    assert result.seconds < 5


def test_silent_stream_does_not_take_its_neighbours_along(hotfleet, h2origin):
    urls = [h2origin.url("/silent", "h2")] + [h2origin.url(f"/bytes/{n}", "h2") for n in range(20)]
    flags = ("--retry", "0", "--request-timeout", "700ms", "-w", "1", "--max-conns-per-host", "1")
    records = check_complete(hotfleet(urls, *flags), 21)
    check_failed(records[1], "request-timeout")
    assert all(check_answered(records[n])["bytes_body"] == n - 2 for n in range(2, 22))


@pytest.mark.parametrize("port", ["h2_silent", "h2_no_settings", "h2_http1", "h2_garbage"])
def test_server_that_does_not_speak_http2(hotfleet, h2origin, port):
    result = hotfleet([h2origin.url("/ok", port)], "--retry", "0", "--request-timeout", "500ms")
    codes = ("request-timeout",) if port == "h2_silent" else ("protocol-error", "connection-closed")
    check_failed(check_complete(result, 1)[1], *codes)


# Lengths, bombs, bad frames


@pytest.mark.parametrize("kind", ["short", "long", "end-in-head", "letters", "differing"])
def test_wrong_length_is_a_protocol_error(hotfleet, h2origin, kind):
    check_failed(fetch(hotfleet, h2origin.url(f"/length/{kind}", "h2")), "protocol-error")


@pytest.mark.parametrize("kind", ["table", "continuation", "empty-continuation", "fields", "giant"])
def test_header_bomb_is_refused_and_costs_little(hotfleet, h2origin, kind):
    running = hotfleet.start("--retry", "0", "--request-timeout", "2s", "-w", "1")
    running.feed(h2origin.url(f"/bomb/{kind}", "h2"))
    running.wait_for_records(1)
    assert running.memory_mib() < memory_limit_mib()
    check_failed(check_complete(running.finish(), 1)[1], "too-large", "protocol-error", "connection-closed")


def test_interim_answers_without_end_are_refused(hotfleet, h2origin):
    result = hotfleet([h2origin.url("/interim-endless", "h2")], "--retry", "0", "--request-timeout", "5s")
    check_failed(check_complete(result, 1)[1], "too-large", "protocol-error")


def test_data_without_regard_to_windows_is_bounded(hotfleet, h2origin):
    running = hotfleet.start("--retry", "0", "--max-body", "1M", "-w", "1")
    running.feed(h2origin.url("/beyond-window", "h2"))
    running.wait_for_records(1)
    assert running.memory_mib() < memory_limit_mib()
    record = check_complete(running.finish(), 1)[1]
    assert (record["failed"] and record["error_code"] == "protocol-error") or record["truncated"] is True


@pytest.mark.parametrize("kind", [
    "connection-field", "continuation-alone", "data-before-headers", "data-on-stream-0", "frame-too-big",
    "headers-on-even-stream", "headers-on-idle-stream", "hpack-index-0", "hpack-index-beyond-table", "newline-in-value",
    "no-status", "padding-too-long", "ping-short", "pseudo-after-field", "push-promise", "request-pseudo",
    "settings-ack-with-payload", "settings-odd-length", "status-letters", "trailers-without-end", "two-statuses",
    "uppercase-name", "window-overflow", "window-update-0",
])
def test_bad_frame_is_an_error_at_once(hotfleet, h2origin, kind):
    # Some browsers allow pushes: an answer may still come then.
    flags = ("--profile", "none") if kind == "push-promise" else ()
    result = hotfleet([h2origin.url(f"/bad/{kind}", "h2")], "--retry", "0", "--request-timeout", "8s", *flags)
    check_failed(check_complete(result, 1)[1], *LOST)
    assert result.seconds < 6
