"""Limits that hold over all processes: the server's own count of open sockets is the judge (A1, A2, A3)."""
import os
import time

import pytest

from support.records import check_answered, check_complete


def pins(origin, names):
    return [flag for name in names for flag in ("--resolve", f"{name}:{origin.port['http']}:127.0.0.1")]


@pytest.mark.parametrize("workers", [1, 8])
def test_max_conns_per_host_is_reached_and_never_exceeded(hotfleet, origin, workers):
    urls = [origin.url(f"/slow?ms=20&n={n}") for n in range(400)]
    records = check_complete(hotfleet(urls, "-w", workers, "--max-conns-per-host", "10"), 400)
    assert all(check_answered(r) for r in records.values())
    assert origin.peak("http") == 10
    assert len(origin.log("open")) <= 30, "connections are kept, not made anew"


def test_max_connections_is_never_exceeded(hotfleet, origin):
    names = [f"h{n}.test" for n in range(8)]
    urls = [origin.url(f"/slow?ms=10&n={n}", host=names[n % 8]) for n in range(600)]
    flags = ("-w", "8", "--max-connections", "25", "--max-conns-per-host", "10", *pins(origin, names))
    records = check_complete(hotfleet(urls, *flags), 600)
    assert all(check_answered(r) for r in records.values())
    assert 20 <= origin.peak("http") <= 25


def test_more_hosts_than_connections_all_get_their_turn(hotfleet, origin):
    """Idle connections of one host must make room for another."""
    names = [f"h{n}.test" for n in range(30)]
    urls = [origin.url(f"/ok?{n}", host=name) for n in range(3) for name in names]
    flags = ("-w", "4", "--max-connections", "4", "--acquire-timeout", "20s", *pins(origin, names))
    records = check_complete(hotfleet(urls, *flags), 90)
    assert all(check_answered(r) for r in records.values())
    assert origin.peak("http") <= 4


def test_fewer_connections_than_workers(hotfleet, origin):
    urls = [origin.url(f"/bytes/{n}") for n in range(100)]
    records = check_complete(hotfleet(urls, "-w", "8", "--max-connections", "1", "--max-conns-per-host", "1"), 100)
    assert all(check_answered(r) for r in records.values())
    assert origin.peak("http") == 1


def test_max_conns_per_ip_counts_over_hosts(hotfleet, origin):
    names = [f"h{n}.test" for n in range(6)]
    urls = [origin.url(f"/slow?ms=10&n={n}", host=names[n % 6]) for n in range(300)]
    flags = ("-w", "4", "--max-conns-per-ip", "7", "--max-conns-per-host", "10", *pins(origin, names))
    records = check_complete(hotfleet(urls, *flags), 300)
    assert all(check_answered(r) for r in records.values())
    assert origin.peak("http") <= 7


def test_limits_hold_when_connections_keep_ending(hotfleet, origin):
    """Each answer is the last of its connection: slots are given back and taken again all the time."""
    urls = [origin.url(f"/last?{n}" if n % 2 else f"/race?{n}") for n in range(400)]
    flags = ("-w", "8", "--max-conns-per-host", "5", "--retry-delay", "1ms", "--retry", "10")
    records = check_complete(hotfleet(urls, *flags), 400)
    assert sum(r["failed"] for r in records.values()) == 0
    assert origin.peak("http") <= 5


def test_limits_hold_when_connections_fail(hotfleet, origin):
    """Slots of broken and refused connections come back: afterwards the limit can still be reached."""
    running = hotfleet.start("-w", "4", "--max-conns-per-host", "5", "--max-connections", "10", "--retry", "0",
                             "--breaker-failures", "0")
    running.feed(*[origin.url(f"/rst/body?{n}") for n in range(60)], *[origin.url("/", "refused")] * 60,
                 *[origin.url("/", "accept_reset")] * 60)
    running.wait_for_records(180)
    origin.reset()
    running.feed(*[origin.url(f"/slow?ms=30&n={n}") for n in range(60)])
    records = check_complete(running.finish(), 240)
    assert all(check_answered(records[n]) for n in range(181, 241))
    assert origin.peak("http") == 5


def test_max_idle_conns_closes_the_oldest(hotfleet, origin):
    names = [f"h{n}.test" for n in range(12)]
    running = hotfleet.start("-w", "1", "--max-idle-conns", "3", *pins(origin, names))
    running.feed(*[origin.url("/ok", host=name) for name in names])
    running.wait_for_records(12)
    assert origin.wait_for(lambda o: 0 < o.open_now("http") <= 3)
    check_complete(running.finish(), 12)


def test_concurrency_bounds_what_is_in_flight(hotfleet, h2origin):
    urls = [h2origin.url(f"/slow?ms=30&n={n}", "h2") for n in range(60)]
    records = check_complete(hotfleet(urls, "-w", "1", "-c", "6", "--max-conns-per-host", "1"), 60)
    assert all(check_answered(r) for r in records.values())
    assert h2origin.peak("streams") <= 6


def test_small_window_is_enough_for_many_lines(hotfleet, origin):
    urls = [origin.url(f"/bytes/{n}") for n in range(300)]
    check_complete(hotfleet(urls, "--window", "5"), 300)


def test_slow_host_does_not_starve_the_others(hotfleet, origin):
    """Ninety lines of a host that takes its time, then ten of another: the ten are done long before."""
    slow = [origin.url(f"/slow?ms=150&n={n}") for n in range(90)]
    quick = [origin.url(f"/bytes/{n}", host="127.0.0.2") for n in range(10)]
    running = hotfleet.start("-w", "2", "--max-conns-per-host", "6")
    running.feed(*slow, *quick)
    running.wait_for_records(30)
    hosts = [r["host"] for r in running.records()[:30]]
    assert hosts.count("127.0.0.2") == 10
    check_complete(running.finish(), 100)


def descriptors(running):
    return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in [running.pid, *running.workers()])


def test_descriptors_do_not_leak(hotfleet, origin):
    """Rounds of every kind of end; what is open after the last is what was open after the first."""
    running = hotfleet.start("-w", "2", "--retry", "0", "--request-timeout", "300ms", "--idle-timeout", "200ms")
    paths = ["/ok", "/rst/body", "/fin/body", "/last", "/stray/beside", "/head/garbage", "/stall/body", "/bytes/100000"]
    counts = []
    for turn in range(1, 5):
        running.feed(*[origin.url(f"{path}?{n}", port)
                       for path in paths for port in ("http", "https") for n in range(4)])
        running.wait_for_records(64 * turn)
        assert origin.wait_for(lambda o: o.open_now() == 0, 5), "connections stay open"
        time.sleep(0.1)
        counts.append(descriptors(running))
    check_complete(running.finish(), 256)
    assert counts[3] <= counts[0] + 2, counts
