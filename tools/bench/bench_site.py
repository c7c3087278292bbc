"""What the benchmarks share: an nginx of their own with TLS on loopback, the fleet's command line, and the CPU that a
command and all its children used. Nothing outside a temporary directory is touched."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BODY_BYTES = 1024

# One worker, everything quiet: the server must cost the clients under test the same and never be the one that closes.
NGINX_CONF = """
{user}
daemon off;
worker_processes 1;
worker_rlimit_nofile 8192;
pid {dir}/nginx.pid;
error_log {dir}/error.log;
events {{ worker_connections 4096; }}
http {{
    log_format sockets '$connections_active $connection';
    access_log {access_log};
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    default_type application/octet-stream;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    open_file_cache max=16;
    ssl_certificate {dir}/site.pem;
    ssl_certificate_key {dir}/site.key;
    root {dir}/www;
    server {{ listen 127.0.0.1:{h1} ssl backlog=4096; }}
    server {{ listen 127.0.0.1:{h2} ssl http2 backlog=4096; }}
    server {{
        listen 127.0.0.1:{status};
        access_log off;
        keepalive_timeout 0;
        location = /status {{ stub_status; }}
    }}
}}
"""


@dataclass(frozen=True)
class Case:
    """One way of asking: over `connections` connections, `streams` requests at a time on each."""

    name: str
    title: str
    connections: int
    streams: int
    http_version: str

    @property
    def in_flight(self):
        return self.connections * self.streams


CASES = {
    "h1": Case("h1", "HTTP/1.1 over TLS, 64 connections", 64, 1, "1.1"),
    "h2": Case("h2", "HTTP/2, 8 connections × 32 streams", 8, 32, "2"),
}


@dataclass(frozen=True)
class Cost:
    """What a finished command used, its waited-for children included."""

    cpu_s: float
    wall_s: float
    status: int
    stderr: str


@dataclass(frozen=True)
class ServerCount:
    accepted: int
    requests: int


class Site:
    """A running nginx. `dir` is its temporary directory; use it for everything else of the run too. Benchmarks that need
    other servers than these two say so in `names` and `configuration`."""

    names = "IP:127.0.0.1,DNS:localhost"

    def __init__(self, directory, log_sockets=False):
        self.dir = Path(directory)
        self.log_sockets = log_sockets
        self.h1, self.h2, self.status = free_ports(3)
        self.process = None

    def configuration(self):
        return NGINX_CONF.format(
            dir=self.dir, h1=self.h1, h2=self.h2, status=self.status, user=nginx_user(),
            access_log=f"{self.dir}/sockets.log sockets buffer=64k flush=1s" if self.log_sockets else "off")

    def start(self):
        (self.dir / "www").mkdir()
        (self.dir / "www" / "1k.bin").write_bytes(bytes(BODY_BYTES))
        subprocess.run(["bash", "-c", '. "$0" && certificate_make "$1" "$2"',
                        ROOT / "tools/lib.sh", self.dir, self.names], check=True)
        (self.dir / "nginx.conf").write_text(self.configuration())
        path = os.environ.get("PATH", "") + ":/usr/sbin"
        nginx = shutil.which("nginx", path=path) or give_up("nginx is missing")
        self.process = subprocess.Popen([nginx, "-p", self.dir, "-c", self.dir / "nginx.conf"],
                                        stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.wait_until_it_answers()

    def wait_until_it_answers(self):
        for _ in range(100):
            if self.process.poll() is not None:
                break
            with contextlib.suppress(OSError):
                self.count()
                return
            time.sleep(0.05)
        give_up("nginx did not start: " + (self.dir / "error.log").read_text())

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT if self.log_sockets else signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def count(self):
        """Connections accepted and requests answered so far, those for this question included."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.status}/status", timeout=5) as answer:
            numbers = re.search(r"\n (\d+) (\d+) (\d+) ", answer.read().decode())
        return ServerCount(int(numbers.group(1)), int(numbers.group(3)))

    def base(self, case):
        return f"https://127.0.0.1:{self.h2 if case.name == 'h2' else self.h1}/1k.bin"

    def write_urls(self, case, count):
        """A file of `count` different URLs of the same page."""
        path = self.dir / f"urls-{case.name}-{count}"
        if not path.exists():
            base = self.base(case)
            path.write_text("".join(f"{base}?{n}\n" for n in range(1, count + 1)))
        return path


def nginx_user():
    return "user root;" if os.getuid() == 0 else ""


@contextlib.contextmanager
def running_site(log_sockets=False, kind=Site):
    with tempfile.TemporaryDirectory(prefix="hotfleet-bench.") as directory:
        site = kind(directory, log_sockets)
        try:
            site.start()
            yield site
        finally:
            site.stop()


def give_up(message):
    raise SystemExit(f"bench: {message}")


def free_ports(count):
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


def clean_environment(site):
    """Without configuration of the user's own: the numbers are those of the flags."""
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith("HOTFLEET_") and name not in {"MAX_CONNECTIONS", "CONN_TIMEOUT"}}
    return kept | {"XDG_CONFIG_HOME": str(site.dir), "HOME": str(site.dir)}


def fleet_binary(build):
    binary = Path(build).resolve() / "tools" / "hotfleet"
    if not binary.is_file():
        give_up(f"{binary} is missing; build first: meson setup build && ninja -C build")
    return binary


def fleet_command(binary, site, case, workers, records, extra=(), profile="none"):
    connections = str(case.connections)
    return [binary, "run", "-w", str(workers), "-c", str(max(200, 2 * case.in_flight)), "--max-connections", connections,
            "--max-conns-per-host", connections, "--max-idle-conns", connections,
            "--max-streams-per-conn", str(case.streams), "--allow-private", "--cacert", site.dir / "ca.pem",
            "--http-version", case.http_version, "--profile", profile, "-o", records, *extra]


def measure(site, command, stdin=None, stdout=None):
    """Runs a command to its end in the site's directory."""
    errors = site.dir / "stderr"
    with open(stdin or os.devnull, "rb") as source, open(stdout or os.devnull, "wb") as sink, open(errors, "wb") as log:
        began = time.monotonic()
        process = subprocess.Popen(command, stdin=source, stdout=sink, stderr=log, cwd=site.dir,
                                   env=clean_environment(site))
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
        wall = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    return Cost(usage.ru_utime + usage.ru_stime, wall, process.returncode, errors.read_text(errors="replace"))
