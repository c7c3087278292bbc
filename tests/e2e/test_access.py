"""Which addresses of a host are used: learned from answers, ruled by lists and by hand, checked again, kept in the map
(C5-C7, E3, B13, A10)."""
import json
import os

import pytest

from support.origins import wait_until
from support.records import check_answered, check_complete, check_failed

QUICK = ("--blacklist-check-interval", "500ms")


def addresses(count, start=2):
    return [f"127.0.0.{n}" for n in range(start, start + count)]


def resolve(origin, name, ips, port="http"):
    return "--resolve", f"{name}:{origin.port[port]}:{','.join(ips)}"


def guard(origin, name, at, tail="", code=403, n=None, port="http"):
    times = "" if n is None else f"&n={n}"
    return origin.url(f"/guard/{code}/{tail}?at={','.join(at)}{times}", port, name)


def requests_at(origin, address):
    return [r for r in origin.requests() if r["local"] == address]


def guarded(origin, address):
    """How often the address was asked for what it may refuse."""
    return sum("/guard" in r["target"] for r in requests_at(origin, address))


def command(hotfleet, *arguments, code=0):
    done = hotfleet.command(*arguments)
    assert done.exit == code, done.explain()
    return done


def ip_list(hotfleet, *arguments):
    return [json.loads(line) for line in command(hotfleet, "ip", "list", *arguments).stdout.splitlines()]


def numbers(hotfleet, running):
    return json.loads(command(hotfleet, "stats", "--json", running.pid).stdout)


@pytest.mark.parametrize("port", ["http", "https"])
def test_an_address_that_answers_403_gets_one_request_and_the_url_ends_well(hotfleet, origin, port):
    ips, flags = addresses(4), ["-w", "1", "-k", "--max-conns-per-host", "4"]
    result = hotfleet([guard(origin, "a.test", ips[:1], n, port=port) for n in range(40)],
                      *resolve(origin, "a.test", ips, port), *flags)
    for record in check_complete(result, 40).values():
        check_answered(record)
        assert record["host_ip"] != ips[0]
    assert len(requests_at(origin, ips[0])) == 1
    assert sum(r["attempts"] for r in result.records) == 41


def test_a_url_tries_all_addresses_however_many_refuse(hotfleet, origin):
    ips = addresses(9)
    record = check_complete(hotfleet([guard(origin, "a.test", ips[:8])], *resolve(origin, "a.test", ips), "-w", "1"), 1)[1]
    assert check_answered(record)["host_ip"] == ips[8]
    assert all(len(requests_at(origin, ip)) <= 1 for ip in ips)


def test_all_addresses_black_ends_each_url_at_once(hotfleet, origin):
    ips = addresses(3)
    running = hotfleet.start(*resolve(origin, "a.test", ips), "-w", "2", "--silent")
    running.feed(guard(origin, "a.test", ips))
    first = running.wait_for_records(1)[0]
    check_failed(first, "ip-blocked")
    assert first["status_code"] == 403 and first["attempts"] == 3
    running.feed(*[guard(origin, "a.test", ips, n) for n in range(50)])
    for seq, record in check_complete(running.finish(), 51).items():
        if seq > 1:
            check_failed(record, "ip-exhausted")
            assert "status_code" not in record and "blocked" in record["error"]
            assert float(record["time"].removesuffix("ms")) < 2000
    assert len(origin.requests()) == 3


def test_a_post_is_not_sent_to_a_second_address(hotfleet, origin):
    ips = addresses(2)
    line = json.dumps({"url": guard(origin, "a.test", ips), "method": "POST", "body": "once"})
    record = check_complete(hotfleet([line], *resolve(origin, "a.test", ips)), 1)[1]
    check_failed(record, "ip-blocked")
    assert record["status_code"] == 403 and len(origin.requests()) == 1


def test_blacklist_status_says_which_answers_block(hotfleet, origin):
    ips = addresses(1)
    lines = [guard(origin, "a.test", ips, n) for n in range(5)] + [guard(origin, "b.test", ips, code=451)] * 3
    flags = [*resolve(origin, "a.test", ips), *resolve(origin, "b.test", ips), "--max-conns-per-host", "1", "-w", "1"]
    for record in check_complete(hotfleet(lines, *flags, "--blacklist-status", ""), 8).values():
        assert record["status_code"] in (403, 451) and not record["failed"]
    records = check_complete(hotfleet(lines, *flags, "--blacklist-status", "451"), 8)
    assert not any(records[seq]["failed"] for seq in range(1, 6))
    check_failed(records[6], "ip-blocked")
    assert records[6]["status_code"] == 451


