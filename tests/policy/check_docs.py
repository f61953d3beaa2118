"""Relative links of the Markdown files lead to files that exist; nobody's machine is in the text."""

import argparse
import re
import sys
from pathlib import Path

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|root|work|Users)/[\w.-]+")
CODE_BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def relative_links(text):
    """Targets of the links in Markdown that point into the checkout."""
    targets = LINK.findall(CODE_BLOCK.sub("", text))
    return [
        t.split("#")[0] for t in targets if "://" not in t and not t.startswith(("#", "mailto:"))
    ]


def machine_paths(text):
    """Absolute paths that exist on one machine only."""
    return MACHINE_PATH.findall(text)


def check(root):
    files = [
        *root.glob("*.md"),
        *(p for d in ("docs", "benchmarks", "examples") for p in (root / d).rglob("*.md")),
    ]
    for path in sorted(files):
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(root)
        yield from (
            f"{name}: {t} does not exist"
            for t in relative_links(text)
            if not (path.parent / t).exists()
        )
        yield from (f"{name}: {p} is a path of one machine" for p in machine_paths(text))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    problems = list(check(parser.parse_args().root))
    print("\n".join(problems) or "all links lead somewhere")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
