"""include/qeff/qeff.hpp includes every public header, in order, and nothing else. --write makes it so."""

import argparse
import sys
from pathlib import Path

HEAD = """/// @file
/// All public headers of qeff. Written by tests/policy/check_umbrella.py --write.
#pragma once

"""


def umbrella_text(names):
    """The text of the umbrella header for these header paths."""
    return HEAD + "".join(f'#include "{name}"\n' for name in sorted(names))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    include = arguments.root / "include"
    umbrella = include / "qeff" / "qeff.hpp"
    headers = [path for path in (include / "qeff").rglob("*.hpp") if path != umbrella]
    text = umbrella_text(path.relative_to(include).as_posix() for path in headers)
    if arguments.write:
        umbrella.write_text(text, encoding="utf-8")
    if umbrella.read_text(encoding="utf-8") != text:
        print(
            "include/qeff/qeff.hpp is not the list of public headers; run check_umbrella.py --root . --write"
        )
        return 1
    print(f"{len(headers)} headers in the umbrella")
    return 0


if __name__ == "__main__":
    sys.exit(main())
