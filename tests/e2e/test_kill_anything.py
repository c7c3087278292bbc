"""A short stretch of tests/stress/kill-anything: random lists, options and kills, and what must hold all the same.

HOTFLEET_KILL_SEED is the seed of the first run; tools/test draws one and tells it."""
import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "stress"))

from kill_run import run_one  # noqa: E402
from kill_site import FIRST_GROUP, Site, has_jobs  # noqa: E402

RUNS = 25
SEED = int(os.environ.get("HOTFLEET_KILL_SEED", "1"))


@pytest.fixture(scope="module")
def kill_site(tmp_path_factory):
    site = Site(str(tmp_path_factory.mktemp("kill-site")))
    yield site
    site.stop()


@pytest.mark.parametrize("number", range(RUNS))
def test_whoever_is_killed_each_line_has_its_record(kill_site, tmp_path, number):
    report = run_one(SEED + number, kill_site, FIRST_GROUP, has_jobs(), str(tmp_path))
    assert not report.error, (f"{report.error}\nfiles: {tmp_path}\n"
                              f"again: tests/stress/kill-anything --runs 1 --seed {SEED + number}")
