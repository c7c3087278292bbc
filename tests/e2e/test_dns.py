"""Names to addresses: in the coordinator alone, once per name for the whole fleet (C1, C2, C4, B3)."""
import collections
import time

import pytest

from support.origins import wait_until
from support.records import check_answered, check_complete, check_failed

FAST = ("--retry", "0")


def types_asked(server, name):
    return collections.Counter(q["type"] for q in server.queries(name))


def test_one_query_per_name_for_the_whole_fleet(hotfleet, origin, name_server):
    server = name_server({"*.test": {"A": ["127.0.0.1"], "ttl": 300}})
    urls = [origin.url(f"/bytes/{n}", host=f"h{n % 5}.test") for n in range(200)]
    records = check_complete(hotfleet(urls, "-w", "8", "--resolvers", server.resolver), 200)
    assert all(check_answered(r) for r in records.values())
    for n in range(5):
        asked = types_asked(server, f"h{n}.test")
        assert asked["A"] == 1 and asked["AAAA"] <= 1, asked


def test_failure_is_cached_too(hotfleet, origin, name_server):
    server = name_server({"broken.test": {"rcode": 2}})
    running = hotfleet.start(*FAST, "--resolvers", server.resolver)
    for name in ("nobody.test", "broken.test"):
        running.feed(*[origin.url(f"/{n}", host=name) for n in range(10)])
    running.wait_for_records(20)
    asked = len(server.queries())
    for name in ("nobody.test", "broken.test"):
        running.feed(origin.url("/again", host=name))
    records = check_complete(running.finish(), 22)
    assert {r["error_code"] for r in records.values()} == {"dns-nxdomain", "dns-servfail"}
    assert types_asked(server, "nobody.test")["A"] == 1
    assert len(server.queries()) == asked


def test_answer_outlives_the_run_in_the_state(hotfleet, origin, name_server):
    server = name_server({"a.test": {"A": ["127.0.0.1"], "ttl": 300}})
    flags = ("--resolvers", server.resolver, "--state", hotfleet.directory + "/state")
    for _ in range(2):
        check_answered(check_complete(hotfleet([origin.url("/ok", host="a.test")], *flags), 1)[1])
    assert types_asked(server, "a.test")["A"] == 1


def test_answer_is_asked_again_after_its_ttl(hotfleet, origin, name_server):
    server = name_server({"a.test": {"A": ["127.0.0.1"], "ttl": 1}})
    running = hotfleet.start("--resolvers", server.resolver, "--dns-ttl-min", "0")
    running.feed(origin.url("/ok", host="a.test"))
    running.wait_for_records(1)
    time.sleep(1.3)
    running.feed(origin.url("/ok", host="a.test"))
    check_complete(running.finish(), 2)
    assert types_asked(server, "a.test")["A"] == 2


def test_connections_follow_the_addresses_of_the_name(hotfleet, origin, name_server):
    """The name moves while its connection is hot: what runs is finished, the old connection goes, the new address serves."""
    server = name_server({"a.test": {"A": ["127.0.0.1"], "ttl": 1, "then": {"A": ["127.0.0.2"], "ttl": 300}}})
    running = hotfleet.start("-w", "1", "--resolvers", server.resolver, "--dns-ttl-min", "0")
    for _ in range(2):
        running.feed(origin.url("/ok", host="a.test"))
        running.wait_for_records(1)
    time.sleep(1.3)
    running.feed(origin.url("/slow?ms=300", host="a.test"))
    assert wait_until(lambda: types_asked(server, "a.test")["A"] == 2)
    running.wait_for_records(3)
    running.feed(origin.url("/ok", host="a.test"))
    running.wait_for_records(4)
    open_to_old = [note for note in origin.log("open") if note["local"] == "127.0.0.1"]
    closed = {note["conn"] for note in origin.log("close")}
    records = check_complete(running.finish(), 4)
    assert [check_answered(records[n])["host_ip"] for n in (1, 2, 4)] == ["127.0.0.1", "127.0.0.1", "127.0.0.2"]
    assert open_to_old and {note["conn"] for note in open_to_old} <= closed, "before the run ended"


def test_every_address_is_used(hotfleet, origin, name_server):
    addresses = ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"]
    server = name_server({"many.test": {"A": addresses}})
    urls = [origin.url(f"/slow?ms=20&n={n}", host="many.test") for n in range(80)]
    flags = ("-w", "4", "--max-conns-per-host", "8", "--resolvers", server.resolver)
    records = check_complete(hotfleet(urls, *flags), 80)
    opened = collections.Counter(note["local"] for note in origin.log("open"))
    assert set(opened) == set(addresses)
    assert {r["host_ip"] for r in records.values()} == set(addresses)
    assert max(opened.values()) - min(opened.values()) <= 2, opened


