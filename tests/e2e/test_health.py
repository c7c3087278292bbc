"""The health of connections and hosts, as servers see it: eviction, quarantine, probes, circuits, limits that adapt."""
import json
import re
import socket
import time

import pytest

from support.origins import wait_until
from support.records import check_complete
from support.scripted import Scripted
from support.servers import free_ports


@pytest.fixture
def scripted(start_server):
    """scripted(script): an HTTP/1.1 server for one test."""
    return lambda *arguments: start_server(Scripted, *arguments)


def stats(hotfleet, running):
    return json.loads(hotfleet.command("stats", "--json", running.pid).stdout)


def counter(hotfleet, running, name):
    """A counter, wherever in the JSON it stands."""
    text = hotfleet.command("stats", "--json", running.pid).stdout.decode()
    return int(re.search(rf'"{name}":\s*(\d+)', text).group(1))


def fetch(running, url, count=1):
    """One URL after the other; each is on a connection that is idle."""
    for _ in range(count):
        done = running.out.count(b"\n")
        running.feed(url)
        records = running.wait_for_records(done + 1)
    return records[-1]


def test_eleven_errors_evict_a_connection(hotfleet, scripted):
    server = scripted(lambda note: (500 if len(server.notes) <= 11 else 200, 0))
    running = hotfleet.start("-w", "1")
    fetch(running, server.url(), 11)
    assert [note.conn for note in server.notes] == [1] * 11
    fetch(running, server.url())
    assert server.notes[-1].conn == 2, "the twelfth request is on a new connection"
    assert wait_until(lambda: 1 in server.closes)
    assert counter(hotfleet, running, "conns_evicted") == 1
    check_complete(running.finish(), 12)


def test_ten_errors_and_a_success_do_not(hotfleet, scripted):
    server = scripted(lambda note: (200 if len(server.notes) % 11 == 0 else 502, 0))
    running = hotfleet.start("-w", "1")
    fetch(running, server.url(), 11)
    assert {note.conn for note in server.notes} == {1}
    check_complete(running.finish(), 11)


def test_suspect_connections_are_used_last(hotfleet, scripted):
    """Three connections, of which the one that would be next answered 404."""
    def script(note):
        return (404 if note.path == "/bad" else 200, {"/bad": 0.2, "/warm": 0.4}.get(note.path, 0))

    server = scripted(script)
    running = hotfleet.start("-w", "1", "--max-conns-per-host", "3")
    running.feed(server.url("/bad"), server.url("/warm"), server.url("/warm"))
    running.wait_for_records(3)
    assert server.connections == 3
    suspect = server.notes[[note.path for note in server.notes].index("/bad")].conn
    fetch(running, server.url(), 6)
    later = [note.conn for note in server.notes[3:]]
    assert suspect not in later and len(set(later)) == 2, (suspect, later)
    # With the others busy it is used, and no new one is made.
    running.feed(*[server.url("/warm")] * 3)
    running.wait_for_records(12)
    assert suspect in [note.conn for note in server.notes[9:]]
    assert server.connections == 3
    check_complete(running.finish(), 12)


PROBING = ("--health-check-interval", "200ms")


def test_probes_are_heads_on_idle_connections_alone(hotfleet, scripted):
    server = scripted(lambda note: (200, 1.0 if note.path == "/slow" else 0))
    running = hotfleet.start("-w", "2", *PROBING)
    running.feed(*[server.url("/slow")] * 4)
    running.wait_for_records(4)
    assert server.of("HEAD") == [], "nothing is probed while a request runs"
    assert wait_until(lambda: len(server.of("HEAD")) >= 8, 10)
    running.feed(*[server.url("/slow")] * 4)
    running.wait_for_records(8)
    heads = server.of("HEAD")
    assert {note.path for note in heads} == {"/"}
    assert all(note.headers["Host"] == f"127.0.0.1:{server.port}" for note in heads)
    gets = server.of("GET")
    for head in heads:
        for get in gets:
            assert get.conn != head.conn or get.ended <= head.began or head.ended <= get.began, "they interleave"
    assert counter(hotfleet, running, "probes") >= 8
    assert counter(hotfleet, running, "probe_failures") == 0
    numbers = stats(hotfleet, running)
    assert numbers["requests"] == 8, "a probe is no request"
    result = running.finish()
    assert not any(record["failed"] for record in check_complete(result, 8).values())
    spread = sorted(note.began for note in heads if note.conn == heads[0].conn)
    assert all(b - a >= 0.15 for a, b in zip(spread, spread[1:])), "not more often than the interval, less a tenth"


