"""Source addresses (C8): the server's own view of its peers tells which were used, and how often."""
import ipaddress
import subprocess
from collections import Counter

import pytest

from support.island import NoIsland, on_island
from support.origins import Origin
from support.records import check_answered, check_complete, check_failed


def fetch(hotfleet, url, *flags):
    return check_complete(hotfleet([url], "--retry", "0", *flags), 1)[1]


def bind(*entries):
    return [part for entry in entries for part in ("--bind-ip", entry)]


def peers(origin):
    return [note["peer"] for note in origin.log("open")]


def fetch_on_connections_of_their_own(hotfleet, origin, count, *flags, host="127.0.0.1"):
    """The records of `count` URLs, each of which is the last of its connection."""
    urls = [origin.url(f"/last?{n}", host=host) for n in range(count)]
    records = check_complete(hotfleet(urls, *flags), count)
    assert all(check_answered(r) for r in records.values())
    return records


def test_range_is_used_evenly_over_all_workers(hotfleet, origin):
    records = fetch_on_connections_of_their_own(hotfleet, origin, 500, "-w", "4", *bind("127.0.2.0/28"))
    used = Counter(peers(origin))
    assert set(used) == {f"127.0.2.{n}" for n in range(1, 15)}, "all but the network's and the broadcast address"
    assert max(used.values()) - min(used.values()) <= 1, used
    assert len({r["worker"] for r in records.values()}) > 1
    assert Counter(r["local_ip"] for r in records.values()) == used


def test_single_addresses_and_ranges_share_the_turns(hotfleet, origin):
    entries = ("127.0.2.9", "127.0.3.0/30", "127.0.4.4/31")
    fetch_on_connections_of_their_own(hotfleet, origin, 100, "-w", "3", *bind(*entries))
    used = Counter(peers(origin))
    assert set(used) == {"127.0.2.9", "127.0.3.1", "127.0.3.2", "127.0.4.4", "127.0.4.5"}
    assert set(used.values()) == {20}


def test_large_range_gives_each_connection_an_address_of_its_own(hotfleet, origin):
    fetch_on_connections_of_their_own(hotfleet, origin, 300, *bind("127.64.0.0/10"))
    used = peers(origin)
    assert len(set(used)) == len(used) == 300
    assert all(ipaddress.ip_address(peer) in ipaddress.ip_network("127.64.0.0/10") for peer in used)


def test_kept_connection_keeps_its_source(hotfleet, origin):
    urls = [origin.url(f"/ok?{n}") for n in range(60)]
    flags = ("-w", "2", "--max-conns-per-host", "4", "--interface", "127.0.2.0/24")
    records = check_complete(hotfleet(urls, *flags), 60).values()
    by_connection = {}
    for record in records:
        by_connection.setdefault(record["conn_id"], set()).add(check_answered(record)["local_ip"])
    assert all(len(sources) == 1 for sources in by_connection.values())
    assert sorted(peers(origin)) == sorted(source for (source,) in by_connection.values())


def test_tls_connections_are_bound_too(hotfleet, origin):
    record = check_answered(fetch(hotfleet, origin.url("/ok", "https"), *bind("127.0.2.77")))
    assert record["local_ip"] == "127.0.2.77" and peers(origin) == ["127.0.2.77"]


def test_sources_come_from_configuration_too(hotfleet, origin):
    hotfleet.write("config.toml", '[pool]\nbind_ip = ["127.0.2.5", "127.0.2.6"]\n')
    fetch_on_connections_of_their_own(hotfleet, origin, 10)
    assert Counter(peers(origin)) == {"127.0.2.5": 5, "127.0.2.6": 5}


def test_policy_for_targets_does_not_judge_sources(hotfleet, origin):
    result = hotfleet([origin.url("/ok")], *bind("127.0.2.5"), allow_private=False)
    check_failed(check_complete(result, 1)[1], "address-denied")


def test_targets_of_a_family_without_source_are_passed_over(hotfleet, origin, name_server):
    server = name_server({"both.test": {"A": ["127.0.0.1"], "AAAA": ["::1"]}})
    flags = ("--resolvers", server.resolver)
    v4 = fetch_on_connections_of_their_own(hotfleet, origin, 20, *flags, *bind("127.0.2.5"), host="both.test")
    assert {(r["host_ip"], r["local_ip"], r["attempts"]) for r in v4.values()} == {("127.0.0.1", "127.0.2.5", 1)}
    v6 = fetch_on_connections_of_their_own(hotfleet, origin, 20, *flags, *bind("::1"), host="both.test")
    assert {(r["host_ip"], r["local_ip"], r["attempts"]) for r in v6.values()} == {("::1", "::1", 1)}


