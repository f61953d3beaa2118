"""Native decoders against transformers: tiny random models of every family."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from qeff import _core

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

VOCAB = 97
NONE = {"method": "none"}
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": None,
}
OTHER = {
    "vocab_size": VOCAB,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "max_position_embeddings": 128,
}


def rope(kind: str, **fields: object) -> dict[str, object]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 500.0, **fields}}


LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
FAMILIES = {
    "llama": ("Llama", SIZES),
    "llama_biases": ("Llama", SIZES | {"attention_bias": True, "mlp_bias": True, "head_dim": 20}),
    "llama_tied": ("Llama", SIZES | {"tie_word_embeddings": True}),
    "llama_rope_linear": ("Llama", SIZES | rope("linear", factor=2.0)),
    "llama_rope_llama3": (
        "Llama",
        SIZES | rope("llama3", original_max_position_embeddings=32, **LLAMA3),
    ),
    "llama_rope_yarn": (
        "Llama",
        SIZES | rope("yarn", factor=4.0, original_max_position_embeddings=32),
    ),
    "mistral": ("Mistral", SIZES | {"sliding_window": 17}),
    "qwen2": ("Qwen2", SIZES),
    "qwen2_window": (
        "Qwen2",
        SIZES | {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1},
    ),
    "qwen3": ("Qwen3", SIZES | {"head_dim": 32}),
    "smollm3": ("SmolLM3", SIZES | {"num_hidden_layers": 4}),
    "gemma": ("Gemma", SIZES | {"head_dim": 16}),
    "gemma2": (
        "Gemma2",
        SIZES | {"head_dim": 16, "sliding_window": 13, "query_pre_attn_scalar": 24},
    ),
    "gemma3_text": (
        "Gemma3Text",
        SIZES | {"head_dim": 16, "sliding_window": 13, "num_hidden_layers": 7},
    ),
    "phi3": ("Phi3", SIZES),
    "phi3_partial_rope": ("Phi3", SIZES | rope("default", partial_rotary_factor=0.5)),
    "gpt2": (
        "GPT2",
        {"vocab_size": VOCAB, "n_embd": 48, "n_layer": 2, "n_head": 3, "n_positions": 128},
    ),
    "opt": ("OPT", OTHER | {"ffn_dim": 96, "word_embed_proj_dim": 48}),
    "gpt_neox": ("GPTNeoX", OTHER | {"intermediate_size": 96}),
    "gpt_neox_sequential": (
        "GPTNeoX",
        OTHER | {"intermediate_size": 96, "use_parallel_residual": False},
    ),
}
IDS = np.random.default_rng(0).integers(2, VOCAB, 90).astype(np.int32)


def random_model(family: str, directory: Path):
    """A seeded model with weights large enough to make mistakes visible, saved to ``directory``."""
    name, sizes = FAMILIES[family]
    config = getattr(transformers, f"{name}Config")(**sizes)
    torch.manual_seed(7)
    model = transformers.AutoModelForCausalLM.from_config(
        config, attn_implementation="eager"
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * (0.3 if parameter.dim() == 1 else 0.15))
    model.save_pretrained(directory)
    return model


def compiled(directory: Path, config: dict[str, object] = NONE, calibration=None) -> _core.CausalLm:
    out = str(directory / "model.qeff")
    _core.compile_causal_lm(str(directory), out, config, calibration)
    return _core.CausalLm(out)


def logits_of(model: _core.CausalLm, step: int = 1000, **options: object) -> np.ndarray:
    session = _core.CausalSession(model, **options)
    steps = range(0, len(IDS), step)
    return np.concatenate([session.run([(0, IDS[i : i + step], True)]) for i in steps])


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_transformers_however_the_tokens_are_cut(
    family: str, tmp_path: Path
) -> None:
    reference = random_model(family, tmp_path)
    with torch.no_grad():
        expected = reference(torch.tensor(IDS[None].astype(np.int64))).logits[0].numpy()
    model = compiled(tmp_path)
    whole = logits_of(model, kv_cache="f32")
    np.testing.assert_allclose(whole, expected, rtol=0, atol=3e-5 * expected.std() * 3)
    assert np.array_equal(whole, logits_of(model, step=1, kv_cache="f32"))
    assert np.array_equal(whole, logits_of(model, step=7, kv_cache="f32"))
    for kv_cache, most in (("bf16", 0.02), ("int8", 0.06), ("int4", 0.5)):
        assert np.abs(logits_of(model, kv_cache=kv_cache) - expected).std() < most * expected.std()


@pytest.mark.parametrize("threads", [1, 2])
def test_a_sequence_does_not_see_its_neighbours(threads: int, tmp_path: Path) -> None:
    random_model("llama", tmp_path)
    out = str(tmp_path / "model.qeff")
    _core.compile_causal_lm(str(tmp_path), out, {"method": "affine", "bits": 8})
    model = _core.CausalLm(out, threads)
    session = _core.CausalSession(model, sequences=3)
    alone = session.run([(1, IDS[:40], True)])
    session.truncate(1, 0)
    together = session.run([(0, IDS[50:60], False), (1, IDS[:40], True), (2, IDS[3:9], False)])
    assert np.array_equal(alone, together[1:41])
    session.copy_prefix(1, 0, 30)
    assert session.length(0) == 30
    assert np.array_equal(session.run([(0, IDS[30:40], True)]), alone[30:])


@pytest.mark.parametrize(
    "config",
    [
        {"method": "affine", "bits": 8},
        {
            "method": "affine",
            "bits": 4,
            "group_size": 16,
            "symmetric": False,
            "activations": "int8",
        },
        {"method": "gptq", "bits": 4, "group_size": 16},
        {"method": "gptq", "bits": 4, "group_size": 16, "propagate": False},
        {"method": "autoround", "bits": 4, "group_size": 16, "iters": 3, "batch_size": 2},
        {"method": "awq", "bits": 4, "group_size": 16},
        {"method": "fp8"},
        {"method": "codebook"},
    ],
    ids=lambda config: "-".join(str(value) for value in config.values()),
)
@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt_neox", "phi3"])
def test_every_method_stays_close_to_float(
    family: str, config: dict[str, object], tmp_path: Path
) -> None:
    random_model(family, tmp_path)
    expected = logits_of(compiled(tmp_path), kv_cache="f32")
    rng = np.random.default_rng(1)
    calibration = (rng.integers(2, VOCAB, 40 * 16).astype(np.int32), np.arange(0, 641, 40))
    got = logits_of(compiled(tmp_path, config, calibration), kv_cache="f32")
    error = got - expected
    bits8 = config["method"] in ("fp8",) or config.get("bits") == 8
    assert error.std() < (0.1 if bits8 else 0.35) * expected.std()


def test_missing_tensors_are_named(tmp_path: Path) -> None:
    random_model("llama", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 5}))
    with pytest.raises(ValueError, match=r"layers\.2\.self_attn\.q_proj\.weight.*and more"):
        compiled(tmp_path)
    assert not (tmp_path / "model.qeff").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "bloom"}, 'model_type "bloom" has no native decoder'),
        ({"rope_parameters": {"rope_type": "longrope"}}, "longrope"),
        ({"hidden_act": "mish"}, 'hidden_act "mish" has no kernel'),
        ({"num_key_value_heads": 4}, "4 key/value heads do not divide 6 heads"),
        ({"layer_types": ["full_attention"]}, "layer_types has 1 entries for 2 layers"),
        ({"num_attention_heads": 1 << 20, "num_key_value_heads": 1, "head_dim": 1}, "more than"),
        ({"vocab_size": 98}, r"has shape \[97, 48\]; config.json asks for \[98, 48\]"),
    ],
)
def test_configs_without_a_native_form_say_why(
    change: dict[str, object], message: str, tmp_path: Path
) -> None:
    random_model("llama", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(ValueError, match=message):
        compiled(tmp_path)


def test_bad_chunks_are_refused_and_change_nothing(tmp_path: Path) -> None:
    random_model("llama", tmp_path)
    session = _core.CausalSession(compiled(tmp_path), sequences=2, ctx_len=50)
    session.run([(0, IDS[:20], False)])
    for chunks, message in (
        ([], "no chunks"),
        ([(0, IDS[:0], False)], "no token ids"),
        ([(2, IDS[:3], False)], "sequence 2 of 2"),
        ([(0, IDS[:3], False), (0, IDS[:3], False)], "is in chunk 0 too"),
        ([(0, IDS[:31], False)], "do not fit ctx_len 50"),
        ([(1, np.array([3, 97], np.int32), False)], "token id 97 at position 1"),
        ([(1, np.array([-1], np.int32), False)], "token id -1"),
    ):
        with pytest.raises(ValueError, match=message):
            session.run(chunks)
    assert session.length(0) == 20
    assert session.length(1) == 0
    with pytest.raises(ValueError, match="ctx_len 129 is more than the 128 positions"):
        _core.CausalSession(compiled(tmp_path), ctx_len=129)
