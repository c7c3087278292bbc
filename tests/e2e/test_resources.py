"""Too little of what a machine gives: the run stays within it or ends with the right code, says so, and loses nothing."""
import json
import os
import resource
import shlex
import signal
import subprocess
import threading
import time

import pytest

from support.fleet import binary, clean_environment, is_alive, is_sanitized
from support.namespaces import needs_namespaces
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


# --- memory ---
needs_malloc = pytest.mark.skipif(is_sanitized(), reason="AddressSanitizer ends a process without memory in its own way")


@needs_malloc
def test_worker_without_memory_says_so_and_is_replaced(hotfleet, origin):
    running = hotfleet.start("-w", "1", "--max-line", "2M")
    running.feed(origin.url("/ok"))
    running.wait_for_records(1)
    worker = running.workers()[0]
    resource.prlimit(worker, resource.RLIMIT_AS, (1 << 20, 1 << 20))
    running.feed(*[json.dumps({"url": origin.url(f"/ok?{n}"), "method": "PUT", "body": "x" * 1000000}) for n in range(4)])
    result = running.finish()
    records = check_complete(result, 5)
    assert all(check_answered(r) for r in records.values())
    assert not is_alive(worker) and "out of memory" in result.stderr and "worker-died" in result.stderr


@needs_malloc
def test_workers_that_cannot_start_end_the_run(hotfleet, origin):
    """What the coordinator may take new workers inherit: none of them gets beyond its first instructions."""
    running = hotfleet.start("-w", "1")
    running.feed(origin.url("/ok"))
    running.wait_for_records(1)
    resource.prlimit(running.pid, resource.RLIMIT_AS, (8 << 20, 8 << 20))
    os.kill(running.workers()[0], signal.SIGKILL)
    running.feed(origin.url("/ok?2"))
    assert running.ended.wait(25), bytes(running.err)
    result = running.finish()
    assert result.exit == 1 and [r["seq"] for r in result.records] == [1]
    assert "workers-keep-dying" in result.stderr and "1 lines that were read have no record" in result.stderr
    assert result.cpu_seconds < 2


# --- disks ---
def run_on_tmpfs(directory, options, count, arguments, host="127.0.0.1"):
    """A run in a mount namespace of its own, with `disk` below the directory a tmpfs of these options."""
    disk = os.path.join(directory, "disk")
    os.mkdir(disk)
    out = os.path.join(directory, "out")
    command = (f"mount -t tmpfs -o {options} none {shlex.quote(disk)} && cd {shlex.quote(disk)} && "
               f"{shlex.quote(binary())} run --silent --allow-private {arguments}; code=$?; "
               f"cp {shlex.quote(disk)}/records {shlex.quote(out)} 2>/dev/null; exit $code")
    hosts = [host % (n // 250, n % 250) if "%" in host else host for n in range(count)]
    lines = "".join(f"http://{name}:1/{n}\n" for n, name in enumerate(hosts)).encode()
    done = subprocess.run(["unshare", "-m", "sh", "-c", command], input=lines, capture_output=True,
                          env=clean_environment(directory), timeout=60, check=False)
    data = b""
    if os.path.exists(out):
        with open(out, "rb") as file:
            data = file.read()
    return done, data


@needs_namespaces
def test_output_on_a_full_disk_ends_with_whole_lines(tmp_path):
    done, data = run_on_tmpfs(str(tmp_path), "size=64k", 2000, "--retry 0 --breaker-failures 0 -o records")
    assert done.returncode == 3 and b"No space left on device" in done.stderr, done
    assert 10000 < len(data) <= 65536 and data.endswith(b"\n")
    assert all(line.startswith(b'{"seq":') and line.endswith(b"}") for line in data.split(b"\n")[:-1])


@needs_namespaces
@pytest.mark.parametrize("arguments, named", [("-o records", b"records"), ("--state state", b"state")])
def test_read_only_disk_is_refused_with_its_name(tmp_path, arguments, named):
    done, _ = run_on_tmpfs(str(tmp_path), "ro", 1, arguments)
    assert done.returncode == 2 and done.stdout == b""
    assert b"Read-only file system" in done.stderr and named in done.stderr


def test_output_beyond_the_largest_file_ends_with_whole_lines(hotfleet, origin):
    """A limit on the size of files, as a quota is one."""
    path = os.path.join(hotfleet.directory, "records")
    running = hotfleet.start("-w", "1", "-o", path)
    running.wait_for_workers(1)
    resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (30000, 30000))
    running.feed(*[origin.url(f"/bytes/{n}") for n in range(300)])
    result = running.finish()
    assert result.exit == 3 and "File too large" in result.stderr, result.explain()
    with open(path, "rb") as file:
        data = file.read()
    assert 20000 < len(data) <= 30000 and data.endswith(b"}\n")


@needs_namespaces
def test_state_that_fills_is_told_once_and_costs_no_record(tmp_path):
    """Each host's circuit opens, which is kept in the map."""
    done, _ = run_on_tmpfs(str(tmp_path), "size=160k", 3000, "--retry 0 --breaker-failures 1 --state .", host="127.%d.%d.1")
    assert done.returncode == 0 and done.stdout.count(b"\n") == 3000, done.stderr
    assert done.stderr.count(b"\n") == 1 and b"store-failed" in done.stderr and b"disk" in done.stderr, done.stderr


# --- a reader that stops ---
def test_a_blocked_reader_costs_time_alone(hotfleet, origin, seconds=float(os.environ.get("BLOCKED_SECONDS", "3"))):
    """Nothing is lost, memory is bounded, and nobody turns in circles meanwhile."""
    reader, writer = os.pipe()
    running = hotfleet.start("-w", "2", "--silent", "--window", "2000", "--retry", "0", "--breaker-failures", "0",
                             stdout=writer)
    os.close(writer)
    count = 40000
    lines = [b"http://127.0.0.1:1/%d%s" % (n, b"x" * 500) for n in range(count)]
    feeder = threading.Thread(target=lambda: (running.feed(*lines), running.end_input()), daemon=True)
    feeder.start()
    time.sleep(3)
    pids = [running.pid, *running.workers()]
    before = sum(cpu_seconds(pid) for pid in pids)
    time.sleep(seconds)
    assert sum(cpu_seconds(pid) for pid in pids) - before < 0.1 + 0.02 * seconds
    assert running.memory_mib() < (1500 if is_sanitized() else 120)
    with os.fdopen(reader, "rb") as stream:
        numbers = sorted(int(line[7:line.index(b",")]) for line in stream)
    result = running.finish(60)
    assert result.exit == 0 and numbers == list(range(1, count + 1))
