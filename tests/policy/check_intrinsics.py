"""Intrinsics are spelled in src/kernels/simd only (and the CPU's identity is asked in src/kernels/cpu.cpp)."""

import argparse
import re
import sys
from pathlib import Path

HOME = "src/kernels/simd/"
INTRINSIC = re.compile(
    r"\b(?:_mm(?:256|512)?_\w+|_tile_\w+|__m(?:128|256|512)[id]?|vdotq?_\w+|vmmlaq_\w+|vld1q?_\w+|vst1q?_\w+)\b"
    r"|#\s*include\s*<(?:immintrin|x86intrin|arm_neon)\.h>"
)
COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
# Hints to the scheduler and to the cache, not arithmetic.
HINTS = {"_mm_pause"}


def intrinsics(text):
    """Intrinsics in C++ text, comments left out."""
    return sorted(set(INTRINSIC.findall(COMMENT.sub("", text))) - HINTS)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    root = parser.parse_args().root
    problems = []
    for folder in ("include", "src", "python"):
        for path in sorted((root / folder).rglob("*.[hc]pp")):
            name = path.relative_to(root).as_posix()
            found = [] if name.startswith(HOME) else intrinsics(path.read_text(encoding="utf-8"))
            problems += [f"{name}: {one} belongs into {HOME}" for one in found]
    print("\n".join(problems) or f"no intrinsics outside {HOME}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
