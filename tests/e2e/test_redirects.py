"""Redirects: followed hop by hop, each under the same policy as the first URL (F7)."""
import json
from urllib.parse import quote

import pytest

from support.records import check_answered, check_complete, check_failed


def fetch(hotfleet, url, *flags, **more):
    return check_complete(hotfleet([url], "--retry", "0", *flags, **more), 1)[1]


def to(origin, url, code=302, port="http"):
    return origin.url(f"/to?code={code}&url={quote(url, safe='')}", port)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirect_is_followed(hotfleet, origin, code):
    record = check_answered(fetch(hotfleet, to(origin, "/ok", code)))
    assert record["url"] == to(origin, "/ok", code) and record["final_url"] == origin.url("/ok")
    assert record["chain_status_codes"] == [code, 200]


@pytest.mark.parametrize("code", [300, 304, 305, 306])
def test_other_3xx_are_answers(hotfleet, origin, code):
    record = check_answered(fetch(hotfleet, to(origin, "/ok", code)), code)
    assert "final_url" not in record and len(origin.requests()) == 1


def test_redirect_without_location_is_an_answer(hotfleet, origin):
    check_answered(fetch(hotfleet, origin.url("/no-location")), 302)


def test_chain_of_ten_is_followed(hotfleet, origin):
    record = check_answered(fetch(hotfleet, origin.url("/redirect/10")))
    assert record["chain_status_codes"] == [302] * 10 + [200] and len(origin.requests()) == 11


def test_chain_of_eleven_is_too_long(hotfleet, origin):
    check_failed(fetch(hotfleet, origin.url("/redirect/11")), "too-many-redirects")
    assert len(origin.requests()) == 11


def test_loop_ends(hotfleet, origin):
    record = check_failed(fetch(hotfleet, origin.url("/loop")), "too-many-redirects")
    assert record["url"] == origin.url("/loop")


@pytest.mark.parametrize("limit, followed", [("3", True), ("2", False)])
def test_max_redirects_sets_the_limit(hotfleet, origin, limit, followed):
    record = fetch(hotfleet, origin.url("/redirect/3"), "--max-redirects", limit)
    assert record["failed"] is not followed


@pytest.mark.parametrize("flag", ["--max-redirects", "--max-redirs"])
def test_no_redirects_records_the_redirect_itself(hotfleet, origin, flag):
    record = check_answered(fetch(hotfleet, origin.url("/redirect/2"), flag, "0"), 302)
    assert record["location"] == "/redirect/1?ms=0" and "final_url" not in record and len(origin.requests()) == 1


def test_relative_location_is_resolved_and_its_fragment_not_sent(hotfleet, origin):
    record = check_answered(fetch(hotfleet, origin.url("/relative/up")))
    assert record["final_url"].split("#")[0] == origin.url("/ok?from=relative")
    assert origin.requests()[1]["target"] == "/ok?from=relative"


def test_location_with_raw_bytes_is_encoded(hotfleet, origin):
    check_answered(fetch(hotfleet, to(origin, "/ok?q=\u00e9 x")))
    assert " " not in origin.requests()[1]["target"]


def test_other_host_is_resolved_and_named(hotfleet, origin, name_server):
    server = name_server({"one.test": {"A": ["127.0.0.1"]}, "two.test": {"A": ["127.0.0.2"]}})
    target = origin.url("/echo", host="two.test")
    start = origin.url(f"/to?url={quote(target, safe='')}", host="one.test")
    record = check_answered(fetch(hotfleet, start, "--resolvers", server.resolver))
    assert record["final_url"] == target and record["host_ip"] == "127.0.0.2"
    assert dict(origin.requests()[1]["headers"])["Host"] == f"two.test:{origin.port['http']}"


def test_https_to_http_and_back(hotfleet, origin):
    down = to(origin, origin.url("/ok"), port="https")
    up = to(origin, origin.url("/ok", "https"))
    records = check_complete(hotfleet([down, up], "--retry", "0"), 2)
    assert check_answered(records[1])["final_url"] == origin.url("/ok")
    assert check_answered(records[2])["final_url"] == origin.url("/ok", "https")


@pytest.mark.parametrize("location", ["ftp://127.0.0.1/", "file:///etc/passwd", "javascript:alert(1)", "http://",
                                      "http://a b/", "http://127.0.0.1:99999/"])
def test_location_that_is_no_http_url_is_not_followed(hotfleet, origin, location):
    record = fetch(hotfleet, to(origin, location))
    if record["failed"]:
        check_failed(record, "invalid-url", "invalid-host", "protocol-error")
    else:
        assert record["status_code"] == 302
    assert len(origin.requests()) == 1


def test_redirect_to_unknown_name_is_its_error(hotfleet, origin, name_server):
    record = fetch(hotfleet, to(origin, "http://nobody.test/"), "--resolvers", name_server({}).resolver)
    check_failed(record, "dns-nxdomain")


@pytest.mark.parametrize("code, method, body", [(303, "GET", 0), (307, "POST", 4), (308, "POST", 4)])
def test_method_and_body_after_a_post(hotfleet, origin, code, method, body):
    line = json.dumps({"url": to(origin, "/echo", code), "method": "POST", "body": "data"})
    check_answered(fetch(hotfleet, line))
    second = origin.requests()[1]
    assert (second["method"], second["body_len"]) == (method, body)


@pytest.mark.parametrize("code", [301, 302])
def test_post_becomes_get_as_in_browsers(hotfleet, origin, code):
    line = json.dumps({"url": to(origin, "/echo", code), "method": "POST", "body": "data"})
    check_answered(fetch(hotfleet, line))
    assert (origin.requests()[1]["method"], origin.requests()[1]["body_len"]) == ("GET", 0)


def test_head_stays_head(hotfleet, origin):
    check_answered(fetch(hotfleet, to(origin, "/ok"), "-X", "HEAD"))
    assert [r["method"] for r in origin.requests()] == ["HEAD", "HEAD"]


def test_redirects_over_http2(hotfleet, h2origin):
    record = check_answered(fetch(hotfleet, h2origin.url("/redirect/3", "h2")))
    assert record["chain_status_codes"] == [302, 302, 302, 200] and record["http_version"] == "2"


def test_many_redirects_at_once_are_each_told_right(hotfleet, origin):
    urls = [origin.url(f"/redirect/{n % 5 + 1}?n={n}") for n in range(100)]
    records = check_complete(hotfleet(urls, "--retry-delay", "1ms"), 100)
    for n in range(100):
        assert check_answered(records[n + 1])["chain_status_codes"] == [302] * (n % 5 + 1) + [200]
        assert records[n + 1]["input"] == urls[n]
