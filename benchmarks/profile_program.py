"""Where the time of a program goes, by kind of work: samples of ``perf record`` by symbol.

    python benchmarks/profile_program.py [--json FILE] [--name NAME] -- PROGRAM ARGUMENT...

PROGRAM is one of this build with its symbols: ``encode_loop``, ``qeff-run bench``. The share is of the samples of
all threads, so waiting counts as much as working.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from qeff.bench.machine import describe_machine

# The first pattern that is found in a symbol decides.
_KINDS = (
    ("attention", r"Attention<|attend"),
    ("quantization of inputs", r"PrepareRows<"),
    ("bias, activation, residual, store", r"\bfinish(_with)?<"),
    ("matrix products", r"Gemm<|Tile<|Grouped<|Decode<|Products<|PairLines<"),
    ("norms", r"LayerNorm<|RmsNorm<"),
    ("rotary embedding, gates", r"Rope<|Gate<"),
    ("embedding, pooling", r"embed|unpack_row|pool"),
    ("tokenization", r"WordPiece|Tokeniz|TokenTrie|utf8|Unicode|normalize_text|Bpe|text::"),
    ("choosing the token", r"Sampler|Generat|argmax|softmax"),
    (
        "synchronization",
        r"wait_change|Executor|TaskRef|Team|futex|sched|task_switch|spin_|yield|syscall|clock_gettime",
    ),
    ("copying", r"memcpy|memmove|memset"),
)


def kind_of(symbol: str) -> str:
    """The kind of work a symbol belongs to."""
    for kind, pattern in _KINDS:
        if re.search(pattern, symbol):
            return kind
    return "other"


def shares(report: str) -> dict[str, float]:
    """Percent by kind, largest first, from lines ``12.34%  symbol``."""
    sums: dict[str, float] = {}
    for line in report.splitlines():
        found = re.match(r"\s*([\d.]+)%\s+(?:\[.\]\s+)?(.*)", line)
        if found:
            kind = kind_of(found[2])
            sums[kind] = sums.get(kind, 0.0) + float(found[1])
    return dict(sorted(sums.items(), key=lambda item: -item[1]))


def record(command: list[str]) -> dict[str, float]:
    """Runs the program under perf."""
    with tempfile.TemporaryDirectory(prefix="qeff-profile-") as folder:
        data = str(Path(folder) / "perf.data")
        subprocess.run(
            ["perf", "record", "-F", "997", "-o", data, "--", *command],
            check=True,
            stdout=sys.stderr,
        )
        show = ["perf", "report", "-i", data, "--stdio", "--no-children", "-F", "overhead,sym"]
        done = subprocess.run(show, check=True, capture_output=True, text=True)
    return shares(done.stdout)


def main() -> int:
    """Profiles, prints the shares, adds them to the file."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="profiles are added to this file")
    parser.add_argument("--name", default="", help="of the profile; default: the program's")
    parser.add_argument("--threads", type=int, default=2, help="of the program, for the table")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        parser.error("which program?")
    document: dict[str, object] = {
        "kind": "profile",
        "machine": describe_machine(options.threads, None),
        "profiles": {},
    }
    if options.json and options.json.exists():
        document = json.loads(options.json.read_text(encoding="utf-8"))
    profiles = document["profiles"]
    assert isinstance(profiles, dict)
    found = profiles[options.name or Path(command[0]).name] = record(command)
    for kind, share in found.items():
        print(f"{share:5.1f} %  {kind}")
    if options.json:
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
