"""Looking into a running fleet: `hotfleet conn` and `hotfleet dns` (B11, B14, C3)."""
import collections
import json
import os
import re
import signal
import time

import pytest

from support import origins
from support.records import TIMESTAMP, check_answered, check_complete


def wait_until(condition):
    """Long enough for a busy machine."""
    return origins.wait_until(condition, 15)


MEMBERS = {
    "target_ip": str, "target_host": str, "target_port": int, "conn_id": int, "worker": int, "state": str,
    "created": str, "in_use": bool, "healthy": bool, "request_count": int, "error_count": int, "fingerprint": str,
    "streams": int, "age_ms": (int, float), "idle_ms": (int, float),
}


def ask(hotfleet, *arguments):
    """(exit code, the JSON lines, stderr) of a command."""
    done = hotfleet.launch(*arguments).finish()
    return done.exit, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def conns(hotfleet, running, *arguments):
    code, lines, err = ask(hotfleet, "conn", "list", *arguments, running.pid)
    assert code in (0, 1) and (code == 0) == bool(lines), err
    return lines


def check_conn(conn):
    for key, kind in MEMBERS.items():
        assert isinstance(conn[key], kind), (key, conn)
    assert TIMESTAMP.fullmatch(conn["created"]) and conn["state"] in ("connecting", "handshake", "open", "retiring")
    for key in ("last_used", "last_checked"):
        assert conn[key] is None or TIMESTAMP.fullmatch(conn[key])


def test_conn_list_tells_what_the_server_has_seen(hotfleet, origin):
    running = hotfleet.start("-w", "2", "--silent", "-4")
    running.feed(*[origin.url(f"/bytes/{n}", "https", "localhost") for n in range(30)])
    running.wait_for_records(30)
    running.feed(origin.url("/slow?ms=3000", "https", "localhost"))
    assert wait_until(lambda: any("/slow" in r["target"] for r in origin.requests()))
    lines = conns(hotfleet, running)
    for conn in lines:
        check_conn(conn)
        assert conn["target_ip"] == "127.0.0.1" and conn["target_host"] == "localhost"
        assert conn["target_port"] == origin.port["https"] and conn["fingerprint"] == "none"
        assert conn["tls"]["version"] == "TLS1.3" and conn["http_version"] == "1.1"
        assert conn["healthy"] and conn["state"] == "open" and conn["last_checked"] is None
    assert len(lines) == origin.open_now("https")
    assert len({c["conn_id"] for c in lines}) == len(lines)
    served = collections.Counter(r["conn"] for r in origin.requests())
    assert sorted(c["request_count"] for c in lines if c["request_count"]) == sorted(served.values())
    assert all((c["last_used"] is None) == (c["request_count"] == 0) for c in lines)
    busy = [c for c in lines if c["in_use"]]
    assert len(busy) == 1 and busy[0]["streams"] == 1 and busy[0]["idle_ms"] == 0
    assert all(c["idle_ms"] > 0 for c in lines if not c["in_use"])
    records = check_complete(running.finish(), 31).values()
    assert {c["conn_id"] for c in lines if c["request_count"]} == {r["conn_id"] for r in records}


def test_conn_list_and_show_by_host_and_address(hotfleet, origin, name_server):
    server = name_server({"a.test": {"A": ["127.0.0.1", "127.0.0.2"]}, "b.test": {"A": ["127.0.0.2"]}})
    running = hotfleet.start("-w", "2", "--silent", "--resolvers", server.resolver, "--prewarm-wait",
                             "--prewarm", f"http://a.test:{origin.port['http']}=6",
                             "--prewarm", f"http://b.test:{origin.port['http']}=3")
    assert wait_until(lambda: origin.open_now("http") == 9)
    assert len(conns(hotfleet, running)) == 9
    assert {c["target_host"] for c in conns(hotfleet, running, "--host", "a.test")} == {"a.test"}
    assert len(conns(hotfleet, running, "--host=B.test")) == 3
    assert conns(hotfleet, running, "--host", "c.test") == []
    code, lines, _ = ask(hotfleet, "conn", "show", "127.0.0.2", running.pid)
    assert code == 0 and len(lines) == 6 and {c["target_ip"] for c in lines} == {"127.0.0.2"}
    assert sum(note["local"] == "127.0.0.2" for note in origin.log("open")) == 6
    for absent in ("127.0.0.9", "192.0.2.1", "::1"):
        code, lines, err = ask(hotfleet, "conn", "show", absent, running.pid)
        assert code == 1 and lines == [] and absent in err
    check_complete(running.finish(), 0)


