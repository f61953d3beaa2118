"""The same BPE tokenizer twice, of Hugging Face's tokenizers and ours, and how to compare them."""

import json
from dataclasses import dataclass
from typing import Any

import pytest
from qeff import _core

tokenizers = pytest.importorskip("tokenizers")
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers

CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = CL100K.replace(r"\p{N}{1,3}", r"\p{N}")
WORD = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]%s[\p{Ll}\p{Lm}\p{Lo}\p{M}]%s(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
O200K = (
    WORD % ("*", "+")
    + WORD % ("+", "*")
    + CL100K[CL100K.index(r"\p{N}{1,3}") :].replace(r"[\r\n]*", r"[\r\n/]*", 1)
)
DEEPSEEK = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SEEDS = ["<|im_start|>", "<|im_end|>"]


@dataclass
class Pair:
    """The same tokenizer twice."""

    reference: Any
    ours: Any

    @classmethod
    def of(cls, reference: Any) -> "Pair":
        return cls(reference, _core.BpeTokenizer.from_tokenizer_json(reference.to_str()))


def byte_level(pre_tokenizer, normalizer=None):
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer, pre_tokenizers.ByteLevel.alphabet()


def split(pattern):
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def sentence_piece(metaspace):
    tokenizer = tokenizers.Tokenizer(
        models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True)
    )
    if metaspace:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        strip = decoders.Metaspace(prepend_scheme="first")
        tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), strip])
    else:
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
        tokenizer.decoder = decoders.Sequence(
            [
                decoders.Replace("▁", " "),
                decoders.ByteFallback(),
                decoders.Fuse(),
                decoders.Strip(" ", 1, 0),
            ]
        )
    return tokenizer, [f"<0x{b:02X}>" for b in range(256)]


KINDS = {
    "gpt2": lambda: byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False)),
    "gpt2-prefix": lambda: byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True)),
    "llama3": lambda: byte_level(split(CL100K)),
    "o200k": lambda: byte_level(split(O200K)),
    "deepseek": lambda: byte_level(split(DEEPSEEK)),
    "qwen2": lambda: byte_level(split(QWEN2), normalizers.NFC()),
    "smollm": lambda: byte_level(
        pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
    ),
    "llama2": lambda: sentence_piece(metaspace=False),
    "metaspace": lambda: sentence_piece(metaspace=True),
}


def text_of(shared, name, size=None):
    return (shared / "data" / "text" / name).read_text(encoding="utf-8")[:size]


def trained(kind: str, corpus: str) -> Any:
    tokenizer, alphabet = KINDS[kind]()
    sentence = kind in ("llama2", "metaspace")
    special = ["<unk>", "<s>", "</s>", *alphabet] if sentence else SEEDS
    learner, _ = KINDS[kind]()
    if sentence:  # learned from words: pieces may otherwise reach over the whole line
        learner.normalizer = None
        learner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    learner.train_from_iterator(
        corpus.split("\n"),
        trainers.BpeTrainer(
            vocab_size=2000,
            special_tokens=special,
            initial_alphabet=[] if sentence else alphabet,
            show_progress=False,
        ),
    )
    # special tokens of the learning are words of the vocabulary; only SEEDS stay special
    model = json.loads(learner.to_str())
    document = json.loads(tokenizer.to_str())
    document["model"] |= {key: model["model"][key] for key in ("vocab", "merges")}
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(document))
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"] if sentence else SEEDS)
    return tokenizer


def assert_same(texts, pair, special=True):
    texts = list(texts)
    expected = [e.ids for e in pair.reference.encode_batch(texts, add_special_tokens=special)]
    got = [ids.tolist() for ids in pair.ours.encode_batch(texts, special)]
    different = [
        (t[:80], e[:40], g[:40]) for t, e, g in zip(texts, expected, got, strict=True) if e != g
    ]
    assert not different, f"{len(different)} texts differ, the first: {different[0]}"
    return got


def assert_same_text(rows, pair):
    for skip in (True, False):
        expected = pair.reference.decode_batch(rows, skip_special_tokens=skip)
        assert [pair.ours.decode(row, skip) for row in rows] == expected
        stream = pair.ours.stream(skip)
        for row, text in zip(rows, expected, strict=True):
            pieces = [stream.push(token) for token in row]
            pieces.append(stream.finish())
            assert "".join(pieces) == text
