"""Starting the hostile servers of tests/origin, and reading what they have seen."""
import json
import os
import subprocess
import time
import urllib.parse
import urllib.request

ORIGIN_DIRECTORY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "origin")


class Origin:
    """One hostile server as a process of ours: `port["http"]`, its log, its peaks."""

    def __init__(self, script, *arguments):
        command = ["/usr/bin/python3", os.path.join(ORIGIN_DIRECTORY, script), *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.port = json.loads(self.process.stdout.readline())

    def stop(self):
        self.process.stdin.close()
        try:
            self.process.wait(2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def ask(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port['control']}{path}", timeout=10) as answer:
            return json.load(answer)

    def reset(self):
        self.ask("/reset")

    def log(self, kind=None, **fields):
        """The notes of this kind whose fields have these values."""
        notes = self.ask("/log")
        return [n for n in notes if kind in (None, n["kind"]) and all(n.get(k) == v for k, v in fields.items())]

    def requests(self, target=None):
        return [n for n in self.log("request") if target in (None, n["target"])]

    def peak(self, listener="all"):
        return self.ask("/peaks").get(listener, 0)

    def open_now(self, listener="all"):
        return self.ask("/open").get(listener, 0)

    def url(self, path, port="http", host="127.0.0.1"):
        scheme = "http" if port not in TLS_PORTS and not port.startswith("h2") else "https"
        return f"{scheme}://{host}:{self.port[port]}{path}"

    def wait_for(self, condition, seconds=3):
        """Until condition(self) is true; its last value."""
        return wait_until(lambda: condition(self), seconds)


TLS_PORTS = {"https", "tls_stall", "tls_plain", "tls_alert", "tls_close", "tls_reset"}


def wait_until(condition, seconds=3):
    deadline = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return value


class NameServer(Origin):
    """dnsorigin.py with this zone; `resolver` is what --resolvers takes."""

    def __init__(self, zone):
        super().__init__("dnsorigin.py", "--zone", json.dumps(zone))
        self.resolver = f"127.0.0.1:{self.port['dns']}"

    def edit(self, name, entry):
        self.ask("/zone?" + urllib.parse.urlencode({"name": name, "entry": json.dumps(entry)}))

    def queries(self, name=None):
        return [n for n in self.log("query") if name in (None, n["name"])]


class Town(Origin):
    """townorigin.py on these addresses; each lives as it is told."""

    def __init__(self, certificates, addresses):
        certificate, key = certificates.path("good")
        super().__init__("townorigin.py", "--cert", certificate, "--key", key, *addresses)

    def set(self, address, mode):
        self.ask("/set?" + urllib.parse.urlencode({"address": address, "mode": mode}))

    def counts(self):
        """{address: {"connections": n, "requests": n, "methods": {...}, "statuses": {...}}}"""
        return self.ask("/counts")
