"""Those who take turns: one interface, in this process or in a worker process of their own."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from .._core import QeffError
from .worker import Bench, load_function, reason_of

__all__ = ["Contender", "Failed", "Handle", "LocalHandle", "ProcessHandle", "open_handle"]

Facts = dict[str, Any]
PREPARE_TIMEOUT_S = 900.0
SLICE_TIMEOUT_S = 300.0
EXIT_TIMEOUT_S = 2.0
_LOOK_EVERY_S = 1.0


class Failed(QeffError):  # noqa: N818 - a contender that has failed, not an error of qeff
    """A contender cannot do a case; the message is the reason."""


@dataclass(frozen=True)
class Contender:
    """A way to do the work.

    Attributes:
        name: as tables show it, e.g. ``"ONNX Runtime int8"``.
        library: whose it is; ``"qeff"`` is this library.
        provider: module or Python file, see ``worker.py``.
        function: of the provider.
        precision: name of the tolerance its results are held to.
        arguments: handed to the function.
        formats: names of the cases it takes part in; empty: all.
        held: whether it uses no more than the instruction set that was asked for.
    """

    name: str
    library: str
    provider: str
    function: str
    precision: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    formats: tuple[str, ...] = ()
    held: bool = True

    def takes(self, case_format: str) -> bool:
        """Whether it takes part in cases of a format."""
        return not self.formats or case_format in self.formats


class Handle(Protocol):
    """A contender ready to be asked."""

    def prepare(self, case: Facts) -> Facts: ...
    def slice(self, seconds: float) -> Facts: ...
    def close(self) -> None: ...


class LocalHandle:
    """A contender in this process."""

    def __init__(self, contender: Contender) -> None:
        try:
            provider = load_function(contender.provider, contender.function)
        except Exception as error:
            raise Failed(reason_of(error)) from error
        self._bench = Bench(provider, dict(contender.arguments))

    def prepare(self, case: Facts) -> Facts:
        """See ``worker.Bench.prepare``."""
        try:
            return self._bench.prepare(case)
        except Exception as error:
            raise Failed(reason_of(error)) from error

    def slice(self, seconds: float) -> Facts:
        """See ``worker.Bench.slice``."""
        try:
            return self._bench.slice(seconds)
        except Exception as error:
            raise Failed(reason_of(error)) from error

    def close(self) -> None:
        """Nothing to end."""


class ProcessHandle:
    """A contender in a process of its own, which sleeps when it is not its turn."""

    def __init__(self, contender: Contender, python: str, environment: Mapping[str, str]) -> None:
        command = [python, str(Path(__file__).with_name("worker.py"))]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **environment},
            )
        except OSError as error:
            raise Failed(f"{python}: {error.strerror}") from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._replies = self._process.stdin, self._process.stdout
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._replies, selectors.EVENT_READ)
        opening = {
            "do": "open",
            "provider": contender.provider,
            "function": contender.function,
            "arguments": dict(contender.arguments),
        }
        try:
            self._ask(opening, PREPARE_TIMEOUT_S)
        except Failed:
            self.close()
            raise

    def _died(self) -> Failed:
        self.close()
        return Failed(f"its process ended with code {self._process.returncode}")

    def _await_reply(self, timeout: float) -> None:
        """Waits. That the process is gone shows in no end of file if it has left children."""
        end = time.monotonic() + timeout
        while not self._selector.select(_LOOK_EVERY_S):
            if self._process.poll() is not None:
                raise self._died()
            if time.monotonic() > end:
                self.close()
                raise Failed(f"no answer in {timeout:.0f} s")

    def _ask(self, request: Facts, timeout: float) -> Facts:
        """One request and its reply, which is one line."""
        try:
            self._requests.write(json.dumps(request).encode() + b"\n")
            self._requests.flush()
        except (OSError, ValueError) as error:
            raise self._died() from error
        self._await_reply(timeout)
        line = self._replies.readline()
        if not line:
            raise self._died()
        reply: Facts = json.loads(line)
        if "failed" in reply:
            raise Failed(reply["failed"])
        return reply

    def prepare(self, case: Facts) -> Facts:
        """See ``worker.Bench.prepare``."""
        return self._ask({"do": "prepare", "case": case}, PREPARE_TIMEOUT_S)

    def slice(self, seconds: float) -> Facts:
        """See ``worker.Bench.slice``."""
        return self._ask({"do": "slice", "seconds": seconds}, SLICE_TIMEOUT_S + seconds)

    def close(self) -> None:
        """Ends the process."""
        if self._requests.closed:
            return
        self._selector.close()
        try:
            self._requests.close()  # the worker ends with its stdin
            self._process.wait(timeout=EXIT_TIMEOUT_S)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._replies.close()


def open_handle(
    contender: Contender,
    *,
    own_process: bool,
    peers_python: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Handle:
    """A contender ready to be asked.

    Args:
        own_process: whether it gets a process.
        peers_python: the interpreter of other libraries; None: this one.
        environment: variables for the process.

    Raises:
        Failed: its library cannot be loaded.
    """
    if not own_process:
        return LocalHandle(contender)
    python = sys.executable if contender.library == "qeff" else peers_python or sys.executable
    return ProcessHandle(contender, python, environment or {})
