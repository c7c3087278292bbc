"""Every profile against every kind of server, with a full and a resumed handshake, certificates verified, exact hellos."""
import os
import subprocess

import pytest

from support.fleet import ROOT
from support.records import check_answered, check_complete, check_failed
from support.servers import GnutlsServer, OpensslServer

PROFILES = sorted(name[:-5] for name in os.listdir(os.path.join(ROOT, "common", "profiles")) if name.endswith(".toml"))
TLS12_ONLY = {"firefox-55-windows", "firefox-56-windows", "ios-12-iphone"}
TLS13_SERVERS = {"openssl TLS 1.3", "openssl HelloRetryRequest", "nginx HTTP/2 TLS 1.3"}
# nghttpd speaks HTTP/2 alone, and these may not ask for it.
NO_ALPN = {"randomized", "randomized-noalpn"}
# Of the hybrid group, which OpenSSL has from 3.5 on; whoever does not send it a share of it, this server refuses.
HYBRID = "X25519MLKEM768"
HYBRID_SERVER = "openssl X25519MLKEM768"
OPENSSL_HAS_HYBRID = HYBRID in subprocess.run(["openssl", "list", "-kem-algorithms"], capture_output=True, text=True,
                                              check=False).stdout
REFUSED = ["wrong-name", "expired", "unknown-issuer", "self-signed"]


@pytest.fixture(scope="module")
def servers(certificates, session_nginx, nghttpd):
    """{kind: port}, the kinds of REFUSED among them; those that are not of the session end with the module."""
    cbc = "-cipher", "AES128-SHA", "-tls1_2"
    started = {
        "openssl TLS 1.3": OpensslServer(certificates, "good", "-tls1_3"),
        "openssl HelloRetryRequest": OpensslServer(certificates, "good", "-tls1_3", "-groups", "P-384"),
        "openssl TLS 1.2 ECDHE": OpensslServer(certificates, "good", "-tls1_2", "-cipher", "ECDHE"),
        "openssl TLS 1.2 RSA CBC": OpensslServer(certificates, "good-rsa", *cbc),
        "openssl asks for a certificate": OpensslServer(certificates, "good", "-verify", "1"),
        "openssl TLS 1.2 asks for a certificate": OpensslServer(certificates, "good-rsa", "-verify", "1", *cbc),
        "gnutls": GnutlsServer(certificates, "--disable-client-cert"),
        "gnutls asks for a certificate": GnutlsServer(certificates),
    }
    if OPENSSL_HAS_HYBRID:
        started[HYBRID_SERVER] = OpensslServer(certificates, "good", "-tls1_3", "-groups", HYBRID)
    started.update({kind: OpensslServer(certificates, kind) for kind in REFUSED})
    ports = {kind: server.port for kind, server in started.items()}
    ports["nginx HTTP/1.1"] = session_nginx.port["https"]
    ports["nginx HTTP/2"] = session_nginx.port["h2"]
    ports["nginx HTTP/2 TLS 1.2"] = session_nginx.port["h2_tls12"]
    ports["nginx HTTP/2 TLS 1.3"] = session_nginx.port["h2_tls13"]
    ports["nghttpd"] = nghttpd.port
    yield ports
    for server in started.values():
        server.stop()


def profile_text(name):
    with open(os.path.join(ROOT, "common", "profiles", name), encoding="utf-8") as file:
        return file.read()


def expected_version(kind, profile):
    return "TLS1.2" if "TLS 1.2" in kind or profile in TLS12_ONLY else "TLS1.3"


def check_connected(kind, profile, record, resumed):
    check_answered(record)
    assert record["profile"] == profile and record["attempts"] == 1
    assert record["tls"]["version"] == expected_version(kind, profile), (kind, record)
    assert record["tls"]["resumed"] is resumed, (kind, record)
    if ("HTTP/2" in kind or kind == "nghttpd") and profile not in NO_ALPN:
        assert record["http_version"] == "2", (kind, record)
    if "RSA CBC" in kind:
        assert record["tls"]["cipher"] == "TLS_RSA_WITH_AES_128_CBC_SHA"


def check_record_of(kind, profile, record, resumed):
    if kind in REFUSED:
        check_failed(record, "cert-invalid")
    elif kind == HYBRID_SERVER and not profile.startswith(("chrome-131", "chrome-133", "chrome-auto")):
        check_failed(record, "tls-error")
    elif kind in TLS13_SERVERS and profile in TLS12_ONLY:
        check_failed(record, "tls-error")
        assert "protocol version" in record["error"]
    elif kind == "nghttpd" and profile in NO_ALPN and record["failed"]:
        check_failed(record, "connection-closed")
    elif kind == "nghttpd" and profile in NO_ALPN:
        assert profile == "randomized" and record["http_version"] == "2"
    else:
        check_connected(kind, profile, record, resumed)


@pytest.mark.parametrize("profile", PROFILES)
def test_every_kind_of_server_answers_full_and_resumed(hotfleet, servers, profile):
    kinds = list(servers)
    urls = [f"https://127.0.0.1:{servers[kind]}/{'1k' if kind.startswith('n') else ''}" for kind in kinds]
    for resumed in (False, True):
        run = hotfleet(urls, "--profile", profile, "--retry", "0", "-w", "1", "--state", "state")
        records = check_complete(run, len(urls))
        assert "plain-hello" not in run.stderr
        for seq, kind in enumerate(kinds, 1):
            check_record_of(kind, profile, records[seq], resumed)


@pytest.mark.skipif(not OPENSSL_HAS_HYBRID, reason=f"this OpenSSL has no {HYBRID}")
def test_hybrid_share_is_sent_when_a_server_asks_for_it(hotfleet, servers):
    """By a HelloRetryRequest, which it sends to a browser that names the group and has sent no share of it."""
    text = profile_text("chrome-133-windows.toml").replace('hello = "chrome-133"\n', "").replace("chrome-133-windows", "later")
    layout = profile_text("hello/chrome-133.toml").replace("51 shares GREASE 11ec 001d", "51 shares GREASE 001d")
    hotfleet.write("own/later.toml", f"{text}\n[hello]\n{layout}")
    url = f"https://127.0.0.1:{servers[HYBRID_SERVER]}/"
    for resumed in (False, True):
        run = hotfleet([url], "--profiles", "own", "--profile", "later", "--retry", "0", "-w", "1", "--state", "state")
        check_connected(HYBRID_SERVER, "later", check_complete(run, 1)[1], resumed)
