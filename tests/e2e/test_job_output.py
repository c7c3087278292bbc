"""Where a job's records are, and what it does when they are not there any more, or cannot be written."""
import contextlib
import fcntl
import os
import resource
import subprocess
import time

import pytest

from support.jobs import FAST, Job, targets
from support.origins import wait_until
from support.records import parse_records
from support.small_disk import NoSmallDisk, filled, on_small_disk

F_SETPIPE_SZ = 1031


def slow_urls(origin, count, ms=60):
    return [origin.url(f"/slow?ms={ms}&n={n}") for n in range(1, count + 1)]


def killed_job(hotfleet, origin, count=40, after=6, **more):
    """A job with at least `after` of its lines committed, killed."""
    job = Job(hotfleet, slow_urls(origin, count), *FAST, **more)
    running = job.start_slowly()
    job.wait_for_commit(after)
    job.kill(running)
    origin.reset()
    return job


def check_refused(job, origin, *words):
    """Exit 2 before anything is asked for or written, with what to do."""
    result = job.run()
    assert result.exit == 2 and all(word in result.stderr for word in (*words, "--force")), result.explain()
    assert targets(origin) == [] and result.stdout == b""
    return result


# --- files ---


@pytest.mark.parametrize("cut", [1, 1000, "all"])
def test_output_that_was_shortened(hotfleet, origin, cut):
    job = killed_job(hotfleet, origin)
    told = job.status()
    with open(job.output_path, "rb+") as file:
        file.truncate(0 if cut == "all" else told["output_bytes"] - cut)
        file.seek(0)
        left = file.read()
    for _ in range(2):
        check_refused(job, origin, "output-changed")
        with open(job.output_path, "rb") as file:
            assert file.read() == left
    result = job.run("--force")
    assert result.exit == 0, result.explain()
    assert {r["seq"] for r in job.records()} >= set(range(told["done"] + 1, 41)), "what was left has its record"
    assert len(job.records()) == 40 - told["done"] + left.count(b"\n")


def test_output_that_was_removed(hotfleet, origin):
    job = killed_job(hotfleet, origin)
    done = job.status()["done"]
    os.unlink(job.output_path)
    check_refused(job, origin, "output-changed")
    assert job.run("--force").exit == 0
    assert len(job.records()) == 40 - done


def test_output_with_a_torn_line_behind_the_last_commit(hotfleet, origin):
    job = killed_job(hotfleet, origin)
    with open(job.output_path, "ab") as file:
        file.write(b'{"seq":7,"input":"torn')
    job.check_finished(job.run(), 40)


def test_another_output_file(hotfleet, origin):
    """Named, and neither made nor emptied."""
    job = killed_job(hotfleet, origin)
    first, job.output_path = job.output_path, hotfleet.write("other.jsonl", "precious\n")
    assert first in check_refused(job, origin, "other-output").stderr
    with open(job.output_path) as file:
        assert file.read() == "precious\n"
    job.output_path = first
    job.check_finished(job.run(), 40)


def test_same_output_by_another_name(hotfleet, origin):
    job = killed_job(hotfleet, origin)
    job.output_path = os.path.join(hotfleet.directory, "link.jsonl")
    os.symlink("job.jsonl", job.output_path)
    job.check_finished(job.run(), 40)


@pytest.mark.parametrize("before", ["-o", ">>", "pipe"])
def test_force_goes_on_into_another_file(hotfleet, origin, before):
    """What was there is emptied as by any -o; then it is the job's, also after a kill."""
    job = killed_job(hotfleet, origin, output=before)
    done = job.status()["done"]
    job.output, job.output_path = "-o", hotfleet.write("other.jsonl", "old\n" * 10000)
    check_refused(job, origin, "other-output")
    assert os.path.getsize(job.output_path) == 40000
    running = job.start_slowly("--force")
    job.wait_for_commit(done + 4)
    job.kill(running)
    result = job.run()
    assert result.exit == 0, result.explain()
    assert len({r["seq"] for r in job.records()}) == len(job.records()) == 40 - done


