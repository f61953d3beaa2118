"""WordPiece gives the ids of the model's own tokenizer, for every text."""

import csv
import random
import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qeff import _core

tokenizers = pytest.importorskip("tokenizers")

ALL = 1 << 20


@pytest.fixture(scope="module")
def reference(minilm):
    tokenizer = tokenizers.Tokenizer.from_file(str(minilm / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


@pytest.fixture(scope="module")
def ours(minilm):
    return _core.WordPiece.from_tokenizer_json(
        (minilm / "tokenizer.json").read_text(encoding="utf-8")
    )


@pytest.fixture(scope="module")
def from_vocab(minilm):
    return _core.WordPiece.from_vocab((minilm / "vocab.txt").read_text(encoding="utf-8"))


def assert_same(texts, reference, *ours):
    texts = list(texts)
    expected = [encoding.ids for encoding in reference.encode_batch(texts)]
    for tokenizer in ours:
        got = tokenizer.encode(texts, ALL)
        different = [
            (t, e, list(g)) for t, e, g in zip(texts, expected, got, strict=True) if e != g.tolist()
        ]
        assert not different, f"{len(different)} texts differ, the first: {different[0]}"


def sts_sentences(shared):
    for split in ("train", "dev", "test"):
        with open(
            shared / "data" / "sts" / f"stsb-en-{split}.csv", encoding="utf-8", newline=""
        ) as file:
            for row in csv.reader(file):
                yield from row[:2]


def test_ids_equal_on_every_sentence_of_sts_b(shared, reference, ours, from_vocab):
    sentences = list(sts_sentences(shared))
    assert len(sentences) == 17256
    assert_same(sentences, reference, ours, from_vocab)


def test_ids_equal_on_wikitext(shared, reference, ours):
    assert_same(
        (shared / "data/text/wiki.test.raw").read_text(encoding="utf-8").split("\n"),
        reference,
        ours,
    )


HOSTILE = [
    "",
    " ",
    "\0",
    "\0a\0b",
    "\ufffd",
    "x" * 100,
    "x" * 101,
    "a" * 10_000,
    "é" * 100,
    "é" * 101,
    "e\u0301" * 60,
    "[CLS] [SEP][MASK][UNK][PAD] [cls] [ CLS ]",
    "[[CLS]] [CLS",
    "日本語 한국어 ﬁ 𠀀𪜀",
    "👨‍👩‍👧‍👦 👍🏽 🇩🇪",
    "שלום עולם مرحبا \u202eabc\u202c",
    "ſ İ ẞ ǅ Σας ΑΣ ǰ Å \u212b",
    "a\u0300\u0323\u0301 \u0323\u0300 q\u0307\u0323",
    "tab\tnew\nline\r\u2028\u2029\u0085\u00a0\u3000\u200b\u200d\u2060\ufeff end",
    "don't $5.00 a_b-c/d\\e ``quoted'' ¿qué? „so“ …",
    "\U0010ffff \ue000 \U000e0001",
]


def test_ids_equal_on_hostile_texts(reference, ours, from_vocab):
    assert_same(HOSTILE, reference, ours, from_vocab)


def test_every_code_point_is_treated_alike(reference, ours):
    """Eight words a text: a difference of any code point changes the ids of its text."""
    points = [chr(c) for c in range(sys.maxunicode + 1) if not 0xD800 <= c < 0xE000]
    rare = {"Cn", "Co"}
    points = [c for i, c in enumerate(points) if unicodedata.category(c) not in rare or i % 16 == 0]
    texts = [" ".join(f"a{c}b" for c in points[i : i + 8]) for i in range(0, len(points), 8)]
    assert_same(texts, reference, ours)


def test_ids_equal_on_random_mixtures(reference, ours):
    rng = random.Random(0)
    marks = [
        chr(c)
        for c in range(0x3100)
        if unicodedata.category(chr(c)) in ("Mn", "Mc", "Cf", "Po", "Lo")
    ]
    pools = [
        "abc ABC.,!\t",
        marks,
        ["[CLS]", "[MASK]", "[", "##"],
        [chr(c) for c in range(0x20, 0x2FFF)],
    ]
    texts = [
        "".join(rng.choice(rng.choice(pools)) for _ in range(rng.randrange(24)))
        for _ in range(5000)
    ]
    assert_same(texts, reference, ours)


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=60))
def test_ids_equal_on_any_text(text, reference, ours):
    assert_same([text], reference, ours)


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("accents", [None, True, False])
@pytest.mark.parametrize("chinese", [True, False])
def test_every_switch_does_what_it_does_in_the_reference(lower, accents, chinese, minilm):
    vocab = (minilm / "vocab.txt").read_text(encoding="utf-8")
    words = {token: i for i, token in enumerate(vocab.split("\n")) if token}
    model = tokenizers.models.WordPiece(words, unk_token="[UNK]", max_input_chars_per_word=100)
    reference = tokenizers.Tokenizer(model)
    reference.normalizer = tokenizers.normalizers.BertNormalizer(
        lowercase=lower, strip_accents=accents, handle_chinese_chars=chinese
    )
    reference.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    reference.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 102), ("[CLS]", 101))
    reference.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    ours = _core.WordPiece.from_vocab(
        vocab, do_lower_case=lower, strip_accents=accents, tokenize_chinese_chars=chinese
    )
    saved = _core.WordPiece.from_tokenizer_json(reference.to_str())
    assert_same([*HOSTILE, "Café CAFÉ naïve", "中文字符 中a文"], reference, ours, saved)


@pytest.mark.parametrize("max_tokens", [2, 3, 7, 128])
def test_truncation_is_the_reference_s(max_tokens, reference, ours):
    text = "The quick brown fox jumps over unbelievably lazy dogs, again and again. " * 30
    copy = tokenizers.Tokenizer.from_str(reference.to_str())
    copy.enable_truncation(max_tokens)
    assert ours.encode([text], max_tokens)[0].tolist() == copy.encode(text).ids


def test_bytes_that_are_not_utf8_are_read_as_python_replaces_them(reference, ours):
    rng = random.Random(1)
    texts = [
        bytes(rng.choice(b"ab \xc3\xa9\xe6\x97\xa5\xf0\x9f\xff\x80") for _ in range(20))
        for _ in range(2000)
    ]
    expected = [reference.encode(text.decode("utf-8", "replace")).ids for text in texts]
    assert [ids.tolist() for ids in ours.encode(texts, ALL)] == expected
    assert ours.encode(["\ud800a"], ALL)[0].tolist() == reference.encode("a").ids


def test_accessors(ours, from_vocab):
    assert (ours.vocab_size, ours.unknown_id, ours.pad_id) == (30522, 100, 0)
    assert (ours.prefix_ids, ours.suffix_ids) == ([101], [102])
    assert (ours.max_length, from_vocab.max_length) == (128, None)
    assert (ours.token_to_id("##ing"), ours.token_to_id("no such token")) == (2075, None)
    assert ours.encode(["hello"], 8)[0].dtype == np.int32


def test_wrong_arguments_are_typed_errors(ours):
    with pytest.raises(ValueError, match="max_tokens is 1, the template alone takes 2"):
        ours.encode(["a"], 1)
    with pytest.raises(TypeError, match="str or bytes"):
        ours.encode([1], 8)
    with pytest.raises(ValueError, match=r"vocab\.txt: has no token"):
        _core.WordPiece.from_vocab("a\nb\n")
    with pytest.raises(ValueError, match="model of type BPE"):
        _core.WordPiece.from_tokenizer_json('{"model": {"type": "BPE"}}')
