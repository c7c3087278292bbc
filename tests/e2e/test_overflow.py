"""Lines beyond a host's share of the window (F3): kept on disk, in order, while the others go on."""
import collections
import json
import os
import signal
import threading

import pytest

from support.jobs import Job, targets
from support.origins import wait_until
from support.records import check_answered, check_complete, check_failed
from support.small_disk import NoSmallDisk, on_small_disk

ONE_BY_ONE = ("-w", "1", "--max-conns-per-host", "1")


def lines_of(origin, host, count, path="/slow?ms=4"):
    return [origin.url(f"{path}{'&' if '?' in path else '?'}n={n}", host=host) for n in range(count)]


def stats(hotfleet, running):
    result = hotfleet.command("stats", "--json", running.pid)
    assert result.exit == 0, result.explain()
    return json.loads(result.stdout)


def find(value, name):
    """The number under this name, wherever it stands."""
    if isinstance(value, dict):
        if name in value:
            return value[name]
        value = list(value.values())
    for part in value if isinstance(value, list) else []:
        found = find(part, name)
        if found is not None:
            return found
    return None


def feed_all(running, lines):
    thread = threading.Thread(target=lambda: running.feed(*lines), daemon=True)
    thread.start()
    return thread


def check_order(origin, count):
    """Each host is asked in the order of the input, once for each of its lines."""
    by_host = {}
    for note in origin.requests():
        by_host.setdefault(note["local"], []).append(int(note["target"].split("n=")[1]))
    for host, numbers in by_host.items():
        assert numbers == list(range(len(numbers))), host
    assert sum(map(len, by_host.values())) == count


def test_one_slow_host_starves_nobody(hotfleet, origin):
    """Its lines come first and are many times the window; the others are done long before it is."""
    slow = lines_of(origin, "127.0.0.1", 300, "/slow?ms=5")
    others = [url for host in ("127.0.0.2", "127.0.0.3", "127.0.0.4") for url in lines_of(origin, host, 40, "/ok")]
    result = hotfleet(slow + others, *ONE_BY_ONE, "--window", "40")
    records = check_complete(result, 420)
    assert all(map(check_answered, records.values()))
    order = [record["seq"] for record in result.records]
    last_of_others = max(order.index(n) for n in range(301, 421))
    assert last_of_others < 300, f"the others are done only after {last_of_others} records"
    check_order(origin, 420)


def test_many_slow_hosts_with_few_lines_each(hotfleet, origin):
    hosts = [f"127.0.1.{n}" for n in range(1, 61)]
    urls = [origin.url(f"/slow?ms=5&n={n}", host=host) for n in range(8) for host in hosts]
    records = check_complete(hotfleet(urls, *ONE_BY_ONE, "--window", "32"), 480)
    assert all(check_answered(records[n])["input"] == urls[n - 1] for n in records)
    check_order(origin, 480)


def test_window_of_one(hotfleet, origin):
    urls = lines_of(origin, "127.0.0.1", 30, "/ok") + lines_of(origin, "127.0.0.2", 30, "/ok")
    check_complete(hotfleet(urls, *ONE_BY_ONE, "--window", "1"), 60)
    check_order(origin, 60)


def test_slow_host_has_all_its_connections(hotfleet, origin):
    """What it has on disk comes back in time for each connection that it may have, though no answer comes meanwhile."""
    urls = lines_of(origin, "127.0.0.1", 100, "/slow?ms=9000")
    urls += lines_of(origin, "127.0.0.2", 100, "/slow?ms=9000")
    running = hotfleet.start("-w", "1", "--max-conns-per-host", "8", "--window", "40")
    running.feed(*urls)
    assert origin.wait_for(lambda o: o.open_now("http") == 16, 5), origin.open_now("http")
    running.kill()


def test_hosts_that_cannot_be_reached(hotfleet, origin, name_server):
    """Thousands of lines in overflow end with the code of their host, and hold up nobody."""
    refused, unknown = lines_of(origin, "127.0.0.1", 3000, "/x"), [f"http://nobody.test/{n}" for n in range(3000)]
    refused = [url.replace(str(origin.port["http"]), str(origin.port["refused"])) for url in refused]
    good = lines_of(origin, "127.0.0.2", 20, "/ok")
    result = hotfleet(refused + unknown + good, "-w", "1", "--window", "100", "--retry", "0", "--breaker-delay", "100ms", "--resolvers",
                      name_server({}).resolver)
    records = check_complete(result, 6020)
    for n, record in records.items():
        if n > 6000:
            check_answered(record)
        else:
            check_failed(record, "connection-refused" if n <= 3000 else "dns-nxdomain")