def test_both_families_are_one_pool(hotfleet, origin, name_server):
    server = name_server({"both.test": {"A": ["127.0.0.1"], "AAAA": ["::1"]}})
    urls = [origin.url(f"/slow?ms=20&n={n}", host="both.test") for n in range(40)]
    check_complete(hotfleet(urls, "--max-conns-per-host", "4", "--resolvers", server.resolver), 40)
    assert {note["local"] for note in origin.log("open")} == {"127.0.0.1", "::1"}


@pytest.mark.parametrize("flag, address, asked", [("-4", "127.0.0.1", "A"), ("-6", "::1", "AAAA"),
                                                  ("--ipv4", "127.0.0.1", "A"), ("--ipv6", "::1", "AAAA")])
def test_one_family_on_request(hotfleet, origin, name_server, flag, address, asked):
    server = name_server({"both.test": {"A": ["127.0.0.1"], "AAAA": ["::1"]}})
    urls = [origin.url(f"/slow?ms=5&n={n}", host="both.test") for n in range(10)]
    records = check_complete(hotfleet(urls, flag, "--resolvers", server.resolver), 10)
    assert {r["host_ip"] for r in records.values()} == {address}
    assert set(types_asked(server, "both.test")) == {asked}


def test_name_without_address_of_the_family_is_nxdomain(hotfleet, origin, name_server):
    server = name_server({"four.test": {"A": ["127.0.0.1"]}})
    result = hotfleet([origin.url("/ok", host="four.test")], "-6", "--resolvers", server.resolver)
    check_failed(check_complete(result, 1)[1], "dns-nxdomain")


@pytest.mark.parametrize("entry, code", [
    ({"rcode": 2}, "dns-servfail"), ({"rcode": 5}, "dns-servfail"), ({"rcode": 4}, "dns-servfail"),
    ({"rcode": 3}, "dns-nxdomain"), ({}, "dns-nxdomain"), ({"silent": True}, "dns-timeout"),
    ({"wrong_id": True, "A": ["127.0.0.1"]}, "dns-timeout"), ({"CNAME": "a.test"}, "dns-nxdomain"),
])
def test_failures_have_their_own_codes(hotfleet, origin, name_server, entry, code):
    server = name_server({"a.test": entry})
    flags = ("--resolvers", server.resolver, "--dns-timeout", "700ms", *FAST)
    result = hotfleet([origin.url("/ok", host="a.test")], *flags)
    check_failed(check_complete(result, 1)[1], code)
    assert result.seconds < 4 and origin.log("open") == []


def test_garbage_from_the_name_server_is_a_failure(hotfleet, origin, name_server):
    server = name_server({"a.test": {"garbage": True}})
    flags = ("--resolvers", server.resolver, "--dns-timeout", "700ms", *FAST)
    result = hotfleet([origin.url("/ok", host="a.test")], *flags)
    check_failed(check_complete(result, 1)[1], "dns-servfail", "dns-timeout")


def test_truncated_answer_is_asked_again_over_tcp(hotfleet, origin, name_server):
    server = name_server({"big.test": {"A": ["127.0.0.2"], "truncate": True}})
    record = check_complete(hotfleet([origin.url("/ok", host="big.test")], "--resolvers", server.resolver), 1)[1]
    assert check_answered(record)["host_ip"] == "127.0.0.2"
    assert "tcp" in {q["over"] for q in server.queries("big.test")}


def test_two_hundred_addresses(hotfleet, origin, name_server):
    server = name_server({"big.test": {"A": [f"127.0.1.{n}" for n in range(1, 201)]}})
    urls = [origin.url(f"/last?{n}", host="big.test") for n in range(400)]
    flags = ("--resolvers", server.resolver, "--max-conns-per-host", "20")
    records = check_complete(hotfleet(urls, *flags), 400)
    used = collections.Counter(check_answered(r)["host_ip"] for r in records.values())
    assert len(used) == 200 and max(used.values()) <= 4


def test_next_resolver_is_asked_when_one_is_silent(hotfleet, origin, name_server):
    silent = name_server({"*.test": {"silent": True}})
    good = name_server({"a.test": {"A": ["127.0.0.1"]}})
    flags = ("--resolvers", silent.resolver, "--resolvers", good.resolver, "--dns-timeout", "4s")
    check_answered(check_complete(hotfleet([origin.url("/ok", host="a.test")], *flags), 1)[1])
    assert silent.queries("a.test") or good.queries("a.test")


def test_dead_resolver_ends_in_time(hotfleet, origin):
    flags = ("--resolvers", f"127.0.0.1:{origin.port['refused']}", "--dns-timeout", "700ms", *FAST)
    result = hotfleet([origin.url("/ok", host="a.test")], *flags)
    check_failed(check_complete(result, 1)[1], "dns-timeout", "dns-servfail")
    assert result.seconds < 4


