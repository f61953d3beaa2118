"""The command line ``qeff``. Results go to stdout, everything else to stderr.

Exit codes: 0 ok, 1 failure, 2 usage, 3 bad input, 4 input/output, 5 memory, 130 interrupted.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from . import cli_causal

app = typer.Typer(
    name="qeff",
    help="Quantize, compile and run models on this CPU.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help is quick help
    add_completion=False,
)
evaluate = typer.Typer(
    help="Measure the quality of a model.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(evaluate, name="eval")
bench = typer.Typer(
    help="Time qeff, alone or beside other libraries.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(bench, name="bench")

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _exit_code(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return 130
    if isinstance(error, MemoryError):
        return 5
    if isinstance(error, OSError):
        return 4
    return 3 if isinstance(error, ValueError | TypeError) else 1


def guarded(command: _Command) -> _Command:
    """Turns errors of a command into a line on stderr and an exit code."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except typer.Exit:
            raise
        except BrokenPipeError as error:  # the reader of stdout has gone: nothing to tell it
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(4) from error
        except (Exception, KeyboardInterrupt) as error:
            if os.environ.get("QEFF_DEBUG"):
                raise
            reason = (
                "interrupted"
                if isinstance(error, KeyboardInterrupt)
                else str(error) or type(error).__name__
            )
            typer.echo(f"qeff: error: {reason}", err=True)
            raise typer.Exit(_exit_code(error)) from error

    return run  # type: ignore[return-value]


Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="Hugging Face id or directory, or a .qeff artifact.")
]
Out = Annotated[Path, typer.Argument(metavar="OUT.qeff", help="The artifact to write.")]
Scheme = Annotated[
    str, typer.Option(help="int8, int4, awq, gptq, fp8, fp8_e5m2, nf4, fp4 or none.")
]
Bits = Annotated[int | None, typer.Option(help="Bits of a weight, 2 to 8.")]
GroupSize = Annotated[int | None, typer.Option(help="Columns that share a scale, -1: a whole row.")]
CalibrationFile = Annotated[
    Path | None,
    typer.Option(
        "--calibration", help="Texts for awq and gptq, one a line. Default: a small built-in text."
    ),
]
TargetBits = Annotated[
    float | None,
    typer.Option(
        help="Language models: choose bits and groups of each layer, this many on average."
    ),
]
Resume = Annotated[
    bool, typer.Option(help="Language models: go on from what a compile of the same had finished.")
]
Cores = Annotated[int | None, typer.Option(help="Threads. Default: all.")]
Pooling = Annotated[
    str | None, typer.Option(help="mean, cls, max or none. Default: what the model says.")
]
Strict = Annotated[
    bool, typer.Option("--strict", help="A layer not quantized as asked is an error.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Text = Annotated[str, typer.Option(help="File of texts, one a line; - is standard input.")]


def _compile(model: str, out: Path, **wanted: Any) -> None:
    from . import cli_work as work

    as_json = wanted.pop("as_json")
    compiled = work.compile_model(model, out, **wanted)
    work.emit(compiled.report.to_dict() | {"path": compiled.path}, as_json, work.show_report)


@app.command()
@guarded
def quantize(
    model: Model,
    out: Out,
    scheme: Scheme,
    bits: Bits = None,
    group_size: GroupSize = None,
    target_bits: TargetBits = None,
    calibration: CalibrationFile = None,
    num_cores: Cores = None,
    pooling: Pooling = None,
    strict: Strict = False,
    resume: Resume = True,
    as_json: Json = False,
) -> None:
    """Quantize MODEL by a scheme and write the artifact OUT.qeff."""
    _compile(
        model,
        out,
        scheme=scheme,
        bits=bits,
        group_size=group_size,
        target_bits=target_bits,
        calibration=calibration,
        num_cores=num_cores,
        pooling=pooling,
        strict=strict,
        resume=resume,
        as_json=as_json,
    )


@app.command(name="compile")
@guarded
def compile_(
    model: Model,
    out: Out,
    scheme: Scheme = "int8",
    bits: Bits = None,
    group_size: GroupSize = None,
    target_bits: TargetBits = None,
    calibration: CalibrationFile = None,
    num_cores: Cores = None,
    pooling: Pooling = None,
    strict: Strict = False,
    resume: Resume = True,
    as_json: Json = False,
) -> None:
    """Compile MODEL to the artifact OUT.qeff, in int8 unless told otherwise."""
    _compile(
        model,
        out,
        scheme=scheme,
        bits=bits,
        group_size=group_size,
        target_bits=target_bits,
        calibration=calibration,
        num_cores=num_cores,
        pooling=pooling,
        strict=strict,
        resume=resume,
        as_json=as_json,
    )


@app.command()
@guarded
def encode(
    model: Model,
    text: Text = "-",
    scheme: Scheme = "int8",
    num_cores: Cores = None,
    pooling: Pooling = None,
    normalize: Annotated[
        bool | None, typer.Option(help="To length 1. Default: what the model says.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print the embedding of each line of a text: numbers, one embedding a line."""
    from . import cli_work as work

    sentences = work.read_lines(text)
    compiled = work.open_model(model, scheme, num_cores, pooling)
    embeddings = compiled.encode(sentences, normalize=normalize)
    document = {
        "model": model,
        "artifact": compiled.path,
        "texts": sentences,
        "embeddings": embeddings.tolist(),
    }
    work.emit(document, as_json, work.show_embeddings)


@app.command()
@guarded
def inspect(
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH",
            help="A .qeff, .safetensors, GGUF or llama2.c file, or a model directory.",
        ),
    ],
    as_json: Json = False,
) -> None:
    """Show what a file or directory holds, after checking it whole."""
    from . import cli_work as work

    work.emit(work.inspect_path(path), as_json, work.show_tensors)


@app.command()
@guarded
def info(
    roof: Annotated[
        bool, typer.Option("--roof", help="Measure what it multiplies and reads at best.")
    ] = False,
    num_cores: Cores = None,
    as_json: Json = False,
) -> None:
    """Show this CPU, and which kernels qeff uses on it."""
    from . import cli_work as work

    work.emit(work.machine_info(roof, num_cores), as_json, work.show_machine)


@app.command()
@guarded
def tune(
    seconds: Annotated[
        float, typer.Option("--seconds", min=1.0, help="About how long to measure.")
    ] = 10,
    num_cores: Cores = None,
    as_json: Json = False,
) -> None:
    """Measure how this CPU likes its work cut, for all later runs on it."""
    from . import cli_work as work

    work.emit(work.tune_machine(seconds, num_cores), as_json, work.show_tuning)


@app.command()
@guarded
def explain(
    model: Model,
    scheme: Scheme = "int8",
    rows: Annotated[
        str | None,
        typer.Option(
            metavar="1,16,2048", help="Tokens multiplied together: shows the roof for each number."
        ),
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Time each matmul: its share of the roof.")
    ] = False,
    num_cores: Cores = None,
    as_json: Json = False,
) -> None:
    """Show for each layer which kernel runs it, how many bytes it reads and the least time it takes."""
    from . import cli_work as work

    numbers = work.parse_numbers(rows, "--rows") if rows is not None else None
    layers = work.explain_model(model, scheme, num_cores, numbers, measure)
    work.emit({"model": model, "layers": layers}, as_json, work.show_layers)


@evaluate.command()
@guarded
def sts(
    model: Model,
    text: Annotated[
        Path, typer.Option(help="CSV of sentence1,sentence2,score as the STS Benchmark has it.")
    ],
    scheme: Scheme = "int8",
    num_cores: Cores = None,
    pooling: Pooling = None,
    as_json: Json = False,
) -> None:
    """Semantic textual similarity: Spearman correlation of cosines and human scores."""
    from . import cli_work as work

    work.emit(work.evaluate_sts(model, text, scheme, num_cores, pooling), as_json, work.show_facts)


Peers = Annotated[
    bool, typer.Option("--peers", help="Time other libraries beside; needs a checkout of qeff.")
]
PeersPython = Annotated[
    str | None, typer.Option(metavar="PATH", help="Interpreter that has the other libraries.")
]
Isa = Annotated[str | None, typer.Option(help="Hold everybody to an instruction set, as avx2.")]
Only = Annotated[
    str | None, typer.Option(help="Contenders to time: parts of their names between commas.")
]
Rounds = Annotated[int, typer.Option(min=1, help="Turns of each contender.")]
Seconds = Annotated[float, typer.Option("--slice", min=0.0, help="Seconds of a turn.")]
MarkdownFile = Annotated[Path | None, typer.Option("--markdown", help="Write tables to a file.")]
PlotFile = Annotated[Path | None, typer.Option("--plot", help="Write a picture to a file.")]


@bench.command()
@guarded
def kernels(
    shapes: Annotated[
        str | None, typer.Option(metavar="1x4096x4096", help="MxNxK between commas.")
    ] = None,
    formats: Annotated[
        str | None, typer.Option(help="int8, int4-g128, int4-g32, nf4, fp8, bf16.")
    ] = None,
    peers: Peers = False,
    peers_python: PeersPython = None,
    isa: Isa = None,
    roof: Annotated[
        bool, typer.Option("--roof", help="Measure the roof, and qeff's share of it.")
    ] = False,
    only: Only = None,
    rounds: Rounds = 7,
    seconds: Seconds = 0.2,
    threads: Cores = None,
    markdown: MarkdownFile = None,
    plot: PlotFile = None,
    as_json: Json = False,
) -> None:
    """Time matrix products of quantized weights: float32 in, float32 out."""
    from . import cli_bench as work

    options = work.make_options(threads, peers, peers_python, isa, only, rounds, seconds, roof)
    work.show(work.bench_kernels(options, shapes, formats), as_json, markdown, plot)


@bench.command(name="model")
@guarded
def bench_model(
    model: Model,
    schemes: Annotated[str, typer.Option(help="Schemes to compile by, between commas.")] = "int8",
    shapes: Annotated[
        str | None, typer.Option(metavar="64x112", help="Sentences x tokens between commas.")
    ] = None,
    peers: Peers = False,
    peers_python: PeersPython = None,
    isa: Isa = None,
    only: Only = None,
    rounds: Rounds = 7,
    seconds: Seconds = 0.2,
    threads: Cores = None,
    markdown: MarkdownFile = None,
    plot: PlotFile = None,
    as_json: Json = False,
) -> None:
    """Time a model on batches of sentences, given as token ids."""
    from . import cli_bench as work

    options = work.make_options(threads, peers, peers_python, isa, only, rounds, seconds)
    work.show(work.bench_model(model, options, schemes, shapes), as_json, markdown, plot)


bench.command(name="llm")(guarded(cli_causal.bench))
app.command()(guarded(cli_causal.generate))
app.command()(guarded(cli_causal.chat))
evaluate.command()(guarded(cli_causal.perplexity))
evaluate.command()(guarded(cli_causal.kl))


def main() -> None:
    """The console script."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
