"""The other libraries' matrix products, and the program that times them beside qeff's.

python benchmarks/peers/matmul.py --peers-python PATH [options of qeff bench kernels]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from qeff.bench.contenders import Contender

_HERE = Path(__file__).resolve().parent
_FOUR_BITS = ("int4-g128", "int4-g32")
_TORCH, _ORT, _OPENVINO = "torch", "ONNX Runtime", "OpenVINO"
_FILES = {
    _TORCH: "torch_matmul.py",
    _ORT: "onnxruntime_matmul.py",
    _OPENVINO: "openvino_matmul.py",
}


def _peer(
    library: str,
    way: str,
    function: str,
    precision: str,
    formats: tuple[str, ...] = (),
    **arguments: Any,
) -> Contender:
    provider = str(_HERE / _FILES[library])
    return Contender(f"{library} {way}", library, provider, function, precision, arguments, formats)


def contenders() -> list[Contender]:
    """Every way of theirs that fits a format, and their float products in all cases."""
    int8, nf4, fp8 = ("int8",), ("nf4",), ("fp8",)
    return [
        _peer(_TORCH, "float32", "linear", "f32", dtype="float32"),
        _peer(_TORCH, "bfloat16", "linear", "bf16", dtype="bfloat16"),
        _peer(_ORT, "float32", "float32", "f32"),
        _peer(_OPENVINO, "float32", "floating", "f32", kind="f32"),
        _peer(_OPENVINO, "bfloat16", "floating", "bf16", ("bf16", "fp8"), kind="bf16"),
        _peer(_TORCH, "oneDNN int8", "int8", "int8", int8, quantize_inputs=True),
        _peer(
            _TORCH, "oneDNN int8, inputs int8 before", "int8", "int8", int8, quantize_inputs=False
        ),
        _peer(_TORCH, "dynamic int8", "dynamic_int8", "int8", int8),
        _peer(_TORCH, "int8 weights, bf16 inputs", "int8_weights", "int8", int8),
        _peer(_ORT, "int8 (u8 x s8)", "int8", "int8", int8, weights="s8"),
        _peer(_ORT, "int8 (u8 x s8 in 7 bits)", "int8", "int8", int8, weights="s7"),
        _peer(_ORT, "int8 (u8 x u8)", "int8", "int8", int8, weights="u8"),
        _peer(_OPENVINO, "int8, static range", "int8", "int8", int8, inputs="static"),
        _peer(_OPENVINO, "int8, dynamic", "int8", "int8", int8, inputs="dynamic"),
        _peer(_OPENVINO, "int8 weights", "int8", "int8", int8, inputs="float"),
        _peer(_TORCH, "int4 weights, bf16 inputs", "int4_weights", "int4", _FOUR_BITS),
        _peer(_ORT, "4-bit, int8 inputs", "int4", "int4", _FOUR_BITS, accuracy_level=4),
        _peer(_ORT, "4-bit, float inputs", "int4", "int4", _FOUR_BITS, accuracy_level=1),
        _peer(_OPENVINO, "4-bit, int8 inputs", "int4", "int4", _FOUR_BITS, quantize_inputs=True),
        _peer(_OPENVINO, "4-bit, float inputs", "int4", "int4", _FOUR_BITS, quantize_inputs=False),
        _peer(_ORT, "NF4", "nf4", "int4", nf4),
        _peer(_OPENVINO, "NF4", "nf4", "int4", nf4),
        _peer(_OPENVINO, "FP8 weights", "fp8", "fp8", fp8),
    ]


if __name__ == "__main__":
    from qeff.cli import app

    app(["bench", "kernels", "--peers", "--threads", "2", *sys.argv[1:]])
