"""The admin face: /metrics, /stats, /health and /ready on the Unix socket and on TCP, and the commands that ask it."""
import json
import os
import re
import signal
import socket
import stat
import subprocess
import tempfile
import time

import pytest

from support.origins import wait_until
from support.records import check_complete

SAMPLE = re.compile(r'(hotfleet_[a-z0-9_]+)(?:\{((?:worker|outcome|code|le)="[^"\\]*")\})? ([0-9]+(?:\.[0-9]+)?)')


@pytest.fixture
def state():
    """A directory whose path is short enough for every client of Unix sockets."""
    with tempfile.TemporaryDirectory(prefix="hf-") as directory:
        yield directory


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def curl(*arguments):
    """(status, headers in lower case, body) of one answer."""
    done = subprocess.run(["curl", "-sS", "-i", "--max-time", "10", *arguments], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    head, _, body = done.stdout.decode().partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    return int(first.split()[1]), dict(line.lower().split(": ", 1) for line in lines), body


def ask(state, path, *arguments):
    return curl("--unix-socket", os.path.join(state, "admin.sock"), *arguments, f"http://localhost{path}")


def samples(text):
    """{(name, label): value}; each line is a comment of the format or a sample under its own TYPE."""
    found, families, family = {}, {}, None
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, family, kind = line.split(" ")
            assert family not in families and kind in ("counter", "gauge", "histogram")
            families[family] = kind
        elif not line.startswith("# HELP "):
            match = SAMPLE.fullmatch(line)
            assert match, line
            name, label, value = match.groups()
            assert name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") == family or name == family
            assert (name, label) not in found, line
            found[name, label] = float(value)
    assert all(name.endswith("_total") == (kind == "counter") for name, kind in families.items())
    return found


def busy_fleet(hotfleet, origin, state, *flags, count=20):
    running = hotfleet.start("-w", "2", "--state", state, *flags)
    running.feed(*[origin.url(f"/bytes/{n}") for n in range(count)])
    running.wait_for_records(count)
    return running


def test_metrics_parse_and_agree_with_the_servers_log(hotfleet, origin, state):
    running = hotfleet.start("-w", "2", "--state", state, "--retry-delay", "1ms")
    running.feed(*[origin.url(f"/flaky/none?n=1&k={n}") for n in range(10)], *[origin.url("/redirect/2")] * 5, "nonsense")
    running.wait_for_records(16)
    status, headers, body = ask(state, "/metrics")
    assert status == 200 and headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = samples(body)
    requests = len(origin.requests())
    assert found["hotfleet_requests_total", None] == requests
    assert found["hotfleet_worker_requests_total", 'worker="0"'] + \
        found["hotfleet_worker_requests_total", 'worker="1"'] == requests
    assert found["hotfleet_records_total", None] == 16
    assert found["hotfleet_outcomes_total", 'outcome="ok"'] == 15
    assert found["hotfleet_outcomes_total", 'outcome="invalid-url"'] == 1
    assert found["hotfleet_response_time_seconds_count", None] == found["hotfleet_responses_total", None]
    assert sum(v for (name, _), v in found.items() if name == "hotfleet_status_total") == \
        found["hotfleet_responses_total", None]
    buckets = [v for (name, _), v in found.items() if name == "hotfleet_response_time_seconds_bucket"]
    assert buckets == sorted(buckets) and buckets[-1] == found["hotfleet_response_time_seconds_count", None]
    check_complete(running.finish(), 16)


def test_stats_over_the_socket_are_those_of_shared_memory(hotfleet, origin, state):
    running = busy_fleet(hotfleet, origin, state)
    status, headers, body = ask(state, "/stats")
    assert status == 200 and headers["content-type"] == "application/json"
    here = json.loads(body)
    there = json.loads(hotfleet.command("stats", "--json", running.pid).stdout)
    assert here.keys() == there.keys()
    for key in ("requests", "records", "successful_requests", "failed_requests", "success_rate", "outcomes", "pid"):
        assert here[key] == there[key]
    assert here["requests"] == len(origin.requests()) == 20
    assert here["total_connections"] == here["idle_connections"] == origin.open_now("http")
    assert here["memory_usage"] > 1 << 20 and 0 <= here["cpu_usage"] < 64
    assert here["conn_reuse_rate"] == pytest.approx(1 - here["connects"] / 20, abs=1e-5)
    check_complete(running.finish(), 20)


def test_empty_fleet_has_zeros_and_is_not_healthy(hotfleet, state):
    running = hotfleet.start("--state", state)
    running.wait_for_workers(4)
    assert wait_until(lambda: os.path.exists(os.path.join(state, "admin.sock")))
    numbers = json.loads(ask(state, "/stats")[2])
    for key in ("success_rate", "avg_response_time", "conn_reuse_rate", "error_rate", "failed_requests",
                "total_connections", "active_connections", "idle_connections", "healthy_connections"):
        assert numbers[key] == 0
    status, _, body = ask(state, "/health")
    assert status == 503 and json.loads(body)["reason"] == "no connection yet"
    assert ask(state, "/ready")[0] == 200
    assert hotfleet.command("healthz", running.pid).exit == 1
    assert hotfleet.command("ctl", "health", running.pid).exit == 1
    check_complete(running.finish(), 0)


def test_health_by_every_way(hotfleet, origin, state):
    running = busy_fleet(hotfleet, origin, state)
    status, _, body = ask(state, "/health")
    health = json.loads(body)
    assert status == 200 and health["healthy"] is True and health["state"] == "HEALTHY" and health["reason"] == ""
    for command in (("healthz", "--json"), ("ctl", "health")):
        result = hotfleet.command(*command, running.pid)
        assert result.exit == 0, result.explain()
        told = json.loads(result.stdout)
        assert {**told, "last_update": ""} == {**health, "last_update": ""}
    assert b"HEALTHY" in hotfleet.command("healthz", running.pid).stdout
    check_complete(running.finish(), 20)


def test_a_question_leaves_the_next_socket_its_events(hotfleet, origin, name_server, state):
    """The name server's socket gets the number that the asker's connection had."""
    server = name_server({"a.test": {"A": ["127.0.0.1"]}})
    running = hotfleet.start("-w", "1", "--state", state, "--resolvers", server.resolver)
    assert wait_until(lambda: os.path.exists(os.path.join(state, "admin.sock")))
    for n in range(4):
        assert ask(state, "/ready")[0] in (200, 503)
        running.feed(origin.url("/ok", host=f"{'a.' * n}a.test"))
        running.wait_for_records(n + 1)
    check_complete(running.finish(), 4)
    assert len(server.queries("a.test")) <= 2


def test_failures_make_it_unhealthy(hotfleet, origin, state):
    running = hotfleet.start("-w", "1", "--state", state, "--min-success-percent", "60")
    running.feed(*["nonsense"] * 5, *[origin.url("/ok")] * 5)
    running.wait_for_records(10)
    result = hotfleet.command("healthz", "--json", running.pid)
    health = json.loads(result.stdout)
    assert result.exit == 1 and not health["healthy"] and health["success_rate"] == 0.5
    assert health["min_success_rate"] == 0.6 and "min_success_percent" in health["reason"]
    running.feed(*[origin.url("/ok")] * 3)
    running.wait_for_records(13)
    result = hotfleet.command("healthz", "--json", running.pid)
    assert result.exit == 0 and json.loads(result.stdout)["state"] == "UNHEALTHY", "below 0.8, above the minimum"
    check_complete(running.finish(), 13)


def test_overload_is_told(hotfleet, origin, state):
    running = hotfleet.start("-w", "1", "--state", state, "--max-connections", "4", "--max-conns-per-host", "4")
    running.feed(*[origin.url(f"/slow?ms=1500&n={n}") for n in range(4)])
    assert origin.wait_for(lambda o: len(o.requests()) == 4)
    assert wait_until(lambda: json.loads(ask(state, "/health")[2])["state"] == "OVERLOAD", 1)
    check_complete(running.finish(), 4)


def test_ready_turns_503_while_draining(hotfleet, origin, state):
    running = hotfleet.start("-w", "1", "--state", state)
    running.feed(origin.url("/slow?ms=1500"))
    assert origin.wait_for(lambda o: o.requests())
    assert ask(state, "/ready")[0] == 200
    running.signal(signal.SIGTERM)
    assert wait_until(lambda: ask(state, "/ready")[0] == 503, 1)
    body = json.loads(ask(state, "/ready")[2])
    assert body["ready"] is False and body["draining"] is True
    result = hotfleet.command("ctl", "ready", running.pid)
    assert result.exit == 1 and json.loads(result.stdout)["draining"] is True
    assert samples(ask(state, "/metrics")[2])["hotfleet_draining", None] == 1
    assert running.finish().exit == 75


def test_socket_is_the_owners_alone_and_goes_with_the_run(hotfleet, origin, state):
    running = busy_fleet(hotfleet, origin, state)
    path = os.path.join(state, "admin.sock")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600 and stat.S_ISSOCK(os.stat(path).st_mode)
    check_complete(running.finish(), 20)
    assert not os.path.exists(path)


def test_socket_of_a_killed_fleet_is_replaced(hotfleet, origin, state):
    running = busy_fleet(hotfleet, origin, state)
    os.kill(running.pid, signal.SIGKILL)
    assert running.ended.wait(3) and os.path.exists(os.path.join(state, "admin.sock"))
    running.kill()
    running = busy_fleet(hotfleet, origin, state)
    assert json.loads(ask(state, "/stats")[2])["pid"] == running.pid
    check_complete(running.finish(), 20)


def test_file_in_the_sockets_place_is_told(hotfleet, state):
    with open(os.path.join(state, "admin.sock"), "w"):
        pass
    result = hotfleet([], "--state", state)
    assert result.exit == 2 and "no socket" in result.stderr, result.explain()
    assert os.path.isfile(os.path.join(state, "admin.sock"))


def test_long_and_relative_state_directories_are_reached(hotfleet, origin):
    directory = "state-" + "x" * 150
    os.makedirs(os.path.join(hotfleet.directory, directory))
    running = busy_fleet(hotfleet, origin, directory)
    result = hotfleet.command("ctl", "stats", running.pid)
    assert result.exit == 0 and json.loads(result.stdout)["requests"] == 20, result.explain()
    check_complete(running.finish(), 20)


def test_ctl_shows_what_the_pages_say(hotfleet, origin):
    """Without --state too: the socket is then in a temporary directory that shared memory names."""
    running = hotfleet.start("-w", "2")
    running.feed(*[origin.url("/ok")] * 3)
    running.wait_for_records(3)
    assert json.loads(hotfleet.command("ctl", "stats", running.pid).stdout)["requests"] == 3
    assert samples(hotfleet.command("ctl", "metrics", running.pid).stdout.decode())["hotfleet_requests_total", None] == 3
    assert json.loads(hotfleet.command("ctl", "ready", running.pid).stdout)["ready"] is True
    check_complete(running.finish(), 3)


@pytest.mark.parametrize("arguments", [["ctl"], ["ctl", "nonsense"], ["ctl", "stats", "nonsense"], ["ctl", "stats", "1"],
                                       ["ctl", "stats", "1", "2"], ["healthz", "nonsense"], ["healthz", "999999999"]])
def test_wrong_arguments_are_told(hotfleet, arguments):
    result = hotfleet.command(*arguments)
    assert result.exit == 2 and result.stderr.startswith("hotfleet: ") and result.stdout == b""


def test_ctl_does_not_wait_for_a_fleet_that_hangs(hotfleet, origin):
    running = hotfleet.start("-w", "1")
    running.feed(origin.url("/ok"))
    running.wait_for_records(1)
    os.kill(running.pid, signal.SIGSTOP)
    try:
        assert hotfleet.command("healthz", running.pid).exit == 0, "shared memory answers all the same"
        began = time.monotonic()
        result = hotfleet.command("ctl", "stats", running.pid)
        assert result.exit == 2 and "time" in result.stderr and time.monotonic() - began < 8
    finally:
        os.kill(running.pid, signal.SIGCONT)
    check_complete(running.finish(), 1)


def test_paths_and_methods(hotfleet, origin, state):
    running = busy_fleet(hotfleet, origin, state)
    assert ask(state, "/nothing")[0] == 404
    status, headers, _ = ask(state, "/stats", "-X", "POST", "-d", "x")
    assert status == 405 and headers["allow"] == "get, head"
    status, headers, body = ask(state, "/metrics", "-I")
    assert status == 200 and int(headers["content-length"]) > 1000 and body == ""
    check_complete(running.finish(), 20)


@pytest.mark.parametrize("host, listen", [("127.0.0.1", "127.0.0.1"), ("127.0.0.1", "localhost"), ("[::1]", "[::1]")])
def test_listen_answers_on_tcp_too(hotfleet, origin, state, host, listen):
    port = free_port()
    running = busy_fleet(hotfleet, origin, state, "--listen", f"{listen}:{port}")
    assert json.loads(curl(f"http://{host}:{port}/stats")[2])["requests"] == 20
    assert json.loads(ask(state, "/stats")[2])["requests"] == 20
    check_complete(running.finish(), 20)


@pytest.mark.parametrize("listen", ["0.0.0.0:18080", "[::]:18080", "192.0.2.1:80"])
def test_public_address_has_to_be_said(hotfleet, listen):
    result = hotfleet([], "--listen", listen)
    assert result.exit == 2 and "listen_public" in result.stderr and listen in result.stderr, result.explain()
    assert hotfleet.command("config", "check", "--listen", listen).exit == 2


def test_public_address_that_is_said(hotfleet, origin, state):
    port = free_port()
    running = busy_fleet(hotfleet, origin, state, "--listen", f"0.0.0.0:{port}", "--listen-public")
    assert curl(f"http://127.0.0.1:{port}/ready")[0] == 200
    check_complete(running.finish(), 20)


@pytest.mark.parametrize("listen", ["8080", ":8080", "localhost", "127.0.0.1:0", "127.0.0.1:99999", "example.org:80"])
def test_address_that_is_none_is_told(hotfleet, listen):
    result = hotfleet([], "--listen", listen)
    assert result.exit == 2 and listen in result.stderr, result.explain()


def test_port_in_use_is_told(hotfleet):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        result = hotfleet([], "--listen", listen)
    assert result.exit == 2 and listen in result.stderr and "in use" in result.stderr, result.explain()


def test_slow_clients_hold_nobody(hotfleet, origin, state):
    """A hundred that never finish their request: others are answered, and the crawl goes on."""
    port = free_port()
    running = busy_fleet(hotfleet, origin, state, "--listen", f"127.0.0.1:{port}")
    before = len(os.listdir(f"/proc/{running.pid}/fd"))
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]
    for client in slow:
        client.sendall(b"GET /stats HTTP/1.1\r\n")
    began = time.monotonic()
    assert curl(f"http://127.0.0.1:{port}/stats")[0] == 200
    assert ask(state, "/stats")[0] == 200
    assert time.monotonic() - began < 2
    assert len(os.listdir(f"/proc/{running.pid}/fd")) <= before + 32
    running.feed(*[origin.url("/ok")] * 10)
    running.wait_for_records(30)
    for client in slow:
        client.close()
    assert wait_until(lambda: len(os.listdir(f"/proc/{running.pid}/fd")) <= before, 3)
    check_complete(running.finish(), 30)
    assert time.monotonic() - began < 10


def test_second_fleet_on_the_same_state_is_told(hotfleet, origin, state):
    running = busy_fleet(hotfleet, origin, state)
    result = hotfleet([], "--state", state)
    assert result.exit == 2 and state in result.stderr, result.explain()
    assert json.loads(ask(state, "/stats")[2])["pid"] == running.pid
    check_complete(running.finish(), 20)
