"""--dry-run: each line is read, checked and queued, and has its record; no packet leaves."""
import json
import os
import time

import pytest

from support.jobs import Job
from support.records import check_complete, check_failed


def mixed(origin, count=50):
    return [origin.url(f"/ok?n={n}") if n % 2 else f"http://name{n}.test/" for n in range(count)]


def check_dry(record):
    assert record["dry_run"] is True and record["failed"] is False, record
    assert not {"status_code", "host_ip", "conn_id", "error_code"} & set(record), record


def dry_records(result, count):
    assert result.exit == 0, result.explain()
    records = {r["seq"]: r for r in result.records}
    assert len(result.records) == len(records) == count
    return records


@pytest.mark.parametrize("flags", [[], ["--validate"], ["--prewarm", "5"], ["-w", "4"], ["--retry", "5"]])
def test_nothing_connects_and_nobody_is_asked(hotfleet, origin, name_server, flags):
    names = name_server({"*.test": {"A": ["127.0.0.1"]}})
    if "--prewarm" in flags:
        flags = ["--prewarm", origin.url("") + "=5"]
    result = hotfleet(mixed(origin), "--dry-run", "--resolvers", names.resolver, *flags)
    for record in dry_records(result, 50).values():
        check_dry(record)
    time.sleep(0.05)
    assert origin.log("open") == [] and names.queries() == []


def test_record_tells_what_would_be_asked(hotfleet):
    line = {"url": "HTTPS://Example.TEST/a/../b?q#f", "method": "PUT", "body": "x", "tag": {"n": 1}}
    record = dry_records(hotfleet([json.dumps(line)], "--dry-run"), 1)[1]
    check_dry(record)
    assert (record["url"], record["method"], record["tag"]) == ("https://example.test/b?q", "PUT", {"n": 1})
    assert record["input"] == json.dumps(line)


def test_invalid_lines_fail_as_ever(hotfleet, origin):
    lines = [origin.url("/ok"), "nonsense", "", "ftp://a.test/", '{"url":5}', "http://" + "a" * 100, origin.url("/ok")]
    records = dry_records(hotfleet(lines, "--dry-run", "--max-line", "90"), 7)
    for n in (2, 3, 4, 5, 6):
        check_failed(records[n], "invalid-url")
        assert "dry_run" not in records[n] or records[n]["dry_run"] is True
    check_dry(records[1])
    check_dry(records[7])
    check = hotfleet(lines, "--dry-run", "--fail-on-error")
    assert check.exit == 8


def test_no_worker_is_started(hotfleet, origin):
    running = hotfleet.start("--dry-run")
    running.feed(origin.url("/ok"))
    time.sleep(0.3)
    assert running.workers() == []
    dry_records(running.finish(), 1)


def test_job_is_left_alone(hotfleet, origin):
    """Neither made, nor read, nor finished; and one that is finished is looked at anew."""
    job = Job(hotfleet, [origin.url("/ok")] * 3)
    result = job.run("--dry-run")
    assert result.exit == 0 and len(job.records()) == 3 and not os.path.exists(job.directory), result.explain()
    job.check_finished(job.run(), 3)
    before = job.status()
    job.output_path += ".dry"
    result = job.run("--dry-run")
    assert result.exit == 0 and len(job.records()) == 3
    assert job.status() == before


def test_job_that_runs_is_not_disturbed(hotfleet, origin):
    job = Job(hotfleet, [origin.url(f"/slow?ms=30&n={n}") for n in range(20)], "-w", "1", "--max-conns-per-host", "1")
    running = job.start()
    job.wait_for(2, running)
    result = hotfleet(job.bytes, "--dry-run", "--job", job.directory)
    dry_records(result, 20)
    job.check_finished(running.finish(), 20)


def test_one_host_among_many_lines(hotfleet):
    """200,000 lines, nine tenths of one host, through a small window: each has its record once, and the host's in order."""
    count = 200000
    data = "".join(f"http://{'big' if n % 10 else f'small{n % 1000}'}.test/{n}\n" for n in range(1, count + 1)).encode()
    path = hotfleet.write("urls", data)
    result = hotfleet(b"", "-i", path, "-o", "records", "--dry-run", "--window", "1000")
    assert result.exit == 0, result.explain()
    with open(os.path.join(hotfleet.directory, "records"), "rb") as file:
        numbers = [(int(line[7:line.index(b",")]), b'"host":"big.test"' in line) for line in file]
    assert sorted(n for n, _ in numbers) == list(range(1, count + 1))
    big = [n for n, is_big in numbers if is_big]
    assert big == sorted(big) and len(big) == count * 9 // 10
    assert sorted(os.listdir(hotfleet.directory)) == ["records", "urls"]


def test_more_hosts_than_the_table_holds(hotfleet):
    lines = [f"http://host{n % 500}.test/{n}" for n in range(3000)]
    for record in dry_records(hotfleet(lines, "--dry-run", "--max-hosts", "64", "--max-connections", "10"), 3000).values():
        check_dry(record)


def test_records_come_while_the_input_is_open_when_the_window_is_full(hotfleet):
    running = hotfleet.start("--dry-run", "--window", "16", "--max-hosts", "16", "--max-connections", "10")
    running.feed(*[f"http://host{n}.test/" for n in range(100)])
    assert len(running.wait_for_records(50)) >= 50
    assert not running.ended.is_set()
    dry_records(running.finish(), 100)


def test_reader_that_leaves(hotfleet):
    reader, writer = os.pipe()
    running = hotfleet.start("--dry-run", "-i", hotfleet.write("urls", "http://a.test/\n" * 20000), stdout=writer)
    os.close(writer)
    os.read(reader, 100)
    os.close(reader)
    assert running.ended.wait(20) and running.finish().exit == 3


def test_dry_run_is_complete_as_a_run_is(hotfleet):
    """The same claims hold for its records as for all, but for the status."""
    records = check_complete(hotfleet(["nonsense"] * 10, "--dry-run"), 10)
    assert set(records) == set(range(1, 11))
