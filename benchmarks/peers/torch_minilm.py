"""The model in torch through transformers."""

from __future__ import annotations

import functools
from typing import Any

import torch
import transformers
from common import Built, Facts, tensor


@functools.cache
def _model(directory: str, dtype: str) -> Any:
    torch.set_grad_enabled(False)
    kind = torch.float32 if dtype == "int8" else getattr(torch, dtype)
    model = transformers.AutoModel.from_pretrained(directory, dtype=kind).eval()
    if dtype == "int8":
        return torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)
    return model


def run(case: Facts, dtype: str) -> Built:
    """The padded batch.

    Args:
        dtype: ``"float32"``, ``"bfloat16"``, or ``"int8"``: dynamic quantization of float32.
    """
    torch.set_num_threads(case["threads"])
    model = _model(case["model"], dtype)
    inputs = {
        name: torch.from_numpy(tensor(case, name)) for name in ("input_ids", "attention_mask")
    }
    mask = inputs["attention_mask"][..., None].float()

    def once() -> torch.Tensor:
        with torch.inference_mode():
            states = model(**inputs).last_hidden_state.float()
            return (states * mask).sum(1) / mask.sum(1)

    return once, {"version": torch.__version__}
