"""The hostile servers do what they say: without this a passing test of hotfleet could rest on a tame one."""
import json
import select
import socket
import ssl
import struct
import subprocess
import time

import pytest

from support.origins import wait_until


TCP_CLOSE_WAIT = 8


def tcp_state(sock, seconds):
    """The kernel's state of the connection once there is something to read."""
    select.select([sock], [], [], seconds)
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]


def talk(port, request, tls=None, seconds=1.0):
    """(bytes received, how it ended): "fin", "reset", "cut" (FIN without close_notify) or "open"."""
    data, deadline = b"", time.monotonic() + seconds
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as sock:
        if tls:
            sock = tls.wrap_socket(sock, server_hostname="127.0.0.1", suppress_ragged_eofs=False)
        try:
            sock.sendall(request)
            while time.monotonic() < deadline:
                # Taken before the read: OpenSSL answers a cut with an alert, and that is answered with RST.
                state = tcp_state(sock, seconds)
                part = sock.recv(65536)
                if not part:
                    return data, "fin"
                data += part
            return data, "open"
        except ssl.SSLError:
            return data, "cut" if state == TCP_CLOSE_WAIT else "reset"
        except ConnectionResetError:
            return data, "reset"
        except TimeoutError:
            return data, "open"


def get(origin, path, method="GET", port="http", tls=None, seconds=1.0):
    return talk(origin.port[port], f"{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode(), tls, seconds)


@pytest.fixture
def tls(certificates):
    context = ssl.create_default_context(cafile=certificates.root)
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    return context


def curl(*arguments):
    return subprocess.run(["curl", "-s", "-m", "2", *arguments], capture_output=True, timeout=5)


@pytest.mark.parametrize("path, content", [
    ("/ok", b"\r\n\r\nok"), ("/bytes/20", b"\r\n\r\n0123456789abcdef0123"), ("/interim/2", b"\r\n\r\nok"),
    ("/trailers", b"X-Sum: 17"), ("/status/404", b"HTTP/1.1 404"), ("/lf-only", b"OK\nContent-Length"),
    ("/stray/beside", b"okHTTP/1.1 299"), ("/stray/after?ms=1", b"okHTTP/1.1 299"), ("/length/long", b"Length: 50\r\n"),
    ("/chunks/bare-lf", b"4\nwiki\n"), ("/head/obs-fold", b"\r\n two"), ("/redirect/3", b"Location: /redirect/2?ms=0"),
])
def test_answers_stay_open_after(origin, path, content):
    data, end = get(origin, path, seconds=0.1)
    assert content in data and end == "open"


@pytest.mark.parametrize("path, end", [
    ("/fin/none", "fin"), ("/fin/head", "fin"), ("/fin/body", "fin"), ("/rst/none", "reset"), ("/rst/head", "reset"),
    ("/rst/body", "reset"), ("/close-delimited/100", "fin"), ("/http10/100", "fin"), ("/last", "fin"), ("/race", "fin"),
    ("/silent", "open"), ("/stall/head", "open"), ("/stall/body", "open"), ("/drip/10", "open"),
])
def test_answers_end_as_named(origin, path, end):
    assert get(origin, path, seconds=0.2)[1] == end


@pytest.mark.parametrize("path, end", [("/cut/body", "cut"), ("/cut/until-close", "cut"), ("/fin/body", "fin"),
                                       ("/rst/body", "reset"), ("/close-delimited/100", "fin")])
def test_tls_answers_end_as_named(origin, tls, path, end):
    assert get(origin, path, port="https", tls=tls)[1] == end


@pytest.mark.parametrize("path", ["/interim-endless", "/head-drip?ms=0", "/head-giant"])
def test_endless_answers_are_large(origin, path):
    assert len(get(origin, path, seconds=0.3)[0]) > 10000


def test_head_and_204_have_no_body(origin):
    assert get(origin, "/bytes/20", method="HEAD", seconds=0.1)[0].endswith(b"Content-Length: 20\r\n\r\n")
    assert get(origin, "/status/204", seconds=0.1)[0].endswith(b"\r\n\r\n")


def test_flaky_and_limit_count_by_target(origin):
    assert [get(origin, "/flaky/none?n=2", seconds=0.1)[1] for _ in range(3)] == ["reset", "reset", "open"]
    statuses = [get(origin, "/limit/503?n=2&after=1", seconds=0.1)[0][9:12] for _ in range(3)]
    assert statuses == [b"503", b"503", b"200"]


@pytest.mark.parametrize("port, end", [("silence", "open"), ("tls_stall", "open"), ("tls_alert", "fin"),
                                       ("tls_close", "fin"), ("tls_reset", "reset"), ("accept_reset", "reset")])
def test_ports_behave_as_named(origin, port, end):
    try:
        assert talk(origin.port[port], b"hello", seconds=0.2)[1] == end
    except ConnectionResetError:
        assert end == "reset"


def test_refused_port_refuses(origin):
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", origin.port["refused"]), timeout=1)


def test_syn_drop_port_never_answers(origin):
    for _ in range(3):
        with pytest.raises(TimeoutError):
            socket.create_connection(("127.0.0.1", origin.port["syn_drop"]), timeout=0.3)


def test_log_tells_connections_requests_and_peak(origin):
    held = [socket.create_connection(("127.0.0.1", origin.port["http"])) for _ in range(5)]
    assert origin.wait_for(lambda o: o.open_now("http") == 5)
    for sock in held[:3]:
        sock.close()
    assert origin.wait_for(lambda o: o.open_now("http") == 2)
    get(origin, "/echo?x=1", seconds=0.1)
    assert origin.peak("http") == 5
    assert [r["target"] for r in origin.requests()] == ["/echo?x=1"]
    for sock in held:
        sock.close()
    assert origin.wait_for(lambda o: o.open_now("http") == 0)


# Where two codes stand, the second is that of curl 8.14.
@pytest.mark.parametrize("path, exit_codes", [
    ("ok", [0]), ("bytes/300000", [0]), ("trailers", [0]), ("interim/3", [0]), ("padded", [0]), ("unknown-frame", [0]),
    ("empty-data", [0]), ("goaway?n=1", [16, 0]), ("goaway-then-answer", [0]), ("rst?code=2", [92]), ("rst-in-body", [92]),
    ("cut", [18, 56]), ("close", [18, 56]), ("length/short", [92]), ("length/end-in-head", [92]), ("bad/two-statuses", [92]),
    ("bad/data-before-headers", [52, 16]), ("bomb/continuation", [56, 16]), ("ping-flood", [0, 16]),
    ("settings-flood", [0, 16]),
])
def test_h2_answers_as_curl_sees_them(h2origin, certificates, path, exit_codes):
    run = curl("--cacert", certificates.root, "-o", "/dev/null", h2origin.url("/" + path, "h2"))
    assert run.returncode in exit_codes


def test_h2_origin_survives_its_own_floods(h2origin, certificates):
    for path in ("bomb/empty-continuation", "empty-flood", "interim-endless", "beyond-window"):
        curl("--cacert", certificates.root, "-m", "0.3", "-o", "/dev/null", h2origin.url("/" + path, "h2"))
    assert curl("--cacert", certificates.root, h2origin.url("/ok", "h2")).stdout == b"ok"


def test_h2_stream_limit_of_one_is_enforced_with_refusals(h2origin, certificates):
    subprocess.run(["nghttp", "-n", "-m", "5", h2origin.url("/slow?ms=20", "h2_one")], capture_output=True, timeout=5)
    assert h2origin.peak("streams") == 1
    assert len(h2origin.requests()) + len(h2origin.log("refused")) == 5


def test_h2_tiny_window_still_takes_an_upload(h2origin, certificates):
    run = curl("--cacert", certificates.root, "-d", "x" * 100, h2origin.url("/echo", "h2_tiny"))
    assert json.loads(run.stdout)["body"] == "x" * 100


def ask_dns(server, name, tcp=False):
    """(response code, number of answers, truncated) for an A question."""
    question = b"".join(bytes([len(l)]) + l.encode() for l in name.split(".")) + b"\0\0\1\0\1"
    message = b"\x12\x34\x01\0\0\1\0\0\0\0\0\0" + question
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.3)
        sock.connect(("127.0.0.1", server.port["dns"]))
        sock.send(struct.pack("!H", len(message)) + message if tcp else message)
        reply = sock.recv(65536)[2 if tcp else 0:]
    return reply[3] & 15, struct.unpack("!H", reply[6:8])[0], bool(reply[2] & 2)


def test_name_server_answers_by_zone(name_server):
    server = name_server({
        "a.test": {"A": ["127.0.0.1", "127.0.0.2"]}, "alias.test": {"CNAME": "a.test"}, "fail.test": {"rcode": 2},
        "big.test": {"A": [f"127.0.1.{i}" for i in range(200)]}, "mute.test": {"silent": True},
        "*.wild.test": {"A": ["127.0.0.3"]}, "tc.test": {"A": ["127.0.0.1"], "truncate": True}})
    assert ask_dns(server, "a.test") == (0, 2, False)
    assert ask_dns(server, "alias.test") == (0, 3, False)
    assert ask_dns(server, "fail.test") == (2, 0, False)
    assert ask_dns(server, "none.test") == (3, 0, False)
    assert ask_dns(server, "x.wild.test") == (0, 1, False)
    assert ask_dns(server, "tc.test") == (0, 0, True) and ask_dns(server, "tc.test", tcp=True) == (0, 1, False)
    assert ask_dns(server, "big.test") == (0, 0, True) and ask_dns(server, "big.test", tcp=True) == (0, 200, False)
    with pytest.raises(TimeoutError):
        ask_dns(server, "mute.test")
    assert wait_until(lambda: len(server.queries("a.test")) == 1)