def test_probes_over_http2_are_pings(hotfleet, h2origin):
    running = hotfleet.start("-w", "1", *PROBING)
    fetch(running, h2origin.url("/ok", "h2"))
    assert h2origin.wait_for(lambda o: len(o.log("ping")) >= 3, 10)
    assert len(h2origin.requests()) == 1
    record = fetch(running, h2origin.url("/ok", "h2"))
    assert record["reused"] and not record["failed"]
    assert counter(hotfleet, running, "probe_failures") == 0
    check_complete(running.finish(), 2)


def test_idle_timeout_holds_with_probes_going_on(hotfleet, scripted):
    server = scripted()
    running = hotfleet.start("-w", "1", "--health-check-interval", "100ms", "--idle-timeout", "1500ms")
    fetch(running, server.url())
    used = server.notes[0].ended
    assert wait_until(lambda: 1 in server.closes, 10)
    assert len(server.of("HEAD")) >= 3
    assert 1.4 <= server.closes[1] - used < 6, "probes would have kept it open for ever"
    assert counter(hotfleet, running, "idle_connections") == 0
    check_complete(running.finish(), 1)


def test_slow_probe_fails_at_test_timeout_and_closes(hotfleet, scripted):
    server = scripted(lambda note: (200, 4 if note.method == "HEAD" else 0))
    running = hotfleet.start("-w", "1", *PROBING, "--test-timeout", "300ms")
    fetch(running, server.url())
    assert wait_until(lambda: counter(hotfleet, running, "probe_failures") == 1, 10)
    assert counter(hotfleet, running, "closes") == 1
    record = fetch(running, server.url())
    assert not record["failed"] and not record["reused"]
    check_complete(running.finish(), 2)


def test_failing_probes_evict_in_the_end(hotfleet, scripted):
    server = scripted(lambda note: (503 if note.method == "HEAD" else 200, 0))
    running = hotfleet.start("-w", "1", "--health-check-interval", "60ms")
    fetch(running, server.url())
    assert wait_until(lambda: 1 in server.closes, 15)
    assert len(server.of("HEAD")) == 11
    assert counter(hotfleet, running, "conns_evicted") == 1
    check_complete(running.finish(), 1)


CIRCUIT = ("-v", "-w", "2", "--breaker-failures", "3", "--max-retries", "0")


def events(running, name):
    return [line for line in bytes(running.err).decode().splitlines() if f" {name} " in line]


def test_circuit_opens_holds_and_closes_when_the_host_comes_alive(hotfleet, scripted):
    port = free_ports(1)[0]
    url = f"http://127.0.0.1:{port}/x"
    running = hotfleet.start(*CIRCUIT, "--breaker-delay", "2s")
    fetch(running, url, 3)
    assert wait_until(lambda: events(running, "circuit-open"))
    opened = time.monotonic()
    server = scripted(lambda note: (200, 0), port)
    running.feed(*[url] * 5)
    records = running.wait_for_records(8, 20)
    assert server.notes[0].began - opened >= 1.7, "nothing went out while the circuit was open"
    assert [r["failed"] for r in records] == [True] * 3 + [False] * 5
    assert len(events(running, "circuit-half-open")) == 1 and len(events(running, "circuit-closed")) == 1
    assert counter(hotfleet, running, "circuit_opens") == counter(hotfleet, running, "circuit_closes") == 1
    check_complete(running.finish(), 8)


def test_failed_trial_ends_what_waits(hotfleet):
    port = free_ports(1)[0]
    url = f"http://127.0.0.1:{port}/x"
    running = hotfleet.start(*CIRCUIT, "--breaker-delay", "500ms")
    fetch(running, url, 3)
    running.feed(*[url] * 20)
    records = running.wait_for_records(23, 20)
    assert {r["error_code"] for r in records} == {"connection-refused"}
    waiting = [r for r in records if "the host's circuit is open" in r["error"]]
    assert len(waiting) == 19, "all but the trial"
    assert len(events(running, "circuit-open")) == 2
    assert "delay_ms=1000" in events(running, "circuit-open")[1]
    check_complete(running.finish(), 23)


def test_other_hosts_go_on(hotfleet, origin):
    port = free_ports(1)[0]
    dead = [f"http://127.0.0.1:{port}/x"] * 50
    result = hotfleet([line for pair in zip(dead, [origin.url("/ok")] * 50) for line in pair], *CIRCUIT,
                      "--breaker-delay", "300ms")
    records = check_complete(result, 100).values()
    assert sum(not r["failed"] for r in records) == 50
    assert sum(r.get("error_code") == "connection-refused" for r in records) == 50


