"""The address policy (F8): private addresses are refused at connect time, on every hop, whatever led there."""
import pytest

from support.island import NoIsland, on_island
from support.origins import NameServer, Origin
from support.records import check_answered, check_complete, check_failed

PUBLIC, PUBLIC6 = "11.0.0.1", "2600::1"


def fetch(hotfleet, url, *flags, **more):
    return check_complete(hotfleet([url], "--retry", "0", *flags, **more), 1)[1]


@pytest.mark.parametrize("host", [
    "127.0.0.1", "127.1.2.3", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
    "224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "240.0.0.1", "2130706433", "0x7f.1", "[::1]", "[::]",
    "[fe80::1]", "[fc00::1]", "[ff02::1]", "[::ffff:127.0.0.1]", "[::ffff:10.0.0.1]", "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]", "[2001:db8::1]",
])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_private_address_is_denied(hotfleet, scheme, host):
    result = hotfleet([f"{scheme}://{host}:9/"], allow_private=False)
    record = check_failed(check_complete(result, 1)[1], "address-denied")
    assert "allow-private" in record["error"] and result.seconds < 5


def test_denied_address_sees_no_connection(hotfleet, origin):
    check_failed(fetch(hotfleet, origin.url("/ok"), allow_private=False), "address-denied")
    assert origin.log("open") == []


@pytest.mark.parametrize("answers", [{"A": ["127.0.0.1"]}, {"AAAA": ["::1"]}, {"A": ["10.0.0.1"], "AAAA": ["::1"]},
                                     {"AAAA": ["::ffff:127.0.0.1"]}, {"CNAME": "inner.test"}])
def test_name_of_a_private_address_is_denied(hotfleet, origin, name_server, answers):
    server = name_server({"a.test": answers, "inner.test": {"A": ["127.0.0.1"]}})
    record = fetch(hotfleet, origin.url("/ok", host="a.test"), "--resolvers", server.resolver, allow_private=False)
    check_failed(record, "address-denied")
    assert origin.log("open") == []


def test_allow_private_from_the_environment(hotfleet, origin):
    record = fetch(hotfleet, origin.url("/ok"), allow_private=False, env={"HOTFLEET_DNS_ALLOW_PRIVATE": "true"})
    check_answered(record)


@pytest.fixture
def island(hotfleet, certificates):
    """island(body): body(origin) with the origin on public addresses, in a network that has no way out."""

    def run(body):
        def on_shore():
            certificate, key = certificates.path("good")
            origin = Origin("origin.py", "--cert", certificate, "--key", key)
            try:
                body(origin)
            finally:
                hotfleet.clean_up()
                origin.stop()

        try:
            on_island(on_shore, PUBLIC + "/32", PUBLIC6 + "/128")
        except NoIsland as error:
            pytest.skip(f"a network namespace is needed (run as root): {error}")

    return run


def test_public_address_is_served(hotfleet, island):
    def body(origin):
        urls = [origin.url("/ok", host=PUBLIC), origin.url("/ok", host=f"[{PUBLIC6}]")]
        for record in check_complete(hotfleet(urls, allow_private=False), 2).values():
            check_answered(record)

    island(body)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0x7f000001", "inside.test"])
def test_redirect_to_a_private_address_is_denied(hotfleet, island, host):
    def body(origin):
        server = NameServer({"inside.test": {"A": ["127.0.0.1"]}})
        try:
            target = origin.url("/secret", host=host).replace(":", "%3A").replace("/", "%2F")
            record = fetch(hotfleet, origin.url(f"/to?url={target}", host=PUBLIC), "--resolvers", server.resolver,
                           allow_private=False)
        finally:
            server.stop()
        check_failed(record, "address-denied")
        assert [r["target"].split("?")[0] for r in origin.requests()] == ["/to"]

    island(body)


def test_only_the_public_one_of_several_addresses_is_used(hotfleet, island):
    def body(origin):
        server = NameServer({"mixed.test": {"A": ["127.0.0.1", PUBLIC], "AAAA": ["::1"]}})
        try:
            urls = [origin.url(f"/ok?{n}", host="mixed.test") for n in range(12)]
            result = hotfleet(urls, "--resolvers", server.resolver, "--retry-delay", "1ms", allow_private=False)
        finally:
            server.stop()
        for record in check_complete(result, 12).values():
            assert check_answered(record)["host_ip"] == PUBLIC
        assert {note["local"] for note in origin.log("open")} == {PUBLIC}

    island(body)
