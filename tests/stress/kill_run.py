"""A run of kill-anything: its rounds until all is done, and the checks after each and at the end."""
import json
import os
import shutil
import subprocess
import time
import traceback
from dataclasses import dataclass, field

from kill_check import check_descriptors, check_limits, check_numbers, check_record, check_stderr, parse
from kill_plan import draw
from kill_round import Failure, Round, expect
from kill_site import binary, is_sanitized

SLACK_S = 30
ON_DISK_BYTES = 16384  # an empty overflow.mdb is smaller
FINISHED_S = 20  # for a start that has nothing to do


@dataclass
class Report:
    """What came of a run."""

    seed: int
    mode: str = ""
    error: str = ""
    seconds: float = 0
    rounds: int = 0
    lines: int = 0
    workers_killed: int = 0
    coordinators_killed: int = 0
    stopped: int = 0  # rounds that ended with 75
    overflowed: bool = False
    events: dict = field(default_factory=dict)


class Run:
    def __init__(self, seed, site, group, jobs, directory):
        self.site, self.group, self.directory = site, group, directory
        self.plan = draw(seed, site, group, jobs)
        self.report = Report(seed, self.plan.mode, lines=len(self.plan.lines))
        self.lines = list(self.plan.lines)
        self.rounds = []   # whose output counts
        self.all_rounds = []
        self.scale = 5 if is_sanitized() else 1
        os.makedirs(self.path("tmp"))
        self.log = open(self.path("log"), "w", encoding="utf-8")
        self.note(self.plan.describe())
        self.options = [*self.plan.options, "--allow-private", "--cacert", site.cacert, "--resolvers",
                        f"127.0.0.1:{site.port['dns']}"]
        if self.plan.mode == "job":
            self.options += ["--job", self.path("job")]
        if self.plan.own_state:
            self.options += ["--state", self.path("state")]
        self.write_list()
        if self.plan.output == "append":
            with open(self.path("records"), "wb") as file:
                file.write(self.plan.prior)

    def path(self, name):
        return os.path.join(self.directory, name)

    def note(self, text):
        print(text, file=self.log, flush=True)

    def input_bytes(self):
        text = "\n".join(line.text for line in self.lines).encode()
        return text + b"\n" if self.plan.last_newline else text

    def write_list(self):
        with open(self.path("list"), "wb") as file:
            file.write(self.input_bytes())

    # --- rounds ---

    def go(self, actions):
        """One start. Returns its Round, whose exit code is one that its signals explain."""
        current = Round(self, len(self.all_rounds) + 1, actions)
        self.rounds.append(current)
        self.all_rounds.append(current)
        exit_code = current.carry_out(SLACK_S * self.scale + 5 * self.plan.expected_s)
        with open(self.path(f"stderr.{current.number}"), encoding="utf-8", errors="replace") as file:
            current.stderr = file.read()
        check_stderr(current.stderr, f"round {current.number}")
        signals = [what.split("-")[0] for what in current.done if what.startswith(("term", "interrupt"))]
        allowed = {0}
        if signals:
            allowed.add(75)
        if len(signals) > 1:
            allowed |= {143, 130}
        if current.early_signal:
            allowed |= {-15, -2}  # before it was caught
        if current.killed["coordinator"]:
            allowed.add(-9)
        expect(exit_code in allowed, f"round {current.number} ended with {exit_code}, not one of {sorted(allowed)}; "
                                     f"done: {current.done}\n{current.stderr[-1500:]}")
        check_descriptors(current.first_fds, current.last_fds)
        self.see_sockets_close()
        return current

    def see_sockets_close(self):
        until = time.monotonic() + 2
        while open_now := self.site.ask("group", self.group)["open"]:
            expect(time.monotonic() < until, f"{open_now} sockets at the origin outlive the fleet")
            time.sleep(0.01)

    def check_round(self, current):
        """What holds before the job is done: whole lines, none twice."""
        what = f"round {current.number}"
        if current.exit < 0:
            return
        if self.plan.output == "pipe":
            check_numbers(parse(bytes(current.out), what), len(self.lines), what, complete=False)
        else:
            check_numbers(parse(self.recorded(), what), len(self.lines), what, complete=False)

    def recorded(self):
        """The output file, without what was there before."""
        try:
            with open(self.path("records"), "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return b""
        expect(data.startswith(self.plan.prior), "what the output file held before is gone")
        return data[len(self.plan.prior):]

    def all_output(self):
        """Of all rounds; with a pipe a torn line at the end of a killed round is nobody's."""
        if self.plan.output != "pipe":
            return self.recorded()
        return b"".join(bytes(r.out[:r.out.rfind(b"\n") + 1]) if r.exit < 0 else bytes(r.out) for r in self.rounds)

    def run_workers(self):
        current = self.go(self.plan.rounds[0])
        self.check_round(current)
        if current.exit < 0:
            self.run_anew()
        else:
            self.check_all(complete=current.exit == 0, once=True)

    def run_again(self):
        """A killed run, and another one in the same place, which clears up after the first."""
        first = self.go(self.plan.rounds[0])
        if first.exit == 0:
            self.check_all(complete=True, once=True)
        self.run_anew()

    def run_anew(self):
        self.rounds.clear()
        if self.plan.output == "append":
            os.truncate(self.path("records"), len(self.plan.prior))
        self.go([])
        self.check_all(complete=True, once=True)

    def run_job(self):
        exit_code = None
        for number, actions in enumerate(self.plan.rounds):
            if number == 1 and self.plan.more_lines:
                self.lines += self.plan.more_lines
                self.write_list()
                self.plan.more_lines = []
            current = self.go(actions)
            self.check_round(current)
            exit_code = current.exit
            if exit_code == 0:
                break
            self.probe()
        if exit_code != 0:
            current = self.go([])
            expect(current.exit == 0, f"the last round, without any kill, ended with {current.exit}")
        self.check_all(complete=True, once=self.plan.output != "pipe" or len(self.rounds) == 1)
        self.check_finished_job()

    # --- looking at a job ---

    def command(self, *arguments):
        return subprocess.run([binary(), *arguments], capture_output=True, text=True, timeout=FINISHED_S * self.scale,
                              env=self.rounds[-1].environment(), cwd=self.directory, check=False)

    def status(self):
        done = self.command("job", "status", self.path("job"), "--json")
        if done.returncode == 2 and not self.all_output():
            return None  # its first round did not come to its first commit
        expect(done.returncode == 0, f"job status ended with {done.returncode}: {done.stderr}")
        try:
            return json.loads(done.stdout)
        except ValueError as error:
            raise Failure(f"job status: {error}: {done.stdout!r}") from error

    def probe(self):
        """Between two rounds."""
        status = None
        if "status" in self.plan.probes and os.path.exists(self.path("job/job.mdb")):
            status = self.status()
            self.note(f"  status: {status}")
        if status:
            # Killed between its last commit and its end it is finished.
            allowed = ("stopped", "finished") if status["done"] == len(self.lines) else ("stopped",)
            expect(status["state"] in allowed, f"a stopped job says {status}")
            expect(0 <= status["done"] <= status["lines_read"] <= len(self.lines), f"a stopped job says {status}")
            if self.plan.output == "file":
                expect(status["output_bytes"] <= os.path.getsize(self.path("records")), f"more than was written: {status}")
        if "changed" in self.plan.probes and self.plan.input == "file":
            self.probe_changed()

    def probe_changed(self):
        """Once 64 KiB of the list are known to the job, another list is refused, and leaves the job as it is."""
        status = self.status() if os.path.exists(self.path("job/job.mdb")) else None
        if not status or status["state"] == "finished" or status["input_bytes"] < 65536:
            return
        with open(self.path("list"), "rb") as file:
            good = file.read()
        place = good.index(b"/", 1000) + 1
        with open(self.path("list"), "wb") as file:
            file.write(good[:place] + bytes([good[place] ^ 1]) + good[place + 1:])
        before = self.all_output()
        changed = Round(self, 90 + len(self.all_rounds), [])
        exit_code = changed.carry_out(SLACK_S * self.scale)
        with open(self.path("list"), "wb") as file:
            file.write(good)
        with open(self.path(f"stderr.{changed.number}"), encoding="utf-8", errors="replace") as file:
            told = file.read()
        expect(exit_code == 2 and "input-changed" in told, f"a changed list: exit {exit_code}, not 2 with input-changed: {told}")
        expect(before.startswith(self.all_output()), "a refused list changed the output")

    def check_finished_job(self):
        status = self.status()
        self.note(f"  status: {status}")
        expect(status["state"] == "finished" and status["done"] == len(self.lines) and status["left"] == 0,
               f"a finished job of {len(self.lines)} lines says {status}")
        before = self.all_output()
        current = self.go([])
        expect(current.exit == 0, f"a finished job run again ended with {current.exit}")
        expect("nothing to do" in current.stderr, f"a finished job run again says nothing of it: {current.stderr}")
        expect(self.all_output() == before, "a finished job run again changed the output")

    # --- the end ---

    def check_all(self, complete, once):
        records = parse(self.all_output(), "the output")
        check_numbers(records, len(self.lines), "the output", complete, once)
        kills = sum(r.killed["worker"] for r in self.rounds)
        for record in records:
            check_record(record, self.lines[record["seq"] - 1], kills)
        check_limits(self.site.ask("group", self.group), self.plan)
        check_left_over(self.path("tmp"))
        self.report.overflowed = any(r.watched["overflow"].bytes > ON_DISK_BYTES for r in self.all_rounds)

    def carry_out(self):
        began = time.monotonic()
        self.site.ask("reset", self.group)
        try:
            {"workers": self.run_workers, "again": self.run_again, "job": self.run_job}[self.plan.mode]()
        except Failure as failure:
            self.report.error = str(failure)
        except Exception:  # pylint: disable=broad-except
            self.report.error = "the harness itself: " + traceback.format_exc()
        self.fill_report(time.monotonic() - began)
        return self.report

    def fill_report(self, seconds):
        report = self.report
        report.seconds, report.rounds = seconds, len(self.all_rounds)
        for each in self.all_rounds:
            report.workers_killed += each.killed["worker"]
            report.coordinators_killed += each.exit == -9
            report.stopped += each.exit == 75
            for what in each.done:
                report.events[what] = report.events.get(what, 0) + 1
        self.note(f"{'FAILED: ' + report.error if report.error else 'passed'} after {seconds:.2f} s")
        self.log.close()


def check_left_over(directory):
    left = os.listdir(directory)
    expect(not left, f"left in TMPDIR: {left}")
    shared = [name for name in os.listdir("/dev/shm") if "hotfleet" in name]
    expect(not shared, f"left in /dev/shm: {shared}")


def run_one(seed, site, group, jobs, base, keep=False):
    """Carries out the run of `seed` in a directory of its own below `base`, which is kept when it fails."""
    directory = os.path.join(base, f"run-{seed}")
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    report = Run(seed, site, group, jobs, directory).carry_out()
    if not report.error and not keep:
        shutil.rmtree(directory, ignore_errors=True)
    return report
