"""What the command line shows of language models."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import qeff

gguf = pytest.importorskip("gguf")


def run(*arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "qeff", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture
def quantized_gguf(tmp_path: Path) -> Path:
    """A llama of one layer whose matrices are in blocks of three kinds."""
    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(32)
    writer.add_embedding_length(64)
    writer.add_block_count(1)
    writer.add_feed_forward_length(96)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(50)
    kinds = gguf.GGMLQuantizationType
    random = np.random.default_rng(0)
    matrices = {
        "token_embd": (50, 64, kinds.Q8_0),
        "blk.0.attn_q": (64, 64, kinds.Q4_0),
        "blk.0.attn_k": (32, 64, kinds.Q4_1),
        "blk.0.attn_v": (32, 64, kinds.Q4_1),
        "blk.0.attn_output": (64, 64, kinds.Q8_0),
        "blk.0.ffn_gate": (96, 64, kinds.Q4_0),
        "blk.0.ffn_up": (96, 64, kinds.Q4_0),
        "blk.0.ffn_down": (64, 96, kinds.F16),
    }
    for name, (rows, columns, kind) in matrices.items():
        values = random.standard_normal((rows, columns), dtype=np.float32)
        writer.add_tensor(f"{name}.weight", gguf.quantize(values, kind), raw_dtype=kind)
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(64, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_inspect_shows_how_the_tensors_of_a_gguf_are_stored(quantized_gguf: Path) -> None:
    document = json.loads(run("inspect", quantized_gguf, "--json").stdout)
    assert document["kind"] == "gguf"
    assert document["metadata"]["runs"] == "natively"
    shown = sorted((row["dtype"], row["shape"], row["nbytes"]) for row in document["tensors"])
    stored = gguf.GGUFReader(quantized_gguf).tensors
    assert shown == sorted(
        (t.tensor_type.name, [int(n) for n in reversed(t.shape)], int(t.n_bytes)) for t in stored
    )
    assert "Q4_1" in run("inspect", quantized_gguf).stdout


def test_inspect_shows_llama2c_files(shared: Path) -> None:
    path = shared / "data" / "llm" / "stories260K" / "stories260K.bin"
    document = json.loads(run("inspect", path, "--json").stdout)
    assert document["kind"] == "llama2.c"
    assert {row["dtype"] for row in document["tensors"]} == {"F32"}


def test_a_damaged_gguf_is_bad_input(quantized_gguf: Path) -> None:
    quantized_gguf.write_bytes(quantized_gguf.read_bytes()[:-100])
    assert "m.gguf" in run("inspect", quantized_gguf, code=3).stderr


def test_explain_lists_every_linear_of_a_language_model(llama: Path, tmp_path: Path) -> None:
    artifact = tmp_path / "tiny.qeff"
    qeff.QEFFAutoModelForCausalLM.from_pretrained(llama).compile(artifact, quantization="int4")
    layers = json.loads(run("explain", artifact, "--json").stdout)["layers"]
    assert layers == qeff.load(artifact).explain()
    assert sum(row["name"].startswith("layers.") or ".0." in row["name"] for row in layers) > 3
    assert all(qeff.cpu_info()["active"] in row["kernel"] for row in layers)
    assert layers[0]["name"] in run("explain", artifact).stdout
    of_directory = json.loads(run("explain", llama, "--scheme", "int4", "--json").stdout)["layers"]
    assert of_directory == layers
    assert "roof" in run("explain", artifact, "--measure", code=3).stderr
