"""Fixtures of the end-to-end tests. Servers live as long as the session and forget before each test."""
import os
import shutil
import sys
import tempfile

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from support.certs import Certificates  # noqa: E402
from support.fleet import Hotfleet  # noqa: E402
from support.origins import NameServer, Origin, Town  # noqa: E402
from support.servers import Knot, Nghttpd, Nginx  # noqa: E402


@pytest.fixture(scope="session")
def certificates():
    directory = tempfile.mkdtemp(prefix="hotfleet-e2e-certs-")
    yield Certificates(directory)
    shutil.rmtree(directory)


@pytest.fixture
def hotfleet(tmp_path, certificates):
    """Runs the binary: hotfleet(lines, *flags) to the end, hotfleet.start(*flags) with its input open."""
    fleet = Hotfleet(tmp_path, certificates.root)
    yield fleet
    fleet.clean_up()


@pytest.fixture(scope="session")
def session_origin(certificates):
    certificate, key = certificates.path("good")
    origin = Origin("origin.py", "--cert", certificate, "--key", key)
    yield origin
    origin.stop()


@pytest.fixture
def origin(session_origin):
    """The misbehaving HTTP/1.1 server, its log empty."""
    session_origin.reset()
    return session_origin


@pytest.fixture(scope="session")
def session_h2origin(certificates):
    certificate, key = certificates.path("good")
    origin = Origin("h2origin.py", "--cert", certificate, "--key", key)
    yield origin
    origin.stop()


@pytest.fixture
def h2origin(session_h2origin):
    """The misbehaving HTTP/2 server, its log empty."""
    session_h2origin.reset()
    return session_h2origin


@pytest.fixture
def town(certificates):
    """town(addresses) starts a server on many addresses for the test."""
    started = []

    def start(addresses):
        started.append(Town(certificates, addresses))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def name_server():
    """name_server({"a.test": {"A": [...]}}) starts one for the test."""
    started = []

    def start(zone):
        started.append(NameServer(zone))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="session")
def session_nginx(certificates):
    server = Nginx(certificates)
    yield server
    server.stop()


@pytest.fixture
def nginx(session_nginx):
    session_nginx.forget()
    return session_nginx


@pytest.fixture(scope="session")
def nghttpd(certificates):
    server = Nghttpd(certificates)
    yield server
    server.stop()


@pytest.fixture
def start_server():
    """start_server(Class, *arguments): a server for one test."""
    started = []

    def start(kind, *arguments):
        started.append(kind(*arguments))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def knot(start_server):
    """knot(zone name, zone file text)"""
    return lambda zone, text: start_server(Knot, zone, text)
