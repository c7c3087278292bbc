"""Steering a running fleet: `hotfleet ctl` and the actions behind it."""
import json
import os
import socket
import subprocess

import pytest

from support.origins import wait_until
from support.records import check_complete


def ctl(hotfleet, *arguments):
    """(exit code, stdout, stderr) of a `hotfleet ctl`."""
    done = hotfleet.launch("ctl", *arguments).finish()
    return done.exit, done.stdout.decode(), done.stderr


def sockets_of(pids):
    """How many TCP sockets the processes hold."""
    found = 0
    for pid in pids:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                target = os.readlink(f"/proc/{pid}/fd/{fd}")
            except OSError:
                continue
            found += target.startswith("socket:")
    return found


def test_flush_idle_closes_what_is_idle_and_no_request_fails(hotfleet, origin):
    running = hotfleet.start("-w", "2", "--silent")
    running.feed(*[origin.url(f"/bytes/{n}") for n in range(40)])
    running.wait_for_records(40)
    before = sockets_of(running.workers())
    assert before > 0
    running.feed(*[origin.url("/slow?ms=1500")] * 4)
    wait_until(lambda: sum("/slow" in r["target"] for r in origin.requests()) == 4)
    code, out, err = ctl(hotfleet, "flush", "--idle", running.pid)
    assert code == 0, err
    answer = json.loads(out)
    assert answer["workers_failed"] == 0 and answer["closed"] > 0
    wait_until(lambda: sockets_of(running.workers()) <= 4)
    running.feed(*[origin.url(f"/bytes/{n}") for n in range(40)])
    result = running.finish()
    records = check_complete(result, 84).values()
    assert not any(r["failed"] for r in records)
    assert sum(r["attempts"] for r in records) == 84


def test_flush_closes_leased_connections_too_and_their_requests_go_again(hotfleet, origin):
    running = hotfleet.start("-w", "2", "--silent", "--retry-delay", "1ms")
    running.feed(*[origin.url("/slow?ms=1500")] * 4)
    wait_until(lambda: sum("/slow" in r["target"] for r in origin.requests()) == 4)
    code, out, err = ctl(hotfleet, "flush", running.pid)
    assert code == 0, err
    assert json.loads(out)["closed"] == 4
    records = check_complete(running.finish(), 4).values()
    assert not any(r["failed"] for r in records)
    assert all(r["attempts"] == 2 for r in records)


@pytest.mark.parametrize("arguments, said", [
    (("flush", "--idel"), "--idel"), (("flushes",), "flushes"), ((), "verb is missing"), (("stats", "now"), "now")])
def test_wrong_words_are_refused_with_what_is_wrong(hotfleet, arguments, said):
    code, out, err = ctl(hotfleet, *arguments)
    assert code == 2 and out == "" and said in err


def test_a_port_may_look_but_not_steer(hotfleet, origin):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    running = hotfleet.start("--silent", "--listen", f"127.0.0.1:{port}")
    running.feed(origin.url("/bytes/1"))
    running.wait_for_records(1)
    done = subprocess.run(["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST",
                           f"http://127.0.0.1:{port}/flush"], capture_output=True, check=True, timeout=20)
    assert done.stdout == b"403"
    check_complete(running.finish(), 1)
