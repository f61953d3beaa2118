"""The same artifact and ids on every ISA level: embeddings must agree to cosine 0.9999.

    isa_levels.py EMBED_IDS [EMBED_IDS_AARCH64]

EMBED_IDS is the program of tests/support/embed_ids.cpp. It runs once for each level of this machine
and, if a 64-bit Arm build of it is given, under qemu for each of Arm's. With 1 and 2 threads the bytes
must be equal.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import qeff

SENTENCES = [
    "My name is",
    "A man is playing a guitar on the street while people walk by.",
    "Quantized networks should say the same thing on every processor.",
    "The stock market fell sharply on Monday.",
]
QEMU = ["qemu-aarch64", "-cpu", "max", "-L", "/usr/aarch64-linux-gnu"]
LEAST_COSINE = 0.9999


def embed(
    command: list[str], files: list[Path], hidden: int, level: str, threads: int
) -> np.ndarray:
    environment = {**os.environ, "QEFF_MAX_ISA": level, "QEFF_NUM_THREADS": str(threads)}
    subprocess.run([*command, *map(str, files)], check=True, env=environment)
    return np.fromfile(files[-1], np.float32).reshape(-1, hidden)


def lowest_cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min())


def check(scheme: str, runs: list[tuple[list[str], str]], folder: Path) -> bool:
    model = qeff.QEFFAutoModel.from_pretrained("sentence-transformers/all-MiniLM-L6-v2")
    artifact = Path(model.compile(folder / f"{scheme}.qeff", quantization=scheme, progress=False))
    hidden = qeff.load(artifact).encode(["x"]).shape[1]
    tokenizer = qeff.AutoTokenizer.from_pretrained("sentence-transformers/all-MiniLM-L6-v2")
    ids = folder / "ids.txt"
    ids.write_text("".join(" ".join(map(str, tokenizer(s)["input_ids"])) + "\n" for s in SENTENCES))
    files = [artifact, ids, folder / "out.f32"]
    right, first = True, None
    for command, level in runs:
        one, two = (embed(command, files, hidden, level, threads) for threads in (1, 2))
        first = one if first is None else first
        cosine, same = lowest_cosine(first, one), one.tobytes() == two.tobytes()
        print(
            f"{scheme:6} {level:12} cosine {cosine:.7f}  1 and 2 threads {'equal' if same else 'DIFFER'}"
        )
        right &= same and cosine >= LEAST_COSINE
    return right


def main() -> int:
    native, *arm = sys.argv[1:]
    runs = [([native], level) for level in qeff.cpu_info()["isa"]]
    runs += [
        ([*QEMU, program], level)
        for program in arm
        for level in ("portable", "neon_dot", "neon_i8mm")
    ]
    with tempfile.TemporaryDirectory() as folder:
        results = [check(scheme, runs, Path(folder)) for scheme in ("int8", "int4", "fp8", "nf4")]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
