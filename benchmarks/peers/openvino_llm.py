"""OpenVINO's side of llm.py, through optimum-intel; run by the interpreter that has them.

    python openvino_llm.py MODEL_DIRECTORY BITS GROUP_SIZE THREADS

BITS is 4, 8 or 16 (no quantization); with an f behind it activations stay floats, which OpenVINO on a CPU quantizes
to 8 bits unless told not to. llm_worker.py says how it is asked.
"""

from __future__ import annotations

import sys
from typing import Any

from llm_worker import serve


def load(
    directory: str, bits: int, group_size: int, threads: int, float_activations: bool
) -> tuple[Any, str]:
    """The model, compressed and compiled for this CPU."""
    import openvino
    from optimum.intel import OVModelForCausalLM, OVWeightQuantizationConfig

    options: dict[str, Any] = {}
    if bits != 16:
        options["quantization_config"] = OVWeightQuantizationConfig(
            bits=bits, sym=True, group_size=group_size if bits == 4 else -1
        )
    hints = {"INFERENCE_NUM_THREADS": str(threads), "PERFORMANCE_HINT": "LATENCY"}
    if float_activations:
        hints["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = "0"
    model = OVModelForCausalLM.from_pretrained(directory, export=True, ov_config=hints, **options)
    return model, str(openvino.__version__)


if __name__ == "__main__":
    path, bits, group_size, threads = sys.argv[1:]
    serve(
        lambda: load(path, int(bits.rstrip("f")), int(group_size), int(threads), bits.endswith("f"))
    )