def test_redirect_to_a_host_with_lines_in_overflow(hotfleet, origin):
    busy = lines_of(origin, "127.0.0.1", 150)
    target = origin.url("/ok?n=redirected", host="127.0.0.1")
    led = [origin.url(f"/to?url={target}&n={n}", host="127.0.0.2") for n in range(40)]
    records = check_complete(hotfleet(busy + led, *ONE_BY_ONE, "--window", "20"), 190)
    for n in range(1, 191):
        check_answered(records[n])
        assert n <= 150 or records[n]["final_url"] == target


def test_retries_of_lines_from_overflow(hotfleet, origin):
    urls = [origin.url(f"/flaky/none?n=1&k={n}") for n in range(150)]
    records = check_complete(hotfleet(urls, "-w", "1", "--window", "16", "--retry-delay", "1ms"), 150)
    assert all(map(check_answered, records.values()))
    assert set(collections.Counter(targets(origin)).values()) == {2}


def test_json_lines_come_back_whole(hotfleet, origin):
    """Method, body, headers, tag and address, and odd lines beside them."""
    lines = [json.dumps({"url": origin.url(f"/echo?n={n}", host="far.test"), "ip": "127.0.0.3", "method": "PUT",
                         "body": "b" * (n * 7), "headers": {"X-N": str(n)}, "tag": {"n": n}}) for n in range(120)]
    records = check_complete(hotfleet(lines, *ONE_BY_ONE, "--window", "8"), 120)
    for n, note in enumerate(origin.requests()):
        assert dict(note["headers"])["X-N"] == str(n) and note["body_len"] == n * 7 and note["method"] == "PUT"
        assert records[n + 1]["tag"] == {"n": n} and records[n + 1]["input"] == lines[n]


def test_killed_workers_cost_nothing(hotfleet, origin):
    urls = lines_of(origin, "127.0.0.1", 200) + lines_of(origin, "127.0.0.2", 200)
    running = hotfleet.start("-w", "2", "--max-conns-per-host", "4", "--window", "30")
    feed_all(running, urls)
    for done in (20, 100, 200):
        running.wait_for_records(done)
        os.kill(running.wait_for_workers(1)[0], signal.SIGKILL)
    records = check_complete(running.finish(), 400)
    assert all(check_answered(records[n])["input"] == urls[n - 1] for n in records)


@pytest.mark.parametrize("as_job", [False, True])
def test_stopped_with_lines_in_overflow(hotfleet, origin, as_job):
    """It tells how many lines are left; a job reads them again."""
    urls = lines_of(origin, "127.0.0.1", 200) + lines_of(origin, "127.0.0.2", 20)
    job = Job(hotfleet, urls, *ONE_BY_ONE, "--window", "16", output="-o" if as_job else "pipe")
    if as_job:
        running = job.start()
    else:
        running = hotfleet.start(*ONE_BY_ONE, "--window", "16")
        job.runs.append(running)
        running.feed(*urls)
    job.wait_for(30, running)
    assert find(stats(hotfleet, running), "overflow_lines") > 50
    result = job.stop(running)
    done = len(job.records())
    assert result.exit == 75 and f"{220 - done} lines that were read have no record" in result.stderr, result.explain()
    if as_job:
        assert job.status()["left"] == 220 - done
        job.check_finished(job.run(), 220)
        check_order(origin, 220)


def test_killed_job_with_lines_in_overflow(hotfleet, origin):
    urls = lines_of(origin, "127.0.0.1", 200) + lines_of(origin, "127.0.0.2", 20)
    job = Job(hotfleet, urls, *ONE_BY_ONE, "--window", "16")
    for moment in (20, 100):
        running = job.start()
        job.wait_for(moment, running)
        job.kill(running)
        assert "overflow.mdb" not in os.listdir(job.directory)
    job.check_finished(job.run(), 220)


def test_reading_pauses_when_the_overflow_is_full(hotfleet, origin):
    """A megabyte for six of them: nothing is lost, and memory does not take what the disk may not."""
    urls = [url + "&p=" + "x" * 8000 for url in lines_of(origin, "127.0.0.1", 750, "/ok")]
    running = hotfleet.start("-w", "1", "--max-conns-per-host", "2", "--window", "16", "--overflow-max", "1M")
    feeder = feed_all(running, urls)
    running.wait_for_records(20)
    assert find(stats(hotfleet, running), "lines") < 700 and feeder.is_alive()
    feeder.join(30)
    running.wait_for_records(750, 30)
    assert find(stats(hotfleet, running), "overflow_lines") == 0
    records = check_complete(running.finish(), 750)
    assert all(check_answered(records[n])["input"] == urls[n - 1] for n in records)