def test_next_run_knows_of_an_open_circuit(hotfleet, scripted, tmp_path):
    port = free_ports(1)[0]
    url = f"http://127.0.0.1:{port}/x"
    state = ("--state", str(tmp_path / "state"), "--breaker-delay", "3s")
    hotfleet([url] * 3, *CIRCUIT, *state)
    ended = time.monotonic()
    server = scripted(lambda note: (200, 0), port)
    result = hotfleet([url] * 3, *CIRCUIT, *state)
    assert server.notes[0].began - ended >= 1.0
    assert not any(r["failed"] for r in check_complete(result, 3).values())


def test_circuits_may_be_switched_off(hotfleet):
    port = free_ports(1)[0]
    result = hotfleet([f"http://127.0.0.1:{port}/x"] * 60, "-v", "--breaker-failures", "0", "--max-retries", "0")
    check_complete(result, 60)
    assert "circuit-open" not in result.stderr and result.seconds < 10


def test_adaptive_timeout_follows_a_host_whose_latency_steps_up(hotfleet, scripted):
    step = {"seconds": 0.0}
    server = scripted(lambda note: (200, step["seconds"]))
    running = hotfleet.start("-w", "1", "--max-retries", "0", "--adaptive-timeout", "--adaptive-timeout-min", "300ms",
                             "--request-timeout", "20s")
    fetch(running, server.url(), 6)
    step["seconds"] = 0.8
    first = fetch(running, server.url())
    assert first["error_code"] == "request-timeout"
    assert 290 <= float(first["time"].rstrip("ms")) < 5000, "cut off far below request_timeout"
    for _ in range(60):
        record = fetch(running, server.url())
        if not record["failed"]:
            break
    assert not record["failed"], "the limit has grown until the slower answers fit"
    running.finish()


def test_without_the_option_the_limit_stays(hotfleet, scripted):
    server = scripted(lambda note: (200, 0.8 if len(server.notes) > 6 else 0))
    running = hotfleet.start("-w", "1", "--max-retries", "0", "--adaptive-timeout-min", "100ms")
    fetch(running, server.url(), 6)
    assert not fetch(running, server.url())["failed"]
    running.finish()


def test_sweeps_are_counted_and_close_what_is_too_old(hotfleet, scripted):
    server = scripted()
    running = hotfleet.start("-w", "1", "--cleanup-interval", "200ms", "--max-lifetime", "300ms")
    fetch(running, server.url())
    assert wait_until(lambda: 1 in server.closes, 10)
    assert counter(hotfleet, running, "swept") == 1
    assert counter(hotfleet, running, "sweeps") >= 2
    check_complete(running.finish(), 1)


def test_dead_addresses_are_asked_for_anew(hotfleet, scripted, name_server):
    """The name moves; by its TTL the old address would be good for an hour."""
    server = scripted()
    names = name_server({"moved.test": {"A": ["127.0.0.9"], "ttl": 3600}})
    running = hotfleet.start("-w", "1", "--resolvers", names.resolver, "--dns-ttl-min", "0", "--max-retries", "0", "-4")
    url = f"http://moved.test:{server.port}/x"
    assert fetch(running, url)["error_code"] == "connection-refused"
    assert wait_until(lambda: len(names.queries("moved.test")) >= 2), "asked again before the TTL is over"
    names.edit("moved.test", {"A": ["127.0.0.1"], "ttl": 3600})
    for _ in range(5):
        record = fetch(running, url)
        if not record["failed"]:
            break
    assert record["host_ip"] == "127.0.0.1" and not record["failed"]
    assert counter(hotfleet, running, "dns_second_looks") >= 1
    running.finish()


def test_adaptive_pool_follows_the_load(hotfleet, origin):
    """A limit of 20 holds at first, grows to 60 under load and shrinks to half without."""
    running = hotfleet.start("-v", "-w", "2", "--adaptive-pool", "--max-connections", "20", "--max-conns-per-host", "500",
                             "--total-timeout", "300s", "--acquire-timeout", "300s")
    running.feed(*[origin.url(f"/slow?ms=500&n={n}") for n in range(800)])
    assert wait_until(lambda: origin.peak("http") > 40, 20)
    running.wait_for_records(800, 60)
    assert origin.peak("http") <= 60
    assert "max_connections=60 before=20 base=20" in bytes(running.err).decode()
    assert wait_until(lambda: "max_connections=10 before=60" in bytes(running.err).decode(), 10)
    check_complete(running.finish(), 800)


def test_pool_keeps_its_size_unless_asked(hotfleet, origin):
    result = hotfleet([origin.url(f"/slow?ms=300&n={n}") for n in range(150)], "-w", "2", "--max-connections", "12",
                      "--max-conns-per-host", "500")
    check_complete(result, 150)
    assert origin.peak("http") == 12