@pytest.mark.parametrize("host, entry", [("[::1]", "127.0.2.5"), ("127.0.0.1", "::1")])
def test_target_that_no_source_reaches_is_exhausted(hotfleet, origin, host, entry):
    record = check_failed(fetch(hotfleet, origin.url("/ok", host=host), *bind(entry)), "ip-exhausted")
    assert "bind_ip" in record["error"] and origin.log("open") == []


def test_redirect_is_followed_from_a_source_too(hotfleet, origin):
    target = origin.url("/ok", host="127.0.0.2").replace(":", "%3A").replace("/", "%2F")
    record = check_answered(fetch(hotfleet, origin.url(f"/to?url={target}"), *bind("127.0.2.8")))
    assert record["final_url"].endswith("/ok") and set(peers(origin)) == {"127.0.2.8"}


@pytest.mark.parametrize("entry", ["192.0.2.1", "2001:db8::1"])
def test_address_that_this_machine_lacks_is_named(hotfleet, origin, entry):
    host = "[::1]" if ":" in entry else "127.0.0.1"
    record = check_failed(fetch(hotfleet, origin.url("/ok", host=host), *bind(entry)), "resource-exhausted")
    assert f"from {entry}: " in record["error"]


def test_one_missing_address_among_good_ones_costs_only_retries(hotfleet, origin):
    urls = [origin.url(f"/last?{n}") for n in range(40)]
    flags = ("--retry", "4", "--retry-delay", "1ms", *bind("127.0.2.1", "192.0.2.1", "127.0.2.2", "127.0.2.3"))
    records = check_complete(hotfleet(urls, *flags), 40)
    assert sum(r["failed"] for r in records.values()) <= 2, "five bad turns in a row are rare"
    assert set(peers(origin)) == {"127.0.2.1", "127.0.2.2", "127.0.2.3"}


@pytest.mark.parametrize("entry", ["eth0", "127.0.2.1/24", "127.0.2.0/33", "::/0", "0.0.0.0", "224.0.0.1", "fe80::1",
                                   "127.0.2.1,127.0.2.2"])
def test_bad_entry_is_a_usage_error_that_names_it(hotfleet, entry):
    result = hotfleet(b"", *bind("127.0.2.1", entry))
    assert result.exit == 2 and f'"{entry}"' in result.stderr and "bind_ip" in result.stderr


def test_family_flag_without_a_source_is_a_usage_error(hotfleet):
    result = hotfleet(b"", "-6", *bind("127.0.2.1"))
    assert result.exit == 2 and "bind_ip" in result.stderr and "ipv6" in result.stderr


@pytest.fixture
def subnet_island(hotfleet):
    """subnet_island(body): body(origin) in a network of its own, whose subnet fd00:1::/64 is local by its route alone."""

    def run(body):
        def on_shore():
            subprocess.run(["ip", "-6", "route", "add", "local", "fd00:1::/64", "dev", "lo"], check=True)
            origin = Origin("origin.py", "--cert", hotfleet.certificate, "--key", hotfleet.key)
            try:
                body(origin)
            finally:
                hotfleet.clean_up()
                origin.stop()

        try:
            on_island(on_shore, "fd00:2::1/128")
        except NoIsland as error:
            pytest.skip(f"a network namespace is needed (run as root): {error}")

    return run


@pytest.fixture(autouse=True)
def leaf(hotfleet, certificates):
    hotfleet.certificate, hotfleet.key = certificates.path("good")


def test_ipv6_subnet_gives_each_connection_a_fresh_address(hotfleet, subnet_island):
    def body(origin):
        flags = ("-w", "4", *bind("fd00:1::/64"))
        records = fetch_on_connections_of_their_own(hotfleet, origin, 300, *flags, host="[fd00:2::1]")
        used = [ipaddress.ip_address(peer) for peer in peers(origin)]
        assert len(set(used)) == len(used) == 300
        assert all(address in ipaddress.ip_network("fd00:1::/64") for address in used)
        assert len({int(address) >> 48 & 0xffff for address in used}) > 250, "they look random"
        assert {ipaddress.ip_address(r["local_ip"]) for r in records.values()} == set(used)

    subnet_island(body)


def test_two_runs_draw_different_addresses(hotfleet, subnet_island):
    def body(origin):
        for _ in range(2):
            fetch_on_connections_of_their_own(hotfleet, origin, 20, *bind("fd00:1::/64"), host="[fd00:2::1]")
        assert len(set(peers(origin))) == 40

    subnet_island(body)


def test_ipv6_subnet_and_single_address_share_the_turns(hotfleet, subnet_island):
    def body(origin):
        flags = bind("fd00:1::/64", "fd00:2::1")
        fetch_on_connections_of_their_own(hotfleet, origin, 40, *flags, host="[fd00:2::1]")
        assert peers(origin).count("fd00:2::1") == 20

    subnet_island(body)
