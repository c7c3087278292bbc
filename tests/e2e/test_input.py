"""What goes in: lines of every kind, good and bad, and when work on them starts."""
import json
import random

import pytest

from support.records import check_answered, check_complete, check_failed

INVALID = ("invalid-url", "invalid-host")
ANSWERED = "answered"
MAX_LINE = 65536


def as_input(line):
    """How a line stands in its record: cut to the limit, and bytes that are no UTF-8 as \\xHH."""
    return line[:MAX_LINE].decode("utf-8", errors="backslashreplace")


def bad_lines(origin):
    """name -> (line, outcome): error codes, or ANSWERED for what is odd and yet valid."""
    good = origin.url("/ok")
    place = good.removeprefix("http://").removesuffix("/ok")

    def request(**keys):
        return json.dumps({"url": good, **keys}).encode()

    noise = bytes(b for b in random.Random(1).randbytes(300) if b not in b"\r\n")
    return {
        "empty": (b"", INVALID),
        "spaces": (b"    ", INVALID),
        "tab": (b"\t", INVALID),
        "only CR": (b"\r", INVALID),
        "binary": (b"\xff\xfe" + noise, INVALID),
        "NUL alone": (b"\0", INVALID),
        "1 MiB of letters": (b"a" * (1 << 20), INVALID),
        "1 MiB URL": (good.encode() + b"?" + b"q" * (1 << 20), INVALID),
        "a byte above the limit": (good.encode() + b"?" + b"q" * (MAX_LINE - len(good)), INVALID),
        "ftp": (b"ftp://127.0.0.1/", INVALID),
        "mailto": (b"mailto:a@example.com", INVALID),
        "javascript": (b"javascript:alert(1)", INVALID),
        "file": (b"file:///etc/passwd", INVALID),
        "no scheme": (b"example.test", INVALID),
        "path": (b"/ok", INVALID),
        "scheme-relative": (b"//example.test/ok", INVALID),
        "no host": (b"http://", INVALID),
        "no host but a port": (b"http://:80/", INVALID),
        "no host but a query": (b"https://?q", INVALID),
        "port above 65535": (b"http://127.0.0.1:65536/", INVALID),
        "port far above": (b"http://127.0.0.1:99999999999999999999/", INVALID),
        "port of letters": (b"http://127.0.0.1:http/", INVALID),
        "port negative": (b"http://127.0.0.1:-1/", INVALID),
        "IDNA: bad punycode": (b"http://xn--a/", INVALID),
        "IDNA: broken punycode": ("http://xn--\u00e9.test/".encode(), INVALID),
        "IDNA: nothing left": ("http://\u00ad/".encode(), INVALID),
        "IDNA: replacement character": ("http://a\ufffdb.test/".encode(), INVALID),
        "host too long": (b"http://" + b"a." * 150 + b"test/", INVALID),
        "NUL in the host": (b"http://exa\0mple.test/", INVALID),
        "escape of nothing in the host": (b"http://%zz/", INVALID),
        "space in the host": (b"http://a b.test/", INVALID),
        "angle bracket in the host": (b"http://a<b.test/", INVALID),
        "invalid UTF-8 in the host": (b"http://\xc3\x28.test/", INVALID),
        "IPv6 without end": (b"http://[::1/", INVALID),
        "IPv6 of letters": (b"http://[::g]/", INVALID),
        "IPv4 above 255": (b"http://256.256.256.256/", INVALID),
        "IPv4 of five parts": (b"http://1.2.3.4.5/", INVALID),
        "unknown name": (b"http://nobody.test/", ("dns-nxdomain",)),
        "JSON cut": (b'{"url":', INVALID),
        "JSON empty": (b"{}", INVALID),
        "JSON number as URL": (b'{"url":5}', INVALID),
        "JSON unknown key": (request(metod="GET"), INVALID),
        "JSON key twice": (b'{"url":"http://a.test/","url":"http://b.test/"}', (*INVALID, "dns-nxdomain")),
        "JSON and more": (request() + b" and more", INVALID),
        "JSON nested deep": (b'{"url":' + b"[" * 5000, INVALID),
        "JSON invalid UTF-8": (b'{"url":"http://127.0.0.1/\xff"}', INVALID),
        "JSON method with a space": (request(method="GE T"), INVALID),
        "JSON header with a newline": (request(headers={"A": "b\r\nC: d"}), INVALID),
        "JSON header name with a colon": (request(headers={"A:": "b"}), INVALID),
        "JSON ip of letters": (request(ip="nonsense"), INVALID),
        "JSON list": (json.dumps([good]).encode(), INVALID),
        "CR at the end": (good.encode() + b"\r", ANSWERED),
        "spaces around": (b"  " + good.encode() + b"  ", ANSWERED),
        "one slash": (b"http:/" + place.encode() + b"/ok", ANSWERED),
        "backslashes": (b"http:\\\\" + place.encode() + b"\\ok", ANSWERED),
        "upper case scheme": (good.replace("http", "HTTP", 1).encode(), ANSWERED),
        "fragment": (good.encode() + b"#part", ANSWERED),
        "space in the query": (good.encode() + b"?a b", ANSWERED),
        "NUL in the query": (good.encode() + b"?a\0b", ANSWERED),
        "invalid UTF-8 in the query": (good.encode() + b"?a\xffb", ANSWERED),
        "JSON with a tag": (request(tag={"n": [1, "\u00e9"]}), ANSWERED),
    }


