"""HTTP/1.1: requests as sent, answers as read, and everything that a server may do wrong between the two."""
import json
import time

import pytest

from support.records import check_answered, check_complete, check_failed


def fetch(hotfleet, url, *flags):
    return check_complete(hotfleet([url], "--retry", "0", *flags), 1)[1]


def header_of(request, name):
    return [value for n, value in request["headers"] if n.lower() == name]


def test_request_is_well_formed(hotfleet, origin):
    check_answered(fetch(hotfleet, origin.url("/echo?a=%20b"), "--profile", "none"))
    request = origin.requests()[0]
    assert (request["method"], request["target"]) == ("GET", "/echo?a=%20b")
    assert header_of(request, "host") == [f"127.0.0.1:{origin.port['http']}"]
    assert header_of(request, "user-agent")[0].startswith("hotfleet/")
    assert header_of(request, "accept-encoding") in ([], ["identity"])
    assert header_of(request, "content-length") == [] and header_of(request, "transfer-encoding") == []


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "OPTIONS", "PURGE"])
def test_method_is_sent(hotfleet, origin, method):
    assert check_answered(fetch(hotfleet, origin.url("/echo"), "-X", method))["method"] == method
    assert origin.requests()[0]["method"] == method


def test_data_makes_a_post(hotfleet, origin):
    path = hotfleet.write("body.bin", bytes(range(256)))
    for flags in (("-d", "a=1&b=2"), ("--data-binary", "@" + path)):
        assert check_answered(fetch(hotfleet, origin.url("/echo"), *flags))["method"] == "POST"
    first, second = origin.requests()
    assert (first["method"], first["body_len"], second["body_len"]) == ("POST", 7, 256)


def test_headers_are_added_and_replaced(hotfleet, origin):
    fetch(hotfleet, origin.url("/echo"), "-H", "X-One: 1", "-H", "X-Two: 2", "-A", "mine/1.0", "-H", "Host: other.test")
    request = origin.requests()[0]
    assert header_of(request, "x-one") == ["1"] and header_of(request, "x-two") == ["2"]
    assert header_of(request, "user-agent") == ["mine/1.0"] and header_of(request, "host") == ["other.test"]


@pytest.mark.parametrize("header", ["no colon", "Bad Name: x", ": x", "X-A: b\r\nX-C: d", "X-A: b\nX-C: d"])
def test_bad_header_is_a_usage_error(hotfleet, header):
    assert hotfleet(b"", "-H", header).exit == 2


@pytest.mark.parametrize("path, size", [
    ("/chunked/2500?size=7", 2500), ("/chunked/0", 0), ("/trailers", 4), ("/chunk-extensions", 4), ("/interim/3", 2),
    ("/close-delimited/3000", 3000), ("/http10/3000", 3000), ("/last", 2), ("/lf-only", 2), ("/bytes/300000", 300000),
    ("/status/204", 0), ("/length/list-equal", 100), ("/race", 2),
])
def test_framings_are_read_to_their_end(hotfleet, origin, path, size):
    record = check_answered(fetch(hotfleet, origin.url(path)), 204 if path == "/status/204" else 200)
    assert record["bytes_body"] == size and not record.get("truncated", False)


@pytest.mark.parametrize("path", ["/bytes/5000", "/chunked/5000"])
def test_head_answer_has_no_body(hotfleet, origin, path):
    running = hotfleet.start("-w", "1", "-X", "HEAD", "--request-timeout", "5s")
    for count in (1, 2):
        running.feed(origin.url(path))
        running.wait_for_records(count)
    records = check_complete(running.finish(), 2)
    assert check_answered(records[1])["bytes_body"] == 0
    assert check_answered(records[2])["reused"] is True


@pytest.mark.parametrize("path, code", [
    ("/fin/none", "connection-closed"), ("/fin/head", "connection-closed"), ("/fin/body", "connection-closed"),
    ("/fin/chunks", "connection-closed"), ("/rst/none", "connection-broken"), ("/rst/head", "connection-broken"),
    ("/rst/body", "connection-broken"),
])
def test_answer_broken_off(hotfleet, origin, path, code):
    check_failed(fetch(hotfleet, origin.url(path)), code)


@pytest.mark.parametrize("kind", ["negative", "letters", "plus", "empty", "overflow", "differing", "list-differing",
                                  "beside-chunked", "coding-unknown", "coding-not-last", "coding-twice"])
def test_wrong_length_is_a_protocol_error(hotfleet, origin, kind):
    check_failed(fetch(hotfleet, origin.url(f"/length/{kind}")), "protocol-error")


@pytest.mark.parametrize("kind", ["size-letters", "size-negative", "size-prefixed", "size-empty", "size-overflow",
                                  "size-with-space", "no-crlf-after-data", "bare-lf", "data-too-long", "bad-trailer"])
def test_bad_chunks_are_a_protocol_error(hotfleet, origin, kind):
    check_failed(fetch(hotfleet, origin.url(f"/chunks/{kind}"), "--request-timeout", "5s"), "protocol-error")


