"""The model as ONNX files, made once and kept: ONNX Runtime and OpenVINO read them."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

NAMES = ("input_ids", "attention_mask", "token_type_ids")
_OPSET = 17


def kept(model: str, name: str, make: Callable[[Path], None]) -> Path:
    """A file made from a model: ``make`` writes it if it is not there. In ``QEFF_PEERS_CACHE``."""
    base = Path(os.environ.get("QEFF_PEERS_CACHE") or Path(tempfile.gettempdir()) / "qeff-peers")
    weights = max(Path(model).rglob("*.safetensors"), key=lambda path: path.stat().st_size)
    facts = f"{weights} {weights.stat().st_size} {weights.stat().st_mtime_ns}"
    folder = base / hashlib.sha256(facts.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    if not path.exists():
        unfinished = folder / f"unfinished-{os.getpid()}-{name}"
        make(unfinished)
        unfinished.replace(path)
    return path


def float_onnx(model: str) -> Path:
    """The hidden states of the model, any batch and length."""
    return kept(model, "float.onnx", lambda path: _export(model, path))


def _export(model: str, path: Path) -> None:
    import torch
    import transformers

    class States(torch.nn.Module):
        """The model with its inputs by place, which the exporter wants."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = transformers.AutoModel.from_pretrained(
                model, attn_implementation="eager", dtype=torch.float32
            ).eval()

        def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
            return self.inner(**dict(zip(NAMES, inputs, strict=True))).last_hidden_state

    example = tuple(torch.ones((2, 8), dtype=torch.int64) for _ in NAMES)
    axes = {name: {0: "sentences", 1: "tokens"} for name in (*NAMES, "states")}
    torch.onnx.export(
        States(),
        example,
        str(path),
        input_names=list(NAMES),
        output_names=["states"],
        dynamic_axes=axes,
        dynamo=False,
        opset_version=_OPSET,
    )
