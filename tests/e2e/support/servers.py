"""Real servers on free loopback ports: nginx, nghttpd, knotd. Each lives in a directory of its own, runs as the current
user and is stopped by its pid."""
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1
START_TRIES = 5
START_SECONDS = 5


def free_ports(count, host="127.0.0.1"):
    """Ports free a moment ago, over TCP and UDP; whoever uses them must be ready to try others."""
    held, ports = [], []
    while len(ports) < count:
        tcp = socket.socket()
        tcp.bind((host, 0))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        held += [tcp, udp]
        try:
            udp.bind(tcp.getsockname())
            ports.append(tcp.getsockname()[1])
        except OSError:
            pass
    for sock in held:
        sock.close()
    return ports


def end_with_parent():
    """In the child: SIGTERM when the tests are killed, so that no server stays behind."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


class Server:
    """A process of ours. Subclasses say how many ports they need and how they are started on them."""

    port_count = 1

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="hotfleet-e2e-")
        self.process = None
        for _ in range(START_TRIES):
            self.ports = free_ports(self.port_count)
            if self.try_start():
                return
            self.stop_process()
        message = self.output()
        self.stop()
        raise RuntimeError(f"{type(self).__name__} does not start: {message}")

    def path(self, name):
        return os.path.join(self.directory, name)

    def write(self, name, text):
        with open(self.path(name), "w") as file:
            file.write(text)
        return self.path(name)

    def output(self):
        with open(self.path("output"), errors="replace") as file:
            return file.read()[-2000:]

    def spawn(self, *command):
        with open(self.path("output"), "ab") as output:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                            cwd=self.directory, preexec_fn=end_with_parent)

    def try_start(self):
        self.spawn(*self.command())
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            if all(accepts(port) for port in self.ports):
                return True
            time.sleep(0.02)
        return False

    def stop_process(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def stop(self):
        self.stop_process()
        shutil.rmtree(self.directory, ignore_errors=True)


NGINX_FILES = {"empty": 0, "1k": 1024, "64k": 65536, "1m": 1 << 20, "12m": 12 << 20}
BAD_CERTIFICATES = ["expired", "not-yet-valid", "wrong-name", "no-names", "self-signed", "unknown-issuer",
                    "incomplete-chain", "client-only"]


class Nginx(Server):
    """Plain HTTP and TLS in the mixtures of version and protocol; a port for each bad certificate. `port[NAME]`."""

    tls_ports = {
        "https": "TLSv1.2 TLSv1.3", "tls12": "TLSv1.2", "tls13": "TLSv1.3", "tls10": "TLSv1",
        "h2": "TLSv1.2 TLSv1.3", "h2_tls12": "TLSv1.2", "h2_tls13": "TLSv1.3",
    }

    def __init__(self, certificates):
        self.certificates = certificates
        self.names = ["http", *self.tls_ports, "good-by-intermediate", *BAD_CERTIFICATES]
        self.port_count = len(self.names)
        super().__init__()

    def command(self):
        self.port = dict(zip(self.names, self.ports))
        os.makedirs(self.path("www"), exist_ok=True)
        for name, size in NGINX_FILES.items():
            with open(self.path("www/" + name), "wb") as file:
                file.write((b"0123456789abcdef" * (size // 16 + 1))[:size])
        self.write("nginx.conf", self.config())
        return ["/usr/sbin/nginx", "-p", self.directory, "-c", "nginx.conf", "-e", self.path("error.log")]

    def config(self):
        servers = [self.server_block("http", "")]
        for name, versions in self.tls_ports.items():
            certificate, key = self.certificates.path("good")
            weak = "ssl_ciphers DEFAULT@SECLEVEL=0;" if name == "tls10" else ""
            servers.append(self.server_block(name, "ssl http2" if name.startswith("h2") else "ssl",
                                             f"ssl_certificate {certificate}; ssl_certificate_key {key}; "
                                             f"ssl_protocols {versions}; {weak}"))
        for name in ["good-by-intermediate", *BAD_CERTIFICATES]:
            certificate, key = self.certificates.path(name)
            servers.append(self.server_block(name, "ssl", f"ssl_certificate {certificate}; ssl_certificate_key {key};"))
        user = "user root;" if os.getuid() == 0 else ""
        temporary = "".join(f"{kind}_temp_path tmp-{kind};\n" for kind in
                            ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        return f"""daemon off; worker_processes 1; pid nginx.pid; {user}
