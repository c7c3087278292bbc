"""The hours of a fleet in half a minute: short intervals, and a town whose addresses die, refuse, falter and come back,
names that move, workers that are killed, and somebody who steers: options, rules about addresses, flushes, pre-warms. In
the end every line has its record, nothing is left behind, and the whole pool can be had again."""
import json
import os
import random
import signal
import threading
import time

import pytest

from support.records import check_complete

SECONDS = 25
ADDRESSES = [f"127.1.{row}.{house}" for row in (1, 2) for house in range(1, 7)]
NAMES = ["a.site.test", "b.site.test", "c.site.test"]
MODES = ["ok"] * 6 + ["blocked", "error", "busy", "closing", "slow", "cut", "dead"]
INTERVALS = {"idle-timeout": "400ms", "max-lifetime": "1500ms", "health-check-interval": "150ms",
             "test-timeout": "300ms", "cleanup-interval": "200ms", "blacklist-check-interval": "300ms",
             "dns-update-interval": "400ms", "dns-ttl-min": "100ms", "conn-timeout": "500ms", "tls-timeout": "2s",
             "retry-delay": "5ms", "retry-delay-max": "50ms", "breaker-delay": "200ms", "prewarm-delay": "20ms",
             "prewarm-timeout": "3s"}
WORKERS = 3
MAX_CONNECTIONS = 24
MAX_PER_HOST = 12
KILLS = 5
GAUGES = ("conns_active", "conns_idle", "conns_dialing", "waiting", "in_flight", "queued")
# Parts of the fleet that no run leaves idle.
USED = ("prewarmed", "probes", "validations", "blackened", "access_checks", "conns_unlisted", "dns_addresses_new",
        "resumptions", "sweeps")
# What the steering sets; a reload takes it back.
SETTINGS = ["max_connections=10", "max_connections=40", "max_conns_per_host=3", "max_conns_per_ip=2", "max_idle_conns=3",
            "idle_timeout=100ms", "max_lifetime=300ms", "health_check_interval=40ms", "cleanup_interval=50ms",
            "blacklist_check_interval=100ms", "dns_update_interval=150ms", "adaptive_timeout=true", "adaptive_pool=true",
            "breaker_failures=3", "breaker_failures=0", "breaker_delay=30ms", "request_timeout=250ms",
            "acquire_timeout=200ms", "concurrency=15", "max_streams_per_conn=2", "prewarm_concurrency=3"]


def describe(rng, names):
    """Each name lives at some of the addresses, and at one at least."""
    return {name: {"A": rng.sample(ADDRESSES, rng.randint(1, 6)), "ttl": 0} for name in names}


class Weather(threading.Thread):
    """What befalls the town and the fleet, a few times a second."""

    def __init__(self, rng, town, zone, running):
        super().__init__(daemon=True)
        self.rng, self.town, self.zone, self.running = rng, town, zone, running
        self.over = threading.Event()
        self.killed = 0
        self.error = None

    def run(self):
        try:
            self.blow()
        except Exception as error:  # the test's own thread tells of it
            self.error = error

    def blow(self):
        started = time.monotonic()
        while not self.over.wait(0.08):
            self.town.set(self.rng.choice(ADDRESSES), self.rng.choice(MODES))
            if self.rng.random() < 0.2:
                for name, entry in describe(self.rng, [self.rng.choice(NAMES)]).items():
                    self.zone.edit(name, entry)
            if time.monotonic() - started > (self.killed + 1) * SECONDS / (KILLS + 1):
                self.kill_a_worker()

    def kill_a_worker(self):
        workers = self.running.workers()
        if workers:
            os.kill(self.rng.choice(workers), signal.SIGKILL)
            self.killed += 1


