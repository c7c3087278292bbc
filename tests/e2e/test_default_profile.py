"""What a run without --profile shows: a browser that is drawn for each connection, whatever the connection is for."""
import json

import pytest

from support.origins import wait_until
from support.records import check_answered, check_complete
from test_profiles import Listener, ja4_of, show

CONNECTIONS = 1611
PROFILES = 30
# Of chi-square with 29 degrees of freedom; passed once in some 30,000 times.
EVEN = 70


@pytest.fixture
def hotfleet(hotfleet):
    hotfleet.flags = []
    return hotfleet


def fetch(hotfleet, lines, *flags):
    return check_complete(hotfleet(lines, "--retry", "0", *flags), len(lines))


def fields(request):
    """What the browser had to say of a request, in order."""
    return [(name.lower(), value) for name, value in request["headers"] if name[0] != ":" and name.lower() != "host"]


def agents_of(hotfleet, records):
    """{User-Agent: profile} of those that the records name."""
    return {show(hotfleet, name)["user_agent"]: name for name in {record["profile"] for record in records}}


def chi_square(counts, total):
    expected = total / PROFILES
    return sum((count - expected) ** 2 / expected for count in counts)


def test_connections_to_a_server_of_http_1_1_alone_use_all_evenly_and_none_fails(hotfleet, nginx):
    urls = [f"https://127.0.0.1:{nginx.port['https']}/1k"] * (2 * CONNECTIONS)
    records = fetch(hotfleet, urls, "-w", "2", "--max-lifetime", "1ms", "--max-conns-per-host", "50")
    drawn = {}
    for record in records.values():
        assert check_answered(record)["http_version"] == "1.1" and record["attempts"] == 1
        drawn[record["worker"], record["conn_id"]] = record["profile"]
    assert len(drawn) >= CONNECTIONS
    names = list(drawn.values())
    assert len(set(names)) == PROFILES and not any(name.startswith("randomized") for name in names)
    assert chi_square([names.count(name) for name in set(names)], len(names)) < EVEN


@pytest.mark.parametrize("port", ["h2_tls12", "h2_tls13"])
def test_no_draw_fails_at_one_version_of_tls(hotfleet, nginx, port):
    urls = [f"https://127.0.0.1:{nginx.port[port]}/1k"] * 300
    records = fetch(hotfleet, urls, "-w", "2", "--max-lifetime", "1ms", "--max-streams-per-conn", "1")
    assert all(check_answered(record)["http_version"] == "2" for record in records.values())
    assert len({record["profile"] for record in records.values()}) > PROFILES / 2


def test_host_of_one_connection_sees_one_browser(hotfleet, origin):
    records = fetch(hotfleet, [origin.url(f"/ok?{n}", "https") for n in range(200)], "--max-conns-per-host", "1", "-w", "2")
    assert len({(record["conn_id"], record["profile"]) for record in records.values()}) == 1
    assert len({tuple(fields(request)) for request in origin.requests()}) == 1


@pytest.mark.parametrize("server, port", [("origin", "http"), ("origin", "https"), ("h2origin", "h2")])
def test_own_fields_win_and_the_rest_stays_the_browsers(hotfleet, request, server, port):
    server = request.getfixturevalue(server)
    flags = ("-A", "mine/1.0", "-H", "accept-language: fr", "-H", "X-Own: 1")
    record = check_answered(fetch(hotfleet, [server.url("/ok", port)], *flags)[1])
    wanted = [tuple(line.split(": ", 1)) for line in show(hotfleet, record["profile"])["headers"]]
    own = {"user-agent": "mine/1.0", "accept-language": "fr"}
    wanted = [(name.lower(), own.get(name.lower(), value)) for name, value in wanted]
    assert fields(server.requests()[0]) == [*wanted, ("x-own", "1")]


@pytest.mark.parametrize("server, port", [("origin", "http"), ("origin", "https"), ("h2origin", "h2")])
def test_test_of_a_connection_looks_as_its_request(hotfleet, request, server, port):
    server = request.getfixturevalue(server)
    record = check_answered(fetch(hotfleet, [server.url("/ok", port)], "--validate")[1])
    test, real = server.requests()
    assert (test["method"], real["method"]) == ("HEAD", "GET") and fields(test) == fields(real)
    assert dict(fields(real))["user-agent"] == show(hotfleet, record["profile"])["user_agent"]


