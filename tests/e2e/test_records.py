"""What comes out: the members of a record, and that there is exactly one for each line."""
import hashlib
import os
import threading
import time

import pytest

from support.records import check_answered, check_complete, check_failed

PATTERN = b"0123456789abcdef"


def test_record_of_a_plain_answer(hotfleet, origin):
    url = origin.url("/bytes/1000?a=1")
    record = check_answered(check_complete(hotfleet([url]), 1)[1])
    port = str(origin.port["http"])
    wanted = {"input": url, "url": url, "scheme": "http", "host": "127.0.0.1", "port": port, "method": "GET",
              "status_code": 200, "content_type": "text/plain", "content_length": 1000, "webserver": "origin",
              "host_ip": "127.0.0.1", "local_ip": "127.0.0.1", "http_version": "1.1", "attempts": 1, "reused": False,
              "bytes_wire": 1000, "bytes_body": 1000}
    assert {key: record.get(key) for key in wanted} == wanted
    assert record["path"] in ("/bytes/1000", "/bytes/1000?a=1")
    assert "conn_id" in record and "worker" in record
    for absent in ("final_url", "tls", "hash", "timings", "tag", "input_truncated"):
        assert absent not in record
    assert not record.get("truncated", False)


def test_record_of_a_tls_answer(hotfleet, nginx):
    url = f"https://127.0.0.1:{nginx.port['h2']}/1k"
    record = check_answered(check_complete(hotfleet([url]), 1)[1])
    assert record["http_version"] == "2" and record["tls"]["cipher"] and record["tls"]["resumed"] is False
    assert record["tls"]["version"].replace("TLSv", "").replace("TLS", "").replace("tls", "").strip() in ("1.3", "13")
    assert record["webserver"].startswith("nginx") and record["bytes_body"] == 1024


def test_url_is_canonical_and_input_is_as_given(hotfleet, origin):
    given = origin.url("/a/../ok").replace("http:", "HTTP:")
    record = check_answered(check_complete(hotfleet([given]), 1)[1])
    assert record["input"] == given and record["url"] == origin.url("/ok")


@pytest.mark.parametrize("status", [200, 204, 301, 304, 400, 404, 500, 999])
def test_any_status_is_an_answer(hotfleet, origin, status):
    check_answered(check_complete(hotfleet([origin.url(f"/status/{status}")]), 1)[1], status)


def test_hash_is_of_the_whole_body(hotfleet, origin):
    sizes = [0, 1, 65536, 300000]
    urls = [origin.url(f"/bytes/{n}") for n in sizes] + [origin.url(f"/chunked/{n}?size=777") for n in sizes]
    records = check_complete(hotfleet(urls, "--hash"), len(urls))
    for seq, size in enumerate(sizes + sizes, 1):
        body = (PATTERN * (size // 16 + 1))[:size]
        assert records[seq]["hash"]["body_sha256"] == hashlib.sha256(body).hexdigest()
        assert records[seq]["bytes_body"] == size


def test_timings_tell_where_the_time_went(hotfleet, origin):
    record = check_answered(check_complete(hotfleet([origin.url("/slow?ms=200", port="https")], "--timings"), 1)[1])
    timings = record["timings"]
    assert set(timings) == {"dns", "connect", "tls", "ttfb", "total"}
    assert timings["ttfb"] >= 195 and timings["total"] >= timings["ttfb"] > timings["connect"] >= 0 < timings["tls"]


def test_start_of_a_worker_is_no_part_of_a_connection(hotfleet, origin, certificates):
    """It reads some thousand certificates before it connects."""
    with open(certificates.root) as file:
        many = hotfleet.write("many.pem", file.read() * 3000)
    run = hotfleet([origin.url("/ok")], "--cacert", many, "-w", "1", "--timings", cacert=False)
    timings = check_answered(check_complete(run, 1)[1])["timings"]
    assert timings["connect"] < 1000 * run.seconds / 3, (timings, run.seconds)


def test_time_counts_the_whole_url(hotfleet, origin):
    record = check_answered(check_complete(hotfleet([origin.url("/slow?ms=300")]), 1)[1])
    assert 295 <= float(record["time"].removesuffix("ms")) < 3000


def test_failed_record_names_its_url_and_reason(hotfleet, origin):
    url = origin.url("/", port="refused")
    record = check_failed(check_complete(hotfleet([url], "--retry", "0"), 1)[1], "connection-refused")
    assert record["url"] == url and record["host"] == "127.0.0.1" and "status_code" not in record


def test_reuse_is_told(hotfleet, origin):
    running = hotfleet.start("-w", "1")
    for count in range(1, 4):
        running.feed(origin.url("/ok"))
        running.wait_for_records(count)
    records = check_complete(running.finish(), 3)
    assert [records[n]["reused"] for n in (1, 2, 3)] == [False, True, True]
    assert len({records[n]["conn_id"] for n in (1, 2, 3)}) == 1
    assert len(origin.log("open")) == 1


def test_five_thousand_urls_give_five_thousand_records(hotfleet, nginx):
    urls = [f"http://127.0.0.1:{nginx.port['http']}/1k?{n}" for n in range(5000)]
    result = hotfleet(urls)
    records = check_complete(result, 5000)
    for seq, url in enumerate(urls, 1):
        assert records[seq]["input"] == url and records[seq]["status_code"] == 200
    assert sorted(int(r["target"].split("?")[1]) for r in nginx.requests()) == list(range(5000))


def test_slow_reader_of_stdout_loses_nothing(hotfleet, nginx):
    """A pipe of 64 KiB that nobody reads for a second holds the fleet up, and no more."""
    reader, writer = os.pipe()
    running = hotfleet.start(stdout=writer)
    os.close(writer)
    urls = [f"http://127.0.0.1:{nginx.port['http']}/empty?{n}" for n in range(3000)]
    feeder = threading.Thread(target=lambda: (running.feed(*urls), running.end_input()), daemon=True)
    feeder.start()
    time.sleep(1)
    with os.fdopen(reader, "rb") as stream:
        running.out += stream.read()
    feeder.join(10)
    check_complete(running.finish(), 3000)
