"""A worker that writes nonsense into its shared memory: the coordinator finds it out and replaces it, nothing is lost."""
import os
import random
import re
import threading
import time

import pytest

from support.origins import wait_until
from support.records import check_answered, check_complete
from support.scribble import DRAINING_OFFSET, Region, Scribbler

LIMIT = 8
FIRST, LAST = (int(n) for n in os.environ.get("SCRIBBLE_SEEDS", "0-3").split("-"))  # tests/stress/scribble asks for more
# Whole, and of this line; what a scribbled worker wrote between the two ends is its own.
LINE = re.compile(rb'\{"seq":([1-9]\d*)[,}][^\x00-\x1f]*\}?')


class Stream:
    """Feeds lines until it is told to stop."""

    def __init__(self, running, make_url):
        self.running, self.make_url, self.count, self.stopped = running, make_url, 0, False
        self.thread = threading.Thread(target=self.feed, daemon=True)
        self.thread.start()

    def feed(self):
        while not self.stopped:
            self.running.feed(*[self.make_url(self.count + n) for n in range(50)])
            self.count += 50
            time.sleep(0.03)

    def stop(self):
        self.stopped = True
        self.thread.join(20)
        return self.count


def start(hotfleet, origin, *arguments):
    running = hotfleet.start("-w", "3", "--max-connections", LIMIT, "--max-conns-per-host", LIMIT, *arguments)
    pids = running.wait_for_workers(3)
    stream = Stream(running, lambda n: origin.url(f"/bytes/100?n={n}"))
    running.wait_for_records(50)
    region = Region(pids[0])
    return running, stream, region


def run_to_the_end(running, stream):
    stream.stop()
    running.result = running.finish(60)
    return running.result


def check_lines(result, count):
    assert result.exit == 0, result.explain()
    lines = result.stdout.split(b"\n")
    assert lines.pop() == b""
    matches = [LINE.fullmatch(line) for line in lines]
    assert all(matches), next(line for line, match in zip(lines, matches) if not match)
    assert sorted(int(m[1]) for m in matches) == list(range(1, count + 1)), result.explain()


def ends(result, worker):
    """How often this worker was killed or died by itself."""
    return len(re.findall(rf"worker-died worker={worker} ", result.stderr))


@pytest.mark.parametrize("seed", range(FIRST, LAST + 1))
def test_random_nonsense_costs_no_record(hotfleet, origin, seed):
    chance = random.Random(seed)
    running, stream, region = start(hotfleet, origin)
    victim = chance.randrange(3)
    scribbler = Scribbler(region, victim, seed)
    until = time.monotonic() + 2.5
    while time.monotonic() < until:
        scribbler.scribble()
        time.sleep(chance.random() * 0.05)
    check_lines(run_to_the_end(running, stream), stream.count)
    result = running.result
    assert ends(result, victim) >= 1, result.explain()
    assert ends(result, (victim + 1) % 3) == ends(result, (victim + 2) % 3) == 0, result.explain()
    assert origin.peak("http") <= LIMIT
    region.close()


STROKES = {
    "record-ring": lambda r, w: r.write("<Q", r.record_ring(w), 12345),
    "task-ring": lambda r, w: r.write("<Q", r.task_ring(w) + 64, (1 << 64) - 8),
    "fleet-cell": lambda r, w: r.write("<I", r.cells(w, 0)[0], 0xFFFFFFFF),
    "host-cell": lambda r, w: r.write("<I", r.cells(w, 1)[1], 0xFFFFFFFF),
    "ip-cell": lambda r, w: r.write("<I", r.cells(w, 1)[2], 0xFFFFFFFF),
    "page": lambda r, w: r.write("<Q", r.page(w), 1 << 63),
    "words": lambda r, w: r.write("<I", r.words(w)[1], 77),
}


@pytest.mark.parametrize("stroke", STROKES)
def test_each_kind_is_found_and_said(hotfleet, origin, stroke):
    """Written again and again until it is seen: what a worker stores itself a moment later is no nonsense."""
    running, stream, region = start(hotfleet, origin)

    def found():
        STROKES[stroke](region, 1)
        return b"worker-killed worker=1 " in running.err or b"worker-died worker=1 " in running.err

    assert wait_until(found, 5), bytes(running.err)
    assert wait_until(lambda: len(running.workers()) == 3, 5)
    check_lines(run_to_the_end(running, stream), stream.count)
    assert ends(running.result, 1) >= 1 and ends(running.result, 0) == ends(running.result, 2) == 0
    assert origin.peak("http") <= LIMIT
    region.close()


def test_a_worker_that_tells_all_to_close_stops_nothing(hotfleet, origin):
    running, stream, region = start(hotfleet, origin)
    region.write("<I", DRAINING_OFFSET, 2)
    assert wait_until(lambda: b"shared-word-put-right word=draining" in running.err, 5)
    assert wait_until(lambda: len(running.workers()) == 3, 5)
    check_lines(run_to_the_end(running, stream), stream.count)
    region.close()


def test_a_lost_wake_up_is_made_good(hotfleet, origin):
    """It sleeps, and what says so was written over: who sends it a task wakes nobody."""
    running = hotfleet.start("-w", "1")
    region = Region(running.wait_for_workers(1)[0])
    running.feed(origin.url("/close-delimited/5"))  # leaves no idle connection, which would be looked after
    running.wait_for_records(1)
    assert wait_until(lambda: region.read("<I", region.words(0)[0]) == 1)
    region.write("<I", region.words(0)[0], 0)
    running.feed(origin.url("/ok?2"))
    assert len(running.wait_for_records(2, 4)) == 2
    records = check_complete(running.finish(), 2)
    assert check_answered(records[2])
    region.close()


def test_statistics_stay_what_they_were(hotfleet, origin):
    running = hotfleet.start("-w", "1")
    region = Region(running.wait_for_workers(1)[0])
    running.feed(*[origin.url(f"/bytes/{n}") for n in range(20)])
    running.wait_for_records(20)
    time.sleep(1.2)
    for n in range(region.page_bytes // 8):
        region.write("<Q", region.page(0) + 8 * n, (1 << 64) - 1 - n)
    assert wait_until(lambda: b"worker-killed" in running.err, 5)
    running.wait_for_workers(1)
    running.feed(origin.url("/ok"))
    running.wait_for_records(21)
    result = running.finish()
    check_complete(result, 21)
    assert "statistics make no sense" in result.stderr and re.search(r"\b21 requests", result.stderr), result.stderr
    region.close()
