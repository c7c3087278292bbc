"""Content codings: what is asked for, decoded bodies and their hashes, torn and false ones, and bombs."""
import hashlib

import pytest

from support.records import check_answered, check_complete

PATTERN = b"0123456789abcdef"


def body_of(size):
    return (PATTERN * (size // len(PATTERN) + 1))[:size]


@pytest.mark.parametrize("coding", ["gzip", "deflate", "bare", "gzip,deflate", "deflate,gzip,gzip"])
def test_coded_body_is_decoded(hotfleet, origin, coding):
    record = check_answered(hotfleet([origin.url(f"/coded/{coding}?size=300000")], "--hash").record)
    assert record["bytes_body"] == 300000 and record["bytes_wire"] < 10000
    assert record["content_length"] == record["bytes_wire"]
    assert record["hash"]["body_sha256"] == hashlib.sha256(body_of(300000)).hexdigest()


@pytest.mark.parametrize("query", ["torn=1", "torn=8", "false=1"])
@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_torn_and_false_codings_are_told(hotfleet, origin, coding, query):
    record = hotfleet([origin.url(f"/coded/{coding}?{query}")]).record
    assert record["failed"] and record["error_code"] == "protocol-error" and coding in record["error"]
    assert record["status_code"] == 200 and record["attempts"] == 1


def test_bomb_is_too_large_and_the_next_request_is_served(hotfleet, origin):
    bomb = origin.url("/coded/gzip?zeros=200000000")
    result = hotfleet([bomb, origin.url("/ok"), origin.url("/coded/gzip,gzip?zeros=200000000"), origin.url("/ok")],
                      "--max-body", "1G", "--max-conns-per-host", "1")
    records = check_complete(result, 4)
    for seq in (1, 3):
        assert records[seq]["failed"] and records[seq]["error_code"] == "too-large"
    assert not records[2]["failed"] and not records[4]["failed"]


def test_ratio_is_an_option(hotfleet, origin):
    url = origin.url("/coded/gzip?zeros=8000000")
    assert hotfleet([url]).record["error_code"] == "too-large"
    assert check_answered(hotfleet([url], "--max-ratio", "2000").record)["bytes_body"] == 8000000


def test_decoded_body_is_cut_at_max_body(hotfleet, origin):
    record = check_answered(hotfleet([origin.url("/coded/gzip?size=100000")], "--max-body", "10000").record)
    assert record["truncated"] is True and record["bytes_body"] == 10000


def test_head_of_a_coded_answer_has_nothing_to_decode(hotfleet, origin):
    record = check_answered(hotfleet([origin.url("/coded/gzip")], "-X", "HEAD").record)
    assert record["bytes_body"] == 0


def test_compressed_asks_and_an_own_field_wins(hotfleet, origin):
    def sent(*flags):
        origin.reset()
        check_answered(hotfleet([origin.url("/ok")], "--profile", "none", *flags).record)
        return [v for n, v in origin.requests()[0]["headers"] if n.lower() == "accept-encoding"]

    assert sent() == []
    assert sent("--compressed") == ["gzip, deflate, br, zstd"]
    assert sent("--compressed", "-H", "Accept-Encoding: br") == ["br"]


@pytest.mark.parametrize("listener, scheme", [("http", "http"), ("h2", "https")])
def test_nginx_compresses_and_the_body_is_the_same(hotfleet, nginx, listener, scheme):
    url = f"{scheme}://127.0.0.1:{nginx.port[listener]}/packed/64k"
    plain = check_answered(hotfleet([url], "--hash", "--profile", "none").record)
    packed = check_answered(hotfleet([url], "--hash", "--profile", "none", "--compressed").record)
    assert packed["bytes_wire"] < 2000 and plain["bytes_wire"] == packed["bytes_body"] == 65536
    assert packed["hash"] == plain["hash"]