@pytest.mark.parametrize("before, after", [("-o", "pipe"), (">>", "pipe"), ("pipe", "-o"), ("pipe", ">>"), ("-o", ">>")])
def test_another_kind_of_output(hotfleet, origin, before, after):
    job = killed_job(hotfleet, origin, output=before)
    job.output = after
    if after == ">>" and before == "pipe":
        open(job.output_path, "w").close()
    check_refused(job, origin, "other-output")
    job.output = before
    result = job.run()
    assert result.exit == 0 and job.status()["state"] == "finished"


def test_standard_output_that_the_shell_empties(hotfleet, origin):
    """A warning when the job begins; once it has lost its records it is refused."""
    job = Job(hotfleet, slow_urls(origin, 40), *FAST, output=">")
    running = job.start_slowly()
    job.wait_for_commit(6)
    job.kill(running)
    assert bytes(running.err).count(b"output-is-emptied") == 1 and b">>" in running.err
    origin.reset()
    result = check_refused(job, origin, "output-changed", ">>")
    assert "output-is-emptied" not in result.stderr


def test_standard_output_that_was_not_emptied(hotfleet, origin):
    """As by 1<>: it stands at its beginning, and goes on behind the last commit."""
    job = killed_job(hotfleet, origin, output=">>")
    with open(job.output_path, "rb+") as file:
        running = hotfleet.start(*job.flags, "-i", job.input_path, stdout=file)
    job.check_finished(running.finish(), 40)


def test_appending_keeps_what_was_there_before(hotfleet, origin):
    before = b'{"from":"another run"}\nnot even JSON'
    job = Job(hotfleet, slow_urls(origin, 40), *FAST, output=">>")
    hotfleet.write("job.jsonl", before)
    for moment in (1, 8, 20):
        running = job.start_slowly()
        job.wait_for(1 + moment, running)
        job.kill(running)
    assert job.run().exit == 0
    with open(job.output_path, "rb") as file:
        data = file.read()
    assert data.startswith(before)
    assert sorted(r["seq"] for r in parse_records(data[len(before):])) == list(range(1, 41))


def test_new_job_empties_the_file_of_o(hotfleet, origin):
    """As a run without a job does."""
    hotfleet.write("job.jsonl", "old\n" * 1000)
    job = Job(hotfleet, [origin.url("/ok")] * 3)
    job.check_finished(job.run(), 3)


@pytest.mark.parametrize("place", ["none/records.jsonl", "."])
def test_output_file_that_cannot_be_opened(hotfleet, origin, place):
    """Exit 2 with its name; given a better one the job begins."""
    job = Job(hotfleet, [origin.url("/ok")])
    good, job.output_path = job.output_path, os.path.join(hotfleet.directory, place)
    result = job.run()
    assert result.exit == 2 and job.output_path in result.stderr and targets(origin) == [], result.explain()
    job.output_path = good
    job.check_finished(job.run(), 1)


# --- no room ---


@pytest.mark.parametrize("output", ["-o", ">>"])
def test_output_that_reaches_its_limit(hotfleet, origin, output):
    """Exit 3 with whole lines; with room the job goes on, each record once."""
    job = Job(hotfleet, slow_urls(origin, 60, 40), *FAST, output=output)
    running = job.start_slowly()
    told = job.wait_for_commit(6)
    limit = os.path.getsize(job.output_path) + 1500
    resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (limit, limit))
    result = running.finish()
    assert result.exit == 3 and "output-failed" in result.stderr, result.explain()
    assert told["done"] <= job.status()["done"] <= len(job.records()) < 60
    job.check_finished(job.run(), 60)


def small_disk(hotfleet, size, body):
    directory = os.path.join(hotfleet.directory, "small")
    os.mkdir(directory)
    try:
        on_small_disk(directory, size, lambda: body(directory))
    except NoSmallDisk as error:
        pytest.skip(f"mounting is not permitted here: {error}")


