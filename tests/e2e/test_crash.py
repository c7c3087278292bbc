"""Processes that die: each line still has one record, limits still hold, nobody is left behind."""
import os
import signal
import threading
import time

import pytest

from support.fleet import is_alive
from support.origins import wait_until
from support.records import check_answered, check_complete

COUNT = 3000


def feed_in_background(running, lines):
    thread = threading.Thread(target=lambda: (running.feed(*lines), running.end_input()), daemon=True)
    thread.start()
    return thread


def kill_workers_along(running, kills, count):
    """kill -9 of one worker after another while records come."""
    killed = set()  # of which one may be dying still
    for turn in range(kills):
        running.wait_for_records((turn + 1) * count // (kills + 2))
        workers = [pid for pid in running.workers() if pid not in killed]
        if workers:
            killed.add(workers[turn % len(workers)])
            os.kill(workers[turn % len(workers)], signal.SIGKILL)


@pytest.mark.parametrize("port", ["http", "https", "h2"])
def test_killed_workers_cost_no_record(hotfleet, nginx, port):
    scheme = "http" if port == "http" else "https"
    urls = [f"{scheme}://127.0.0.1:{nginx.port[port]}/1k?{n}" for n in range(COUNT)]
    running = hotfleet.start("-w", "4")
    feed_in_background(running, urls)
    kill_workers_along(running, 3, COUNT)
    records = check_complete(running.finish(), COUNT)
    for seq, url in enumerate(urls, 1):
        assert check_answered(records[seq])["input"] == url


def test_killed_worker_is_replaced(hotfleet, origin):
    running = hotfleet.start("-w", "3")
    before = running.wait_for_workers(3)
    os.kill(before[0], signal.SIGKILL)
    assert wait_until(lambda: len(running.workers()) == 3 and before[0] not in running.workers(), 5)
    running.feed(*[origin.url(f"/bytes/{n}") for n in range(30)])
    check_complete(running.finish(), 30)


def test_what_a_worker_held_goes_to_another(hotfleet, origin):
    """All requests are waiting at the server when their only worker dies."""
    running = hotfleet.start("-w", "1", "--max-conns-per-host", "10")
    running.feed(*[origin.url(f"/slow?ms=1000&n={n}") for n in range(10)])
    assert origin.wait_for(lambda o: len(o.requests()) == 10)
    os.kill(running.workers()[0], signal.SIGKILL)
    records = check_complete(running.finish(), 10)
    assert all(check_answered(r) for r in records.values())


def test_post_in_a_killed_worker_has_one_record(hotfleet, origin):
    """It may have arrived; whether it is sent again or not, its line has its record."""
    running = hotfleet.start("-w", "1", "-X", "POST", "-d", "x")
    running.feed(origin.url("/slow?ms=800"))
    assert origin.wait_for(lambda o: o.requests())
    os.kill(running.workers()[0], signal.SIGKILL)
    check_complete(running.finish(), 1)


def test_limits_hold_through_kills(hotfleet, origin):
    urls = [origin.url(f"/slow?ms=10&n={n}") for n in range(600)]
    running = hotfleet.start("-w", "4", "--max-conns-per-host", "10")
    feed_in_background(running, urls)
    kill_workers_along(running, 4, 600)
    killed_all = running.wait_for_records(500)
    assert killed_all and origin.peak("http") <= 10
    origin.reset()
    records = check_complete(running.finish(), 600)
    assert all(check_answered(r) for r in records.values())
    assert origin.peak("http") <= 10


def test_leases_of_a_killed_worker_come_back(hotfleet, origin):
    """After the only holder of all ten slots has died, ten can be had again."""
    running = hotfleet.start("-w", "1", "--max-conns-per-host", "10", "--max-connections", "10")
    for _ in range(3):
        origin.reset()
        running.feed(*[origin.url(f"/slow?ms=300&n={n}") for n in range(10)])
        assert origin.wait_for(lambda o: o.open_now("http") == 10)
        worker = running.workers()[0]
        os.kill(worker, signal.SIGKILL)
        assert wait_until(lambda: not is_alive(worker), 1) is True
        running.wait_for_workers(1)
    records = check_complete(running.finish(), 30)
    assert all(check_answered(r) for r in records.values())


def test_every_worker_killed_at_once(hotfleet, origin):
    running = hotfleet.start("-w", "4")
    running.feed(*[origin.url(f"/slow?ms=300&n={n}") for n in range(40)])
    assert origin.wait_for(lambda o: len(o.requests()) >= 4)
    for pid in running.workers():
        os.kill(pid, signal.SIGKILL)
    records = check_complete(running.finish(), 40)
    assert all(check_answered(r) for r in records.values())


def test_worker_that_keeps_dying_ends_in_records(hotfleet, origin):
    """Killed whenever it appears, for two seconds: no storm of new processes, and records in the end."""
    running = hotfleet.start("-w", "1")
    running.feed(*[origin.url(f"/slow?ms=50&n={n}") for n in range(5)])
    seen, until = set(), time.monotonic() + 2
    while time.monotonic() < until:
        for pid in running.workers():
            seen.add(pid)
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)
    result = running.finish()
    check_complete(result, 5)
    assert 2 <= len(seen) < 40, "a worker that keeps dying is started with growing pauses"


