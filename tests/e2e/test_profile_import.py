"""Profiles made of captures: what comes out is what was sent, whatever form it was captured in."""
import json

import pytest

from support.captures import Capture, ip_packet, pcap, pcapng, tcp_segments
from support.records import check_answered, check_complete

EXACT = ["chrome-120-linux", "chrome-83-windows", "edge-106-windows", "firefox-120-windows", "firefox-56-windows",
         "safari-17-macos", "ios-14-iphone", "ios-12-iphone"]


def captured(hotfleet, certificates, profile):
    """The record and the HTTP/2 bytes that a run under the profile sends."""
    capture = Capture(certificates)
    hotfleet([f"https://a.site.test:{capture.port}/"], "--profile", profile, "--retry", "0", "--request-timeout", "5s",
             "--resolve", f"a.site.test:{capture.port}:127.0.0.1")
    capture.wait()
    return capture.hello, capture.http2


def without_language(value):
    """Header fields but for the value of Accept-Language, which each connection draws."""
    if not isinstance(value, list):
        return value
    return ["Accept-Language" if str(v).startswith("Accept-Language:") else v for v in value]


@pytest.fixture(scope="module")
def sample(tmp_path_factory, certificates):
    """One capture of Chrome 120 for the tests that look at forms alone."""
    from support.fleet import Hotfleet
    fleet = Hotfleet(tmp_path_factory.mktemp("capture"), certificates.root)
    yield captured(fleet, certificates, "chrome-120-linux")
    fleet.clean_up()


def import_file(hotfleet, content, *more, name="hello.bin"):
    return hotfleet.command("profiles", "import", hotfleet.write(name, content), *more)


def show(hotfleet, name, *more):
    return json.loads(hotfleet.command("profiles", "show", name, *more).stdout)


def check(hotfleet, name, *more):
    run = hotfleet.command("profiles", "check", "--json", name, *more)
    return run.exit, json.loads(run.stdout)


@pytest.mark.parametrize("profile", EXACT)
def test_import_of_what_a_profile_sends_is_that_profile(hotfleet, certificates, profile):
    hello, http2 = captured(hotfleet, certificates, profile)
    http2_file = hotfleet.write("http2.bin", http2)
    run = import_file(hotfleet, hello, "--http2", http2_file, "--name", "mine")
    assert run.exit == 0, run.stderr
    hotfleet.write("own/mine.toml", run.stdout)
    made = show(hotfleet, "mine", "--profiles", "own")
    known = show(hotfleet, profile)
    for key in ("ja3n", "ja4", "http2", "permuted", "user_agent", "headers"):
        assert without_language(made[key]) == without_language(known[key]), key
    if not known["permuted"]:
        assert made["ja3"] == known["ja3"]
    code, checked = check(hotfleet, "mine", "--profiles", "own")
    _, original = check(hotfleet, profile)
    assert code == 0 and checked["grade"] == original["grade"] == "exact"
    for key in ("ja3n", "ja4", "http2"):
        assert checked[key]["sent"] == original[key]["sent"]


def test_import_of_a_hello_that_lacks_a_group_is_that_hello(hotfleet, certificates):
    hello, http2 = captured(hotfleet, certificates, "chrome-133-windows")
    run = import_file(hotfleet, hello, "--http2", hotfleet.write("http2.bin", http2))
    hotfleet.write("own/x.toml", run.stdout)
    code, checked = check(hotfleet, "imported", "--profiles", "own")
    known = show(hotfleet, "chrome-133-windows")
    assert code == 0 and checked["ja4"]["sent"] == known["ja4"] and checked["http2"]["sent"] == known["http2"]


def test_nothing_of_the_connection_is_copied(hotfleet, sample):
    text = import_file(hotfleet, sample[0]).stdout.decode()
    hello = sample[0]
    assert hello[11:43].hex() not in text and hello[44:76].hex() not in text
    assert '"10 groups GREASE 001d 0017 0018"' in text and '"51 shares GREASE 001d"' in text
    assert '"65037 ech"' in text and '"0 copy"' in text and '"35 copy"' in text and "site.test" not in text


def forms(record):
    whole = [ip_packet(*part) for part in tcp_segments(record, [100, 7])]
    six = [ip_packet(*part, version=6) for part in tcp_segments(record, [1])]
    first, second, third = tcp_segments(record, [200, 200], first=0xffffff80)
    retransmitted = [ip_packet(*part) for part in (first, first, (first[0], record[:300]), second, third)]
    other = [ip_packet(5, b"GET / HTTP/1.1\r\n\r\n", source_port=1), ip_packet(5, b"\x16\x03\x01\0\1\2", source_port=2)]
    body = record[5:]
    split = b"".join(b"\x16\3\1" + len(part).to_bytes(2, "big") + part for part in (body[:50], body[50:]))
    text = record.hex()
    return {
        "record": record, "message": body, "records": split, "trailing": record + b"\x14\3\3\0\1\1",
        "hex": text.encode(), "upper hex": text.upper().encode() + b"\r\n",
        "colons": ":".join(text[i:i + 2] for i in range(0, len(text), 2)).encode(),
        "lines": "\n".join(text[i:i + 32] for i in range(0, len(text), 32)).encode() + b"\n",
        "ethernet": pcap(1, whole), "big-endian": pcap(1, whole, ">"), "raw": pcap(101, six), "cooked": pcap(113, whole),
        "cooked 2": pcap(276, six), "loopback": pcap(0, whole), "loop": pcap(108, six), "pcapng": pcapng(1, whole),
        "big-endian pcapng": pcapng(113, six, ">"), "retransmitted": pcap(1, other + retransmitted + other),
    }


