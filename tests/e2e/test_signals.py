"""TERM and INT drain, a second one forces; USR1 tells; HUP and USR2 kill nobody."""
import os
import signal
import threading
import time

import pytest

from support.fleet import is_alive, processes
from support.origins import wait_until
from support.records import check_complete, check_record


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_finishes_what_is_in_flight_and_exits_75(hotfleet, origin, number):
    running = hotfleet.start("-w", "2", "--max-conns-per-host", "4")
    running.feed(*[origin.url(f"/slow?ms=400&n={n}") for n in range(4)])
    assert origin.wait_for(lambda o: len(o.requests()) == 4)
    running.signal(number)
    assert running.ended.wait(5), "the drain does not end"
    result = running.finish()
    assert result.exit == 75, result.explain()
    assert sorted(r["seq"] for r in result.records if not r["failed"]) == [1, 2, 3, 4]


def test_signal_with_lines_still_queued_exits_75_with_whole_records(hotfleet, origin):
    running = hotfleet.start("-w", "1", "--max-conns-per-host", "2")
    running.feed(*[origin.url(f"/slow?ms=100&n={n}") for n in range(100)])
    running.wait_for_records(4)
    running.signal(signal.SIGTERM)
    assert running.ended.wait(5)
    result = running.finish()
    assert result.exit == 75
    numbers = [r["seq"] for r in result.records]
    assert 4 <= len(numbers) < 100 and len(set(numbers)) == len(numbers)
    for record in result.records:
        check_record(record)
        assert not record["failed"], "a line that was not worked on has no record: it is left for the next run"


def test_signal_when_all_is_done_but_the_last_answers_exits_0(hotfleet, origin):
    """The input had ended and everything was in flight: nothing is left to go on with."""
    running = hotfleet.start("-w", "1", "--max-conns-per-host", "4")
    running.feed(*[origin.url(f"/slow?ms=500&n={n}") for n in range(3)])
    running.end_input()
    assert origin.wait_for(lambda o: len(o.requests()) == 3)
    time.sleep(0.05)
    running.signal(signal.SIGTERM)
    check_complete(running.finish(), 3)


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_second_signal_forces(hotfleet, origin, number, code):
    running = hotfleet.start("-w", "2")
    running.feed(*[origin.url(f"/silent?{n}") for n in range(4)])
    workers = running.wait_for_workers(2)
    assert origin.wait_for(lambda o: len(o.requests()) == 4)
    running.signal(number)
    time.sleep(0.2)
    assert not running.ended.is_set(), "the first signal waits for what is in flight"
    running.signal(number)
    assert running.ended.wait(2)
    assert running.finish().exit == code
    assert wait_until(lambda: not any(is_alive(pid) for pid in workers), 1)


def test_one_interrupt_while_workers_are_being_started_counts_once(hotfleet):
    """It goes to the whole group, as Ctrl-C does: what is on its way to be a worker must not tell the coordinator of it a
    second time, which would force the end."""
    for _ in range(12):
        running = hotfleet.start("-w", "16")
        assert wait_until(lambda: any(parent == running.pid for _, parent, _, _ in processes()), 10)
        os.killpg(running.pid, signal.SIGINT)
        assert running.ended.wait(10)
        result = running.finish()
        assert result.exit == 75, result.explain()


def test_drain_timeout_ends_the_drain(hotfleet, origin):
    running = hotfleet.start("--drain-timeout", "500ms")
    running.feed(origin.url("/silent"))
    assert origin.wait_for(lambda o: o.requests())
    running.signal(signal.SIGTERM)
    assert running.ended.wait(4)
    assert running.finish().exit == 75


def test_signal_before_any_input(hotfleet):
    running = hotfleet.start()
    running.wait_for_workers(1)
    running.signal(signal.SIGTERM)
    assert running.ended.wait(3)
    assert running.finish().exit == 75


def test_signal_while_the_reader_of_stdout_is_stuck(hotfleet, nginx):
    """Two signals end it even when nobody reads."""
    reader, writer = os.pipe()
    running = hotfleet.start(stdout=writer)
    os.close(writer)
    urls = [f"http://127.0.0.1:{nginx.port['http']}/empty?{n}" for n in range(3000)]

    def feed():
        try:
            running.feed(*urls)
        except BrokenPipeError:
            pass

    threading.Thread(target=feed, daemon=True).start()
    time.sleep(0.7)
    running.signal(signal.SIGTERM)
    time.sleep(0.2)
    running.signal(signal.SIGTERM)
    assert running.ended.wait(3)
    os.close(reader)
    assert running.finish().exit == 143


def test_closed_connections_see_a_clean_end(hotfleet, origin):
    """Drained TLS connections are closed from our side, none is reset."""
    running = hotfleet.start("-w", "1")
    running.feed(origin.url("/ok", "https"))
    running.wait_for_records(1)
    running.signal(signal.SIGTERM)
    assert running.ended.wait(5)
    assert origin.wait_for(lambda o: o.log("close", listener="https"))


def test_usr1_prints_statistics(hotfleet, origin):
    running = hotfleet.start("--stats-interval", "1h")
    running.feed(origin.url("/ok"))
    running.wait_for_records(1)
    before = len(running.err)
    running.signal(signal.SIGUSR1)
    assert wait_until(lambda: len(running.err) > before, 3)
    check_complete(running.finish(), 1)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR2, signal.SIGPIPE])
def test_other_signals_kill_nobody(hotfleet, origin, number):
    running = hotfleet.start()
    running.feed(origin.url("/ok"))
    running.wait_for_records(1)
    running.signal(number)
    running.feed(origin.url("/ok"))
    check_complete(running.finish(), 2)
