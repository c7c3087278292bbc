"""One start of the fleet under kill-anything: fed, read, watched and killed by a single thread, in bounded time."""
import os
import select
import signal
import subprocess
import time

from kill_site import (KEPT_ENVIRONMENT, binary, children_of, descriptors_of, end_with_parent, has_region,
                       path_of_descriptor, session_members, workers_of)

TICK_S = 0.001
SAMPLE_S = 0.1
SEARCH_S = 0.02
IN_USE_S = 20
ENDING_S = 3
GONE_S = 2.0  # the spec says one second for workers whose coordinator was killed; the machine may be busy


class Failure(Exception):
    """What a run does not keep of its promises."""


def expect(condition, message):
    if not condition:
        raise Failure(message)


class Watched:
    """A file that is polled for changes of `what`, a function of its stat."""

    def __init__(self, path, what):
        self.path, self.what = path, what
        self.last, self.changes = self.look(), 0

    def look(self):
        try:
            return self.what(os.stat(self.path))
        except OSError:
            return None

    def poll(self):
        now = self.look()
        self.changes += now != self.last
        self.last = now


class OpenFile(Watched):
    """The same of a file without a name that a process has open."""

    def __init__(self, pid, name):
        self.pid, self.name, self.search_at, self.bytes = pid, name, 0, 0
        super().__init__(None, lambda stat: (stat.st_mtime_ns, stat.st_size))

    def look(self):
        now = time.monotonic()
        if self.path is None and now >= self.search_at:
            self.search_at = now + SEARCH_S
            self.path = path_of_descriptor(self.pid, self.name)
        seen = super().look() if self.path else None
        self.bytes = max(self.bytes, seen[1] if seen else 0)
        return seen


class LineCount:
    """Lines of a growing file beyond its first `offset` bytes, read once."""

    def __init__(self, path, offset):
        self.path, self.offset, self.lines = path, offset, 0

    def count(self):
        try:
            with open(self.path, "rb") as file:
                file.seek(self.offset)
                while chunk := file.read(1 << 20):
                    self.offset += len(chunk)
                    self.lines += chunk.count(b"\n")
        except FileNotFoundError:
            pass
        return self.lines


