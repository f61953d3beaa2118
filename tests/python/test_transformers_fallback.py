"""Models without a native description run through transformers with packed layers."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import qeff

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from qeff.integrations.modules import PackedEmbedding, PackedLinear


def t5() -> tuple[Any, dict[str, Any]]:
    config = transformers.T5Config(
        vocab_size=120,
        d_model=64,
        d_kv=16,
        d_ff=128,
        num_layers=2,
        num_heads=4,
        decoder_start_token_id=0,
    )
    return transformers.T5EncoderModel(config), text_inputs(120)


def gpt2() -> tuple[Any, dict[str, Any]]:
    config = transformers.GPT2Config(vocab_size=130, n_positions=32, n_embd=64, n_layer=2, n_head=4)
    return transformers.GPT2Model(config), text_inputs(130)


def vit() -> tuple[Any, dict[str, Any]]:
    config = transformers.ViTConfig(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        image_size=32,
        patch_size=8,
    )
    return transformers.ViTModel(config), {"pixel_values": torch.randn(2, 3, 32, 32)}


def whisper() -> tuple[Any, dict[str, Any]]:
    config = transformers.WhisperConfig(
        vocab_size=100,
        num_mel_bins=16,
        d_model=64,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=128,
        decoder_ffn_dim=128,
        max_source_positions=20,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    return transformers.WhisperModel(config).get_encoder(), {
        "input_features": torch.randn(2, 16, 40)
    }


def text_inputs(vocabulary: int) -> dict[str, Any]:
    ids = torch.randint(3, vocabulary, (3, 12))
    mask = torch.ones_like(ids)
    mask[1, 7:] = 0
    return {"input_ids": ids, "attention_mask": mask}


MODELS = {"t5": t5, "gpt2": gpt2, "vit": vit, "whisper": whisper}


def make(name: str) -> tuple[Any, dict[str, Any]]:
    torch.manual_seed(1)
    model, inputs = MODELS[name]()
    return model.eval(), inputs


def states(model: Any, inputs: dict[str, Any]) -> np.ndarray:
    with torch.no_grad():
        return model(**inputs).last_hidden_state.numpy()


def mean_cosine(a: np.ndarray, b: np.ndarray, mask: Any = None) -> float:
    a, b = a.reshape(-1, a.shape[-1]), b.reshape(-1, b.shape[-1])
    cosine = (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))
    return float(cosine.mean() if mask is None else cosine[mask.reshape(-1).astype(bool)].mean())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("scheme", "least"), [("int8", 0.999), ("fp8", 0.998), ("nf4", 0.97), ("int4", 0.95)]
)
def test_outputs_stay_close_to_float(name: str, scheme: str, least: float, tmp_path: Path) -> None:
    model, inputs = make(name)
    expected = states(model, inputs)
    packed = qeff.QEFFAutoModel.from_model(model)
    path = packed.compile(tmp_path / "m.qeff", quantization=scheme, progress=False)
    got = packed.generate(inputs)
    assert isinstance(got, torch.Tensor)
    assert got.shape == expected.shape
    mask = inputs.get("attention_mask")
    assert mean_cosine(got.numpy(), expected, None if mask is None else mask.numpy()) > least
    assert Path(path).stat().st_size > 0


@pytest.mark.parametrize("name", MODELS)
def test_weights_are_stored_packed_and_no_float_copy_is_kept(name: str, tmp_path: Path) -> None:
    model, _ = make(name)
    shapes = {n: tuple(p.shape) for n, p in model.named_parameters()}
    matrices = sum(int(np.prod(s)) for n, s in shapes.items() if len(s) == 2)
    packed = qeff.QEFFAutoModel.from_model(model)
    packed.compile(tmp_path / "m.qeff", quantization="int8", progress=False)
    gc.collect()
    layers = [m for m in model.modules() if isinstance(m, PackedLinear | PackedEmbedding)]
    assert any(isinstance(m, PackedLinear) for m in layers)
    plain = [m for m in model.modules() if type(m) in (torch.nn.Linear, torch.nn.Embedding)]
    assert not plain
    assert "Conv1D" not in {type(m).__name__ for m in model.modules()}
    for layer in layers:
        assert not list(layer.parameters())
    unique = {id(getattr(m, "packed", m)): getattr(m, "packed", m).nbytes for m in layers}
    kept = sum(p.numel() for n, p in model.named_parameters() if p.dim() == 2)
    floats = 4 * (matrices - kept)
    # One byte a weight, a float scale a row, and rows padded to 64 columns and 16 rows.
    assert sum(unique.values()) < 0.45 * floats


@pytest.mark.parametrize("scheme", ["gptq", "awq"])
def test_calibrated_schemes_look_at_the_inputs(scheme: str, tmp_path: Path) -> None:
    model, inputs = make("vit")
    expected = states(model, inputs)
    packed = qeff.QEFFAutoModel.from_model(model)
    batches = [{"pixel_values": torch.randn(4, 3, 32, 32)} for _ in range(4)]
    config = qeff.GPTQConfig(group_size=32) if scheme == "gptq" else qeff.AWQConfig(group_size=32)
    packed.compile(tmp_path / "m.qeff", quantization=config, calibration=batches, progress=False)
    assert mean_cosine(packed.generate(inputs).numpy(), expected) > 0.99


def test_calibration_of_a_model_without_text_must_be_given() -> None:
    model, _ = make("vit")
    with pytest.raises(ValueError, match="does not read text: give calibration="):
        qeff.QEFFAutoModel.from_model(model).compile(quantization="gptq", progress=False)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("scheme", ["int8", "nf4"])
def test_the_artifact_gives_the_same_outputs(name: str, scheme: str, tmp_path: Path) -> None:
    model, inputs = make(name)
    packed = qeff.QEFFAutoModel.from_model(model)
    path = packed.compile(tmp_path / "m.qeff", quantization=scheme, progress=False)
    again = qeff.load(path)
    np.testing.assert_array_equal(again.generate(inputs).numpy(), packed.generate(inputs).numpy())
    numpy_inputs = {key: value.numpy() for key, value in inputs.items()}
    result = again.generate(numpy_inputs)
    assert isinstance(result, np.ndarray)
    assert [row["bytes"] for row in again.explain()] == [row["bytes"] for row in packed.explain()]


def test_a_directory_runs_through_transformers_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, inputs = make("t5")
    expected = states(model, inputs)
    model.save_pretrained(tmp_path / "t5")
    loaded = qeff.QEFFAutoModel.from_pretrained(tmp_path / "t5", pooling="mean")
    assert "running it through transformers and torch" in caplog.text
    loaded.compile(quantization="int8", progress=False)
    got = loaded.generate(inputs).numpy()
    weights = inputs["attention_mask"].numpy()[..., None]
    assert got.shape == (3, 64)
    assert mean_cosine(got, (expected * weights).sum(1) / weights.sum(1)) > 0.999
    assert {row["scheme"] for row in loaded.report} == {"int8", "i8 rows"}


def test_tied_weights_share_their_packed_form(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=130, n_positions=32, n_embd=64, n_layer=1, n_head=4)
    model = transformers.GPT2LMHeadModel(config).eval()
    inputs = {"input_ids": torch.randint(0, 130, (2, 9))}
    with torch.no_grad():
        expected = model(**inputs).logits.numpy()
    packed = qeff.QEFFAutoModel.from_model(model)
    path = packed.compile(tmp_path / "m.qeff", quantization="int8", progress=False)
    assert isinstance(model.lm_head, PackedLinear)
    got = packed.generate(inputs).numpy()
    assert mean_cosine(got, expected) > 0.999
    np.testing.assert_array_equal(qeff.load(path).generate(inputs).numpy(), got)


def test_a_packed_weight_looks_like_the_float_one() -> None:
    layer = torch.nn.Linear(48, 20)
    expected = layer.weight.detach().clone()
    holder = torch.nn.Sequential(layer)
    from qeff.config import AffineConfig
    from qeff.integrations.replace import replace_modules

    replace_modules(holder, AffineConfig(), {}, 1, False, lambda *_: None)
    weight = holder[0].weight
    assert weight.shape == (20, 48)
    assert weight.dtype == torch.float32
    assert torch.allclose(weight + 0, expected, atol=float(expected.abs().max()) / 254 * 1.001)
    with pytest.raises(qeff.Unsupported, match="in place"):
        weight.mul_(2)
    with pytest.raises(RuntimeError, match="for inference"):
        holder(torch.randn(2, 48, requires_grad=True))
    half = holder(torch.randn(2, 48, dtype=torch.bfloat16))
    assert half.dtype == torch.bfloat16


def test_nan_weights_are_named(tmp_path: Path) -> None:
    model, _ = make("vit")
    name, layer = [(n, m) for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)][-1]
    with torch.no_grad():
        layer.weight[3, 5] = float("nan")
    with pytest.raises(ValueError, match=rf"^{name}: .*(nan|NaN)"):
        qeff.QEFFAutoModel.from_model(model).compile(
            tmp_path / "m.qeff", quantization="int8", progress=False
        )
    assert not list(tmp_path.iterdir())
