"""The commands of causal language models. cli.py registers them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="Hugging Face id or directory, a GGUF file, or a .qeff artifact."
    ),
]
Scheme = Annotated[
    str, typer.Option(help="int8, int4, awq, gptq, fp8, fp8_e5m2, nf4, fp4 or none.")
]
Cores = Annotated[int | None, typer.Option(help="Threads. Default: all.")]
CtxLen = Annotated[
    int | None, typer.Option(help="Tokens of prompt and text together. Default: up to 4096.")
]
KvCache = Annotated[str, typer.Option(help="bf16, int8 or f32.")]
MaxNewTokens = Annotated[int, typer.Option(help="Most tokens to generate.")]
Temperature = Annotated[float, typer.Option(help="0: always the most likely token.")]
TopK = Annotated[int, typer.Option(help="Sample from the k most likely tokens; 0: all.")]
TopP = Annotated[float, typer.Option(help="Sample from the tokens that hold this probability.")]
MinP = Annotated[float, typer.Option(help="Least probability, as a share of the largest.")]
Repetition = Annotated[float, typer.Option(help="Above 1 tokens seen before become less likely.")]
Seed = Annotated[int, typer.Option(help="Of the random numbers.")]
Stop = Annotated[list[str] | None, typer.Option(help="Text that ends the answer; repeatable.")]
Lookup = Annotated[
    int, typer.Option(help="Tokens to guess from the text so far and verify together; 0: none.")
]
TextFile = Annotated[Path, typer.Option(help="The text, UTF-8.")]
Context = Annotated[int, typer.Option(help="Tokens of a context; contexts do not overlap.")]
Tokens = Annotated[int | None, typer.Option(help="Use the first tokens only. Default: all.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def generate(
    model: Model,
    prompt: Annotated[str, typer.Option(help="Text to continue; - is standard input.")],
    max_new_tokens: MaxNewTokens = 128,
    temperature: Temperature = 0.0,
    top_k: TopK = 0,
    top_p: TopP = 1.0,
    min_p: MinP = 0.0,
    repetition_penalty: Repetition = 1.0,
    seed: Seed = 0,
    stop: Stop = None,
    prompt_lookup_num_tokens: Lookup = 0,
    scheme: Scheme = "int8",
    ctx_len: CtxLen = None,
    kv_cache: KvCache = "bf16",
    num_cores: Cores = None,
    as_json: Json = False,
) -> None:
    """Continue a text."""
    from . import cli_causal_work as work

    options = {
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "seed": seed,
        "stop": stop,
        "prompt_lookup_num_tokens": prompt_lookup_num_tokens,
    }
    runner = work.open_language_model(model, scheme, num_cores, ctx_len, kv_cache)
    work.generate(model, runner, prompt, options, as_json)


def chat(
    model: Model,
    system: Annotated[str | None, typer.Option(help="What the model is told first.")] = None,
    max_new_tokens: MaxNewTokens = 512,
    temperature: Temperature = 0.7,
    top_k: TopK = 0,
    top_p: TopP = 0.95,
    min_p: MinP = 0.0,
    repetition_penalty: Repetition = 1.0,
    seed: Seed = 0,
    scheme: Scheme = "int8",
    ctx_len: CtxLen = None,
    kv_cache: KvCache = "bf16",
    num_cores: Cores = None,
) -> None:
    """Talk to a model; /help lists the commands."""
    from . import cli_causal_work as work

    options = {
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "seed": seed,
    }
    runner = work.open_language_model(model, scheme, num_cores, ctx_len, kv_cache)
    work.Conversation(runner, options, system).talk()


def perplexity(
    model: Model,
    text: TextFile,
    ctx: Context = 512,
    tokens: Tokens = None,
    scheme: Scheme = "int8",
    kv_cache: KvCache = "bf16",
    num_cores: Cores = None,
    as_json: Json = False,
) -> None:
    """Perplexity of a text: exp of the mean loss of tokens 2 to CTX of each context."""
    from . import cli_causal_work as work

    runner = work.open_language_model(model, scheme, num_cores, None, kv_cache)
    work.perplexity(model, runner, text, ctx, tokens, as_json)


def kl(
    model: Model,
    reference: Annotated[
        str, typer.Argument(metavar="REFERENCE", help="The original; without quantization.")
    ],
    text: TextFile,
    ctx: Context = 512,
    tokens: Tokens = None,
    scheme: Scheme = "int8",
    kv_cache: KvCache = "bf16",
    num_cores: Cores = None,
    as_json: Json = False,
) -> None:
    """Mean KL(REFERENCE || MODEL) of the next token on a text, and how often both agree."""
    from . import cli_causal_work as work

    runner = work.open_language_model(model, scheme, num_cores, None, kv_cache)
    original = work.open_language_model(reference, "none", num_cores, None, kv_cache)
    work.kl(model, reference, runner, original, text, ctx, tokens, as_json)


def bench(
    model: Model,
    schemes: Annotated[str, typer.Option(help="Schemes to compile by, between commas.")] = "int8",
    tests: Annotated[
        str, typer.Option(help="Prompts (pp) and texts (tg) of so many tokens, between commas.")
    ] = "pp128,pp512,tg64",
    batch: Annotated[str, typer.Option(help="Sequences at once, between commas.")] = "1",
    kv_cache: Annotated[str, typer.Option(help="bf16, int8, f32, between commas.")] = "bf16",
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each.")] = 5,
    threads: Cores = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the table to a file.")] = None,
    as_json: Json = False,
) -> None:
    """Time a language model: tokens a second of prompts and texts."""
    from .bench import llm
    from .cli_work import emit

    options = llm.LlmOptions(
        tests=llm.parse_tests(tests, batch),
        schemes=tuple(part.strip() for part in schemes.split(",")),
        kv_caches=tuple(part.strip() for part in kv_cache.split(",")),
        rounds=rounds,
        threads=threads,
    )
    document = llm.bench_llm(model, options)
    if markdown is not None:
        markdown.write_text(llm.llm_markdown(document), encoding="utf-8")
    emit(document, as_json, lambda made: print(llm.llm_markdown(made), end=""))
