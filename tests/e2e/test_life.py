"""The hours of a fleet in half a minute: short intervals, and a town whose addresses die, refuse, falter and come back,
names that move, workers that are killed. In the end every line has its record, and nothing is left behind."""
import json
import os
import random
import signal
import threading
import time

from support.records import check_complete

SECONDS = 25
ADDRESSES = [f"127.1.{row}.{house}" for row in (1, 2) for house in range(1, 7)]
NAMES = ["a.site.test", "b.site.test", "c.site.test"]
MODES = ["ok"] * 6 + ["blocked", "error", "busy", "closing", "slow", "cut", "dead"]
INTERVALS = {"idle-timeout": "400ms", "max-lifetime": "1500ms", "health-check-interval": "150ms",
             "test-timeout": "300ms", "cleanup-interval": "200ms", "blacklist-check-interval": "300ms",
             "dns-update-interval": "400ms", "dns-ttl-min": "100ms", "conn-timeout": "500ms", "tls-timeout": "2s",
             "retry-delay": "5ms", "retry-delay-max": "50ms"}
WORKERS = 3
MAX_CONNECTIONS = 24
KILLS = 5


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

    def run(self):
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
    done = hotfleet.launch("ctl", *arguments).finish()
    assert done.exit == 0, done.explain()
    return json.loads(done.stdout)


def settle(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_fleet_lives_through_all_of_it(hotfleet, town, name_server):
    seed = int(os.environ.get("HOTFLEET_TEST_SEED", "0")) or random.SystemRandom().randint(1, 1 << 30)
    print(f"HOTFLEET_TEST_SEED={seed}")
    rng = random.Random(seed)
    houses = town(ADDRESSES)
    zone = name_server(describe(rng, NAMES))
    flags = [f"--{name}={value}" for name, value in INTERVALS.items()]
    running = hotfleet.start("-w", WORKERS, "--silent", "--breaker-failures", "0", "--resolvers", zone.resolver,
                             "--max-connections", MAX_CONNECTIONS, "--max-conns-per-host", "12", "--max-idle-conns", MAX_CONNECTIONS, *flags)
    running.wait_for_workers(WORKERS)
    url = lambda n: f"https://{NAMES[n % len(NAMES)]}:{houses.port['https']}/{n}"
    running.feed(*[url(n) for n in range(30)])
    running.wait_for_records(30)
    before = open_descriptors(running.pid)
    weather = Weather(rng, houses, zone, running)
    weather.start()
    sent, until = 30, time.monotonic() + SECONDS
    while time.monotonic() < until:
        running.feed(*[url(n) for n in range(sent, sent + 20)])
        sent += 20
        running.wait_for_records(sent - 400, seconds=30)
        time.sleep(0.04)
    weather.over.set()
    weather.join()
    assert weather.killed >= KILLS - 1
    for address in ADDRESSES:
        houses.set(address, "ok")
    running.wait_for_records(sent, seconds=60)
    # Fair weather again: within a few intervals everything is used, and nothing fails.
    time.sleep(1.5)
    running.feed(*[url(n) for n in range(sent, sent + 300)])
    running.wait_for_records(sent + 300, seconds=30)
    records = running.records()
    last = [r for r in records if r["seq"] > sent + 150]
    assert not [r for r in last if r["failed"]], [r for r in last if r["failed"]][:3]
    check_nothing_is_left(hotfleet, running, houses, before)
    sent += 300
    result = running.finish(60)
    records = check_complete(result, sent)
    good = sum(not r["failed"] for r in records.values())
    assert good > sent / 3, f"{good} of {sent}"


def check_nothing_is_left(hotfleet, running, houses, descriptors_before):
    """No connection, lease, gauge or descriptor outlives what it was for; the numbers are those of the servers."""
    ask(hotfleet, "flush", running.pid)
    settle(lambda: all(sockets(pid) == 0 for pid in running.workers()))
    stats = ask(hotfleet, "stats", running.pid)
    for gauge in ("conns_active", "conns_idle", "conns_dialing", "waiting", "in_flight", "queued"):
        assert stats[gauge] == 0, (gauge, stats[gauge])
    settle(lambda: open_descriptors(running.pid) <= descriptors_before + 4)
    assert stats["worker_deaths"] >= KILLS - 1
    counts = houses.counts().values()
    served = sum(c["requests"] for c in counts)
    answered = sum(n for c in counts for n in c["statuses"].values())
    # A killed worker and a dying server each take some requests with them that only the other side counts.
    assert stats["requests"] >= served >= stats["responses"]
    assert answered >= stats["responses"] >= answered - 100
