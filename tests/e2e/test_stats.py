"""Progress on stderr, and `hotfleet stats`, which reads a running fleet from outside."""
import json
import os
import pty
import re
import time

import pytest

from support.origins import wait_until
from support.records import check_complete


def numbers(value, path=""):
    """All numbers of a JSON value by their path."""
    if isinstance(value, dict):
        return {k: v for key, part in value.items() for k, v in numbers(part, f"{path}.{key}").items()}
    if isinstance(value, list):
        return {k: v for n, part in enumerate(value) for k, v in numbers(part, f"{path}[{n}]").items()}
    return {path: value} if isinstance(value, (int, float)) and not isinstance(value, bool) else {}


def running_fleet(hotfleet, origin, count=20):
    running = hotfleet.start("-w", "2")
    running.feed(*[origin.url(f"/bytes/{n}") for n in range(count)])
    running.wait_for_records(count)
    return running


def test_stats_of_a_running_fleet_as_json(hotfleet, origin):
    running = running_fleet(hotfleet, origin)
    result = hotfleet.command("stats", "--json", running.pid)
    assert result.exit == 0, result.explain()
    found = numbers(json.loads(result.stdout))
    requests = {path: v for path, v in found.items() if re.search(r"requests(_total)?$", path)}
    assert 20 in requests.values(), found
    assert all(v == v and v >= 0 for v in found.values()), "no NaN, nothing negative"
    check_complete(running.finish(), 20)


def test_stats_agree_with_the_servers_log(hotfleet, origin):
    running = hotfleet.start("-w", "2", "--retry-delay", "1ms")
    running.feed(*[origin.url(f"/flaky/none?n=1&k={n}") for n in range(10)], *[origin.url("/redirect/2")] * 5)
    running.wait_for_records(15)
    found = numbers(json.loads(hotfleet.command("stats", "--json", running.pid).stdout))
    assert len(origin.requests()) in [v for path, v in found.items() if re.search(r"requests(_total)?$", path)], found
    check_complete(running.finish(), 15)


def test_stats_for_people(hotfleet, origin):
    running = running_fleet(hotfleet, origin)
    result = hotfleet.command("stats", running.pid)
    assert result.exit == 0 and b"20" in result.stdout and not result.stdout.startswith(b"{")
    check_complete(running.finish(), 20)


def test_stats_of_all_fleets(hotfleet, origin):
    fleets = [running_fleet(hotfleet, origin) for _ in range(2)]
    result = hotfleet.command("stats", "--all")
    assert result.exit == 0, result.explain()
    for running in fleets:
        assert str(running.pid) in result.stdout.decode()
        check_complete(running.finish(), 20)


@pytest.mark.parametrize("pid", ["1", "999999999", "nonsense", "-5"])
def test_stats_of_no_fleet_is_an_error(hotfleet, pid):
    result = hotfleet.command("stats", "--json", pid)
    assert result.exit in (1, 2) and result.stderr and result.stdout == b""


def test_stats_do_not_disturb_the_fleet(hotfleet, origin):
    running = hotfleet.start("-w", "2")
    running.feed(*[origin.url(f"/slow?ms=20&n={n}") for n in range(100)])
    running.wait_for_records(1)
    for _ in range(10):
        assert hotfleet.command("stats", "--json", running.pid).exit == 0
    check_complete(running.finish(), 100)


def test_interval_lines_when_stderr_is_no_terminal(hotfleet, origin):
    running = hotfleet.start("--stats-interval", "200ms")
    running.feed(origin.url("/ok"))
    running.wait_for_records(1)
    assert wait_until(lambda: running.err.count(b"\n") >= 3, 3)
    assert b"\r" not in running.err and b"\x1b" not in running.err
    check_complete(running.finish(), 1)


def test_no_line_before_the_interval(hotfleet, origin):
    running = hotfleet.start("--stats-interval", "1h")
    running.feed(origin.url("/ok"))
    running.wait_for_records(1)
    time.sleep(0.3)
    assert bytes(running.err) == b""
    check_complete(running.finish(), 1)


def on_terminal(hotfleet, origin, *flags, env=None):
    """What a run of a second shows on a terminal."""
    master, slave = pty.openpty()
    running = hotfleet.start(*flags, stderr=slave, env={"TERM": "xterm", **(env or {})})
    os.close(slave)
    running.feed(*[origin.url(f"/slow?ms=100&n={n}") for n in range(60)])
    running.wait_for_records(60)
    result = running.finish()
    shown = b""
    try:
        while part := os.read(master, 65536):
            shown += part
    except OSError:
        pass  # EIO: the other side has gone
    os.close(master)
    check_complete(result, 60)
    return shown


def test_progress_line_on_a_terminal(hotfleet, origin):
    shown = on_terminal(hotfleet, origin)
    assert b"\r" in shown.replace(b"\r\n", b"") and re.search(rb"\d", shown)


def test_silent_terminal(hotfleet, origin):
    assert on_terminal(hotfleet, origin, "-s") == b""


def test_no_color_is_obeyed(hotfleet, origin):
    shown = on_terminal(hotfleet, origin, env={"NO_COLOR": "1"})
    assert not re.search(rb"\x1b\[[0-9;]*m", shown)
