"""OpenVINO's side of llm.py, through optimum-intel; run by the interpreter that has them.

    python openvino_llm.py MODEL_DIRECTORY BITS GROUP_SIZE THREADS

BITS is 4, 8 or 16 (no quantization). Each line of stdin is a test, ``pp 512`` or ``tg 64``; each line of
stdout its reply: ``{"tokens_per_second": ...}`` or ``{"failed": ...}``. The first reply is
``{"version": ...}``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

_START = 32  # tokens before a text that is timed
_SHORT = 8


def load(directory: str, bits: int, group_size: int, threads: int) -> Any:
    """The model, compressed and compiled for this CPU."""
    from optimum.intel import OVModelForCausalLM, OVWeightQuantizationConfig

    options: dict[str, Any] = {}
    if bits != 16:
        options["quantization_config"] = OVWeightQuantizationConfig(
            bits=bits, sym=True, group_size=group_size if bits == 4 else -1
        )
    hints = {"INFERENCE_NUM_THREADS": str(threads), "PERFORMANCE_HINT": "LATENCY"}
    return OVModelForCausalLM.from_pretrained(directory, export=True, ov_config=hints, **options)


def prefill(model: Any, tokens: int) -> float:
    """Tokens a second of one prompt."""
    import torch

    ids = torch.randint(100, model.config.vocab_size, (1, tokens))
    started = time.perf_counter()
    model(input_ids=ids, attention_mask=torch.ones_like(ids))
    return tokens / (time.perf_counter() - started)


def decode(model: Any, tokens: int) -> float:
    """Tokens a second of one text: what a long one takes more than a short one."""
    import torch

    ids = torch.randint(100, model.config.vocab_size, (1, _START))

    def seconds(count: int) -> float:
        started = time.perf_counter()
        model.generate(ids, max_new_tokens=count, min_new_tokens=count, do_sample=False)
        return time.perf_counter() - started

    short = seconds(_SHORT)
    return tokens / (seconds(_SHORT + tokens) - short)


def main() -> None:
    """Loads, then answers until stdin ends. What libraries print goes to stderr."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    os.environ["HF_HUB_OFFLINE"] = "1"

    def say(reply: dict[str, Any]) -> None:
        print(json.dumps(reply), file=replies, flush=True)

    try:
        import openvino

        directory, bits, group_size, threads = sys.argv[1:]
        model = load(directory, int(bits), int(group_size), int(threads))
    except Exception as error:  # noqa: BLE001 - whatever a library raises becomes a reason
        say({"failed": f"{type(error).__name__}: {error}"[:200]})
        return
    say({"version": str(openvino.__version__)})
    for line in sys.stdin:
        kind, tokens = line.split()
        try:
            say({"tokens_per_second": (prefill if kind == "pp" else decode)(model, int(tokens))})
        except Exception as error:  # noqa: BLE001 - likewise
            say({"failed": f"{type(error).__name__}: {error}"[:200]})


if __name__ == "__main__":
    main()
