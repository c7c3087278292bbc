"""Connections made ahead of need: --prewarm and `hotfleet ctl prewarm` (B9, B10)."""
import collections
import json
import os
import signal
import socket

import pytest

from support import origins
from support.records import check_answered, check_complete


def wait_until(condition):
    """Long enough for a busy machine."""
    return origins.wait_until(condition, 15)


QUIET = ("--silent", "--retry", "0")
# For limits of time: under sanitizers the first connection of each browser is slow to make.
ALIKE = ("--profile", "none")
ROOMY = ("--max-conns-per-host", "50", "--max-idle-conns", "100")


def site(origin, port="https", host="localhost"):
    """What --prewarm takes for a host of the origin."""
    return origin.url("/", port, host)[:-1]


def start(hotfleet, *flags):
    """A fleet whose workers run."""
    running = hotfleet.start(*QUIET, *flags)
    running.wait_for_workers(1)
    return running


def ctl_prewarm(hotfleet, *arguments):
    """(exit code, stdout, stderr) of a `hotfleet ctl prewarm`."""
    done = hotfleet.launch("ctl", "prewarm", *arguments).finish()
    return done.exit, done.stdout.decode(), done.stderr


def opened(origin, listener="https"):
    return origin.log("open", listener=listener)


def handshakes(origin):
    return len(origin.log("tls", listener="https"))


def numbers(hotfleet, running):
    return json.loads(hotfleet.command("stats", "--json", running.pid).stdout)


def test_connections_are_there_before_the_first_url(hotfleet, origin):
    running = hotfleet.start(*QUIET, "-w", "2", "-4", "--prewarm", f"{site(origin)}=10")
    assert wait_until(lambda: handshakes(origin) == 10)
    assert origin.requests() == []
    running.feed(origin.url("/ok", "https", "localhost"))
    record = running.wait_for_records(1)[0]
    assert record["reused"] is True
    check_complete(running.finish(), 1)
    assert wait_until(lambda: handshakes(origin) == 10)


def test_they_stay_idle_in_the_pool_and_are_counted(hotfleet, origin):
    running = hotfleet.start(*QUIET, "-w", "3", "-4", "--prewarm", f"{site(origin)}=10")
    assert wait_until(lambda: handshakes(origin) == 10)
    assert wait_until(lambda: numbers(hotfleet, running)["conns_idle"] == 10)
    assert numbers(hotfleet, running)["prewarmed"] == 10 and numbers(hotfleet, running)["prewarm_failures"] == 0
    check_complete(running.finish(), 0)


def test_they_are_spread_evenly_over_the_addresses(hotfleet, origin, name_server):
    addresses = ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"]
    server = name_server({"many.test": {"A": addresses}})
    running = hotfleet.start(*QUIET, *ROOMY, "-w", "4", "--resolvers", server.resolver, "--prewarm-wait",
                             "--prewarm", f"{site(origin, 'http', 'many.test')}=40")
    result = running.finish()
    check_complete(result, 0)
    assert collections.Counter(note["local"] for note in opened(origin, "http")) == {a: 10 for a in addresses}


def test_waiting_comes_before_the_first_url_even_without_any(hotfleet, origin):
    result = hotfleet([origin.url("/ok", "https", "localhost")], *QUIET, "-4", "--prewarm-wait",
                      "--prewarm", f"{site(origin)}=5")
    assert check_answered(check_complete(result, 1)[1])["reused"] is True
    assert wait_until(lambda: handshakes(origin) == 5)
    asked = origin.requests()[0]["at"]
    assert all(note["at"] < asked for note in opened(origin))
    result = hotfleet([], *QUIET, "-4", "--prewarm-wait", "--prewarm", f"{site(origin)}=7")
    check_complete(result, 0)
    assert wait_until(lambda: handshakes(origin) == 12)


def test_without_waiting_the_end_of_the_input_ends_the_run(hotfleet, origin):
    result = hotfleet([], *QUIET, "--prewarm", f"{site(origin, 'tls_stall')}=5", "--tls-timeout", "20s")
    check_complete(result, 0)
    assert result.seconds < 10