def test_every_form_of_a_capture_gives_the_same_profile(hotfleet, sample):
    wanted = import_file(hotfleet, sample[0]).stdout
    assert b"[hello]" in wanted
    for name, content in forms(sample[0]).items():
        run = import_file(hotfleet, content)
        assert run.exit == 0 and run.stdout == wanted, (name, run.stderr)


def test_captures_without_a_whole_hello_are_refused(hotfleet, sample):
    record = sample[0]
    parts = [ip_packet(*part) for part in tcp_segments(record, [100, 100])]
    bad = {"empty": b"", "text": b"hello", "server": b"\x16\3\3\0\4\2\0\0\0", "odd hex": record.hex()[:-1].encode(),
           "cut": record[:-1], "cut hex": record[:200].hex().encode(), "gap": pcap(1, [parts[0], parts[2]]),
           "reordered": pcap(1, [parts[0], parts[2], parts[1]]), "no packets": pcap(1, []),
           "unknown link": pcap(1, parts).replace(b"\xff\xff\0\0\1\0\0\0", b"\xff\xff\0\0\x63\0\0\0", 1),
           "large": record + bytes(17 << 20)}
    for name, content in bad.items():
        run = import_file(hotfleet, content)
        assert run.exit == 2 and not run.stdout and "hello.bin" in run.stderr, name
    assert hotfleet.command("profiles", "import", "missing").exit == 2
    assert hotfleet.command("profiles", "import").exit == 2
    assert import_file(hotfleet, record, "--name", "no good").exit == 2


def test_http2_in_hexadecimal_or_none_at_all(hotfleet, sample):
    hello, http2 = sample
    raw = import_file(hotfleet, hello, "--http2", hotfleet.write("a", http2))
    text = import_file(hotfleet, hello, "--http2", hotfleet.write("b", http2.hex()))
    assert raw.exit == 0 and raw.stdout == text.stdout
    none = import_file(hotfleet, hello)
    assert none.exit == 0 and b"Not captured" in none.stdout and b"Not captured" not in raw.stdout
    assert import_file(hotfleet, hello, "--http2", hotfleet.write("c", b"GET / HTTP/1.1\r\n\r\n" * 3)).exit == 2
    assert import_file(hotfleet, hello, "--http2", hotfleet.write("d", http2[:30])).exit == 2


def test_own_profile_is_added_or_stands_for_the_one_of_its_name(hotfleet, nginx, sample):
    hotfleet.write("own/a.toml", import_file(hotfleet, sample[0], "--name", "newest").stdout)
    text = import_file(hotfleet, sample[0], "--name", "firefox-auto").stdout
    hotfleet.write("own/b.toml", text)
    hotfleet.write("own/notes.txt", "no profile")
    names = [json.loads(line)["name"] for line in
             hotfleet.command("profiles", "list", "--json", "--profiles", "own").stdout.splitlines()]
    known = [json.loads(line)["name"] for line in hotfleet.command("profiles", "list", "--json").stdout.splitlines()]
    assert names == [*known[:known.index("randomized")], "newest", *known[known.index("randomized"):]]
    chrome = show(hotfleet, "chrome-120-linux")
    assert show(hotfleet, "firefox-auto", "--profiles", "own")["ja4"] == chrome["ja4"]
    assert show(hotfleet, "firefox-auto")["ja4"] != chrome["ja4"]
    urls = [f"https://127.0.0.1:{nginx.port[name]}/1k" for name in ("h2", "https", "h2_tls12") for _ in range(3)]
    for record in check_complete(hotfleet(urls, "--profiles", "own", "--profile", "newest", "--retry", "0"), 9).values():
        assert check_answered(record)["profile"] == "newest"
    assert hotfleet(["http://127.0.0.1/"], "--profile", "newest").exit == 2


@pytest.mark.parametrize("old,new,where", [
    (b"[http2]\n", b"[http2]\nwrong = 1\n", None), (b"[hello]\n", b"[hello]\nciphers = 1\n", None),
    (b'"10 groups', b'"10 raw', None), (b'"51 shares', b'"51 copy', ", line 1, column 1: "),
    (b'"35 copy"', b'"41 copy"', ", line 1, column 1: "), (b'"35 copy"', b'"0 copy"', ", line 1, column 1: "),
    (b"[hello]\n", b"[other]\n", None), (b'user_agent = "', b'user_agent = "\\u000d\\u000aX: y', None),
    (b'name = "imported"', b'name = "imported"\nhello = "chrome-120"', None),
    (b'name = "imported"', b'name = "none"', "none"),
])
def test_bad_own_profile_is_told_by_file_line_and_column(hotfleet, sample, old, new, where):
    good = import_file(hotfleet, sample[0]).stdout
    assert good.count(old) == 1
    hotfleet.write("own/bad.toml", good.replace(old, new))
    for run in (hotfleet(["http://127.0.0.1/"], "--profiles", "own"),
                hotfleet.command("profiles", "list", "--profiles", "own"),
                hotfleet.command("config", "check", "--profiles", "own")):
        assert run.exit == 2 and "own/bad.toml" in run.stderr and (where or "line ") in run.stderr, run.stderr


def test_folder_that_is_not_there_is_a_usage_error(hotfleet):
    run = hotfleet(["http://127.0.0.1/"], "--profiles", "nowhere")
    assert run.exit == 2 and "nowhere" in run.stderr
