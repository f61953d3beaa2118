"""Matrix products of ONNX Runtime.

Where weights come from memory, the copies are nodes of one graph: sessions of their own would have
thread pools of their own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
from common import Built, Facts, copies_of, rolled, tensor
from onnx import TensorProto, helper, numpy_helper
from quantizers import affine_groups, low_nibble_first, nf4_blocks, symmetric_rows

_GROUPS = {"int4-g128": 128, "int4-g32": 32}
_NF4_BLOCK = 64
_Graph = tuple[list[onnx.NodeProto], dict[str, np.ndarray]]


def _session(case: Facts, nodes: list[Any], constants: dict[str, np.ndarray], copies: int) -> Any:
    """A session of x -> y0, y1, ..."""
    outputs = [
        helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, [case["m"], case["n"]])
        for i in range(copies)
    ]
    graph = helper.make_graph(
        nodes,
        "matmul",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [case["m"], case["k"]])],
        outputs,
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets)
    model.ir_version = 10
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = case["threads"]
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _built(case: Facts, parts: list[_Graph], weight_bytes: int) -> Built:
    nodes = [node for part, _ in parts for node in part]
    constants = {name: array for _, part in parts for name, array in part.items()}
    session = _session(case, nodes, constants, len(parts))
    x = tensor(case, "x")
    facts = {
        "calls": len(parts),
        "weight_bytes": weight_bytes,
        "version": onnxruntime.__version__,
    }
    return lambda: session.run(None, {"x": x})[0], facts


def float32(case: Facts) -> Built:
    """MatMul."""
    w = tensor(case, "w")
    parts: list[_Graph] = [
        (
            [helper.make_node("MatMul", ["x", f"w{i}"], [f"y{i}"])],
            {f"w{i}": np.ascontiguousarray(rolled(w, i).T)},
        )
        for i in range(copies_of(case, w.nbytes))
    ]
    return _built(case, parts, w.nbytes)


def int8(case: Facts, weights: str) -> Built:
    """DynamicQuantizeLinear and MatMulInteger, which are fused: u8 inputs with one scale.

    Args:
        weights: ``"s8"``, ``"u8"``, or ``"s7"``, which is s8 in ±63. On CPUs without VNNI sums of two
            u8 x s8 products saturate at 16 bits; the other two are what to do about it.
    """
    codes, scales = symmetric_rows(tensor(case, "w"), 63 if weights == "s7" else 127)
    zero = np.zeros((), np.int8)
    if weights == "u8":
        codes, zero = (codes.astype(np.int16) + 128).astype(np.uint8), np.full((), 128, np.uint8)
    parts: list[_Graph] = []
    for i in range(copies_of(case, codes.nbytes)):
        nodes = [
            helper.make_node("DynamicQuantizeLinear", ["x"], [f"q{i}", f"xs{i}", f"xz{i}"]),
            helper.make_node("MatMulInteger", [f"q{i}", f"w{i}", f"xz{i}", f"wz{i}"], [f"i{i}"]),
            helper.make_node("Cast", [f"i{i}"], [f"f{i}"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"xs{i}", f"ws{i}"], [f"s{i}"]),
            helper.make_node("Mul", [f"f{i}", f"s{i}"], [f"y{i}"]),
        ]
        constants = {
            f"w{i}": np.ascontiguousarray(rolled(codes, i).T),
            f"wz{i}": zero,
            f"ws{i}": rolled(scales, i),
        }
        parts.append((nodes, constants))
    return _built(case, parts, codes.nbytes)


def int4(case: Facts, accuracy_level: int) -> Built:
    """MatMulNBits, affine in groups.

    Args:
        accuracy_level: 4: int8 inputs, 1: float32.
    """
    group = _GROUPS[case["format"]]
    codes, scales, zeros = affine_groups(tensor(case, "w"), group)
    packed = low_nibble_first(codes)
    zeros = low_nibble_first(zeros)
    size = packed.nbytes + scales.nbytes + zeros.nbytes
    parts: list[_Graph] = []
    for i in range(copies_of(case, size)):
        node = helper.make_node(
            "MatMulNBits",
            ["x", f"w{i}", f"s{i}", f"z{i}"],
            [f"y{i}"],
            domain="com.microsoft",
            K=case["k"],
            N=case["n"],
            bits=4,
            block_size=group,
            accuracy_level=accuracy_level,
        )
        constants = {
            f"w{i}": rolled(packed, i),
            f"s{i}": rolled(scales, i).reshape(-1),
            f"z{i}": rolled(zeros, i).reshape(-1),
        }
        parts.append(([node], constants))
    return _built(case, parts, size)


def nf4(case: Facts) -> Built:
    """MatMulBnb4 with blocks of 64."""
    codes, largest = nf4_blocks(tensor(case, "w"), _NF4_BLOCK)
    packed = (codes[..., ::2] << 4) | codes[..., 1::2]  # high nibble first
    size = packed.nbytes + largest.nbytes
    parts: list[_Graph] = []
    for i in range(copies_of(case, size)):
        node = helper.make_node(
            "MatMulBnb4",
            ["x", f"w{i}", f"s{i}"],
            [f"y{i}"],
            domain="com.microsoft",
            K=case["k"],
            N=case["n"],
            block_size=_NF4_BLOCK,
            quant_type=1,
        )
        constants = {
            f"w{i}": rolled(packed, i).reshape(-1),
            f"s{i}": rolled(largest, i).reshape(-1),
        }
        parts.append(([node], constants))
    return _built(case, parts, size)
