"""The other libraries' side of llm.py: a process that answers with tokens a second.

Each line of stdin is a test, ``pp 512`` or ``tg 64``; each line of stdout its reply:
``{"tokens_per_second": ...}`` or ``{"failed": ...}``. The first reply is ``{"version": ...}``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

_START = 32  # tokens before a text that is timed
_SHORT = 8
_TRIES = 5


def prefill(model: Any, tokens: int) -> float:
    """Tokens a second of one prompt."""
    import torch

    ids = torch.randint(100, model.config.vocab_size, (1, tokens))
    started = time.perf_counter()
    model(input_ids=ids, attention_mask=torch.ones_like(ids))
    return tokens / (time.perf_counter() - started)


def decode(model: Any, tokens: int) -> float:
    """Tokens a second of one text: what a long one takes more than a short one."""
    import torch

    ids = torch.randint(100, model.config.vocab_size, (1, _START))

    def seconds(count: int) -> float:
        started = time.perf_counter()
        model.generate(ids, max_new_tokens=count, min_new_tokens=count, do_sample=False)
        return time.perf_counter() - started

    for _ in range(_TRIES):
        short = seconds(_SHORT)
        more = seconds(_SHORT + tokens) - short
        if more > 0:  # else something else ran during the short one
            return tokens / more
    raise RuntimeError(f"{tokens} tokens more took no time in {_TRIES} tries: the machine is busy")


def serve(load: Callable[[], tuple[Any, str]]) -> None:
    """Loads a model of the transformers interface and its library's version, then answers until stdin ends.

    What libraries print goes to stderr.
    """
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    os.environ["HF_HUB_OFFLINE"] = "1"

    def say(reply: dict[str, Any]) -> None:
        print(json.dumps(reply), file=replies, flush=True)

    try:
        model, version = load()
    except Exception as error:  # noqa: BLE001 - whatever a library raises becomes a reason
        say({"failed": f"{type(error).__name__}: {error}"[:200]})
        return
    say({"version": version})
    for line in sys.stdin:
        kind, tokens = line.split()
        try:
            say({"tokens_per_second": (prefill if kind == "pp" else decode)(model, int(tokens))})
        except Exception as error:  # noqa: BLE001 - likewise
            say({"failed": f"{type(error).__name__}: {error}"[:200]})