class Round:
    """`run` is the Run it belongs to: its paths, its plan, its notes."""

    def __init__(self, run, number, actions):
        self.run, self.plan, self.number = run, run.plan, number
        self.pending = list(actions)   # Actions whose trigger has not come
        self.steps = []                # [due, what, pick], of those whose trigger has
        self.out = bytearray()         # of a pipe
        self.killed = {"worker": 0, "coordinator": 0}
        self.done = []                 # what was done, in order
        self.stopped = set()
        self.exit = None
        self.first_fds = self.last_fds = None
        self.early_signal = False

    # --- starting ---

    def command(self):
        command = [binary(), "run", *self.run.options]
        if self.plan.input == "file":
            command += ["-i", self.run.path("list")]
        if self.plan.output == "file":
            command += ["-o", self.run.path("records")]
        return command

    def streams(self):
        stdin = {"file": subprocess.DEVNULL, "pipe": subprocess.PIPE}.get(self.plan.input)
        stdin = open(self.run.path("list"), "rb") if stdin is None else stdin
        stdout = {"file": subprocess.DEVNULL, "pipe": subprocess.PIPE}.get(self.plan.output)
        stdout = open(self.run.path("records"), "ab") if stdout is None else stdout
        return stdin, stdout

    def environment(self):
        kept = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
        directory = self.run.directory
        return kept | {"HOME": directory, "XDG_CONFIG_HOME": directory, "TMPDIR": self.run.path("tmp")}

    def start(self):
        stdin, stdout = self.streams()
        self.run.note(f"round {self.number}: {' '.join(self.command())}")
        with open(self.run.path(f"stderr.{self.number}"), "wb") as errors:
            self.started = time.monotonic()
            self.process = subprocess.Popen(self.command(), stdin=stdin, stdout=stdout, stderr=errors,
                                            cwd=self.run.directory, env=self.environment(), start_new_session=True,
                                            preexec_fn=end_with_parent)
        for stream in (stdin, stdout):
            if hasattr(stream, "close"):
                stream.close()
        self.pid = self.process.pid
        self.watched = {
            "output": Watched(self.run.path("records"), lambda s: s.st_size),
            "commit": Watched(self.run.path("job/job.mdb"), lambda s: s.st_mtime_ns),
            "overflow": OpenFile(self.pid, "overflow.mdb"),
        }
        self.counter = LineCount(self.run.path("records"), len(self.plan.prior))
        self.input = memoryview(self.run.input_bytes()) if self.plan.input == "pipe" else memoryview(b"")
        self.feed_at = self.sample_at = self.opened_at = 0
        for stream in (self.process.stdin, self.process.stdout):
            if stream:
                os.set_blocking(stream.fileno(), False)

    # --- acting ---

    def progress(self):
        lines = self.out.count(b"\n") if self.plan.output == "pipe" else self.counter.count()
        return lines / max(1, len(self.plan.lines))

    def has_come(self, action, now):
        if action.trigger == "time":
            return now - self.started >= action.amount
        if action.trigger == "progress":
            return self.progress() >= action.amount
        if action.trigger == "output" and self.plan.output == "pipe":
            return len(self.out) >= action.amount * 4096
        return self.watched[action.trigger].changes >= action.amount

    def act(self, now):
        triggers = {action.trigger for action in self.pending}
        for name in triggers & set(self.watched):
            self.watched[name].poll()
        for action in [a for a in self.pending if self.has_come(a, now)]:
            self.pending.remove(action)
            due = now
            for delay, what in action.steps:
                due += delay
                self.steps.append([due, what, action.pick])
        self.steps.sort()
        while self.steps and self.steps[0][0] <= now and self.process.returncode is None:
            _, what, pick = self.steps.pop(0)
            self.do(what, pick)

    def do(self, what, pick):
        if what == "second-start":
            if workers_of(self.pid):  # else it is not certain who comes first
                self.start_second()
            return
        # Those on their way to be workers may be killed too. At the end, when the region is gone, a child is a leak
        # checker's, which its parent would wait for for ever.
        early = what.startswith("kill") and (has_region(self.pid) or not self.progress())
        workers = children_of(self.pid) if early else workers_of(self.pid)
        one = workers[int(pick * len(workers))] if workers else None
        number = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "continue": signal.SIGCONT, "term": signal.SIGTERM,
                  "interrupt": signal.SIGINT}[what.split("-")[0]]
        target = what.partition("-")[2] or "coordinator"
        pids = {"worker": [one] if one else [], "workers": workers, "coordinator": [self.pid], "all": [self.pid]}[target]
        for pid in pids:
            self.send(pid, number, group=target == "all")
        if number == signal.SIGKILL:
            self.killed["coordinator" if target in ("coordinator", "all") else "worker"] += len(pids)
        self.early_signal |= number in (signal.SIGTERM, signal.SIGINT) and not workers_of(self.pid)
        self.done.append(what)
        self.run.note(f"  {time.monotonic() - self.started:.4f} {what} {pids}, {self.progress() * 100:.0f} % done")

    def start_second(self):
        """The same command while this one has the job: refused, and nothing is touched."""
        stdin, stdout = self.streams()
        self.run.note(f"  {time.monotonic() - self.started:.4f} the same command once more")
        second = subprocess.run(self.command(), stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, timeout=IN_USE_S,
                                cwd=self.run.directory, env=self.environment(), check=False)
        for stream in (stdin, stdout):
            if hasattr(stream, "close"):
                stream.close()
        self.done.append("second-start")
        until = time.monotonic() + ENDING_S
        while second.returncode == 0 and self.process.poll() is None and time.monotonic() < until:
            time.sleep(0.005)  # one that is about to end no longer has the job
        if self.process.poll() is None:
            told = second.stderr.decode(errors="replace")
            expect(second.returncode == 2 and told, f"a second run of a job ends with {second.returncode}, not 2: {told}")

    @staticmethod
    def send(pid, number, group):
        try:
            (os.killpg if group else os.kill)(pid, number)
        except ProcessLookupError:
            pass

    # --- watching ---

    def wait_for_event(self, now):
        """Sleeps for a tick, or until there is something to read or to write."""
        reads = [self.process.stdout] if self.process.stdout else []
        writes = [self.process.stdin] if self.process.stdin and now >= self.feed_at else []
        soonest = min([TICK_S if self.pending else 0.01, *[max(0, due - now) for due, _, _ in self.steps]])
        readable, writable, _ = select.select(reads, writes, [], soonest)
        if readable:
            self.read()
        if writable:
            self.feed(now)

    def read(self):
        try:
            data = os.read(self.process.stdout.fileno(), 1 << 16)
        except BlockingIOError:
            return
        self.out += data
        if not data:
            self.process.stdout.close()
            self.process.stdout = None

    def feed(self, now):
        try:
            n = os.write(self.process.stdin.fileno(), self.input[:self.plan.chunk])
            self.input = self.input[n:]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self.input = memoryview(b"")
        self.feed_at = now + self.plan.chunk_pause_s
        if not self.input:
            self.process.stdin.close()
            self.process.stdin = None

    def sample(self, now):
        """Descriptors of the coordinator: the first look is when all is open."""
        if now < self.sample_at:
            return
        self.sample_at = now + SAMPLE_S
        self.watched["overflow"].poll()
        if not workers_of(self.pid):
            return
        self.opened_at = self.opened_at or now  # workers are started when all is open
        if now - self.opened_at < 3 * SAMPLE_S:
            return
        kinds = descriptors_of(self.pid)
        if kinds and not self.done_for():
            self.last_fds = kinds
            if not self.first_fds:
                self.first_fds = kinds
                self.run.note(f'  {now - self.started:.4f} descriptors {kinds}')

    def done_for(self):
        return any(what.startswith(("term", "interrupt")) or what in ("kill-coordinator", "kill-all") for what in self.done)

    def turn(self, limit_s):
        now = time.monotonic()
        if now - self.started > limit_s:
            self.explain_hang()
            raise Failure(f"round {self.number} is still running after {limit_s:.0f} s")
        self.act(now)
        self.wait_for_event(now)
        self.sample(now)

    def explain_hang(self):
        done = subprocess.run([binary(), "stats", "--json", str(self.pid)], capture_output=True, text=True, timeout=10,
                              env=self.environment(), check=False)
        self.run.note(f"  hangs: {done.stdout.strip()} {done.stderr.strip()}")
        for pid, name in session_members(self.pid):
            with open(f"/proc/{pid}/stat", encoding="ascii") as stat, open(f"/proc/{pid}/wchan", encoding="ascii") as wchan:
                self.run.note(f"  {pid} {name} {stat.read().rsplit(')', 1)[1].split()[0]} {wchan.read()}")

    def carry_out(self, limit_s):
        """Starts and sees it through; afterwards nothing of it is left. Returns the exit code."""
        self.start()
        try:
            while self.process.poll() is None:
                self.turn(limit_s)
            self.exit = self.process.returncode
            self.run.note(f"  {time.monotonic() - self.started:.4f} exit {self.exit}, {self.watched['overflow'].bytes} bytes of overflow")
            if "continue-all" in [what for _, what, _ in self.steps]:
                self.send(self.pid, signal.SIGCONT, group=True)
            self.see_all_go()
            while self.process.stdout:
                self.read()
        finally:
            self.clean_up()
        return self.exit

    def see_all_go(self):
        until = time.monotonic() + GONE_S
        while members := session_members(self.pid):
            expect(time.monotonic() < until, f"round {self.number}: {members} live on {GONE_S} s after the coordinator")
            time.sleep(0.002)

    def clean_up(self):
        """Whatever is still there in the session that was started here."""
        for pid, _ in session_members(self.pid):
            self.send(pid, signal.SIGKILL, group=False)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream:
                stream.close()