def no_room(result):
    return "No space left" in result.stderr or "disk is full" in result.stderr


def test_commits_that_have_no_room(hotfleet, origin):
    """The run goes on and says that nothing is committed; it ends with 3, and is done again once there is room."""
    def body(directory):
        job = Job(hotfleet, [origin.url("/ok")] * 10 + ["nonsense"] * 70000, "--state", hotfleet.directory + "/state",
                  place="small/job", input="open")
        running = job.start()
        running.feed(*[origin.url("/ok")] * 10)
        job.wait_for_commit(10)
        with filled(directory):
            running.feed(*["nonsense"] * 70000)
            assert wait_until(lambda: b"not-committed" in running.err, 10), running.err
            result = running.finish()
            assert result.exit == 3 and result.stderr.count("not-committed") == 2, result.explain()
            assert job.status()["done"] < 70010
        job.input = "pipe"
        job.check_finished(job.run(), 70010)
        assert len(origin.requests()) == 10

    small_disk(hotfleet, 1 << 20, body)


def test_commits_that_have_room_again(hotfleet, origin):
    """They are made up for, and it says nothing more."""
    def body(directory):
        job = Job(hotfleet, [], "--state", hotfleet.directory + "/state", place="small/job", input="open")
        running = job.start()
        running.feed(origin.url("/ok"))
        job.wait_for_commit(1)
        with filled(directory):
            running.feed(*["nonsense"] * 70000)
            assert wait_until(lambda: b"not-committed" in running.err, 10), running.err
            running.feed(*["nonsense"] * 10)
        job.wait_for_commit(70011)
        job.kill(running)
        running = job.start()
        running.feed(origin.url("/ok"), *["nonsense"] * 70010)
        job.check_finished(running.finish(), 70011)

    small_disk(hotfleet, 1 << 20, body)


@pytest.mark.parametrize("pages", range(0, 24, 3))
def test_job_that_begins_without_room(hotfleet, origin, pages):
    """Refused with what is wrong, or done: never half."""
    def body(directory):
        job = Job(hotfleet, [origin.url("/ok")] * 3, "--state", hotfleet.directory + "/state", place="small/job")
        result = job.run()
        if result.exit == 2:
            assert targets(origin) == [] and no_room(result), result.explain()
            assert "the run goes on" not in result.stderr
        else:
            assert result.exit in (0, 3), result.explain()
            assert result.exit == 0 or no_room(result), result.explain()
            assert sorted(r["seq"] for r in job.records()) == [1, 2, 3]
        subprocess.run(["mount", "-o", "remount,size=1m", directory], check=True)
        job.check_finished(job.run(), 3)

    small_disk(hotfleet, 4096 * (2 + pages), body)


def test_job_on_a_disk_that_is_read_only(hotfleet, origin):
    def body(directory):

        subprocess.run(["mount", "-o", "remount,ro", directory], check=True)
        job = Job(hotfleet, [origin.url("/ok")], place="small/job")
        result = job.run()
        assert result.exit == 2 and directory in result.stderr and "Read-only" in result.stderr, result.explain()
        assert targets(origin) == []

    small_disk(hotfleet, 1 << 20, body)


# --- pipes ---


@contextlib.contextmanager
def pipe(size=4096):
    """(reader, writer) of a pipe of this size."""
    reader, writer = os.pipe()
    fcntl.fcntl(reader, F_SETPIPE_SZ, size)
    yield reader, writer
    for fd in (reader, writer):
        with contextlib.suppress(OSError):
            os.close(fd)


def start_into(job, writer, *more, **streams):
    running = job.hotfleet.start(*job.flags, "-i", job.input_path, *more, stdout=writer, **streams)
    os.close(writer)
    return running