def test_black_for_one_host_is_good_for_another(hotfleet, origin):
    ips = addresses(1)
    lines = [guard(origin, "a.test", ips), *[origin.url("/ok", host="b.test")] * 3]
    flags = [*resolve(origin, "a.test", ips), *resolve(origin, "b.test", ips), "-w", "1"]
    records = check_complete(hotfleet(lines, *flags), 4)
    check_failed(records[1], "ip-blocked")
    for seq in (2, 3, 4):
        check_answered(records[seq])


def test_what_one_worker_learns_the_others_obey(hotfleet, origin):
    ips = addresses(3)
    running = hotfleet.start(*resolve(origin, "a.test", ips), "-w", "4", "--silent", "--max-conns-per-host", "40")
    running.feed(*[origin.url("/slow?ms=50", host="a.test")] * 40)  # every worker holds connections to every address
    running.wait_for_records(40)
    assert len({r["worker"] for r in running.records()}) > 1
    # One at a time, until it is the turn of the address that refuses: nothing else is under way then.
    asked = 40
    while not guarded(origin, ips[0]):
        assert asked < 240
        running.feed(guard(origin, "a.test", ips[:1], "first"))
        asked += 1
        running.wait_for_records(asked)
    running.feed(*[guard(origin, "a.test", ips[:1], "then")] * 200)
    records = check_complete(running.finish(), asked + 200).values()
    assert not any(r["failed"] for r in records)
    assert guarded(origin, ips[0]) == 1


def test_a_recovered_address_is_back_within_an_interval(hotfleet, origin):
    ips = addresses(1)
    running = hotfleet.start(*resolve(origin, "a.test", ips), *QUICK, "-w", "2", "--silent")
    running.feed(guard(origin, "a.test", ips, n=3))
    check_failed(running.wait_for_records(1)[0], "ip-blocked")
    sums = wait_until(lambda: (s := numbers(hotfleet, running)) and s["whitelist_moves"] and s, 10)
    assert sums and sums["whitelist_moves"] == 1 and sums["blackened"] == 1
    assert sums["access_checks"] == 3 and sums["whitelist_size"] == 1 and sums["blacklist_size"] == 0
    running.feed(guard(origin, "a.test", ips, n=3))
    check_answered(running.wait_for_records(2)[1])
    running.finish()
    # The checks asked for the path that was refused, each on a connection of its own.
    checks = origin.requests()[1:4]
    assert len({r["conn"] for r in checks}) == 3 and {r["target"] for r in checks} == {origin.requests()[0]["target"]}
    waits = [after["at"] - before["at"] for before, after in zip(origin.requests(), checks)]
    assert waits[0] >= 0.028 and waits[1] >= 0.056 and waits[2] >= 0.112  # a sixteenth, doubled, less a tenth


def test_what_was_learned_holds_in_the_next_run(hotfleet, origin):
    ips, state = addresses(2), os.path.join(hotfleet.directory, "state")
    flags = [*resolve(origin, "a.test", ips), "--state", state, "-w", "1", "--max-conns-per-host", "1"]
    check_complete(hotfleet([guard(origin, "a.test", ips[:1], n) for n in range(4)], *flags), 4)
    assert len(requests_at(origin, ips[0])) == 1
    entries = ip_list(hotfleet, "--state", state)
    key = f"http://a.test:{origin.port['http']}"
    assert {(e["address"], e["host"], e["state"], e["source"]) for e in entries} == {
        (ips[0], key, "black", "learned"), (ips[1], key, "white", "learned")}
    assert [e["reason"] for e in entries if e["state"] == "black"] == ["403"]
    assert all(bool(e["next_check"]) == (e["state"] == "black") for e in entries)
    result = hotfleet([guard(origin, "a.test", ips[:1], n) for n in range(20)], *flags)
    for record in check_complete(result, 20).values():
        assert check_answered(record)["host_ip"] == ips[1]
    assert len(requests_at(origin, ips[0])) == 1


