"""No source file over 500 lines without a reason."""

import argparse
import sys
from pathlib import Path

LIMIT = 500
FOLDERS = ("include", "src", "python", "tests", "benchmarks", "examples", "cmake", ".ci")
SUFFIXES = {".hpp", ".cpp", ".h", ".c", ".py", ".pyi", ".sh", ".cmake", ".txt"}
# path -> why it may be longer
EXCEPTIONS: dict[str, str] = {}


def too_long(sizes, exceptions):
    """sizes: path -> lines. Sentences about long files, and about exceptions that nobody needs."""
    for path, lines in sorted(sizes.items()):
        if lines > LIMIT and not exceptions.get(path):
            yield f"{path}: {lines} lines, the limit is {LIMIT}"
    for path in sorted(exceptions):
        if sizes.get(path, 0) <= LIMIT:
            yield f"{path}: is listed as an exception but is not over {LIMIT} lines"


def measure(root):
    files = [
        path for folder in FOLDERS for path in (root / folder).rglob("*") if path.suffix in SUFFIXES
    ]
    return {
        p.relative_to(root).as_posix(): p.read_text(encoding="utf-8").count("\n")
        for p in files
        if p.is_file()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    sizes = measure(parser.parse_args().root)
    problems = list(too_long(sizes, EXCEPTIONS))
    print("\n".join(problems) or f"{len(sizes)} files, longest {max(sizes.values())} lines")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