@pytest.mark.parametrize("arguments, said", [
    (("show",), "IP address"), (("show", "a.test"), "no IP address"), (("list", "--hots", "x"), "--hots"),
    (("list", "--host"), "without a name"), (("lits",), "lits")])
def test_conn_refuses_with_what_is_wrong(hotfleet, arguments, said):
    code, lines, err = ask(hotfleet, "conn", *arguments)
    assert code == 2 and lines == [] and said in err


def test_conn_list_of_what_is_no_name_is_refused(hotfleet):
    running = hotfleet.start("--silent")
    running.wait_for_workers(1)
    for host in ("https://a.test", "a.test:8080", "a b", ""):
        code, lines, err = ask(hotfleet, "conn", "list", "--host", host, running.pid)
        assert code == 2 and lines == [] and err, host
    check_complete(running.finish(), 0)


def test_conn_list_of_thousands_leaves_the_fleet_at_work(hotfleet, origin):
    count = 800
    running = hotfleet.start("-w", "2", "--silent", "-4", "--max-connections", "1000", "--max-conns-per-host", "1000",
                             "--max-idle-conns", "1000", "--prewarm-wait", "--prewarm-delay", "20ms",
                             "--prewarm", f"{origin.url('/', 'http', 'localhost')[:-1]}={count}")
    assert wait_until(lambda: origin.open_now("http") == count)
    for _ in range(5):
        running.feed(*[origin.url(f"/bytes/{n}", host="localhost") for n in range(50)])
        lines = conns(hotfleet, running)
        assert len({c["conn_id"] for c in lines}) == count
    records = check_complete(running.finish(), 250).values()
    assert not any(r["failed"] for r in records)


def test_conn_list_does_not_hang_on_a_worker_that_is_stopped_and_dies(hotfleet, origin):
    running = hotfleet.start("-w", "2", "--silent", "-4")
    running.feed(*[origin.url(f"/slow?ms=200&n={n}", host="localhost") for n in range(8)])
    running.wait_for_records(8)
    victim = running.workers()[0]
    os.kill(victim, signal.SIGSTOP)
    asking = hotfleet.launch("conn", "list", running.pid)
    time.sleep(1.5)
    assert not asking.ended.is_set()
    os.kill(victim, signal.SIGKILL)
    done = asking.finish()
    assert done.exit == 0, done.explain()
    workers = {json.loads(line)["worker"] for line in done.stdout.splitlines()}
    assert len(workers) == 1
    result = running.finish()
    check_complete(result, 8)
    assert re.search(r"connections-not-told.* worker=\d", result.stderr), result.stderr


def stats(hotfleet, running):
    return json.loads(hotfleet.command("stats", "--json", running.pid).stdout)


def check_name(line, name, addresses, outcome="ok"):
    assert line["name"] == name and line["addresses"] == addresses and line["outcome"] == outcome, line
    assert TIMESTAMP.fullmatch(line["expires"]) and isinstance(line["ttl_left_s"], int)


