"""TLS: versions, certificates, names, and servers that break off the handshake or the stream."""
import time

import pytest

from support.records import check_answered, check_complete, check_failed
from support.servers import BAD_CERTIFICATES


def fetch(hotfleet, url, *flags, **more):
    return check_complete(hotfleet([url], "--retry", "0", *flags, **more), 1)[1]


@pytest.mark.parametrize("port, version, protocol", [
    ("tls12", "1.2", "1.1"), ("tls13", "1.3", "1.1"), ("https", "1.3", "1.1"),
    ("h2", "1.3", "2"), ("h2_tls12", "1.2", "2"), ("h2_tls13", "1.3", "2"),
])
def test_versions_and_protocols(hotfleet, nginx, port, version, protocol):
    record = check_answered(fetch(hotfleet, f"https://127.0.0.1:{nginx.port[port]}/1k"))
    assert record["http_version"] == protocol and version.replace(".", "") in record["tls"]["version"].replace(".", "")
    seen = nginx.requests()[0]
    assert seen["tls"] == "TLSv" + version and seen["protocol"] == {"1.1": "HTTP/1.1", "2": "HTTP/2.0"}[protocol]


@pytest.mark.parametrize("choice, protocol", [("1.1", "1.1"), ("2", "2"), ("auto", "2")])
def test_http_version_chooses_what_alpn_offers(hotfleet, nginx, choice, protocol):
    record = fetch(hotfleet, f"https://127.0.0.1:{nginx.port['h2']}/1k", "--http-version", choice)
    assert check_answered(record)["http_version"] == protocol


@pytest.mark.parametrize("profile", ["none", "chrome-133-windows", "ios-14-iphone"])
def test_server_of_old_tls_only_is_a_tls_error(hotfleet, nginx, profile):
    """iOS offers TLS 1.0, and then does not get it."""
    run = hotfleet([f"https://127.0.0.1:{nginx.port['tls10']}/1k"], "--profile", profile)
    assert check_failed(check_complete(run, 1)[1], "tls-error")["attempts"] == 1


@pytest.mark.parametrize("kind", BAD_CERTIFICATES)
def test_bad_certificate_is_refused(hotfleet, nginx, kind):
    record = check_failed(fetch(hotfleet, f"https://127.0.0.1:{nginx.port[kind]}/1k"), "cert-invalid")
    assert "status_code" not in record
    assert nginx.requests() == [], "nothing may be sent to a server that has not proved its name"


@pytest.mark.parametrize("kind", BAD_CERTIFICATES)
def test_insecure_accepts_any_certificate(hotfleet, nginx, kind):
    check_answered(fetch(hotfleet, f"https://127.0.0.1:{nginx.port[kind]}/1k", "-k"))


def test_chain_with_intermediate_is_accepted(hotfleet, nginx):
    check_answered(fetch(hotfleet, f"https://127.0.0.1:{nginx.port['good-by-intermediate']}/1k"))


def test_without_cacert_the_test_root_is_unknown(hotfleet, nginx):
    check_failed(fetch(hotfleet, f"https://127.0.0.1:{nginx.port['https']}/1k", cacert=False), "cert-invalid")


def test_ssl_cert_file_is_the_system_store(hotfleet, nginx, certificates):
    record = fetch(hotfleet, f"https://127.0.0.1:{nginx.port['https']}/1k", cacert=False,
                   env={"SSL_CERT_FILE": certificates.root})
    check_answered(record)


def test_missing_cacert_file_is_a_usage_error(hotfleet):
    result = hotfleet(b"", "--cacert", "/nonexistent/ca.pem", cacert=False)
    assert result.exit == 2 and "/nonexistent/ca.pem" in result.stderr