def whole(data):
    """The numbers of whole records in what a reader has taken."""
    return {record["seq"] for record in parse_records(data[:data.rfind(b"\n") + 1])}


def read_all(reader):
    data = b""
    while part := os.read(reader, 65536):
        data += part
    return data


def go_on_into_pipe(job):
    """What the next run writes."""
    with pipe(65536) as (reader, writer):
        running = start_into(job, writer)
        data = read_all(reader)
        result = running.finish()
        assert result.exit == 0 and job.status()["state"] == "finished", result.explain()
    return whole(data)


def test_reader_that_stops_for_a_while(hotfleet, origin):
    """Meanwhile nothing that it has not taken counts as done; then all comes, and the job is finished."""
    job = Job(hotfleet, slow_urls(origin, 100, 1), *FAST)
    with pipe() as (reader, writer):
        running = start_into(job, writer)
        data = os.read(reader, 1500)
        time.sleep(1)
        assert not running.ended.is_set()
        assert job.status()["done"] <= len(whole(data)), "records in the pipe count as done"
        data += read_all(reader)
        result = running.finish()
    assert result.exit == 0 and whole(data) == set(range(1, 101)) and data.count(b"\n") == 100
    assert job.status()["state"] == "finished"


def test_stopped_job_waits_for_its_reader(hotfleet, origin):
    """TERM with records in the pipe: they are taken, and nothing comes twice."""
    job = Job(hotfleet, slow_urls(origin, 100, 5), *FAST)
    with pipe() as (reader, writer):
        running = start_into(job, writer)
        data = os.read(reader, 1500)
        running.signal(15)
        time.sleep(0.3)
        assert not running.ended.is_set()
        data += read_all(reader)
        assert running.finish().exit == 75
    assert job.status()["done"] == data.count(b"\n")
    assert go_on_into_pipe(job) == set(range(1, 101)) - whole(data)


@pytest.mark.parametrize("taken", [0, 700, 5000])
def test_reader_that_dies(hotfleet, origin, taken):
    """Exit 3; what it had not taken comes again."""
    job = Job(hotfleet, slow_urls(origin, 100, 1), *FAST)
    with pipe() as (reader, writer):
        running = start_into(job, writer)
        data = b""
        while len(data) < taken:
            data += os.read(reader, taken - len(data))
        time.sleep(0.2)
        os.close(reader)
        assert running.ended.wait(20)
        result = running.finish()
        assert result.exit == 3, result.explain()
    assert job.status()["state"] == "stopped"
    assert whole(data) | go_on_into_pipe(job) == set(range(1, 101))


@pytest.mark.parametrize("taken", [0, 700])
def test_reader_that_dies_when_all_is_written(hotfleet, origin, taken):
    """The last records stand in the pipe, and nobody takes them: the job is not finished."""
    job = Job(hotfleet, slow_urls(origin, 30, 1), *FAST)
    with pipe(65536) as (reader, writer):
        running = start_into(job, writer)
        data = os.read(reader, taken) if taken else b""
        time.sleep(0.5)
        assert not running.ended.is_set(), "it does not wait for its reader"
        os.close(reader)
        assert running.ended.wait(20)
        result = running.finish()
        assert result.exit == 3 and "output-failed" in result.stderr, result.explain()
    assert job.status()["state"] == "stopped"
    assert whole(data) | go_on_into_pipe(job) == set(range(1, 31))


def test_pipe_that_others_write_to(hotfleet, origin):
    """Their bytes, more than ours, stand before and behind them in the pipe: ours are not taken for that."""
    job = Job(hotfleet, slow_urls(origin, 10, 1), *FAST)
    with pipe(65536) as (reader, writer):
        os.write(writer, b"x" * 30000 + b"\n")
        running = start_into(job, writer)
        assert wait_until(lambda: len(origin.requests()) == 10)
        time.sleep(0.3)
        assert job.status()["done"] == 0
        job.kill(running)
    assert go_on_into_pipe(job) == set(range(1, 11))
