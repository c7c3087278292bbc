"""What a run of kill-anything does, drawn from its seed: the list, the options, and who dies when."""
import json
import random
from dataclasses import dataclass, field

INVALID = ["", "not a url", "ftp://127.0.0.1/", "http://[::zz]/", "http://127.0.0.1:99999/", "http://", "{", '{"url": 7}',
           '{"url": "http://127.0.0.1/", "surprise": 1}', "http://a b/", "   "]
SLOW_S = 1.2  # what the slowest host of a list takes in all, at most
FEED_S = 0.8   # what a list takes that comes slowly
TIMER_MS = 4  # a shorter delay is none where the kernel's clock ticks 250 times a second


@dataclass(frozen=True)
class Line:
    """A line of the list and what its record must say."""

    text: str
    status: int = 0            # of the answer; 0: a failure
    codes: tuple = ()          # of the failure; of an answered line those that a killed worker may bring about
    tag: object = None


@dataclass(frozen=True)
class Action:
    """At `trigger` (time: seconds since the start; progress: share of the lines that have records; output, commit, overflow:
    the nth change of the output, of job.mdb, of overflow.mdb) these steps, each so many seconds after the one before."""

    trigger: str
    amount: float
    steps: tuple  # of (seconds, what)
    pick: float   # which worker


@dataclass
class Plan:
    seed: int
    mode: str                  # workers: one go; again: killed without a job, and run anew; job: killed until it is done
    lines: list = field(default_factory=list)
    last_newline: bool = True
    more_lines: list = field(default_factory=list)  # added to the file before the second round
    options: list = field(default_factory=list)
    connections: int = 0
    per_host: int = 0
    input: str = "file"        # file: -i; stdin: < FILE; pipe
    output: str = "file"       # file: -o; append: >> FILE; pipe
    prior: bytes = b""         # what the file of >> holds before
    own_state: bool = False
    chunk: int = 65536         # bytes written to a pipe at a time
    chunk_pause_s: float = 0
    rounds: list = field(default_factory=list)  # lists of Actions
    probes: tuple = ()         # of "status", "changed": looked at between two rounds
    expected_s: float = 0

    def describe(self):
        rounds = "\n".join(f"  round {n}: " + "; ".join(describe_action(a) for a in actions)
                           for n, actions in enumerate(self.rounds, 1))
        return (f"seed {self.seed}, mode {self.mode}: {len(self.lines)} lines (+{len(self.more_lines)}), input {self.input}, "
                f"output {self.output} after {len(self.prior)} bytes, probes {self.probes}, expected {self.expected_s:.2f} s\n"
                f"  options: {' '.join(self.options)}\n{rounds}\n")


def describe_action(action):
    return f"at {action.trigger} {action.amount:.4g}: " + ", ".join(f"+{s:.4f} {what}" for s, what in action.steps)


