"""Writes a Llama of a real shape with random weights: for measuring speed, not for reading its texts.

    python benchmarks/make_random_model.py --shape tinyllama-1.1b OUT_DIR
    python benchmarks/make_random_model.py --shape llama-7b --layers 4 OUT_DIR --gguf model-f16.gguf

OUT_DIR becomes a Hugging Face directory in bfloat16 without a tokenizer. ``--gguf`` writes the same model in
float16 for llama.cpp as well (package gguf); ``llama-quantize model-f16.gguf model-q4_0.gguf Q4_0`` does the rest.
Weights are normally distributed, 0.02 wide, and depend on ``--seed`` and the name of the tensor only. A hundred MB
of memory are enough for the directory, whatever the shape; the GGUF takes its largest tensor three times.
"""

from __future__ import annotations

import argparse
import json
import struct
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_SCALE = np.float32(0.02)
_ROWS = 512  # generated at a time
_HEADER_ALIGNMENT = 8


@dataclass(frozen=True)
class Shape:
    """Sizes of a Llama."""

    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    context: int

    @property
    def head(self) -> int:
        return self.hidden // self.heads


SHAPES = {
    "tinyllama-1.1b": Shape(2048, 5632, 22, 32, 4, 32000, 2048),
    "llama-7b": Shape(4096, 11008, 32, 32, 32, 32000, 4096),
    "tiny": Shape(64, 96, 2, 4, 2, 128, 64),
}


@dataclass(frozen=True)
class Tensor:
    """A tensor by both its names; ``heads`` are those of a query or key projection."""

    name: str
    gguf_name: str
    size: tuple[int, ...]
    heads: int = 0

    def parts(self, seed: int) -> Iterator[np.ndarray]:
        """Its float32 rows, some at a time; a norm is ones."""
        if len(self.size) == 1:
            yield np.ones(self.size, np.float32)
            return
        generator = np.random.default_rng([seed, zlib.crc32(self.name.encode())])
        rows, columns = self.size
        for begin in range(0, rows, _ROWS):
            count = min(_ROWS, rows - begin)
            yield generator.standard_normal((count, columns), dtype=np.float32) * _SCALE


def tensors_of(shape: Shape) -> list[Tensor]:
    """All tensors, in the order of the files."""
    hidden, inner, kv = shape.hidden, shape.inner, shape.kv_heads * shape.head
    found = [Tensor("model.embed_tokens.weight", "token_embd.weight", (shape.vocabulary, hidden))]
    for i in range(shape.layers):
        layer, block = f"model.layers.{i}.", f"blk.{i}."
        for name, gguf_name, size, heads in (
            ("input_layernorm", "attn_norm", (hidden,), 0),
            ("self_attn.q_proj", "attn_q", (hidden, hidden), shape.heads),
            ("self_attn.k_proj", "attn_k", (kv, hidden), shape.kv_heads),
            ("self_attn.v_proj", "attn_v", (kv, hidden), 0),
            ("self_attn.o_proj", "attn_output", (hidden, hidden), 0),
            ("post_attention_layernorm", "ffn_norm", (hidden,), 0),
            ("mlp.gate_proj", "ffn_gate", (inner, hidden), 0),
            ("mlp.up_proj", "ffn_up", (inner, hidden), 0),
            ("mlp.down_proj", "ffn_down", (hidden, inner), 0),
        ):
            found.append(Tensor(f"{layer}{name}.weight", f"{block}{gguf_name}.weight", size, heads))
    found.append(Tensor("model.norm.weight", "output_norm.weight", (hidden,)))
    return [*found, Tensor("lm_head.weight", "output.weight", (shape.vocabulary, hidden))]


def to_bfloat16(values: np.ndarray) -> np.ndarray:
    """Bits of the nearest bfloat16, ties to even."""
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bfloat16(bits: np.ndarray) -> np.ndarray:
    """The float32 values of bfloat16 bits."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def write_safetensors(path: Path, tensors: Sequence[Tensor], seed: int) -> None:
    """Header, then tensor after tensor. The file gets its name when it is whole."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in tensors:
        begin, end = end, end + 2 * int(np.prod(tensor.size))
        header[tensor.name] = {
            "dtype": "BF16",
            "shape": list(tensor.size),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _HEADER_ALIGNMENT)
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors:
            for part in tensor.parts(seed):
                file.write(to_bfloat16(part).tobytes())
    temporary.replace(path)


def config_of(shape: Shape) -> dict[str, Any]:
    """config.json."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "max_position_embeddings": shape.context,
        "vocab_size": shape.vocabulary,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "torch_dtype": "bfloat16",
    }


def write_directory(directory: Path, shape: Shape, seed: int) -> None:
    """The model as a Hugging Face directory; config.json comes last."""
    directory.mkdir(parents=True, exist_ok=True)
    write_safetensors(directory / "model.safetensors", tensors_of(shape), seed)
    text = json.dumps(config_of(shape), indent=2) + "\n"
    (directory / "config.json").write_text(text, encoding="utf-8")


def _gguf_array(tensor: Tensor, seed: int) -> np.ndarray:
    """Values as the directory has them; rows of queries and keys in pairs, as llama.cpp turns them."""
    values = np.concatenate([from_bfloat16(to_bfloat16(part)) for part in tensor.parts(seed)])
    if tensor.heads:
        columns = values.shape[1]
        values = values.reshape(tensor.heads, 2, -1, columns).swapaxes(1, 2).reshape(-1, columns)
    return values if values.ndim == 1 else values.astype(np.float16)


def write_gguf(path: Path, shape: Shape, seed: int) -> None:
    """The same model as a GGUF in float16, with a vocabulary of made-up words."""
    import gguf

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.inner)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.head)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(shape.vocabulary)
    special = ["<unk>", "<s>", "</s>"]
    words = [f"word{i}" for i in range(shape.vocabulary - len(special))]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(special + words)
    writer.add_token_scores([0.0] * shape.vocabulary)
    writer.add_token_types([2, 3, 3] + [1] * len(words))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    tensors = tensors_of(shape)
    for tensor in tensors:
        dtype = np.dtype(np.float32 if len(tensor.size) == 1 else np.float16)
        nbytes = int(np.prod(tensor.size)) * dtype.itemsize
        writer.add_tensor_info(tensor.gguf_name, tensor.size, dtype, nbytes)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in tensors:
        writer.write_tensor_data(_gguf_array(tensor, seed))
    writer.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--shape", choices=sorted(SHAPES), default="tinyllama-1.1b")
    parser.add_argument("--layers", type=int, help="instead of all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gguf", type=Path, help="write the same model for llama.cpp, float16")
    options = parser.parse_args(arguments)
    sizes = vars(SHAPES[options.shape])
    if options.layers is not None:
        if options.layers < 1:
            parser.error("--layers must be at least 1")
        sizes = sizes | {"layers": options.layers}
    shape = Shape(**sizes)
    write_directory(options.out_dir, shape, options.seed)
    if options.gguf:
        write_gguf(options.gguf, shape, options.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