def test_disk_that_is_full(hotfleet, origin):
    """Half a megabyte of disk for six of lines: it says so once at a time, and nothing is lost."""
    def body():
        urls = [url + "&p=" + "x" * 8000 for url in lines_of(origin, "127.0.0.1", 750, "/ok")]
        result = hotfleet(urls, "-w", "1", "--window", "16", "--state", state)
        records = check_complete(result, 750)
        assert all(check_answered(records[n])["input"] == urls[n - 1] for n in records)
        assert "overflow-full" in result.stderr and "room" in result.stderr, result.explain()

    state = os.path.join(hotfleet.directory, "small")
    os.mkdir(state)
    try:
        on_small_disk(state, 512 << 10, body)
    except NoSmallDisk as error:
        pytest.skip(f"mounting is not permitted here: {error}")


def test_lines_that_come_after_their_host_was_given_up(hotfleet, origin):
    """Each trial that fails ends what waits for it, in memory and on disk; a host that is back answers the rest."""
    running = hotfleet.start("-w", "1", "--window", "20", "--retry", "0", "--breaker-failures", "3", "--breaker-delay", "300ms")
    running.feed(*[origin.url(f"/rst/none?n={n}", host="127.0.0.1") for n in range(400)])
    running.wait_for_records(400)
    running.feed(*[origin.url(f"/ok?n={n}", host="127.0.0.1") for n in range(200)])
    records = check_complete(running.finish(), 600)
    for n, record in records.items():
        if n > 400:
            check_answered(record)
        else:
            assert record["failed"]
    assert len(origin.requests()) < 300, "a given up host is asked for each of its lines"


def test_statistics_and_files(hotfleet, origin):
    """How many lines are there, and were; the file has no name while it runs, and nothing stays behind."""
    urls = lines_of(origin, "127.0.0.1", 200)
    state = os.path.join(hotfleet.directory, "state")
    running = hotfleet.start(*ONE_BY_ONE, "--window", "16", "--state", state)
    running.feed(*urls)
    running.wait_for_records(10)
    now = stats(hotfleet, running)
    assert 0 < find(now, "overflow_lines") <= find(now, "overflowed") < 200
    assert find(now, "overflow_bytes") >= 0
    assert "overflow.mdb" not in os.listdir(state)
    running.wait_for_records(200)
    assert wait_until(lambda: find(stats(hotfleet, running), "overflow_lines") == 0)
    assert 150 < find(stats(hotfleet, running), "overflowed") < 200
    before = len(os.listdir(f"/proc/{running.pid}/fd"))
    running.feed(*lines_of(origin, "127.0.0.2", 200))
    running.wait_for_records(400)
    assert len(os.listdir(f"/proc/{running.pid}/fd")) <= before + 1
    check_complete(running.finish(), 400)
    assert not [name for name in os.listdir(state) if name.startswith("overflow")]


def test_overflow_where_nothing_can_be_written(hotfleet, origin):
    """Said at the start, with what to do."""
    state = os.path.join(hotfleet.directory, "state")
    os.makedirs(os.path.join(state, "overflow.mdb"))
    result = hotfleet([origin.url("/ok")], "--state", state)
    assert result.exit == 2 and state in result.stderr and "--state" in result.stderr, result.explain()


@pytest.mark.parametrize("connections", ["4", "19"])
@pytest.mark.parametrize("path", ["/ok", "/slow?ms=10"])
def test_more_hosts_than_the_table_holds(hotfleet, origin, connections, path):
    """Reading waits for room, also when it is idle connections that keep hosts in the table."""
    urls = [origin.url(f"{path}{'&' if '?' in path else '?'}n={n}", host=f"127.0.{n % 80 + 1}.1") for n in range(240)]
    records = check_complete(
        hotfleet(urls, "-w", "2", "--max-hosts", "20", "--max-connections", connections), 240)
    assert all(check_answered(records[n])["input"] == urls[n - 1] for n in records)


def test_more_names_than_the_table_holds(hotfleet, origin, name_server):
    names = {f"name{n}.test": {"A": [f"127.0.0.{n % 4 + 1}"]} for n in range(120)}
    urls = [origin.url(f"/ok?n={n}", host=f"name{n % 120}.test") for n in range(360)]
    records = check_complete(hotfleet(urls, "-w", "1", "--max-hosts", "20", "--max-connections", "8", "--window", "64",
                                      "--resolvers", name_server(names).resolver), 360)
    assert all(map(check_answered, records.values()))
