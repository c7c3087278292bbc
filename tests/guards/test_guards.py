"""Guards of the house: what must hold for the sources as a whole, whoever changes them.

Run with `/usr/bin/python3 -m pytest tests/guards`; the option table is asked of build/tools/hotfleet, or of
the binary that the variable HOTFLEET names."""

import ast
import os
import re
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("HOTFLEET") or ROOT / "build" / "tools" / "hotfleet")

ROOMS = {"coordinator", "worker", "common", "shm", "tools", "tests"}
MAY_INCLUDE = {
    "common": {"common"},
    "shm": {"common", "shm"},
    "coordinator": {"common", "shm", "coordinator"},
    "worker": {"common", "shm", "worker"},
    "tools": {"common", "shm", "tools"},
    "tests": ROOMS,
}
TOOLS_MAY_ALSO_INCLUDE = {"coordinator/coordinator.h"}
TOP_FILES = {"meson.build", "README.md", "LICENSE", "CHANGELOG.md", "meson_options.txt", "Dockerfile"}

FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 80
BANNED_CALLS = ("strcpy", "strcat", "sprintf", "vsprintf", "strtok", "atoi", "atol", "atoll", "alloca", "gets")
# Put together here so that this file does not hold the words it looks for.
LEFT_OVER_WORDS = ("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")


@lru_cache(maxsize=None)
def project_files():
    """Every file that belongs to the project, relative to ROOT: what git tracks or would, else all but builds."""
    listing = shutil.which("git") and subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False)
    if listing and listing.returncode == 0:
        names = [name for name in listing.stdout.split("\0") if name]
    else:
        names = [str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if path.is_file()]
        names = [name for name in names if not re.match(r"build|\.git/|.*__pycache__", name)]
    return sorted({Path(name) for name in names if (ROOT / name).is_file()})


def c_files(*suffixes):
    return [path for path in project_files() if path.suffix in suffixes and path.parts[0] in ROOMS]


def text_of(path):
    return (ROOT / path).read_text(encoding="utf-8")


def is_seed(path):
    return "corpus" in path.parts


def is_script(path):
    return path.suffix in {".py", ".sh"} or (path.suffix == "" and (ROOT / path).read_bytes().startswith(b"#!"))


def is_source(path):
    return not is_seed(path) and (path.suffix in {".c", ".h", ".def", ".build"} or is_script(path))


def source_files():
    return [path for path in project_files() if is_source(path)]


def without_comments_and_strings(code):
    pattern = r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
    return re.sub(pattern, lambda match: "\n" * match.group().count("\n"), code, flags=re.S)


def includes(path):
    """Quoted includes of a C file as (line, name)."""
    for number, line in enumerate(text_of(path).splitlines(), 1):
        match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if match:
            yield number, match.group(1)


def may_include(path, name):
    room, target = path.parts[0], name.split("/")[0]
    if target in MAY_INCLUDE[room]:
        return True
    return room == "tools" and name in TOOLS_MAY_ALSO_INCLUDE


def c_functions(code):
    """(first line, lines, signature) of each function: in our format its braces stand alone in the first column."""
    begun, signature = None, ""
    lines = code.splitlines()
    for number, line in enumerate(lines, 1):
        if line == "{":
            begun, signature = number, lines[number - 2].strip()
        elif line == "}" and begun is not None:
            yield begun, number - begun + 1, signature
            begun = None


def python_functions(code):
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.lineno, node.end_lineno - node.lineno + 1, node.name


def shell_functions(code):
    begun, name = None, ""
    for number, line in enumerate(code.splitlines(), 1):
        match = re.match(r"(\w+)\(\) \{$", line)
        if match:
            begun, name = number, match.group(1)
        elif line == "}" and begun is not None:
            yield begun, number - begun + 1, name
            begun = None


def functions(path):
    code = text_of(path)
    if path.suffix in {".c", ".h"}:
        return c_functions(code)
    if path.suffix == ".py" or code.startswith("#!/usr/bin/python3"):
        return python_functions(code)
    return shell_functions(code)


def record_outcomes():
    """Names of the outcomes that may stand in a record, as common/outcome.h has them; `ok` is no error."""
    header = text_of("common/outcome.h")
    rows = re.findall(r'X\((\w+),\s*"([^"]+)"', header)
    last = re.search(r"define OUTCOME_RECORD_LAST OUTCOME_(\w+)", header).group(1)
    names = [name for _, name in rows[:[identifier for identifier, _ in rows].index(last) + 1]]
    return [name for name in names if name != "ok"]


