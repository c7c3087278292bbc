"""Where records go, and what happens when they cannot (exit 3), or when a URL failed (exit 8)."""
import os
import re
import threading

import pytest

from support.records import check_answered, check_complete, parse_records


@pytest.mark.parametrize("flag", ["-o", "--output"])
def test_output_file(hotfleet, origin, flag):
    path = hotfleet.directory + "/records.jsonl"
    result = hotfleet([origin.url(f"/bytes/{n}") for n in range(50)], flag, path)
    assert (result.exit, result.stdout) == (0, b"")
    with open(path, "rb") as file:
        assert sorted(r["seq"] for r in parse_records(file.read())) == list(range(1, 51))


def test_output_file_that_cannot_be_made(hotfleet):
    path = "/nonexistent/records.jsonl"
    result = hotfleet(b"", "-o", path)
    assert result.exit in (2, 3) and path in result.stderr and result.stdout == b""


def test_full_device_is_exit_3(hotfleet, origin):
    result = hotfleet([origin.url(f"/bytes/{n}") for n in range(50)], "-o", "/dev/full")
    assert result.exit == 3, result.explain()
    assert "No space left" in result.stderr or "/dev/full" in result.stderr


def test_full_device_on_stdout_is_exit_3(hotfleet, origin):
    with open("/dev/full", "wb") as full:
        running = hotfleet.start(stdout=full)
    running.feed(*[origin.url(f"/bytes/{n}") for n in range(50)])
    assert running.finish().exit == 3


def test_reader_that_leaves_is_exit_3_and_no_torn_line(hotfleet, nginx):
    reader, writer = os.pipe()
    running = hotfleet.start(stdout=writer)
    os.close(writer)
    urls = [f"http://127.0.0.1:{nginx.port['http']}/1k?{n}" for n in range(20000)]

    def feed():
        try:
            running.feed(*urls)
        except BrokenPipeError:
            pass

    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    with os.fdopen(reader, "rb") as stream:
        lines = [stream.readline() for _ in range(10)]
    assert running.ended.wait(20), "it goes on without a reader"
    result = running.finish()
    feeder.join(5)
    assert result.exit == 3, result.explain()
    assert len(parse_records(b"".join(lines))) == 10


def test_reader_that_leaves_while_input_is_open_and_idle(hotfleet, origin):
    """The next record finds nobody: the run ends though its input does not."""
    reader, writer = os.pipe()
    running = hotfleet.start(stdout=writer)
    os.close(writer)
    os.close(reader)
    running.feed(origin.url("/ok"))
    assert running.ended.wait(10)
    assert running.finish().exit == 3


@pytest.mark.parametrize("lines, code", [(["/ok"], 0), (["/ok", "/status/404"], 0), (["/ok", "/rst/none"], 8)])
def test_fail_on_error(hotfleet, origin, lines, code):
    urls = [origin.url(path) for path in lines]
    check_complete(hotfleet(urls, "--retry", "0", "--fail-on-error"), len(urls), exit_code=code)
    check_complete(hotfleet(urls, "--retry", "0"), len(urls))


def test_invalid_line_counts_for_fail_on_error(hotfleet):
    check_complete(hotfleet(["nonsense"], "--fail-on-error"), 1, exit_code=8)


def test_output_is_only_records(hotfleet, origin):
    result = hotfleet([origin.url("/ok")], "-v")
    check_answered(check_complete(result, 1)[1])


def test_silent_says_nothing(hotfleet, origin):
    for flag in ("-s", "--silent"):
        result = hotfleet([origin.url("/ok"), "nonsense"], flag)
        assert check_complete(result, 2) and result.stderr == ""


def test_summary_at_the_end(hotfleet, origin):
    result = hotfleet([origin.url("/ok"), origin.url("/ok"), "nonsense"])
    check_complete(result, 3)
    assert re.search(r"\b3\b", result.stderr) and "invalid-url" in result.stderr


def test_verbose_tells_more(hotfleet, origin):
    urls = [origin.url("/ok"), origin.url("/rst/none")]
    quiet, verbose = hotfleet(urls, "--retry", "0"), hotfleet(urls, "--retry", "0", "-v")
    assert len(verbose.stderr) > len(quiet.stderr)
