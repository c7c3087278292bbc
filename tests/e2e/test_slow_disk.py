"""A disk that takes its time: whoever waits for it, it is not those who fetch."""
import os
import shutil
import subprocess
import time

import pytest

from support.jobs import FAST, Job, targets
from support.origins import wait_until

SLEEP_S = 2
SHIM = f"""
#include <unistd.h>
int fdatasync(int fd) {{ sleep({SLEEP_S}); return fsync(fd); }}
int msync(void *at, unsigned long len, int how) {{ sleep({SLEEP_S}); return 0; }}
"""

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="no compiler to slow the disk down with")


@pytest.fixture
def slow_disk(tmp_path):
    """The variables under which each sync takes seconds."""
    source, library = tmp_path / "slow.c", tmp_path / "slow.so"
    source.write_text(SHIM)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
    return {"LD_PRELOAD": str(library), "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}


def test_records_flow_while_a_commit_waits_for_its_disk(hotfleet, origin, slow_disk):
    """The first commit is waited for, before anything is sent. Then 400 lines, of which each takes 10 ms of one
    connection, come without a pause that is as long as one sync, although commits are under way all the time."""
    job = Job(hotfleet, [origin.url(f"/slow?ms=10&n={n}") for n in range(400)], *FAST)
    running = job.start("--max-conns-per-host", "1", env=slow_disk)
    assert wait_until(lambda: len(targets(origin)) > 20, 60)
    pauses, last, seen = [], time.monotonic(), job.written()
    while seen < 400 and not running.ended.is_set():
        if (now_seen := job.written()) > seen:
            pauses.append(time.monotonic() - last)
            last, seen = time.monotonic(), now_seen
        time.sleep(0.005)
    assert seen >= 350 and max(pauses) < SLEEP_S * 0.7, f"{seen} records, pauses up to {max(pauses):.2f} s"
    job.check_finished(running.finish(), 400)


def test_killed_over_a_slow_commit_it_goes_on(hotfleet, origin, slow_disk):
    """Records that are written and in no commit yet are cut off and made again, each once."""
    job = Job(hotfleet, [origin.url(f"/slow?ms=5&n={n}") for n in range(300)], *FAST)
    running = job.start("--max-conns-per-host", "1", env=slow_disk)
    assert wait_until(lambda: os.path.exists(job.output_path) and job.written() > 100, 60)
    job.kill(running)
    before = len(targets(origin))
    job.check_finished(job.run(), 300)
    assert len(targets(origin)) > before