def option_ids():
    return re.findall(r"^OPTION\((\w+),", text_of("common/options.def"), flags=re.M)


def section(name):
    """What stands in README.md between <!-- name --> and <!-- /name -->."""
    match = re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", text_of("README.md"), flags=re.S)
    assert match, f"README.md has no section <!-- {name} --> … <!-- /{name} -->"
    return match.group(1)


def test_the_top_level_is_the_plan():
    top = {path.parts[0] for path in project_files() if not path.parts[0].startswith(".")}
    assert top - TOP_FILES == ROOMS
    assert {"meson.build", "README.md", "LICENSE", "CHANGELOG.md"} <= top


def test_each_room_has_its_meson_build():
    assert [room for room in sorted(ROOMS) if not (ROOT / room / "meson.build").is_file()] == []


def test_arrows_between_rooms_hold():
    wrong = [f"{path}:{number}: {name}" for path in c_files(".c", ".h", ".def") for number, name in includes(path)
             if not may_include(path, name)]
    assert wrong == []


def test_includes_are_written_from_the_root():
    wrong = [f"{path}:{number}: {name}" for path in c_files(".c", ".h", ".def") for number, name in includes(path)
             if "/" not in name or ".." in name or not (ROOT / name).is_file()]
    assert wrong == []


@pytest.mark.parametrize("header", c_files(".h"), ids=str)
def test_header_compiles_alone(header):
    compiler = ["gcc", "-std=gnu11", "-D_GNU_SOURCE", '-DHOTFLEET_VERSION="0"', '-DHOTFLEET_LIBEXECDIR="/"',
                "-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{ROOT}", "-x", "c", "-"]
    done = subprocess.run(compiler, input=f'#include "{header}"\n', capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_each_header_is_guarded_by_pragma_once():
    assert [str(path) for path in c_files(".h") if not text_of(path).startswith("#pragma once\n")] == []


def test_each_c_file_opens_with_its_task():
    assert [str(path) for path in c_files(".c") if not text_of(path).startswith("/*")] == []


def test_no_file_is_too_long():
    long = {str(path): text_of(path).count("\n") for path in source_files()}
    assert {path: lines for path, lines in long.items() if lines > FILE_LINES_MAX} == {}


def test_no_function_is_too_long():
    long = [f"{path}:{line}: {name} has {lines} lines" for path in source_files()
            for line, lines, name in functions(path) if lines > FUNCTION_LINES_MAX]
    assert long == []


def test_no_banned_calls():
    pattern = re.compile(r"\b(" + "|".join(BANNED_CALLS) + r")\s*\(")
    found = [f"{path}: {match.group(1)}" for path in c_files(".c", ".h")
             for match in pattern.finditer(without_comments_and_strings(text_of(path)))]
    assert found == []


def test_no_left_over_words():
    pattern = re.compile(r"\b(" + "|".join(LEFT_OVER_WORDS) + r")\b")
    found = [f"{path}:{number}: {line.strip()}" for path in project_files()
             if is_source(path) or path.suffix in {".md", ".txt", ".toml"} and not is_seed(path)
             for number, line in enumerate(text_of(path).splitlines(), 1) if pattern.search(line)]
    assert found == []


def test_readme_names_every_outcome_of_a_record():
    names = record_outcomes()
    table = section("outcomes")
    assert len(names) > 20
    assert [name for name in names if f"| `{name}` |" not in table] == []
    assert sorted(re.findall(r"^\| `([a-z-]+)` \|", table, flags=re.M)) == sorted(names)


def test_readme_has_every_option():
    table = section("options")
    assert len(option_ids()) > 20
    assert [name for name in option_ids() if f"`{name}`" not in table and f"`--{name.replace('_', '-')}`" not in table] == []


def test_readme_option_table_is_what_the_command_prints():
    assert BINARY.is_file(), f"{BINARY} is missing: build it first, or name it with HOTFLEET"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HOTFLEET_")}
    done = subprocess.run([BINARY, "config", "markdown"], capture_output=True, text=True, check=True, env=clean)
    assert section("options").strip() == done.stdout.strip(), "put the output of `hotfleet config markdown` there"
