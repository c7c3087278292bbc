"""Jobs (F4): a run that can be begun again by the same command after any end of it. Here: its ends, and going on."""
import fcntl
import os
import re
import signal
import threading
import time

import pytest

from support.jobs import FAST, Job, targets
from support.origins import wait_until
from support.records import check_answered, check_failed

def slow_urls(origin, count, ms=10):
    return [origin.url(f"/slow?ms={ms}&n={n}") for n in range(1, count + 1)]


# --- finished ---


@pytest.mark.parametrize("output", ["-o", ">>", "pipe"])
def test_finished_job_has_nothing_to_do(hotfleet, origin, output):
    """Given again it ends at once: no request, no record, and a pipe that brings nothing is not waited for."""
    job = Job(hotfleet, [origin.url("/ok")] * 5, output=output)
    job.check_finished(job.run(), 5)
    origin.reset()
    job.input = "open"
    running = job.start()
    assert running.ended.wait(10), "it waits for its input"
    result = running.finish()
    job.check_finished(result, 5)
    assert "finished" in result.stderr and "nothing to do" in result.stderr and job.directory in result.stderr
    assert targets(origin) == []


@pytest.mark.parametrize("harm", ["gone", "shorter"])
def test_finished_job_whose_records_are_gone_says_so(hotfleet, origin, harm):
    """With its records lost it would be wrong to be content."""
    job = Job(hotfleet, [origin.url("/ok")] * 5)
    job.check_finished(job.run(), 5)
    if harm == "gone":
        os.unlink(job.output_path)
    else:
        os.truncate(job.output_path, 10)
    result = job.run()
    assert result.exit == 2 and "output-changed" in result.stderr and job.output_path in result.stderr
    assert "another directory" in result.stderr


def test_finished_job_with_failures_is_exit_8_when_asked(hotfleet, origin):
    job = Job(hotfleet, [origin.url("/ok"), "nonsense"], "--fail-on-error")
    job.check_finished(job.run(), 2, exit_code=8)
    assert job.run().exit == 8
    job.flags.remove("--fail-on-error")
    assert job.run().exit == 0


def test_failure_of_an_earlier_run_counts_for_fail_on_error(hotfleet, origin):
    """The exit code speaks of the job: which of its runs has met the failure makes no difference."""
    job = Job(hotfleet, ["nonsense", *slow_urls(origin, 40, 50)], *FAST, "--fail-on-error")
    running = job.start_slowly()
    job.wait_for_commit(2)
    assert job.stop(running).exit == 75
    assert any(r["failed"] for r in job.records())
    job.check_finished(job.run(), 41, exit_code=8)
    assert job.run().exit == 8


# --- stopped ---


@pytest.mark.parametrize("output", ["-o", ">>", "pipe"])
def test_stopped_job_goes_on(hotfleet, origin, output):
    """TERM: what is under way is finished and committed, nothing is asked twice."""
    urls = slow_urls(origin, 120, 20)
    job = Job(hotfleet, urls, *FAST, output=output)
    running = job.start_slowly()
    job.wait_for(20, running)
    stopped = job.stop(running)
    assert stopped.exit == 75, stopped.explain()
    told, before = job.status(), len(job.records())
    assert (told["state"], told["done"]) == ("stopped", before) and 20 <= before < 120
    assert f"{120 - before} lines that were read have no record" in stopped.stderr
    result = job.run()
    assert f"goes on: {before} lines are done" in result.stderr
    records = job.check_finished(result, 120)
    assert [records[n]["input"] for n in range(1, 121)] == urls and all(map(check_answered, records.values()))
    assert sorted(targets(origin)) == sorted({url[url.index("/slow"):] for url in urls}), "a line was asked for twice"


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_forced_job_goes_on(hotfleet, origin, number, code):
    """A second signal while requests are under way: what they bring is done again."""
    job = Job(hotfleet, slow_urls(origin, 20) + slow_urls(origin, 4, 1500) + slow_urls(origin, 20), *FAST)
    running = job.start_slowly()
    job.wait_for(20, running)
    running.signal(number)
    time.sleep(0.1)
    assert not running.ended.is_set(), "the first signal waits for what is under way"
    running.signal(number)
    assert running.ended.wait(10)
    assert running.finish().exit == code
    job.check_finished(job.run(), 44)


# --- killed ---


