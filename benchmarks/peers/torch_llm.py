"""torch's side of llm.py, through transformers; run by the interpreter that has them.

    python torch_llm.py MODEL_DIRECTORY DTYPE THREADS

DTYPE is bfloat16 or float32. llm_worker.py says how it is asked.
"""

from __future__ import annotations

import sys
from typing import Any

from llm_worker import serve


def load(directory: str, dtype: str, threads: int) -> tuple[Any, str]:
    """The model in eval mode."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    model = AutoModelForCausalLM.from_pretrained(directory, torch_dtype=getattr(torch, dtype))
    return model.eval(), str(torch.__version__)


if __name__ == "__main__":
    path, dtype, threads = sys.argv[1:]
    serve(lambda: load(path, dtype, int(threads)))
