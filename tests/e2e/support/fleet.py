"""Running hotfleet: one call for a whole run, or a Running fleet to be fed, watched and killed."""
import os
import re
import resource
import signal
import subprocess
import threading
import time

from support.records import parse_records

ROOT = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", ".."))
KEPT_ENVIRONMENT = ("PATH", "LANG", "ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS", "TSAN_OPTIONS")
SANITIZER_REPORT = re.compile(r"runtime error:|ERROR: \w+Sanitizer|WARNING: ThreadSanitizer")
# Sanitized or busy machines are slow: only limits that tests set for hotfleet itself are tight.
RUN_SECONDS = 30


def binary():
    return os.environ.get("HOTFLEET") or os.path.join(ROOT, "build", "tools", "hotfleet")


def clean_environment(directory, **more):
    """Without HOTFLEET_* and proxies, and with a home and configuration directory that are empty."""
    env = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
    env.update(HOME=directory, XDG_CONFIG_HOME=os.path.join(directory, "xdg"), TMPDIR=directory, **more)
    return env


def is_sanitized():
    with open(binary(), "rb") as file:
        return b"__asan_init" in file.read()


def memory_limit_mib():
    """What a process may take in a run of a few requests; AddressSanitizer keeps freed memory and maps shadows."""
    return 1500 if is_sanitized() else 80


class Result:
    """What a run left behind."""

    def __init__(self, running):
        self.stdout, self.stderr = bytes(running.out), bytes(running.err).decode(errors="replace")
        self.exit, self.usage, self.seconds = running.exit, running.usage, running.seconds

    @property
    def records(self):
        return parse_records(self.stdout)

    @property
    def record(self):
        """The only record."""
        records = self.records
        assert len(records) == 1, f"{len(records)} records in place of one\n{self.explain()}"
        return records[0]

    @property
    def cpu_seconds(self):
        return self.usage.ru_utime + self.usage.ru_stime

    def explain(self):
        return (f"exit {self.exit} after {self.seconds:.2f} s\nstdout: {self.stdout[-1500:]!r}\n"
                f"stderr: {self.stderr[-3000:]}")


def set_limits(limits):
    """(resource, value) each, soft and hard alike."""
    for what, value in limits:
        resource.setrlimit(what, (value, value))