def check_outcome(name, line, outcome, record):
    assert record["input"].rstrip("\r").lower() == as_input(line).rstrip("\r").lower(), name
    if outcome is ANSWERED:
        check_answered(record)
    else:
        check_failed(record, *outcome)
    assert record.get("input_truncated", False) == (len(line) > MAX_LINE), name


def test_thousand_lines_of_bad_input_give_thousand_records(hotfleet, origin, name_server):
    kinds = bad_lines(origin)
    names = (list(kinds) * (1000 // len(kinds) + 1))[:1000]
    assert len(kinds) >= 30
    result = hotfleet([kinds[name][0] for name in names], "--resolvers", name_server({}).resolver)
    records = check_complete(result, 1000)
    for seq, name in enumerate(names, 1):
        check_outcome(name, *kinds[name], records[seq])


def test_bad_lines_leave_no_trace_at_the_server(hotfleet, origin, name_server):
    lines = [line for line, outcome in bad_lines(origin).values() if outcome is not ANSWERED]
    check_complete(hotfleet(lines, "--resolvers", name_server({}).resolver), len(lines))
    assert origin.requests() == []


def test_last_line_needs_no_newline(hotfleet, origin):
    records = check_complete(hotfleet(f"{origin.url('/ok')}\n{origin.url('/echo')}".encode()), 2)
    check_answered(records[2])


def test_newline_alone_is_an_empty_line(hotfleet):
    check_failed(check_complete(hotfleet(b"\n\n\n"), 3)[3], "invalid-url")


def test_no_input_gives_no_record_and_exit_0(hotfleet):
    result = hotfleet(b"")
    assert (result.exit, result.stdout) == (0, b"")


def test_lines_cut_anywhere_by_the_pipe_are_put_together(hotfleet, origin):
    running = hotfleet.start()
    for byte in f"{origin.url('/ok')}\n{origin.url('/bytes/5')}\n".encode():
        running.feed_bytes(bytes([byte]))
    records = check_complete(running.finish(), 2)
    assert [records[n]["path"] for n in (1, 2)] == ["/ok", "/bytes/5"]


def test_work_starts_while_input_is_open(hotfleet, origin):
    running = hotfleet.start()
    for count in range(1, 4):
        running.feed(origin.url("/ok"))
        assert len(running.wait_for_records(count, seconds=5)) == count
    assert not running.ended.is_set()
    check_complete(running.finish(), 3)


def test_bad_line_is_recorded_while_input_is_open(hotfleet):
    running = hotfleet.start()
    running.feed("nonsense")
    check_failed(running.wait_for_records(1, seconds=5)[0], "invalid-url")
    check_complete(running.finish(), 1)


@pytest.mark.parametrize("flag", ["-i", "-l", "--input"])
def test_input_file_in_place_of_stdin(hotfleet, origin, flag):
    path = hotfleet.write("urls.txt", f"{origin.url('/ok')}\n{origin.url('/ok')}")
    running = hotfleet.start(flag, path)
    assert running.ended.wait(10), "standard input must not be waited for"
    check_complete(running.finish(), 2)


def test_missing_input_file_is_a_usage_error(hotfleet):
    result = hotfleet(b"", "-i", "/nonexistent/urls.txt")
    assert result.exit == 2 and "/nonexistent/urls.txt" in result.stderr


def test_max_line_sets_the_limit(hotfleet, origin):
    url = origin.url("/ok") + "?"
    lines = [url + "q" * (200 - len(url)), url + "q" * (201 - len(url))]
    records = check_complete(hotfleet(lines, "--max-line", "200"), 2)
    check_answered(records[1])
    check_failed(records[2], "invalid-url")
    assert records[2]["input"] == lines[1][:200] and records[2]["input_truncated"] is True


def test_json_line_sets_method_headers_body_and_tag(hotfleet, origin):
    line = {"url": origin.url("/echo"), "method": "PUT", "headers": {"X-One": "1", "User-Agent": "mine"},
            "body": "caf\u00e9\n", "tag": {"job": 7, "names": ["a", None]}}
    record = check_complete(hotfleet([json.dumps(line)]), 1)[1]
    check_answered(record)
    assert record["tag"] == line["tag"] and record["method"] == "PUT"
    request = origin.requests()[0]
    headers = dict(request["headers"])
    assert request["method"] == "PUT" and request["body_len"] == len("caf\u00e9\n".encode())
    assert headers["X-One"] == "1" and headers["User-Agent"] == "mine"
    assert [n.lower() for n, _ in request["headers"]].count("user-agent") == 1


def test_json_ip_is_where_the_connection_goes(hotfleet, origin):
    line = {"url": origin.url("/echo", host="far.test"), "ip": "127.0.0.3"}
    record = check_answered(check_complete(hotfleet([json.dumps(line)]), 1)[1])
    request = origin.requests()[0]
    assert record["host_ip"] == "127.0.0.3" and request["local"] == "127.0.0.3"
    assert dict(request["headers"])["Host"] == f"far.test:{origin.port['http']}"


def test_mixed_lines_keep_their_numbers(hotfleet, origin):
    lines = [origin.url(f"/bytes/{n}") if n % 3 else "bad" for n in range(300)]
    records = check_complete(hotfleet(lines), 300)
    for n in range(300):
        assert records[n + 1]["input"] == lines[n]
        assert records[n + 1]["failed"] == (n % 3 == 0)


@pytest.mark.parametrize("line, canonical", [
    ("HTTP://EXAMPLE.com:80/a/../b?q#f", "http://example.com/b?q"),
    ("https://b\u00fccher.example/\u00e9", "https://xn--bcher-kva.example/%C3%A9"),
    ("https://fa\u00df.de/", "https://xn--fa-hia.de/"),
    ("http://0x7f.1/", "http://127.0.0.1/"),
    ("http://[::0:1]:8080", "http://[::1]:8080/"),
])
def test_url_command_prints_the_canonical_form(hotfleet, line, canonical):
    result = hotfleet.command("url", stdin=line.encode() + b"\n")
    assert (result.exit, result.stdout.decode()) == (0, canonical + "\n")


def test_url_command_prints_one_line_per_line(hotfleet, origin):
    lines = [line for line, _ in bad_lines(origin).values() if not line.startswith(b"{")]
    result = hotfleet.command("url", stdin=b"\n".join(lines) + b"\n")
    out = result.stdout.split(b"\n")[:-1]
    assert len(out) == len(lines)
    for line, printed in zip(lines, out):
        assert printed.startswith((b"http", b"error\t")), (line[:80], printed[:80])