def test_probe_looks_as_the_connections_requests(hotfleet, origin):
    running = hotfleet.start("-w", "1", "--health-check-interval", "200ms")
    running.feed(origin.url("/ok", "https"))
    running.wait_for_records(1)
    assert wait_until(lambda: any(r["method"] == "HEAD" for r in origin.requests()))
    record = check_answered(check_complete(running.finish(), 1)[1])
    assert {dict(fields(r))["user-agent"] for r in origin.requests()} == {show(hotfleet, record["profile"])["user_agent"]}


def test_connections_made_ahead_are_drawn_too(hotfleet, origin):
    running = hotfleet.start("-w", "1", "--prewarm", origin.url("/", "https", "localhost")[:-1] + "=10",
                             "--max-idle-conns", "20")
    assert wait_until(lambda: len(origin.log("tls", listener="https")) == 10)
    running.feed(*[origin.url(f"/slow?ms=500&n={n}", "https", "localhost") for n in range(10)])
    records = check_complete(running.finish(), 10).values()
    agents = agents_of(hotfleet, records)
    assert len(agents) > 1 and {dict(fields(r))["user-agent"] for r in origin.requests()} == set(agents)
    assert len(origin.log("tls", listener="https")) == 10


@pytest.mark.parametrize("flags, alpn", [((), "h2"), (("--http-version", "2"), "h2"), (("--http-version", "1.1"), "h1"),
                                         (("--raw-request", "raw"), "h1")])
def test_hello_is_a_browsers_but_for_the_version_that_is_asked_for(hotfleet, flags, alpn):
    hotfleet.write("raw", b"GET /raw HTTP/1.1\r\nHost: a\r\n\r\n")
    listener = Listener()
    hotfleet([f"https://a.test:{listener.port}/"], "--retry", "0", "--tls-timeout", "5s", *flags,
             "--resolve", f"a.test:{listener.port}:127.0.0.1")
    names = [json.loads(line)["name"] for line in hotfleet.command("profiles", "list", "--json").stdout.splitlines()]
    shown = [show(hotfleet, name) for name in names]
    # Without HTTP/2 there is no ALPS either, so the extensions may differ.
    kind, ciphers, _ = ja4_of(listener.first_bytes()).split("_")
    assert kind[-2:] == alpn and ciphers in {profile["ja4"].split("_")[1] for profile in shown if not profile["drawn"]}


def test_raw_request_gets_none_of_the_browsers_fields(hotfleet, origin):
    path = hotfleet.write("raw", b"GET /echo HTTP/1.1\r\nHost: a\r\nX-Own: 1\r\n\r\n")
    record = check_answered(fetch(hotfleet, [origin.url("/", "https")], "--raw-request", path)[1])
    assert record["profile"] in agents_of(hotfleet, [record]).values()
    assert fields(origin.requests()[0]) == [("x-own", "1")]


@pytest.mark.parametrize("flags", [(), ("--compressed",)])
def test_browser_asks_for_codings_and_the_body_is_the_same(hotfleet, origin, nginx, flags):
    record = check_answered(fetch(hotfleet, [origin.url("/ok")], *flags)[1])
    asked = dict(fields(origin.requests()[0]))["accept-encoding"]
    assert "Accept-Encoding: " + asked in show(hotfleet, record["profile"])["headers"]
    url = f"https://127.0.0.1:{nginx.port['h2']}/packed/64k"
    packed = check_answered(fetch(hotfleet, [url], "--hash", *flags)[1])
    plain = check_answered(fetch(hotfleet, [url], "--hash", "--profile", "none")[1])
    assert packed["bytes_wire"] < 2000 and packed["bytes_body"] == plain["bytes_wire"] == 65536
    assert packed["hash"] == plain["hash"]


def test_none_says_what_it_is(hotfleet, h2origin):
    record = check_answered(fetch(hotfleet, [h2origin.url("/ok", "h2")], "--profile", "none")[1])
    name = hotfleet.command("version").stdout.decode().strip().replace(" ", "/")
    assert "profile" not in record and fields(h2origin.requests()[0]) == [("user-agent", name), ("accept", "*/*")]
