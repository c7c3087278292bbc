"""Flags, environment and files: the layers of A14, the errors of A15 and A16, and what the subcommands print."""
import os
import re

import pytest

from support.fleet import ROOT
from support.records import check_answered, check_complete


def option_rows():
    """(name, type, category, default) of each row of the table."""
    with open(os.path.join(ROOT, "common", "options.def")) as file:
        return re.findall(r'^OPTION\((\w+), (\w+), (\w+), "([^"]*)"', file.read(), re.M)


def effective(hotfleet, name, *flags, env=None):
    """(value, origin) as `config print --origin` tells them."""
    result = hotfleet.command("config", "print", "--origin", *flags, env=env)
    assert result.exit == 0, result.explain()
    match = re.search(rf"^{name} = (.*?)\s+# (.*)$", result.stdout.decode(), re.M)
    assert match, result.stdout.decode()
    return match.group(1).strip('"'), match.group(2)


def test_layers_in_their_order(hotfleet):
    """Each layer wins over the ones before it."""
    own = hotfleet.write("xdg/hotfleet/config.toml", "[pool]\nmax_connections = 11\n")
    value, origin = effective(hotfleet, "max_connections")
    assert value == "11" and f"{own}:2" in origin
    hotfleet.write("config.toml", "[pool]\nmax_connections = 12\n")
    assert effective(hotfleet, "max_connections")[0] == "12"
    given = hotfleet.write("given.toml", "[pool]\nmax_connections = 13\n")
    value, origin = effective(hotfleet, "max_connections", "--config", given)
    assert value == "13" and "given.toml" in origin
    env = {"HOTFLEET_POOL_MAX_CONNECTIONS": "14"}
    value, origin = effective(hotfleet, "max_connections", "--config", given, env=env)
    assert value == "14" and "HOTFLEET_POOL_MAX_CONNECTIONS" in origin
    value, origin = effective(hotfleet, "max_connections", "--config", given, "--max-connections", "15", env=env)
    assert value == "15" and "flag" in origin
    assert "default" in effective(hotfleet, "max_conns_per_host")[1]


def test_file_leaves_other_keys_alone(hotfleet):
    hotfleet.write("config.toml", "[pool]\nmax_connections = 12\n")
    assert effective(hotfleet, "max_idle_conns")[0] == "20"


@pytest.mark.parametrize("variable", ["MAX_CONNECTIONS", "HOTFLEET_POOL_MAX_CONNECTIONS"])
def test_environment_names(hotfleet, variable):
    assert effective(hotfleet, "max_connections", env={variable: "77"})[0] == "77"


@pytest.mark.parametrize("text, value", [("30", "30s"), ("30s", "30s"), ("250ms", "250ms"), ("2m", "120s"),
                                         ("1500ms", "1500ms")])
def test_durations(hotfleet, text, value):
    printed = effective(hotfleet, "conn_timeout", env={"CONN_TIMEOUT": text})[0]

    def ms(duration):
        number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)?", duration).groups()
        return int(number) * {"ms": 1, "s": 1000, None: 1000, "m": 60000, "h": 3600000}[unit]

    assert ms(printed) == ms(value)


@pytest.mark.parametrize("variable, value", [
    ("HOTFLEET_POOL_MAX_CONNECTIONS", "many"), ("HOTFLEET_POOL_MAX_CONNECTIONS", "0"), ("MAX_CONNECTIONS", "-1"),
    ("CONN_TIMEOUT", "soon"), ("HOTFLEET_POOL_CONN_TIMEOUT", "5 parsecs"), ("HOTFLEET_TLS_INSECURE", "perhaps"),
    ("HOTFLEET_REQUEST_HTTP_VERSION", "3"), ("HOTFLEET_NO_SUCH_OPTION", "1"), ("HOTFLEET_FLEET_WORKERS", "65"),
    ("HOTFLEET_FLEET_WORKERS", ""),
])
def test_bad_environment_is_exit_2_and_named(hotfleet, variable, value):
    result = hotfleet(b"", env={variable: value})
    assert result.exit == 2 and variable in result.stderr and result.stdout == b""


@pytest.mark.parametrize("text, line, column", [
    ("[pool]\nmax_conections = 5\n", 2, 1), ("[pool]\nmax_connections = \"many\"\n", 2, 19),
    ("[pool]\nmax_connections = 0\n", 2, 19), ("[pool]\nmax_connections = 5 5\n", 2, 21), ("[pond]\n", 1, 2),
    ("x = [1,\n", 1, 5), ("[pool]\nmax_connections = 5\nmax_connections = 6\n", 3, 1), ("\n\nkey\n", 3, 4),
])
@pytest.mark.parametrize("command", [["config", "check"], ["run"]])
def test_bad_file_is_exit_2_with_its_place(hotfleet, command, text, line, column):
    hotfleet.write("config.toml", text)
    result = hotfleet.command(*command)
    assert result.exit == 2, result.explain()
    place = re.search(r"config\.toml:(\d+):(\d+)", result.stderr)
    assert place, result.stderr
    assert abs(int(place.group(1)) - line) <= (1 if text.startswith("x") else 0)
    assert int(place.group(2)) >= 1 and column >= 1


