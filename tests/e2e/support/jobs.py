"""A job: one command that is given again and again, until its input is done, whatever ended it before."""
import json
import os
import signal
import threading

from support.fleet import RUN_SECONDS
from support.origins import wait_until
from support.records import check_record, parse_records


FAST = ("-w", "2", "--max-conns-per-host", "16")


class Job:
    """`hotfleet run --job` over `lines`, which come from a file named with -i, from the same file as standard input, or
    through a pipe; records go to a file named with -o, to one that >> opens, or through a pipe."""

    def __init__(self, hotfleet, lines, *flags, input="-i", output="-o", interval="20ms", place="job"):
        self.hotfleet, self.flags, self.input, self.output = hotfleet, list(flags), input, output
        self.directory = os.path.join(hotfleet.directory, place)
        self.input_path = os.path.join(hotfleet.directory, "job.urls")
        self.output_path = os.path.join(hotfleet.directory, "job.jsonl")
        self.flags += ["--job", self.directory, "--commit-interval", interval]
        self.runs = []
        self.write(lines)

    def write(self, lines):
        """What the next run finds as its input: a list of lines, or bytes as they are."""
        self.bytes = lines if isinstance(lines, bytes) else b"".join(line.encode() + b"\n" for line in lines)
        with open(self.input_path, "wb") as file:
            file.write(self.bytes)

    def start(self, *more, **streams):
        flags, opened = [*self.flags, *more], []
        if self.input == "-i":
            flags += ["-i", self.input_path]
        elif self.input == "stdin":
            opened.append(open(self.input_path, "rb"))
            streams["stdin"] = opened[-1]
        if self.output == "-o":
            flags += ["-o", self.output_path]
        elif self.output in (">>", ">"):
            opened.append(open(self.output_path, "ab" if self.output == ">>" else "wb"))
            streams["stdout"] = opened[-1]
        running = self.hotfleet.start(*flags, **streams)
        for file in opened:
            file.close()
        self.runs.append(running)
        if self.input == "pipe":
            self.feed(running)
        return running

    def start_slowly(self, *more):
        """A run that is to be ended in its midst: one request at a time, so that a busy machine is quick enough for it."""
        return self.start("--max-conns-per-host", "1", *more)

    def feed(self, running):
        def feed():
            self.hotfleet.feed_all(running, self.bytes)
            running.end_input()

        threading.Thread(target=feed, daemon=True).start()

    def run(self, *more, seconds=RUN_SECONDS):
        return self.start(*more).finish(seconds)

    def written(self):
        """Whole lines that the output has."""
        if self.output == "pipe":
            return sum(bytes(running.out).count(b"\n") for running in self.runs)
        with open(self.output_path, "rb") as file:
            return file.read().count(b"\n")

    def wait_for(self, count, running, seconds=RUN_SECONDS):
        """Until so many records are in the output."""
        assert wait_until(lambda: running.ended.is_set() or (
            os.path.exists(self.output_path) or self.output == "pipe") and self.written() >= count, seconds)
        assert not running.ended.is_set(), running.finish().explain()

    def wait_for_commit(self, done, seconds=RUN_SECONDS):
        """Until a commit says that so many lines are done; its status."""
        def look():
            told = self.status()
            return told if told and told["done"] >= done else None

        told = wait_until(look, seconds)
        assert told, f"no commit of {done} lines: {self.status()}, {bytes(self.runs[-1].err)}"
        return told

    def kill(self, running):
        """kill -9 of the coordinator alone."""
        os.kill(running.pid, signal.SIGKILL)
        assert running.ended.wait(10)

    def stop(self, running):
        running.signal(signal.SIGTERM)
        assert running.ended.wait(RUN_SECONDS), "the drain does not end"
        return running.finish()

    def status(self):
        """What `job status --json` tells; None when there is no job yet."""
        result = self.hotfleet.command("job", "status", self.directory, "--json")
        return json.loads(result.stdout) if result.exit == 0 else None

    def records(self):
        """Of all runs. A pipe's last line may be torn by a kill."""
        if self.output == "pipe":
            return [record for running in self.runs for record in running.records()]
        with open(self.output_path, "rb") as file:
            return parse_records(file.read())

    def check_each_once(self, count):
        """The output holds one sound record of each line; by seq."""
        records = self.records()
        numbers = sorted(record["seq"] for record in records)
        twice = sorted({n for n, after in zip(numbers, numbers[1:]) if n == after})
        missing = sorted(set(range(1, count + 1)) - set(numbers))
        assert numbers == list(range(1, count + 1)), f"{len(numbers)} of {count}: twice {twice}, missing {missing}"
        for record in records:
            check_record(record)
        return {record["seq"]: record for record in records}

    def check_finished(self, result, count, exit_code=0):
        assert result.exit == exit_code, result.explain()
        told = self.status()
        assert (told["state"], told["left"], told["pid"]) == ("finished", 0, 0), told
        return self.check_each_once(count)

    def check_each_at_least_once(self, count):
        records = self.records()
        assert {record["seq"] for record in records} == set(range(1, count + 1))
        for record in records:
            check_record(record)
        return records


def targets(origin):
    """What was asked for, in the order in which it came."""
    return [note["target"] for note in origin.requests()]
