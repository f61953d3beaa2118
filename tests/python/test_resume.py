"""Compiles of language models that are interrupted or killed, and go on."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import qeff

IDS = [[(7 * i + j) % 250 for i in range(40)] for j in range(3)]
CONFIG = qeff.GPTQConfig(group_size=32, range_grid=4, activations="int8")


@pytest.fixture(scope="module")
def whole(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    out = tmp_path_factory.mktemp("whole") / "whole.qeff"
    compile_to(llama, out, resume=False)
    return out.read_bytes()


def compile_to(llama: Path, out: Path, **options: Any) -> qeff.QEFFAutoModelForCausalLM:
    model = qeff.QEFFAutoModelForCausalLM.from_pretrained(llama)
    model.compile(out, quantization=CONFIG, calibration=IDS, num_cores=1, **options)
    return model


class Steps:
    """What a compile says it does; ends it at one of them."""

    def __init__(self, last: str = "") -> None:
        self.seen: list[str] = []
        self._last = last

    def __call__(self, _done: int, _total: int, what: str) -> None:
        self.seen.append(what)
        if what == self._last:
            raise KeyboardInterrupt


def interrupt(llama: Path, out: Path, **options: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        compile_to(llama, out, progress=Steps("layers.1.up"), **options)


def test_an_interrupted_compile_says_how_to_go_on_and_does(
    llama: Path, whole: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out.qeff"
    interrupt(llama, out)
    assert "the same call goes on" in caplog.text
    assert not out.exists()
    steps = Steps()
    model = compile_to(llama, out, progress=steps)
    assert "layer 1 of 2, resumed" in steps.seen
    assert "layers.0.qkv" not in steps.seen
    assert out.read_bytes() == whole
    assert [p.name for p in tmp_path.iterdir()] == ["out.qeff"]
    names = [row["name"] for row in model.report]
    assert any(".0." in name for name in names)


def test_without_resume_nothing_is_kept(
    llama: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    interrupt(llama, tmp_path / "out.qeff", resume=False)
    assert list(tmp_path.iterdir()) == []
    assert "goes on" not in caplog.text


def test_a_killed_process_is_taken_up_by_the_next(
    llama: Path, whole: bytes, tmp_path: Path
) -> None:
    out = tmp_path / "out.qeff"
    code = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_resume import compile_to
def kill(done, total, what):
    if what == "layers.1.down":
        os.kill(os.getpid(), signal.SIGKILL)
compile_to(Path({str(llama)!r}), Path({str(out)!r}), progress=kill)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not out.exists()
    steps = Steps()
    compile_to(llama, out, progress=steps)
    assert "layer 1 of 2, resumed" in steps.seen
    assert out.read_bytes() == whole
