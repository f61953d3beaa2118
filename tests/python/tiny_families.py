"""Tiny causal language models without a native form, as Hugging Face directories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import qeff
from tiny_llama import save_byte_tokenizer

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SPECIAL = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1, "initializer_range": 0.3}


def bloom(vocabulary: int) -> Any:
    return transformers.BloomConfig(
        vocab_size=vocabulary, hidden_size=64, n_layer=2, n_head=4, **SPECIAL
    )


def falcon(vocabulary: int) -> Any:
    return transformers.FalconConfig(
        vocab_size=vocabulary,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        **SPECIAL,
    )


def mamba(vocabulary: int) -> Any:
    return transformers.MambaConfig(
        vocab_size=vocabulary, hidden_size=64, num_hidden_layers=2, state_size=8, **SPECIAL
    )


def mixtral(vocabulary: int) -> Any:
    return transformers.MixtralConfig(
        vocab_size=vocabulary,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=3,
        max_position_embeddings=64,
        **SPECIAL,
    )


FAMILIES = {"bloom": bloom, "falcon": falcon, "mamba": mamba, "mixtral": mixtral}


def make_family(name: str, directory: Path) -> Path:
    """Writes a model of a family with random weights and a tokenizer of bytes."""
    vocabulary = save_byte_tokenizer(directory)
    torch.manual_seed(1)
    model = transformers.AutoModelForCausalLM.from_config(FAMILIES[name](vocabulary))
    model.float().eval().save_pretrained(directory)
    return directory


def compiled(directory: Path, scheme: Any, **options: Any) -> qeff.QEFFAutoModelForCausalLM:
    """The model of a directory, compiled."""
    model = qeff.QEFFAutoModelForCausalLM.from_pretrained(directory)
    model.compile(quantization=scheme, num_cores=1, **options)
    return model
