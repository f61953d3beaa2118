"""What a deployed process costs: no framework, little more memory than the artifact."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import qeff

MIB = 1 << 20

PEAK = """
import json, sys
import numpy
def peak():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
before = peak()
import qeff
session = qeff.load(sys.argv[1])
session.encode(["A man is playing a guitar on the street while people walk by."] * 64)
frameworks = [name for name in ("torch", "transformers") if name in sys.modules]
print(json.dumps({"grown": peak() - before, "frameworks": frameworks}))
"""


@pytest.mark.parametrize("scheme", ["int8", "int4"])
def test_a_process_that_encodes_needs_the_artifact_and_40_mib(
    minilm: Path, tmp_path: Path, scheme: str
) -> None:
    artifact = tmp_path / "minilm.qeff"
    qeff.QEFFAutoModel.from_pretrained(minilm).compile(
        artifact, quantization=scheme, progress=False
    )
    command = [sys.executable, "-c", PEAK, str(artifact)]
    result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert result["frameworks"] == []
    assert result["grown"] <= artifact.stat().st_size + 40 * MIB
    print(
        f"{scheme}: {result['grown'] / 1e6:.1f} MB, artifact {artifact.stat().st_size / 1e6:.1f} MB"
    )
