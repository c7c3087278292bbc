"""Reading records as a strict user would, and the claims that hold for every one of them."""
import json
import re

ERROR_CODES = """invalid-url invalid-host dns-nxdomain dns-servfail dns-timeout connection-refused connection-timeout
connection-closed connection-broken tls-error tls-timeout cert-invalid request-timeout deadline acquire-timeout
protocol-error too-large ip-blocked ip-exhausted validation-failed rate-limited robots-denied address-denied
too-many-redirects retries-exhausted resource-exhausted""".split()

TYPES = {
    "seq": int, "input": str, "url": str, "scheme": str, "host": str, "port": str, "path": str, "timestamp": str,
    "failed": bool, "error_code": str, "error": str, "method": str, "status_code": int, "content_type": str,
    "content_length": int, "location": str, "webserver": str, "final_url": str, "chain_status_codes": list,
    "host_ip": str, "local_ip": str, "http_version": str, "tls": dict, "sni": str, "time": str, "timings": dict,
    "attempts": int, "worker": int, "conn_id": int, "reused": bool, "profile": str, "bytes_wire": int,
    "bytes_body": int, "truncated": bool, "hash": dict, "warc": dict, "stored_response_path": str,
    "input_truncated": bool, "attempt_log": list,
    "stale": bool, "stale_since": str, "stale_reason": str,
}
ALWAYS = ("seq", "input", "timestamp", "failed", "time")
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
TIME = re.compile(r"\d+(\.\d+)?ms")


def no_duplicates(pairs):
    names = [name for name, _ in pairs]
    assert len(names) == len(set(names)), f"a key stands twice: {names}"
    return dict(pairs)


def no_constant(name):
    raise AssertionError(f"{name} is no JSON")


def parse_line(line):
    return json.loads(line.decode("utf-8"), object_pairs_hook=no_duplicates, parse_constant=no_constant)


def parse_records(data):
    """One record per line, the last with its newline."""
    assert not data or data.endswith(b"\n"), f"the last line is torn: {data[-200:]!r}"
    return [parse_line(line) for line in data.split(b"\n")[:-1]]


def check_record(record):
    """What every record keeps, whatever became of its URL."""
    for key in ALWAYS:
        assert key in record, f"{key} is missing in {record}"
    for key, value in record.items():
        wanted = TYPES.get(key)
        if wanted:
            right = isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))
            assert right, f"{key} is {value!r}, not {wanted.__name__}, in {record}"
    assert TIMESTAMP.fullmatch(record["timestamp"]), record["timestamp"]
    assert TIME.fullmatch(record["time"]), record["time"]
    if record["failed"]:
        assert record["error_code"] in ERROR_CODES, record
        assert record["error"], record
    else:
        assert "error_code" not in record and "error" not in record, record
        assert 200 <= record["status_code"] <= 999, record


def check_complete(result, count, exit_code=0):
    """Records 1..count, each once, each sound; and the exit code. Returns them by seq."""
    assert result.exit == exit_code, result.explain()
    records = result.records
    numbers = sorted(r["seq"] for r in records)
    assert numbers == list(range(1, count + 1)), (
        f"{len(numbers)} records of {count}; missing {sorted(set(range(1, count + 1)) - set(numbers))[:10]}, "
        f"twice {sorted({n for n in numbers if numbers.count(n) > 1})[:10] if len(numbers) < 5000 else '?'}\n"
        + result.explain())
    for record in records:
        check_record(record)
    return {r["seq"]: r for r in records}


def check_answered(record, status=200):
    assert not record["failed"], record
    assert record["status_code"] == status, record
    return record


def check_failed(record, *codes):
    assert record["failed"], record
    assert record["error_code"] in codes, f"{record['error_code']} is not in {codes}: {record}"
    return record