def test_slow_name_holds_no_other_up(hotfleet, origin, name_server):
    server = name_server({"slow.test": {"A": ["127.0.0.1"], "delay_ms": 1500}, "quick.test": {"A": ["127.0.0.1"]}})
    running = hotfleet.start("--resolvers", server.resolver, "--dns-timeout", "5s")
    running.feed(origin.url("/ok", host="slow.test"), origin.url("/ok", host="quick.test"))
    assert running.wait_for_records(1)[0]["host"] == "quick.test"
    records = check_complete(running.finish(), 2)
    assert float(records[2]["time"].removesuffix("ms")) < 1000


@pytest.mark.parametrize("resolver", ["nonsense", "127.0.0.1:99999", "[::1"])
def test_bad_resolver_is_a_usage_error(hotfleet, resolver):
    assert hotfleet(b"", "--resolvers", resolver).exit == 2


# --resolve


def test_resolve_pins_name_and_port(hotfleet, origin, name_server):
    server = name_server({"a.test": {"A": ["127.0.0.1"]}})
    port = origin.port["http"]
    flags = ("--resolvers", server.resolver, "--resolve", f"a.test:{port}:127.0.0.3")
    record = check_complete(hotfleet([origin.url("/echo", host="a.test")], *flags), 1)[1]
    assert check_answered(record)["host_ip"] == "127.0.0.3" and server.queries() == []
    assert dict(origin.requests()[0]["headers"])["Host"] == f"a.test:{port}"


def test_resolve_for_another_port_is_not_used(hotfleet, origin, name_server):
    server = name_server({"a.test": {"A": ["127.0.0.1"]}})
    flags = ("--resolvers", server.resolver, "--resolve", "a.test:1:127.0.0.3")
    record = check_complete(hotfleet([origin.url("/ok", host="a.test")], *flags), 1)[1]
    assert check_answered(record)["host_ip"] == "127.0.0.1"


def test_resolve_with_many_addresses_makes_a_pool(hotfleet, origin):
    port = origin.port["http"]
    urls = [origin.url(f"/slow?ms=20&n={n}", host="pool.test") for n in range(40)]
    pins = ("--resolve", f"pool.test:{port}:127.0.0.1,127.0.0.2,127.0.0.3,[::1]", "--max-conns-per-host", "8")
    check_complete(hotfleet(urls, *pins), 40)
    assert {note["local"] for note in origin.log("open")} == {"127.0.0.1", "127.0.0.2", "127.0.0.3", "::1"}


def test_resolve_keeps_the_name_for_sni_and_certificate(hotfleet, origin):
    port = origin.port["https"]
    pins = ("--resolve", f"pinned.site.test:{port}:127.0.0.2", "--resolve", f"wrong.example:{port}:127.0.0.2")
    urls = [origin.url("/ok", "https", "pinned.site.test"), origin.url("/ok", "https", "wrong.example")]
    records = check_complete(hotfleet(urls, *pins, *FAST), 2)
    assert check_answered(records[1])["sni"] == "pinned.site.test"
    check_failed(records[2], "cert-invalid")
    assert [(r["sni"], r["local"]) for r in origin.requests()] == [("pinned.site.test", "127.0.0.2")]


@pytest.mark.parametrize("pin", ["a.test", "a.test:80", "a.test:80:", "a.test:port:127.0.0.1", "a.test:80:nowhere",
                                 ":80:127.0.0.1", "a.test:80:127.0.0.1,,127.0.0.2"])
def test_bad_resolve_is_a_usage_error(hotfleet, pin):
    assert hotfleet(b"", "--resolve", pin).exit == 2


# A real name server

KNOT_ZONE = """$ORIGIN k.test.
$TTL 60
@ SOA ns hostmaster 1 3600 600 86400 60
@ NS ns
ns A 127.0.0.1
one A 127.0.0.1
six AAAA ::1
alias CNAME one
far CNAME alias
dangling CNAME gone
text TXT "no address here"
""" + "".join(f"many A 127.0.2.{n}\n" for n in range(1, 151))


def test_zone_of_a_real_name_server(hotfleet, origin, knot):
    server = knot("k.test", KNOT_ZONE)
    wanted = {"one": "127.0.0.1", "six": "::1", "alias": "127.0.0.1", "far": "127.0.0.1", "dangling": "dns-nxdomain",
              "text": "dns-nxdomain", "gone": "dns-nxdomain", "many": "127.0.2."}
    urls = [origin.url("/ok", host=f"{name}.k.test") for name in wanted]
    urls += [origin.url("/ok", host="refused.example")]
    records = check_complete(hotfleet(urls, "--resolvers", server.resolver, *FAST), len(urls))
    for seq, (name, end) in enumerate(wanted.items(), 1):
        if end.startswith("dns"):
            check_failed(records[seq], end)
        else:
            assert check_answered(records[seq])["host_ip"].startswith(end)
    check_failed(records[len(urls)], "dns-servfail")