@pytest.mark.parametrize("kind", [
    "garbage", "version-2", "version-0.9", "status-text", "status-short", "status-long", "switching", "no-colon",
    "space-before-colon", "empty-name", "name-not-token", "obs-fold", "nul-in-value", "bare-cr"])
def test_bad_head_is_a_protocol_error(hotfleet, origin, kind):
    check_failed(fetch(hotfleet, origin.url(f"/head/{kind}"), "--request-timeout", "5s"), "protocol-error")


@pytest.mark.parametrize("path", ["/head-giant?bytes=1000000", "/head-many?fields=1000", "/interim-endless",
                                  "/interim/500", "/head-drip?ms=0"])
def test_head_without_measure_is_too_large(hotfleet, origin, path):
    result = hotfleet([origin.url(path)], "--retry", "0", "--request-timeout", "10s")
    check_failed(check_complete(result, 1)[1], "too-large")


def test_max_header_sets_the_limit(hotfleet, origin):
    urls = [origin.url(f"/head-giant?bytes={n}") for n in (1500, 3000)]
    records = check_complete(hotfleet(urls, "--retry", "0", "--max-header", "2048"), 2)
    check_answered(records[1])
    check_failed(records[2], "too-large")


def one_after_the_other(hotfleet, *urls, pause=0.0, flags=()):
    """The records of URLs of which each is fed when the one before is done, all with one worker."""
    running = hotfleet.start("-w", "1", "--retry", "0", *flags)
    for count, url in enumerate(urls, 1):
        running.feed(url)
        running.wait_for_records(count)
        time.sleep(pause)
    return check_complete(running.finish(), len(urls))


@pytest.mark.parametrize("path", ["/stray/beside", "/stray/after?ms=30", "/length/long"])
@pytest.mark.parametrize("port", ["http", "https"])
def test_bytes_nobody_asked_for_are_never_an_answer(hotfleet, origin, port, path):
    records = one_after_the_other(hotfleet, origin.url(path, port), origin.url("/bytes/7", port), pause=0.2)
    check_answered(records[1])
    assert check_answered(records[2])["bytes_body"] == 7
    assert records[2]["reused"] is False
    first, second = origin.requests()
    assert first["conn"] != second["conn"], "the connection with stray bytes was used again"


def test_stray_bytes_under_load_poison_no_record(hotfleet, origin):
    """Many stray answers among good ones, on few connections: every record is of its own URL."""
    urls = [origin.url("/stray/beside" if n % 5 == 0 else f"/bytes/{n}") for n in range(200)]
    records = check_complete(hotfleet(urls, "-w", "2", "--max-conns-per-host", "4", "--retry-delay", "1ms"), 200)
    for n in range(200):
        check_answered(records[n + 1])
        assert records[n + 1]["bytes_body"] == (2 if n % 5 == 0 else n)


@pytest.mark.parametrize("path", ["/race", "/last", "/http10/10", "/close-delimited/10"])
def test_connection_closed_by_the_server_is_not_reused(hotfleet, origin, path):
    records = one_after_the_other(hotfleet, origin.url(path), origin.url("/ok"), origin.url("/ok"), pause=0.05)
    assert [check_answered(records[n])["reused"] for n in (1, 2, 3)] == [False, False, True]


def test_keep_alive_that_races_with_close_loses_nothing(hotfleet, origin):
    """The server promises to go on and hangs up: requests that were lost on the way are sent again."""
    urls = [origin.url(f"/race?{n}") for n in range(100)]
    records = check_complete(hotfleet(urls, "--max-conns-per-host", "3", "--retry-delay", "1ms"), 100)
    for record in records.values():
        check_answered(record)


def test_body_above_max_body_is_cut_and_its_connection_closed(hotfleet, origin):
    records = one_after_the_other(hotfleet, origin.url("/bytes/200000"), origin.url("/ok"), flags=("--max-body", "10K"))
    assert check_answered(records[1])["truncated"] is True and records[1]["bytes_body"] <= 10240
    assert check_answered(records[2])["reused"] is False


def test_body_of_exactly_max_body_is_whole(hotfleet, origin):
    record = check_answered(fetch(hotfleet, origin.url("/bytes/10240"), "--max-body", "10K"))
    assert not record.get("truncated", False) and record["bytes_body"] == 10240


def test_answer_spoken_before_the_request_never_poisons_a_second(hotfleet, origin):
    """The first of them cannot be told from an answer; the real one that follows is then a stray."""
    records = one_after_the_other(hotfleet, origin.url("/bytes/7", "banner"), origin.url("/bytes/8"), pause=0.1)
    assert check_answered(records[2])["bytes_body"] == 8
    if not records[1]["failed"]:
        assert records[1]["status_code"] in (200, 299)


def test_echo_of_a_large_upload_is_whole(hotfleet, origin):
    body = "x" * 1_000_000
    line = json.dumps({"url": origin.url("/echo"), "method": "POST", "body": body})
    record = check_complete(hotfleet([line], "--max-line", "2M"), 1)[1]
    check_answered(record)
    assert origin.requests()[0]["body_len"] == len(body)
