"""The other libraries' ways to run all-MiniLM-L6-v2, and the program that times them beside qeff's.

python benchmarks/peers/minilm.py --peers-python PATH [options of qeff bench model]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from qeff.bench.contenders import Contender

_HERE = Path(__file__).resolve().parent
_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
_SCHEMES = "int8,fp8,awq,gptq"
_TORCH, _ORT, _OPENVINO, _CT2 = "torch", "ONNX Runtime", "OpenVINO", "CTranslate2"
_FILES = {
    _TORCH: "torch_minilm.py",
    _ORT: "onnxruntime_minilm.py",
    _OPENVINO: "openvino_minilm.py",
    _CT2: "ctranslate2_minilm.py",
}


def _peer(library: str, way: str, held_to: str, **arguments: Any) -> Contender:
    provider = str(_HERE / _FILES[library])
    return Contender(f"{library} {way}", library, provider, "run", held_to, arguments)


def contenders() -> list[Contender]:
    """Every library in float32, bfloat16 where it has that, and int8."""
    return [
        _peer(_TORCH, "float32", "f32", dtype="float32"),
        _peer(_TORCH, "bfloat16", "bf16", dtype="bfloat16"),
        _peer(_TORCH, "dynamic int8", "int8", dtype="int8"),
        _peer(_ORT, "float32", "f32", weights="float32"),
        _peer(_ORT, "int8", "int8", weights="s8"),
        _peer(_ORT, "int8 in 7 bits", "int8", weights="s7"),
        _peer(_OPENVINO, "float32", "f32", weights="float"),
        _peer(_OPENVINO, "bfloat16", "bf16", weights="float", precision="bf16"),
        _peer(_OPENVINO, "NNCF int8", "int8", weights="int8"),
        _peer(_CT2, "float32", "f32", compute_type="float32"),
        _peer(_CT2, "bfloat16", "bf16", compute_type="bfloat16"),
        _peer(_CT2, "int8", "int8", compute_type="int8_float32"),
    ]


if __name__ == "__main__":
    from qeff.cli import app

    model = [] if any(not word.startswith("-") for word in sys.argv[1:2]) else [_MODEL]
    fixed = ["bench", "model", *model, "--peers", "--threads", "2", "--schemes", _SCHEMES]
    app([*fixed, *sys.argv[1:]])