def test_name_goes_out_as_sni_and_must_be_in_the_certificate(hotfleet, nginx):
    port = nginx.port["https"]
    urls = [f"https://a.site.test:{port}/1k", f"https://other.example:{port}/1k", f"https://a.b.site.test:{port}/1k"]
    pins = [flag for name in ("a.site.test", "other.example", "a.b.site.test") for flag in
            ("--resolve", f"{name}:{port}:127.0.0.1")]
    records = check_complete(hotfleet(urls, "--retry", "0", *pins), 3)
    assert check_answered(records[1])["sni"] == "a.site.test"
    check_failed(records[2], "cert-invalid")
    check_failed(records[3], "cert-invalid")  # a wildcard stands for one label
    assert [row["sni"] for row in nginx.requests()] == ["a.site.test"]


def test_address_sends_no_sni(hotfleet, nginx):
    assert "sni" not in check_answered(fetch(hotfleet, f"https://127.0.0.1:{nginx.port['https']}/1k"))
    assert nginx.requests()[0]["sni"] == "-"


def test_session_is_resumed_on_a_new_connection(hotfleet, nginx):
    """Four connections one after the other: each is too old for a second request."""
    running = hotfleet.start("-w", "1", "--max-lifetime", "1ms", "--profile", "firefox-120-macos")
    for count in range(1, 5):
        running.feed(f"https://127.0.0.1:{nginx.port['https']}/1k")
        running.wait_for_records(count)
        time.sleep(0.02)
    records = check_complete(running.finish(), 4)
    assert [records[n]["tls"]["resumed"] for n in (1, 2, 3, 4)] == [False, True, True, True]
    seen = nginx.requests()
    assert len({row["conn"] for row in seen}) == 4 and [row["resumed"] for row in seen] == [".", "r", "r", "r"]


@pytest.mark.parametrize("port, codes", [
    ("tls_plain", ("tls-error",)), ("tls_alert", ("tls-error",)),
    ("tls_close", ("tls-error", "connection-closed")), ("tls_reset", ("tls-error", "connection-broken")),
    ("accept_reset", ("tls-error", "connection-broken", "connection-refused")),
])
def test_broken_handshake(hotfleet, origin, port, codes):
    check_failed(fetch(hotfleet, f"https://127.0.0.1:{origin.port[port]}/"), *codes)


@pytest.mark.parametrize("profile", ["none", "chrome-133-windows", "firefox-120-macos"])
def test_server_without_tls_is_a_tls_error_at_the_first_attempt(hotfleet, origin, profile):
    """Another hello would not help, so none is tried."""
    run = hotfleet([f"https://127.0.0.1:{origin.port['tls_plain']}/"], "--profile", profile)
    record = check_failed(check_complete(run, 1)[1], "tls-error")
    assert record["attempts"] == 1 and "wrong version" in record["error"]


def test_tls_to_a_plain_port_is_a_tls_error(hotfleet, nginx):
    check_failed(fetch(hotfleet, f"https://127.0.0.1:{nginx.port['http']}/1k"), "tls-error", "connection-closed")


@pytest.mark.parametrize("path, codes", [
    ("/cut/none", ("connection-closed",)), ("/cut/head", ("connection-closed",)), ("/cut/body", ("connection-closed",)),
    ("/cut/until-close", ("connection-closed",)), ("/fin/body", ("connection-closed",)),
    ("/rst/body", ("connection-broken",)),
])
def test_stream_cut_off_is_never_a_whole_body(hotfleet, origin, path, codes):
    record = fetch(hotfleet, origin.url(path, port="https"))
    if not record["failed"]:
        assert record["truncated"] is True, record
    else:
        check_failed(record, *codes)


def test_close_delimited_body_is_whole_with_close_notify(hotfleet, origin):
    record = check_answered(fetch(hotfleet, origin.url("/close-delimited/5000", port="https")))
    assert record["bytes_body"] == 5000 and not record.get("truncated", False)


def test_key_log_is_written_where_asked(hotfleet, nginx):
    path = hotfleet.directory + "/keys.log"
    check_answered(fetch(hotfleet, f"https://127.0.0.1:{nginx.port['tls13']}/1k", env={"SSLKEYLOGFILE": path}))
    with open(path) as file:
        assert "CLIENT_TRAFFIC_SECRET_0" in file.read()