events {{ worker_connections 4096; }}
http {{
{temporary}
log_format tests '$connection $connection_requests $server_port $ssl_protocol $ssl_server_name $server_protocol '
                 '$request_method $request_uri $status $ssl_session_reused $http_host';
access_log access.log tests buffer=64k flush=100ms;
keepalive_requests 10000000; keepalive_timeout 600s; client_max_body_size 100m;
http2_max_concurrent_streams 128; ssl_session_cache shared:tests:1m;
{''.join(servers)}
}}
"""

    def server_block(self, name, flags, extra=""):
        return f"""server {{ listen 127.0.0.1:{self.port[name]} {flags} backlog=4096; root www; {extra}
    location = /status {{ stub_status; }}
    location = /moved {{ return 301 /1k; }}
    location /packed/ {{ alias www/; default_type text/plain; gzip on; gzip_types *; }}
    location / {{ default_type text/plain; }}
}}
"""

    def requests(self):
        """The access log as dictionaries, after its buffer has been written."""
        time.sleep(0.25)
        names = ("conn", "nth", "port", "tls", "sni", "protocol", "method", "target", "status", "resumed", "host")
        with open(self.path("access.log")) as file:
            rows = [dict(zip(names, line.split())) for line in file]
        return [row for row in rows if row["target"] != "/status"]

    def forget(self):
        """Empties the log; nginx appends, so that the same file serves on."""
        time.sleep(0.15)
        os.truncate(self.path("access.log"), 0)

    def open_connections(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port['http']}/status", timeout=5) as answer:
            return int(answer.read().split()[2]) - 1


class Nghttpd(Server):
    """The reference HTTP/2 server; `streams` is what it allows at a time."""

    def __init__(self, certificates, streams=100, *more):
        self.certificates, self.streams, self.more = certificates, streams, more
        super().__init__()

    def command(self):
        self.port = self.ports[0]
        os.makedirs(self.path("www"), exist_ok=True)
        for name, size in NGINX_FILES.items():
            with open(self.path("www/" + name), "wb") as file:
                file.write(b"x" * size)
        certificate, key = self.certificates.path("good")
        return ["/usr/sbin/nghttpd", "-a", "127.0.0.1", "-d", "www", "-m", str(self.streams), *self.more,
                str(self.port), key, certificate]


class OpensslServer(Server):
    """`openssl s_server` that tells of the handshake in a page."""

    def __init__(self, certificates, name, *flags):
        self.certificates, self.name, self.flags = certificates, name, flags
        super().__init__()

    def command(self):
        self.port = self.ports[0]
        certificate, key = self.certificates.path(self.name)
        return ["openssl", "s_server", "-accept", f"127.0.0.1:{self.port}", "-cert", certificate, "-key", key, "-www",
                "-quiet", *self.flags]


class GnutlsServer(Server):
    """`gnutls-serv`, which tells of the handshake in a page."""

    def __init__(self, certificates, *flags):
        self.certificates, self.flags = certificates, flags
        super().__init__()

    def command(self):
        self.port = self.ports[0]
        certificate, key = self.certificates.path("good")
        return ["gnutls-serv", "--http", "--quiet", "--port", str(self.port), "--x509certfile", certificate, "--x509keyfile",
                key, *self.flags]


class Knot(Server):
    """The authoritative server for one zone file's text."""

    def __init__(self, zone, text):
        self.zone, self.text = zone, text
        super().__init__()

    def command(self):
        self.resolver = f"127.0.0.1:{self.ports[0]}"
        self.write("zone", self.text)
        self.write("knot.conf", f"""server:
    rundir: {self.directory}
    listen: 127.0.0.1@{self.ports[0]}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
control:
    listen: {self.path('ctl')}
log:
  - target: stderr
    any: warning
database:
    storage: {self.path('db')}
zone:
  - domain: {self.zone}
    storage: {self.directory}
    file: zone
    zonefile-sync: -1
    zonefile-load: whole
    journal-content: none
""")
        return ["/usr/sbin/knotd", "-c", self.path("knot.conf")]
