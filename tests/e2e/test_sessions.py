"""TLS sessions that workers and runs share: who resumes, and who must not."""
import os
import stat
import subprocess
import time

import pytest

from support.records import check_answered, check_complete, check_failed
from support.servers import Server

VERSIONS = ["tls12", "tls13"]
NEW_EACH_TIME = ("--max-lifetime", "1ms")


def resumed(record):
    return check_answered(record)["tls"]["resumed"]


def url(port, host="127.0.0.1"):
    return f"https://{host}:{port}/1k"


def fetch(hotfleet, address, *flags, state, **more):
    return check_complete(hotfleet([address], "--state", state, "--retry", "0", "-w", "1", *flags, **more), 1)[1]


@pytest.fixture
def hotfleet(hotfleet):
    """One look for all connections: under another profile none would be resumed (test_profiles_select.py)."""
    hotfleet.flags = ["--profile", "none"]
    return hotfleet


@pytest.fixture
def state(tmp_path):
    return str(tmp_path / "state")


class OpensslServer(Server):
    """`openssl s_server` for one certificate, with ticket keys of its own."""

    def __init__(self, certificates, name, port=None, *flags):
        self.certificates, self.name, self.wanted, self.flags = certificates, name, port, flags
        super().__init__()

    def command(self):
        if self.wanted:
            self.ports = [self.wanted]
        self.port = self.ports[0]
        certificate, key = self.certificates.path(self.name)
        return ["openssl", "s_server", "-accept", str(self.port), "-cert", certificate, "-key", key, "-WWW",
                "-quiet", *self.flags]

    def try_start(self):
        self.write("1k", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
        return super().try_start()


class Feeder:
    """URLs one after the other, each given when the one before has its record."""

    def __init__(self, running):
        self.running, self.count = running, 0

    def fetch(self, *addresses):
        self.running.feed(*addresses)
        self.count += len(addresses)
        self.running.wait_for_records(self.count)

    def finish(self):
        return check_complete(self.running.finish(), self.count)


@pytest.mark.parametrize("port", VERSIONS)
def test_both_workers_resume_after_the_first_handshake(hotfleet, nginx, state, port):
    feeder = Feeder(hotfleet.start("-w", "2", "--state", state, *NEW_EACH_TIME))
    feeder.fetch(url(nginx.port[port]))
    time.sleep(0.2)  # until the map has it
    for _ in range(6):
        feeder.fetch(*[url(nginx.port[port])] * 8)
        time.sleep(0.02)
    records = feeder.finish()
    assert not resumed(records[1])
    assert {records[n]["worker"] for n in range(2, feeder.count + 1)} == {0, 1}, "the test needs both workers"
    assert all(resumed(records[n]) for n in range(2, feeder.count + 1))
    assert {row["tls"] for row in nginx.requests()} == {{"tls12": "TLSv1.2", "tls13": "TLSv1.3"}[port]}


@pytest.mark.parametrize("port", VERSIONS)
def test_next_run_resumes_at_its_first_connection(hotfleet, nginx, state, port):
    assert not resumed(fetch(hotfleet, url(nginx.port[port]), state=state))
    assert resumed(fetch(hotfleet, url(nginx.port[port]), state=state))
    assert [row["resumed"] for row in nginx.requests()] == [".", "r"]


@pytest.mark.parametrize("flag", ["-tls1_2", "-tls1_3"])
def test_next_run_resumes_with_openssl(hotfleet, start_server, certificates, state, flag):
    server = start_server(OpensslServer, certificates, "good", None, flag)
    assert not resumed(fetch(hotfleet, url(server.port), state=state))
    assert resumed(fetch(hotfleet, url(server.port), state=state))


def test_session_id_without_ticket_is_shared_too(hotfleet, start_server, certificates, state):
    server = start_server(OpensslServer, certificates, "good", None, "-tls1_2", "-no_ticket")
    assert not resumed(fetch(hotfleet, url(server.port), state=state))
    assert resumed(fetch(hotfleet, url(server.port), state=state))


def test_without_state_the_next_run_begins_anew(hotfleet, nginx):
    for _ in range(2):
        records = check_complete(hotfleet([url(nginx.port["https"])], "-w", "1"), 1)
        assert not resumed(records[1])


@pytest.mark.parametrize("flag", ["-tls1_2", "-tls1_3"])
def test_all_addresses_of_a_host_share_one_session(hotfleet, start_server, certificates, state, flag):
    server = start_server(OpensslServer, certificates, "good", None, flag)
    pin = ("--resolve", f"a.site.test:{server.port}:127.0.0.1,127.0.0.2,127.0.0.3")
    feeder = Feeder(hotfleet.start("-w", "1", "--state", state, *pin))
    for _ in range(3):
        feeder.fetch(url(server.port, "a.site.test"))
    records = feeder.finish()
    assert len({record["host_ip"] for record in records.values()}) == 3
    assert [resumed(records[n]) for n in (1, 2, 3)] == [False, True, True]


def test_session_is_for_its_name_alone(hotfleet, nginx, state):
    port = nginx.port["https"]
    pins = [flag for name in "ab" for flag in ("--resolve", f"{name}.site.test:{port}:127.0.0.1")]
    assert not resumed(fetch(hotfleet, url(port, "a.site.test"), *pins, state=state))
    assert not resumed(fetch(hotfleet, url(port, "b.site.test"), *pins, state=state))
    assert resumed(fetch(hotfleet, url(port, "a.site.test"), *pins, state=state))


@pytest.mark.parametrize("kind", ["unknown-issuer", "expired", "wrong-name"])
def test_what_was_never_verified_is_not_resumed_by_a_verifying_run(hotfleet, nginx, state, kind):
    address = url(nginx.port[kind])
    assert not resumed(fetch(hotfleet, address, "-k", state=state))
    assert resumed(fetch(hotfleet, address, "-k", state=state))
    nginx.forget()
    check_failed(fetch(hotfleet, address, state=state), "cert-invalid")
    assert nginx.requests() == []


def test_run_that_does_not_verify_makes_sessions_of_its_own(hotfleet, nginx, state):
    address = url(nginx.port["https"])
    assert not resumed(fetch(hotfleet, address, state=state))
    assert not resumed(fetch(hotfleet, address, "-k", state=state))
    assert not resumed(fetch(hotfleet, address, state=state))


def test_another_trust_store_needs_a_full_handshake(hotfleet, nginx, certificates, state, tmp_path):
    address = url(nginx.port["https"])
    both = tmp_path / "both.pem"
    both.write_bytes(b"".join(open(path, "rb").read() for path in (certificates.root, certificates.stranger)))
    assert not resumed(fetch(hotfleet, address, state=state))
    assert not resumed(fetch(hotfleet, address, "--cacert", both, state=state, cacert=False))
    assert not resumed(fetch(hotfleet, address, state=state, cacert=False, env={"SSL_CERT_FILE": certificates.root}))
    check_failed(fetch(hotfleet, address, state=state, cacert=False), "cert-invalid")
    check_failed(fetch(hotfleet, address, "--cacert", certificates.stranger, state=state, cacert=False), "cert-invalid")


def test_trust_store_counts_by_its_content(hotfleet, nginx, certificates, state, tmp_path):
    address, store = url(nginx.port["https"]), tmp_path / "store.pem"
    store.write_bytes(open(certificates.root, "rb").read())
    assert not resumed(fetch(hotfleet, address, "--cacert", store, state=state, cacert=False))
    assert resumed(fetch(hotfleet, address, "--cacert", store, state=state, cacert=False))
    store.write_bytes(open(certificates.stranger, "rb").read())
    check_failed(fetch(hotfleet, address, "--cacert", store, state=state, cacert=False), "cert-invalid")


@pytest.mark.parametrize("flag", ["-tls1_2", "-tls1_3"])
def test_refused_session_falls_back_to_a_full_handshake_with_verification(hotfleet, start_server, certificates, state,
                                                                          flag):
    first = start_server(OpensslServer, certificates, "good", None, flag)
    assert not resumed(fetch(hotfleet, url(first.port), state=state))
    first.stop_process()
    second = start_server(OpensslServer, certificates, "good", first.port, flag)
    assert not resumed(fetch(hotfleet, url(first.port), state=state))
    assert resumed(fetch(hotfleet, url(first.port), state=state)), "the new session takes the refused one's place"
    second.stop_process()
    start_server(OpensslServer, certificates, "unknown-issuer", first.port, flag)
    check_failed(fetch(hotfleet, url(first.port), state=state), "cert-invalid")


def test_files_are_for_their_owner_alone(hotfleet, nginx, state):
    fetch(hotfleet, url(nginx.port["https"]), state=state)
    modes = {name: stat.S_IMODE(os.stat(os.path.join(state, name)).st_mode) for name in os.listdir(state)}
    assert stat.S_IMODE(os.stat(state).st_mode) == 0o700
    assert {"data.mdb", "lock.mdb"} <= set(modes) and set(modes.values()) == {0o600}


def test_open_file_of_an_older_map_is_closed_to_others(hotfleet, nginx, state):
    address = url(nginx.port["https"])
    fetch(hotfleet, address, state=state)
    for name in ("data.mdb", "lock.mdb"):
        os.chmod(os.path.join(state, name), 0o644)
    assert resumed(fetch(hotfleet, address, state=state))
    assert stat.S_IMODE(os.stat(os.path.join(state, "data.mdb")).st_mode) == 0o600


def test_damaged_map_is_set_aside(hotfleet, nginx, state):
    address, data = url(nginx.port["https"]), os.path.join(state, "data.mdb")
    fetch(hotfleet, address, state=state)
    size = os.path.getsize(data)
    with open(data, "r+b") as file:
        file.write(b"\x5a" * size)
    assert not resumed(fetch(hotfleet, address, state=state))
    assert any(name.startswith("data.mdb.bad-") for name in os.listdir(state))
    assert resumed(fetch(hotfleet, address, state=state))


def test_session_outlives_killed_workers(hotfleet, nginx, state):
    """A worker that is made anew has nothing but the map."""
    running = hotfleet.start("-w", "1", "--state", state, *NEW_EACH_TIME)
    feeder = Feeder(running)
    feeder.fetch(url(nginx.port["https"]))
    time.sleep(0.2)
    for _ in range(3):
        worker = running.wait_for_workers(1)[0]
        os.kill(worker, 9)
        while worker in running.workers():
            time.sleep(0.01)
        feeder.fetch(url(nginx.port["https"]))
    records = feeder.finish()
    assert [resumed(records[n]) for n in range(1, 5)] == [False, True, True, True]


def test_numbers_tell_of_shared_sessions(hotfleet, nginx, state):
    address = url(nginx.port["https"])
    fetch(hotfleet, address, state=state)
    running = hotfleet.start("-w", "1", "--state", state)
    running.feed(address)
    running.wait_for_records(1)
    answer = subprocess.run(["curl", "-s", "--unix-socket", os.path.join(state, "admin.sock"),
                             "http://localhost/metrics"], capture_output=True, text=True, timeout=10).stdout
    running.finish()
    assert "hotfleet_sessions_shared_total 1\n" in answer, answer[:2000]