class Running:
    """A process group of ours with its standard streams. Everything it prints is collected as it comes."""

    def __init__(self, arguments, directory, environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                 stderr=subprocess.PIPE, pass_fds=(), limits=()):
        self.out, self.err, self.exit, self.usage = bytearray(), bytearray(), None, None
        self.started = time.monotonic()
        self.process = subprocess.Popen([binary(), *arguments], stdin=stdin, stdout=stdout, stderr=stderr,
                                        cwd=directory, env=environment, start_new_session=True, pass_fds=pass_fds,
                                        preexec_fn=(lambda: set_limits(limits)) if limits else None)
        self.pid = self.process.pid
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=self.wait_for_end, daemon=True)]
        for stream, into in ((self.process.stdout, self.out), (self.process.stderr, self.err)):
            if stream:
                self.threads.append(threading.Thread(target=self.collect, args=(stream, into), daemon=True))
        for thread in self.threads:
            thread.start()

    def wait_for_end(self):
        _, status, self.usage = os.wait4(self.pid, 0)
        self.exit = self.process.returncode = os.waitstatus_to_exitcode(status)
        self.seconds = time.monotonic() - self.started
        self.ended.set()

    @staticmethod
    def collect(stream, into):
        while data := stream.read1(1 << 16):
            into += data

    def feed(self, *lines):
        """Writes lines to its standard input; each gets its newline."""
        self.feed_bytes(b"".join((l.encode() if isinstance(l, str) else l) + b"\n" for l in lines))

    def feed_bytes(self, data):
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def end_input(self):
        try:
            if self.process.stdin:
                self.process.stdin.close()
        except BrokenPipeError:
            pass

    def signal(self, number):
        if not self.ended.is_set():
            os.kill(self.pid, number)

    def records(self):
        """Those of the whole lines printed so far."""
        return parse_records(bytes(self.out[:self.out.rfind(b"\n") + 1]))

    def wait_for_records(self, count, seconds=10):
        """Until so many whole lines have come."""
        deadline = time.monotonic() + seconds
        while self.out.count(b"\n") < count and not self.ended.is_set():
            assert time.monotonic() < deadline, f"{self.out.count(10)} of {count} records: {self.err[-2000:]}"
            time.sleep(0.005)
        return self.records()

    def workers(self):
        """pids of its living hotfleet-worker children."""
        return [pid for pid, parent, name, state in processes()
                if parent == self.pid and name == "hotfleet-worker" and state != "Z"]

    def memory_mib(self):
        """The peak of its largest process so far. What wait4() tells of a child would be at least what these tests
        take themselves."""
        peaks = []
        for pid in [self.pid, *self.workers()]:
            with open(f"/proc/{pid}/status") as file:
                peaks += [int(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM:")]
        return max(peaks)

    def wait_for_workers(self, count, seconds=5):
        deadline = time.monotonic() + seconds
        while len(workers := self.workers()) < count:
            assert time.monotonic() < deadline, f"{len(workers)} of {count} workers in {seconds} s"
            time.sleep(0.01)
        return workers

    def finish(self, seconds=RUN_SECONDS):
        """Ends the input, waits and returns the Result; a run that does not end is killed and fails the test."""
        self.end_input()
        in_time = self.ended.wait(seconds)
        if not in_time:
            self.kill()
        for thread in self.threads:
            thread.join(5)
        result = Result(self)
        assert in_time, f"still running after {seconds} s\n{result.explain()}"
        reports = [line for line in result.stderr.splitlines() if SANITIZER_REPORT.search(line)]
        assert not reports, f"{reports[0]}\n{result.explain()}"
        return result

    def kill(self):
        """The coordinator and whatever of its group is left."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.ended.wait(5)


def processes():
    """(pid, parent, name, state) of each process."""
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat") as file:
                head, rest = file.read().rsplit(")", 1)
        except OSError:
            continue
        state, parent = rest.split()[:2]
        yield int(entry), int(parent), head.split("(", 1)[1], state


def is_alive(pid):
    return any(p == pid and state != "Z" for p, _, _, state in processes())


class Hotfleet:
    """The command under test, in a directory of its own."""

    def __init__(self, directory, cacert):
        self.directory, self.cacert = str(directory), cacert
        self.all = []
        # As users run it: each connection under a profile that is drawn for it. Tests of what a profile changes say which
        # they need; with E2E_PROFILE=NAME those that do not say run under that one.
        profile = os.environ.get("E2E_PROFILE")
        self.flags = ["--profile", profile] if profile else []

    def start(self, *arguments, env=None, allow_private=True, cacert=True, **streams):
        """`hotfleet run` with its input open."""
        base = ["run"]
        if allow_private:
            base.append("--allow-private")
        if cacert:
            base += ["--cacert", self.cacert]
        return self.launch(*base, *self.flags, *arguments, env=env, **streams)

    def launch(self, *arguments, env=None, **streams):
        assert os.access(binary(), os.X_OK), f"{binary()} is missing: build it first, or name it with HOTFLEET"
        running = Running([str(a) for a in arguments], self.directory, clean_environment(self.directory, **(env or {})),
                          **streams)
        self.all.append(running)
        return running

    def __call__(self, lines, *arguments, seconds=RUN_SECONDS, **more):
        """A whole run over `lines`: a list of text or bytes lines, or bytes as they are."""
        running = self.start(*arguments, **more)
        self.feed_all(running, lines)
        return running.finish(seconds)

    def command(self, *arguments, stdin=b"", seconds=RUN_SECONDS, env=None):
        """Any other subcommand, to its end."""
        running = self.launch(*arguments, env=env)
        self.feed_all(running, stdin)
        return running.finish(seconds)

    @staticmethod
    def feed_all(running, lines):
        try:
            if isinstance(lines, bytes):
                running.feed_bytes(lines)
            else:
                running.feed(*lines)
        except BrokenPipeError:
            pass

    def write(self, name, text):
        path = os.path.join(self.directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w" if isinstance(text, str) else "wb") as file:
            file.write(text)
        return path

    def clean_up(self):
        for running in self.all:
            running.kill()
