"""Raw requests (B15): the bytes of a file reach the server as they are, and nothing else does."""
import json
import os

import pytest

from support.records import check_answered, check_complete, check_failed
from support.tap import Tap

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HEAD_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"
PLAIN = b"GET /as?it=is HTTP/1.1\r\nHost: elsewhere.test\r\nx-ODD:   value  \r\n\r\n"
ODD = [
    PLAIN,
    b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n\x00\xff\r\n",
    b"GET /bare-lf HTTP/1.1\nHost: a\n\n",
    b"BREW\x00 coffee\r\n\r\n\r\n",
    b"\r\n\r\nGET / HTTP/0.9\r\n \tfolded\r\n\r\n",
    bytes(range(256)),
    b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
]


@pytest.fixture
def tap():
    """tap(bytes wanted, answer, certificate=None)"""
    started = []

    def start(*arguments, **more):
        started.append(Tap(*arguments, **more))
        return started[-1]

    yield start
    for server in started:
        server.close()


def fetch(hotfleet, url, path, *flags):
    return check_complete(hotfleet([url], "--retry", "0", "--raw-request", path, *flags), 1)[1]


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("request_bytes", ODD, ids=range(len(ODD)))
def test_bytes_arrive_as_they_are(hotfleet, tap, certificates, request_bytes, scheme):
    server = tap(len(request_bytes), OK, certificates.path("good") if scheme == "https" else None)
    path = hotfleet.write("request", request_bytes)
    record = check_answered(fetch(hotfleet, f"{scheme}://127.0.0.1:{server.port}/not/sent", path))
    assert server.received == [request_bytes]
    assert record["http_version"] == "1.1" and record["path"] == "/not/sent"


def test_large_request_is_whole(hotfleet, tap, certificates):
    body = os.urandom(1_000_000)
    request = b"PUT / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    server = tap(len(request), OK, certificates.path("good"))
    assert check_answered(fetch(hotfleet, f"https://127.0.0.1:{server.port}/", hotfleet.write("r", request)))["method"] == "PUT"
    assert server.received == [request]


def test_http2_is_not_offered_and_sni_is_the_urls(hotfleet, tap, certificates):
    server = tap(len(PLAIN), OK, certificates.path("good"))
    url = f"https://a.site.test:{server.port}/"
    record = check_answered(fetch(hotfleet, url, hotfleet.write("r", PLAIN), "--resolve", f"a.site.test:{server.port}:127.0.0.1"))
    assert server.alpn == ["http/1.1"] and server.sni == ["a.site.test"]
    assert record["http_version"] == "1.1" and record["sni"] == "a.site.test"


def one_after_the_other(hotfleet, server, count, *flags):
    running = hotfleet.start("-w", "1", "--retry", "0", *flags)
    for n in range(1, count + 1):
        running.feed(f"http://127.0.0.1:{server.port}/{n}")
        running.wait_for_records(n)
    return check_complete(running.finish(), count)


def test_plain_request_uses_its_connection_again(hotfleet, tap):
    server = tap(len(PLAIN), OK)
    records = one_after_the_other(hotfleet, server, 3, "--raw-request", hotfleet.write("r", PLAIN))
    assert [check_answered(records[n])["reused"] for n in (1, 2, 3)] == [False, True, True]
    assert server.received == [PLAIN * 3]


def test_request_of_doubtful_end_is_the_last_of_its_connection(hotfleet, tap):
    """A server may take what comes next for the rest of this one."""
    request = b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\nshort"
    server = tap(len(request), OK)
    records = one_after_the_other(hotfleet, server, 3, "--raw-request", hotfleet.write("r", request))
    assert not any(check_answered(records[n])["reused"] for n in (1, 2, 3))
    assert server.received == [request] * 3


def test_head_is_recognised(hotfleet, tap):
    request = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
    server = tap(len(request), HEAD_ANSWER)
    records = one_after_the_other(hotfleet, server, 2, "--request-timeout", "5s", "--raw-request", hotfleet.write("r", request))
    assert check_answered(records[1])["method"] == "HEAD" and records[1]["bytes_body"] == 0
    assert check_answered(records[2])["reused"] is True


