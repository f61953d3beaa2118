"""What the commands of causal language models do, and how they show it."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from ._core import InvalidArgument, QeffError
from .causal import QEFFAutoModelForCausalLM
from .causal_generation import TextGenerator
from .causal_output import GenerationOutput
from .cli_work import Document, emit, show_facts

_HELP = """/reset          forget the conversation
/system TEXT    tell the model this first, from a new conversation on; without TEXT nothing
/stats          tokens and speed of the last answer
/help           this list
/exit           leave, as Ctrl-D does; Ctrl-C stops an answer"""


def open_language_model(
    model: str, scheme: str, num_cores: int | None, ctx_len: int | None, kv_cache: str
) -> TextGenerator:
    """A model ready to run: an artifact as it is, anything else compiled by ``scheme`` into the cache."""
    from .causal_native import resolve_language_model

    if resolve_language_model(model).is_artifact:
        options: dict[str, Any] = {"ctx_len": ctx_len, "kv_cache": kv_cache}
        return QEFFAutoModelForCausalLM.from_pretrained(
            model, num_cores=num_cores, **options
        ).session
    loaded = QEFFAutoModelForCausalLM.from_pretrained(model)
    loaded.compile(quantization=scheme, num_cores=num_cores, ctx_len=ctx_len, kv_cache=kv_cache)
    return loaded.session


def read_text(path: str) -> str:
    """A text file as it is; ``-`` is standard input."""
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"{path}: is not UTF-8 text (byte {error.start})") from error


def speeds(stats: Mapping[str, Any]) -> Document:
    """Statistics of one text with tokens a second; its first token belongs to the prefill."""
    facts = dict(stats)
    tokens = {"prefill": stats["prompt_tokens"], "decode": stats["generated_tokens"] - 1}
    for phase, count in tokens.items():
        seconds = stats[f"{phase}_seconds"]
        facts[f"{phase}_tokens_per_second"] = round(count / seconds, 2) if seconds else None
        facts[f"{phase}_seconds"] = round(seconds, 4)
    return facts


def generate(
    model: str, runner: TextGenerator, prompt: str, options: dict[str, Any], as_json: bool
) -> None:
    """``qeff generate``: the text as it comes, or a document."""
    text = read_text("-") if prompt == "-" else prompt
    if not as_json:
        for piece in runner.stream(text, **options):
            print(piece, end="", flush=True)
        print()
        return
    output = cast("GenerationOutput", runner.generate([text], details=True, **options))
    generated = output.texts[0]
    document = {
        "model": model,
        "artifact": str(runner.path),
        "prompt": text,
        "text": generated.text,
        "ids": generated.ids.tolist(),
        "finish_reason": generated.finish_reason,
        "stats": speeds(output.stats),
    }
    emit(document, True, show_facts)


def perplexity(
    model: str, runner: TextGenerator, text: Path, ctx: int, tokens: int | None, as_json: bool
) -> None:
    """``qeff eval perplexity``."""
    result = runner.perplexity(read_text(str(text)), ctx, tokens, progress=True)
    facts = {"model": model, "artifact": str(runner.path), "text": str(text), "ctx": ctx}
    emit(facts | result, as_json, show_facts)


def kl(
    model: str,
    reference: str,
    runner: TextGenerator,
    original: TextGenerator,
    text: Path,
    ctx: int,
    tokens: int | None,
    as_json: bool,
) -> None:
    """``qeff eval kl``."""
    result = runner.kl_divergence(original, read_text(str(text)), ctx, tokens, progress=True)
    parts = {name: result.pop(name) for name in ("model", "reference")}
    document = {
        "model": model,
        "reference": reference,
        "text": str(text),
        "ctx": ctx,
        **result,
        "perplexity": parts["model"]["perplexity"],
        "reference_perplexity": parts["reference"]["perplexity"],
        "predictions": parts["model"]["predictions"],
    }
    emit(document, as_json, show_facts)


class Conversation:
    """``qeff chat``: lines of the user, answers of the model."""

    def __init__(self, runner: TextGenerator, options: dict[str, Any], system: str | None) -> None:
        self._runner = runner
        self._options = options
        self._system = system
        self._turns: list[dict[str, str]] = []
        self._last: Document | None = None
        self._terminal = sys.stdin.isatty()
        runner.tokenizer.chat_template()  # an error now, not after the first line

    def talk(self) -> None:
        """Until the end of the input."""
        if self._terminal:
            if importlib.util.find_spec("readline") is not None:
                importlib.import_module("readline")  # input() gets history and editing
            print(f"{self._runner.path}: /help lists the commands, /exit leaves", file=sys.stderr)
        while (line := self._read()) is not None:
            if line.startswith("/"):
                if not self._command(line):
                    return
            elif line.strip():
                self._answer(line)

    def _read(self) -> str | None:
        try:
            return input("> " if self._terminal else "")
        except EOFError:
            return None
        except KeyboardInterrupt:
            print(file=sys.stderr)
            return "" if self._terminal else None

    def _command(self, line: str) -> bool:
        """Whether the conversation goes on."""
        name, _, rest = line.partition(" ")
        if name in ("/exit", "/quit"):
            return False
        if name in ("/reset", "/system"):
            self._turns = []
            if name == "/system":
                self._system = rest.strip() or None
        elif name == "/stats":
            show_facts(self._last or {"answers": 0})
        else:
            print(_HELP if name == "/help" else f"no command {name}; /help lists them")
        return True

    def _messages(self) -> list[dict[str, str]]:
        first = [{"role": "system", "content": self._system}] if self._system else []
        return first + self._turns

    def _answer(self, line: str) -> None:
        self._turns.append({"role": "user", "content": line})
        started = time.perf_counter()
        first = None
        text = ""
        pieces: Iterator[str] | None = None
        try:
            ids = self._runner.chat_ids(self._messages())
            pieces = self._runner.stream_ids(ids, self._options, self._keep)
            for piece in pieces:
                first = first or time.perf_counter() - started
                text += piece
                print(piece, end="", flush=True)
        except KeyboardInterrupt:
            print(" …", end="")
        except QeffError as error:
            self._turns.pop()
            print(f"qeff: {error}", file=sys.stderr)
            return
        finally:
            if pieces is not None:
                cast("Any", pieces).close()
        print()
        self._turns.append({"role": "assistant", "content": text})
        if self._last is not None and first is not None:
            self._last["seconds_to_first_text"] = round(first, 4)

    def _keep(self, output: GenerationOutput) -> None:
        facts = {"finish_reason": output.texts[0].finish_reason}
        self._last = facts | speeds(output.stats)
