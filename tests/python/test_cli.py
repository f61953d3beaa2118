"""The command line: what it prints, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import qeff

VERBS = ["quantize", "compile", "encode", "inspect", "info", "tune", "explain", "eval", "eval sts"]
VERBS += ["bench", "bench kernels", "bench llm", "bench model"]


def run(*arguments: str | Path, text: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "qeff", *map(str, arguments)]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)


def document(*arguments: str | Path, text: str = "") -> dict:
    done = run(*arguments, "--json", text=text)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def artifact(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cli") / "tiny.qeff"
    done = run("compile", tiny_bert, out)
    assert done.returncode == 0, done.stderr
    assert "layer" in done.stdout
    return out


@pytest.mark.parametrize("verb", VERBS)
def test_help_is_quick(verb: str) -> None:
    """Processor time: the wall time of a busy machine says nothing about the program."""
    code = "import resource, runpy, sys; sys.argv = ['qeff', *sys.argv[1:]]\n"
    code += "try: runpy.run_module('qeff', run_name='__main__')\n"
    code += "except SystemExit as e: assert not e.code\n"
    code += "u = resource.getrusage(resource.RUSAGE_SELF); print(u.ru_utime + u.ru_stime, file=sys.stderr)"
    command = [sys.executable, "-c", code, *verb.split(), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Usage" in done.stdout
    assert float(done.stderr.split()[-1]) < 0.5


def test_tuning_is_kept_for_later_runs_and_overridden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QEFF_CACHE", str(tmp_path / "cache"))
    measured = document("tune", "--seconds", "1", "--num-cores", "1")
    assert Path(measured["file"]).parent == tmp_path / "cache"
    assert document("info")["tuning"] == measured["tuning"]
    monkeypatch.setenv("QEFF_TUNING", "part_work=1234567")
    assert document("info")["tuning"] == measured["tuning"] | {"part_work": 1234567}
    assert "part_work=1234567" in run("info").stdout
    monkeypatch.setenv("QEFF_TUNING", "part_work=x")
    assert 'QEFF_TUNING: part_work is "x", not a whole number' in run("info").stderr
    monkeypatch.delenv("QEFF_TUNING")
    Path(measured["file"]).write_text("speed=11\n")
    broken = run("info")
    assert broken.returncode == 3
    assert measured["file"] in broken.stderr
    assert "qeff tune" in broken.stderr


def test_info_is_one_json_document() -> None:
    info = document("info")
    assert {"qeff", "model", "isa", "active", "cores", "python", "system", "tuning"} == set(info)


def test_quantize_writes_what_was_asked_for(tiny_bert: Path, tmp_path: Path) -> None:
    out = tmp_path / "tiny.qeff"
    result = document(
        "quantize", tiny_bert, out, "--scheme", "gptq", "--bits", "3", "--group-size", "32"
    )
    assert result["path"] == str(out)
    assert result["scheme"] == "gptq3-g32"
    assert len(result["rows"]) == 12
    assert out.stat().st_size == result["bytes"]


def test_encode_prints_the_embeddings_of_the_library(artifact: Path, tmp_path: Path) -> None:
    texts = ["the cat", "a cab."]
    expected = qeff.load(artifact).encode(texts)
    result = document("encode", artifact, text="\n".join(texts))
    np.testing.assert_allclose(result["embeddings"], expected, atol=1e-6)
    (tmp_path / "texts").write_text("the cat\n\na cab.\n")
    plain = run("encode", artifact, "--text", tmp_path / "texts")
    np.testing.assert_allclose(np.loadtxt(plain.stdout.splitlines()), expected, atol=1e-5)


def test_encode_compiles_a_directory_first(tiny_bert: Path) -> None:
    result = document("encode", tiny_bert, "--scheme", "nf4", "--pooling", "cls", text="the cat")
    assert len(result["embeddings"][0]) == 64


def test_inspect_shows_artifacts_directories_and_safetensors(
    artifact: Path, tiny_bert: Path
) -> None:
    assert document("inspect", artifact)["metadata"]["kind"] == "encoder"
    directory = document("inspect", tiny_bert)
    assert directory["metadata"]["runs"] == "natively"
    tensors = document("inspect", tiny_bert / "model.safetensors")
    assert {row["name"] for row in tensors["tensors"]} == {
        row["name"] for row in directory["tensors"]
    }
    assert "embeddings.word_embeddings.weight" in run("inspect", tiny_bert).stdout


def test_explain_lists_every_linear(artifact: Path) -> None:
    layers = document("explain", artifact)["layers"]
    assert len(layers) == 8
    assert all(qeff.cpu_info()["active"] in row["kernel"] for row in layers)


def test_eval_sts_agrees_with_scipy(artifact: Path, tmp_path: Path) -> None:
    stats = pytest.importorskip("scipy.stats")
    pairs = [
        ("the cat", "the cat.", 5.0),
        ("a dog", "the cab", 1.0),
        ("b", "c d", 2.0),
        ("cat", "cat x", 4.0),
    ]
    (tmp_path / "sts.csv").write_text("".join(f'"{a}","{b}",{s}\n' for a, b, s in pairs))
    result = document("eval", "sts", artifact, "--text", tmp_path / "sts.csv")
    session = qeff.load(artifact)
    a, b = (session.encode([pair[i] for pair in pairs], normalize=True) for i in (0, 1))
    expected = stats.spearmanr((a * b).sum(axis=1), [pair[2] for pair in pairs]).statistic
    assert result["pairs"] == 4
    assert result["spearman_x100"] == pytest.approx(100 * expected, abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("compile", "{model}"), 2, "Missing argument"),
        (("compile", "{model}", "{out}", "--shceme", "int8"), 2, "No such option"),
        (("compile", "{model}", "{out}", "--scheme", "int9"), 3, 'did you mean "int8"?'),
        (
            ("compile", "{model}", "{out}", "--scheme", "fp8", "--bits", "4"),
            3,
            'scheme "fp8" has no bits to choose',
        ),
        (("compile", "no/such-model", "{out}"), 4, "no such model; tried"),
        (("compile", "{model}", "/nonexistent/x.qeff"), 4, "/nonexistent"),
        (("inspect", "{model}/config.json"), 3, "neither a .qeff nor a .safetensors file"),
        (("encode", "{model}", "--text", "/nonexistent.txt"), 4, "/nonexistent.txt"),
    ],
)
def test_errors_end_with_their_code_and_a_sentence(
    arguments: tuple[str, ...], code: int, message: str, tiny_bert: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.qeff"
    done = run(*(a.format(model=tiny_bert, out=out) for a in arguments))
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout
    assert not list(tmp_path.iterdir())


def test_too_little_memory_is_code_5(artifact: Path) -> None:
    code = "import qeff._core as c\nclass E:\n  def __init__(self, *a): raise MemoryError\nc.Encoder = E\n"
    code += (
        "import sys; sys.argv = ['qeff', 'explain', sys.argv[1]]; from qeff.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(artifact)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 5
    assert done.stderr.strip() == "qeff: error: MemoryError"


def test_ctrl_c_stops_quietly_and_leaves_nothing(tiny_bert: Path, tmp_path: Path) -> None:
    reading, writing = os.pipe()  # encode waits for its text
    # A job in the background of a shell inherits that Ctrl-C is ignored: env undoes that.
    heeding = ["env", "--default-signal=INT", sys.executable]
    command = [*heeding, "-m", "qeff", "encode", str(tiny_bert)]
    with subprocess.Popen(command, stdin=reading, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 30
        maps = Path(f"/proc/{process.pid}/maps")
        while "_core" not in maps.read_text() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=30)
        finally:
            process.kill()
    os.close(reading)
    os.close(writing)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert not list(tmp_path.iterdir())
