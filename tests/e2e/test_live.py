"""Options that change while the fleet runs (A17): `ctl set`, `ctl get`, `ctl reload` and SIGHUP; presets (A13); the
automatic size of the pool (A18)."""
import os
import re
import resource
import signal
import subprocess

import pytest

from support.fleet import binary, clean_environment
from support.origins import wait_until
from support.records import check_complete


def ctl(hotfleet, *arguments):
    """stdout of a `hotfleet ctl` that does what it is told."""
    result = hotfleet.command("ctl", *arguments)
    assert result.exit == 0, result.explain()
    return result.stdout.decode()


def refused(hotfleet, *arguments):
    """What one that is refused says."""
    result = hotfleet.command("ctl", *arguments)
    assert result.exit == 2 and result.stdout == b"", result.explain()
    return result.stderr


def in_force(hotfleet, running):
    lines = ctl(hotfleet, "get", running.pid).splitlines()
    return dict(line.split(" = ", 1) for line in lines)


def start(hotfleet, *flags):
    """A fleet whose socket answers."""
    running = hotfleet.start("-w", "2", *flags)
    assert wait_until(lambda: hotfleet.command("ctl", "ready", running.pid).exit == 0, 15)
    return running


def feed_and_wait(running, origin, count, path="/ok", total=None):
    running.feed(*[origin.url(path)] * count)
    running.wait_for_records(total or count, 20)


# --- set ---


def test_a_shorter_idle_timeout_shows_at_the_server_without_restart(hotfleet, origin):
    running = start(hotfleet)
    feed_and_wait(running, origin, 20)
    workers = running.workers()
    assert origin.open_now() > 0
    assert ctl(hotfleet, "set", "idle_timeout=300ms", running.pid) == "idle_timeout: 60s -> 300ms\n"
    assert origin.wait_for(lambda o: o.open_now() == 0, 15), "idle connections stay open"
    feed_and_wait(running, origin, 5, total=25)
    assert running.workers() == workers
    check_complete(running.finish(), 25)


def test_a_lowered_limit_of_a_host_is_kept_by_new_dials(hotfleet, origin):
    running = start(hotfleet, "--idle-timeout", "200ms", "--max-conns-per-host", "6")
    feed_and_wait(running, origin, 24, "/slow?ms=200")
    assert origin.peak() == 6
    assert origin.wait_for(lambda o: o.open_now() == 0, 15)
    origin.reset()
    ctl(hotfleet, "set", "max_conns_per_host=2", running.pid)
    feed_and_wait(running, origin, 12, "/slow?ms=200", total=36)
    assert origin.peak() == 2
    check_complete(running.finish(), 36)


def test_lowering_a_limit_touches_no_leased_connection(hotfleet, origin):
    running = start(hotfleet)
    running.feed(*[origin.url("/slow?ms=1500")] * 8)
    assert origin.wait_for(lambda o: len(o.requests()) == 8, 10)
    ctl(hotfleet, "set", "max_connections=1", "max_conns_per_host=1", "max_idle_conns=0", "request_timeout=1ms", running.pid)
    records = check_complete(running.finish(), 8).values()
    assert [r["attempts"] for r in records] == [1] * 8 and not any(r["failed"] for r in records)


def test_a_worker_that_replaces_another_goes_by_what_was_set(hotfleet, origin):
    running = start(hotfleet)
    ctl(hotfleet, "set", "idle_timeout=200ms", running.pid)
    old = running.wait_for_workers(2)
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: len(set(running.workers()) - set(old)) == 2, 15)
    feed_and_wait(running, origin, 10)
    assert origin.wait_for(lambda o: o.open_now() == 0, 15)
    check_complete(running.finish(), 10)


def test_several_keys_merge_and_the_rest_stays(hotfleet):
    running = start(hotfleet, "--max-idle-conns", "7")
    before = in_force(hotfleet, running)
    told = ctl(hotfleet, "set", "max_connections=50", "retry_delay=2", "max-body=1M", running.pid)
    assert sorted(told.splitlines()) == ["max_body: 10M -> 1M", "max_connections: 100 -> 50", "retry_delay: 100ms -> 2s"]
    after = in_force(hotfleet, running)
    changed = {key: value for key, value in after.items() if before[key] != value}
    assert changed == {"max_connections": "50", "retry_delay": '"2s"', "max_body": '"1M"'}
    assert ctl(hotfleet, "get", "max_connections", running.pid) == "max_connections = 50\n"
    check_complete(running.finish(), 0)


