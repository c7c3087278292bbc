"""Shards: several fleets, each given the whole list, do each line once between them, and each host's in one place."""
import json

import pytest

from support.jobs import Job
from support.records import check_complete

COUNT = 3


def dry(hotfleet, lines, *flags):
    result = hotfleet(lines, "--dry-run", *flags)
    assert result.exit == 0, result.explain()
    return result.records


def shards(hotfleet, lines, count=COUNT, *flags):
    return [dry(hotfleet, lines, "--shard", f"{n}/{count}", *flags) for n in range(1, count + 1)]


def mixed_lines():
    """Hosts under several schemes, ports and spellings; JSON lines; lines that are nothing."""
    lines = []
    for n in range(60):
        host = f"host{n}.test"
        lines += [f"http://{host}/", f"https://{host}/a", f"http://{host}:8080/b", f"HTTP://{host.upper()}/c",
                  json.dumps({"url": f"https://{host}:444/d", "ip": f"127.0.0.{n + 1}", "tag": n}),
                  json.dumps({"url": f"http://{host}/e", "method": "POST", "body": "x"})]
    return lines + [f"nonsense {n}" for n in range(40)] + ["", "{", "http://", "x" * 300, "x" * 299 + "y", "\\xff"]


def test_shards_are_the_whole_and_no_line_is_in_two(hotfleet):
    """Valid or not; the number is the line's in the whole list."""
    lines = mixed_lines()
    whole = {r["seq"]: r for r in dry(hotfleet, lines, "--max-line", "250")}
    parts = shards(hotfleet, lines, COUNT, "--max-line", "250")
    assert set(whole) == set(range(1, len(lines) + 1))
    assert sorted(r["seq"] for part in parts for r in part) == sorted(whole)
    assert all(len(part) > len(lines) / COUNT / 3 for part in parts), [len(part) for part in parts]
    for record in (r for part in parts for r in part):
        assert record["input"] == whole[record["seq"]]["input"] == lines[record["seq"] - 1][:250]
        assert record.get("tag") == whole[record["seq"]].get("tag")


def test_host_is_in_one_shard_whatever_its_scheme_and_port(hotfleet):
    places = {}
    for number, records in enumerate(shards(hotfleet, mixed_lines())):
        for record in records:
            if "host" in record:
                places.setdefault(record["host"], set()).add(number)
    assert len(places) == 60 and all(len(place) == 1 for place in places.values())


def test_byte_order_mark_does_not_move_the_first_line(hotfleet):
    line = "http://host.test/"
    with_mark, without = (shards(hotfleet, [mark + line]) for mark in ("\ufeff", ""))
    assert [len(part) for part in with_mark] == [len(part) for part in without]


SHARD_1_OF_2 = [1, 3, 4, 5, 7, 12, 14]


def test_shards_do_not_change(hotfleet):
    """The rule is the same on every machine and in every version: part 1 of 2 of these names, once and for all."""
    records = dry(hotfleet, [f"http://host{n}.test/" for n in range(16)], "--shard", "1/2")
    assert sorted(int(r["host"][4:-5]) for r in records) == SHARD_1_OF_2


def test_shards_of_a_real_run_ask_for_each_line_once(hotfleet, origin):
    urls = [origin.url(f"/ok?n={n}", host=f"127.0.0.{n % 20 + 1}") for n in range(60)]
    parts = [hotfleet(urls, "--shard", f"{n}/{COUNT}") for n in range(1, COUNT + 1)]
    assert all(part.exit == 0 for part in parts)
    assert sorted(r["seq"] for part in parts for r in part.records) == list(range(1, 61))
    assert sorted(note["target"] for note in origin.requests()) == sorted(f"/ok?n={n}" for n in range(60))


def test_summary_of_a_shard_speaks_of_its_own_lines(hotfleet):
    """The lines of others are not missing: exit code 0, and nothing is said of lines without a record."""
    lines = [f"nonsense {n}" for n in range(100)]
    for n in range(1, COUNT + 1):
        result = hotfleet(lines, "--shard", f"{n}/{COUNT}")
        assert result.exit == 0 and f"{len(result.records)} records" in result.stderr
        assert "no record" not in result.stderr


def test_shards_as_jobs(hotfleet, origin):
    urls = [origin.url(f"/slow?ms=10&n={n}", host=f"127.0.0.{n % 20 + 1}") for n in range(80)]
    seen = []
    for n in (1, 2):
        job = Job(hotfleet, urls, "--shard", f"{n}/2", "-w", "1", "--max-conns-per-host", "1", place=f"job{n}")
        job.output_path += str(n)
        running = job.start()
        job.wait_for(3, running)
        job.kill(running)
        assert job.run().exit == 0
        told = job.status()
        assert (told["state"], told["done"], told["left"], told["shard"]) == ("finished", 80, 0, f"{n}/2")
        assert told["records"] == len(job.records())
        seen += [r["seq"] for r in job.records()]
    assert sorted(seen) == list(range(1, 81))


def test_one_of_one_is_everything(hotfleet):
    check_complete(hotfleet(["nonsense"] * 3, "--shard", "1/1"), 3)


@pytest.mark.parametrize("value", ["0/2", "3/2", "1/0", "1", "/", "1/", "/2", "a/b", "1/2/3", "-1/2", "1/-2", " 1/2", "1/2 ",
                                   "1/65537", "01/2x", "1.0/2"])
def test_bad_shard_is_a_usage_error(hotfleet, value):
    """It says which option, what was given, and what is wanted."""
    result = hotfleet(["nonsense"], f"--shard={value}")
    assert result.exit == 2 and result.stdout == b"", result.explain()
    assert "shard" in result.stderr and value in result.stderr and "I/N" in result.stderr, result.explain()