def test_dns_show_tells_what_the_map_knows(hotfleet, origin, name_server):
    server = name_server({"a.test": {"A": ["127.0.0.1", "127.0.0.2"], "AAAA": ["::1"], "ttl": 300}})
    state = hotfleet.directory + "/state"
    running = hotfleet.start("--silent", "--retry", "0", "--resolvers", server.resolver, "--state", state)
    running.feed(origin.url("/ok", host="a.test"), origin.url("/ok", host="nobody.test"))
    running.wait_for_records(2)
    lines = wait_until(lambda: (ask(hotfleet, "dns", "show", running.pid)[1] + [None] * 2)[1] and
                       ask(hotfleet, "dns", "show", running.pid)[1])
    check_name(lines[0], "a.test", ["127.0.0.1", "127.0.0.2", "::1"])
    assert 250 <= lines[0]["ttl_left_s"] <= 300
    check_name(lines[1], "nobody.test", [], "dns-nxdomain")
    check_complete(running.finish(), 2)
    code, lines, err = ask(hotfleet, "dns", "show", "A.test", "--state", state)
    assert code == 0 and len(lines) == 1, err
    check_name(lines[0], "a.test", ["127.0.0.1", "127.0.0.2", "::1"])
    code, lines, err = ask(hotfleet, "dns", "show", "c.test", "--state", state)
    assert code == 1 and lines == [] and "c.test" in err


def test_dns_show_keeps_the_answers_of_one_family_apart(hotfleet, origin, name_server):
    server = name_server({"a.test": {"A": ["127.0.0.1"], "AAAA": ["::1"]}})
    flags = ("--silent", "--resolvers", server.resolver, "--state", hotfleet.directory + "/state")
    for family in ("-4", "-6"):
        check_complete(hotfleet([origin.url("/ok", host="a.test")], family, *flags), 1)
    code, lines, err = ask(hotfleet, "dns", "show", "a.test", "--state", hotfleet.directory + "/state")
    assert code == 0 and {(l["families"], *l["addresses"]) for l in lines} == {("ipv4", "127.0.0.1"), ("ipv6", "::1")}


@pytest.mark.parametrize("arguments, said", [
    (("show", "--state", "/nonexistent"), "/nonexistent"), (("show", "a", "b"), "b"), (("shwo",), "shwo"),
    (("show", "a b"), "forbidden"), (("refresh", "--all"), "--all")])
def test_dns_refuses_with_what_is_wrong(hotfleet, arguments, said):
    code, lines, err = ask(hotfleet, "dns", *arguments)
    assert code == 2 and lines == [] and said in err


def moving_zone(*steps):
    """A name whose addresses are each of `steps` in turn, the last for good."""
    entry = None
    for addresses in reversed(steps):
        entry = {"A": addresses, "ttl": 300, **({"then": entry} if entry else {})}
    return {"a.test": entry, "b.test": {"A": ["127.0.0.1"], "ttl": 300}}


def test_dns_refresh_asks_past_the_map(hotfleet, origin, name_server):
    server = name_server(moving_zone(["127.0.0.1"], ["127.0.0.2", "127.0.0.3"]))
    running = hotfleet.start("-w", "1", "--silent", "--resolvers", server.resolver)
    running.feed(origin.url("/ok", host="a.test"), origin.url("/ok", host="b.test"), origin.url("/ok"))
    running.wait_for_records(3)
    code, lines, err = ask(hotfleet, "dns", "refresh", "a.test", running.pid)
    assert code == 0, err
    assert lines == [{"name": "a.test", "scheme": "http", "port": origin.port["http"], "outcome": "ok",
                      "old": ["127.0.0.1"], "new": ["127.0.0.2", "127.0.0.3"]}]
    code, lines, err = ask(hotfleet, "dns", "refresh", running.pid)
    assert code == 0 and sorted(l["name"] for l in lines) == ["a.test", "b.test"], err
    assert all(l["old"] == l["new"] for l in lines)
    assert len(server.queries("b.test")) == 4
    code, lines, err = ask(hotfleet, "dns", "refresh", "c.test", running.pid)
    assert code == 2 and lines == [] and "c.test" in err
    check_complete(running.finish(), 3)


