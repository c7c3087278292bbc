"""Browser profiles, seen from outside: the ClientHello that arrives, the HTTP/2 preface, the order of header fields."""
import hashlib
import json
import socket
import struct
import threading

import pytest

from support.records import check_answered, check_complete, check_failed
from support.servers import BAD_CERTIFICATES, Nghttpd

SOME = ["chrome-133-windows", "chrome-120-linux", "chrome-83-windows", "edge-auto", "firefox-120-macos", "firefox-56-windows",
        "safari-17-macos", "ios-12-iphone", "randomized"]
GREASE = {0x0a0a + 0x1010 * i for i in range(16)}


class Listener:
    """Takes one connection and the bytes that the client says first, answers nothing."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.seen = b""
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()

    def listen(self):
        self.socket.settimeout(20)
        client, _ = self.socket.accept()
        with client:
            client.settimeout(20)
            while not self.is_whole():
                piece = client.recv(65536)
                if not piece:
                    break
                self.seen += piece
        self.socket.close()

    def is_whole(self):
        if self.seen[:1] == b"\x16":
            return len(self.seen) >= 5 and len(self.seen) >= 5 + struct.unpack(">H", self.seen[3:5])[0]
        return self.seen.endswith(b"\r\n\r\n")

    def first_bytes(self):
        self.thread.join(20)
        return self.seen


def codes(data):
    return [code for code, in struct.iter_unpack(">H", data)]


def short_hash(text):
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def ja4_of(record):
    """JA4 of a hello without its padding, by the words of its specification."""
    hello = record[9:]
    at = 34 + 1 + hello[34]
    count = struct.unpack(">H", hello[at:at + 2])[0]
    ciphers = [code for code in codes(hello[at + 2:at + 2 + count]) if code not in GREASE]
    at += 2 + count
    at += 1 + hello[at] + 2
    extensions = {}
    while at < len(hello):
        kind, length = struct.unpack(">HH", hello[at:at + 4])
        extensions[kind] = hello[at + 4:at + 4 + length]
        at += 4 + length
    kinds = [kind for kind in extensions if kind not in GREASE and kind != 21]
    versions = [code for code in codes(extensions.get(43, b"\0\3\3")[1:]) if code not in GREASE]
    alpn = extensions.get(16)
    first = alpn[3:3 + alpn[2]].decode() if alpn else "00"
    signatures = ",".join(f"{code:04x}" for code in codes(extensions[13][2:]))
    hashed = ",".join(f"{kind:04x}" for kind in sorted(kinds) if kind not in (0, 16)) + "_" + signatures
    version = {0x304: "13", 0x303: "12"}[max(versions)]
    return (f"t{version}{'d' if 0 in extensions else 'i'}"
            f"{len(ciphers):02d}{len(kinds):02d}{first[0]}{first[-1]}"
            f"_{short_hash(','.join(f'{code:04x}' for code in sorted(ciphers)))}_{short_hash(hashed)}")


def show(hotfleet, name):
    return json.loads(hotfleet.command("profiles", "show", name).stdout)


@pytest.mark.parametrize("profile", [name for name in SOME if name != "randomized"])
def test_hello_that_arrives_is_the_browsers(hotfleet, profile):
    listener = Listener()
    hotfleet([f"https://a.test:{listener.port}/"], "--profile", profile, "--retry", "0", "--tls-timeout", "5s",
             "--resolve", f"a.test:{listener.port}:127.0.0.1")
    assert ja4_of(listener.first_bytes()) == show(hotfleet, profile)["ja4"]


def test_plain_hello_is_none_of_a_browser(hotfleet):
    listener = Listener()
    hotfleet([f"https://a.test:{listener.port}/"], "--profile", "chrome-133-windows", "--hello", "plain", "--retry", "0",
             "--tls-timeout", "5s", "--resolve", f"a.test:{listener.port}:127.0.0.1")
    assert ja4_of(listener.first_bytes()) != show(hotfleet, "chrome-133-windows")["ja4"]


@pytest.mark.parametrize("profile", SOME)
def test_every_kind_of_server_answers(hotfleet, nginx, profile):
    names = ["tls12", "https", "h2", "h2_tls12"]
    if profile not in ("firefox-56-windows", "ios-12-iphone"):
        names += ["tls13", "h2_tls13"]
    urls = [f"https://127.0.0.1:{nginx.port[name]}/1k" for name in names for _ in range(3)]
    for record in check_complete(hotfleet(urls, "--profile", profile, "--retry", "0"), len(urls)).values():
        assert check_answered(record)["profile"] == profile


@pytest.mark.parametrize("profile", ["chrome-133-windows", "firefox-120-macos", "ios-12-iphone"])
@pytest.mark.parametrize("kind", BAD_CERTIFICATES)
def test_bad_certificate_is_refused_under_a_profile(hotfleet, nginx, kind, profile):
    run = hotfleet([f"https://127.0.0.1:{nginx.port[kind]}/1k"], "--profile", profile, "--retry", "0")
    check_failed(check_complete(run, 1)[1], "cert-invalid")
    assert nginx.requests() == []


@pytest.mark.parametrize("profile", ["firefox-120-macos", "chrome-83-windows", "ios-14-iphone"])
def test_pushes_that_the_browser_allows_do_no_harm(hotfleet, certificates, start_server, profile):
    server = start_server(Nghttpd, certificates, 100, "--push=/1k=/1k,/1k")
    urls = [f"https://127.0.0.1:{server.port}/1k" for _ in range(50)]
    for record in check_complete(hotfleet(urls, "--profile", profile, "--retry", "0", "-w", "1"), 50).values():
        assert check_answered(record)["bytes_body"] == 1024


def test_header_fields_come_in_the_browsers_order(hotfleet):
    listener = Listener()
    hotfleet([f"http://127.0.0.1:{listener.port}/"], "--profile", "chrome-133-windows", "--retry", "0",
             "--request-timeout", "2s", "-H", "Accept-Language: fr", "-H", "X-Own: 1")
    lines = listener.first_bytes().decode().split("\r\n")
    names = [line.partition(":")[0].lower() for line in lines[2:-2]]
    assert names == ["sec-ch-ua", "sec-ch-ua-mobile", "sec-ch-ua-platform", "upgrade-insecure-requests", "user-agent", "accept",
                     "sec-fetch-site", "sec-fetch-mode", "sec-fetch-user", "sec-fetch-dest", "accept-encoding",
                     "accept-language", "priority", "x-own"]
    assert "Accept-Language: fr" in lines


def test_check_finds_every_profile_as_it_should_be(hotfleet):
    run = hotfleet.command("profiles", "check", "--json")
    found = {line["name"]: line for line in map(json.loads, run.stdout.splitlines())}
    assert run.exit == 0 and len(found) == 33, run.stderr
    for name, line in found.items():
        lacking = name.startswith(("chrome-115pq", "chrome-13", "chrome-auto"))
        assert line["grade"] in (("partial", "exact") if lacking else ("exact",)), line
        assert line["ja4"]["same"] and line["http2"]["same"], line
        assert lacking or (line["ja3n"]["same"] and line["ja3"].get("same", True)), line


def test_check_tells_a_hello_that_is_not_the_browsers(hotfleet):
    run = hotfleet.command("profiles", "check", "firefox-120-windows", env={"HOTFLEET_TLS_HELLO": "plain"})
    assert run.exit == 1 and b"firefox-120-windows: plain" in run.stdout and b"DIFFERENT" in run.stdout


def test_check_of_no_profile_is_a_usage_error(hotfleet):
    assert hotfleet.command("profiles", "check", "netscape-4").exit == 2
    assert hotfleet.command("profiles", "check", "randomized").exit == 2


def test_list_and_show_agree(hotfleet):
    listed = [json.loads(line) for line in hotfleet.command("profiles", "list", "--json").stdout.splitlines()]
    assert len(listed) == 36
    for line in listed[::7]:
        shown = show(hotfleet, line["name"])
        assert {key: shown[key] for key in line} == line
    assert hotfleet.command("profiles", "show", "netscape-4").exit == 2


def test_profile_that_is_none_is_a_usage_error(hotfleet):
    run = hotfleet(["http://127.0.0.1/"], "--profile", "netscape-4")
    assert run.exit == 2 and "profiles list" in run.stderr
