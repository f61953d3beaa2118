"""Every code point, split pattern and behavior of a pre-tokenizer as in Hugging Face's tokenizers."""

import random
import sys
import unicodedata

import pytest
from bpe_pairs import Pair, assert_same

tokenizers = pytest.importorskip("tokenizers")
from tokenizers import Regex, models, normalizers, pre_tokenizers


def every_code_point():
    """All of the planes that have small scripts; of large blocks and empty planes every 61st."""
    large = ((0x3400, 0xA000), (0xAC00, 0xD7A4), (0xE000, 0xF900), (0x17000, 0x18D00))
    points = [
        c
        for c in range(0x20000)
        if c % 61 == 0 or not any(first <= c < end for first, end in large)
    ]
    points += [*range(0x2EBE0, 0x2EC00), *range(0x20000, sys.maxunicode + 1, 61)]
    return [chr(c) for c in points if not 0xD800 <= c < 0xE000]


def cut_by(pre_tokenizer, normalizer=None):
    """Every code point is a token, every piece begins with a mark: ids show the pieces."""
    vocab = {c: i for i, c in enumerate(sorted({*pre_tokenizers.ByteLevel.alphabet()}))}
    merges = [(a, b) for a in vocab for b in "abĠ" if b in vocab]
    for a, b in merges:
        vocab.setdefault(a + b, len(vocab))
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    return Pair.of(tokenizer)


BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


@pytest.mark.parametrize(
    "pattern", [r"[\p{L}]+", r"\p{Lu}|\p{M}+|\p{S}|\p{Lm}", r"\p{N}+|\p{P}", r"\w+|\s", r"\W\d"]
)
def test_every_code_point_has_the_category_of_the_reference(pattern):
    pair = cut_by(
        pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), BYTES])
    )
    points = every_code_point()
    assert_same(["a".join(["", *points[i : i + 64]]) for i in range(0, len(points), 64)], pair)


@pytest.mark.parametrize(
    "make",
    [
        lambda: pre_tokenizers.Digits(individual_digits=True),
        lambda: pre_tokenizers.Digits(individual_digits=False),
        pre_tokenizers.Whitespace,
        pre_tokenizers.WhitespaceSplit,
        pre_tokenizers.Punctuation,
    ],
)
def test_every_code_point_is_cut_as_in_the_reference(make):
    pair = cut_by(pre_tokenizers.Sequence([make(), BYTES]))
    points = every_code_point()
    assert_same(["a".join(["", *points[i : i + 64]]) for i in range(0, len(points), 64)], pair)


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD", "Lowercase"])
def test_every_code_point_is_normalized_as_in_the_reference(form):
    pair = cut_by(BYTES, getattr(normalizers, form)())
    points = every_code_point()
    texts = ["a".join(["", *points[i : i + 64]]) for i in range(0, len(points), 64)]
    marked = [
        f"{c}\u0323\u0301{c}" for c in points if unicodedata.category(c) in ("Mn", "Ll", "Lo")
    ]
    assert_same([*texts, *marked[::5], "\U00011935\U00011930"], pair)


BEHAVIORS = ["isolated", "removed", "merged_with_previous", "merged_with_next", "contiguous"]


@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize("behavior", BEHAVIORS)
@pytest.mark.parametrize("pattern", [Regex(r"\s+"), Regex("[ab]"), "b ", Regex("a*"), Regex("a?b")])
def test_every_behavior_of_split(pattern, behavior, invert):
    step = pre_tokenizers.Split(pattern, behavior, invert)
    pair = cut_by(pre_tokenizers.Sequence([step, BYTES]))
    rng = random.Random(2)
    assert_same(["".join(rng.choices("ab c", k=rng.randrange(12))) for _ in range(300)], pair)


PATTERNS = [
    r"(?:ab|a|b)+c?",
    r"a{2,3}|b{2}|c{,2}",
    r"a{1,2}+b",
    r"a++b|a",
    r"[^ab\s]?+b",
    r"(a|b)*c|b(?=a)",
    r"(?:a(?!b)|ba)",
    r"(?i:aB)|[b-c]+",
    r"(?i)AB|c",
    r".\n?",
    r"[[a]c]+",
    r"\x61\u0062|\x{63}",
    r"[\-\]a]+|\.",
    r"\P{L}|\p{^Ll}b|[^\P{L}a]",
    r"a|ab|abc",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_match_what_oniguruma_matches(pattern):
    step = pre_tokenizers.Split(Regex(pattern), "isolated")
    pair = cut_by(pre_tokenizers.Sequence([step, BYTES]))
    rng = random.Random(3)
    texts = ["".join(rng.choices("aabbcABC \n.-]é", k=rng.randrange(16))) for _ in range(400)]
    assert_same(texts, pair)