def test_dns_refresh_tells_of_failures_and_keeps_addresses(hotfleet, origin, name_server):
    server = name_server({"a.test": {"A": ["127.0.0.1"], "then": {"rcode": 2}}})
    running = hotfleet.start("-w", "1", "--silent", "--resolvers", server.resolver)
    running.feed(origin.url("/ok", host="a.test"))
    running.wait_for_records(1)
    code, lines, err = ask(hotfleet, "dns", "refresh", running.pid)
    assert code == 0 and lines[0]["outcome"] == "dns-servfail" and lines[0]["new"] == ["127.0.0.1"], err
    running.feed(origin.url("/ok", host="a.test"))
    assert not any(r["failed"] for r in check_complete(running.finish(), 2).values())


def test_new_address_gets_a_connection_and_the_vanished_one_drains(hotfleet, origin, name_server):
    server = name_server(moving_zone(["127.0.0.1"], ["127.0.0.1", "127.0.0.2"], ["127.0.0.2"]))
    running = hotfleet.start("-w", "2", "--silent", "--resolvers", server.resolver)
    running.feed(origin.url("/ok", host="a.test"))
    running.wait_for_records(1)
    assert ask(hotfleet, "dns", "refresh", "a.test", running.pid)[1][0]["new"] == ["127.0.0.1", "127.0.0.2"]
    assert wait_until(lambda: "127.0.0.2" in [note["local"] for note in origin.log("open")])
    assert len(origin.requests()) == 1, "nothing but the new address asked for the connection"
    assert wait_until(lambda: stats(hotfleet, running)["conns_from_dns"] == 1)
    assert {c["target_ip"] for c in conns(hotfleet, running)} == {"127.0.0.1", "127.0.0.2"}
    running.feed(*[origin.url(f"/slow?ms=700&n={n}", host="a.test") for n in range(4)])
    assert wait_until(lambda: len(origin.requests()) == 5)
    assert ask(hotfleet, "dns", "refresh", "a.test", running.pid)[1][0]["new"] == ["127.0.0.2"]
    running.wait_for_records(5)
    running.feed(*[origin.url(f"/ok?{n}", host="a.test") for n in range(10)])
    records = running.wait_for_records(15)
    assert not any(r["failed"] for r in records)
    assert {check_answered(r)["host_ip"] for r in records[-10:]} == {"127.0.0.2"}
    assert wait_until(lambda: {c["target_ip"] for c in conns(hotfleet, running)} == {"127.0.0.2"})
    now = stats(hotfleet, running)
    assert now["dns_addresses_new"] == 1 and now["dns_addresses_gone"] == 1
    check_complete(running.finish(), 15)


def test_new_addresses_of_a_host_that_is_not_in_use_get_none(hotfleet, origin, name_server):
    server = name_server(moving_zone(["127.0.0.1"], ["127.0.0.1", "127.0.0.2"]))
    running = hotfleet.start("-w", "2", "--silent", "--resolvers", server.resolver)
    running.feed(origin.url("/ok", host="a.test"))
    running.wait_for_records(1)
    hotfleet.command("ctl", "flush", running.pid)
    assert ask(hotfleet, "dns", "refresh", "a.test", running.pid)[0] == 0
    time.sleep(0.3)
    assert {note["local"] for note in origin.log("open")} == {"127.0.0.1"}
    assert stats(hotfleet, running)["dns_addresses_new"] == 1
    check_complete(running.finish(), 1)


def test_many_new_addresses_get_a_connection_each(hotfleet, origin, name_server):
    many = [f"127.0.2.{n}" for n in range(1, 41)]
    server = name_server(moving_zone(["127.0.0.1"], ["127.0.0.1", *many]))
    running = hotfleet.start("-w", "2", "--silent", "--resolvers", server.resolver, "--max-conns-per-host", "50")
    running.feed(origin.url("/ok", host="a.test"))
    running.wait_for_records(1)
    assert ask(hotfleet, "dns", "refresh", running.pid)[0] == 0
    assert wait_until(lambda: {note["local"] for note in origin.log("open")} >= set(many))
    assert wait_until(lambda: stats(hotfleet, running)["conns_from_dns"] == 40)
    check_complete(running.finish(), 1)