@pytest.mark.parametrize("input", ["-i", "stdin", "pipe"])
@pytest.mark.parametrize("output", ["-o", ">>"])
def test_killed_job_has_each_record_once(hotfleet, origin, input, output):
    """kill -9 of the coordinator in the beginning, in the middle and near the end."""
    urls = slow_urls(origin, 160)
    job = Job(hotfleet, urls, *FAST, input=input, output=output)
    for moment in (1, 40, 110):
        running = job.start_slowly()
        job.wait_for(moment, running)
        job.kill(running)
    records = job.check_finished(job.run(), 160)
    assert [records[n]["input"] for n in range(1, 161)] == urls and all(map(check_answered, records.values()))


@pytest.mark.parametrize("input", ["-i", "pipe"])
def test_killed_job_that_writes_to_a_pipe_has_each_record_at_least_once(hotfleet, origin, input):
    """It says so; and what the reader had taken before a commit does not come again."""
    job = Job(hotfleet, slow_urls(origin, 100, 20), *FAST, input=input, output="pipe")
    running = job.start_slowly()
    committed = job.wait_for_commit(30)["done"]
    job.kill(running)
    assert b"at-least-once" in running.err
    committed = max(committed, job.status()["done"])
    result = job.run()
    assert result.exit == 0, result.explain()
    records = job.check_each_at_least_once(100)
    assert len(result.records) == 100 - committed
    assert len(records) == len(running.records()) + len(result.records)


def test_killed_before_a_commit_of_any_line(hotfleet, origin):
    """All of it is done again, and the records of the killed run are gone."""
    job = Job(hotfleet, slow_urls(origin, 30, 30), *FAST, interval="1h")
    running = job.start_slowly()
    job.wait_for(15, running)
    job.kill(running)
    assert job.status()["done"] == 0
    result = job.run()
    job.check_finished(result, 30)
    assert re.search(r"\d+ bytes of records that no commit knows of were cut off", result.stderr), result.explain()
    assert len(set(targets(origin))) == 30


@pytest.mark.parametrize("output", ["-o", ">>", "pipe"])
def test_killed_while_it_starts(hotfleet, origin, output):
    """At moments some milliseconds apart, before and after its files are made."""
    job = Job(hotfleet, slow_urls(origin, 20), *FAST, output=output)
    for step in range(12):
        running = job.start()
        running.ended.wait(step * 0.004)
        if not running.ended.is_set():
            job.kill(running)
    result = job.run()
    assert result.exit == 0, result.explain()
    (job.check_each_at_least_once if output == "pipe" else job.check_each_once)(20)


def test_killed_with_its_workers(hotfleet, origin):
    job = Job(hotfleet, slow_urls(origin, 80), *FAST)
    running = job.start_slowly()
    job.wait_for(20, running)
    running.kill()
    running = job.start_slowly()
    job.wait_for(50, running)
    for pid in running.workers():
        os.kill(pid, signal.SIGKILL)
    job.check_finished(running.finish(), 80)


def test_post_without_a_commit_is_sent_again(hotfleet, origin):
    """A record that no commit knows of is cut off, and its line done again: a server may get a POST twice after a kill,
    though within one run it is never sent twice. Whoever cannot have that lowers --commit-interval, or uses a key that
    the server knows."""
    job = Job(hotfleet, [origin.url("/echo?post")], "-X", "POST", "-d", "x", interval="1h", input="open")
    running = job.start()
    running.feed_bytes(job.bytes)
    job.wait_for(1, running)
    job.kill(running)
    job.input = "pipe"
    job.check_finished(job.run(), 1)
    assert [note["method"] for note in origin.requests()] == ["POST", "POST"]


def test_committed_post_is_not_sent_again(hotfleet, origin):
    job = Job(hotfleet, [origin.url("/echo?post")], "-X", "POST", "-d", "x", input="open")
    running = job.start()
    running.feed_bytes(job.bytes)
    job.wait_for_commit(1)
    job.kill(running)
    job.input = "pipe"
    job.check_finished(job.run(), 1)
    assert len(origin.requests()) == 1


# --- the directory ---


def test_second_fleet_on_the_same_job_is_refused(hotfleet, origin):
    """It names the first one's process, and touches neither its output nor its work."""
    job = Job(hotfleet, slow_urls(origin, 40, 50), *FAST)
    first = job.start_slowly()
    job.wait_for(5, first)
    second = job.run()
    assert second.exit == 2 and str(first.pid) in second.stderr and job.directory in second.stderr, second.explain()
    job.check_finished(first.finish(), 40)