class Drawer:
    def __init__(self, seed, site, group, jobs):
        self.random = random.Random(seed)
        self.port, self.group, self.jobs = site.port, group, jobs
        self.plan = Plan(seed, self.draw_mode())
        self.resolved, self.slow_s, self.padding = [], 0, ""

    def draw_mode(self):
        if not self.jobs:
            return "workers"
        return self.choose(job=7, workers=2, again=1)

    def choose(self, **weights):
        return self.random.choices(list(weights), weights.values())[0]

    def chance(self, probability):
        return self.random.random() < probability

    # --- the list ---

    def host_url(self, kind, number):
        """The beginning of a URL of one host."""
        if kind == "https":
            name = f"h{number}.kill.test"
            entry = f"{name}:{self.port['https']}:127.{self.group}.2.{number + 1}"
            if entry not in self.resolved:
                self.resolved.append(entry)
            return f"https://{name}:{self.port['https']}"
        return f"http://127.{self.group}.{1 if kind == 'http' else 3}.{number + 1}:{self.port['http']}"

    def draw_lines(self):
        count = self.random.randint(300, self.random.choice([600, 1500, 3000]))
        fast = [self.host_url("http", n) for n in range(self.random.randint(1, 6))]
        if self.chance(0.5):
            fast += [self.host_url("https", n) for n in range(self.random.randint(1, 3))]
        share = self.random.choice([0, 0.3, 0.6, 0.9])
        big = [self.big_line(n, int(count * share)) for n in range(int(count * share))]
        odd = self.odd_lines(fast)
        slow = self.slow_lines()
        rest = [self.fast_line(self.random.choice(fast), n) for n in range(max(10, count - len(big) - len(odd) - len(slow)))]
        return self.mix(big, rest, odd + slow)

    def big_line(self, n, count):
        """Of the host that has most of the list, often a slow one."""
        if n == 0:
            ms = self.random.choice([0, 0, 1, 2, 4])
            self.big_way = f"queue/{ms}" if ms and count * TIMER_MS / 1000 <= 2 * SLOW_S else "big"
            self.slow_s = count * TIMER_MS / 1000 if self.big_way != "big" else 0
            # What is kept beyond the window goes to the disk by the megabyte: short lines of a short list never do.
            length = self.random.choice([0, 0, 300, 1500, 6000])
            self.padding = "?" + "p" * length if length else ""
        return Line(f"{self.host_url('slow', 0)}/{self.big_way}/{n}{self.padding}", 200, ("retries-exhausted",))

    def slow_lines(self):
        lines = []
        for host in range(1, self.random.randint(1, 3)):
            ms = self.random.choice([5, 20, 50])
            count = self.random.randint(1, int(SLOW_S * 1000 / ms))
            way = self.random.choice(["queue", "delay"])
            lines += [Line(f"{self.host_url('slow', host)}/{way}/{ms}/{n}", 200, ("retries-exhausted",)) for n in range(count)]
            self.slow_s = max(self.slow_s, count * ms / 1000)
        return lines

    def fast_line(self, host, n):
        url = f"{host}/fast/{n}"
        if self.chance(0.15):
            tag = {"n": n, "word": "x" * self.random.randint(0, 40)}
            if self.chance(0.3):
                return Line(json.dumps({"url": url, "method": "POST", "body": "b" * self.random.randint(0, 100), "tag": tag}),
                            200, ("retries-exhausted", "connection-closed", "connection-broken"), tag)
            return Line(json.dumps({"url": url, "tag": tag}), 200, ("retries-exhausted",), tag)
        return Line(url, 200, ("retries-exhausted",))

    def odd_lines(self, fast):
        """What fails, and what answers in other ways."""
        lines = [Line(self.random.choice(INVALID), codes=("invalid-url", "invalid-host"))
                 for _ in range(self.random.randint(0, 12))]
        lines += [Line(f"http://127.{self.group}.4.1:{self.port['refused']}/{n}", codes=("connection-refused", "retries-exhausted"))
                  for n in range(self.random.randint(0, 4))]
        lines += [Line(f"http://nx{n}.kill.test/", codes=("dns-nxdomain",)) for n in range(self.random.randint(0, 4))]
        lines += [Line(f"{self.random.choice(fast)}/cut/{n}", codes=("connection-closed", "connection-broken", "protocol-error",
                                                                  "retries-exhausted"))
                  for n in range(self.random.randint(0, 3))]
        lines += [Line(f"{self.random.choice(fast)}/close/{n}", 200, ("retries-exhausted",))
                  for n in range(self.random.randint(0, 6))]
        for status in (404, 500):
            lines += [Line(f"{self.random.choice(fast)}/status/{status}/{n}", status, ("retries-exhausted",))
                      for n in range(self.random.randint(0, 4))]
        return lines

    def mix(self, big, rest, others):
        order = self.choose(random=3, big_first=2, big_last=1)
        tail = rest + others
        self.random.shuffle(tail)
        if order == "random":
            lines = big + tail
            self.random.shuffle(lines)
            return lines
        return big + tail if order == "big_first" else tail + big

    # --- the options ---

    def draw_options(self):
        plan, count = self.plan, len(self.plan.lines)
        plan.connections = self.random.choice([2, 5, 16, 40, 100])
        plan.per_host = self.random.randint(1, min(10, plan.connections))
        window = self.random.choice([20, 50, 200, *([1000, 20000] if len(self.padding) < 1000 else [])])
        plan.options = ["-w", str(self.random.randint(1, 4)), "-c", str(self.random.choice([1 if count < 600 else 8, 8, 50, 1000])),
                        "--window", str(window), "--max-connections", str(plan.connections),
                        "--max-conns-per-host", str(plan.per_host), "--max-idle-conns", str(self.random.choice([0, 5, 20])),
                        "--retry-delay", "20ms", "--drain-timeout", self.random.choice(["300ms", "3s"])]
        for entry in self.resolved:
            plan.options += ["--resolve", entry]
        plan.options += self.random.choice([[], [], [], ["--timings"], ["--attempt-log"], ["--hash"]])
        if self.jobs and self.chance(0.1):
            plan.options += ["--overflow-max", "1M"]
        if plan.mode == "job":
            plan.options += ["--commit-interval", self.random.choice(["20ms", "50ms", "200ms", "1s"])]
            plan.own_state = self.chance(0.15)
        plan.input = self.choose(file=4, stdin=2, pipe=3)
        plan.output = self.choose(file=4, append=3, pipe=2)
        if plan.output == "append" and self.chance(0.4):
            plan.prior = b'{"seq":0,"who":"another run"}\n' * self.random.randint(1, 400)
        # Without its newline an empty line is none.
        plan.last_newline = self.chance(0.8) or not plan.lines[-1].text
        if plan.input == "pipe" and self.chance(0.4):
            size = sum(len(line.text) + 1 for line in plan.lines)
            plan.chunk = 1 + size // self.random.choice([5, 20, 80])
            plan.chunk_pause_s = FEED_S * plan.chunk / size
        plan.expected_s = 0.05 + count / (10000 if int(plan.options[3]) > 1 else 4000) + self.slow_s + (FEED_S if plan.chunk_pause_s else 0)

    # --- the kills ---

    def trigger(self):
        """(trigger, amount) of a moment."""
        ways = {"uniform": 5, "start": 2, "progress": 3, "output": 2}
        if self.plan.mode == "job":
            ways |= {"commit": 4, "overflow": 1}
        way = self.choose(**ways)
        if way == "uniform":
            return "time", self.random.uniform(0, self.plan.expected_s)
        if way == "start":
            return "time", self.random.uniform(0, 0.05)
        if way == "progress":
            return "progress", self.random.uniform(0, 1)
        return way, self.random.randint(2, 4) if way == "overflow" else self.random.randint(1, 12)

    def moment(self):
        return self.random.choice([0, 0, self.random.uniform(0, 0.003), self.random.uniform(0, 0.05)])

    def action(self, *steps):
        trigger, amount = self.trigger()
        first, *others = steps
        return Action(trigger, amount, tuple([(self.moment(), first), *others]), self.random.random())

    def gentle_action(self):
        """Only workers suffer."""
        way = self.choose(one=6, all=1, stop=2, twice=1)
        if way == "one":
            return self.action("kill-worker")
        if way == "all":
            return self.action("kill-workers")
        if way == "stop":
            return self.action("stop-worker", (self.random.uniform(0.01, 0.4), "continue-all"))
        return self.action("kill-worker", (self.random.uniform(0, 0.06), "kill-worker"))

    def ending_action(self):
        """The round ends by it."""
        after = self.random.choice([0, self.random.uniform(0, 0.02), self.random.uniform(0, 0.4)])
        ways = {
            "coordinator": (4, ["kill-coordinator"]),
            "all": (3, ["kill-all"]),
            "term": (2, ["term"]),
            "interrupt_all": (1, ["interrupt-all"]),
            "term_kill": (3, ["term", (after, self.random.choice(["kill-coordinator", "kill-all"]))]),
            "term_worker": (1, ["term", (after, "kill-worker")]),
            "term_term": (1, ["term", (after, "term")]),
            "stop_kill": (1, ["stop-coordinator", (after, "kill-coordinator")]),
            "stop_all": (1, ["stop-all", (after, "kill-coordinator"), (0.01, "continue-all")]),
            "stop_worker": (1, ["stop-worker", (after, "kill-coordinator")]),
            "worker_first": (1, ["kill-worker", (self.random.uniform(0, 0.03), "kill-coordinator")]),
        }
        way = self.choose(**{name: weight for name, (weight, _) in ways.items()})
        return self.action(*ways[way][1])

    def draw_rounds(self):
        plan = self.plan
        if plan.mode == "workers":
            plan.rounds = [[self.gentle_action() for _ in range(self.random.randint(1, 8))]]
            if self.chance(0.1):
                plan.rounds[0].append(self.action("term"))
        elif plan.mode == "again":
            plan.rounds = [[self.action(self.random.choice(["kill-coordinator", "kill-all"]))]]
        else:
            for _ in range(self.random.choice([1, 1, 2, 3, 6])):
                gentle = [self.gentle_action() for _ in range(self.random.choice([0, 0, 1, 3]))]
                plan.rounds.append([*gentle, self.ending_action()])
            self.draw_probes()

    def draw_probes(self):
        plan = self.plan
        plan.probes = tuple(name for name, probability in (("status", 0.3), ("changed", 0.2))
                            if self.chance(probability))
        if plan.input != "pipe" and plan.output != "pipe" and self.chance(0.15):
            plan.rounds[-1].append(self.action("second-start"))
        if plan.input != "pipe" and plan.last_newline and self.chance(0.15):
            plan.more_lines = [Line(f"{self.host_url('http', 0)}/more/{n}", 200, ("retries-exhausted",))
                               for n in range(self.random.randint(1, 200))]


def draw(seed, site, group, jobs):
    drawer = Drawer(seed, site, group, jobs)
    drawer.plan.lines = drawer.draw_lines()
    drawer.draw_options()
    drawer.draw_rounds()
    return drawer.plan