def test_batches_keep_their_distance(hotfleet, origin):
    result = hotfleet([], *QUIET, *ROOMY, *ALIKE, "-4", "--prewarm-wait", "--prewarm-batch", "5", "--prewarm-delay", "1s",
                      "--prewarm", f"{site(origin, 'http')}=15")
    check_complete(result, 0)
    times = sorted(note["at"] for note in opened(origin, "http"))
    assert len(times) == 15
    # By when the server has seen them: it may see the first ones of a batch late.
    assert times[5] - times[0] >= 0.85 and times[10] - times[0] >= 1.85


def test_no_more_than_the_concurrency_are_made_at_a_time(hotfleet, origin):
    running = hotfleet.start(*QUIET, *ROOMY, *ALIKE, "-4", "--prewarm", f"{site(origin, 'tls_stall')}=20",
                             "--prewarm-concurrency", "3", "--tls-timeout", "400ms", "--prewarm-timeout", "1s")
    assert wait_until(lambda: len(opened(origin, "tls_stall")) >= 6)
    assert wait_until(lambda: numbers(hotfleet, running)["prewarm_failures"] == 20)
    assert origin.peak("tls_stall") <= 3
    check_complete(running.finish(), 0)


def test_addresses_that_refuse_are_told_and_counted(hotfleet, name_server, origin):
    server = name_server({"gone.test": {"A": ["127.0.0.1", "127.0.0.77"]}})
    running = start(hotfleet, *ROOMY, "-w", "2", "--resolvers", server.resolver)
    code, out, err = ctl_prewarm(hotfleet, f"http://gone.test:{origin.port['refused']}", "4", "--wait", running.pid)
    assert code == 1, err
    answer = json.loads(out)
    assert answer["warmed"] == 0 and answer["failed"] == 4 and answer["error_code"] == "connection-refused"
    assert {a["address"]: a["failed"] for a in answer["addresses"]} == {"127.0.0.1": 6, "127.0.0.77": 6}
    stats = numbers(hotfleet, running)
    assert stats["prewarm_failures"] == 4 and stats["prewarmed"] == 0
    check_complete(running.finish(), 0)


def test_further_tries_go_to_addresses_that_serve(hotfleet, name_server):
    server = name_server({"half.test": {"A": ["127.0.0.1", "127.0.0.77"]}})
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        running = start(hotfleet, *ROOMY, "-w", "1", "--resolvers", server.resolver)
        host = f"http://half.test:{listener.getsockname()[1]}"
        _, out, err = ctl_prewarm(hotfleet, host, "4", "--wait", running.pid)
        answer = json.loads(out)
        by_address = {a["address"]: a for a in answer["addresses"]}
        assert answer["warmed"] >= 3 and answer["warmed"] + answer["failed"] == 4, err
        assert by_address["127.0.0.1"]["warmed"] == answer["warmed"] and by_address["127.0.0.1"]["failed"] == 0
        assert by_address["127.0.0.77"]["warmed"] == 0 and by_address["127.0.0.77"]["failed"] >= 2
        check_complete(running.finish(), 0)


def test_ctl_waits_for_the_result_by_address(hotfleet, origin, name_server):
    server = name_server({"two.test": {"A": ["127.0.0.1", "127.0.0.2"]}})
    running = start(hotfleet, *ROOMY, "-w", "2", "--resolvers", server.resolver)
    code, out, err = ctl_prewarm(hotfleet, site(origin, "http", "two.test"), "6", "--wait", running.pid)
    assert code == 0, err
    answer = json.loads(out)
    assert (answer["wanted"], answer["warmed"], answer["failed"]) == (6, 6, 0)
    assert {a["address"]: a["warmed"] for a in answer["addresses"]} == {"127.0.0.1": 3, "127.0.0.2": 3}
    running.feed(origin.url("/ok", "http", "two.test"))
    assert check_answered(running.wait_for_records(1)[0])["reused"] is True
    check_complete(running.finish(), 1)
    assert len(opened(origin, "http")) == 6


