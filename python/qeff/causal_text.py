"""Text of causal language models: token ids and back, chat templates, stop strings."""

from __future__ import annotations

import datetime
import importlib.util
import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from . import _core
from ._core import FormatError, InvalidArgument, QeffError, Unsupported

__all__ = ["LanguageTokenizer", "Message", "StopFilter", "TextStream"]

Message = Mapping[str, Any]
"""A turn of a conversation: ``{"role": "user", "content": "..."}``."""

_SEAM = 4  # tokens of the prompt that tell how the text goes on
_SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token")


class TextStream(Protocol):
    """Ids one by one to text: only what is certain, whole characters."""

    def push(self, id: int) -> str: ...
    def finish(self) -> str: ...


class _Codec(Protocol):
    def encode(self, text: str, add_special_tokens: bool = True) -> Any: ...
    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str: ...
    def stream(self, skip_special_tokens: bool = True) -> TextStream: ...
    def token_id(self, token: str) -> int | None: ...


class _RustStream:
    """Decodes what is new together with a few tokens before it; waits for whole characters."""

    def __init__(self, codec: _RustCodec, skip_special_tokens: bool) -> None:
        self._codec = codec
        self._skip = skip_special_tokens
        self._ids: list[int] = []
        self._told = 0  # ids whose text has been handed out

    def _text(self, count: int | None) -> str:
        return self._codec.decode(self._ids[:count], self._skip)

    def push(self, id: int) -> str:
        self._ids.append(id)
        before, now = self._text(self._told), self._text(None)
        if len(now) <= len(before) or now.endswith("\ufffd"):
            return ""
        start = max(0, self._told - 8)
        self._ids, self._told = self._ids[start:], len(self._ids) - start
        return now[len(before) :]

    def finish(self) -> str:
        rest = self._text(None)[len(self._text(self._told)) :]
        self._ids, self._told = [], 0
        return rest


class _RustCodec:
    """The package tokenizers."""

    def __init__(self, description: str) -> None:
        import tokenizers

        self._tokenizer = tokenizers.Tokenizer.from_str(description)
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def encode(self, text: str, add_special_tokens: bool = True) -> Any:
        return self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        text = self._tokenizer.decode(list(ids), skip_special_tokens=skip_special_tokens)
        return str(text)

    def stream(self, skip_special_tokens: bool = True) -> TextStream:
        return _RustStream(self, skip_special_tokens)

    def token_id(self, token: str) -> int | None:
        found = self._tokenizer.token_to_id(token)
        return None if found is None else int(found)


def _json(files: Mapping[str, str], name: str, owner: str) -> dict[str, Any]:
    try:
        document = json.loads(files.get(name, "{}"))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{owner}: {name} is not JSON ({error})") from error
    if not isinstance(document, dict):
        raise FormatError(f"{owner}: {name} is not a JSON object")
    return document


def _content(token: Any) -> str:
    """A special token is written as text or as an object with its content."""
    if isinstance(token, Mapping):
        token = token.get("content")
    return token if isinstance(token, str) else ""


def _make_codec(files: Mapping[str, str], settings: Mapping[str, Any], owner: str) -> _Codec:
    if "tokenizer.json" not in files:
        raise Unsupported(f"{owner}: has no tokenizer.json; pass token ids instead of text")
    flags = [settings.get(name) for name in ("add_bos_token", "add_eos_token")]
    bos, eos = (flag if isinstance(flag, bool) else None for flag in flags)
    try:
        return _core.BpeTokenizer.from_tokenizer_json(
            files["tokenizer.json"],
            add_bos=bos,
            add_eos=eos,
            bos_token=_content(settings.get("bos_token")),
            eos_token=_content(settings.get("eos_token")),
        )
    except Unsupported:
        if importlib.util.find_spec("tokenizers") is None:
            raise
        return _RustCodec(files["tokenizer.json"])


def _as_ids(value: Any) -> list[int]:
    values = value if isinstance(value, list) else [value]
    return [v for v in values if isinstance(v, int) and not isinstance(v, bool)]