def test_bad_sets_change_nothing(hotfleet):
    running = start(hotfleet)
    before = in_force(hotfleet, running)
    for bad, said in [("idle_timout=5", 'did you mean "idle_timeout"'), ("idle_timeout=soon", "is no time"),
                      ("max_retries=21", "0..20"), ("max_connections=0", "1..1000000"), ("workers=8", "next start"),
                      ("max_connections=65536", "max_hosts"), ("max_retries", "KEY=VALUE"), ("max_retries=", "max_retries")]:
        message = refused(hotfleet, "set", "max_retries=9", bad, running.pid)
        assert said in message, message
        assert in_force(hotfleet, running) == before
    assert "max_idle_conns" in refused(hotfleet, "get", "max_idle_conn", running.pid)
    refused(hotfleet, "set", running.pid)
    refused(hotfleet, "get", "max_retries", "max_body", running.pid)
    check_complete(running.finish(), 0)


def test_health_goes_by_what_was_set(hotfleet, origin):
    running = start(hotfleet, "--min-success-percent", "60")
    running.feed(*["nonsense"] * 5)
    feed_and_wait(running, origin, 5, total=10)
    assert hotfleet.command("healthz", running.pid).exit == 1
    assert hotfleet.command("ctl", "health", running.pid).exit == 1
    ctl(hotfleet, "set", "min_success_percent=40", running.pid)
    assert hotfleet.command("healthz", running.pid).exit == 0
    assert hotfleet.command("ctl", "health", running.pid).exit == 0
    check_complete(running.finish(), 10)


def test_a_shorter_stats_interval_shows_before_the_old_one_is_over(hotfleet):
    running = start(hotfleet, "--stats-interval", "1h")
    assert b"queued" not in running.err
    ctl(hotfleet, "set", "stats_interval=100ms", running.pid)
    assert wait_until(lambda: running.err.count(b"queued") >= 3, 15)
    check_complete(running.finish(), 0)


def test_a_shorter_drain_timeout_ends_a_drain_that_has_begun(hotfleet, origin):
    running = start(hotfleet, "--drain-timeout", "1h", "--request-timeout", "1h", "--total-timeout", "1h")
    running.feed(origin.url("/slow?ms=600000"))
    assert origin.wait_for(lambda o: o.requests(), 10)
    running.signal(signal.SIGTERM)
    assert wait_until(lambda: hotfleet.command("ctl", "ready", running.pid).exit == 1, 15)
    assert not running.ended.wait(0.5)
    # It may end before it has answered.
    hotfleet.command("ctl", "set", "drain_timeout=100ms", running.pid)
    assert running.finish().exit == 75


def test_a_shorter_dns_interval_ends_answers_that_were_kept(hotfleet, origin, name_server):
    server = name_server({"a.test": {"A": ["127.0.0.1"], "ttl": 3600}})
    running = start(hotfleet, "--resolvers", server.resolver, "--dns-ttl-min", "0")
    for n in range(1, 4):
        running.feed(origin.url("/ok", host="a.test"))
        running.wait_for_records(n)
    asked = len(server.queries("a.test"))
    ctl(hotfleet, "set", "dns_update_interval=100ms", running.pid)
    running.feed(origin.url("/ok", host="a.test"))
    running.wait_for_records(4)
    assert wait_until(lambda: len(server.queries("a.test")) > asked, 10)
    check_complete(running.finish(), 4)


# --- reload ---


@pytest.mark.parametrize("by", ["ctl", "signal"])
def test_reload_reads_all_layers_again_and_undoes_set(hotfleet, origin, by):
    hotfleet.write("config.toml", "[pool]\nmax_idle_conns = 30\n")
    running = start(hotfleet, "-v", "--max-retries", "1")
    feed_and_wait(running, origin, 4)
    ctl(hotfleet, "set", "max_retries=9", "retry_delay=9", running.pid)
    hotfleet.write("config.toml", '[pool]\nmax_retries = 5\nidle_timeout = "300ms"\n[fleet]\nmax_hosts = 1000\n')
    if by == "ctl":
        told = ctl(hotfleet, "reload", running.pid)
        for line in ("idle_timeout: 60s -> 300ms", "max_idle_conns: 30 -> 20", "max_retries: 9 -> 1",
                     "retry_delay: 9s -> 100ms", "takes effect at the next start: max_hosts"):
            assert line in told.splitlines(), told
    else:
        running.signal(signal.SIGHUP)
        assert wait_until(lambda: b"reloaded" in running.err, 15)
        assert b"needs-restart" in running.err and b'"max_hosts"' in running.err
    values = in_force(hotfleet, running)
    assert values["max_retries"] == "1" and values["max_idle_conns"] == "20" and values["max_hosts"] == "65536"
    assert origin.wait_for(lambda o: o.open_now() == 0, 15), "the new idle_timeout is not in force"
    if by == "ctl":
        assert "next start: max_hosts" in ctl(hotfleet, "reload", running.pid)
    check_complete(running.finish(), 4)