def test_ctl_without_waiting_answers_at_once(hotfleet, origin):
    running = start(hotfleet, "-4")
    code, out, err = ctl_prewarm(hotfleet, site(origin), "3", running.pid)
    assert code == 0 and json.loads(out) == {"started": 3}, err
    assert wait_until(lambda: handshakes(origin) == 3)
    check_complete(running.finish(), 0)


def test_ctl_is_patient_with_what_takes_long(hotfleet, origin):
    running = start(hotfleet, "-4", "--prewarm-timeout", "11s", "--tls-timeout", "13s")
    code, out, err = ctl_prewarm(hotfleet, site(origin, "tls_stall"), "1", "--wait", running.pid)
    assert code == 1, err
    answer = json.loads(out)
    assert answer["failed"] == 1 and answer["took_ms"] > 10500
    check_complete(running.finish(), 0)


@pytest.mark.parametrize("arguments, said", [
    (("a.test",), "number"), (("a.test", "0"), "1 to 1000000"), (("a.test", "x"), "1 to 1000000"),
    (("http://a.test/path", "2"), "more than a host"), (("a b", "2"), "forbidden"), (("a.test", "2", "--now"), "--now")])
def test_ctl_refuses_with_what_is_wrong(hotfleet, arguments, said):
    running = start(hotfleet)
    code, out, err = ctl_prewarm(hotfleet, *arguments, *([running.pid] if len(arguments) == 2 else []))
    assert code == 2 and out == "" and said in err, err
    check_complete(running.finish(), 0)


def test_name_that_does_not_resolve_is_a_failed_result(hotfleet, name_server):
    server = name_server({})
    running = start(hotfleet, "--resolvers", server.resolver)
    code, out, err = ctl_prewarm(hotfleet, "nobody.test", "2", "--wait", running.pid)
    assert code == 1, err
    answer = json.loads(out)
    assert answer["error_code"] == "dns-nxdomain" and answer["failed"] == 2 and answer["addresses"] == []
    check_complete(running.finish(), 0)


@pytest.mark.parametrize("entry, said", [
    ("a.test", "HOST=N"), ("=3", "no host"), ("a.test=0", "1 to 1000000"), ("ftp://a.test=1", "http"),
    ("https://a.test/x=1", "more than a host"), ("a.test=1000001", "1 to 1000000")])
def test_wrong_entries_end_the_run_before_it_starts(hotfleet, entry, said):
    result = hotfleet([], "--prewarm", entry)
    assert result.exit == 2 and said in result.stderr, result.explain()


def test_more_than_the_limits_allow_is_warned_of(hotfleet, origin):
    result = hotfleet([], *QUIET, "-4", "--prewarm-wait", "--prewarm", f"{site(origin, 'http')}=30",
                      "--max-conns-per-host", "4")
    check_complete(result, 0)
    assert "prewarm-above-limit" in result.stderr and "max_conns_per_host=4" in result.stderr
    assert "max_idle_conns=20" in result.stderr
    assert "warmed=4 failed=26" in result.stderr
    assert origin.peak("http") <= 4


def test_deaths_of_the_worker_use_up_the_tries(hotfleet, origin):
    running = start(hotfleet, *ROOMY, "-w", "1", "-4")
    waiting = hotfleet.launch("ctl", "prewarm", site(origin, "tls_stall"), "4", "--wait", running.pid)
    for tries in (1, 2, 3):
        assert wait_until(lambda: len(opened(origin, "tls_stall")) == 4 * tries)
        for pid in running.wait_for_workers(1):
            os.kill(pid, signal.SIGKILL)
    done = waiting.finish()
    answer = json.loads(done.stdout)
    assert done.exit == 1 and answer["failed"] == 4 and answer["error_code"] == "connection-broken", done.explain()
    check_complete(running.finish(), 0)