class LanguageTokenizer:
    """The tokenizer, the special tokens and the chat template in a model's files.

    Attributes:
        special_tokens: name → text, of those the model has: ``bos_token``, ``eos_token``, …
        eos_ids: tokens that end a text.
        model_config: the model's config.json.
    """

    def __init__(self, files: Mapping[str, str], owner: str) -> None:
        self._files = files
        self._owner = owner
        self._settings = _json(files, "tokenizer_config.json", owner)
        named = _json(files, "special_tokens_map.json", owner) | self._settings
        tokens = {name: _content(named.get(name)) for name in _SPECIAL_TOKENS}
        self.special_tokens = {name: text for name, text in tokens.items() if text}
        self._codec: _Codec | None = None
        self.model_config = _json(files, "config.json", owner)
        self.eos_ids = self._find_eos_ids()

    @property
    def codec(self) -> _Codec:
        """Raises ValueError: the model has no tokenizer, or none of a kind that works here."""
        if self._codec is None:
            self._codec = _make_codec(self._files, self._settings, self._owner)
        return self._codec

    def _find_eos_ids(self) -> list[int]:
        for name in ("generation_config.json", "config.json"):
            found = _as_ids(_json(self._files, name, self._owner).get("eos_token_id"))
            if found:
                return found
        if "eos_token" in self.special_tokens and "tokenizer.json" in self._files:
            found_id = self.codec.token_id(self.special_tokens["eos_token"])
            return [] if found_id is None else [found_id]
        return []

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """Ids of a text."""
        return [int(i) for i in self.codec.encode(text, add_special_tokens)]

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Text of ids."""
        return self.codec.decode([int(i) for i in ids], skip_special_tokens)

    def stream(self, prompt: Sequence[int] = ()) -> TextStream:
        """A decoder for ids that come one by one after a prompt, with the space between them."""
        stream = self.codec.stream(True)
        for id in prompt[-_SEAM:]:
            stream.push(int(id))
        return stream

    def continuation(self, prompt: Sequence[int], ids: Sequence[int]) -> str:
        """Text of ids that follow a prompt."""
        stream = self.stream(prompt)
        return "".join([*(stream.push(int(id)) for id in ids), stream.finish()])

    def ids(self, texts: Sequence[str], max_length: int) -> list[list[int]]:
        """As :class:`qeff.tokenization.TextTokenizer` has it."""
        return [self.encode(text)[:max_length] for text in texts]

    def chat_template(self) -> str:
        """The source of the chat template. Raises ValueError: the model has none."""
        template: Any = self._files.get("chat_template.jinja") or self._settings.get(
            "chat_template"
        )
        if isinstance(template, list):  # several named ones
            named = {t.get("name"): t.get("template") for t in template if isinstance(t, Mapping)}
            template = named.get("default")
        if not isinstance(template, str) or not template:
            raise Unsupported(
                f"{self._owner}: has no chat template; generate from a prompt instead"
            )
        return template

    def render_chat(self, messages: Sequence[Message], add_generation_prompt: bool = True) -> str:
        """The prompt of a conversation by the model's chat template, in a sandbox.

        Raises:
            ValueError: no template, a message without a role, or what the template refuses.
        """
        for index, message in enumerate(messages):
            if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
                raise InvalidArgument(f"messages[{index}] must be a dict with a role and a content")
        return _render(
            self.chat_template(),
            self._owner,
            messages=[dict(message) for message in messages],
            add_generation_prompt=add_generation_prompt,
            tools=None,
            documents=None,
            **self.special_tokens,
        )


def _refuse(message: str) -> None:
    raise InvalidArgument(f"the chat template refuses: {message}")


def _to_json(value: Any, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=False, **options)


def _render(template: str, owner: str, **variables: Any) -> str:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    try:
        return environment.from_string(template).render(**variables)
    except (QeffError, MemoryError):
        raise
    except Exception as error:  # the template is a program: it can raise anything
        raise FormatError(f"{owner}: the chat template does not work: {error}") from error


class StopFilter:
    """Cuts a text that arrives in pieces before the first stop string.

    Attributes:
        stopped: a stop string was found; nothing comes any more.
    """

    def __init__(self, strings: Sequence[str]) -> None:
        self._strings = strings
        self._held = ""
        self.stopped = False

    def push(self, piece: str) -> str:
        """What is certain not to begin a stop string."""
        if self.stopped:
            return ""
        self._held += piece
        places = [place for s in self._strings if (place := self._held.find(s)) >= 0]
        if places:
            self.stopped = True
            text, self._held = self._held[: min(places)], ""
            return text
        keep = max((self._overlap(s) for s in self._strings), default=0)
        text, self._held = (
            self._held[: len(self._held) - keep],
            self._held[len(self._held) - keep :],
        )
        return text

    def _overlap(self, string: str) -> int:
        """The longest end of the held text with which the string begins."""
        longest = min(len(string) - 1, len(self._held))
        return next((n for n in range(longest, 0, -1) if self._held.endswith(string[:n])), 0)

    def finish(self) -> str:
        """What was held back."""
        text, self._held = self._held, ""
        return text