@pytest.mark.parametrize("request_bytes, method", [
    (b"PURGE / HTTP/1.1\r\n\r\n", "PURGE"), (b"get /\r\n\r\n", "get"), (b"G T / HTTP/1.1\r\n\r\n", "G"),
    (b"(GET) / HTTP/1.1\r\n\r\n", None), (b"\x16\x03\x01\x02\x00", None),
])
def test_method_of_the_record(hotfleet, tap, request_bytes, method):
    server = tap(len(request_bytes), OK)
    path = hotfleet.write("r", request_bytes)
    urls = [f"http://127.0.0.1:{server.port}/", "http://[::1]/"]
    records = check_complete(hotfleet(urls, "--raw-request", path, "-4"), 2)
    assert check_answered(records[1]).get("method") == method
    assert check_failed(records[2], "dns-nxdomain").get("method") == method, "the coordinator's own records tell it too"


@pytest.mark.parametrize("request_bytes, sent", [
    (b"GET / HTTP/1.1\r\n\r\n", 3), (b"PUT / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 3),
    (b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 1), (b"get / HTTP/1.1\r\n\r\n", 1), (b"()\r\n", 1),
])
def test_only_idempotent_methods_are_retried(hotfleet, tap, request_bytes, sent):
    server = tap(len(request_bytes), b"")
    flags = ("--retry", "2", "--retry-delay", "1ms", "--raw-request", hotfleet.write("r", request_bytes))
    record = check_complete(hotfleet([f"http://127.0.0.1:{server.port}/"], *flags), 1)[1]
    check_failed(record, "connection-closed", "connection-broken")
    assert record["attempts"] == sent and server.received == [request_bytes] * sent


def test_redirect_is_recorded_and_not_followed(hotfleet, tap):
    server = tap(len(PLAIN), b"HTTP/1.1 302 Found\r\nLocation: /next\r\nContent-Length: 0\r\n\r\n")
    record = check_answered(fetch(hotfleet, f"http://127.0.0.1:{server.port}/", hotfleet.write("r", PLAIN)), 302)
    assert record["location"] == "/next" and "chain_status_codes" not in record
    assert server.received == [PLAIN]


def test_real_server_understands_it(hotfleet, nginx):
    path = hotfleet.write("r", b"GET /1k HTTP/1.1\r\nHost: raw.test\r\nUser-Agent: by hand\r\n\r\n")
    urls = [f"https://127.0.0.1:{nginx.port['h2']}/{n}" for n in range(50)] + [f"http://127.0.0.1:{nginx.port['http']}/"]
    records = check_complete(hotfleet(urls, "--raw-request", path), 51)
    assert all(check_answered(r)["bytes_body"] == 1024 for r in records.values())
    assert {(row["protocol"], row["target"], row["host"]) for row in nginx.requests()} == {("HTTP/1.1", "/1k", "raw.test")}


@pytest.mark.parametrize("extra", [{"method": "GET"}, {"headers": {"X-A": "1"}}, {"body": ""}])
def test_json_line_that_asks_for_more_is_refused(hotfleet, tap, extra):
    server = tap(len(PLAIN), OK)
    url = f"http://127.0.0.1:{server.port}/"
    lines = [json.dumps({"url": url, "tag": 7, **extra}), json.dumps({"url": url, "tag": 8, "ip": "127.0.0.1"})]
    records = check_complete(hotfleet(lines, "--raw-request", hotfleet.write("r", PLAIN)), 2)
    assert "raw_request" in check_failed(records[1], "invalid-url")["error"] and records[1]["tag"] == 7
    assert check_answered(records[2])["tag"] == 8


@pytest.mark.parametrize("flags", [("-X", "GET"), ("-H", "A: 1"), ("-A", "x"), ("-d", "x"), ("--http-version", "2")])
def test_flags_that_would_change_it_are_usage_errors(hotfleet, flags):
    result = hotfleet(b"", "--raw-request", hotfleet.write("r", PLAIN), *flags)
    assert result.exit == 2 and "raw_request" in result.stderr and "exclude each other" in result.stderr


def test_file_that_cannot_be_sent_is_a_usage_error(hotfleet):
    large = hotfleet.write("large", b"")
    os.truncate(large, (64 << 20) + 1)
    for path, part in [("missing", "No such file"), (hotfleet.write("empty", b""), "empty"), ("/dev", "no regular file"),
                       (large, "64 MiB")]:
        result = hotfleet(b"http://127.0.0.1/\n", "--raw-request", path)
        assert result.exit == 2 and part in result.stderr and path in result.stderr and result.stdout == b""