def test_the_schedule_goes_on_in_the_next_run(hotfleet, origin):
    ips, state = addresses(1), os.path.join(hotfleet.directory, "state")
    flags = [*resolve(origin, "a.test", ips), "--state", state, *QUICK, "--silent"]
    check_failed(check_complete(hotfleet([guard(origin, "a.test", ips, n=1)], *flags), 1)[1], "ip-blocked")
    running = hotfleet.start(*flags)
    running.feed(guard(origin, "a.test", ips, n=1))
    running.wait_for_records(1)
    assert wait_until(lambda: numbers(hotfleet, running)["whitelist_moves"] == 1, 10)
    running.feed(guard(origin, "a.test", ips, n=1))
    check_answered(running.wait_for_records(2)[1])
    running.finish()


def test_a_listed_black_address_is_never_connected_to(hotfleet, origin):
    ips = addresses(4)
    path = hotfleet.write("black.txt", f"# ours\n\n{ips[0]}  # one\n127.0.0.4/31\n")
    result = hotfleet([origin.url("/ok", host="a.test")] * 20, *resolve(origin, "a.test", ips), "--blacklist-ips",
                      f"@{path}", "--whitelist-ips", ips[2], *QUICK)
    for record in check_complete(result, 20).values():
        assert check_answered(record)["host_ip"] in ips[1:3]  # 127.0.0.4 is white by the longer prefix
    assert {n["local"] for n in origin.log("open")} == set(ips[1:3])


def opened_at(origin, address):
    return [note for note in origin.log("open") if note["local"] == address]


def test_a_prewarm_connects_to_no_listed_black_address(hotfleet, origin):
    """Whose addresses are known before the first turn, by --resolve or as a literal, is judged like any other."""
    ips = addresses(2)
    running = hotfleet.start(*resolve(origin, "a.test", ips), "-w", "1", "--silent", "--blacklist-ips", ips[0],
                             "--prewarm", f"{origin.url('', host='a.test')}=4", "--prewarm-wait")
    running.feed(*[origin.url("/ok", host="a.test")] * 8)
    for record in check_complete(running.finish(), 8).values():
        assert check_answered(record)["host_ip"] == ips[1]
    assert opened_at(origin, ips[0]) == []


def test_a_name_that_gains_a_listed_black_address_gets_no_connection_to_it(hotfleet, origin, name_server):
    ips = addresses(3)
    server = name_server({"a.test": {"A": ips[:1], "ttl": 0}})
    running = hotfleet.start("-w", "1", "--silent", "--resolvers", server.resolver, "--dns-ttl-min", "0",
                             "--dns-update-interval", "100ms", "--blacklist-ips", ips[1])
    running.feed(origin.url("/ok", host="a.test"))
    running.wait_for_records(1)
    server.edit("a.test", {"A": ips, "ttl": 0})
    command(hotfleet, "dns", "refresh", "a.test", running.pid)
    assert wait_until(lambda: opened_at(origin, ips[2]), 15)
    check_complete(running.finish(), 1)
    assert opened_at(origin, ips[1]) == []


def test_a_listed_white_address_is_never_blocked(hotfleet, origin):
    ips = addresses(1)
    result = hotfleet([guard(origin, "a.test", ips)] * 5, *resolve(origin, "a.test", ips), env={
        "HOTFLEET_WHITELIST_IPS": "127.0.0.0/8"})
    for record in check_complete(result, 5).values():
        check_answered(record, 403)


def test_lists_come_from_a_file_of_options(hotfleet, origin):
    hotfleet.write("config.toml", '[blacklist]\nips = ["127.0.0.2"]\n[pool]\nblacklist_status = []\n')
    record = check_complete(hotfleet([origin.url("/ok", host="a.test")], *resolve(origin, "a.test", addresses(1))), 1)[1]
    check_failed(record, "ip-exhausted")
    assert not origin.log("open")