def test_good_file_passes_the_check(hotfleet):
    hotfleet.write("config.toml", '[pool]\nmax_connections = 5\nconn_timeout = "250ms"\nidle_timeout = 5\n'
                                  '[request]\nheader = ["X-A: 1", "X-B: 2"]\n')
    assert hotfleet.command("config", "check").exit == 0


def test_missing_config_file_is_exit_2(hotfleet):
    result = hotfleet(b"", "--config", "/nonexistent.toml")
    assert result.exit == 2 and "/nonexistent.toml" in result.stderr


@pytest.mark.parametrize("flags", [
    ["--no-such-flag"], ["--max-connections"], ["--max-connections", "many"], ["--workers", "0"], ["-w", "65"],
    ["-4", "-6"], ["--http-version", "3"], ["--max-conns-per-host=-1"], ["--retry", "21"], ["-X", "GE T"], ["stray"],
])
def test_bad_flags_are_exit_2_with_a_reason(hotfleet, flags):
    result = hotfleet(b"", *flags)
    assert result.exit == 2 and result.stderr.strip() and result.stdout == b""


def test_unknown_flag_names_the_nearest(hotfleet):
    assert "--max-connections" in hotfleet(b"", "--max-conections", "5").stderr


@pytest.mark.parametrize("flags", [["--workers", "2"], ["--workers=2"], ["-w", "2"], ["-w2"]])
def test_spellings_of_a_flag(hotfleet, flags):
    assert effective(hotfleet, "workers", *flags)[0] == "2"


@pytest.mark.parametrize("flags, value", [(["--insecure"], "true"), (["-k"], "true"), (["-sk"], "true"),
                                          (["-k", "--no-insecure"], "false")])
def test_boolean_flags(hotfleet, flags, value):
    assert effective(hotfleet, "insecure", *flags)[0] == value


def test_every_option_has_its_default_and_is_printed(hotfleet):
    printed = hotfleet.command("config", "print").stdout.decode()
    for name, _, category, _ in option_rows():
        assert re.search(rf"^\[{category}\]$", printed, re.M), category
        key = name.removeprefix(category + "_") if category.endswith("list") else name
        assert re.search(rf"^{key} = ", printed, re.M), name


def test_printed_configuration_is_a_configuration(hotfleet):
    first = hotfleet.command("config", "print", "--max-connections", "55", "-H", "X-A: \"1\"").stdout
    assert b"max_connections = 55\n" in first
    hotfleet.write("config.toml", first)
    assert hotfleet.command("config", "check").exit == 0
    assert hotfleet.command("config", "print").stdout == first


@pytest.mark.parametrize("command", [["run", "--help"], ["run", "-h"], ["help", "run"]])
def test_help_tells_every_option(hotfleet, command):
    result = hotfleet.command(*command)
    assert result.exit == 0 and result.stderr == ""
    for name, *_ in option_rows():
        assert "--" + name.replace("_", "-") in result.stdout.decode(), name


@pytest.mark.parametrize("command", [["help"], ["--help"], ["-h"]])
def test_front_door_tells_its_subcommands(hotfleet, command):
    result = hotfleet.command(*command)
    assert result.exit == 0
    for name in ("run", "url", "config", "stats", "version", "help"):
        assert name in result.stdout.decode()


@pytest.mark.parametrize("command", [["version"], ["--version"], ["-V"]])
def test_version(hotfleet, command):
    result = hotfleet.command(*command)
    assert result.exit == 0 and re.search(r"\d+\.\d+\.\d+", result.stdout.decode())


@pytest.mark.parametrize("command", [[], ["crawl"], ["config", "nonsense"]])
def test_unknown_command_is_exit_2(hotfleet, command):
    result = hotfleet.command(*command)
    assert result.exit == 2 and result.stderr and result.stdout == b""


def test_options_of_a_file_reach_the_workers(hotfleet, origin):
    hotfleet.write("config.toml", '[request]\nuser_agent = "from a file"\n'
                                  'header = ["X-A: \\"1\\" # 2", "X-B: \\u00e9"]\n')
    check_answered(check_complete(hotfleet([origin.url("/echo")]), 1)[1])
    headers = dict(origin.requests()[0]["headers"])
    assert headers["User-Agent"] == "from a file" and headers["X-A"] == '"1" # 2'
