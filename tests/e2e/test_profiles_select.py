"""Which browser a connection shows: drawn from a selection, named by a line, the same again by a seed."""
import json
import socket
import ssl
import struct
import threading

import pytest

from support.records import check_answered, check_complete, check_failed
from test_profiles import ja4_of

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n%s\r\nhi"


class Seen:
    """One connection: its ClientHello, and the User-Agent and Accept-Language of each request."""

    def __init__(self):
        self.hello, self.agents, self.languages = b"", [], []


class Watcher:
    """HTTP/1.1 over TLS 1.3 without tickets; notes what each connection shows, and closes it after so many requests."""

    def __init__(self, certificates, requests):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*certificates.path("good"))
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.context.num_tickets = 0
        self.requests, self.seen = requests, []
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            client.settimeout(20)
            self.seen.append(Seen())
            threading.Thread(target=self.serve, args=(client, self.seen[-1]), daemon=True).start()

    def serve(self, client, seen):
        try:
            head = client.recv(5, socket.MSG_PEEK | socket.MSG_WAITALL)
            size = 5 + struct.unpack(">H", head[3:5])[0]
            seen.hello = client.recv(size, socket.MSG_PEEK | socket.MSG_WAITALL)
            with self.context.wrap_socket(client, server_side=True) as tls:
                for n in range(self.requests):
                    request = b""
                    while not request.endswith(b"\r\n\r\n"):
                        piece = tls.recv(65536)
                        if not piece:
                            return
                        request += piece
                    fields = dict(line.split(": ", 1) for line in request.decode().split("\r\n")[1:-2])
                    seen.agents.append(fields["User-Agent"])
                    seen.languages.append(fields.get("Accept-Language"))
                    tls.sendall(ANSWER % (b"Connection: close\r\n" if n + 1 == self.requests else b""))
        except (OSError, struct.error):
            client.close()

    def stop(self):
        self.socket.close()


@pytest.fixture
def watch(certificates):
    started = []

    def start(requests):
        started.append(Watcher(certificates, requests))
        return started[-1]

    yield start
    for watcher in started:
        watcher.stop()


def show(hotfleet, name):
    return json.loads(hotfleet.command("profiles", "show", name).stdout)


def ask(hotfleet, watcher, count, *flags):
    urls = [f"https://a.site.test:{watcher.port}/{n}" for n in range(count)]
    run = hotfleet(urls, "--resolve", f"a.site.test:{watcher.port}:127.0.0.1", *flags)
    return check_complete(run, count)


def layout(hello):
    """What a hello draws: its cipher suites and extensions in order, GREASE and all."""
    at = 9 + 34 + 1 + hello[43]
    count = struct.unpack(">H", hello[at:at + 2])[0]
    ciphers, at = hello[at + 2:at + 2 + count], at + 2 + count
    at += 1 + hello[at] + 2
    kinds = []
    while at < len(hello):
        kind, length = struct.unpack(">HH", hello[at:at + 4])
        kinds.append(kind)
        at += 4 + length
    return ciphers, kinds


def test_each_connection_draws_its_own_and_keeps_it(hotfleet, watch):
    watcher = watch(3)
    records = ask(hotfleet, watcher, 900, "--profile", "random", "-w", "2", "-c", "16")
    by_connection, matches = {}, {}
    for record in records.values():
        by_connection.setdefault(check_answered(record)["conn_id"], set()).add(record["profile"])
    assert len(by_connection) >= 300 and all(len(profiles) == 1 for profiles in by_connection.values())
    profiles = set.union(*by_connection.values())
    assert len(profiles) >= 25 and not any(name.startswith("randomized") for name in profiles), profiles
    for name in profiles:
        shown = show(hotfleet, name)
        matches.setdefault(shown["user_agent"], set()).add(shown["ja4"])
    used = [seen for seen in watcher.seen if seen.agents]
    assert len(used) >= 300
    for seen in used:
        assert len(set(seen.agents)) == 1 and len(set(seen.languages)) == 1, seen.agents
        assert ja4_of(seen.hello) in matches[seen.agents[0]]
    assert len({seen.languages[0] for seen in used}) >= 0.978 * len(used)


