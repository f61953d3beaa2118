"""QEFFAutoModelForCausalLM: find a language model, compile it, generate with it."""

from __future__ import annotations

import errno
import inspect
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ._core import InvalidArgument, IoError, Unsupported
from .causal_fallback import check_recipe, check_session_options, check_source, note
from .causal_generation import TextGenerator
from .causal_native import (
    CausalRequest,
    compile_causal,
    resolve_language_model,
    why_no_native_form,
)
from .causal_options import check_compile_options, check_sizes
from .causal_text import Message
from .cpu import thread_count
from .progress import Callback
from .report import Report
from .resolve import ModelSource
from .schemes import Quantization, resolve_language_model_config
from .session import LANGUAGE_MODEL_KINDS, artifact_kind, load

__all__ = ["QEFFAutoModelForCausalLM"]


class QEFFAutoModelForCausalLM:
    """A model that continues text.

        model = QEFFAutoModelForCausalLM.from_pretrained("HuggingFaceTB/SmolLM2-135M-Instruct")
        model.compile(num_cores=2, quantization="awq", ctx_len=2048)
        model.generate(prompts=["My name is"], generation_len=32)

    Llama, Mistral, Qwen, Gemma, Phi-3, GPT-2, OPT, GPT-NeoX and their kin run natively. Any other
    runs through transformers and torch, with its linear layers and embeddings replaced by packed
    ones; that is said in the log.
    """

    def __init__(
        self, source: ModelSource, runner: TextGenerator | None = None, native: bool = True
    ) -> None:
        self._source = source
        self._runner = runner
        self._native = native
        self._report: Report | None = None

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any
    ) -> QEFFAutoModelForCausalLM:
        """Finds a model.

        Args:
            pretrained_model_name_or_path: directory, GGUF file, ``.qeff`` artifact or hub id.
            kwargs: for an artifact the options of :func:`qeff.load`.

        Raises:
            OSError: no such model; the message lists what was tried. ValueError: not a causal
            language model, or one that neither qeff nor transformers can run.
        """
        source = resolve_language_model(pretrained_model_name_or_path)
        if source.is_artifact:
            kind = artifact_kind(source.path)
            if kind not in LANGUAGE_MODEL_KINDS:
                raise Unsupported(
                    f'{source.path}: holds a model of kind "{kind}": use QEFFAutoModel'
                )
            return cls(source, load(source.path, **kwargs))
        if kwargs:
            raise TypeError(f"from_pretrained: {', '.join(kwargs)}: only for an artifact")
        reason = why_no_native_form(source)
        if not reason:
            return cls(source)
        check_source(source, reason)
        from .integrations.causal import check_loadable

        check_loadable(source.path)
        note(source.name, reason)
        return cls(source, native=False)

    def compile(
        self,
        out: str | os.PathLike[str] | None = None,
        *,
        num_cores: int | None = None,
        ctx_len: int | None = None,
        prefill_seq_len: int | None = None,
        batch_size: int | None = None,
        full_batch_size: int | None = None,
        quantization: Quantization = "int8",
        kv_cache: str = "bf16",
        calibration: Any = None,
        strict: bool = False,
        progress: bool | Callback = True,
        resume: bool = True,
        **options: Any,
    ) -> str:
        """Quantizes the model and makes it ready to run.

        Args:
            out: the artifact to write. None: in the cache (``QEFF_CACHE``), where the same call finds
                it again.
            num_cores: threads to run on; None: all.
            ctx_len: tokens a prompt and its text can have together; None: all the model has, at
                most 4096.
            prefill_seq_len: tokens of prompts run together; None: 512.
            batch_size: texts generated together; None: as many as prompts are given, up to 8.
            full_batch_size: the same, by QEfficient's name for continuous batching.
            quantization: ``"int8"``, ``"int4"``, ``"awq"``, ``"gptq"``, ``"autoround"`` (groups of 64, int8
                activations with a scale for each; the last learns roundings after GPTQ and takes longest), ``"fp8"``,
                ``"nf4"``, ``"fp4"``, a config object, or None for float.
            kv_cache: how keys and values are kept: ``"bf16"``, ``"int8"``, ``"int4"`` or ``"f32"``.
            calibration: for AWQ, GPTQ and AutoRound: texts, lists or an array of token ids. None: a small
                built-in text.
            strict: a layer that cannot be quantized as asked is an error, not a row of the report.
            progress: show a bar if stderr is a terminal, or a function (done, total, what).
            resume: keep each finished layer in ``OUT.partial``; a compile of the same that was killed or
                interrupted goes on from there, to the same bytes.
            options: others of QEfficient's ``compile``, accepted where they mean something here.

        A model without a native form keeps keys and values in float32, reads prompts at once,
        generates one text at a time and starts over when it was interrupted; ``prefill_seq_len``, a
        quantized ``kv_cache`` and AutoRound are refused there.

        Returns:
            the path of the ``.qeff`` artifact.

        Raises:
            TypeError: an unknown option. ValueError: a scheme, option or calibration that does not
            work. OSError: a file cannot be read or written.
        """
        own = [name for name in inspect.signature(self.compile).parameters if name != "options"]
        kv_cache = check_compile_options(options, own, kv_cache)
        sizes = {
            "ctx_len": ctx_len,
            "prefill_seq_len": prefill_seq_len,
            "batch_size": full_batch_size if batch_size is None else batch_size,
        }
        check_sizes(sizes)
        if self._source.is_artifact:
            raise Unsupported(
                f"{self._source.path}: is compiled already; compile from the original model"
            )
        threads = thread_count(num_cores)
        config = resolve_language_model_config(quantization)
        if not self._native:
            check_recipe(config)
            check_session_options(kv_cache, prefill_seq_len)
        request = CausalRequest(
            out=Path(out) if out is not None else None,
            config=config,
            calibration=calibration,
            threads=threads,
            strict=strict,
            progress=progress,
            resume=resume,
        )
        if self._native:
            path, self._report = compile_causal(self._source, request)
        else:
            path, self._report = self._compile_fallback(request)
        self._runner = load(path, threads, kv_cache=kv_cache, **sizes)
        return str(path)

    def _compile_fallback(self, request: CausalRequest) -> tuple[Path, Report]:
        from .integrations.causal import compile_through_transformers

        return compile_causal(
            self._source, request, compile_through_transformers, runtime="transformers"
        )

    def _ready(self) -> TextGenerator:
        if self._runner is None:
            raise InvalidArgument("the model is not compiled: call compile() first")
        return self._runner

    def generate(
        self,
        tokenizer: Any = None,
        prompts: Any = None,
        *,
        generation_len: int | None = None,
        inputs: Any = None,
        **options: Any,
    ) -> Any:
        """Texts that continue the prompts.

        Args:
            tokenizer: of transformers, to use instead of the model's own.
            prompts: a text or several, or token ids.
            generation_len: most tokens of a text; the same as ``max_new_tokens``.
            inputs: token ids or the dict of a tokenizer, instead of ``prompts``.
            options: see :meth:`qeff.causal_generation.TextGenerator.generate`.

        Returns:
            one text a prompt (``str``), or ids for ids; in a list unless one prompt was given.
        """
        if (prompts is None) == (inputs is None):
            raise TypeError("generate: give prompts or inputs")
        if generation_len is not None:
            options["max_new_tokens"] = generation_len
        runner = self._ready()
        given = inputs if prompts is None else prompts
        texts = [given] if isinstance(given, str) else given
        own = tokenizer is None or not all(isinstance(text, str) for text in texts)
        if own:
            return runner.generate(given, **options)
        ids = [list(tokenizer(text)["input_ids"]) for text in texts]
        plain = runner.generate(ids, **options)
        if options.get("details"):
            return plain
        answers = [tokenizer.decode(row.tolist(), skip_special_tokens=True) for row in plain]
        return answers[0] if isinstance(given, str) and len(answers) == 1 else answers

    def stream(self, prompt: Any, **options: Any) -> Iterator[str]:
        """Piece by piece; see :meth:`qeff.causal_generation.TextGenerator.stream`."""
        return self._ready().stream(prompt, **options)

    def chat(self, messages: str | Sequence[Message], **options: Any) -> Any:
        """The answer to a conversation; see :meth:`qeff.causal_generation.TextGenerator.chat`."""
        return self._ready().chat(messages, **options)

    @property
    def report(self) -> Report:
        """What became of each layer in the last :meth:`compile`."""
        if self._report is None:
            raise InvalidArgument("there is no report: call compile() first")
        return self._report

    def explain(self) -> list[dict[str, Any]]:
        """How each linear layer runs here."""
        return self._ready().explain()

    @property
    def session(self) -> TextGenerator:
        """The compiled model without the rest."""
        return self._ready()

    @property
    def path(self) -> str | None:
        """The artifact, after :meth:`compile`."""
        return str(self._runner.path) if self._runner is not None else None

    def save(self, path: str | os.PathLike[str]) -> str:
        """Copies the artifact to ``path``, whole or not at all.

        Raises:
            OSError: it cannot be written, or is the artifact itself.
        """
        source = self._ready().path
        assert source is not None
        target = Path(path)
        if target.exists() and target.samefile(source):
            raise IoError(errno.EEXIST, "is the artifact itself", str(target))
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            shutil.copyfile(source, temporary)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        return str(target)

    def __repr__(self) -> str:
        state = "compiled" if self._runner else "not compiled"
        return f"<qeff.QEFFAutoModelForCausalLM {self._source.name} {state}>"
