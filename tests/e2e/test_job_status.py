"""`hotfleet job status`: what a job has done, what is left and how it goes, while it runs and when it does not."""
import json
import os
import re

import pytest

from support.jobs import Job

ONE_BY_ONE = ("-w", "1", "--max-conns-per-host", "1")
KEYS = {"state": str, "pid": int, "lines_read": int, "input_ended": bool, "done": int, "left": int, "unread_estimate": int,
        "records": int, "failed": int, "outcomes": dict, "rate": float, "rate_average": float, "input_bytes": int,
        "output": str, "output_bytes": int, "shard": str, "runs": int, "active_seconds": float, "started": str,
        "last_commit": str}


def slow_urls(origin, count, ms=40):
    return [origin.url(f"/slow?ms={ms}&n={n}") for n in range(1, count + 1)]


def text(hotfleet, job):
    """{first word of a line: the rest}"""
    result = hotfleet.command("job", "status", job.directory)
    assert result.exit == 0 and result.stderr == "", result.explain()
    return dict(re.fullmatch(r"(\S+) +(.*)", line).groups() for line in result.stdout.decode().splitlines())


def check_sound(told):
    for key, kind in KEYS.items():
        assert isinstance(told[key], kind) and (kind is bool or not isinstance(told[key], bool)), (key, told)
    assert sum(told["outcomes"].values()) == told["records"] <= told["done"] <= told["lines_read"]
    assert told["failed"] == sum(count for name, count in told["outcomes"].items() if name != "ok")
    assert told["left"] == told["lines_read"] - told["done"]
    assert told["started"] <= told["last_commit"] and told["rate"] >= 0 and told["active_seconds"] >= 0


def test_job_that_runs(hotfleet, origin):
    """Its process is named, and what is left goes down."""
    job = Job(hotfleet, slow_urls(origin, 80, 50), *ONE_BY_ONE)
    running, seen = job.start(), []
    for done in (5, 20, 40):
        seen.append(job.wait_for_commit(done))
        check_sound(seen[-1])
    for told in seen:
        assert (told["state"], told["pid"], told["runs"]) == ("running", running.pid, 1)
        assert told["lines_read"] == 80 and told["input_bytes"] == told["input_size"] == len(job.bytes)
        assert told["output"] == job.output_path and told["output_bytes"] > 0
    assert seen[0]["left"] > seen[1]["left"] > seen[2]["left"] > 0
    assert seen[2]["rate_average"] > 1
    lines = text(hotfleet, job)
    assert f"running (process {running.pid})" in lines["job"] and job.directory in lines["job"]
    assert "of 80 lines read" in lines["done"] and "lines" in lines["left"] and "records/s" in lines["rate"]
    job.check_finished(running.finish(), 80)


@pytest.mark.parametrize("way", ["stopped", "killed"])
def test_job_that_was_stopped(hotfleet, origin, way):
    job = Job(hotfleet, ["nonsense", *slow_urls(origin, 60)], *ONE_BY_ONE)
    running = job.start()
    job.wait_for_commit(5)
    if way == "stopped":
        job.stop(running)
    else:
        job.kill(running)
    told = job.status()
    check_sound(told)
    assert (told["state"], told["pid"]) == ("stopped", 0) and told["left"] > 0
    assert told["outcomes"] == {"ok": told["records"] - 1, "invalid-url": 1}
    lines = text(hotfleet, job)
    assert lines["job"].endswith(": stopped") and "invalid-url 1" in lines["failed"] and lines["failed"].startswith("1")
    assert lines["left"].startswith(f"{told['left']} lines")
    assert lines["output"] == f"{job.output_path}, {told['output_bytes']} bytes"


def test_job_that_is_finished(hotfleet, origin):
    job = Job(hotfleet, [origin.url("/ok")] * 3 + ["nonsense"] * 2, input="stdin")
    job.check_finished(job.run(), 5)
    told = job.status()
    check_sound(told)
    assert told["outcomes"] == {"ok": 3, "invalid-url": 2} and told["failed"] == 2 and told["input_ended"]
    assert told["output_bytes"] == os.path.getsize(job.output_path) and told["unread_estimate"] == 0
    lines = text(hotfleet, job)
    assert lines["job"].endswith(": finished") and "left" not in lines and lines["failed"] == "2: invalid-url 2"


