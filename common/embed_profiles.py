#!/usr/bin/python3
"""Writes the C source that holds the profiles: embed_profiles.py OUTPUT FILE...; those under hello/ are layouts."""
import re
import sys
from pathlib import Path


def version_key(path):
    """chrome-83 stands before chrome-100."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.stem)]


def rows(name, files):
    yield f"const struct profile_file {name}[] = {{"
    for path in sorted(files, key=version_key):
        data = path.read_bytes()
        lines = "".join(chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else f"\\{b:03o}" for b in data)
        pieces = "\n     ".join(f'"{piece}"' for piece in lines.replace("\\012", "\\012\n").splitlines())
        yield f'    {{"{path.stem}",\n     {pieces},\n     {len(data)}}},'
    yield "    {NULL, NULL, 0},\n};"


def main():
    output, files = Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]]
    layouts = [path for path in files if path.parent.name == "hello"]
    text = ['#include "common/profile_files.h"', ""]
    text += rows("profile_files", [path for path in files if path not in layouts])
    text += rows("profile_layout_files", layouts)
    output.write_text("\n".join(text) + "\n", encoding="ascii")


main()