@pytest.mark.parametrize("text", ["[pool\n", "[pool]\nmax_retries = 99\n", "[pool]\nmax_conections = 9\n",
                                  "[pool]\nmax_retries = 7\nmax_connections = 100000\n[fleet]\nmax_hosts = 200000\n"])
def test_a_bad_file_leaves_everything_as_it_is(hotfleet, origin, text):
    running = start(hotfleet)
    ctl(hotfleet, "set", "max_idle_conns=3", running.pid)
    before = in_force(hotfleet, running)
    hotfleet.write("config.toml", text)
    message = refused(hotfleet, "reload", running.pid)
    assert "config.toml:" in message and "nothing was changed" in message
    running.signal(signal.SIGHUP)
    assert wait_until(lambda: b"reload-failed" in running.err, 15)
    assert in_force(hotfleet, running) == before
    feed_and_wait(running, origin, 4)
    check_complete(running.finish(), 4)


def test_reload_takes_another_preset(hotfleet):
    hotfleet.write("config.toml", '[pool]\npreset = "high"\n')
    running = start(hotfleet, "--max-retries", "2")
    assert in_force(hotfleet, running)["max_idle_conns"] == "100"
    hotfleet.write("config.toml", '[pool]\npreset = "long"\n')
    told = ctl(hotfleet, "reload", running.pid)
    assert "preset: high -> long" in told and "max_idle_conns: 100 -> 50" in told and "next start" not in told
    assert in_force(hotfleet, running)["max_retries"] == "2"
    assert ctl(hotfleet, "reload", running.pid) == "nothing has changed\n"
    check_complete(running.finish(), 0)


# --- presets and auto ---


def printed(hotfleet, *flags, env=None):
    """{key: (value, origin)}"""
    result = hotfleet.command("config", "print", "--origin", *flags, env=env)
    assert result.exit == 0, result.explain()
    rows = re.findall(r"^(\w+) = (.*?)  # (.*)$", result.stdout.decode(), re.M)
    return {key: (value.strip('"'), origin) for key, value, origin in rows}


def test_a_preset_stands_under_all_layers(hotfleet):
    hotfleet.write("config.toml", "[pool]\nmax_conns_per_host = 10\n")
    rows = printed(hotfleet, "--preset", "high", "--max-retries", "1", env={"CONN_TIMEOUT": "9"})
    assert rows["max_connections"] == ("500", "from preset high")
    assert rows["dns_update_interval"] == ("900s", "from preset high")
    assert rows["max_conns_per_host"][0] == "10" and "config.toml:2" in rows["max_conns_per_host"][1]
    assert rows["conn_timeout"] == ("9s", "from environment CONN_TIMEOUT")
    assert rows["max_retries"] == ("1", "from flag")
    assert rows["tls_timeout"] == ("15s", "from default")
    rows = printed(hotfleet, env={"HOTFLEET_POOL_PRESET": "long-max"})
    assert rows["max_lifetime"] == ("7200s", "from preset long-max")
    hotfleet.write("config.toml", '[pool]\npreset = "low"\n')
    assert hotfleet.command("config", "check").exit == 2


def test_an_automatic_pool_is_sized_and_says_by_what(hotfleet, origin):
    value, note = printed(hotfleet, "--max-connections", "auto")["max_connections"]
    assert value == "auto"
    size = int(re.match(r"(\d+) here, bound by \w+", note).group(1))
    assert 1 <= size < 65536
    running = start(hotfleet, "-v", "--max-connections", "auto")
    assert wait_until(lambda: b"pool-size max_connections=" in running.err)
    assert "bound by" in ctl(hotfleet, "get", "max_connections", running.pid)
    assert "auto (" in ctl(hotfleet, "set", "max_connections=5", running.pid)
    assert re.search(r"5 -> auto \(\d+, bound by", ctl(hotfleet, "set", "max_connections=auto", running.pid))
    feed_and_wait(running, origin, 4)
    check_complete(running.finish(), 4)


def test_an_automatic_pool_is_bound_by_descriptors_and_hosts(hotfleet):
    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))

    done = subprocess.run([binary(), "config", "print", "--max-connections", "auto", "-w", "3"], capture_output=True,
                          check=True, preexec_fn=limit, cwd=hotfleet.directory, timeout=30,
                          env=clean_environment(hotfleet.directory))
    assert b'max_connections = "auto"  # 204 here, bound by descriptors\n' in done.stdout
    assert "15 here, bound by max_hosts" in printed(hotfleet, "--max-connections", "auto", "--max-hosts", "16")["max_connections"][1]
    hotfleet.write("config.toml", "[pool]\nmax_connections = \"automatic\"\n")
    assert hotfleet.command("config", "check").exit == 2