def test_stopped_worker_does_not_stop_the_others(hotfleet, origin):
    running = hotfleet.start("-w", "2")
    workers = running.wait_for_workers(2)
    os.kill(workers[0], signal.SIGSTOP)
    try:
        running.feed(*[origin.url(f"/bytes/{n}", host=f"127.0.0.{n % 4 + 1}") for n in range(40)])
        assert wait_until(lambda: len(running.records()) >= 1, 5)
    finally:
        os.kill(workers[0], signal.SIGCONT)
    check_complete(running.finish(), 40)


@pytest.mark.parametrize("busy", [None, ("/slow?ms=5000", "http"), ("/stall/body", "http"), ("/", "tls_stall")])
def test_workers_go_with_a_killed_coordinator(hotfleet, origin, busy):
    """Idle, waiting for an answer, in the middle of a body, in a handshake."""
    running = hotfleet.start("-w", "4")
    if busy:
        path, port = busy
        running.feed(*[origin.url(f"{path}{'&' if '?' in path else '?'}n={n}", port) for n in range(20)])
        assert origin.wait_for(lambda o: o.open_now(port) >= 4)
    workers = running.wait_for_workers(4)
    os.kill(running.pid, signal.SIGKILL)
    assert wait_until(lambda: not any(is_alive(pid) for pid in workers), 1), "workers live on"
    assert origin.wait_for(lambda o: o.open_now() == 0)


def test_killed_coordinator_leaves_whole_lines(hotfleet, nginx):
    running = hotfleet.start("-w", "2")
    feed_in_background(running, [f"http://127.0.0.1:{nginx.port['http']}/1k?{n}" for n in range(20000)])
    running.wait_for_records(1000)
    os.kill(running.pid, signal.SIGKILL)
    running.ended.wait(5)
    numbers = [r["seq"] for r in running.records()]
    assert len(numbers) == len(set(numbers)) >= 1000


def test_nothing_is_left_behind(hotfleet, origin):
    """No worker, no temporary state."""
    running = hotfleet.start("-w", "2")
    workers = running.wait_for_workers(2)
    running.feed(origin.url("/ok"))
    check_complete(running.finish(), 1)
    assert not any(is_alive(pid) for pid in workers)
    assert os.listdir(hotfleet.directory) == []


def temporary_states(hotfleet):
    return {name for name in os.listdir(hotfleet.directory) if name.startswith("hotfleet-")}


def test_temporary_state_of_a_killed_coordinator_goes_with_the_next_run(hotfleet, origin):
    living, killed = hotfleet.start("-w", "1"), hotfleet.start("-w", "1")
    for running in (living, killed):
        running.feed(origin.url("/ok"))
        running.wait_for_records(1)
    assert len(temporary_states(hotfleet)) == 2
    workers = killed.workers()
    os.kill(killed.pid, signal.SIGKILL)
    killed.ended.wait(5)
    assert wait_until(lambda: not any(is_alive(pid) for pid in workers), 1)
    assert len(temporary_states(hotfleet)) == 2
    result = hotfleet([origin.url("/ok")], "-w", "1", "-v")
    check_complete(result, 1)
    assert len(temporary_states(hotfleet)) == 1 and result.stderr.count("stale-state-removed") == 1
    living.feed(origin.url("/ok?2"))
    check_complete(living.finish(), 2)
    assert not temporary_states(hotfleet)


def test_shared_memory_has_no_name(hotfleet, origin):
    """A killed fleet leaves nothing of it in /dev/shm."""
    before = set(os.listdir("/dev/shm"))
    running = hotfleet.start("-w", "2")
    running.feed(origin.url("/ok"))
    running.wait_for_records(1)
    os.kill(running.pid, signal.SIGKILL)
    running.ended.wait(5)
    assert not {name for name in set(os.listdir("/dev/shm")) - before if "hotfleet" in name}


def open_files(pid):
    """(path, whether it may be written) of each descriptor."""
    for number in os.listdir(f"/proc/{pid}/fd"):
        with open(f"/proc/{pid}/fdinfo/{number}") as file:
            flags = next(int(line.split()[1], 8) for line in file if line.startswith("flags:"))
        yield os.readlink(f"/proc/{pid}/fd/{number}"), flags & os.O_ACCMODE != os.O_RDONLY


def test_workers_hold_nothing_they_do_not_need(hotfleet, origin, tmp_path_factory):
    secret = tmp_path_factory.mktemp("secret") / "file"
    secret.write_text("secret")
    descriptor = os.open(secret, os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    running = hotfleet.start("-w", "2", "--state", hotfleet.directory + "/state", pass_fds=(descriptor,))
    os.close(descriptor)
    workers = running.wait_for_workers(2)
    running.feed(origin.url("/ok"))
    running.wait_for_records(1)
    assert wait_until(lambda: all(any("data.mdb" in path for path, _ in open_files(pid)) for pid in workers))
    for pid in workers:
        files = list(open_files(pid))
        links = {path for path, _ in files}
        assert str(secret) not in links
        state = {(path[len(hotfleet.directory):], writable) for path, writable in files if hotfleet.directory in path}
        # The map is for reading; LMDB notes its readers in the lock file.
        assert state == {("/state/data.mdb", False), ("/state/lock.mdb", True)}
        stdin_stdout = {os.readlink(f"/proc/{running.pid}/fd/{fd}") for fd in (0, 1)}
        assert not stdin_stdout & links, "a worker holds the coordinator's input or output"
    check_complete(running.finish(), 1)
