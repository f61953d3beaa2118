"""Who may include whom. The table of docs/architecture.md, enforced for include/qeff and src."""

import argparse
import re
import sys
from pathlib import Path

ALLOWED = {
    "core": set(),
    "math": {"core"},
    "quant": {"core", "math"},
    "format": {"core", "math", "quant"},
    "kernels": {"core", "math", "quant", "format"},
    "calib": {"core", "math", "quant", "format", "kernels"},
    "text": {"core", "io"},
    "io": {"core", "format"},
    "nn": {"core", "math", "kernels", "io", "text", "quant", "calib"},
    "cli": {"core", "math", "quant", "format", "kernels", "calib", "text", "io", "nn"},
}
INCLUDE = re.compile(r'^\s*#\s*include\s*["<](?:qeff/)?([a-z]+)/[^">]+[">]', re.MULTILINE)


def included_rooms(text):
    """Rooms that the include lines of one file name."""
    return {room for room in INCLUDE.findall(text) if room in ALLOWED}


def violations(files):
    """files: (path, room, text). Sentences about includes the table does not allow."""
    for path, room, text in files:
        if room not in ALLOWED:
            yield f"{path}: room '{room}' is not in the table"
            continue
        for other in sorted(included_rooms(text) - {room} - ALLOWED[room]):
            yield f"{path}: {room} may not include {other}"


def is_acyclic(table):
    """Whether the table itself orders the rooms."""
    done = set()
    while len(done) < len(table):
        free = {room for room, below in table.items() if room not in done and below <= done}
        if not free:
            return False
        done |= free
    return True


def read(root):
    for base in (root / "include" / "qeff", root / "src"):
        for path in sorted(base.rglob("*.[hc]pp")):
            parts = path.relative_to(base).parts
            if (
                len(parts) > 1
            ):  # files beside the rooms (qeff.hpp, version.hpp) include rooms, not the reverse
                yield path.relative_to(root), parts[0], path.read_text(encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    root = parser.parse_args().root
    files = list(read(root))
    problems = list(violations(files)) + ([] if is_acyclic(ALLOWED) else ["the table has a cycle"])
    print("\n".join(problems) or f"{len(files)} files keep to the layers")
    return 1 if problems or not files else 0


if __name__ == "__main__":
    sys.exit(main())
