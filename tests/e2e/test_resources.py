"""Too little of what a machine gives: the run stays within it or ends with the right code, says so, and loses nothing."""
import os
import resource
import signal
import time

import pytest

from support.origins import wait_until
from support.records import check_answered, check_complete, check_failed


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def limit_files(pid, count):
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (count, resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]))


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- descriptors ---
@pytest.mark.parametrize("limit, workers, budget", [(64, 2, 64), (64, 1, 32), (256, 1, 224)])
def test_connections_stay_within_the_descriptors(hotfleet, origin, limit, workers, budget):
    running = hotfleet.start("-w", workers, "--max-connections", "1000", "--max-conns-per-host", "1000",
                             limits=[(resource.RLIMIT_NOFILE, limit)])
    running.feed(*[origin.url(f"/slow?ms=100&n={n}", host=f"127.0.0.{n % 3 + 1}") for n in range(4 * budget)])
    result = running.finish()
    records = check_complete(result, 4 * budget)
    assert all(check_answered(r)["attempts"] == 1 for r in records.values())
    assert budget * 3 // 4 <= origin.peak("http") <= budget
    assert f"max_connections={budget} wanted=1000" in result.stderr and "ulimit -n" in result.stderr
    assert result.stderr.count("descriptor-budget") == 1


def test_what_fits_is_no_reason_to_warn(hotfleet, origin):
    running = hotfleet.start("-w", "2", "--max-connections", "64", limits=[(resource.RLIMIT_NOFILE, 64)])
    running.feed(origin.url("/ok"))
    result = running.finish()
    check_complete(result, 1)
    assert "descriptor-budget" not in result.stderr


@pytest.mark.parametrize("limit, workers", [(16, 1), (32, 1), (64, 64)])
def test_too_few_descriptors_are_refused_with_what_to_do(hotfleet, limit, workers):
    result = hotfleet(b"", "-w", workers, limits=[(resource.RLIMIT_NOFILE, limit)])
    assert result.exit == 2 and result.stdout == b""
    assert f"limit={limit}" in result.stderr and "ulimit -n" in result.stderr
    assert ("--workers" in result.stderr) == (workers == 64)


def test_a_limit_set_while_it_runs_is_kept_within_too(hotfleet, origin):
    running = hotfleet.start("-w", "1", "--state", hotfleet.directory + "/state", limits=[(resource.RLIMIT_NOFILE, 64)])
    running.feed(origin.url("/ok"))
    running.wait_for_records(1)
    assert hotfleet.command("ctl", "set", "max_connections=500", running.pid).exit == 0
    assert hotfleet.command("ctl", "set", "max_conns_per_host=500", running.pid).exit == 0
    running.feed(*[origin.url(f"/slow?ms=100&n={n}") for n in range(100)])
    result = running.finish()
    records = check_complete(result, 101)
    assert all(check_answered(r)["attempts"] == 1 for r in records.values())
    assert origin.peak("http") <= 32 and "wanted=500" in result.stderr


def test_descriptors_taken_away_from_a_worker(hotfleet, origin):
    """Its new connections wait for better times, fail by their own name, and come again with the descriptors."""
    running = hotfleet.start("-w", "1", "--retry-delay", "50ms")
    worker = running.wait_for_workers(1)[0]
    running.feed(origin.url("/ok"))
    running.wait_for_records(1)
    limit_files(worker, 3)
    running.feed(*[origin.url(f"/ok?{n}", host="127.0.0.2") for n in range(5)])
    records = running.wait_for_records(6)
    for record in records[1:]:
        assert check_failed(record, "resource-exhausted")["attempts"] == 4
    limit_files(worker, 1024)
    running.feed(origin.url("/ok?again", host="127.0.0.3"))
    result = running.finish()
    assert check_answered(check_complete(result, 7)[7])
    assert result.cpu_seconds < 1


def test_descriptors_taken_away_from_the_coordinator(hotfleet, origin):
    """Clients of its socket are left outside, which costs nothing; fetching goes on."""
    running = hotfleet.start("-w", "1", "--state", hotfleet.directory + "/state")
    running.feed(origin.url("/ok"))
    running.wait_for_records(1)
    limit_files(running.pid, 3)
    client = hotfleet.launch("ctl", "get", "max_connections", running.pid)
    assert wait_until(lambda: b"admin-refuses" in running.err, 3), bytes(running.err)
    before = cpu_seconds(running.pid)
    time.sleep(1)
    assert cpu_seconds(running.pid) - before < 0.2
    running.feed(origin.url("/ok?2"))
    running.wait_for_records(2)
    limit_files(running.pid, 1024)
    assert client.finish(5).exit == 0
    result = running.finish()
    check_complete(result, 2)
    assert result.stderr.count("admin-refuses") == 1
