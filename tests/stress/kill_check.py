"""What must hold for the records of a run of kill-anything, and for what it leaves behind."""
import json
import re

from kill_round import Failure, expect

SANITIZER_REPORT = re.compile(r"runtime error:|ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|Assertion .* failed")
NEW_FDS_MAX = 4  # overflow.mdb and its like are opened when they are first needed


def parse(data, what):
    """The records of whole lines; a torn one is a failure."""
    expect(not data or data.endswith(b"\n"), f"{what}: the last line is torn: {data[-150:]!r}")
    records = []
    for number, line in enumerate(data.split(b"\n")[:-1], 1):
        try:
            record = json.loads(line)
            record["seq"], record["input"], record["failed"]  # pylint: disable=pointless-statement
        except (ValueError, KeyError, TypeError) as error:
            raise Failure(f"{what}: line {number} is no record ({error!r}): {line[:300]!r}") from error
        records.append(record)
    return records


def check_numbers(records, count, what, complete=True, once=True):
    """The lines that have records: all of 1..count when `complete`, none twice when `once`."""
    seen = {}
    for record in records:
        seen[record["seq"]] = seen.get(record["seq"], 0) + 1
    strange = sorted(seq for seq in seen if not 1 <= seq <= count)
    expect(not strange, f"{what}: records of lines that are not there: {strange[:10]}")
    missing = [seq for seq in range(1, count + 1) if seq not in seen]
    twice = sorted(seq for seq, times in seen.items() if times > 1)
    expect(not (complete and missing), f"{what}: {len(missing)} of {count} lines have no record: {missing[:10]}")
    expect(not (once and twice), f"{what}: {len(twice)} lines have more than one record: {twice[:10]}")


def check_record(record, line, kills):
    """`kills`: workers were killed; only then may a line that should be answered fail."""
    what = f"the record of line {record['seq']}"
    expect(record["input"] == line.text, f"{what} has another line's input: {record['input']!r}, not {line.text!r}")
    expect(record.get("tag") == line.tag, f"{what} has the tag {record.get('tag')!r}, not {line.tag!r}")
    if not record["failed"]:
        expect(record["status_code"] == line.status, f"{what} has another answer than asked for: {record}")
        return
    codes = line.codes if line.status == 0 or kills else ()
    expect(record["error_code"] in codes, f"{what} has {record['error_code']}, not one of {codes}: {record}")


def check_limits(ledger, plan):
    expect(ledger["peak"] <= plan.connections,
           f"{ledger['peak']} connections at the servers, {plan.connections} are allowed")
    for host, seen in ledger["hosts"].items():
        expect(seen["peak"] <= plan.per_host, f"{seen['peak']} connections to {host}, {plan.per_host} are allowed")


def check_descriptors(first, last):
    if not first or not last:
        return
    more = {kind: count - first.get(kind, 0) for kind, count in last.items() if count > first.get(kind, 0)}
    expect(sum(last.values()) - sum(first.values()) <= NEW_FDS_MAX, f"the coordinator's descriptors grow: {more}")


def check_stderr(text, what):
    report = SANITIZER_REPORT.search(text)
    expect(not report, f"{what}: {text[max(0, report.start() - 200):report.start() + 1500] if report else ''}")