def test_job_of_a_pipe_does_not_know_how_much_comes(hotfleet, origin):
    job = Job(hotfleet, [], input="open", output="pipe")
    running = job.start()
    running.feed(*[origin.url("/ok")] * 4)
    told = job.wait_for_commit(4)
    check_sound(told)
    assert told["input_size"] is None and told["output"] == "" and not told["input_ended"] and told["left"] == 0
    lines = text(hotfleet, job)
    assert "what comes of the input" in lines["left"] and "a stream" in lines["output"]
    assert running.finish().exit == 0
    assert job.status()["input_ended"] and job.status()["state"] == "finished"


def test_job_before_its_first_line(hotfleet):
    job = Job(hotfleet, [], input="open")
    running = job.start()
    told = job.wait_for_commit(0)
    check_sound(told)
    assert (told["state"], told["lines_read"], told["records"], told["outcomes"]) == ("running", 0, 0, {})
    assert running.finish().exit == 0


def test_lines_that_are_not_read_yet_are_estimated(hotfleet, origin):
    """The window holds few of them: what stands in the rest of the file is told by its length."""
    lines = [url + "&p=" + "x" * 500 for url in slow_urls(origin, 2000, 5)]
    job = Job(hotfleet, lines, *ONE_BY_ONE, "--window", "16", "--overflow-max", "1M")
    running = job.start()
    told = job.wait_for_commit(2)
    total = told["lines_read"] + told["unread_estimate"]
    assert 1800 < total < 2200
    running.kill()
    check_sound(job.status())


def test_going_on_is_counted(hotfleet, origin):
    job = Job(hotfleet, slow_urls(origin, 40), *ONE_BY_ONE)
    started = None
    for runs, done in ((1, 4), (2, 12)):
        running = job.start()
        told = job.wait_for_commit(done)
        assert told["runs"] == runs and told["started"] == (started or told["started"])
        started = told["started"]
        job.kill(running)
    job.check_finished(job.run(), 40)
    told = job.status()
    assert told["runs"] == 3 and told["started"] == started and told["records"] == 40
    assert "in 3 runs" in text(hotfleet, job)["rate"]
    job.run()
    assert job.status()["runs"] == 3, "a look at a finished job is no run"


@pytest.mark.parametrize("kind", ["nothing", "empty", "file", "state", "noise", "cut"])
def test_directory_that_is_no_job(hotfleet, origin, kind):
    """Exit 2, with its name; and nothing is made there but what LMDB needs for a look at a map."""
    path = os.path.join(hotfleet.directory, "place")
    if kind == "file":
        hotfleet.write("place", "content")
    elif kind == "state":
        assert hotfleet([origin.url("/ok")], "--state", path).exit == 0
    elif kind == "cut":
        job = Job(hotfleet, [origin.url("/ok")] * 5, place="place")
        assert job.run().exit == 0
        os.truncate(os.path.join(path, "job.mdb"), 8192)
    elif kind != "nothing":
        os.mkdir(path)
    if kind == "noise":
        hotfleet.write("place/job.mdb", os.urandom(20000))
    def content():
        return {name for name in os.listdir(path) if name != "job.mdb-lock"} if os.path.isdir(path) else None

    before = content()
    for flags in ([], ["--json"]):
        result = hotfleet.command("job", "status", path, *flags)
        assert result.exit == 2 and path in result.stderr and result.stdout == b"", result.explain()
    assert content() == before


def test_run_on_a_map_that_was_cut(hotfleet, origin):
    """A file system that lost its end: refused, and no crash."""
    job = Job(hotfleet, [origin.url("/ok")] * 5)
    job.check_finished(job.run(), 5)
    os.truncate(os.path.join(job.directory, "job.mdb"), 8192)
    result = job.run()
    assert result.exit == 2 and job.directory in result.stderr, result.explain()


@pytest.mark.parametrize("arguments, word", [
    ([], "usage"), (["status"], "which directory"), (["stop"], "stop"), (["status", "a", "b"], "b"),
    (["status", "--xml", "a"], "--xml"),
])
def test_wrong_usage(hotfleet, arguments, word):
    result = hotfleet.command("job", *arguments)
    assert result.exit == 2 and word in result.stderr and result.stdout == b"", result.explain()


def test_help(hotfleet):
    for flag in ("--help", "-h"):
        result = hotfleet.command("job", flag)
        assert result.exit == 0 and b"hotfleet job status DIR" in result.stdout and result.stderr == ""


def test_json_is_one_line(hotfleet, origin):
    job = Job(hotfleet, [origin.url("/ok")])
    assert job.run().exit == 0
    result = hotfleet.command("job", "status", "--json", job.directory)
    assert result.stdout.count(b"\n") == 1 and json.loads(result.stdout)["state"] == "finished"