class Steering(threading.Thread):
    """Whoever sits at the terminal beside the fleet, and never lets it be."""

    def __init__(self, rng, hotfleet, running, sites):
        super().__init__(daemon=True)
        self.rng, self.hotfleet, self.running, self.sites = rng, hotfleet, running, sites
        self.over = threading.Event()
        self.wrong = []

    def run(self):
        while not self.over.wait(0.15):
            words = self.choose()
            done = self.hotfleet.launch(*words, self.running.pid).finish(60)
            # "No" is an answer here: nothing there to list, or to pre-warm. "No fleet that answers" is none.
            if done.exit not in (0, 1):
                self.wrong.append((words, done.explain()))

    def choose(self):
        rng = self.rng
        address = rng.choice(ADDRESSES)
        return rng.choice([
            lambda: ("ctl", "set", *rng.sample(SETTINGS, 2)),
            lambda: ("ctl", "reload"),
            lambda: ("ip", "add", "--black", address, "--expires", "1s"),
            lambda: ("ip", "add", "--black", address, "--host", rng.choice(NAMES)),
            lambda: ("ip", "add", "--white", address),
            lambda: ("ip", "remove", address),
            lambda: ("ip", "remove", address, "--host", rng.choice(NAMES)),
            lambda: ("conn", "list"),
            lambda: ("conn", "show", address),
            lambda: ("dns", "refresh"),
            lambda: ("dns", "refresh", rng.choice(NAMES)),
            lambda: ("ctl", "prewarm", rng.choice(self.sites), str(rng.randint(1, 30))),
            lambda: ("ctl", "prewarm", rng.choice(self.sites), str(rng.randint(1, 12)), "--wait"),
            lambda: ("ctl", "flush"),
            lambda: ("ctl", "flush", "--idle"),
        ])()

    def stop(self):
        """As it was, but for what was learned."""
        self.over.set()
        self.join()
        for words in [("ctl", "reload"), ("ip", "remove", *ADDRESSES),
                      *[("ip", "remove", "--host", name, *ADDRESSES) for name in NAMES]]:
            done = self.hotfleet.launch(*words, self.running.pid).finish()
            assert done.exit in (0, 1), done.explain()
        assert not self.wrong, self.wrong[:3]


def open_descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def sockets(pid):
    found = 0
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            found += os.readlink(f"/proc/{pid}/fd/{fd}").startswith("socket:")
        except OSError:
            pass
    return found


def ask(hotfleet, *arguments):
    done = hotfleet.launch("ctl", *arguments).finish(60)
    assert done.exit == 0, done.explain()
    return json.loads(done.stdout) if done.stdout.startswith(b"{") else done.stdout


def settle(condition, seconds=10):
    """Until condition() is true; it tells what is amiss as text, and nothing when all is well."""
    deadline = time.monotonic() + seconds
    while amiss := condition():
        assert time.monotonic() < deadline, amiss
        time.sleep(0.05)


def line(n, sites):
    """The n-th input line: all kinds, in turn."""
    url = f"{sites[n % len(sites)]}/{'bytes/' if n % len(sites) == len(sites) - 1 else ''}{n}"
    if n % 11 == 0:
        return json.dumps({"url": url, "validate": True})
    if n % 13 == 0:
        return json.dumps({"url": url, "method": "POST", "body": "once"})
    return url


