"""What the benchmarks of scale share: a fleet that is kept open and looked at from outside, a site of several servers, a
name server, and records that are checked while they are read."""

import contextlib
import json
import os
import re
import resource
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

from bench_site import ROOT, Site, clean_environment, give_up, nginx_user

TICKS_PER_S = os.sysconf("SC_CLK_TCK")

CONF = """
{user}
daemon off;
worker_processes 1;
worker_rlimit_nofile {files};
pid {dir}/nginx.pid;
error_log {dir}/error.log;
events {{ worker_connections {connections}; }}
http {{
    log_format scale '$server_port $server_addr $connection $connection_requests $ssl_session_reused $status $uri';
    access_log {dir}/access.log scale buffer=64k flush=1s;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    default_type application/octet-stream;
    client_header_buffer_size 1k;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    send_timeout 300s;
    open_file_cache max=16;
    ssl_certificate {dir}/site.pem;
    ssl_certificate_key {dir}/site.key;
    root {dir}/www;
{servers}
    server {{
        listen 127.0.0.1:{status};
        access_log off;
        keepalive_timeout 0;
        location = /status {{ stub_status; }}
    }}
}}
"""


class ScaleSite(Site):
    """An nginx with the servers of `servers()`; its log tells every request's server, address and connection."""

    def servers(self):
        raise NotImplementedError

    def configuration(self):
        files = raise_file_limit()
        return CONF.format(dir=self.dir, status=self.status, user=nginx_user(), servers=self.servers(), files=files,
                           connections=max(files - 64, 512))

    def stop(self):
        """Lets the log be written to its end."""
        self.log_sockets = True
        super().stop()

    def take_log(self):
        """The requests since the last call, as lists of the log's fields."""
        path, taken = self.dir / "access.log", self.dir / "access.taken"
        os.rename(path, taken)
        os.kill(self.process.pid, signal.SIGUSR1)
        for _ in range(200):
            if path.exists():
                break
            time.sleep(0.05)
        # The worker writes what it still holds to the old file and then opens the new one.
        time.sleep(1.2)
        lines = [line.split() for line in taken.read_text(encoding="ascii").splitlines()]
        taken.unlink()
        return lines


def raise_file_limit():
    """Brings the soft limit to the hard one and returns it; children have it too."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


# --- a name server ----------------------------------------------------------------------------------------------------

@contextlib.contextmanager
def name_server(zone):
    """tests/origin/dnsorigin.py with a zone; yields the value of --resolvers."""
    process = subprocess.Popen(["/usr/bin/python3", ROOT / "tests/origin/dnsorigin.py", "--zone", json.dumps(zone)],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        line = process.stdout.readline()
        if not line:
            give_up("tests/origin/dnsorigin.py did not start")
        yield f"127.0.0.1:{json.loads(line)['dns']}"
    finally:
        process.stdin.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


# --- a fleet that stays open ------------------------------------------------------------------------------------------

def run_help(binary):
    return subprocess.run([binary, "run", "--help"], capture_output=True, text=True, check=True).stdout


def quiet_flags(binary):
    """Flags that keep a fleet to the requests it is given."""
    return ["--no-robots"] if re.search(r"--(no-)?robots\b", run_help(binary)) else []


class Fleet:
    """A running `hotfleet run` whose standard input is held open."""

    def __init__(self, command, site):
        self.binary, self.site = command[0], site
        self.records = site.dir / "records.jsonl"
        self.errors = site.dir / "fleet.stderr"
        with open(self.records, "wb") as sink, open(self.errors, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=sink, stderr=log, cwd=site.dir,
                                            env=clean_environment(site) | {"TMPDIR": str(site.dir)})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def pids(self):
        pid = self.process.pid
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:
            return [pid, *map(int, children.read().split())]

    def wait_for_workers(self, count):
        self.wait(lambda: len(self.pids()) == count + 1 and self.stats(), 20, "workers")

    def stats(self):
        answer = subprocess.run([self.binary, "stats", "--json", str(self.process.pid)], capture_output=True, text=True,
                                env=clean_environment(self.site) | {"TMPDIR": str(self.site.dir)}, check=False)
        return json.loads(answer.stdout) if answer.returncode == 0 else None

    def wait(self, condition, limit_s, what):
        """Returns when `condition()` is true; gives up when the fleet ends or the time is over."""
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            if self.process.poll() is not None:
                give_up(f"hotfleet ended with {self.process.returncode}:\n{self.tail()}")
            if found := condition():
                return found
            time.sleep(0.02)
        give_up(f"no {what} after {limit_s} s: {self.stats()}\n{self.tail()}")

    def tail(self):
        return self.errors.read_text(errors="replace")[-2000:]

    def write(self, lines):
        """Writes without ever waiting for the fleet longer than it takes to read."""
        data = memoryview("".join(lines).encode())
        fd = self.process.stdin.fileno()
        os.set_blocking(fd, False)
        while data:
            if not select.select([], [fd], [], 60)[1]:
                give_up(f"the fleet stopped reading: {self.stats()}")
            data = data[os.write(fd, data):]

    def wait_for_records(self, count, limit_s):
        counter = LineCount(self.records)
        self.wait(lambda: counter.count() >= count, limit_s, f"{count} records")

    def finish(self, limit_s=60):
        self.process.stdin.close()
        try:
            status = self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            give_up(f"the fleet did not end in {limit_s} s: {self.tail()}")
        if status != 0:
            give_up(f"hotfleet ended with {status}:\n{self.tail()}")

    def cpu_s(self):
        """User and system time of all its processes so far."""
        return sum(cpu_of(pid) for pid in self.pids())

    def pss_kib(self):
        return sum(pss_of(pid) for pid in self.pids())


@dataclass
class LineCount:
    """Lines of a growing file, read once."""

    path: object
    offset: int = 0
    lines: int = 0

    def count(self):
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            while chunk := file.read(1 << 20):
                self.offset += len(chunk)
                self.lines += chunk.count(b"\n")
        return self.lines


def cpu_of(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def pss_of(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
        return int(re.search(r"^Pss:\s+(\d+) kB", rollup.read(), re.M).group(1))


# --- records ----------------------------------------------------------------------------------------------------------

def good_records(path, urls):
    """All records of a file, after it is certain that each line of the input has one, and none failed."""
    seen, records = bytearray(urls + 1), []
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            if record["failed"] or record["status_code"] != 200:
                give_up(f"a request failed: {line}")
            seen[record["seq"]] = 1
            records.append(record)
    if len(records) != urls or sum(seen) != urls:
        give_up(f"{len(records)} records for {urls} lines")
    return records


def say(text):
    print(text, file=sys.stderr, flush=True)
