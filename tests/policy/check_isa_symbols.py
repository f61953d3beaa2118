"""What the object files of the ISA-specific kernels contain.

Two promises. No weak symbol leaves such a file (checked without optimization, where inlining hides
nothing) unless its name carries the file's own policy: the linker keeps one copy of a weak symbol,
and a copy compiled for AVX-512 would crash an older CPU. And the instructions an ISA is for do occur.

Arguments: <isa>:<debug|release>:<object>, debug objects for the first check, release for the second.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

BASELINE = "portable"  # compiled with the flags of everything else: may define what it likes
PROMISED = {
    "avx2": ("vpmaddwd", "vfmadd"),
    "avx_vnni": ("vpdpbusd",),
    "avx512_vnni": ("vpdpbusd",),
    "avx512_bf16": ("vdpbf16ps",),
    "amx": ("tdpb[su][su]d", "tdpbf16ps", "tileloadd"),
    "neon_dot": ("[su]dot",),
    "neon_i8mm": ("[su]mmla|usmmla",),
}
HARMLESS = re.compile(r"^DW\.ref\.")  # a pointer to the personality routine: data, no code


def normal(name):
    """avx512_vnni and Avx512Vnni compare equal."""
    return name.replace("_", "").lower()


def carries_policy(symbol, isa):
    """Whether an identifier of a demangled name is the policy of `isa` or one of its parts (AmxVectors)."""
    return any(normal(word).startswith(normal(isa)) for word in re.findall(r"[A-Za-z_]\w*", symbol))


def leaked(nm_output, isa):
    """Weak definitions that other files may be linked with. nm_output: `nm -C --defined-only`."""
    for line in nm_output.splitlines():
        _, kind, symbol = line.split(maxsplit=2)
        if kind in "WVu" and not HARMLESS.match(symbol) and not carries_policy(symbol, isa):
            yield symbol


def missing_instructions(disassembly, isa):
    """Promised instructions that do not occur."""
    return [one for one in PROMISED.get(isa, ()) if not re.search(rf"\b(?:{one})", disassembly)]


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--nm", default="nm")
    parser.add_argument("--objdump", default="objdump")
    parser.add_argument("objects", nargs="+")
    arguments = parser.parse_args()
    problems = []
    for entry in arguments.objects:
        isa, build, path = entry.split(":", 2)
        if build == "debug" and isa != BASELINE:
            symbols = run(arguments.nm, "-C", "--defined-only", path)
            problems += [f"{isa}: weak symbol {one}" for one in leaked(symbols, isa)]
        elif build == "release":
            listing = run(arguments.objdump, "-d", "--no-show-raw-insn", path)
            problems += [
                f"{isa}: no {one} in the code" for one in missing_instructions(listing, isa)
            ]
    print("\n".join(problems) or f"{len(arguments.objects)} objects as promised")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