@pytest.mark.parametrize("flags, word", [
    (["--blacklist-ips", "127.0.0.300"], "127.0.0.300"),
    (["--whitelist-ips", "10.0.0.1/8"], "behind its prefix"),
    (["--whitelist-ips", "10.0.0.0/8", "--blacklist-ips", "10.0.0.0/8"], "remove one"),
    (["--blacklist-ips", "@/nonexistent/list"], "/nonexistent/list"),
    (["--blacklist-ips", "@{bad}"], "line 2"),
    (["--blacklist-status", "99"], "99"),
])
def test_a_bad_entry_is_refused_with_its_name(hotfleet, flags, word):
    bad = hotfleet.write("bad.txt", "10.0.0.1\nten\n")
    result = hotfleet([], *[f.replace("{bad}", bad) for f in flags])
    assert result.exit == 2 and word in result.stderr, result.explain()


def test_rules_by_hand_hold_at_once_and_can_be_taken_back(hotfleet, origin):
    ips = addresses(2)
    running = hotfleet.start(*resolve(origin, "a.test", ips), "-w", "2", "--silent")
    urls = [origin.url(f"/ok?{n}", host="a.test") for n in range(20)]
    running.feed(*urls)
    running.wait_for_records(20)
    command(hotfleet, "ip", "add", "--black", "--reason", "maintenance", "--host", "A.test", ips[0], running.pid)
    before = len(requests_at(origin, ips[0]))
    running.feed(*urls)
    running.wait_for_records(40)
    assert len(requests_at(origin, ips[0])) == before
    entry, = [e for e in ip_list(hotfleet, "--black", running.pid)]
    assert (entry["address"], entry["host"], entry["state"], entry["source"], entry["reason"], entry["expires"]) == (
        ips[0], "a.test", "black", "manual", "maintenance", None)
    assert entry["since"] and entry["next_check"] is None
    command(hotfleet, "ip", "add", "--white", "--host", "a.test", ips[0], running.pid)  # from one list to the other
    assert not ip_list(hotfleet, "--black", running.pid)
    command(hotfleet, "ip", "remove", "--host", "a.test", ips[0], running.pid)
    assert not [e for e in ip_list(hotfleet, running.pid) if e["source"] == "manual"]
    command(hotfleet, "ctl", "flush", running.pid)  # connections are dealt out anew
    running.feed(*urls)
    running.wait_for_records(60)
    assert len(requests_at(origin, ips[0])) > before
    assert not any(r["failed"] for r in check_complete(running.finish(), 60).values())


def test_a_range_and_a_file_are_taken_and_expire(hotfleet, origin):
    ips = addresses(3)
    running = hotfleet.start(*resolve(origin, "a.test", ips), "--silent")
    running.feed(origin.url("/ok", host="a.test"))
    running.wait_for_records(1)
    path = hotfleet.write("list.txt", f"{ips[2]}\n")
    command(hotfleet, "ip", "add", "--black", "--expires", "1500ms", "127.0.0.2/31", f"@{path}", running.pid)
    assert {e.get("cidr") or e["address"] for e in ip_list(hotfleet, "--black", running.pid)} == {"127.0.0.2/31", ips[2]}
    assert all(e["expires"] for e in ip_list(hotfleet, "--black", running.pid))
    running.feed(origin.url("/ok", host="a.test"))
    check_failed(running.wait_for_records(2)[1], "ip-exhausted")
    assert wait_until(lambda: numbers(hotfleet, running)["blacklist_size"] == 0, 10)
    running.feed(origin.url("/ok", host="a.test"))
    check_answered(running.wait_for_records(3)[2])
    running.finish()


def test_rules_by_hand_hold_in_the_next_run(hotfleet, origin):
    state, ips = os.path.join(hotfleet.directory, "state"), addresses(2)
    flags = [*resolve(origin, "a.test", ips), "--state", state, "--silent"]
    running = hotfleet.start(*flags)
    running.wait_for_workers(1)
    command(hotfleet, "ip", "add", "--black", ips[0], running.pid)
    running.finish()
    for record in check_complete(hotfleet([origin.url("/ok", host="a.test")] * 6, *flags), 6).values():
        assert check_answered(record)["host_ip"] == ips[1]
    assert [e["address"] for e in ip_list(hotfleet, "--black", "--state", state)] == [ips[0]]


