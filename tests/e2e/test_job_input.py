"""What a job makes of its input when it goes on: the same, more of it, or another one."""
import json
import socket
import struct
import time

import pytest

from support.jobs import FAST, Job, targets
from support.records import check_answered, check_failed

BLOCK = 65536
INPUTS = ["-i", "stdin", "pipe"]


def padded(url, size):
    """A line whose URL is padded to `size` bytes with its newline."""
    return url + "&p=" + "x" * (size - len(url) - 4)


def long_lines(origin, blocks, size=1024, path="/ok?n="):
    """Lines of `size` bytes that fill whole blocks."""
    return [padded(origin.url(f"{path}{n}"), size) for n in range(1, blocks * BLOCK // size + 1)]


def stop_midway(job, origin, after):
    """Kills the job with at least so many lines done and committed."""
    running = job.start_slowly()
    job.wait_for_commit(after)
    job.kill(running)
    origin.reset()
    return job.status()


# --- the same ---


@pytest.mark.parametrize("input", INPUTS)
@pytest.mark.parametrize("kind", ["no newline", "CRLF", "long", "JSON", "BOM", "empty lines", "NUL"])
def test_lines_of_every_kind(hotfleet, origin, input, kind):
    """Killed and gone on with, each line has its record once, with its number and text."""
    urls = [origin.url(f"/slow?ms=40&n={n}") for n in range(1, 41)]
    data = {
        "no newline": "\n".join(urls),
        "CRLF": "\r\n".join(urls) + "\r\n",
        "long": "\n".join(url + ("&" + "x" * 300 if n % 2 else "") for n, url in enumerate(urls)) + "\n",
        "JSON": "".join(json.dumps({"url": url, "tag": n}) + "\n" for n, url in enumerate(urls, 1)),
        "BOM": "\ufeff" + "\n".join(urls) + "\n",
        "empty lines": "\n\n".join(urls[:20]) + "\n\n",
        "NUL": "\n".join(url + "\0" for url in urls) + "\n",
    }[kind].encode()
    job = Job(hotfleet, data, *FAST, "--max-line", "200", input=input)
    running = job.start_slowly()
    job.wait_for(8, running)
    job.kill(running)
    records = job.check_finished(job.run(), 40)
    lines = data.decode().split("\n")
    for n in range(1, 41):
        assert records[n]["input"].rstrip("\r") == lines[n - 1][:200].rstrip("\r"), n
        if len(lines[n - 1]) > 200 or not lines[n - 1]:
            check_failed(records[n], "invalid-url")
        else:
            check_answered(records[n])
        if kind == "JSON":
            assert records[n]["tag"] == n
    assert job.run().exit == 0 and len(job.records()) == 40


@pytest.mark.parametrize("input", INPUTS)
@pytest.mark.parametrize("name, size, last", [
    ("whole blocks", 1024, 0), ("a byte more", 1024, 1), ("lines across blocks", 1000, 0), ("a line of a block", BLOCK, 0),
])
def test_lines_at_the_ends_of_blocks(hotfleet, origin, input, name, size, last):
    """64 KiB of input are compared at a time: neither a line that ends there nor one that goes across is lost."""
    count = 3 * BLOCK // size
    lines = [padded(origin.url(f"/slow?ms={600 // count}&n={n}"), size) for n in range(1, count + 1)]
    data = b"".join(line.encode() + b"\n" for line in lines) + b"x" * last
    job = Job(hotfleet, data, "-w", "1", "--max-line", "1M", "--window", "16", input=input)
    running = job.start_slowly()
    job.wait_for(2, running)
    job.kill(running)
    job.check_finished(job.run(), count + (last > 0))
    if input == "pipe":
        return
    job.write(data + (b"\n" if last else b"") + b"nonsense\n")
    records = job.check_finished(job.run(), count + 1 + (last > 0))
    for n, line in enumerate(lines, 1):
        assert records[n]["input"] == line and check_answered(records[n])


def test_no_input_at_all(hotfleet, origin):
    job = Job(hotfleet, b"")
    job.check_finished(job.run(), 0)
    assert "nothing to do" in job.run().stderr
    job.write([origin.url("/ok")])
    job.check_finished(job.run(), 1)


def test_pipe_that_dribbles_while_it_is_compared(hotfleet, origin):
    """Nothing is used before the whole of what is known has come again; then it goes on at the pipe's pace."""
    urls = [origin.url(f"/slow?ms=80&n={n}") for n in range(1, 41)]
    job = Job(hotfleet, urls, *FAST, input="open")
    running = job.start_slowly()
    running.feed_bytes(job.bytes)
    job.wait_for_commit(5)
    job.kill(running)
    told, records = job.status(), job.written()
    origin.reset()
    running = job.start()
    assert told["input_bytes"] == len(job.bytes)
    for at in range(0, len(job.bytes) - 1, 37):
        running.feed_bytes(job.bytes[at:min(at + 37, len(job.bytes) - 1)])
        time.sleep(0.001)
    time.sleep(0.1)
    assert targets(origin) == [] and job.written() == told["done"] <= records
    running.feed_bytes(job.bytes[-1:])
    job.wait_for(told["done"] + 1, running)
    extra = origin.url("/ok?n=41").encode() + b"\n"
    for byte in extra:
        running.feed_bytes(bytes([byte]))
    records = job.check_finished(running.finish(), 41)
    assert records[41]["path"] == "/ok"


def test_file_then_pipe_then_standard_input(hotfleet, origin):
    """It is the bytes that count, not where they come from."""
    job = Job(hotfleet, [origin.url(f"/slow?ms=10&n={n}") for n in range(90)], *FAST)
    for moment, way in ((15, "-i"), (30, "pipe"), (45, "stdin")):
        job.input = way
        running = job.start_slowly()
        job.wait_for(moment, running)
        job.kill(running)
    job.check_finished(job.run(), 90)


# --- more ---


@pytest.mark.parametrize("input", INPUTS)
def test_lines_added_while_it_was_stopped(hotfleet, origin, input):
    urls = [origin.url(f"/slow?ms=80&n={n}") for n in range(1, 41)]
    job = Job(hotfleet, urls, *FAST, input=input)
    stop_midway(job, origin, 5)
    job.write(urls + [origin.url("/ok?added")] * 20)
    records = job.check_finished(job.run(), 60)
    assert records[60]["path"] == "/ok"


@pytest.mark.parametrize("input", ["-i", "stdin"])
def test_lines_added_after_it_was_finished(hotfleet, origin, input):
    job = Job(hotfleet, [origin.url("/ok?old")] * 10, input=input)
    job.check_finished(job.run(), 10)
    origin.reset()
    for count in (15, 16):
        job.write([origin.url("/ok?old")] * 10 + [origin.url("/ok?new")] * (count - 10))
        job.check_finished(job.run(), count)
    assert targets(origin) == ["/ok?new"] * 6


def test_newline_added_to_the_last_line(hotfleet, origin):
    """A last line without its newline is a line; that it gets one, and others behind it, changes nothing."""
    url = origin.url("/ok?n=1")
    job = Job(hotfleet, url.encode())
    job.check_finished(job.run(), 1)
    job.write(url.encode() + b"\n" + origin.url("/ok?n=2").encode() + b"\n")
    job.check_finished(job.run(), 2)
    assert targets(origin) == ["/ok?n=1", "/ok?n=2"]


def test_last_line_that_goes_on(hotfleet, origin):
    """A last line without its newline, done as it was, and longer now: it is no longer the line that was done."""
    url = origin.url("/ok?n=1")
    job = Job(hotfleet, url.encode())
    job.check_finished(job.run(), 1)
    job.write(url.encode() + b"23\n" + origin.url("/ok?n=2").encode() + b"\n")
    result = job.run()
    assert result.exit == 2 and "input-changed" in result.stderr, result.explain()
    assert targets(origin) == ["/ok?n=1"]
    assert job.run().exit == 2
    job.check_finished(job.run("--force"), 2)


# --- another ---


@pytest.mark.parametrize("input", INPUTS)
@pytest.mark.parametrize("index", [0, 30, 64, 100, 127])
def test_changed_input_is_refused(hotfleet, origin, input, index):
    """Exit 2 with what to do, again and again; nothing of the block with the change is asked for, and the job still
    goes on with the input that is its own."""
    lines = long_lines(origin, 2, path="/slow?ms=40&n=")
    job = Job(hotfleet, lines, *FAST, input=input)
    told = stop_midway(job, origin, 4)
    changed = [line.replace("/slow?ms=40", "/slow?ms=41") if n == index else line for n, line in enumerate(lines)]
    assert told["input_bytes"] == len(job.bytes) and told["done"] < 60
    for _ in range(2):
        job.write(changed)
        result = job.run()
        assert result.exit == 2 and "input-changed" in result.stderr and "--force" in result.stderr, result.explain()
        asked = [int(target.split("n=")[1].split("&")[0]) for target in targets(origin)]
        assert all(n <= index // 64 * 64 for n in asked), asked
        assert job.status()["state"] == "stopped"
    job.write(lines)
    records = job.check_finished(job.run(), 128)
    assert [records[n]["input"] for n in range(1, 129)] == lines
    assert not [target for target in targets(origin) if "ms=41" in target]


@pytest.mark.parametrize("input", INPUTS)
def test_small_changed_input_is_refused(hotfleet, origin, input):
    """Less than a block, the change in a line that was done."""
    urls = [origin.url(f"/slow?ms=80&n={n}") for n in range(1, 31)]
    job = Job(hotfleet, urls, *FAST, input=input)
    stop_midway(job, origin, 4)
    job.write(["http://127.0.0.1:1/" + "x" * (len(urls[0]) - len("http://127.0.0.1:1/")), *urls[1:]])
    for _ in range(3):
        result = job.run()
        assert result.exit == 2 and "input-changed" in result.stderr, result.explain()
    assert targets(origin) == []
    job.write(urls)
    job.check_finished(job.run(), 30)


@pytest.mark.parametrize("input", INPUTS)
@pytest.mark.parametrize("left", [0, 1, 10, 29])
def test_shortened_input_is_refused(hotfleet, origin, input, left):
    urls = [origin.url(f"/slow?ms=80&n={n}") for n in range(1, 31)]
    job = Job(hotfleet, urls, *FAST, input=input)
    stop_midway(job, origin, 4)
    job.write(urls[:left])
    for _ in range(2):
        result = job.run()
        assert result.exit == 2 and "input-changed" in result.stderr, result.explain()
    assert targets(origin) == []
    job.write(urls)
    job.check_finished(job.run(), 30)


@pytest.mark.parametrize("input", ["-i", "stdin"])
@pytest.mark.parametrize("left", [0, 3])
def test_shortened_input_of_a_finished_job_is_refused(hotfleet, origin, input, left):
    """It is not said that there is nothing to do with it: it may be the wrong file."""
    urls = [origin.url(f"/ok?n={n}") for n in range(10)]
    job = Job(hotfleet, urls, input=input)
    job.check_finished(job.run(), 10)
    job.write(urls[:left])
    result = job.run()
    assert result.exit == 2 and "input-changed" in result.stderr, result.explain()
    job.write(urls)
    job.check_finished(job.run(), 10)


@pytest.mark.parametrize("input", INPUTS)
def test_force_goes_on_by_line_numbers(hotfleet, origin, input):
    """Lines done stay done whatever stands there now; the new input is the job's from then on."""
    urls = [origin.url(f"/slow?ms=80&n={n}") for n in range(1, 41)]
    job = Job(hotfleet, urls, *FAST, input=input)
    done = {r["seq"]: r["input"] for r in (stop_midway(job, origin, 4), job.records())[1]}
    told = job.status()
    new = [url.replace("n=", "new=") for url in urls]
    job.write(new)
    assert job.run().exit == 2
    running = job.start_slowly("--force")
    job.wait_for_commit(told["done"] + 4)
    job.kill(running)
    records = job.check_finished(job.run(), 40)
    old = [n for n in records if records[n]["input"] == urls[n - 1]]
    assert len(old) == told["done"] and set(old) <= set(done)
    assert all(records[n]["input"] == new[n - 1] for n in records if n not in old)


def test_force_with_a_shorter_input(hotfleet, origin):
    urls = [origin.url(f"/slow?ms=80&n={n}") for n in range(1, 31)]
    job = Job(hotfleet, urls, *FAST)
    told = stop_midway(job, origin, 12)
    job.write(urls[:6])
    result = job.run("--force")
    assert result.exit == 0 and job.status()["state"] == "finished", result.explain()
    assert len(job.records()) >= told["done"]
    assert len({r["seq"] for r in job.records()}) == len(job.records())


def test_input_that_is_added_to_while_it_is_read(hotfleet, origin):
    """A pipe that stays open: lines are done and committed as they come, over a kill."""
    job = Job(hotfleet, [], input="open")
    lines = []
    for turn in range(3):
        running = job.start()
        running.feed(*lines)
        more = [origin.url(f"/ok?turn={turn}&n={n}") for n in range(10)]
        half = more[5].encode()[:20]
        running.feed(*more[:5])
        running.feed_bytes(half)
        lines += more[:5]
        job.wait_for_commit(len(lines))
        job.kill(running)
    running = job.start()
    running.feed(*lines)
    result = running.finish()
    assert result.exit == 2 and "input-changed" in result.stderr, "the half line that was read is missing"
    running = job.start()
    running.feed(*lines)
    running.feed_bytes(half + more[5].encode()[20:] + b"\n")
    job.check_finished(running.finish(), 16)


def test_input_that_cannot_be_read_on(hotfleet, origin):
    """A line that breaks off with its connection is not done in its stead: exit 1, and the whole line comes later."""
    urls = [origin.url("/ok?n=1"), origin.url("/ok?n=2")]
    job = Job(hotfleet, urls, input="open")
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
        running = job.start(stdin=theirs)
        theirs.close()
        ours.sendall(job.bytes[:-1])
        job.wait_for_commit(1)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        ours.close()
    assert running.ended.wait(10)
    result = running.finish()
    assert result.exit == 1 and "input-failed" in result.stderr and targets(origin) == ["/ok?n=1"], result.explain()
    job.input = "-i"
    job.check_finished(job.run(), 2)