def test_a_fleet_lives_through_all_of_it(hotfleet, town, name_server, h2origin):
    seed = int(os.environ.get("HOTFLEET_TEST_SEED", "0")) or random.SystemRandom().randint(1, 1 << 30)
    print(f"HOTFLEET_TEST_SEED={seed}")
    rng = random.Random(seed)
    houses = town(ADDRESSES)
    zone = name_server({**describe(rng, NAMES), "h2.site.test": {"A": ["127.0.0.1"], "ttl": 0}})
    sites = [f"https://{name}:{houses.port['https']}" for name in NAMES] + [f"https://h2.site.test:{h2origin.port['h2']}"]
    flags = [f"--{name}={value}" for name, value in INTERVALS.items()]
    running = hotfleet.start("-w", WORKERS, "--silent", "--attempt-log", "--resolvers", zone.resolver,
                             "--max-connections", MAX_CONNECTIONS, "--max-conns-per-host", MAX_PER_HOST,
                             "--max-idle-conns", MAX_CONNECTIONS, "--prewarm", f"{sites[0]}=8", "--prewarm", f"{sites[3]}=2",
                             *flags)
    running.wait_for_workers(WORKERS)
    running.feed(*[line(n, sites) for n in range(30)])
    running.wait_for_records(30)
    before = open_descriptors(running.pid)
    weather = Weather(random.Random(seed), houses, zone, running)
    steering = Steering(random.Random(seed + 1), hotfleet, running, sites)
    weather.start()
    steering.start()
    sent, until = 30, time.monotonic() + SECONDS
    while time.monotonic() < until:
        running.feed(*[line(n, sites) for n in range(sent, sent + 20)])
        sent += 20
        running.wait_for_records(sent - 400, seconds=30)
        time.sleep(0.04)
    weather.over.set()
    weather.join()
    assert not weather.error, weather.error
    assert weather.killed >= KILLS - 1
    for address in ADDRESSES:
        houses.set(address, "ok")
    steering.stop()
    running.wait_for_records(sent, seconds=60)
    # Fair weather again: within a few intervals everything is used, and nothing fails.
    time.sleep(3)
    running.feed(*[line(n, sites) for n in range(sent, sent + 300)])
    running.wait_for_records(sent + 300, seconds=30)
    failed = [r for r in running.records() if r["seq"] > sent + 150 and r["failed"]]
    if failed:
        pytest.fail("\n".join(json.dumps(r) for r in failed[:3]))
    sent += 300
    check_nothing_is_left(hotfleet, running, before, weather.killed)
    check_all_can_be_had(hotfleet, running, sites)
    check_numbers(hotfleet, running, houses, h2origin)
    result = running.finish(60)
    records = check_complete(result, sent)
    good = sum(not r["failed"] for r in records.values())
    assert good > sent / 3, f"{good} of {sent}"


def check_nothing_is_left(hotfleet, running, descriptors_before, killed):
    """No connection, lease, gauge or descriptor outlives what it was for, and no worker died of itself."""
    ask(hotfleet, "set", "dns_update_interval=1h", "health_check_interval=1h", running.pid)
    ask(hotfleet, "flush", running.pid)
    settle(lambda: [pid for pid in running.workers() if sockets(pid)])
    stats = {}

    def gauges():
        stats.update(ask(hotfleet, "stats", running.pid))
        return {gauge: stats[gauge] for gauge in (*GAUGES, "circuits_open") if stats[gauge]}

    settle(gauges)
    settle(lambda: open_descriptors(running.pid) > descriptors_before + 4 and "descriptors are left")
    assert stats["worker_deaths"] == killed, f"{stats['worker_deaths']} deaths, {killed} killed\n{running.err[-3000:]}"


def check_all_can_be_had(hotfleet, running, sites):
    """A slot that leaked would be missing now."""
    ask(hotfleet, "set", "idle_timeout=60s", "max_lifetime=60s", "prewarm_timeout=20s", running.pid)
    for site in sites[:2]:
        answer = ask(hotfleet, "prewarm", "--wait", site, str(MAX_PER_HOST), running.pid)
        assert answer["warmed"] == MAX_PER_HOST, answer


def check_numbers(hotfleet, running, houses, h2origin):
    stats = ask(hotfleet, "stats", running.pid)
    counts = houses.counts().values()
    h2_requests = len(h2origin.requests())
    served = sum(c["requests"] for c in counts) + h2_requests
    answered = sum(n for c in counts for n in c["statuses"].values()) + h2_requests
    asked = stats["requests"] + stats["validations"] + stats["probes"]
    idle_parts = [name for name in USED if not stats[name]]
    assert not idle_parts, idle_parts
    # A killed worker and a dying server each take some requests with them that only the other side counts.
    assert asked >= served >= stats["responses"], (asked, served, stats["responses"])
    assert answered >= stats["responses"], (answered, stats["responses"])
