"""The state directory when it cannot be used: each fault is told with what to do, and the exit code is 2."""
import os
import shlex
import subprocess

import pytest

from support.fleet import binary, clean_environment
from support.namespaces import needs_namespaces
from support.records import check_complete


def run_on_a_small_disk(directory, size, prepare="true"):
    """A run with --state on a tmpfs of `size` that a mount namespace of its own holds."""
    state = os.path.join(directory, "small")
    os.mkdir(state)
    command = (f"mount -t tmpfs -o size={size} none {shlex.quote(state)} && cd {shlex.quote(state)} && {prepare}; "
               f"exec {shlex.quote(binary())} run --silent --allow-private --state {shlex.quote(state)}")
    return subprocess.run(["unshare", "-m", "sh", "-c", command], input=b"http://127.0.0.1:1/\n", capture_output=True,
                          env=clean_environment(directory), timeout=60, check=False)


@needs_namespaces
@pytest.mark.parametrize("size", ["4k", "8k", "20k"])
def test_full_disk_is_refused_with_what_to_do(tmp_path, size):
    done = run_on_a_small_disk(str(tmp_path), size, "dd if=/dev/zero of=fill bs=4096 count=1 2>/dev/null")
    assert done.returncode == 2 and done.stdout == b""
    assert b"No space left on device" in done.stderr and b"--state" in done.stderr


@needs_namespaces
def test_disk_that_fills_while_the_fleet_runs_costs_no_record(tmp_path):
    done = run_on_a_small_disk(str(tmp_path), "64k", "dd if=/dev/zero of=fill bs=4096 count=4 2>/dev/null")
    assert done.returncode == 0 and done.stdout.count(b"\n") == 1, done.stderr


def test_second_fleet_on_the_same_directory_is_refused(hotfleet, origin):
    state = os.path.join(hotfleet.directory, "state")
    first = hotfleet.start("--silent", "--state", state)
    first.feed(origin.url("/ok"))
    first.wait_for_records(1)
    second = hotfleet.start("--silent", "--state", state).finish()
    assert second.exit == 2 and state in second.stderr and str(first.pid) in second.stderr
    first.feed(origin.url("/ok"))
    check_complete(first.finish(), 2)


def test_directory_that_is_a_file_is_refused(hotfleet, tmp_path):
    path = tmp_path / "file"
    path.write_text("no directory")
    result = hotfleet.start("--silent", "--state", path).finish()
    assert result.exit == 2 and str(path) in result.stderr and result.stdout == b""