@pytest.mark.parametrize("selection, key", [("browser=firefox", "browser"), ("platform=macos", "platform"),
                                            ("recommended", "recommended"), ("safe", "safe")])
def test_selection_draws_from_its_own_alone(hotfleet, nginx, selection, key):
    urls = [f"https://127.0.0.1:{nginx.port['https']}/1k" for _ in range(60)]
    run = hotfleet(urls, "--profile", selection, "--max-lifetime", "1ms", "--max-streams-per-conn", "1", "-c", "20")
    names = {check_answered(record)["profile"] for record in check_complete(run, 60).values()}
    wanted = selection.partition("=")[2] or True
    assert len(names) > 1 and all(show(hotfleet, name)[key] == wanted for name in names), names


def test_seed_makes_draws_repeatable(hotfleet, watch):
    runs = []
    for seed in ("7", "7", "8"):
        watcher = watch(1)
        records = ask(hotfleet, watcher, 12, "--profile", "random", "--seed", seed, "-w", "1", "-c", "1")
        runs.append([(records[n + 1]["profile"], seen.languages, layout(seen.hello)) for n, seen in enumerate(watcher.seen)])
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_without_a_seed_no_two_runs_are_alike(hotfleet, watch):
    runs = []
    for _ in range(2):
        watcher = watch(1)
        ask(hotfleet, watcher, 6, "--profile", "chrome-133-windows", "-w", "1", "-c", "1")
        runs.append([(seen.languages, layout(seen.hello)) for seen in watcher.seen])
    assert runs[0] != runs[1]


@pytest.mark.parametrize("server", ["http", "https", "h2"])
@pytest.mark.parametrize("limit", ["1", "10"])
def test_line_goes_over_connections_of_its_own_profile(hotfleet, nginx, server, limit):
    names = ["chrome-133-windows", "none", "firefox-120-macos", "safari-17-macos"]
    url = f"{'http' if server == 'http' else 'https'}://127.0.0.1:{nginx.port[server]}/1k"
    lines = [json.dumps({"url": url, "profile": names[n % 4]}) if n % 5 else url for n in range(120)]
    records = check_complete(hotfleet(lines, "--profile", "none", "-w", "1", "--max-conns-per-host", limit), 120)
    for n in range(120):
        profile = check_answered(records[n + 1]).get("profile", "none")
        assert profile in names if n % 5 == 0 else profile == names[n % 4]


def test_line_may_name_a_selection(hotfleet, nginx):
    line = json.dumps({"url": f"https://127.0.0.1:{nginx.port['https']}/1k", "profile": "browser=edge"})
    for record in check_complete(hotfleet([line] * 5, "--profile", "firefox-120-macos"), 5).values():
        assert check_answered(record)["profile"].startswith("edge-")


def test_unknown_profiles_are_refused_and_the_nearest_named(hotfleet):
    run = hotfleet([], "--profile", "chrome-133-window")
    assert run.exit == 2 and "did you mean chrome-133-windows" in run.stderr
    assert hotfleet([], "--profile", "browser=lynx").exit == 2
    record = check_complete(hotfleet(['{"url":"http://127.0.0.1/","profile":"saef"}']), 1)[1]
    check_failed(record, "invalid-url")
    assert '"saef" is no profile; did you mean safe' in record["error"]


def test_each_profile_has_a_session_of_its_own(hotfleet, nginx, tmp_path):
    url = f"https://127.0.0.1:{nginx.port['tls13']}/1k"

    def resumed(*flags):
        run = hotfleet([url], "--state", str(tmp_path / "state"), "--retry", "0", "-w", "1", *flags)
        return check_answered(check_complete(run, 1)[1])["tls"]["resumed"]

    profiles = [("--profile", name) for name in ("chrome-120-windows", "firefox-120-macos", "none")]
    assert [resumed(*flags) for flags in profiles] == [False, False, False]
    assert [resumed(*flags) for flags in profiles] == [True, True, True]