def test_looking_at_a_job_keeps_nobody_from_starting_it(hotfleet, origin):
    """`job status` asks for the lock, and has it for a moment when nobody runs: whoever looks is no second fleet."""
    job = Job(hotfleet, [origin.url("/ok")])
    job.check_finished(job.run(), 1)
    ends = threading.Event()

    def look():
        while not ends.is_set():
            with open(os.path.join(job.directory, "job.lock")) as file:
                fcntl.flock(file, fcntl.LOCK_SH)
                time.sleep(0.002)
            time.sleep(0.001)

    looker = threading.Thread(target=look, daemon=True)
    looker.start()
    results = [job.run() for _ in range(8)]
    ends.set()
    looker.join(10)
    assert [result.exit for result in results] == [0] * 8, results[-1].explain()


@pytest.mark.parametrize("elsewhere", [False, True])
def test_where_the_state_is(hotfleet, origin, elsewhere):
    """The job's directory holds the state map too, unless --state names another."""
    state = os.path.join(hotfleet.directory, "state")
    job = Job(hotfleet, [origin.url("/ok")] * 3, *(["--state", state] if elsewhere else []))
    job.check_finished(job.run(), 3)
    assert os.path.exists(os.path.join(state if elsewhere else job.directory, "data.mdb"))
    assert os.path.exists(os.path.join(job.directory, "job.mdb"))
    assert not (elsewhere and os.path.exists(os.path.join(job.directory, "data.mdb")))
    assert os.stat(job.directory).st_mode & 0o777 == 0o700


@pytest.mark.parametrize("kind", ["a file", "no parent", "a file as parent", "a dangling link"])
def test_directory_that_cannot_be_used(hotfleet, origin, kind):
    """Exit 2, with its name, before the output is touched."""
    job = Job(hotfleet, [origin.url("/ok")])
    place = hotfleet.write("file", "content")
    if kind == "a dangling link":
        os.symlink("nowhere/at/all", job.directory)
    job.flags[job.flags.index(job.directory)] = {
        "a file": place, "no parent": hotfleet.directory + "/none/job", "a file as parent": place + "/job"}.get(
            kind, job.directory)
    name = job.flags[job.flags.index("--job") + 1]
    with open(job.output_path, "w") as file:
        file.write("precious\n")
    result = job.run()
    assert result.exit == 2 and name in result.stderr and targets(origin) == [], result.explain()
    with open(job.output_path) as file:
        assert file.read() == "precious\n"


def test_damaged_job_is_refused(hotfleet, origin):
    job = Job(hotfleet, [origin.url("/ok")])
    os.mkdir(job.directory)
    with open(os.path.join(job.directory, "job.mdb"), "wb") as file:
        file.write(b"\0garbage" * 4096)
    result = job.run()
    assert result.exit == 2 and job.directory in result.stderr and targets(origin) == [], result.explain()


def test_another_shard_is_refused(hotfleet, origin):
    job = Job(hotfleet, [origin.url("/ok", host=f"127.0.0.{n}") for n in range(1, 5)])
    job.flags += ["--shard", "1/2"]
    assert job.run().exit == 0
    count = len(job.records())
    job.flags[-1] = "2/2"
    result = job.run()
    assert result.exit == 2 and "--shard" in result.stderr and "--force" in result.stderr, result.explain()
    del job.flags[-2:]
    assert job.run().exit == 2
    assert len(job.records()) == count


# --- commits ---


def test_commit_interval_changes_while_it_runs(hotfleet, origin):
    job = Job(hotfleet, [], interval="1h", input="open")
    running = job.start()
    running.feed(*[origin.url("/ok")] * 3)
    job.wait_for(3, running)
    time.sleep(0.1)
    assert job.status()["done"] == 0
    changed = hotfleet.command("ctl", "set", "commit_interval=10ms", running.pid)
    assert (changed.exit, changed.stdout) == (0, b"commit_interval: 3600s -> 10ms\n"), changed.explain()
    assert job.wait_for_commit(3, 10)["done"] == 3, "what waited for the old interval is committed by the new one"
    job.check_finished(running.finish(), 3)


@pytest.mark.parametrize("interval, good", [("10ms", True), ("9ms", False), ("1h", True), ("2h", False), ("x", False)])
def test_commit_interval_has_bounds(hotfleet, interval, good):
    result = Job(hotfleet, [], interval=interval).run()
    assert result.exit == (0 if good else 2) and (good or "commit" in result.stderr), result.explain()


def test_invalid_lines_are_done_too(hotfleet):
    """Lines that need no worker go the same way."""
    job = Job(hotfleet, ["nonsense"] * 3000)
    records = job.check_finished(job.run(), 3000)
    check_failed(records[3000], "invalid-url")
    assert wait_until(lambda: job.status()["outcomes"] == {"invalid-url": 3000}, 1)