def test_forgetting_what_was_learned(hotfleet, origin):
    ips = addresses(1)
    running = hotfleet.start(*resolve(origin, "a.test", ips), "--silent")
    running.feed(guard(origin, "a.test", ips, n=1))
    check_failed(running.wait_for_records(1)[0], "ip-blocked")
    removed = command(hotfleet, "ip", "remove", "127.0.0.0/8", running.pid)
    assert json.loads(removed.stdout) == {"removed": 1}
    running.feed(guard(origin, "a.test", ips, n=1))
    check_answered(running.wait_for_records(2)[1])
    running.finish()


@pytest.mark.parametrize("arguments, word", [
    ([], "verb"), (["drop", "127.0.0.1"], "drop"), (["add", "127.0.0.1"], "--white or --black"),
    (["add", "--black", "127.0.0.1/33"], "127.0.0.1/33"), (["add", "--black", "ten"], "ten"),
    (["add", "--black"], "no address"), (["add", "--black", "--white", "127.0.0.1"], "exclude"),
    (["add", "--black", "--expires", "soon", "127.0.0.1"], "soon"), (["add", "--black", "--host", "a/b", "127.0.0.1"], "a/b"),
    (["remove", "--black", "127.0.0.1"], "--black"), (["list", "127.0.0.1"], "127.0.0.1"), (["list", "--blak"], "--blak"),
    (["add", "--black", "@/nonexistent/list"], "/nonexistent/list"), (["list", "--state", "/nonexistent/dir"], "/nonexistent"),
])
def test_wrong_usage_is_refused_with_what_is_wrong(hotfleet, arguments, word):
    running = hotfleet.start("--silent")
    running.wait_for_workers(1)
    pid = [] if arguments[:2] == ["list", "--state"] or not arguments else [running.pid]
    done = command(hotfleet, "ip", *arguments, *pid, code=2)
    assert word in done.stderr and not done.stdout, done.explain()
    running.finish()


def test_a_probe_that_is_refused_blocks_the_address(hotfleet, town):
    """It is white while its connection idles; the next probe is told 403, and the next URL goes elsewhere (D3)."""
    ips = ["127.3.0.1", "127.3.0.2"]
    houses = town(ips)
    url = f"https://a.site.test:{houses.port['https']}/"
    running = hotfleet.start("-w", "1", "--silent", "--health-check-interval", "150ms", "--idle-timeout", "60s",
                             "--blacklist-check-interval", "60s",
                             "--resolve", f"a.site.test:{houses.port['https']}:{','.join(ips)}")
    running.feed(url + "1")
    used = running.wait_for_records(1)[0]["host_ip"]
    other = next(ip for ip in ips if ip != used)
    assert wait_until(lambda: houses.counts()[used]["methods"].get("HEAD", 0) >= 2, 10)
    houses.set(used, "blocked")
    assert wait_until(lambda: houses.counts()[used]["statuses"].get("403"), 10)
    assert wait_until(lambda: [e["address"] for e in ip_list(hotfleet, "--black", running.pid)] == [used], 10)
    before = houses.counts()[used]["requests"]
    running.feed(*[url + str(n) for n in range(5)])
    for record in running.wait_for_records(6)[1:]:
        assert check_answered(record)["host_ip"] == other
    assert houses.counts()[used]["requests"] == before
    assert numbers(hotfleet, running)["blackened"] == 1
    assert running.finish().exit == 0


def test_a_host_that_forbids_its_root_is_not_blocked_by_probes(hotfleet, town):
    """Its other pages are served; nobody has ever been let in at "/"."""
    ip = "127.3.0.3"
    houses = town([ip])
    url = f"https://a.site.test:{houses.port['https']}/"
    running = hotfleet.start("-w", "1", "--silent", "--health-check-interval", "100ms", "--idle-timeout", "60s",
                             "--resolve", f"a.site.test:{houses.port['https']}:{ip}")
    running.feed(url + "1")
    running.wait_for_records(1)
    houses.set(ip, "blocked")
    assert wait_until(lambda: houses.counts()[ip]["statuses"].get("403", 0) >= 3, 10)
    houses.set(ip, "ok")
    running.feed(url + "2")
    record = running.wait_for_records(2)[1]
    assert check_answered(record)["reused"] and numbers(hotfleet, running)["blackened"] == 0
    assert running.finish().exit == 0
